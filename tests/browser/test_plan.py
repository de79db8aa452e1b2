"""PLAN in the browser: from sign-in to the merge, and every way a verdict is refused."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from audit import events
from audit.models import LogEntry
from handoffs.models import PullRequest, PullStatus
from tests.support.browser import POLL_MS, Site, Visitor, address, assert_merged, change, rows_of
from verdicts.decision import Verdict as VerdictKind
from verdicts.models import Verdict
from verdicts.tasks import sweep_verification

WHY = "I read the diff and the tests: the fee is taken off once."


def fill_verdict(visitor: Visitor, pull: PullRequest, verdict: str, why: str) -> None:
    """Open the page and fill the form, without sending it."""
    visitor.open(address(pull))
    visitor.page.get_by_role("radio", name=verdict, exact=True).check()
    visitor.page.get_by_label("Reason").fill(why)


def send_verdict(visitor: Visitor) -> None:
    """Through the review step."""
    visitor.page.get_by_role("button", name="Review verdict…").click()
    visitor.page.get_by_role("button", name="Record verdict").click()
    visitor.settle()


def assert_refused(page: Page, code: str, *, why: str) -> None:
    """The page says that nothing was recorded, with the code, and keeps what was typed."""
    problem = page.get_by_role("alert")
    expect(problem).to_contain_text("Nothing was recorded")
    expect(problem).to_contain_text(code)
    expect(problem).to_be_focused()
    expect(page.get_by_label("Reason")).to_have_value(why)


def test_plan_signs_in_reads_what_was_verified_records_pass_and_merges(site: Site):
    pull = site.portal.verified(change("net"), branch="staging/codex-net", task="Add net")
    plan = site.visitor()
    plan.sign_in("plan")
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
    assert_merged(site, pull, "PLAN-SUPERVISOR: PASS", "Verdict-By: plan")


@pytest.fixture
def built_by_petra(site: Site) -> PullRequest:
    """A pull request that nothing has verified yet; the person petra, a PLAN, wrote a commit of it."""
    branch = "staging/codex-gross"
    raw = site.portal.bundle(change("gross"), branch=branch, task="Add gross")
    site.portal.push_bundle(raw, branch=branch, email="petra@acme.invalid")
    site.portal.receive()
    sweep_verification()
    return site.portal.pull()


def test_pass_is_closed_below_the_line_and_whoever_took_part_may_not_judge(site: Site, built_by_petra: PullRequest):
    pull = built_by_petra
    plan = site.visitor("plan")
    plan.open(address(pull))
    option = plan.page.get_by_role("radio", name="Pass", exact=True)
    expect(option).to_be_disabled()
    expect(option).to_have_accessible_description(re.compile(r"needs a confidence of 85\S*; it is 0"))
    expect(plan.page.get_by_role("radio", name="Fail")).to_be_enabled()

    petra = site.visitor("petra")
    petra.open(address(pull))
    form = petra.page.locator("#your-verdict")
    expect(form).to_contain_text("You cannot judge this handoff")
    for control in form.locator("input:not([type=hidden]), textarea, button").all():
        expect(control).to_be_disabled()

    for visitor, code in ((plan, "verdict.confidence_too_low"), (petra, "sod.conflict")):
        forged = "document.querySelectorAll('#your-verdict :disabled').forEach((e) => { e.disabled = false })"
        visitor.page.evaluate(forged)
        visitor.page.get_by_role("radio", name="Pass", exact=True).check()
        visitor.page.get_by_label("Reason").fill(WHY)
        send_verdict(visitor)
        assert_refused(visitor.page, code, why=WHY)
    assert not Verdict.objects.filter(pull_request=pull).exists()
    assert LogEntry.objects.filter(kind=events.VERDICT_REFUSED, subject=str(pull.handoff)).count() == 2


def test_the_head_moves_while_the_form_is_open_and_nothing_typed_is_lost(site: Site):
    branch, files = "staging/codex-tax", change("tax")
    site.portal.hand_over(files, branch=branch, task="Add tax")
    pull = site.portal.pull()
    plan = site.visitor("plan")
    fill_verdict(plan, pull, "Fail", WHY)
    old = pull.head_sha
    more = {**files, "README.md": "# Payments, with tax\n"}
    site.portal.push_bundle(site.portal.bundle(more, branch=branch, task="Add tax"), branch=branch)
    site.portal.receive()
    sweep_verification()
    new = site.portal.pull()
    assert (new.pk, new.head_sha == old) == (pull.pk, False)

    page = plan.page
    expect(page.locator("#pr-live")).to_contain_text(new.head_sha[:12], timeout=POLL_MS)
    expect(page.get_by_label("Reason")).to_have_value(WHY)
    expect(page.get_by_label("Reason")).to_be_focused()
    expect(page.get_by_role("radio", name="Fail")).to_be_checked()
    page.get_by_role("button", name="Review verdict…").click()
    expect(page.locator("main")).to_contain_text(f"The head is now {new.head_sha[:12]}: recording will be refused.")
    page.get_by_role("button", name="Record verdict").click()
    plan.settle()
    assert_refused(page, "verdict.head_moved", why=WHY)
    expect(page.locator("#your-verdict")).to_contain_text(f"The head moved to {new.head_sha[:12]}")
    assert not Verdict.objects.filter(pull_request=pull).exists()


def test_of_two_who_record_at_once_the_second_sees_the_first_and_keeps_the_draft(site: Site):
    site.portal.hand_over(change("share"), branch="staging/codex-share", task="Add share")
    pull = site.portal.pull()
    first, second = site.visitor("plan2"), site.visitor("plan")
    fill_verdict(first, pull, "Fail", "The share is never rounded.")
    fill_verdict(second, pull, "Fail", WHY)
    send_verdict(first)
    expect(first.page.locator("#receipt")).to_contain_text("plan2 (PLAN)")
    send_verdict(second)
    assert_refused(second.page, "verdict.already_recorded", why=WHY)
    expect(second.page.locator("#receipt")).to_contain_text("plan2 (PLAN)")
    expect(second.page.locator("#receipt")).to_contain_text("The share is never rounded.")
    recorded = Verdict.objects.get(pull_request=pull)
    assert (recorded.supervisor.name, recorded.verdict) == ("plan2", VerdictKind.FAIL.value)
    pull.refresh_from_db()
    assert pull.status == PullStatus.NEEDS_REVISION
