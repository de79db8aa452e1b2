"""PLAN's whole way once more: with the keyboard alone, and without JavaScript."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.support.browser import PASSWORD, Site, address, assert_merged, change, tab_to

WHY = "I read the diff and the tests, from the first line to the last."


def test_plan_does_all_of_it_with_the_keyboard_alone(site: Site):
    pull = site.portal.verified(change("keyed"), branch="staging/codex-keyed", task="Add keyed")
    plan = site.visitor()
    plan.open("/")
    page, keys = plan.page, plan.page.keyboard
    expect(page.get_by_label("Name")).to_be_focused()
    keys.type("plan")
    keys.press("Tab")
    keys.type(PASSWORD)
    keys.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("My turn")

    keys.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Next and previous row")
    keys.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    keys.press("j")
    expect(page.locator("[data-row] a.row-link").first).to_be_focused()
    keys.press("o")
    plan.settle()
    assert plan.path == address(pull)

    keys.press("n")
    expect(page.locator("#confidence > summary")).to_be_focused()
    expect(page.locator("#confidence table")).to_be_visible()
    keys.press("]")
    expect(page.locator("details.file > summary").first).to_be_focused()
    expect(page.locator("details.file").first).to_contain_text("def keyed(cents: int) -> int:")
    keys.press("v")
    expect(page.locator("#your-verdict :focus")).to_have_count(1)
    tab_to(page, page.get_by_role("radio", name="Pass", exact=True))
    keys.press("Space")
    keys.press("ArrowDown")
    expect(page.get_by_role("radio", name="Conditional pass")).to_be_checked()
    keys.press("ArrowUp")
    expect(page.get_by_role("radio", name="Pass", exact=True)).to_be_checked()
    tab_to(page, page.get_by_label("Reason"))
    keys.type(WHY)
    keys.press("Control+Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Record Pass for {pull}?")
    keys.press("Control+Enter")
    plan.settle()
    expect(page.locator("#receipt")).to_be_focused()
    expect(page.locator("#receipt")).to_contain_text(WHY)
    tab_to(page, page.get_by_role("button", name=f"Merge {pull}"))
    keys.press("Enter")
    plan.settle()
    expect(page.locator("#merged")).to_be_focused()
    assert_merged(site, pull, "PLAN-SUPERVISOR: PASS", "Verdict-By: plan")

    keys.press("g")
    keys.press("t")
    expect(page.get_by_role("heading", level=1)).to_have_text("My turn")
    expect(page.locator("main")).to_contain_text("Nothing waits for you.")


def test_plan_does_all_of_it_without_javascript(site: Site):
    pull = site.portal.verified(change("plain"), branch="staging/codex-plain", task="Add plain")
    plan = site.visitor(java_script_enabled=False)
    page = plan.page
    plan.sign_in("plan")
    page.get_by_role("link", name=re.compile(f"{pull} Add plain")).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Add plain")
    expect(page.locator("#gates")).to_contain_text("3 of 4")

    page.get_by_role("link", name="Every check, with what was found and expected").click()
    expect(page.locator("#handoff-checks")).to_contain_text("0 failed")
    page.get_by_role("link", name=f"Open {pull}").click()
    page.get_by_role("link", name="The changed files").click()
    page.locator("details.file > summary").first.click()
    page.get_by_role("link", name="Show the diff of this file").first.click()
    expect(page.locator("table.diff")).to_contain_text("def plain(cents: int) -> int:")
    page.get_by_role("link", name=re.compile(f"^{pull} ")).click()
    page.get_by_role("link", name="Everything that happened, with who and when").click()
    expect(page.locator("#history")).to_contain_text("triggered the workflows and handed over to PLAN")
    page.get_by_role("link", name=re.compile(f"^{pull} ")).click()

    expect(page.get_by_role("button", name=f"Merge {pull}")).to_be_disabled()
    page.get_by_role("radio", name="Pass", exact=True).check()
    page.get_by_label("Reason").fill(WHY)
    page.get_by_role("button", name="Review verdict…").click()
    page.get_by_role("button", name="Back").click()
    expect(page.get_by_label("Reason")).to_have_value(WHY)
    expect(page.get_by_role("radio", name="Pass", exact=True)).to_be_checked()
    page.get_by_role("button", name="Review verdict…").click()
    page.get_by_role("button", name="Record verdict").click()
    expect(page.locator("#receipt")).to_contain_text(WHY)
    page.get_by_role("button", name=f"Merge {pull}").click()
    expect(page.locator("#merged")).to_contain_text("into main")
    assert_merged(site, pull, "PLAN-SUPERVISOR: PASS", "Verdict-By: plan")
