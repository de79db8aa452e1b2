"""What belongs into an evidence pack: its leaves, its pull requests, the checkpoint it is made at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from django.db import connection, transaction
from django.db.models import Max, Min, Q, QuerySet

from audit import events
from audit.covering import log_state
from audit.events import AuditError
from audit.models import LogCheckpoint, LogEntry, LogLeaf
from audit.pack_scope import period_of
from handoffs.git.process import GitError
from handoffs.git.repository import Git
from handoffs.models import Handoff, PullRequest, Repository
from verdicts.tables import sheet_of

CONTEXT: Final = (events.POLICY_ENACTED, events.REPOSITORY_GOVERNED, events.ROLE_GRANTED, events.KEY_CREATED,
                  events.KEY_ROTATED, events.KEY_REVOKED)  # fmt: skip
RELEASES: Final = (events.VERDICT_RECORDED, events.DECISION_RECORDED, events.PULL_MERGED, events.COMMIT_LANDED,
                   events.BREAK_GLASS_OPENED, events.BREAK_GLASS_REVIEWED)  # fmt: skip


@dataclass(frozen=True)
class Scope:
    """What a pack is about, and the checkpoint it is made at."""

    filters: Mapping[str, str]
    pulls: Sequence[PullRequest]
    checkpoint: LogCheckpoint
    first: int
    end: int
    others: Sequence[int]
    tips: Mapping[int, str]

    @property
    def kind(self) -> str:
        """A pull request's leaves, or a run of the log."""
        return "pull" if self.filters.get("pull") else "period" if is_period(self.filters) else "log"

    @property
    def size(self) -> int:
        """Of the signed tree."""
        return self.checkpoint.size

    @property
    def leaves(self) -> QuerySet[LogLeaf]:
        """Every leaf of the pack, in order."""
        return LogLeaf.objects.filter(self.holds("index")).order_by("index")

    def holds(self, index: str) -> Q:
        """That the leaf at this look-up is in the pack."""
        run = Q(**{f"{index}__gte": self.first, f"{index}__lt": self.end})
        return run | Q(**{f"{index}__in": self.others})


def is_period(filters: Mapping[str, str]) -> bool:
    """Whether they name a day."""
    return bool({"first", "last"} & set(filters))


def protected_tips() -> dict[int, str]:
    """Where each protected branch is; a repository that cannot be read is not in here.

    To be read before the rows of `one_moment`: what has landed by now was intended before, and the rows say so.
    """
    found = {}
    for repository in Repository.objects.order_by("pk"):
        with suppress(GitError):
            found[repository.pk] = Git(Path(repository.path)).resolve(f"refs/heads/{repository.protected_branch}")
    return found


@contextmanager
def one_moment() -> Iterator[None]:
    """All rows that are read in here are of one moment, however long it takes; nothing is written, nobody waits."""
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


def choose(filters: Mapping[str, str], tips: Mapping[int, str]) -> Scope:
    """What belongs into a pack of these filters, with the branches as they were at `tips`.

    Raises: AuditError("pack.unsigned") while there is no signed checkpoint, ("pack.empty") for a pack of nothing.
    """
    checkpoint = log_state().covered
    if checkpoint is None or checkpoint.size == 0:
        raise AuditError("pack.unsigned", "the log has no signed checkpoint yet; is its signer running?")
    entries: QuerySet[LogEntry] = sheet_of("leo_log_entry", filters).rows.filter(tree_leaf__index__lt=checkpoint.size)
    is_pull = bool(filters.get("pull"))
    found = entries.aggregate(a=Min("tree_leaf__index"), b=Max("tree_leaf__index"))
    if found["a"] is None:
        raise AuditError("pack.empty", "nothing was recorded that these filters fit")
    first, end = (0, 0) if is_pull else (found["a"], found["b"] + 1)
    own = set(entries.values_list("tree_leaf__index", flat=True)) if is_pull else set()
    if not is_pull and is_period(filters):
        first, end = _grown(first, end, filters, checkpoint.size)
        own = {index for index in (first - 1, end) if 0 <= index < checkpoint.size}  # they show the edges
    pulls = _pulls(filters, min({first, *own}), max({end, *(index + 1 for index in own)}))
    subjects = [
        f"H-{pk}"
        for pk in Handoff.objects.filter(chain__in={p.handoff.chain for p in pulls}).values_list("pk", flat=True)
    ]
    about = Q(kind__in=CONTEXT) | Q(subject__in=subjects) | (Q() if is_pull else _releases())
    context = LogEntry.objects.filter(about, tree_leaf__index__lt=checkpoint.size)
    others = own | {i for i in context.values_list("tree_leaf__index", flat=True) if not first <= i < end}
    return Scope(filters, pulls, checkpoint, first, end, sorted(others), tips)


def _grown(first: int, end: int, filters: Mapping[str, str], size: int) -> tuple[int, int]:
    """A period's run up to the next leaves outside of the period, or to the ends of the log.

    Leaves stand in the order in which they were committed: one of the period may stand behind one that is newer.
    """
    start, until = period_of({**filters})
    leaves = LogLeaf.objects.order_by("index")
    before = leaves.filter(index__lt=first, entry__created_at__lt=start) if start else leaves.none()
    after = leaves.filter(index__gte=end, index__lt=size, entry__created_at__gte=until) if until else leaves.none()
    older, newer = before.last(), after.first()
    return older.index + 1 if older else 0, newer.index if newer else size


def _pulls(filters: Mapping[str, str], first: int, end: int) -> list[PullRequest]:
    rows = PullRequest.objects.select_related("repository", "handoff").order_by("pk")
    if name := filters.get("pull"):
        full_name, _, number = name.partition("#")
        return list(rows.filter(repository__full_name=full_name, number=int(number)))
    subjects = LogEntry.objects.filter(tree_leaf__index__gte=first, tree_leaf__index__lt=end).exclude(subject="")
    numbers = {int(text[2:]) for text in subjects.values_list("subject", flat=True).distinct() if text[:2] == "H-"}
    chains = Handoff.objects.filter(pk__in=numbers).values("chain")
    return list(rows.filter(handoff__chain__in=chains))


def _releases() -> Q:
    """The leaves that say why what landed was allowed to, whoever merged it."""
    merged = LogEntry.objects.filter(kind=events.PULL_MERGED).values_list("subject", flat=True)
    return Q(subject__in={*merged}, kind__in=RELEASES)
