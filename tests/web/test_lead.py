"""LEAD's pages: the list of escalations, the decision form, its review step and receipt."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.utils import timezone

from audit.models import LogEntry
from handoffs.models import PullRequest, PullStatus
from tests.web.scene import Scene
from verdicts.actions import time_out
from verdicts.evidence import gather
from verdicts.models import Decision
from verdicts.results import Severity
from verdicts.reviewing import for_review

JUSTIFICATION = "Checked the plan of the index build; it locks two seconds at night and is undone by dropping it."


def decision_form(pull: PullRequest, decision: str = "approve", *, step: str = "record", **changes: str):
    seen = gather(for_review().get(pk=pull.pk), tree=pull.handoff.result_tree).digest
    form = {"decision": decision, "justification": JUSTIFICATION, "head_sha": pull.head_sha, "step": step}
    return {**form, "evidence": seen, "reason_class": "", "reference": "", "expires_on": "", **changes}


def page_of(scene: Scene, pull: PullRequest, name: str = "lead") -> str:
    return scene.client(name).get(f"/escalations/{pull.pk}/").content.decode()


def test_an_empty_list_says_what_would_be_here(scene: Scene):
    text = scene.client("lead").get("/escalations/").content.decode()
    assert "Nothing waits for LEAD." in text
    assert "No decision yet." in text


def test_the_list_is_oldest_first_and_says_why(scene: Scene):
    first, second = scene.escalated(), scene.escalated()
    PullRequest.objects.filter(pk=second.pk).update(moved_at=timezone.now() - timedelta(hours=5))
    text = scene.client("lead").get("/escalations/").content.decode()
    assert text.index(f"/escalations/{second.pk}/") < text.index(f"/escalations/{first.pk}/")
    assert "May this merge with a blocking index build?" in text
    assert "5 h" in text
    assert "Conditional pass" in text


def test_the_page_shows_what_plan_asked_and_saw(scene: Scene):
    pull = scene.escalated()
    text = page_of(scene, pull)
    assert "PLAN asks" in text
    assert "May this merge with a blocking index build?" in text
    assert "Low: The index is not built concurrently" in text
    assert "Last day of the override" not in text
    assert "At least 40 characters." in text


def test_a_conditional_pass_is_approved_after_a_review_step(scene: Scene):
    pull = scene.escalated()
    client = scene.client("lead")
    review = client.post(f"/escalations/{pull.pk}/decide/", decision_form(pull, step="review")).content.decode()
    assert f"Approve PR-{pull.number}?" in review
    assert not Decision.objects.exists()
    answer = client.post(f"/escalations/{pull.pk}/decide/", decision_form(pull))
    assert answer["Location"] == f"/escalations/{pull.pk}/#receipt"
    text = page_of(scene, pull)
    assert 'id="receipt"' in text
    assert JUSTIFICATION in text
    assert f"Merge PR-{pull.number}" in text
    decision = Decision.objects.get()
    assert decision.is_override is False
    pull.refresh_from_db()
    assert pull.status == PullStatus.READY_TO_MERGE


def test_sending_back_and_rerunning_are_decisions_too(scene: Scene):
    back, again = scene.escalated(), scene.escalated()
    client = scene.client("lead")
    client.post(f"/escalations/{back.pk}/decide/", decision_form(back, "send_back"))
    client.post(f"/escalations/{again.pk}/decide/", decision_form(again, "rerun"))
    back.refresh_from_db()
    again.refresh_from_db()
    assert (back.status, again.status) == (PullStatus.NEEDS_REVISION, PullStatus.GATES_PASSING)
    text = client.get("/escalations/").content.decode()
    assert "Sent back" in text
    assert "Re-run forced" in text


def test_an_override_asks_for_reason_reference_and_expiry(scene: Scene):
    pull = scene.escalated(severity=Severity.HIGH)
    client = scene.client("lead")
    assert "Approve with an override" in page_of(scene, pull)
    bare = client.post(f"/escalations/{pull.pk}/decide/", decision_form(pull))
    text = bare.content.decode()
    assert bare.status_code == 422
    assert "Choose why the override is right." in text
    assert "Name the ticket or document" in text
    assert "Choose the last day" in text
    assert JUSTIFICATION in text
    last = (timezone.now() + timedelta(days=13)).date()
    whole = decision_form(pull, reason_class="false-positive", reference="OPS-7", expires_on=last.isoformat())
    review = client.post(f"/escalations/{pull.pk}/decide/", {**whole, "step": "review"}).content.decode()
    assert "Override and approve" in review
    assert client.post(f"/escalations/{pull.pk}/decide/", whole).status_code == 302
    decision = Decision.objects.get()
    assert decision.is_override is True
    assert decision.expires_at == datetime(last.year, last.month, last.day, 23, 59, 59, tzinfo=UTC)
    assert "Override" in page_of(scene, pull)


def test_an_override_for_too_long_is_refused_with_its_code(scene: Scene):
    pull = scene.escalated(severity=Severity.HIGH)
    far = (timezone.now() + timedelta(days=40)).date().isoformat()
    form = decision_form(pull, reason_class="other", reference="OPS-7", expires_on=far)
    answer = scene.client("lead").post(f"/escalations/{pull.pk}/decide/", form)
    text = answer.content.decode()
    assert answer.status_code == 409
    assert "decision.expiry" in text
    assert far in text
    assert LogEntry.objects.filter(kind="decision.refused", principal=scene.actor("lead").principal_id).exists()


def test_a_short_justification_is_not_enough(scene: Scene):
    pull = scene.escalated()
    answer = scene.client("lead").post(f"/escalations/{pull.pk}/decide/", decision_form(pull, justification="ok"))
    assert answer.status_code == 422
    assert "at least 40 characters" in answer.content.decode()


def test_a_repeated_character_is_refused_by_the_action(scene: Scene):
    pull = scene.escalated()
    answer = scene.client("lead").post(f"/escalations/{pull.pk}/decide/", decision_form(pull, justification="a" * 60))
    assert answer.status_code == 409
    assert "decision.justification" in answer.content.decode()


def test_the_other_roles_read_but_see_no_form(scene: Scene):
    pull = scene.escalated()
    for name in ("plan", "auditor"):
        text = page_of(scene, pull, name)
        assert "decision-form" not in text
        assert "A LEAD decides here." in text


def test_a_timeout_is_told_and_its_approval_is_an_override(scene: Scene):
    pull = scene.pull()
    PullRequest.objects.filter(pk=pull.pk).update(deadline_at=timezone.now() - timedelta(minutes=1))
    assert time_out(pull.pk, by=scene.verifier)
    text = page_of(scene, pull)
    assert "The checks did not finish in time" in text
    assert "Approve with an override" in text
    assert "The checks did not finish in time" in scene.client("lead").get("/escalations/").content.decode()


def test_an_unknown_escalation_is_missing(scene: Scene):
    assert scene.client("lead").get("/escalations/999/").status_code == 404
