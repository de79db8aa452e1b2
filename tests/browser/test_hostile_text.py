"""Text that wants to be more than text, in every place where strangers write: it is shown, and does nothing."""

from __future__ import annotations

from decimal import Decimal
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from audit.canonical import JsonValue
from audit.models import LogEntry
from handoffs.models import PullRequest
from tests.support.browser import Site, address, change
from tests.support.log import settle_log
from verdicts import actions
from verdicts.actions import GateReport
from verdicts.decision import Verdict as VerdictKind
from verdicts.models import Decision, Verdict
from verdicts.results import AgentKind, AgentOutcome, AgentResult, Finding, GateOutcome, Grade, Severity, Tool
from verdicts.tasks import sweep_verification

SCRIPT = "<script>window.__pwned=1</script>"
IMAGE = "<img src=x onerror=window.__pwned=2>"
LINK = "<a href='javascript:window.__pwned=3' id=evil>look</a>"
HTMX = '<p hx-get="/signout/" hx-trigger="load" hx-on:load="window.__pwned=4">&lt;</p>'
ELSEWHERE = "<link rel=stylesheet href='//elsewhere.invalid/x.css'><iframe src='//elsewhere.invalid/'></iframe>"
TEMPLATE = "{{ 7|add:35 }}{% include 'base.html' %}"
QUOTES = "\"' onfocus=window.__pwned=5 autofocus x='"
PRINTABLE = f"{SCRIPT} {IMAGE} {LINK} {HTMX} {QUOTES}"
INVISIBLE = "\u202etxet\u202c \u2066\u200b\u2069\u0007\u009b"
ALL = f"{PRINTABLE} {ELSEWHERE} {TEMPLATE} {INVISIBLE}"
NAME = "payments/<img src=x onerror=window.__pwned=6>&quot;'{{7}}.py"

# Nothing a stranger wrote became an element, an attribute that acts, or a link.
TRACES = """() => [
  ...document.querySelectorAll("main script, main img, main iframe, main link, #evil"),
  ...document.querySelectorAll("[onerror], [onload], [onfocus], [hx-on\\\\:load], [hx-get='/signout/'], [x]"),
  ...[...document.links].filter((link) => link.origin !== location.origin),
  ...(window.__pwned === undefined ? [] : [document.documentElement]),
].map((element) => element.outerHTML.slice(0, 200))"""


def result(kind: AgentKind, head: str, *findings: Finding) -> AgentResult:
    """What an outside reviewer says, with hostile text wherever it may write."""
    return AgentResult(
        kind=kind,
        outcome=AgentOutcome.WARNED,
        confidence=Decimal(90),
        findings=findings,
        head_sha=head,
        tools=(Tool(PRINTABLE[:80], "1", (ALL[:80],), 0, 1, ""),),
        input_digest="0" * 64,
        subjects=(NAME,),
        grade=Grade.VERIFIED,
        reason=ALL[:500],
    )


@pytest.fixture
def hostile(site: Site) -> PullRequest:
    """A pull request whose builder, reporter, PLAN and LEAD all write hostile text where the rules let them."""
    portal = site.portal
    branch, files = "staging/codex-hostile", change("hostile")
    code = f'"""{PRINTABLE} {TEMPLATE}"""\n\nTEXT = "{INVISIBLE}"  # {HTMX}\n'
    raw = portal.bundle({**files, NAME: code}, branch=branch, task=PRINTABLE)
    portal.push_bundle(raw, branch=branch)
    handoff = portal.receive()
    assert handoff.status == "opened", list(handoff.checks.filter(outcome="FAILED").values("code", "got"))
    sweep_verification()
    portal.run_work()
    pull = portal.pull()
    by = portal.actor("mallory")
    bad = Finding(PRINTABLE[:100], Severity.LOW, NAME, 3, ALL, ALL)
    actions.report_agent(pull.pk, result(AgentKind.SECURITY, pull.head_sha, bad), by=by)
    checks: list[JsonValue] = [{"name": ALL, "met": False, "got": ALL}]
    report = GateReport("story-release", GateOutcome.SUCCESS, PRINTABLE[:120], pull.head_sha, {"checks": checks})
    actions.report_gate(pull.pk, report, by=by)
    portal.verdict(VerdictKind.ESCALATE, why=ALL, question=ALL[:300])
    return portal.pull()


def assert_harmless(page: Page) -> None:
    """Everything that could show an effect was tried, and there is none."""
    page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true })")
    page.wait_for_load_state("networkidle")
    page.mouse.move(300, 300)
    assert page.evaluate(TRACES) == []


def test_hostile_text_is_shown_as_text_on_every_page(site: Site, hostile: PullRequest):
    portal, pull = site.portal, hostile
    refused_subject = f"[CODEX-READY:{'0' * 64}] {PRINTABLE}"
    portal.push_bundle(b"no bundle", branch="staging/codex-other", subject=refused_subject)
    refused = portal.receive()
    assert refused.status == "refused"

    lead = site.visitor("lead")
    page = lead.page
    lead.open(f"/escalations/{pull.pk}/")
    assert_harmless(page)
    expect(page.locator("main")).to_contain_text(SCRIPT)
    page.get_by_role("radio", name="Send back").check()
    page.get_by_label("Justification").fill(ALL)
    page.get_by_role("button", name="Review decision…").click()
    assert_harmless(page)
    expect(page.locator("main")).to_contain_text(IMAGE)
    page.get_by_role("button", name="Record decision").click()
    lead.settle()
    assert_harmless(page)
    assert Decision.objects.get(pull_request=pull).justification.text.startswith(SCRIPT)
    settle_log()

    auditor = site.visitor("auditor")
    title = PRINTABLE[:150]
    told = ("agent.reported", "gate.reported", "verdict.recorded", "decision.recorded")
    newest = LogEntry.objects.filter(subject=str(pull.handoff), kind__in=told).order_by("pk").values_list("kind", "pk")
    pages = {
        address(pull): title,
        f"{address(pull)}diff/": "<img src=x onerror=window.__pwned=6>",
        f"{address(pull)}history/": SCRIPT,
        "/prs/": title,
        "/escalations/": SCRIPT,
        "/handoffs/": title,
        f"/handoffs/{pull.handoff_id}/": title,
        f"/handoffs/{refused.pk}/": SCRIPT,
        "/audit/": "mallory",
        f"/audit{address(pull)}": title,
        **{f"/audit/events/{pk}/": '"kind": ' for pk in dict(newest).values()},
    }
    for path, text in pages.items():
        auditor.open(path)
        assert_harmless(auditor.page)
        expect(auditor.page.locator("main")).to_contain_text(text)

    auditor.open(f"{address(pull)}diff/?path={quote(NAME)}")
    assert_harmless(auditor.page)
    diff = auditor.page.locator("table.diff")
    expect(diff).to_contain_text(SCRIPT)
    for badge in (
        "U+202E RIGHT-TO-LEFT OVERRIDE",
        "U+202C POP DIRECTIONAL FORMATTING",
        "U+200B ZERO WIDTH SPACE",
        r"\x07\x9b",
    ):
        expect(diff).to_contain_text(badge)
    assert Verdict.objects.get(pull_request=pull).question.text.startswith(SCRIPT)
