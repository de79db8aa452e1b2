"""A page that follows the lanes by itself, while a real beat and a real worker move the handoff."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.conf import settings
from playwright.sync_api import expect

from handoffs.models import PullRequest
from leoportal.lanes.matrix import read_matrix
from leoportal.stack import portal as product
from leoportal.stack.broker import Broker
from leoportal.stack.postgres import TESTER
from leoportal.stack.process import clean_environment
from tests.support.browser import POLL_MS, Site, change
from tests.support.processes import FOREIGN
from verdicts.results import GateOutcome

ARRIVES_MS = 60_000
DRAFT = "I am still reading the tests."


@pytest.fixture
def workers(site: Site, address: Callable[[str], str], tmp_path: Path) -> Iterator[None]:
    """The product's own beat and workers, each with its lane's login, on the folder's portal and a broker of their own."""
    broker = Broker(tmp_path / "valkey", is_throwaway=True)
    environment = clean_environment(without=FOREIGN) | {
        "LEOPORTAL_VAR": str(tmp_path / "var"),
        **{role.variable: address(key) for key, role in read_matrix().roles.items() if role.is_login},
        "REDIS_URL": broker.url,
        "CACHE_URL": broker.cache_url,
        "SECRET_KEY": settings.SECRET_KEY,
        "SIGNING_KEY_PASSWORD": settings.SIGNING_KEY_PASSWORD,
        "BUNDLE_STORE": str(settings.BUNDLE_STORE),
        "FORGE_ROOT": str(settings.FORGE_ROOT),
        "SCANNERS": str(settings.SCANNERS),
        "SWEEP_SECONDS": "0.5",
        "DATABASE_OTHER_ROLES": TESTER,
    }
    (tmp_path / "var").mkdir()
    children = product.children(environment, tmp_path / "var", 0)
    del children["web"]
    try:
        broker.start()
        for child in children.values():
            child.start()
        yield
    finally:
        for child in children.values():
            child.stop()
        broker.stop()
        shutil.rmtree(tmp_path, ignore_errors=True)


def test_the_queue_and_the_pull_request_change_by_themselves_while_a_draft_stays(site: Site, workers: None):
    branch = "staging/codex-followed"
    plan = site.visitor("plan")
    page = plan.page
    plan.open("/turn/")
    expect(page.locator("main")).to_contain_text("Nothing waits for you.")
    site.portal.push_bundle(site.portal.bundle(change("followed"), branch=branch, task="Add followed"), branch=branch)

    news = page.get_by_role("link", name="The queue changed: show it")
    news.click(timeout=ARRIVES_MS)
    page.get_by_role("link", name="Add followed").click()
    plan.settle()
    pull = PullRequest.objects.latest("pk")
    page.get_by_label("Reason").fill(DRAFT)
    how = page.get_by_text("How ").filter(has_text="is made up").first
    how.click()
    expect(page.locator("#gates-title")).to_have_text("Required checks, 2 of 4", timeout=ARRIVES_MS)
    for agent in ("Security", "Testing", "Performance"):
        row = page.locator("#agents table").first.get_by_role("row").filter(has_text=agent)
        expect(row).to_contain_text("Passed", timeout=ARRIVES_MS)
    expect(page.get_by_role("radio", name="Pass", exact=True)).to_be_visible()

    how.focus()
    site.portal.report("story-release", GateOutcome.SUCCESS, run_id="live")
    expect(page.locator("#gates-title")).to_have_text("Required checks, 3 of 4", timeout=POLL_MS)
    expect(page.locator("#blocked-title")).to_have_text("Blocked by 1 thing")
    expect(page.locator("#pr-score")).to_contain_text("Pass")
    expect(page.locator("#live")).to_contain_text(f"{pull}: 1 blocking")
    expect(page.locator("#confidence table")).to_be_visible()
    expect(page.get_by_label("Reason")).to_have_value(DRAFT)
    expect(how).to_be_focused()
    expect(page.locator("#late")).to_be_hidden()
