"""Spreadsheets and Parquet: rows streamed into a file by a library that keeps none of them.

Shape: XlsxWriter keeps one row, pyarrow one group of rows. Such a file cannot be continued; it is begun again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import xlsxwriter

from audit.events import AuditError
from audit.export import Head, Sheet, bounds, rows_of

CHUNK: Final = 5_000
MAX_XLSX_ROWS: Final = 1_048_576
MAX_XLSX_CELL: Final = 32_767
_CUT: Final = "… (cut, JSON Lines holds all of it)"
type Progress = Callable[[int, int], None]


def write_xlsx(path: Path, sheet: Sheet, head: Head, progress: Progress) -> int:
    """One worksheet: a row of names, the rows, a last row that says how many and at which tree head.

    Text is never taken for a formula, an address or a number.
    Raises: AuditError("export.too_long").
    """
    options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "in_memory": False}
    count = 0
    with xlsxwriter.Workbook(str(path), options) as book:
        page = book.add_worksheet("export")
        page.write_row(0, 0, sheet.names)
        for rows in _chunks(sheet, head, progress):
            for *values, index, leaf_hash, _leaf, _body, _salt, _key in rows:
                count += 1
                if count > MAX_XLSX_ROWS - 2:
                    raise AuditError(
                        "export.too_long", f"a worksheet holds {MAX_XLSX_ROWS} rows; take CSV, or a shorter period"
                    )
                for column, value in enumerate((*values, index, bytes(leaf_hash).hex())):
                    _write(page, count, column, value)
        page.write_row(count + 1, 0, [f"#end rows:{count} treeSize:{head.size} rootHash:{head.root}"])
    return count


def write_parquet(path: Path, sheet: Sheet, head: Head, progress: Progress) -> int:
    """One file of text columns and the leaf index; the tree head is in its metadata.

    Raises: AuditError("export.no_parquet") where pyarrow is not installed.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra of 170 MB
        from pyarrow.parquet import ParquetWriter  # noqa: PLC0415
    except ImportError:
        raise AuditError(
            "export.no_parquet", "Parquet needs pyarrow: pip install 'leoportal[parquet]', then export again"
        ) from None
    kinds = [(name, pa.int64() if name == "leaf_index" else pa.string()) for name in sheet.names]
    about = {"table": sheet.name, "treeSize": str(head.size), "rootHash": head.root}
    schema = pa.schema([*kinds, *((name, pa.binary()) for name in ("leaf", "body", "salt"))], metadata=about)
    count = 0
    with ParquetWriter(str(path), schema, compression="zstd") as writer:
        for rows in _chunks(sheet, head, progress):
            columns = list(zip(*map(_texts, rows), strict=True))
            arrays = [pa.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            count += len(rows)
    return count


def _chunks(sheet: Sheet, head: Head, progress: Progress) -> Iterator[list[tuple[Any, ...]]]:
    first, last = bounds(sheet, head)
    count = 0
    for begin in range(first, last + 1, CHUNK):
        rows = list(rows_of(sheet, head, begin, begin + CHUNK))
        if rows:
            yield rows
        count += len(rows)
        progress(begin + CHUNK, count)


def _write(page: Any, row: int, column: int, value: object) -> None:
    if isinstance(value, int) and not isinstance(value, bool):
        page.write_number(row, column, value)
        return
    text = _text(value)
    if text:
        page.write_string(row, column, text if len(text) <= MAX_XLSX_CELL else text[: MAX_XLSX_CELL - len(_CUT)] + _CUT)


def _texts(row: Sequence[Any]) -> tuple[Any, ...]:
    *values, index, leaf_hash, leaf, body, salt, _key = row
    opened = (None if raw is None else bytes(raw) for raw in (leaf, body, salt))
    return (*map(_text, values), index, bytes(leaf_hash).hex(), *opened)


def _text(value: object) -> str | None:
    match value:
        case None | str():
            return value
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="microseconds")
        case bytes() | memoryview():
            return bytes(value).hex()
        case bool():
            return "true" if value else "false"
        case int() | Decimal():
            return str(value)
        case _:
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
