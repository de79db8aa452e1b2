"""PLAN's pages: queue, list, one pull request, verdict, verify, merge, diff and timeline."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from audit.actions import take_part
from audit.models import LogEntry
from handoffs.models import PullRequest, PullStatus
from tests.web.asking import REASON, address, text_of, verdict_form
from tests.web.scene import HOSTILE, Scene, finding
from verdicts.models import Verdict
from verdicts.results import AgentKind, Severity


def test_the_page_says_what_blocks_and_who_clears_it(scene: Scene):
    pull = scene.pull()
    text = text_of(scene.client("plan"), address(pull))
    assert "Blocked by 10 things" in text
    assert "Gate slsa has no result yet" in text
    assert "You can clear it: PLAN records the verdict" in text
    assert "Expected, not reported" in text
    assert "No result yet" in text


def test_the_confidence_is_opened_to_its_terms(scene: Scene):
    pull = scene.pull()
    scene.report_gates(pull)
    scene.report_agents(pull, score=88, findings={AgentKind.DATABASE: (finding(Severity.LOW),)})
    text = text_of(scene.client("plan"), address(pull))
    assert "88.0 %" in text
    assert "26.40" in text  # 88 x 0.30
    assert "Sum of products" in text
    assert "88.00" in text
    assert "Computed verdict" in text
    assert "The index is not built concurrently" in text
    assert "ruff 0.17.6" in text
    assert "run-slsa" in text
    assert "AB" * 20 in text
    assert "Pending transparency" in text


def test_laxer_verdicts_are_disabled_and_say_why(scene: Scene):
    pull = scene.pull()
    scene.report_gates(pull)
    scene.report_agents(pull, score=80)
    text = text_of(scene.client("plan"), address(pull))
    assert 'value="PASS" required disabled' in text
    assert "It needs a confidence of 85.00; it is 80.00." in text
    assert 'value="FAIL" required aria' in text


def test_new_findings_come_first_and_old_ones_do_not_count(scene: Scene):
    pull = scene.pull()
    old = finding(Severity.CRITICAL, message="It was bad before", is_new=False)
    scene.report_agents(pull, findings={AgentKind.SECURITY: (old,), AgentKind.DESIGN: (finding(Severity.LOW),)})
    text = text_of(scene.client("plan"), address(pull))
    assert text.index("The index is not built") < text.index("It was bad before")
    assert "Findings, 1 new in this change" in text
    assert "was there before" in text


def test_a_verdict_is_reviewed_recorded_and_receipted(scene: Scene):
    pull = scene.passing()
    client = scene.client("plan")
    review = client.post(address(pull, "verdict/"), verdict_form(pull, step="review"))
    assert review.status_code == 200
    assert f"Record Pass for PR-{pull.number}?" in review.content.decode()
    assert not Verdict.objects.exists()
    answer = client.post(address(pull, "verdict/"), verdict_form(pull))
    verdict = Verdict.objects.get()
    assert answer.status_code == 302
    assert answer["Location"] == f"{address(pull)}?recorded={verdict.pk}#receipt"
    text = text_of(client, answer["Location"])
    assert "Verdict recorded" in text
    assert REASON in text
    assert "Merge PR-" in text
    pull.refresh_from_db()
    assert pull.status == PullStatus.READY_TO_MERGE


def test_back_from_the_review_step_keeps_what_was_typed(scene: Scene):
    pull = scene.passing()
    typed = verdict_form(pull, "ESCALATE", step="edit", question="Is the risk worth it?")
    text = scene.client("plan").post(address(pull, "verdict/"), typed).content.decode()
    assert REASON in text
    assert 'value="Is the risk worth it?"' in text
    assert 'value="ESCALATE" required checked' in text


def test_a_pass_below_the_line_is_refused_with_its_code_and_in_the_trail(scene: Scene):
    pull = scene.pull()
    scene.report_gates(pull)
    scene.report_agents(pull, score=84)
    answer = scene.client("plan").post(address(pull, "verdict/"), verdict_form(pull))
    text = answer.content.decode()
    assert answer.status_code == 409
    assert "verdict.confidence_too_low" in text
    assert "Nothing was recorded" in text
    assert REASON in text
    assert not Verdict.objects.exists()
    plan = scene.actor("plan").principal_id
    assert LogEntry.objects.filter(kind="verdict.refused", principal=plan).count() == 1


def test_a_verdict_on_a_head_that_moved_is_refused_and_nothing_typed_is_lost(scene: Scene):
    pull = scene.passing()
    stale = verdict_form(pull, head_sha="c" * 40)
    answer = scene.client("plan").post(address(pull, "verdict/"), stale)
    text = answer.content.decode()
    assert answer.status_code == 409
    assert "verdict.head_moved" in text
    assert "The head moved to" in text
    assert REASON in text


def test_an_incomplete_form_says_what_is_missing(scene: Scene):
    pull = scene.passing()
    form = verdict_form(pull, "ESCALATE", step="review", justification=" ")
    answer = scene.client("plan").post(address(pull, "verdict/"), form)
    text = answer.content.decode()
    assert answer.status_code == 422
    assert "Write the reason" in text
    assert "Ask LEAD one question" in text
    assert 'role="alert"' in text


@pytest.mark.parametrize("field", ["status", "actor", "role", "supervisor", "_connector"])
def test_fields_that_are_not_asked_for_are_ignored(scene: Scene, field: str):
    pull = scene.passing()
    scene.client("plan").post(address(pull, "verdict/"), verdict_form(pull, **{field: "lead"}))
    verdict = Verdict.objects.get()
    assert verdict.supervisor.name == "plan"
    assert verdict.verdict == "PASS"


def test_who_took_part_sees_why_the_form_is_closed(scene: Scene):
    pull = scene.passing()
    actor = scene.actor("plan")
    take_part(pull.handoff.chain, type(actor)(actor.principal_id, actor.name, scene.enforcer.role))
    client = scene.client("plan")
    text = text_of(client, address(pull))
    assert "You cannot judge this handoff: you took part in this handoff as ENFORCER" in text
    assert '<fieldset disabled aria-describedby="why-no-verdict">' in text
    refused = client.post(address(pull, "verdict/"), verdict_form(pull))
    assert refused.status_code == 409
    assert "sod.conflict" in refused.content.decode()


def test_only_plan_sees_the_verdict_form(scene: Scene):
    pull = scene.passing()
    assert "verdict-form" in text_of(scene.client("plan"), address(pull))
    for name in ("lead", "auditor"):
        assert "verdict-form" not in text_of(scene.client(name), address(pull))


def test_a_link_that_nobody_asked_for_on_github_fills_nothing_in(scene: Scene):
    pull = scene.passing()
    text = text_of(scene.client("plan"), f"{address(pull)}?draft=7&question=May+this+go+live%3F")
    assert "May this go live" not in text
    assert 'value="ESCALATE" required checked' not in text
    assert scene.client("plan").get(f"{address(pull)}?draft=PASS").status_code == 400


def test_lead_sees_a_pull_request_once_plan_is_done_with_it(scene: Scene):
    watched, escalated = scene.passing(), scene.escalated()
    assert "It is with PLAN" in text_of(scene.client("lead"), address(watched))
    assert "Required checks, 3 of 4" in text_of(scene.client("lead"), address(escalated))
    listed = text_of(scene.client("lead"), "/prs/")
    assert address(escalated) in listed
    assert address(watched) not in listed
    assert "gates-passing" not in listed
    assert address(watched) not in text_of(scene.client("lead"), "/prs/?state=gates-passing")


def test_a_live_part_is_swapped_only_when_something_changed(scene: Scene):
    pull = scene.passing()
    client = scene.client("plan")
    answer = client.get(address(pull))
    headers = {"HX-Request": "true", "HX-Target": "pr-live"}
    for _ in range(20):  # an age on the page ("3 s ago") may roll on between two looks: that is a change, too
        seen = answer.content.decode().partition("?seen=")[2].partition('"')[0]
        answer = client.get(f"{address(pull)}?seen={seen}", headers=headers)
        if answer.status_code == 204:
            break
    assert answer.status_code == 204
    scene.report_agents(pull, score=90)
    part = client.get(f"{address(pull)}?seen={seen}", headers=headers).content.decode()
    assert part.lstrip().startswith('<div class="stack" id="pr-live"')
    assert "90.0 %" in part
    assert 'hx-swap-oob="true"' in part
    assert "verdict-form" not in part


def test_a_merge_without_pass_is_refused(scene: Scene):
    pull = scene.passing()
    client = scene.client("plan")
    assert "Merging needs a PASS on this head" in text_of(client, address(pull))
    answer = client.post(address(pull, "merge/"))
    assert answer.status_code == 409
    assert "merge.no_pass" in answer.content.decode()


def test_verify_again_queues_the_checks_once(scene: Scene):
    pull = scene.passing()
    client = scene.client("plan")
    first = client.post(address(pull, "verify/"), follow=True).content.decode()
    assert "7 checks are queued on this head." in first
    assert "Checks are running on this head now." in first
    again = client.post(address(pull, "verify/"), follow=True).content.decode()
    assert "A verification is running on this head already." in again


def test_a_merged_page_is_frozen_at_what_was_true(scene: Scene):
    pull = scene.passing()
    client = scene.client("plan")
    client.post(address(pull, "verdict/"), verdict_form(pull))
    PullRequest.objects.filter(pk=pull.pk).update(
        status=PullStatus.MERGED, merge_sha="d" * 40, merged_at=timezone.now()
    )
    scene.report_agents(pull, score=10)
    text = text_of(client, address(pull))
    assert "This pull request has ended" in text
    assert "95.0 %" in text
    assert "10.0 %" not in text
    assert "d" * 40 in text
    assert "verdict-form" not in text
    assert "every 5s" not in text


def test_a_repository_that_cannot_be_read_passes_nothing(scene: Scene):
    pull = scene.passing()
    Path(scene.repository.path).rename(scene.root / "gone.git")
    text = text_of(scene.client("plan"), address(pull))
    assert "The repository cannot be read" in text
    assert "tree.differs" in text
    assert scene.client("plan").get(address(pull, "diff/")).status_code == 503
    refused = scene.client("plan").post(address(pull, "verdict/"), verdict_form(pull))
    assert refused.status_code == 409
    assert not Verdict.objects.exists()


def test_a_passed_deadline_is_told(scene: Scene):
    pull = scene.pull()
    PullRequest.objects.filter(pk=pull.pk).update(deadline_at=timezone.now() - timedelta(hours=1))
    assert "passed 1 h ago" in text_of(scene.client("plan"), address(pull))


@pytest.mark.threat("WEB-01")
def test_hostile_text_is_text_everywhere(scene: Scene):
    pull = scene.pull(title=f"Title {HOSTILE}"[:200])
    scene.report_agents(pull, findings={AgentKind.SECURITY: (finding(Severity.HIGH, message=HOSTILE),)})
    plan = scene.client("plan")
    pages = ["/turn/", "/prs/", address(pull), address(pull, "history/"), f"/handoffs/{pull.handoff_id}/", "/handoffs/"]
    for url in (*pages, f"/audit{address(pull)}", address(pull, "diff/")):
        text = text_of(plan, url)
        assert "<script>alert" not in text, url
        assert "&lt;script&gt;alert(1)" in text, url
        assert "14" not in text.partition("Title ")[2][:80], url


def test_a_page_opened_at_another_head_says_that_the_head_moved(scene: Scene):
    pull = scene.passing()
    client = scene.client("plan")
    headers = {"HX-Request": "true", "HX-Target": "pr-live"}
    old = "ab" * 20
    part = client.get(address(pull), {"seen": "x", "head": old}, headers=headers).content.decode()
    assert f"The head moved to {pull.head_sha[:12]}" in part
    assert f"head={old}" in part
    same = client.get(address(pull), {"seen": "x", "head": pull.head_sha}, headers=headers).content.decode()
    assert "The head moved" not in same
    assert "The head moved" not in client.get(address(pull), {"head": '"><script>'}, headers=headers).content.decode()
