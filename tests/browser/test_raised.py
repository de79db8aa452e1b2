"""What raises the approvals, what is hidden in a diff, and a quarantined bundle, as a browser shows them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.support.browser import Site, Visitor, address, change
from tests.support.credentials import SURE

POINTS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c\u200b\u2060"
WORKFLOW = "on:\n  pull_request:\n    paths: ['src/**']\njobs:\n  gate:\n    steps:\n      - run: make test || true\n"


def shoot(visitor: Visitor, name: str) -> None:
    """Keep pictures of the page where SCREENSHOTS says: light, dark, and 390 pixels wide."""
    folder = os.environ.get("SCREENSHOTS")
    if not folder:
        return
    page = visitor.page
    for scheme, width in (("light", 1280), ("dark", 1280), ("light", 390)):
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        page.set_viewport_size({"width": width, "height": 900})
        page.screenshot(path=Path(folder) / f"{name}-{scheme}-{width}.png", full_page=True)


@pytest.mark.threat("PAT-07")
def test_hidden_characters_are_badges_and_lead_is_needed(site: Site):
    files = change("hidden")
    files["payments/hidden.py"] = (
        str(files["payments/hidden.py"])
        + "".join(f"X{number} = 'a{point}b'\n" for number, point in enumerate(POINTS))
        + "p\u0430yee = 1\n"
    )
    files[".github/workflows/ci.yml"] = WORKFLOW
    files["payments/min.js"] = "a();" * 800 + "\n"
    pull = site.portal.verified(files, branch="staging/codex-hidden", task="Hide something")
    plan = site.visitor("plan")
    plan.open(address(pull))
    plan.settle()
    bundle = plan.page.locator("#bundle")
    for words in (
        "Steers the gates",
        "Gate that cannot fail",
        "Cannot be reviewed",
        "added by this change",
        "gate.swallowed",
    ):
        expect(bundle.get_by_text(words).first).to_be_visible()
    blocked = plan.page.locator("#blocked")
    expect(blocked.get_by_text("Needs LEAD because it changes what steers the gates")).to_be_visible()
    expect(blocked.get_by_text("source.hidden").first).to_be_visible()
    shoot(plan, "pull")
    plan.open(f"/handoffs/{pull.handoff_id}/")
    expect(plan.page.locator("section", has_text="What needs LEAD").first).to_be_visible()
    shoot(plan, "handoff")
    plan.open(f"{address(pull)}diff/?path=payments/hidden.py")
    badges = plan.page.locator(".hidden-character")
    said = badges.all_inner_texts()
    for point in POINTS:
        assert any(text.startswith(f"U+{ord(point):04X} ") for text in said), hex(ord(point))
    assert "U+0430 CYRILLIC SMALL LETTER A" in said
    expect(badges.first).to_be_visible()
    assert not set(POINTS) & set(plan.page.locator("table.diff").inner_text())
    shoot(plan, "diff")


@pytest.mark.threat("BUN-09")
def test_a_quarantined_bundle_says_what_to_do_and_gives_nothing_away(site: Site):
    token = next(text for kind, text in SURE if kind == "GitHub token")
    files = change("quarantine")
    files["payments/quarantine.py"] = str(files["payments/quarantine.py"]) + f'TOKEN = "{token}"\n'
    raw = site.portal.bundle(files, branch="staging/codex-quarantine", task=f"Use {token}")
    site.portal.push_bundle(raw, branch="staging/codex-quarantine")
    handoff = site.portal.receive()
    watcher = site.visitor("auditor")
    watcher.open(f"/handoffs/{handoff.pk}/")
    page = watcher.page
    expect(page.get_by_role("heading", name="Quarantined")).to_be_visible()
    expect(page.get_by_text("GitHub token in payments/quarantine.py").first).to_be_visible()
    expect(page.get_by_text("rotate or revoke it")).to_be_visible()
    expect(page.locator("a", has_text="artifact.tar.gz")).to_have_count(0)
    assert token not in page.content()
    shoot(watcher, "quarantined")
    watcher.open("/handoffs/?state=quarantined")
    assert token not in page.content()
    shoot(watcher, "list")
