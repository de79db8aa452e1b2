"""Many handoffs out of one: every row of a handoff that went through the real lanes, copied inside the database.

A copy differs in its keys, digests, branches and times. A thin copy has only the first of its rows in each table, with
the log entries they name: the tables grow with every handoff, and filling them stays a matter of seconds.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import psycopg
from django.db.models import Model, QuerySet
from psycopg import sql

from audit.models import LogEntry, LogLeaf, Participation
from handoffs.models import BundleCheck, Handoff, HandoffEvent, PullRequest, Signature
from verdicts.models import AgentReport, GateExecution, Verdict, VerificationWork

SMALL: Final = "leoportal"
LARGE: Final = "leoportal_large"
FIRST: Final = 1000  # the first copy's key: above every original's
CHILDREN: Final = 128  # keys a copied handoff may use in each table of its children
_LOGGED: Final = (HandoffEvent, GateExecution, AgentReport, Verdict)


@dataclass(frozen=True)
class Original:
    """A handoff that went through the lanes, and the log entries that speak of it."""

    handoff: Handoff
    pull: PullRequest
    entries: tuple[int, ...]
    thin_entries: tuple[int, ...]

    @classmethod
    def of(cls, pull: PullRequest, *, after: int) -> Original:
        """The entries written since the entry `after` are this handoff's."""
        entries = LogEntry.objects.filter(pk__gt=after).order_by("pk").values_list("pk", flat=True)
        first = [
            min(ids)
            for model in _LOGGED
            if (ids := QuerySet(model).filter(log_entry__in=entries).values_list("log_entry_id", flat=True))
        ]
        return cls(pull.handoff, pull, tuple(entries), tuple(first))


def copy_handoffs(database: str, original: Original, copies: range, *, is_thin: bool) -> None:
    """Insert one copy for each number in `copies`; a number is a place in time, larger is newer."""
    with psycopg.connect(_url(database), autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")  # foreign keys hold by construction
        connection.execute("SET synchronous_commit = off")
        connection.execute("CREATE TEMP TABLE bench_entry (id bigint PRIMARY KEY, place int NOT NULL)")
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO bench_entry VALUES (%s, %s)",
                [(pk, place) for place, pk in enumerate(original.entries)],
            )
        for model, where, values in _tables(original):
            kept = "true"
            if is_thin:
                is_log = model in {LogEntry, LogLeaf}
                kept = f"{'id' if model is LogEntry else 'entry_id'} = ANY (%(ids)s)" if is_log else "place = 0"
            query = _insert(model, where, values, kept)
            range_ = {"first": copies.start, "last": copies.stop - 1, "ids": list(original.thin_entries)}
            connection.execute(query, range_)  # type: ignore[arg-type]


def copy_database() -> None:
    """LARGE as it stands SMALL. Nobody may be connected."""
    with psycopg.connect(_url("postgres"), autocommit=True) as connection:
        names = (sql.Identifier(LARGE), sql.Identifier(SMALL), sql.Identifier("leoportal_owner"))
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(*names))


def settle(database: str) -> int:
    """What autovacuum would have done by now; then set the sequences. Returns the number of rows."""
    rows = 0
    with psycopg.connect(_url(database), autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")
        for model in (Handoff, PullRequest, *_CHILDREN):
            table, key = sql.Identifier(model._meta.db_table), sql.Identifier(_key(model))
            found = connection.execute(sql.SQL("SELECT count(*), max({}) FROM {}").format(key, table)).fetchone()
            assert found is not None
            rows += found[0]
            connection.execute(
                "SELECT setval(s, %s) FROM pg_get_serial_sequence(%s, %s) s WHERE s IS NOT NULL",
                [found[1] or 1, model._meta.db_table, _key(model)],
            )
        connection.execute("CHECKPOINT")
    return rows


_CHILDREN: Final[tuple[type[Model], ...]] = (
    LogEntry,
    LogLeaf,
    HandoffEvent,
    BundleCheck,
    Signature,
    Participation,
    GateExecution,
    AgentReport,
    VerificationWork,
    Verdict,
)


def _tables(original: Original) -> list[tuple[type[Model], str, dict[str, str]]]:
    """Every table: which of its rows are the original's, and the columns a copy has values of its own in."""
    handoff, pull = original.handoff, original.pull
    key = f"({FIRST} + nth)"
    child = f"({FIRST} + nth) * {CHILDREN} + place"
    entry = f"({FIRST} + nth) * {CHILDREN} + (SELECT e.place FROM bench_entry e WHERE e.id = log_entry_id)"
    digest = "encode(sha256(nth::text::bytea), 'hex')"
    later = {name: f"{name} + nth * interval '1 second'" for name in ("received_at", "moved_at")}
    of_handoff, of_pull = f"handoff_id = {handoff.pk}", f"pull_request_id = {pull.pk}"
    entries = f"id BETWEEN {original.entries[0]} AND {original.entries[-1]}"
    subject = f"regexp_replace(subject, '(?<![0-9]){handoff.pk}$', {key}::text)"
    return [
        (
            Handoff,
            f"id = {handoff.pk}",
            {
                "id": key,
                "staging_commit": f"left({digest}, 40)",
                "digest": digest,
                "marker_digest": digest,
                "patch_digest": digest,
                "chain": f"chain || '-' || {key}",
                **later,
            },
        ),
        (
            PullRequest,
            f"id = {pull.pk}",
            {
                "id": key,
                "number": key,
                "handoff_id": key,
                "moved_at": later["moved_at"],
                "deadline_at": "deadline_at + nth * interval '1 second'",
            },
        ),
        (LogEntry, entries, {"id": child, "subject": subject}),
        (LogLeaf, f"entry_{entries}", {"index": child, "entry_id": child}),
        (HandoffEvent, of_handoff, {"id": child, "handoff_id": key, "log_entry_id": entry}),
        (BundleCheck, of_handoff, {"id": child, "handoff_id": key}),
        (Signature, of_handoff, {"id": child, "handoff_id": key, "digest": digest}),
        (
            Participation,
            f"subject = '{handoff.chain}'",
            {"id": child, "subject": f"split_part(subject, '#', 1) || '#H-' || {key}"},
        ),
        (GateExecution, of_pull, {"id": child, "pull_request_id": key, "log_entry_id": entry}),
        (AgentReport, of_pull, {"id": child, "pull_request_id": key, "log_entry_id": entry}),
        (VerificationWork, of_pull, {"id": child, "pull_request_id": key}),
        (Verdict, of_pull, {"id": child, "pull_request_id": key, "log_entry_id": entry, "bundle_digest": digest}),
    ]


def _insert(model: type[Model], where: str, values: Mapping[str, str], kept: str) -> str:
    """INSERT ... SELECT for one table. `place` counts the original's rows from 0, `nth` is the copy's number."""
    columns = [field.column for field in model._meta.concrete_fields]
    table, key = model._meta.db_table, _key(model)
    return f"""
        INSERT INTO "{table}" ({", ".join(f'"{column}"' for column in columns)})
        SELECT {", ".join(values.get(column, f'"{column}"') for column in columns)}
        FROM (SELECT *, row_number() OVER (ORDER BY "{key}") - 1 AS place FROM "{table}" WHERE {where}) original,
             generate_series(%(first)s::bigint, %(last)s) nth
        WHERE {kept}
        ORDER BY nth, place
        """


def _key(model: type[Model]) -> str:
    return model._meta.pk.column


def _url(database: str) -> str:
    return os.environ["BENCH_SUPERUSER_URL"].replace(f"/{SMALL}?", f"/{database}?")
