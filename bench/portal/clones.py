"""Many handoffs out of one: every row of a handoff that went through the real lanes, copied inside the database.

A copy differs in its keys, digests, branches and times. A thin copy has only the first of its rows in each table, with
the log entries they name: the tables grow with every handoff, and filling them stays a matter of seconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import psycopg
from django.db.models import Model, QuerySet
from psycopg import sql

from audit.models import LogEntry, LogLeaf, Participation
from handoffs.models import BundleCheck, Handoff, HandoffEvent, PullRequest, Signature
from leoportal.lanes.catalogue import Connection
from verdicts.models import AgentReport, GateExecution, Verdict, VerificationWork

SMALL: Final = "leoportal"
LARGE: Final = "leoportal_large"
FIRST: Final = 1000  # the first copy's key: above every original's
CHILDREN: Final = 128  # keys a copied handoff may use in each table of its children
_LOGGED: Final[tuple[type[Model], ...]] = (HandoffEvent, GateExecution, AgentReport, Verdict)
_KEY: Final = f"({FIRST} + nth)"
_CHILD: Final = f"{_KEY} * {CHILDREN} + place"
_ENTRY: Final = f"{_KEY} * {CHILDREN} + (SELECT e.place FROM bench_entry e WHERE e.id = log_entry_id)"
_DIGEST: Final = "encode(sha256(nth::text::bytea), 'hex')"


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
        entries = tuple(LogEntry.objects.filter(pk__gt=after).order_by("pk").values_list("pk", flat=True))
        named = [
            QuerySet(model).filter(log_entry__in=entries).order_by("pk").values_list("log_entry_id", flat=True).first()
            for model in _LOGGED
        ]
        return cls(pull.handoff, pull, entries, tuple(pk for pk in named if pk is not None))


@dataclass(frozen=True)
class Table:
    """A table, which of its rows are the original's, and the columns in which a copy has values of its own."""

    model: type[Model]
    where: str
    values: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.model._meta.db_table

    @property
    def key(self) -> str:
        return str(self.model._meta.pk.column)

    def insert(self, *, is_thin: bool) -> str:
        """INSERT ... SELECT. `place` counts the original's rows from 0, `nth` is the copy's number."""
        columns = [str(field.column) for field in self.model._meta.concrete_fields]
        kept = "true"
        if is_thin:
            entry = {LogEntry: "id", LogLeaf: "entry_id"}.get(self.model)
            kept = f"{entry} = ANY (%(thin)s)" if entry else "place = 0"
        return f"""
            INSERT INTO "{self.name}" ({", ".join(f'"{column}"' for column in columns)})
            SELECT {", ".join(self.values.get(column, f'"{column}"') for column in columns)}
            FROM (
                SELECT *, row_number() OVER (ORDER BY "{self.key}") - 1 AS place FROM "{self.name}" WHERE {self.where}
            ) original, generate_series(%(first)s::bigint, %(last)s) nth
            WHERE {kept}
            ORDER BY nth, place
            """


def copy_handoffs(database: str, original: Original, copies: range, *, is_thin: bool) -> None:
    """Insert one copy for each number in `copies`; a number is a place in time, larger is newer."""
    numbers = {"first": copies.start, "last": copies.stop - 1, "thin": list(original.thin_entries)}
    with psycopg.connect(_url(database), autocommit=True) as connection:
        connection.execute("CREATE TEMP TABLE bench_entry (id bigint PRIMARY KEY, place int NOT NULL)")
        with connection.cursor() as cursor:
            places = [(pk, place) for place, pk in enumerate(original.entries)]
            cursor.executemany("INSERT INTO bench_entry VALUES (%s, %s)", places)
        with triggers_off(connection, [table.name for table in tables(original)]):
            for table in tables(original):
                connection.execute(table.insert(is_thin=is_thin).encode(), numbers)


@contextmanager
def triggers_off(connection: Connection, names: Sequence[str]) -> Iterator[None]:
    """No guard and no foreign key is asked: what is filled in holds by construction. Afterwards all are as before."""
    found = connection.execute(
        "SELECT relname, tgname FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid"
        " WHERE relname = ANY (%s) AND tgenabled = 'A'",
        [list(names)],
    ).fetchall()
    for name in names:
        connection.execute(sql.SQL("ALTER TABLE {} DISABLE TRIGGER ALL").format(sql.Identifier(name)))
    yield
    for name in names:
        connection.execute(sql.SQL("ALTER TABLE {} ENABLE TRIGGER ALL").format(sql.Identifier(name)))
    for name, trigger in found:
        always = sql.SQL("ALTER TABLE {} ENABLE ALWAYS TRIGGER {}")
        connection.execute(always.format(sql.Identifier(name), sql.Identifier(trigger)))


