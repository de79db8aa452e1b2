"""PLAN in the browser: from sign-in to the merge, and every way a verdict is refused."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from audit.actions import add_identity
from audit.models import Principal
from handoffs.git import Git
from handoffs.models import PullRequest, PullStatus
from leoportal import setup
from audit.events import Role
from tests.support.browser import PASSWORD, Site, Visitor, change
from verdicts.models import Verdict

WHY = "I read the diff and the tests: the fee is taken off once."


def address(pull: PullRequest) -> str:
    """The address of a pull request's page."""
    return f"/prs/{pull.repository.full_name}/{pull.number}/"


def sign_in(visitor: Visitor, name: str) -> None:
    """Through the form, with the password."""
    visitor.open("/")
    visitor.page.get_by_label("Name").fill(name)
    visitor.page.get_by_label("Password").fill(PASSWORD)
    visitor.page.get_by_role("button", name="Sign in").click()


def rows_of(page: Page, section: str) -> list[str]:
    """The text of each row of a section's first table."""
    return [" ".join(text.split()) for text in page.locator(f"{section} table").first.locator("tbody tr").all_inner_texts()]


def test_plan_signs_in_reads_what_was_verified_records_pass_and_merges(site: Site):
    pull = site.portal.verified(change("net"), branch="staging/codex-net", task="Add net")
    plan = site.visitor()
    sign_in(plan, "plan")
    page = plan.page
    expect(page.get_by_role("heading", level=1)).to_have_text("My turn")
    row = page.locator("[data-row]").filter(has_text=str(pull))
    expect(row).to_contain_text("3/4")
    expect(row).to_contain_text("Everything holds: it needs your verdict")
    row.get_by_role("link").click()
    plan.settle()

    assert plan.path == address(pull)
    expect(page.get_by_role("heading", name="Blocked by 1 thing")).to_be_visible()
    gates = rows_of(page, "#gates")
    assert len(gates) == 4
    assert sum("Passed" in gate for gate in gates) == 3
    assert sum("Waits for PLAN's verdict" in gate for gate in gates) == 1
    agents = rows_of(page, "#agents")
    assert [agent.split()[0] for agent in agents] == ["Security", "Database", "Testing", "Performance", "Design"]
    page.get_by_text(re.compile(r"^How [0-9.]+ % is made up$")).click()
    terms = page.locator("#confidence tbody tr")
    expect(terms).to_have_count(7)
    expect(terms.last).to_contain_text("100")
    expect(page.locator("#bundle")).to_contain_text(pull.handoff.digest)
    page.locator("#handoff-checks summary").first.click()
    expect(page.locator("#handoff-checks")).to_contain_text("0 failed")
    page.locator("details.file summary").first.click()
    expect(page.locator("#diff")).to_contain_text("def net(cents: int) -> int:")

    merge = page.get_by_role("button", name=f"Merge {pull}")
    expect(merge).to_be_disabled()
    expect(merge).to_have_accessible_description(re.compile("Merging needs a PASS on this head"))
    page.get_by_role("radio", name="Pass", exact=True).check()
    page.get_by_label("Reason").fill(WHY)
    page.get_by_role("button", name="Review verdict…").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Record Pass for {pull}?")
    expect(page.locator("main")).to_contain_text(WHY)
    assert not Verdict.objects.filter(pull_request=pull).exists()
    page.get_by_role("button", name="Record verdict").click()
    plan.settle()

    receipt = page.locator("#receipt")
    expect(receipt).to_contain_text("Verdict recorded")
    expect(receipt).to_contain_text("plan (PLAN)")
    expect(receipt).to_be_focused()
    expect(page.locator(".head")).to_contain_text("Ready to merge")
    page.get_by_role("button", name=f"Merge {pull}").click()
    plan.settle()
    expect(page.locator("#merged")).to_be_focused()
    expect(page.locator(".head")).to_contain_text("Merged")

    assert_merged(site, pull, verdict="PASS", by="plan")


def assert_merged(site: Site, pull: PullRequest, *, verdict: str, by: str) -> None:
    """The repository's main is the merge commit, and it says who decided what."""
    pull.refresh_from_db()
    git = Git(site.portal.bare)
    tip = git.resolve("refs/heads/main")
    assert (pull.status, pull.merge_sha) == (PullStatus.MERGED, tip)
    assert git.parents_of(tip) == (pull.base_sha, pull.head_sha)
    message = git.message_of(tip)
    for trailer in (
        f"PLAN-SUPERVISOR: {verdict}",
        f"Verdict-By: {by}",
        f"[CODEX-READY:{pull.handoff.digest}]",
        f"[CLAUDE-APPLIED:{pull.handoff.digest}]",
        f"/handoffs/{pull.handoff_id}/",
    ):
        assert trailer in message
