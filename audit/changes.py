"""What two administrators can change together: the details each kind of change has, and what it does.

Each runs in the approving transaction, which holds the registry; what it did is in the trail by number and commitment,
never by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from django.utils import timezone

from audit import events
from audit.actions import append_event, enter_principal, link_identity
from audit.canonical import JsonValue
from audit.erasure import erase_person, hold_person
from audit.events import GRANTED, Actor, AuditError, Role
from audit.identities import canonical
from audit.models import Identity, Kind, PersonLink, Principal, Proposal, ProposalKind, RoleGrant

FIELDS: Final[Mapping[ProposalKind, tuple[str, ...]]] = {
    ProposalKind.ADD: ("name", "kind", "role", "sponsor"),
    ProposalKind.GRANT: ("role",),
    ProposalKind.LINK: ("kind", "value"),
    ProposalKind.UNLINK: ("kind", "value"),
    ProposalKind.SAME: ("other",),
    ProposalKind.NOT_SAME: ("other",),
}


def well_formed(kind: ProposalKind, principal: Principal | None, given: Mapping[str, str]) -> dict[str, str]:
    """The details that this kind has, each in its one form. Raises: AuditError("proposal.detail")."""
    detail = {name: given.get(name, "").strip() for name in FIELDS.get(kind, ())}
    if (principal is None) != (kind is ProposalKind.ADD):
        raise AuditError("proposal.detail", f"{kind} needs {'a new name' if principal else 'somebody'}")
    if "role" in detail and detail["role"] not in {role.value for role in GRANTED}:
        raise AuditError(
            "proposal.detail", f"got the role {detail['role'][:20]!r}, expected one of {', '.join(GRANTED)}"
        )
    if "value" in detail:
        detail["value"] = canonical(detail["kind"], detail["value"])
    if kind is ProposalKind.ADD:
        _refuse_bad_newcomer(detail)
    if "other" in detail and not Principal.objects.filter(name=detail["other"], kind=Kind.HUMAN).exists():
        raise AuditError("proposal.detail", f"got {detail['other'][:80]!r}, expected another person of the registry")
    return detail


def _refuse_bad_newcomer(detail: Mapping[str, str]) -> None:
    if not 0 < len(detail["name"]) <= 100 or not detail["name"].isprintable():
        raise AuditError("proposal.detail", "got no name, expected 1 to 100 printable characters")
    if Principal.objects.filter(name=detail["name"]).exists():
        raise AuditError("proposal.detail", f"{detail['name']} is in the registry already; grant a role instead")
    if detail["kind"] not in Kind.values:
        raise AuditError("proposal.detail", f"got {detail['kind'][:20]!r}, expected human or machine")
    if detail["sponsor"] and not Principal.objects.filter(name=detail["sponsor"]).exists():
        raise AuditError("proposal.detail", f"nobody is called {detail['sponsor'][:80]!r}")


def _add(_proposal: Proposal, detail: Mapping[str, str], by: Actor) -> None:
    sponsor = Principal.objects.filter(name=detail["sponsor"]).first() if detail["sponsor"] else None
    enter_principal(detail["name"], kind=Kind(detail["kind"]), role=Role(detail["role"]), sponsor=sponsor, by=by)


def _grant(proposal: Proposal, detail: Mapping[str, str], by: Actor) -> None:
    principal, role = _principal(proposal), Role(detail["role"])
    held = RoleGrant.objects.current().filter(principal=principal).first()
    if held is not None:
        raise AuditError("grant.one_role", f"{principal.name} is {held.role}; that role ends first")
    _refuse_static(principal, role)
    entry = append_event(events.ROLE_GRANTED, by, "", {"principal": principal.pk, "role": role.value})
    RoleGrant.objects.create(principal=principal, role=role.value, starts_at=timezone.now(), log_entry=entry)


def _refuse_static(principal: Principal, role: Role) -> None:
    """The administrators' lane is disjoint from all others, also through machines and second entries of a person."""
    circle = Principal.objects.registry().circle(principal.pk)
    held = set(RoleGrant.objects.current().filter(principal_id__in=circle).values_list("role", flat=True))
    is_admin = role is Role.ADMIN
    if held - {Role.ADMIN.value} if is_admin else Role.ADMIN.value in held:
        raise AuditError(
            "sod.static", f"{principal.name}, or whom {principal.name} answers for, holds {', '.join(sorted(held))}"
        )
    if is_admin and principal.kind != Kind.HUMAN:
        raise AuditError("sod.static", f"{principal.name} is a machine; administrators are people")


