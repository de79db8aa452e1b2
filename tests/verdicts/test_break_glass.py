"""Break-glass: two people, one head, 60 minutes, in the open, and a review before the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import DatabaseError, IntegrityError, transaction
from django.utils import timezone

from audit import events
from audit.actions import actor_of, append_event, take_part
from audit.events import Actor, AuditError, Role
from audit.models import LogEntry
from handoffs.models import Handoff, PullRequest, PullStatus
from tests.support.people import one_person, person
from tests.support.portal import Portal
from tests.web.scene import Scene, make_scene
from verdicts import evidence
from verdicts.break_glass import BreakGlassRequest, open_break_glass, request_break_glass, review_break_glass
from verdicts.break_glass_rows import BreakGlass
from verdicts.decision import Verdict as VerdictKind
from verdicts.merging import merge_pull_request
from verdicts.models import Decision, VerdictError
from verdicts.tasks import sweep_deadlines

WHY = "Payments are down; this is the fix, and the gates' runner is down with them."
SEEN = "Looked at the change after the incident: it does what the request says, and nothing else."


@pytest.fixture
def scene(db, settings, tmp_path: Path) -> Scene:
    settings.BUNDLE_STORE = tmp_path / "bundles"
    return make_scene(tmp_path)


def actor(name: str) -> Actor:
    return actor_of(person(name))


def ask(pull: PullRequest, by: str = "lead", **changed: str) -> BreakGlass:
    request = BreakGlassRequest(**{"justification": WHY, "reference": "INC-7", "head_sha": pull.head_sha, **changed})
    return request_break_glass(pull.pk, request, by=actor(by))


def broken(scene: Scene, second: str = "lead2") -> tuple[PullRequest, BreakGlass]:
    pull = scene.pull()
    glass = ask(pull)
    open_break_glass(glass.pk, by=actor(second))
    glass.refresh_from_db()
    return PullRequest.objects.get(pk=pull.pk), glass


@pytest.mark.threat("SOD-12")
@pytest.mark.parametrize("second", ["lead2", "xena"])
def test_two_people_release_one_head_and_everybody_sees_as_what(scene: Scene, second: str):
    pull, glass = broken(scene, second)
    decision = Decision.objects.get()
    assert pull.status == PullStatus.READY_TO_MERGE
    assert (decision.lead, decision.countersigned_by) == (person("lead"), person(second))
    assert decision.release_class == "OVERRIDE/BREAK-GLASS"
    assert glass.opened_at
    assert decision.expires_at == glass.closes_at == glass.opened_at + timedelta(minutes=60)
    assert glass.review_due_at == glass.opened_at + timedelta(hours=24)
    leaf = decision.log_entry.open()
    assert (leaf["class"], leaf["countersigned_by"]) == ("OVERRIDE/BREAK-GLASS", person(second).pk)
    gate = pull.gate_executions.latest("pk")
    assert (gate.conclusion, gate.evidence) == ("success", {"title": "BREAK-GLASS"})


def one_person_under_two_names() -> object:
    return one_person(person("lead"), person("lead2"))


REFUSED: dict[str, tuple[str, Callable[[Scene, PullRequest], object]]] = {
    "the same approver twice": ("breakglass.second_person", lambda s, p: open_break_glass(ask(p).pk, by=actor("lead"))),
    "one person under two names": (
        "breakglass.second_person",
        lambda s, p: (glass := ask(p), one_person_under_two_names(), open_break_glass(glass.pk, by=actor("lead2"))),
    ),
    "asked for by PLAN": ("role.not_allowed", lambda s, p: ask(p, by="plan")),
    "asked for by an administrator": ("role.not_allowed", lambda s, p: ask(p, by="xena")),
    "opened by PLAN": ("role.not_allowed", lambda s, p: open_break_glass(ask(p).pk, by=actor("plan"))),
    "opened by the auditor": ("role.not_allowed", lambda s, p: open_break_glass(ask(p).pk, by=actor("auditor"))),
    "no reason of substance": ("breakglass.justification", lambda s, p: ask(p, justification="a" * 60)),
    "no reference": ("breakglass.reference", lambda s, p: ask(p, reference=" ")),
    "another head": ("breakglass.head_moved", lambda s, p: ask(p, head_sha="0" * 40)),
    "asked for twice": ("breakglass.waiting", lambda s, p: (ask(p), ask(p, by="lead2"))),
    "an author nobody knows": ("contributor.unknown", lambda s, p: (unknown_author(p), ask(p))),
    "a LEAD who built it": ("sod.conflict", lambda s, p: (built_by(p, "lead"), ask(p))),
    "a second who built it": (
        "sod.conflict",
        lambda s, p: (built_by(p, "lead2"), open_break_glass(ask(p).pk, by=actor("lead2"))),
    ),
    "after 60 minutes": ("breakglass.not_open", lambda s, p: open_break_glass(lapsed(p).pk, by=actor("lead2"))),
    "opened twice": (
        "breakglass.not_open",
        lambda s, p: (g := ask(p), *(open_break_glass(g.pk, by=actor(n)) for n in ("lead2", "lead2"))),
    ),
    "an unverified bundle": ("breakglass.bundle", lambda s, p: (Handoff.objects.update(status="opened"), ask(p))),
    "the second use before the review": ("breakglass.review_due", lambda s, p: (broken(s), ask(p))),
    "reviewed by who asked": ("breakglass.third_person", lambda s, p: review(broken(s)[1], "lead")),
    "reviewed by who opened": ("breakglass.third_person", lambda s, p: review(broken(s)[1], "lead2")),
    "reviewed by who built it": (
        "sod.conflict",
        lambda s, p: (g := broken(s)[1], built_by(g.pull_request, "xena"), review(g, "xena")),
    ),
    "reviewed without words": ("breakglass.review", lambda s, p: review(broken(s)[1], "xena", "fine")),
    "reviewed twice": ("breakglass.nothing_to_review", lambda s, p: [review(g, "xena") for g in [broken(s)[1]] * 2]),
}


def review(glass: BreakGlass, by: str, text: str = SEEN) -> BreakGlass:
    return review_break_glass(glass.pk, text, by=actor(by))


def unknown_author(pull: PullRequest) -> int:
    return Handoff.objects.filter(pk=pull.handoff_id).update(unknown_contributors=["ghost@acme.invalid"])


def built_by(pull: PullRequest, name: str) -> str:
    with transaction.atomic():
        take_part(pull.handoff.chain, replace(actor(name), role=Role.BUILDER))
    return name


def lapsed(pull: PullRequest) -> BreakGlass:
    glass = ask(pull)
    values = {field.attname: getattr(glass, field.attname) for field in BreakGlass._meta.fields if field.name != "id"}
    early = {"requested_at": timezone.now() - timedelta(minutes=60, seconds=1), "lapses_at": timezone.now()}
    return BreakGlass.objects.create(**{**values, **early})


@pytest.mark.threat("SOD-12")
@pytest.mark.parametrize("what", REFUSED)
def test_refused(scene: Scene, what: str):
    code, attempt = REFUSED[what]
    pull = scene.pull()
    with pytest.raises((VerdictError, AuditError)) as refused:
        attempt(scene, pull)
    assert getattr(refused.value, "code", "") == code
    entry = LogEntry.objects.latest("pk")
    assert (entry.kind, entry.open()["code"]) == ("break_glass.refused", code)


@pytest.mark.threat("SOD-12")
def test_after_60_minutes_the_release_is_taken_back_by_itself(scene: Scene):
    pull, _ = broken(scene)
    assert sweep_deadlines() == 0
    columns = {field.attname: getattr(Decision.objects.get(), field.attname) for field in Decision._meta.fields}
    late = timezone.now() - timedelta(seconds=1)
    entry = append_event(events.DECISION_RECORDED, actor("lead"), "", {})
    columns |= {"id": None, "run": 9, "created_at": late - timedelta(minutes=60), "expires_at": late}
    Decision.objects.create(**{**columns, "log_entry_id": entry.pk})
    assert evidence.live_approval(pull) is None
    assert sweep_deadlines() == 1
    pull.refresh_from_db()
    assert pull.status == PullStatus.GATES_PASSING
    assert LogEntry.objects.filter(kind="approval.expired").exists()


def test_a_reviewed_glass_can_be_broken_again(scene: Scene):
    _, glass = broken(scene)
    assert review(glass, "xena").review.is_intact
    other, _ = broken(scene)
    assert other.status == PullStatus.READY_TO_MERGE


@pytest.mark.parametrize(
    ("values", "constraint"),
    [
        ({"countersigned_by": None}, "decision_break_glass_by_two"),
        ({"countersigned_by": "lead"}, "decision_break_glass_by_two"),
        ({"reason_class": "emergency"}, "decision_break_glass_by_two"),
        ({"minutes": 62}, "decision_break_glass_by_two"),
    ],
)
def test_the_database_refuses_a_glass_broken_by_one_or_for_longer(scene: Scene, values: dict, constraint: str):
    broken(scene)
    row = Decision.objects.get()
    columns = {field.attname: getattr(row, field.attname) for field in Decision._meta.fields} | {"id": None, "run": 9}
    columns["log_entry_id"] = LogEntry.objects.latest("pk").pk
    columns["expires_at"] = row.created_at + timedelta(minutes=values.pop("minutes", 60))
    for name, value in values.items():
        is_person = name == "countersigned_by"
        columns[f"{name}_id" if is_person else name] = person(value).pk if is_person and value else value
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        Decision.objects.create(**columns)


def test_the_database_keeps_one_unreviewed_and_what_it_says(scene: Scene):
    _, glass = broken(scene)
    for change in ({"requested_by": person("plan")}, {"reference": "INC-8"}):
        with pytest.raises(DatabaseError, match="history:"), transaction.atomic():
            BreakGlass.objects.filter(pk=glass.pk).update(**change)
    with pytest.raises(IntegrityError, match="breakglass_reviewed_by_a_third"), transaction.atomic():
        said = append_event(events.BREAK_GLASS_REVIEWED, actor("lead"), "", {})
        reviewed = {"reviewed_by": person("lead"), "reviewed_at": timezone.now(), "review": glass.reason}
        BreakGlass.objects.filter(pk=glass.pk).update(is_unreviewed=False, review_entry=said, **reviewed)


@pytest.mark.threat("SOD-12")
def test_a_broken_glass_merges_through_the_hook_and_says_so_in_git(portal: Portal):
    portal.add_person("lead2", Role.LEAD)
    portal.hand_over()
    pull = portal.pull()
    with pytest.raises(VerdictError, match=r"merge\.no_pass"):
        merge_pull_request(pull.pk, portal.tools(), by=portal.actor("plan"))
    open_break_glass(ask(pull).pk, by=portal.actor("lead2"))
    with pytest.raises(AuditError, match=r"sod\.conflict"):
        merge_pull_request(pull.pk, portal.tools(), by=replace(portal.actor("codex"), role=Role.PLAN))
    merged = merge_pull_request(pull.pk, portal.tools(), by=portal.actor("lead"))
    message = portal.tools().git.message_of(merged.merge_sha)
    assert "Release-Class: OVERRIDE/BREAK-GLASS" in message
    assert "LEAD-APPROVED: break-glass: Payments are down" in message
    assert VerdictKind.PASS.value not in message
