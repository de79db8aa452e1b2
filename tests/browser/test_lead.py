"""LEAD in the browser: an escalation appears, is approved with a justification or sent back."""

from __future__ import annotations

from playwright.sync_api import expect

from handoffs.models import PullStatus
from tests.support.browser import POLL_MS, Site, address, assert_merged, change
from tests.support.portal import START
from verdicts.decision import Verdict as VerdictKind
from verdicts.models import Decision

QUESTION = "May this merge before the yearly audit?"
WHY = "The audit looks at last year's figures; this change can be taken back by one revert."
UNTESTED = {"payments/fees.py": START["payments/fees.py"] + "\n\ndef twofold(cents):\n    return 2 * cents\n"}


def test_an_escalation_appears_and_lead_approves_it_with_a_justification(site: Site):
    pull = site.portal.verified(change("audited"), branch="staging/codex-audited", task="Add audited")
    lead = site.visitor("lead")
    page = lead.page
    lead.open("/")
    assert lead.path == "/escalations/"
    expect(page.locator("main")).to_contain_text("Nothing waits for LEAD.")
    site.portal.verdict(VerdictKind.ESCALATE, question=QUESTION)
    page.get_by_role("link", name="The list changed: show it").click(timeout=POLL_MS)
    row = page.locator("[data-row]").filter(has_text=str(pull))
    expect(row).to_contain_text(QUESTION)
    row.get_by_role("link").click()
    lead.settle()
    expect(page.locator("main")).to_contain_text(QUESTION)
    expect(page.locator("main")).to_contain_text("plan (PLAN)")

    page.get_by_role("radio", name="Approve").check()
    page.get_by_label("Justification").fill("ok")
    page.get_by_role("button", name="Review decision…").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Escalation:")
    page.locator("#decision-form").evaluate("form => { form.noValidate = true }")
    page.get_by_role("button", name="Review decision…").click()
    expect(page.get_by_role("alert")).to_contain_text("The justification needs at least 40 characters.")
    expect(page.get_by_role("alert")).to_be_focused()
    expect(page.get_by_label("Justification")).to_have_value("ok")

    page.get_by_label("Justification").fill("a" * 60)
    page.get_by_role("button", name="Review decision…").click()
    page.get_by_role("button", name="Record decision").click()
    expect(page.get_by_role("alert")).to_contain_text("decision.justification")
    expect(page.get_by_label("Justification")).to_have_value("a" * 60)
    assert not Decision.objects.filter(pull_request=pull).exists()

    page.get_by_label("Justification").fill(WHY)
    page.get_by_role("button", name="Review decision…").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Approve {pull}?")
    page.get_by_role("button", name="Record decision").click()
    lead.settle()
    receipt = page.locator("#receipt")
    expect(receipt).to_be_focused()
    expect(receipt).to_contain_text("lead (LEAD)")
    expect(receipt).to_contain_text(WHY)
    page.get_by_role("button", name=f"Merge {pull}").click()
    lead.settle()
    expect(page.locator("#merged")).to_be_focused()
    assert_merged(site, pull, "PLAN-SUPERVISOR: ESCALATE", f"LEAD-APPROVED: {WHY}", "Decision-By: lead")


def test_lead_sends_a_conditional_pass_back_and_it_cannot_merge(site: Site):
    pull = site.portal.verified(UNTESTED, branch="staging/codex-double", task="Add double")
    site.portal.verdict(VerdictKind.CONDITIONAL_PASS)
    lead = site.visitor("lead")
    page = lead.page
    lead.open(f"/escalations/{pull.pk}/")
    expect(page.locator("main")).to_contain_text("New findings, 1")
    expect(page.locator("main")).to_contain_text("changed and no test did")
    page.get_by_role("radio", name="Send back").check()
    page.get_by_label("Justification").fill(WHY)
    page.get_by_role("button", name="Review decision…").click()
    page.get_by_role("button", name="Record decision").click()
    lead.settle()
    expect(page.locator("#receipt")).to_contain_text("Sent back")
    expect(page.get_by_role("button", name=f"Merge {pull}")).to_have_count(0)
    decision = Decision.objects.get(pull_request=pull)
    assert (decision.decision, decision.lead.name, str(decision.justification)) == ("send_back", "lead", WHY)
    pull.refresh_from_db()
    assert pull.status == PullStatus.NEEDS_REVISION
    lead.open(address(pull))
    expect(page.get_by_role("button", name=f"Merge {pull}")).to_be_disabled()
    expect(page.locator("#blocked")).to_contain_text("This head was sent back")
