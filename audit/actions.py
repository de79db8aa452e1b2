"""Every write of the trail. Each act of the portal appends here, in the transaction of the change it records."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from datetime import timedelta

from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from audit import events
from audit.canonical import JsonValue, write_json
from audit.events import Actor, AuditError, Role
from audit.merkle import Frontier, leaf_hash
from audit.models import (
    ApiToken,
    Identity,
    Kind,
    LogEntry,
    LogLeaf,
    LogPending,
    Participation,
    Principal,
    RoleGrant,
    TreeHead,
)
from audit.separation import Part, circle, conflict

SEQUENCER_LOCK = 0x1E0_106
MAX_TOKEN_DAYS = 90


def append_event(kind: str, actor: Actor, subject: str, body: dict[str, JsonValue]) -> LogEntry:
    """Append one act to the log, inside the caller's transaction: no leaf, no act.

    Raises: AuditError("log.outside_transaction") when there is no transaction to belong to.
    """
    if not connection.in_atomic_block:
        raise AuditError("log.outside_transaction", "an event is appended in the transaction of the change it records")
    now = timezone.now()
    leaf = write_json(
        {
            "v": 1,
            "kind": kind,
            "actor": actor.name,
            "principal": actor.principal_id,
            "role": actor.role.value,
            "subject": subject,
            "at": now.isoformat(timespec="microseconds"),
            "body": body,
        }
    )
    entry = LogEntry.objects.create(
        kind=kind,
        actor=actor.name,
        role=actor.role.value,
        subject=subject,
        created_at=now,
        leaf=leaf,
        leaf_hash=leaf_hash(leaf),
    )
    LogPending.objects.create(entry=entry)
    return entry


@transaction.atomic(durable=True)
def integrate_log(*, batch: int = 5000) -> int:
    """Give committed entries their place in the tree and store the new root. Returns how many were placed.

    One sequencer at a time (advisory lock, released with the transaction). Order is that of the entry ids seen.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [SEQUENCER_LOCK])
        if not cursor.fetchone()[0]:
            return 0
    pending = list(LogPending.objects.order_by("pk").values_list("pk", "entry__leaf_hash", "entry__leaf")[:batch])
    if not pending:
        return 0
    for pk, stored, leaf in pending:
        if leaf_hash(bytes(leaf)) != bytes(stored):
            raise AuditError("log.leaf_changed", f"entry {pk} no longer has the hash it was appended with")
    head = TreeHead.objects.order_by("-size").first()
    raw = bytes(head.frontier) if head else b""
    frontier = Frontier(head.size if head else 0, tuple(raw[i : i + 32] for i in range(0, len(raw), 32)))
    grown = frontier.extend(bytes(stored) for _, stored, _ in pending)
    LogLeaf.objects.bulk_create(
        LogLeaf(index=frontier.size + offset, entry_id=pk) for offset, (pk, _, _) in enumerate(pending)
    )
    TreeHead.objects.create(size=grown.size, root=grown.root, frontier=b"".join(grown.hashes))
    LogPending.objects.filter(pk__in=[pk for pk, _, _ in pending]).delete()
    return len(pending)


def take_part(subject: str, actor: Actor) -> None:
    """Record that `actor`, and whoever answers for it, acts in its role on `subject`; refuse a second duty.

    Runs inside the caller's transaction. The unique constraint decides races: of two duties claimed at once by
    one principal, one commits.
    Raises: AuditError("sod.conflict"), AuditError("sod.unknown_principal").
    """
    members = circle_of(actor)
    clash = conflict(Participation.objects.parts(subject), members, actor.role)
    if clash:
        _refuse_second_duty(subject, actor, clash.principal_id, clash.duty)
    for member in sorted(members):
        try:
            with transaction.atomic():
                row, _ = Participation.objects.get_or_create(
                    subject=subject, principal_id=member, defaults={"duty": actor.role.value}
                )
        except IntegrityError:
            row = Participation.objects.get(subject=subject, principal_id=member)
        if row.duty != actor.role.value:
            _refuse_second_duty(subject, actor, member, Role(row.duty))


