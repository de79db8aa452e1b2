"""The four tables of SOP 7.2 and the log, as they are exported."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from django.db.models import CharField, Model, QuerySet, Value
from django.db.models.functions import Cast, Concat

from audit.canonical import JsonValue
from audit.export import Sheet, log_sheet
from audit.forms import ExportForm
from audit.models import LogEntry
from handoffs.models import Handoff, HandoffEvent
from verdicts.models import Decision, GateExecution, Verdict

TABLES: Final = (
    ("leo_handoff_tracking", "Handoff events (leo_handoff_tracking)"),
    ("leo_verification_results", "PLAN's verdicts (leo_verification_results)"),
    ("leo_gate_executions", "Gate results (leo_gate_executions)"),
    ("pr_approval_audit", "LEAD's decisions (pr_approval_audit)"),
    ("leo_log_entry", "The whole log (leo_log_entry)"),
)
_PULL: Final = (
    ("repository", "pull_request__repository__full_name"),
    ("pull_request", "pull_request__number"),
    ("handoff", "pull_request__handoff_id"),
)
_EVENTS: Final = (
    ("id", "id"),
    ("repository", "handoff__repository__full_name"),
    ("handoff", "handoff_id"),
    ("event", "event"),
    ("principal", "principal"),
    ("role", "role"),
    ("marker", "marker"),
    ("detail", "detail"),
    ("created_at", "created_at"),
)


def _words(name: str) -> tuple[tuple[str, str], ...]:
    """A text beside the log: the digest that its leaf stands for, and the text with its salt until they are erased."""
    parts = ("text", "salt", "erased_at")
    return ((name, f"{name}__digest"), *((f"{name}_{part}", f"{name}__{part}") for part in parts))


_VERDICTS: Final = (
    ("id", "id"),
    *_PULL,
    *((name, name) for name in ("verdict", "computed", "confidence", "head_sha", "base_sha", "merge_tree")),
    ("bundle_digest", "bundle_digest"),
    ("policy_version", "policy__number"),
    ("policy_digest", "policy__digest"),
    ("principal", "supervisor_id"),
    *_words("justification"),
    *_words("question"),
    *((name, name) for name in ("reasons", "supersedes_id", "created_at")),
    *((name, name) for name in ("assurance", "protection", "principals")),
)
_GATES: Final = (
    ("id", "id"),
    *_PULL,
    *((n, n) for n in ("gate", "head_sha", "conclusion", "run_id")),
    ("principal", "reporter_id"),
    *((n, n) for n in ("evidence", "created_at")),
)
_DECISIONS: Final = (
    ("id", "id"),
    *_PULL,
    ("verdict_id", "verdict_id"),
    *((n, n) for n in ("decision", "is_override", "reason_class", "reference", "expires_at")),
    *_words("justification"),
    ("countersigned_by", "countersigned_by_id"),
    ("head_sha", "head_sha"),
    ("merge_tree", "merge_tree"),
    ("round", "round"),
    ("principal", "lead_id"),
    *((name, name) for name in ("assurance", "protection", "principals")),
    ("created_at", "created_at"),
)
_SOURCES: Final[dict[str, tuple[type[Model], tuple[tuple[str, str], ...]]]] = {
    "leo_handoff_tracking": (HandoffEvent, _EVENTS),
    "leo_verification_results": (Verdict, _VERDICTS),
    "leo_gate_executions": (GateExecution, _GATES),
    "pr_approval_audit": (Decision, _DECISIONS),
}


def sheet_of(content: str, filters: Mapping[str, str]) -> Sheet:
    """The rows that an export's filters ask for.

    Raises: ValueError for filters that the form would not have let through.
    """
    form = ExportForm({**filters, "table": content, "file_format": "csv"}, tables=list(TABLES))
    if not form.is_valid():
        raise ValueError(f"filters that no form accepts: {sorted(form.errors)}")
    pull = form.cleaned_data["pull"]
    if content == "leo_log_entry":
        return log_sheet(_of_pull(form.matching(LogEntry.objects.all()), pull, "subject"))
    model, columns = _SOURCES[content]
    rows: QuerySet[Any] = form.matching(QuerySet(model), entry="log_entry__")
    return Sheet(content, _of_pull(rows, pull, "handoff_id" if model is HandoffEvent else "pull_request"), columns)


def _of_pull(rows: QuerySet[Any], pull: str, place: str) -> QuerySet[Any]:
    """Rows of one pull request: of every handoff in its chain, or of the pull request itself."""
    if not pull:
        return rows
    full_name, _, number = pull.partition("#")
    if place == "pull_request":
        return rows.filter(pull_request__repository__full_name=full_name, pull_request__number=int(number))
    own = Handoff.objects.filter(repository__full_name=full_name, pull_request__number=int(number)).values("chain")
    chain = Handoff.objects.filter(chain__in=own)
    if place == "handoff_id":
        return rows.filter(handoff__in=chain)
    return rows.filter(subject__in=chain.annotate(name=Concat(Value("H-"), Cast("pk", CharField()))).values("name"))


def plain(value: Any) -> JsonValue:
    """A column's value as JSON has it."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    found: JsonValue = value
    return found
