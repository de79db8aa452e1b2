"""Exports of rows: what is exported, and its text straight out of PostgreSQL's COPY, window by window.

A JSON line carries the row, the exact leaf that was hashed and its leaf hash, so a reader can hash it again. The last
line says how many rows there were, the tree head, and the SHA-256 of everything before it: a file without it was cut.
Shape: 500 rows are in memory at a time, whatever the size of the table. The server joins these into one block: a
message for each row costs a client more than the row costs the server.
Not checked: that leaves still hash to what is stored (`integrate_log` and the reader of an export do that).
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db import connection, models, transaction
from django.db.models import F, Max, Min, QuerySet

from audit import events
from audit.accountability import Act, require
from audit.actions import append_event
from audit.canonical import JsonValue
from audit.events import Actor
from audit.models import LogEntry, LogLeaf
from audit.sequencing import newest_head

WINDOW: Final = 100_000
ROWS_ASKED_FOR: Final = 20_000  # few enough that the server joins and sorts them in memory, and goes on by itself
ROWS_AT_ONCE: Final = 500
FORMULA: Final = "=+-@\t\r\n＝＋－＠|%"
FORMATS: Final = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/x-ndjson",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "parquet": "application/vnd.apache.parquet",
}
_UTC: Final = 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'


@dataclass(frozen=True)
class Sheet:
    """One table to export. `columns` are (name, lookup); the others are lookups of its log entry.

    `key` is what windows are cut by: the primary key, or the dense index of the leaf.
    """

    name: str
    rows: QuerySet[Any]
    columns: Sequence[tuple[str, str]]
    leaf: str = "log_entry__leaf"
    leaf_hash: str = "log_entry__leaf_hash"
    index: str = "log_entry__tree_leaf__index"
    key: str = "pk"
    body: str = "log_entry__body"
    salt: str = "log_entry__salt"

    @property
    def names(self) -> list[str]:
        """The columns of a table of cells."""
        return [*(name for name, _ in self.columns), "leaf_index", "leaf_hash"]


@dataclass(frozen=True)
class Head:
    """The tree head an export names. Size 0 when nothing is integrated yet."""

    size: int
    root: str


def tree_head() -> Head:
    """The newest tree head."""
    newest = newest_head()
    return Head(newest.size, bytes(newest.root).hex()) if newest else Head(0, hashlib.sha256(b"").hexdigest())


def log_sheet(rows: QuerySet[LogEntry]) -> Sheet:
    """The log itself."""
    names = ("id", "kind", "principal", "role", "subject", "created_at")
    columns = [(name, name) for name in names]
    index = "tree_leaf__index"
    return Sheet("leo_log_entry", rows, columns, "leaf", "leaf_hash", index, index, "body", "salt")


@transaction.atomic
def record_export(sheet: str, file_format: str, filters: dict[str, JsonValue], head: Head, *, by: Actor) -> LogEntry:
    """Say in the trail that an export is being made, before its first byte."""
    require(by, Act.EXPORT_TRAIL)
    body: dict[str, JsonValue] = {"table": sheet, "format": file_format, "filters": filters, "tree_size": head.size}
    return append_event(events.EXPORT_MADE, by, "", {**body, "root": head.root})


def bounds(sheet: Sheet, head: Head) -> tuple[int, int]:
    """The smallest and the largest key of the rows whose leaves the tree head covers; (0, -1) if there are none."""
    if sheet.key == sheet.index and not sheet.rows.query.where:
        return 0, head.size - 1  # the whole log, and leaves are dense
    found = (
        sheet.rows.order_by().filter(**{f"{sheet.index}__lt": head.size}).aggregate(a=Min(sheet.key), b=Max(sheet.key))
    )
    return (0, -1) if found["a"] is None else (found["a"], found["b"])


def rows_of(sheet: Sheet, head: Head, first: int, end: int) -> QuerySet[Any, tuple[Any, ...]]:
    """The rows with keys in [first, end), in order: columns, leaf index, leaf hash, leaf, body, salt, key."""
    rows = sheet.rows.filter(**{f"{sheet.index}__lt": head.size, f"{sheet.key}__gte": first, f"{sheet.key}__lt": end})
    if sheet.key != "pk":
        # Leaves are numbered in almost the order of their entries: PostgreSQL cannot know, and would read all entries.
        # `+ 0`, or it would look for the smallest entry along the index of entries, past every leaf before this window.
        entry = F("entry_id") + 0
        near = LogLeaf.objects.filter(index__gte=first, index__lt=end).aggregate(a=Min(entry), b=Max(entry))
        rows = rows.filter(pk__range=(near["a"] or 0, near["b"] or 0))
    lookups = [lookup for _, lookup in sheet.columns]
    return rows.order_by(sheet.key).values_list(
        *lookups, sheet.index, sheet.leaf_hash, sheet.leaf, sheet.body, sheet.salt, F(sheet.key)
    )


class TextExport:
    """CSV or JSON Lines. Begin, then window after window, then end; any window can be written again."""

    def __init__(self, sheet: Sheet, file_format: str, head: Head) -> None:
        self._sheet, self._format, self._head = sheet, file_format, head

    def begin(self) -> bytes:
        """What stands before the first row."""
        return _csv_line(self._sheet.names) if self._format == "csv" else b""

    def statement(self, first: int, end: int) -> tuple[str, tuple[Any, ...]]:
        """The COPY of the rows with keys in [first, end), and its values: blocks of text, and how many rows in each.

        Shape: (text, bigint), in PostgreSQL's binary format.
        """
        rows = rows_of(self._sheet, self._head, first, end).order_by()
        query, values = rows.query.sql_with_params()
        cells = self._cells()
        if self._format == "csv":
            line = f"concat({", ',', ".join(cells)}, E'\\n')"
        else:
            pairs = ", ".join(f"'{name}', {cell}" for (name, _), cell in zip(self._sheet.columns, cells, strict=False))
            index, digest = cells[-2:]
            line = (
                f"json_build_object('table', '{self._sheet.name}', 'row', json_build_object({pairs}), "
                f"'leafIndex', {index}, 'leafHash', {digest}, 'leaf', convert_from(leaf, 'UTF8'), "
                "'body', convert_from(body, 'UTF8'), 'salt', encode(salt, 'hex'))::text || E'\\n'"
            )
        names = ", ".join(f"c{number}" for number in range(len(cells)))
        copy = (
            f"COPY (SELECT string_agg({line}, '' ORDER BY key), count(*) FROM ({query}) "  # noqa: S608 - the inner query is compiled by Django with its values apart; names and cells are the sheet's own
            f"AS found ({names}, leaf, body, salt, key) GROUP BY key / {ROWS_AT_ONCE} ORDER BY key / {ROWS_AT_ONCE}) "
            "TO STDOUT WITH (FORMAT binary)"
        )
        return copy, values

    def window(self, first: int, end: int) -> Iterator[bytes]:
        """The rows with keys in [first, end); afterwards `rows` says how many there were."""
        self.rows = 0
        for start in range(first, end, ROWS_ASKED_FOR):
            statement, values = self.statement(start, min(start + ROWS_ASKED_FOR, end))
            with connection.cursor() as cursor, cursor.cursor.copy(statement, values) as copy:
                copy.set_types(["bytea", "int8"])
                for block, rows in copy.rows():
                    self.rows += rows
                    yield block

    def end(self, rows: int, digest: str) -> bytes:
        """The last line."""
        end = {"table": self._sheet.name, "rows": rows, "treeSize": self._head.size, "rootHash": self._head.root}
        end["sha256"] = digest
        if self._format == "csv":
            return _csv_line(["#end", *(f"{name}:{value}" for name, value in end.items())])
        return (json.dumps({"end": end}, separators=(",", ":")) + "\n").encode()

    def _cells(self) -> list[str]:
        fields = [_field(self._sheet.rows.model, lookup) for _, lookup in self._sheet.columns]
        cells = [_cell(f"c{number}", field, is_csv=self._format == "csv") for number, field in enumerate(fields)]
        return [*cells, f"c{len(cells)}", f"encode(c{len(cells) + 1}, 'hex')"]


def _field(model: type[models.Model], lookup: str) -> models.Field[Any, Any]:
    for name in lookup.split("__"):
        field = model._meta.get_field(name)  # noqa: SLF001 - Django's documented API
        if isinstance(field.related_model, type):
            model = field.related_model
    if not isinstance(field, models.Field):
        raise TypeError(f"{lookup} is no column")
    return field


def _cell(column: str, field: models.Field[Any, Any], *, is_csv: bool) -> str:
    """A column as SQL: as JSON takes it, or as a cell that no spreadsheet takes for a formula."""
    match field:
        case models.DateTimeField():
            return f"to_char({column} AT TIME ZONE 'UTC', '{_UTC}')"
        case models.BinaryField():
            return f"encode({column}, 'hex')"
        case models.DecimalField():
            return f"{column}::text"
        case models.BooleanField() if is_csv:
            return f"{column}::text"
        case models.IntegerField() | models.AutoField() | models.ForeignKey():
            return column
        case _ if is_csv:
            text, codes = f"{column}::text", ", ".join(str(ord(character)) for character in FORMULA)
            is_formula = f"ascii({text}) IN ({codes})"  # the code point of its first character
            return f"""'"' || CASE WHEN {is_formula} THEN '''' ELSE '' END || replace({text}, '"', '""') || '"'"""
        case _:
            return column


def _csv_line(values: Sequence[str]) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerow(values)
    return out.getvalue().encode()
