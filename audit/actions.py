"""Every write of the trail. Each act of the portal appends here, in the transaction of the change it records."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from datetime import timedelta
from typing import NoReturn

import psycopg
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.utils import timezone

from audit import events
from audit.appending import insert
from audit.canonical import JsonValue, write_json
from audit.events import Actor, AuditError, Role, numbered
from audit.identities import canonical
from audit.leaves import SALT_BYTES
from audit.models import (
    ApiToken,
    Identity,
    Kind,
    LogEntry,
    Participation,
    Principal,
    RoleGrant,
)
from audit.registry import hold_registry
from audit.remembering import memory
from audit.rollback import NEXT, refuse_in_trouble
from audit.separation import Part, Registry, UnknownPrincipalError, conflict

MAX_TOKEN_DAYS = 90
IN_ALARM = "LG001"  # the SQLSTATE of the trigger `write_entry`


def append_event(kind: str, actor: Actor, subject: str, body: dict[str, JsonValue]) -> LogEntry:
    """Append one act to the log, inside the caller's transaction: no leaf, no act.

    Raises: AuditError("log.outside_transaction") when there is no transaction to belong to; with the code of an open
    alarm of the log, or of what the guard saw, for every act but those about such a trouble.
    """
    if not connection.in_atomic_block:
        raise AuditError("log.outside_transaction", "an event is appended in the transaction of the change it records")
    if kind not in events.OF_TROUBLE:
        refuse_in_trouble()
    try:
        salt = secrets.token_bytes(SALT_BYTES)
        entry = insert(kind, actor.principal_id, actor.role.value, subject, write_json(body), salt)
    except DatabaseError as error:
        if (alarm := alarm_of(error)) is None:
            raise
        raise alarm from None
    memory.remember(entry)
    return entry


def alarm_of(error: DatabaseError) -> AuditError | None:
    """The alarm for which the database refused an entry, if that is what it did."""
    cause = error.__cause__
    if not isinstance(cause, psycopg.Error) or cause.sqlstate != IN_ALARM:
        return None
    return AuditError(cause.diag.message_primary or "log.alarm", f"{cause.diag.message_detail}; {NEXT}")


def take_part(subject: str, actor: Actor) -> None:
    """Record that `actor`, and whoever answers for it, acts in its role on `subject`; refuse a second duty.

    Runs inside the caller's transaction. The table's trigger says the same of any insert, one subject at a time, and
    decides races: of two duties claimed at once by one person, one commits.
    Raises: AuditError("sod.conflict"), AuditError("sod.unknown_principal").
    """
    hold_registry()
    registry = Principal.objects.registry()
    clash = _clash(Participation.objects.parts(subject), actor, registry)
    if clash:
        _refuse_second_duty(subject, actor, clash.principal_id, clash.duty)
    for member in answerable(actor, registry):
        try:
            with transaction.atomic():
                row, _ = Participation.objects.get_or_create(
                    subject=subject, principal_id=member, defaults={"duty": actor.role.value}
                )
        except IntegrityError:
            found = _clash(Participation.objects.parts(subject), actor, registry)
            if found is None:
                raise
            _refuse_second_duty(subject, actor, found.principal_id, found.duty)
        if row.duty != actor.role.value:
            _refuse_second_duty(subject, actor, member, Role(row.duty))


def answerable(actor: Actor, registry: Registry) -> tuple[int, ...]:
    """The actor, its sponsors up to a person, and the entry that stands for that person: who takes part with it."""
    found: list[int] = []
    current: int | None = actor.principal_id
    while current is not None and current not in found:
        found.append(current)
        current = registry.sponsors[current]
    return tuple(sorted({*found, registry.person(actor.principal_id)}))


def _clash(parts: Iterable[Part], actor: Actor, registry: Registry) -> Part | None:
    try:
        return conflict(parts, actor.principal_id, actor.role, registry)
    except UnknownPrincipalError:
        raise AuditError("sod.unknown_principal", f"{numbered(actor.principal_id)} is not in the registry") from None


def find_conflict(parts: Iterable[Part], actor: Actor, registry: Registry) -> str:
    """Why `actor` may not act beside these parts in its role; empty if it may. Read only, for pages."""
    clash = _clash(parts, actor, registry)
    if clash is None:
        return ""
    name = Principal.objects.get(pk=clash.principal_id).name
    who = "you" if clash.principal_id == actor.principal_id else f"{name}, who answers for you or your agent,"
    return f"{who} took part in this handoff as {clash.duty}"


def _refuse_second_duty(subject: str, actor: Actor, principal_id: int, duty: Role) -> NoReturn:
    raise AuditError(
        "sod.conflict",
        f"{numbered(principal_id)} took part in {subject} as {duty} and so cannot act as {actor.role}; "
        "someone else has to",
    )


@transaction.atomic
def create_principal(name: str, *, kind: Kind, role: Role, sponsor: Principal | None = None, by: Actor) -> Principal:
    """A new principal with its one role, by the operator while the portal is set up.

    Raises: AuditError("registry.two_administrators") once there are administrators: they do it together.
    """
    hold_registry(is_change=True)
    refuse_alone()
    return enter_principal(name, kind=kind, role=role, sponsor=sponsor, by=by)


def refuse_alone() -> None:
    """Refuse to change the registry for one hand alone. Raises: AuditError("registry.two_administrators")."""
    if RoleGrant.objects.filter(role=Role.ADMIN.value).exists():
        raise AuditError(
            "registry.two_administrators",
            "administrators are appointed, so one of them proposes this and another approves it, on the page Registry",
        )


def enter_principal(name: str, *, kind: Kind, role: Role, sponsor: Principal | None = None, by: Actor) -> Principal:
    """A new principal with its one role, recorded. In the caller's transaction, which holds the registry.

    Raises: AuditError("principal.name") for a number, ("principal.sponsor") for a machine nobody answers for, or an
    administrator who would.
    """
    if name.isdigit():
        raise AuditError(
            "principal.name", f"got {name[:20]}, expected a name that is no number: numbers are who they are"
        )
    _refuse_sponsor(kind, sponsor)
    if role is Role.ADMIN and kind is not Kind.HUMAN:
        raise AuditError("sod.static", f"{name} is a machine; administrators are people")
    principal = Principal.objects.create(name=name, kind=kind, sponsor=sponsor)
    entry = append_event(
        events.ROLE_GRANTED,
        by,
        "",
        {
            "principal": principal.pk,
            "name": principal.commit(name),
            "kind": str(kind),
            "role": role.value,
            "sponsor": sponsor.pk if sponsor else None,
        },
    )
    RoleGrant.objects.create(principal=principal, role=role.value, starts_at=timezone.now(), log_entry=entry)
    return principal


def _refuse_sponsor(kind: Kind, sponsor: Principal | None) -> None:
    """A machine has a person who answers for it, and no administrator is one: that lane stands apart."""
    if kind is Kind.HUMAN:
        if sponsor is not None:
            raise AuditError("principal.sponsor", f"got {sponsor.name} as the sponsor of a person, expected nobody")
        return
    if sponsor is None or sponsor.kind != Kind.HUMAN:
        raise AuditError(
            "principal.sponsor", f"got {sponsor or 'nobody'}, expected a person who answers for the machine"
        )
    circle = Principal.objects.registry().circle(sponsor.pk)
    if RoleGrant.objects.current().filter(principal_id__in=circle, role=Role.ADMIN.value).exists():
        raise AuditError("principal.sponsor", f"{sponsor.name} is an administrator and answers for no machine")


@transaction.atomic
def add_identity(principal: Principal, kind: str, value: str, *, by: Actor) -> Identity:
    """Link a name seen elsewhere to its principal, by the operator while the portal is set up; safe to repeat.

    Raises: AuditError("identity.taken"), ("identity.form"), ("registry.two_administrators").
    """
    value = canonical(kind, value)
    hold_registry(is_change=True)
    found = Identity.objects.current().filter(kind=kind, value=value, principal=principal).first()
    if found is not None:
        return found
    refuse_alone()
    return link_identity(principal, kind, value, proof=Identity.Proof.SET_UP, by=by)


def link_identity(principal: Principal, kind: str, value: str, *, proof: Identity.Proof, by: Actor) -> Identity:
    """A name is somebody's from now on, recorded. In the caller's transaction, which holds the registry.

    Raises: AuditError("identity.taken") when it is somebody's already: one owner at a time.
    """
    owner = Identity.objects.current().select_related("principal").filter(kind=kind, value=value).first()
    if owner is not None:
        raise AuditError("identity.taken", f"{value} belongs to {owner.principal.name} already")
    body: dict[str, JsonValue] = {"principal": principal.pk, "kind": kind, "name": principal.commit(value)}
    entry = append_event(events.IDENTITY_LINKED, by, "", {**body, "proof": proof.value})
    names = {"kind": kind, "value": value, "proof": proof}
    return Identity.objects.create(principal=principal, starts_at=timezone.now(), log_entry=entry, **names)


@transaction.atomic
def issue_token(principal: Principal, name: str, *, days: int, by: Actor) -> str:
    """A new bearer token for `principal`. Shown once; only its digest is stored.

    Units: days, at most 90.
    """
    if not 1 <= days <= MAX_TOKEN_DAYS:
        raise AuditError("token.lifetime", f"got {days} days, expected 1 to {MAX_TOKEN_DAYS}")
    token = f"leo_{secrets.token_urlsafe(32)}"
    entry = append_event(
        events.TOKEN_ISSUED, by, "", {"principal": principal.pk, "name": principal.commit(name), "days": days}
    )
    ApiToken.objects.create(
        principal=principal,
        name=name,
        digest=hashlib.sha256(token.encode()).digest(),
        expires_at=timezone.now() + timedelta(days=days),
        log_entry=entry,
    )
    return token


def actor_of(principal: Principal) -> Actor:
    """The actor a principal is, by its one role.

    Raises: AuditError("role.none") for a principal without a role.
    """
    grant = RoleGrant.objects.current().filter(principal=principal).first()
    if grant is None:
        raise AuditError("role.none", f"{numbered(principal.pk)} has no role; two administrators grant one")
    return Actor(principal.pk, principal.name, Role(grant.role))


def actor_of_token(token: str) -> Actor:
    """The actor behind a bearer token.

    Raises: AuditError("token.invalid") for an unknown, expired or revoked one, without saying which.
    """
    row = (
        ApiToken.objects.select_related("principal")
        .filter(digest=hashlib.sha256(token.encode()).digest(), revoked_at=None, expires_at__gt=timezone.now())
        .first()
    )
    if row is None:
        raise AuditError("token.invalid", "the token is unknown, expired or revoked; ask an operator for a new one")
    return actor_of(row.principal)
