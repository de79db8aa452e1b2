"""Rows of the four tables, releases, keys, repositories, check runs and landings against what their leaves stand for.

A row that was changed beside the log is found here, and an entry whose row is gone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists, Model, OuterRef, QuerySet

from audit.canonical import JsonValue, write_json
from audit.copies import compare_copies
from audit.copying import TileCopy
from audit.fsck import Finding, check_log
from audit.keeping import log_vkeys
from audit.leaves import LeafError
from audit.models import ErasableText, LogEntry
from audit.sequencing import find_lost
from handoffs.models import (
    CanaryRun,
    HandoffEvent,
    KeyRotation,
    ProtectionExpectation,
    ProtectionReading,
    Repository,
    SigningKey,
    WorkflowEvidence,
)
from verdicts.break_glass_rows import BreakGlass
from verdicts.landing_rows import LandedCommit
from verdicts.models import AgentReport, Decision, GateExecution, PolicyVersion, Verdict
from verdicts.publication_rows import CheckPublication

# The column of a row, and its name in the body of the entry.
_COLUMNS: Final[dict[type[Model], dict[str, str]]] = {
    HandoffEvent: {"marker": "marker"},
    GateExecution: {
        **{name: name for name in ("gate", "conclusion", "run_id", "evidence")},
        "head_sha": "head",
    },
    Verdict: {
        **{name: name for name in ("verdict", "computed", "inputs", "reasons", "protection", "justification")},
        "question": "question",
        "confidence": "confidence",
        "merge_tree": "merge_tree",
        "head_sha": "head",
        "base_sha": "base",
        "bundle_digest": "bundle",
        "supersedes_id": "supersedes",
    },
    Decision: {
        **{name: name for name in ("decision", "reason_class", "justification", "reference", "round", "run")},
        "protection": "protection",
        "is_override": "override",
        "verdict_id": "verdict",
        "head_sha": "head",
        "merge_tree": "merge_tree",
    },
    AgentReport: {"agent": "agent", "round": "round", "result": "result"},
    PolicyVersion: {"number": "number", "digest": "digest"},
    BreakGlass: {"reason": "reason", "reference": "reference", "head_sha": "head", "requested_by_id": "requested_by"},
    SigningKey: {name: name for name in ("fingerprint", "lane")},
    KeyRotation: {"lane": "lane", "reason": "reason"},
    Repository: {"full_name": "repository", "protected_branch": "protected_branch"},
    ProtectionExpectation: {"expected": "expected", "digest": "digest", "is_observed": "observed"},
    ProtectionReading: {name: name for name in ("reader", "state", "findings")},
    CheckPublication: {
        **{name: name for name in ("repository_id", "context", "status", "conclusion", "title", "digest", "causes")},
        "pull_number": "pr",
        "is_group": "group",
        "is_own": "own",
        "head_sha": "head",
    },
    LandedCommit: {"kind": "class", "code": "code", "pull_number": "pr"},
    WorkflowEvidence: {
        **{name: name for name in ("workflow", "ref", "run_id", "run_attempt", "digest")},
        "head_sha": "head",
    },
    CanaryRun: {"outcome": "outcome", "number": "number", "head_sha": "head", "said": "attempts"},
}
_TEXTS: Final = ("justification", "question", "reason")
# The kinds of entries that made a row of their own.
_ROWS: Final[dict[str, type[Model]]] = {
    "verdict.recorded": Verdict,
    "decision.recorded": Decision,
    "gate.reported": GateExecution,
    "agent.reported": AgentReport,
    "policy.enacted": PolicyVersion,
    "break_glass.requested": BreakGlass,
    "key.created": SigningKey,
    "key.rotation_requested": KeyRotation,
    "repository.governed": Repository,
    "protection.expected": ProtectionExpectation,
    "protection.agreed": ProtectionReading,
    "protection.drifted": ProtectionReading,
    "check.intended": CheckPublication,
    "commit.landed": LandedCommit,
    "bypass.detected": LandedCommit,
    "evidence.received": WorkflowEvidence,
    "canary.refused": CanaryRun,
    "canary.merged": CanaryRun,
    "canary.unproven": CanaryRun,
}
# The column that holds the number of who did it.
_BY: Final[dict[type[Model], str]] = {
    HandoffEvent: "principal", GateExecution: "reporter_id", AgentReport: "reporter_id", Verdict: "supervisor_id",
    Decision: "lead_id", BreakGlass: "requested_by_id", KeyRotation: "requested_by",
}  # fmt: skip
_TIMED: Final = (
    *(HandoffEvent, GateExecution, Verdict, Decision, AgentReport),
    *(ProtectionExpectation, ProtectionReading, CanaryRun),
)


def check_everything() -> list[Finding]:
    """The log computed again, the portal's rows and the second copy against it. Needs a login that reads all of it.

    The copy may grow meanwhile, and is looked at outside the snapshot; one that is not on this machine is left out.
    """
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        # One snapshot: the log grows meanwhile. It takes no transaction number, so the sequencer does not wait for it.
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        lost = [Finding("log.leaf_missing", f"{row} names an entry that is not in the log") for row in find_lost()]
        changed = [Finding("log.row_changed", row) for row in find_changed_rows()]
        found = [*check_log(log_vkeys()), *lost, *changed]
    return [*found, *compare_copies(TileCopy(settings.LOG_COPY), log_vkeys()).findings]


def find_changed_rows() -> list[str]:
    """Rows that do not say what their entry of the log says, and rows that are gone although their entry is there."""
    return [found for model in _COLUMNS for found in _changed(model)] + list(_gone())


def _changed(model: type[Model]) -> Iterator[str]:
    texts = [name for name in _COLUMNS[model] if name in _TEXTS]
    # The manager's: keys come without their private half, which not everybody who checks may read.
    all_rows = model._default_manager  # noqa: SLF001  Django documents it
    rows: QuerySet[Any] = all_rows.select_related("log_entry", *texts).order_by("pk")
    for row in rows.iterator(chunk_size=1000):
        try:
            body = row.log_entry.open()
        except LeafError as error:
            if error.code != "leaf.erased":
                yield f"{model.__name__} {row.pk}: {error.detail}"
            continue
        wrong = [name for name, key in _COLUMNS[model].items() if _plain(getattr(row, name)) != _plain(body.get(key))]
        if (by := _BY.get(model)) and getattr(row, by) != row.log_entry.principal:
            wrong.append(by)
        if isinstance(row, HandoffEvent) and not row.detail.items() <= body.items():
            wrong.append("detail")
        if model in _TIMED and row.created_at != row.log_entry.created_at:
            wrong.append("created_at")
        if isinstance(row, PolicyVersion) and hashlib.sha256(row.document.encode()).hexdigest() != body["digest"]:
            wrong.append("document")
        if isinstance(row, LandedCommit):
            wrong += _wrong_of_landed(row, body)
        if isinstance(row, WorkflowEvidence) and hashlib.sha256(bytes(row.document)).hexdigest() != body["digest"]:
            wrong.append("document")
        if wrong:
            yield f"{model.__name__} {row.pk}: {', '.join(wrong)} are not what entry {row.log_entry_id} says"


def _wrong_of_landed(row: LandedCommit, body: Mapping[str, JsonValue]) -> list[str]:
    """What a merge brought along is listed in the entry of the commit that brought it."""
    if row.is_brought:
        brought = body.get("brought")
        return [] if isinstance(brought, list) and row.commit in brought else ["commit"]
    columns = {"commit": "commit", "tree": "tree", "head_sha": "head", "base_sha": "base"}
    return [name for name, key in columns.items() if getattr(row, name) != body.get(key)]


def _gone() -> Iterator[str]:
    """Entries whose row was deleted."""
    for kind, model in _ROWS.items():
        rows: QuerySet[Any] = QuerySet(model).filter(log_entry=OuterRef("pk"))
        lost = LogEntry.objects.filter(~Exists(rows), kind=kind).order_by("pk")
        yield from (f"entry {pk} ({kind}) has lost its row" for pk in lost.values_list("pk", flat=True)[:20])


def _plain(value: JsonValue | Any) -> bytes:
    if isinstance(value, ErasableText):
        return _plain(value.digest if value.is_intact is not False else "not the text that was committed to")
    return write_json(value if isinstance(value, (str, int, list, dict, bool, type(None))) else str(value))