def circle_of(actor: Actor) -> frozenset[int]:
    """The principals who stand behind `actor`."""
    sponsors = dict(Principal.objects.values_list("pk", "sponsor_id"))
    try:
        return circle(actor.principal_id, sponsors)
    except KeyError:
        raise AuditError("sod.unknown_principal", f"{actor.name} is no known principal") from None


def find_conflict(parts: Iterable[Part], actor: Actor) -> str:
    """Why `actor` may not act beside these parts in its role; empty if it may. Read only, for pages."""
    clash = conflict(parts, circle_of(actor), actor.role)
    if clash is None:
        return ""
    name = Principal.objects.get(pk=clash.principal_id).name
    who = "you" if clash.principal_id == actor.principal_id else f"{name}, who answers for you or your agent,"
    return f"{who} took part in this handoff as {clash.duty}"


def _refuse_second_duty(subject: str, actor: Actor, principal_id: int, duty: Role) -> None:
    name = Principal.objects.get(pk=principal_id).name
    raise AuditError(
        "sod.conflict",
        f"{name} took part in {subject} as {duty} and so cannot act as {actor.role}; someone else has to",
    )


def create_principal(name: str, *, kind: Kind, role: Role, sponsor: Principal | None = None, by: Actor) -> Principal:
    """A new principal with its one role, recorded."""
    with transaction.atomic():
        principal = Principal.objects.create(name=name, kind=kind, sponsor=sponsor)
        RoleGrant.objects.create(principal=principal, role=role.value)
        append_event(
            events.ROLE_GRANTED,
            by,
            "",
            {"principal": name, "kind": str(kind), "role": role.value, "sponsor": sponsor.name if sponsor else None},
        )
    return principal


def add_identity(principal: Principal, kind: str, value: str) -> Identity:
    """Link a name seen elsewhere to its principal. E-mail addresses are kept in lower case.

    Raises: AuditError("identity.taken") when it belongs to somebody else: one owner each.
    """
    value = value.strip().lower() if kind == Identity.Kind.EMAIL else value
    found, _ = Identity.objects.get_or_create(kind=kind, value=value, defaults={"principal": principal})
    if found.principal_id != principal.pk:
        raise AuditError("identity.taken", f"{value} belongs to {found.principal.name}, not to {principal.name}")
    return found


@transaction.atomic
def link_email(principal: Principal, address: str, *, by: Actor) -> Identity:
    """Link a commit address to its principal, recorded."""
    identity = add_identity(principal, Identity.Kind.EMAIL, address)
    append_event(events.IDENTITY_LINKED, by, "", {"principal": principal.name, "email": identity.value})
    return identity


@transaction.atomic
def issue_token(principal: Principal, name: str, *, days: int, by: Actor) -> str:
    """A new bearer token for `principal`. Shown once; only its digest is stored.

    Units: days, at most 90.
    """
    if not 1 <= days <= MAX_TOKEN_DAYS:
        raise AuditError("token.lifetime", f"got {days} days, expected 1 to {MAX_TOKEN_DAYS}")
    token = f"leo_{secrets.token_urlsafe(32)}"
    ApiToken.objects.create(
        principal=principal,
        name=name,
        digest=hashlib.sha256(token.encode()).digest(),
        expires_at=timezone.now() + timedelta(days=days),
    )
    append_event(events.TOKEN_ISSUED, by, "", {"principal": principal.name, "name": name, "days": days})
    return token


def actor_of(principal: Principal) -> Actor:
    """The actor a principal is, by its one role.

    Raises: AuditError("role.none") for a principal without a role.
    """
    grant = RoleGrant.objects.filter(principal=principal).first()
    if grant is None:
        raise AuditError("role.none", f"{principal.name} has no role; an operator grants one")
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