def _end_role(proposal: Proposal, _detail: Mapping[str, str], by: Actor) -> None:
    """Two other people administer whenever an administrator's role ends, so two always stay."""
    principal = _principal(proposal)
    held = RoleGrant.objects.current().filter(principal=principal).first()
    if held is None:
        raise AuditError("grant.none", f"{principal.name} holds no role")
    held.end_entry = append_event(events.ROLE_ENDED, by, "", {"principal": principal.pk, "role": held.role})
    held.ends_at = timezone.now()
    held.save(update_fields=["ends_at", "end_entry"])


def _link(proposal: Proposal, detail: Mapping[str, str], by: Actor) -> None:
    link_identity(_principal(proposal), detail["kind"], detail["value"], proof=Identity.Proof.ADMINISTRATORS, by=by)


def _unlink(proposal: Proposal, detail: Mapping[str, str], by: Actor) -> None:
    """The name is nobody's from now on. What was decided keeps the people it was judged with."""
    principal = _principal(proposal)
    rows = Identity.objects.current().filter(principal=principal, kind=detail["kind"], value=detail["value"])
    if not rows.exists():
        raise AuditError("identity.none", f"{detail['value']} is not {principal.name}'s now")
    body: dict[str, JsonValue] = {"principal": principal.pk, "kind": detail["kind"]}
    entry = append_event(events.IDENTITY_UNLINKED, by, "", {**body, "name": principal.commit(detail["value"])})
    rows.update(ends_at=timezone.now(), end_entry=entry)


def _pair(proposal: Proposal, detail: Mapping[str, str]) -> tuple[Principal, Principal]:
    principal, other = _principal(proposal), Principal.objects.get(name=detail["other"])
    if principal.kind != Kind.HUMAN or principal.pk == other.pk:
        raise AuditError("person.pair", "expected two different entries, each of a person")
    return (principal, other) if principal.pk < other.pk else (other, principal)


def _same(proposal: Proposal, detail: Mapping[str, str], by: Actor) -> None:
    one, other = _pair(proposal, detail)
    if PersonLink.objects.current().filter(one=one, other=other).exists():
        raise AuditError("person.linked", f"{one.name} and {other.name} are one person already")
    roles = RoleGrant.objects.current().filter(principal__in=(one, other)).values_list("role", flat=True)
    if Role.ADMIN.value in roles and len(set(roles)) > 1:
        raise AuditError(
            "sod.static", f"{one.name} and {other.name} hold {', '.join(sorted(roles))}; one role ends first"
        )
    entry = append_event(events.PERSONS_LINKED, by, "", {"principals": [one.pk, other.pk]})
    PersonLink.objects.create(one=one, other=other, starts_at=timezone.now(), log_entry=entry)


def _not_same(proposal: Proposal, detail: Mapping[str, str], by: Actor) -> None:
    one, other = _pair(proposal, detail)
    rows = PersonLink.objects.current().filter(one=one, other=other)
    if not rows.exists():
        raise AuditError("person.not_linked", f"{one.name} and {other.name} are not linked")
    entry = append_event(events.PERSONS_UNLINKED, by, "", {"principals": [one.pk, other.pk]})
    rows.update(ends_at=timezone.now(), end_entry=entry)


def _principal(proposal: Proposal) -> Principal:
    if proposal.principal is None:
        raise AuditError("proposal.detail", f"{proposal.kind} is about nobody")
    return proposal.principal


def _erase(proposal: Proposal, _detail: Mapping[str, str], by: Actor) -> None:
    erase_person(_principal(proposal), by=by)


def _hold(proposal: Proposal, _detail: Mapping[str, str], by: Actor) -> None:
    hold_person(_principal(proposal), is_held=proposal.kind == ProposalKind.HOLD, by=by)


type Apply = Callable[[Proposal, Mapping[str, str], Actor], None]
APPLIED: Final[Mapping[ProposalKind, Apply]] = {
    ProposalKind.ADD: _add,
    ProposalKind.GRANT: _grant,
    ProposalKind.END_ROLE: _end_role,
    ProposalKind.LINK: _link,
    ProposalKind.UNLINK: _unlink,
    ProposalKind.SAME: _same,
    ProposalKind.NOT_SAME: _not_same,
    ProposalKind.ERASE: _erase,
    ProposalKind.HOLD: _hold,
    ProposalKind.END_HOLD: _hold,
}
