"""Changes of the registry take two administrators, neither for themselves; and the trail says who, never in names."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from audit.actions import actor_of, add_identity, create_principal
from audit.administration import Change, appoint_administrators, approve_change, decline_change, propose_change
from audit.events import Actor, AuditError, Role
from audit.models import Identity, Kind, LogEntry, PersonLink, Principal, Proposal, ProposalKind, RoleGrant
from leoportal.setup import OPERATOR
from tests.support.people import person

WHY = "Agreed in the staff meeting."


@pytest.fixture
def administered(cast) -> None:
    appoint_administrators(["xena", "yuri"], by=OPERATOR)


def propose(what: ProposalKind, about: str | None = None, /, *, by: str = "xena", **detail: str) -> Proposal:
    principal = person(about) if about else None
    return propose_change(Change(what, principal, detail, WHY), by=actor_of(person(by)))


def approve(proposal: Proposal, by: str = "yuri") -> Proposal:
    return approve_change(proposal.pk, by=actor_of(person(by)))


def both(what: ProposalKind, about: str | None = None, /, **detail: str) -> Proposal:
    return approve(propose(what, about, **detail))


def roles(name: str) -> list[str]:
    return list(person(name).grants.order_by("pk").values_list("role", flat=True))


def test_the_first_administrators_are_appointed_once_and_in_the_trail(cast):
    with pytest.raises(AuditError, match=r"administrators\.too_few"):
        appoint_administrators(["xena", "xena"], by=OPERATOR)
    appoint_administrators(["xena", "yuri"], by=OPERATOR)
    entry = LogEntry.objects.get(kind="administrators.appointed")
    body = entry.open()
    assert (entry.role, body["bootstrap"]) == ("OPERATOR", True)
    assert body["principals"] == [person("xena").pk, person("yuri").pk]
    with pytest.raises(AuditError, match=r"administrators\.appointed"):
        appoint_administrators(["zoe", "walt"], by=OPERATOR)
    with pytest.raises(AuditError, match=r"role\.not_allowed"):
        appoint_administrators(["zoe", "walt"], by=actor_of(person("xena")))


@pytest.mark.threat("SOD-13")
def test_from_then_on_the_operator_changes_nothing_alone(administered):
    with pytest.raises(AuditError, match=r"registry\.two_administrators"):
        create_principal("eve", kind=Kind.HUMAN, role=Role.LEAD, by=OPERATOR)
    with pytest.raises(AuditError, match=r"registry\.two_administrators"):
        add_identity(person("plan"), "email", "eve@acme.invalid", by=OPERATOR)
    assert not Principal.objects.filter(name="eve").exists()


def test_two_administrators_add_grant_link_unlink_and_end(administered):
    both(ProposalKind.ADD, name="nora", kind="human", role="PLAN")
    both(ProposalKind.ADD, name="codex-9", kind="machine", role="BUILDER", sponsor="ada")
    assert (roles("nora"), person("codex-9").sponsor) == (["PLAN"], person("ada"))
    both(ProposalKind.LINK, "nora", kind="github", value="583231")
    assert Identity.objects.current().get(kind="github").proof == "administrators"
    both(ProposalKind.UNLINK, "nora", kind="github", value="583231")
    both(ProposalKind.END_ROLE, "nora")
    both(ProposalKind.GRANT, "nora", role="LEAD")
    assert roles("nora") == ["PLAN", "LEAD"]
    both(ProposalKind.SAME, "plan", other="plan2")
    assert PersonLink.objects.current().count() == 1
    both(ProposalKind.NOT_SAME, "plan2", other="plan")
    assert PersonLink.objects.current().count() == 0
    assert Proposal.objects.filter(status="approved").count() == LogEntry.objects.filter(kind="change.approved").count()


def test_what_was_declined_or_withdrawn_does_not_happen(administered):
    declined, withdrawn = (propose(ProposalKind.GRANT, "stella", role="PLAN") for _ in range(2))
    assert decline_change(declined.pk, by=actor_of(person("yuri"))).status == "declined"
    assert decline_change(withdrawn.pk, by=actor_of(person("xena"))).status == "withdrawn"
    for proposal in (declined, withdrawn):
        with pytest.raises(AuditError, match=r"proposal\.decided"):
            approve(proposal)
    assert roles("stella") == ["REPORTER"]


def end_and_grant(name: str, role: str) -> None:
    both(ProposalKind.END_ROLE, name)
    both(ProposalKind.GRANT, name, role=role)


def end_all_but_one() -> None:
    both(ProposalKind.END_ROLE, "zoe")
    both(ProposalKind.ADD, name="walt", kind="human", role="ADMIN")
    approve(propose(ProposalKind.END_ROLE, "xena", by="walt"))
    approve(propose(ProposalKind.END_ROLE, "walt", by="yuri"), by="yuri")


REFUSED: dict[str, tuple[str, Any]] = {
    "one administrator alone": (
        "proposal.second_person",
        lambda: approve(propose(ProposalKind.END_ROLE, "plan"), "xena"),
    ),
    "somebody else than administrators": (
        "role.not_allowed",
        lambda: propose(ProposalKind.END_ROLE, "plan", by="lead"),
    ),
    "somebody else approves": ("role.not_allowed", lambda: approve(propose(ProposalKind.END_ROLE, "plan"), "plan")),
    "for oneself": ("proposal.own_benefit", lambda: propose(ProposalKind.LINK, "xena", kind="github", value="1")),
    "approved by whom it is for": (
        "proposal.own_benefit",
        lambda: approve(propose(ProposalKind.LINK, "yuri", kind="github", value="1")),
    ),
    "no reason": (
        "proposal.reason",
        lambda: propose_change(Change(ProposalKind.END_ROLE, person("plan"), {}, " "), by=actor_of(person("xena"))),
    ),
    "a name that is a number": ("principal.name", lambda: both(ProposalKind.ADD, name="42", kind="human", role="PLAN")),
    "a second role": ("grant.one_role", lambda: both(ProposalKind.GRANT, "plan", role="LEAD")),
    "an unknown role": ("proposal.detail", lambda: propose(ProposalKind.GRANT, "plan", role="OPERATOR")),
    "a name that is taken": (
        "identity.taken",
        lambda: both(ProposalKind.LINK, "plan", kind="email", value="codex@b.invalid"),
    ),
    "a login in place of a number": (
        "identity.form",
        lambda: propose(ProposalKind.LINK, "plan", kind="github", value="octocat"),
    ),
    "an administrator who answers for a machine": (
        "principal.sponsor",
        lambda: approve(propose(ProposalKind.ADD, name="m", kind="machine", role="PLAN", sponsor="zoe")),
    ),
    "a machine nobody answers for": (
        "principal.sponsor",
        lambda: both(ProposalKind.ADD, name="m", kind="machine", role="PLAN"),
    ),
    "a machine as administrator": ("sod.static", lambda: end_and_grant("codex", "ADMIN")),
    "an administrator of a builder's machine": ("sod.static", lambda: end_and_grant("ada", "ADMIN")),
    "an administrator who is PLAN under another name": (
        "sod.static",
        lambda: both(ProposalKind.SAME, "zoe", other="plan"),
    ),
    "one of the last two": ("proposal.second_person", end_all_but_one),
    "a name that was not theirs": (
        "identity.none",
        lambda: both(ProposalKind.UNLINK, "plan", kind="email", value="codex@b.invalid"),
    ),
    "an entry that is already there": (
        "proposal.detail",
        lambda: propose(ProposalKind.ADD, name="plan", kind="human", role="LEAD"),
    ),
}


@pytest.mark.threat("SOD-13")
@pytest.mark.parametrize("what", REFUSED)
def test_refused(administered, what: str):
    both(ProposalKind.ADD, name="zoe", kind="human", role="ADMIN")
    code, attempt = REFUSED[what]
    with pytest.raises(AuditError) as refused:
        attempt()
    assert refused.value.code == code
    assert LogEntry.objects.latest("pk").open()["code"] == code


def test_two_entries_of_one_administrator_are_one_hand(administered):
    both(ProposalKind.ADD, name="zoe", kind="human", role="ADMIN")
    both(ProposalKind.ADD, name="yuri-2", kind="human", role="ADMIN")
    approve(propose(ProposalKind.SAME, "yuri", other="yuri-2", by="xena"), by="zoe")
    with pytest.raises(AuditError, match=r"proposal\.second_person"):
        approve(propose(ProposalKind.END_ROLE, "plan", by="yuri"), by="yuri-2")


def test_a_proposal_lapses_and_ends_with_its_proposers_role(administered):
    late = propose(ProposalKind.END_ROLE, "plan")
    both(ProposalKind.ADD, name="zoe", kind="human", role="ADMIN")
    approve(propose(ProposalKind.END_ROLE, "xena", by="zoe"), by="yuri")
    with pytest.raises(AuditError, match=r"proposal\.proposer_gone"):
        approve(late)
    words, now = late.words, timezone.now()
    past = {
        "proposed_at": now,
        "expires_at": now,
        "proposed_by": person("zoe"),
        "words": words,
        "log_entry": late.log_entry,
    }
    lapsed = Proposal.objects.create(kind=ProposalKind.END_ROLE, principal=person("plan"), **past)
    with pytest.raises(AuditError, match=r"proposal\.expired"):
        approve(lapsed)


@pytest.mark.parametrize(
    ("values", "constraint"),
    [
        ({"decided_by": "xena"}, "proposal_by_two"),
        ({"principal": "xena"}, "proposal_not_for_oneself"),
        ({"principal": "yuri"}, "proposal_not_for_oneself"),
        ({"decided_by": None}, "proposal_decided_or_open"),
    ],
)
def test_the_database_refuses_one_hand_too(administered, values: dict[str, str | None], constraint: str):
    row = propose(ProposalKind.END_ROLE, "plan")
    names = {"principal": "plan", "proposed_by": "xena", "decided_by": "yuri", **values}
    people = {column: person(name) if name else None for column, name in names.items()}
    now = timezone.now()
    times = {"proposed_at": now, "expires_at": now, "decided_at": now}
    entries = {"log_entry": row.log_entry, "end_entry": row.log_entry}
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        Proposal.objects.create(kind=row.kind, words=row.words, status="approved", **people, **times, **entries)


def test_what_was_proposed_cannot_be_swapped_before_it_is_approved(administered):
    harmless, other = (
        propose(ProposalKind.GRANT, "stella", role="AUDITOR"),
        propose(ProposalKind.GRANT, "stella", role="LEAD"),
    )
    with pytest.raises(Exception, match="history:"), transaction.atomic():
        Proposal.objects.filter(pk=harmless.pk).update(words=other.words)
    with pytest.raises(Exception, match="history:"), transaction.atomic():
        type(other.words).objects.filter(pk=harmless.words_id).update(text=other.words.text)


def test_the_log_names_nobody(administered):
    both(ProposalKind.ADD, name="nora namesake", kind="human", role="PLAN")
    both(ProposalKind.LINK, "nora namesake", kind="email", value="nora.private@acme.invalid")
    rows = LogEntry.objects.values_list("leaf", "body")
    log = b"".join(bytes(leaf) + bytes(body or b"") for leaf, body in rows)
    assert b"namesake" not in log
    assert b"nora.private" not in log
    nora = person("nora namesake")
    assert nora.commit("nora.private@acme.invalid").encode() in log


def test_nobody_acts_for_an_administrator_it_is_not(administered):
    with pytest.raises(AuditError, match=r"proposal\.own_benefit"):
        propose_change(
            Change(ProposalKind.END_ROLE, person("xena"), {}, WHY), by=Actor(person("xena").pk, "yuri", Role.ADMIN)
        )
    assert RoleGrant.objects.current().filter(role="ADMIN").count() == 2
