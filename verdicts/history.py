"""Reads: the timeline of one pull request, from the log entries of every handoff in its chain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.core.exceptions import ObjectDoesNotExist

from audit.canonical import JsonValue
from audit.leaves import LeafError
from audit.models import LogEntry
from audit.names import Names, names_of
from audit.texts import texts_of
from handoffs.models import Handoff, PullRequest

MAX_EVENTS: Final = 200
_TOLD: Final = (
    "verdict", "computed", "confidence", "decision", "override", "gate", "conclusion", "agent", "outcome", "round",
    "code", "detail", "branch", "commit", "head", "digest", "fingerprint", "failed", "workflows", "missing", "agents",
    "justification", "why", "run_id", "new_base", "by",
)  # fmt: skip


@dataclass(frozen=True)
class Happening:
    """One governed act, as a timeline tells it."""

    entry_id: int
    kind: str
    actor: str
    role: str
    subject: str
    at: datetime
    marker: str
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class History:
    """A timeline, newest first. `is_cut` says that there is more in the trail."""

    happenings: tuple[Happening, ...]
    is_cut: bool


def read_history(pull: PullRequest) -> History:
    """What happened to every handoff that led to this pull request."""
    handoffs = Handoff.objects.filter(chain=pull.handoff.chain).values_list("pk", flat=True)
    subjects = [f"H-{pk}" for pk in handoffs]
    rows = LogEntry.objects.filter(subject__in=subjects).select_related("handoffevent").order_by("-pk")
    entries = list(rows[: MAX_EVENTS + 1])
    told = [(entry, _body(entry)) for entry in entries[:MAX_EVENTS]]
    texts = texts_of(body for _, body in told)
    said = (value for _, body in told for value in body.values() if isinstance(value, str))
    names = names_of((entry.principal for entry, _ in told), texts=said)
    return History(tuple(_tell(entry, body, texts, names) for entry, body in told), len(entries) > MAX_EVENTS)


def _tell(entry: LogEntry, body: dict[str, JsonValue], texts: Mapping[JsonValue, str], names: Names) -> Happening:
    body = {
        name: texts.get(value, names.within(value)) if isinstance(value, str) else value for name, value in body.items()
    }
    marker = _marker(entry) or str(body.get("marker") or "")
    return Happening(
        entry.pk,
        entry.kind,
        names.of(entry.principal),
        entry.role,
        entry.subject,
        entry.created_at,
        marker,
        tuple(_facts(body)),
    )


def _body(entry: LogEntry) -> dict[str, JsonValue]:
    try:
        body = entry.open()
    except LeafError as error:
        return {"detail": error.detail}
    result = body.get("result")
    if isinstance(result, dict):
        return {**body, "outcome": result.get("outcome"), "confidence": result.get("confidence")}
    return body


def _marker(entry: LogEntry) -> str:
    try:
        event = entry.handoffevent
    except ObjectDoesNotExist:
        return ""
    return str(event.marker)


def _facts(body: dict[str, JsonValue]) -> list[tuple[str, str]]:
    found = []
    for name in _TOLD:
        value = body.get(name)
        if value in (None, "", [], False):
            continue
        text = ", ".join(str(item) for item in value) if isinstance(value, list) else str(value)
        found.append((name.replace("_", " "), text[:300]))
    return found
