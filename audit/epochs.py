"""A new epoch: the log goes on under a new name after a restore; and how many witnesses it takes."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction
from django.utils import timezone

from audit import events
from audit.actions import append_event
from audit.events import Actor, AuditError
from audit.keeping import epoch_number
from audit.models import ErasableText, Kind, LogCheckpoint, LogEpoch, LogQuorum, Principal
from audit.notes import NoteError, parse_note
from audit.rollback import signed_epochs
from audit.sequencing import newest_head
from audit.texts import store_text

MAX_WITNESSES = 16


@transaction.atomic(durable=True)
def open_epoch(operators: Sequence[str], *, reason: str, last: bytes, name: str, by: Actor) -> LogEpoch:
    """Go on as `name`/<number>. Two people answer for it; its first leaf quotes the last checkpoint known.

    `last` is the last checkpoint that outsiders have, as a signed note; empty: the newest in the database.
    Raises: AuditError("epoch.operators"), ("epoch.reason"), ("epoch.last").
    Not checked: that the operators agreed; whoever runs the command says so, and it is on record.
    """
    people = Principal.objects.filter(name__in=operators, kind=Kind.HUMAN).order_by("pk").values_list("pk", flat=True)
    if len(operators) != 2 or len(people) != 2:
        raise AuditError("epoch.operators", f"got {', '.join(operators)}, expected two different people known here")
    if len(reason.strip()) < 10:
        raise AuditError("epoch.reason", "say in a sentence what happened to the log")
    newest = LogCheckpoint.objects.order_by("-pk").first()
    try:
        quoted = parse_note(last or (bytes(newest.note) if newest else b"")).raw.decode() if last or newest else ""
    except NoteError as error:
        raise AuditError("epoch.last", f"the last checkpoint: {error.detail}") from None
    number = max([epoch_number(), *signed_epochs()]) + 1  # a restored database may have lost an epoch
    head = newest_head()
    said = reason.strip()[:2000]
    text = store_text(ErasableText.Kind.OPERATION, said, author=by.principal_id, at=timezone.now())
    entry = append_event(
        events.EPOCH_OPENED,
        by,
        "",
        {
            "number": number,
            "operators": [*people],
            "reason": text.digest,
            "last_checkpoint": quoted,
            "leaves_now": head.size if head else 0,
        },
    )
    return LogEpoch.objects.create(number=number, origin=f"{name}/{number}", log_entry=entry)


@transaction.atomic(durable=True)
def set_quorum(witnesses: int, *, by: Actor) -> LogQuorum:
    """How many witnesses have to have signed before anything is published.

    Raises: AuditError("quorum.number").
    """
    if not 0 <= witnesses <= MAX_WITNESSES:
        raise AuditError("quorum.number", f"got {witnesses}, expected 0 to {MAX_WITNESSES}")
    entry = append_event(events.QUORUM_SET, by, "", {"witnesses": witnesses})
    return LogQuorum.objects.create(witnesses=witnesses, log_entry=entry)
