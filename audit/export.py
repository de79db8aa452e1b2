"""Exports: rows streamed from the database as CSV or JSON Lines, with what is needed to check them.

A JSON line carries the row, the exact leaf that was hashed and its leaf hash, so a reader can hash it again. The last
line says how many rows there were, the tree head, and the SHA-256 of everything before it: a file without it was cut.
Shape: one chunk of rows is in memory at a time, whatever the size of the table.
Not checked: that leaves still hash to what is stored (`integrate_log` and the reader of an export do that).
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from django.db import transaction
from django.db.models import QuerySet

from audit import events
from audit.accountability import Act, require
from audit.actions import append_event
from audit.canonical import JsonValue
from audit.events import Actor
from audit.models import LogEntry, TreeHead

CHUNK: Final = 1000
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "|", "%")
FORMATS: Final = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}


@dataclass(frozen=True)
class Sheet:
    """One table to export. `columns` are (name, lookup); `leaf` and `leaf_hash` are the lookups of its log entry."""

    name: str
    rows: QuerySet[Any]
    columns: Sequence[tuple[str, str]]
    leaf: str = "log_entry__leaf"
    leaf_hash: str = "log_entry__leaf_hash"
    index: str = "log_entry__tree_leaf__index"


@dataclass(frozen=True)
class Head:
    """The tree head an export names. Size 0 when nothing is integrated yet."""

    size: int
    root: str


def tree_head() -> Head:
    """The newest tree head."""
    newest = TreeHead.objects.order_by("-size").first()
    return Head(newest.size, bytes(newest.root).hex()) if newest else Head(0, hashlib.sha256(b"").hexdigest())


def log_sheet(rows: QuerySet[LogEntry]) -> Sheet:
    """The log itself."""
    names = ("id", "kind", "actor", "role", "subject", "created_at")
    columns = [(name, name) for name in names]
    return Sheet("leo_log_entry", rows.order_by("pk"), columns, "leaf", "leaf_hash", "tree_leaf__index")


@transaction.atomic(durable=True)
def record_export(sheet: str, file_format: str, filters: dict[str, JsonValue], head: Head, *, by: Actor) -> LogEntry:
    """Say in the trail that an export is being made, before its first byte."""
    require(by, Act.EXPORT_TRAIL)
    body: dict[str, JsonValue] = {"table": sheet, "format": file_format, "filters": filters, "tree_size": head.size}
    return append_event(events.EXPORT_MADE, by, "", {**body, "root": head.root})


def stream(sheet: Sheet, file_format: str, head: Head) -> Iterator[bytes]:
    """The export's bytes, chunk by chunk, from a cursor on the server: the rows whose leaves the tree head covers."""
    write = _csv_chunk if file_format == "csv" else _json_chunk
    digest, count = hashlib.sha256(), 0
    names = [name for name, _ in sheet.columns]
    if file_format == "csv":
        first = _csv_line([*names, "leaf_index", "leaf_hash"])
        digest.update(first)
        yield first
    for rows in _chunks(sheet, head):
        raw = write(sheet.name, names, rows)
        count += len(rows)
        digest.update(raw)
        yield raw
    yield _last_line(sheet, file_format, head, count, digest.hexdigest())


def _chunks(sheet: Sheet, head: Head) -> Iterator[list[tuple[Any, ...]]]:
    lookups = [lookup for _, lookup in sheet.columns]
    rows = sheet.rows.filter(**{f"{sheet.index}__lt": head.size}).values_list(
        *lookups, sheet.index, sheet.leaf_hash, sheet.leaf
    )
    chunk: list[tuple[Any, ...]] = []
    for row in rows.iterator(chunk_size=CHUNK):
        chunk.append(row)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _csv_chunk(_sheet: str, _names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    for *values, index, leaf_hash, _leaf in rows:
        writer.writerow([*map(_cell, values), index, bytes(leaf_hash).hex()])
    return out.getvalue().encode()


def _json_chunk(sheet: str, names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> bytes:
    lines = []
    for *values, index, leaf_hash, leaf in rows:
        line = {
            "table": sheet,
            "row": {name: _plain(value) for name, value in zip(names, values, strict=True)},
            "leafIndex": index,
            "leafHash": bytes(leaf_hash).hex(),
            "leaf": bytes(leaf).decode(),
        }
        lines.append(json.dumps(line, ensure_ascii=False, separators=(",", ":")))
    return ("\n".join(lines) + "\n").encode()


def _last_line(sheet: Sheet, file_format: str, head: Head, count: int, digest: str) -> bytes:
    end = {"table": sheet.name, "rows": count, "treeSize": head.size, "rootHash": head.root, "sha256": digest}
    if file_format == "csv":
        return _csv_line(["#end", *(f"{name}:{value}" for name, value in end.items())])
    return (json.dumps({"end": end}, separators=(",", ":")) + "\n").encode()


def _csv_line(values: Sequence[str]) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out).writerow(values)
    return out.getvalue().encode()


def _cell(value: Any) -> str | int:
    """A value as a cell that no spreadsheet takes for a formula."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    plain = _plain(value)
    text = plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
    text = "" if plain is None else text.replace("\x00", "")
    return f"'{text}" if text.startswith(_FORMULA) else text


def _plain(value: Any) -> JsonValue:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(value, Decimal):
        return str(value)
    plain: JsonValue = value
    return plain