def copy_database() -> None:
    """LARGE as it stands SMALL. Nobody may be connected."""
    with psycopg.connect(_url("postgres"), autocommit=True) as connection:
        names = (sql.Identifier(LARGE), sql.Identifier(SMALL), sql.Identifier("leoportal_owner"))
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(*names))


def settle(database: str, original: Original) -> int:
    """What autovacuum would have done by now; set the sequences. Returns the number of rows."""
    rows = 0
    with psycopg.connect(_url(database), autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")
        for table in tables(original):
            key, name = sql.Identifier(table.key), sql.Identifier(table.name)
            found = connection.execute(sql.SQL("SELECT count(*), max({}) FROM {}").format(key, name)).fetchone()
            assert found is not None
            rows += found[0]
            connection.execute(
                "SELECT setval(s, %s) FROM pg_get_serial_sequence(%s, %s) s WHERE s IS NOT NULL",
                [found[1], table.name, table.key],
            )
        connection.execute("CHECKPOINT")
    return rows


def tables(original: Original) -> tuple[Table, ...]:
    """Every table a handoff has rows in."""
    handoff, pull = original.handoff, original.pull
    of_handoff, of_pull = f"handoff_id = {handoff.pk}", f"pull_request_id = {pull.pk}"
    entries = f"BETWEEN {original.entries[0]} AND {original.entries[-1]}"
    moved_at = "moved_at + nth * interval '1 second'"
    child_of_handoff = {"id": _CHILD, "handoff_id": _KEY}
    child_of_pull = {"id": _CHILD, "pull_request_id": _KEY}
    return (
        Table(
            Handoff,
            f"id = {handoff.pk}",
            {
                "id": _KEY,
                "staging_commit": f"left({_DIGEST}, 40)",
                "digest": _DIGEST,
                "marker_digest": _DIGEST,
                "patch_digest": _DIGEST,
                # Of another change; but for the newest, which is judged as the original is.
                "change_digest": f"CASE WHEN nth = %(last)s THEN change_digest ELSE {_DIGEST} END",
                "result_tree": f"CASE WHEN nth = %(last)s THEN result_tree ELSE left({_DIGEST}, 40) END",
                "chain": f"chain || '-' || {_KEY}",
                "received_at": "received_at + nth * interval '1 second'",
                "moved_at": moved_at,
            },
        ),
        Table(
            PullRequest,
            f"id = {pull.pk}",
            {
                "id": _KEY,
                "number": _KEY,
                "handoff_id": _KEY,
                "moved_at": moved_at,
                "deadline_at": "deadline_at + nth * interval '1 second'",
            },
        ),
        Table(
            LogEntry,
            f"id {entries}",
            # Before all the others, as far as the sequencer is concerned: it has read them.
            {"id": _CHILD, "subject": f"replace(subject, '{handoff}', 'H-' || {_KEY})", "xid": "1"},
        ),
        Table(LogLeaf, f"entry_id {entries}", {"index": _CHILD, "entry_id": _CHILD}),
        Table(HandoffEvent, of_handoff, {**child_of_handoff, "log_entry_id": _ENTRY}),
        Table(BundleCheck, of_handoff, child_of_handoff),
        Table(Signature, of_handoff, {**child_of_handoff, "digest": _DIGEST}),
        Table(Participation, f"subject = '{handoff.chain}'", {"id": _CHILD, "subject": f"subject || '-' || {_KEY}"}),
        Table(GateExecution, of_pull, {**child_of_pull, "log_entry_id": _ENTRY}),
        Table(AgentReport, of_pull, {**child_of_pull, "log_entry_id": _ENTRY}),
        Table(VerificationWork, of_pull, child_of_pull),
        Table(Verdict, of_pull, {**child_of_pull, "log_entry_id": _ENTRY, "bundle_digest": _DIGEST}),
    )


def _url(database: str) -> str:
    return os.environ["BENCH_SUPERUSER_URL"].replace(f"/{SMALL}?", f"/{database}?")
