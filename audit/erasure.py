"""Personal data: erasing a person, erasing texts that are old enough, and the legal hold that stops both.

The log keeps numbers and commitments. What is erased is the name, the salts and the texts; the record then says that
they were erased, and every proof still holds.
Source: GDPR articles 5(1)(e), 17 and 18; N8 of the design.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import CharField, F, Q, QuerySet, Value
from django.db.models.functions import Cast, Concat
from django.utils import timezone

from audit import events
from audit.actions import append_event
from audit.canonical import JsonValue, write_json
from audit.covering import refuse_unplaced
from audit.events import Actor, AuditError, Role
from audit.models import ApiToken, ErasableText, Identity, LogEntry, Principal, Proposal, RoleGrant

# What applies retention is the portal itself; it is nobody's role.
_ERASED: Final = Value("erased-")
RETENTION: Final = Actor(0, "retention", Role.OPERATOR)


def erase_person(principal: Principal, *, by: Actor) -> None:
    """Erase a person's name, names elsewhere, account and texts, in the caller's transaction.

    Raises: AuditError("erasure.held"), ("erasure.role") while the person still holds a role, ("erasure.done").
    """
    if principal.is_held:
        raise AuditError("erasure.held", f"{principal.name} is under a legal hold; two administrators end it first")
    if principal.salt is None:
        raise AuditError("erasure.done", f"{principal.name} is erased already")
    if RoleGrant.objects.current().filter(principal=principal).exists():
        raise AuditError("erasure.role", f"{principal.name} still holds a role; it ends first")
    texts = _texts_about(principal)
    if texts.filter(author__is_held=True).exists():
        raise AuditError("erasure.held", "a text about this person is of somebody under a legal hold; that ends first")
    now, name = timezone.now(), f"erased-{principal.pk}"
    due = _hold(texts)
    names = Identity.objects.filter(principal=principal)
    body: dict[str, JsonValue] = {"principal": principal.pk, "names": names.count(), "texts": len(due)}
    entry = append_event(events.PERSON_ERASED, by, "", body)
    _erase(due, entry, now)
    Principal.objects.filter(pk=principal.pk).update(salt=None, name=name, erase_entry=entry)
    names.current().update(ends_at=now, end_entry=entry)
    names.update(value=Concat(_ERASED, Cast(F("pk"), CharField())))
    tokens = ApiToken.objects.filter(principal=principal)
    tokens.update(name=name)
    tokens.filter(revoked_at=None).update(revoked_at=now, end_entry=entry)
    if principal.user_id is not None:
        blank = {"first_name": "", "last_name": "", "email": "", "password": "!", "is_active": False}
        User.objects.filter(pk=principal.user_id).update(username=name, **blank)


def _texts_about(principal: Principal) -> QuerySet[ErasableText]:
    """What the person wrote, and proposals that name them."""
    quoted = write_json(principal.name).decode()
    about = Proposal.objects.filter(principal=principal).values("words")
    named = Q(kind=ErasableText.Kind.PROPOSAL, text__contains=quoted)
    return ErasableText.objects.filter(Q(author=principal) | Q(pk__in=about) | named, erased_at=None)


def _hold(texts: QuerySet[ErasableText]) -> list[int]:
    """Their numbers; nobody else erases them before this transaction ends."""
    return list(texts.select_for_update(of=("self",)).values_list("pk", flat=True))


def _erase(texts: list[int], entry: LogEntry, now: datetime) -> None:
    ErasableText.objects.filter(pk__in=texts).update(text=None, salt=None, erased_at=now, erase_entry=entry)


def hold_person(principal: Principal, *, is_held: bool, by: Actor) -> None:
    """Set or end a legal hold, in the caller's transaction. Raises: AuditError("hold.same"), ("log.not_placed")."""
    if principal.is_held == is_held:
        raise AuditError("hold.same", f"{principal.name} is {'' if is_held else 'not '}under a legal hold already")
    refuse_unplaced(principal.hold_entry_id)
    kind = events.HOLD_SET if is_held else events.HOLD_ENDED
    entry = append_event(kind, by, "", {"principal": principal.pk})
    Principal.objects.filter(pk=principal.pk).update(is_held=is_held, hold_entry=entry)


@transaction.atomic(durable=True)
def apply_retention(days: Mapping[str, int], *, now: datetime) -> int:
    """Erase texts older than their kind is kept, except of people under a legal hold. Returns how many.

    Units: days, by kind of text. A kind without an entry is kept for ever.
    """
    total = 0
    for kind, kept in sorted(days.items()):
        before = now - timedelta(days=kept)
        old = ErasableText.objects.filter(kind=kind, created_at__lt=before, erased_at=None)
        due = _hold(old.exclude(author__is_held=True))
        if due:
            body: dict[str, JsonValue] = {"kind": kind, "texts": len(due), "before": before.isoformat(), "days": kept}
            _erase(due, append_event(events.TEXTS_ERASED, RETENTION, "", body), now)
        total += len(due)
    return total
