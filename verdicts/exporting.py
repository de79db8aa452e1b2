"""Making an export: the act is recorded first, then a worker writes the file, window by window.

A worker that dies loses at most one window: the row says how far the file is certain, the rest is cut off and written
again. A spreadsheet, a Parquet file and an evidence pack are begun again.
Source: product.md section 9.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Final

from django.db import transaction
from django.utils import timezone

from audit import events
from audit.actions import append_event
from audit.canonical import JsonValue
from audit.events import Actor, AuditError
from audit.export import WINDOW, Head, Sheet, TextExport, bounds, record_export, tree_head
from audit.export_files import write_parquet, write_xlsx
from audit.keeping import log_vkeys
from handoffs.models import StaleStatusError
from verdicts.export_rows import Export, ExportStatus
from verdicts.packing import seal_pack, write_pack
from verdicts.packing_anchors import ask_for_anchors, is_anchoring
from verdicts.packing_scope import choose, one_moment, protected_tips
from verdicts.tables import plain, sheet_of

PACK: Final = "pack"
PATIENCE_SECONDS: Final = 60.0
_BLOCK: Final = 1 << 20
_WRITERS: Final = {"xlsx": write_xlsx, "parquet": write_parquet}


def request_export(content: str, file_format: str, filters: Mapping[str, str], *, by: Actor) -> Export:
    """Ask for an export at the newest tree head, recorded. What the log has not numbered yet is not in it."""
    head = tree_head()
    wanted: dict[str, JsonValue] = dict(filters)
    with transaction.atomic(durable=True):
        entry = record_export(content, file_format, wanted, head, by=by)
        return Export.objects.create(
            content=content,
            file_format=file_format,
            filters=wanted,
            principal_id=by.principal_id,
            tree_size=head.size,
            root=head.root,
            log_entry=entry,
        )


def write_export(
    export: Export, folder: Path, attempt: int, *, by: Actor, portal_url: str = "", patience: float = PATIENCE_SECONDS
) -> bool:
    """Write the file, or some more of it. Returns whether it is finished.

    Raises: StaleStatusError when another worker has it; AuditError for what cannot be exported in this format.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = folder / f"{export.pk}.part"
    if export.file_format == PACK:
        if not _write_pack(export, part, folder / f"{export.pk}.pack", attempt, by, portal_url):
            return False
        _finish(export, part, folder, attempt)
        return True
    sheet, head = sheet_of(export.content, export.filters), Head(export.tree_size, export.root)
    if export.file_format in {"csv", "jsonl"}:
        if not _write_text(export, part, TextExport(sheet, export.file_format, head), sheet, attempt, patience):
            return False
    else:
        _write_whole(export, part, sheet, head, attempt)
    _finish(export, part, folder, attempt)
    return True


def _write_pack(export: Export, part: Path, folder: Path, attempt: int, by: Actor, portal_url: str) -> bool:
    """The files and their seal in the log; or, when these are there, the proof of the seal and the tar."""
    if export.seal is not None and folder.exists():
        if is_anchoring(export.seal, export.tree_size):
            return False
        return seal_pack(folder, export.seal, export.tree_size, part)
    tips = protected_tips()
    with one_moment():
        scope = choose(export.filters, tips)
        made: dict[str, JsonValue] = {
            "madeAt": plain(timezone.now()),
            "madeBy": export.principal_id,
            "portal": portal_url,
        }
        digest = write_pack(scope, folder, {**made, "export": export.log_entry_id}, log_vkeys())
    body: dict[str, JsonValue] = {"export": export.log_entry_id, "manifestSha256": digest, "tree_size": scope.size}
    with transaction.atomic(durable=True):
        entry = append_event(events.EXPORT_SEALED, by, "", body)
        row = Export.objects.filter(pk=export.pk, attempts=attempt, status=ExportStatus.WAITING)
        if not row.update(seal=entry, tree_size=scope.size, root=bytes(scope.checkpoint.root).hex()):
            raise StaleStatusError(f"{export} is somebody else's now")
        ask_for_anchors()
    return False


def path_of(export: Export, folder: Path) -> Path:
    """Where the finished file is."""
    return folder / str(export.pk)


def _write_text(export: Export, part: Path, text: TextExport, sheet: Sheet, attempt: int, patience: float) -> bool:
    if export.first is None:
        export.first, export.last = bounds(sheet, Head(export.tree_size, export.root))
        _note(export, attempt, first=export.first, last=export.last, position=export.first)
    until = time.monotonic() + patience
    with part.open("r+b" if part.exists() else "w+b") as file:
        digest = _continue(export, file)
        if export.offset == 0:
            _put(export, file, digest, text.begin())
        while export.position <= export.last:
            if time.monotonic() > until:
                return False
            end = min(export.position + WINDOW, export.last + 1)
            for block in text.window(export.position, end):
                _put(export, file, digest, block)
            export.row_count += text.rows
            _sync(file)
            _note(export, attempt, position=end, offset=export.offset, row_count=export.row_count)
        file.write(text.end(export.row_count, digest.hexdigest()))
        _sync(file)
    return True


def _continue(export: Export, file: BinaryIO) -> hashlib._Hash:
    """Cut off what nobody vouches for, and hash again what is there."""
    if file.seek(0, os.SEEK_END) < export.offset:
        export.offset, export.row_count, export.position = 0, 0, export.first or 0
    file.truncate(export.offset)
    file.seek(0)
    digest = hashlib.sha256()
    rest = export.offset
    while rest:
        block = file.read(min(_BLOCK, rest))
        digest.update(block)
        rest -= len(block)
    return digest


def _put(export: Export, file: BinaryIO, digest: hashlib._Hash, block: bytes) -> None:
    file.write(block)
    digest.update(block)
    export.offset += len(block)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _write_whole(export: Export, part: Path, sheet: Sheet, head: Head, attempt: int) -> None:
    first, last = bounds(sheet, head)
    _note(export, attempt, first=first, last=last, position=first, row_count=0)

    def progress(position: int, rows: int) -> None:
        _note(export, attempt, position=position, row_count=rows)

    export.row_count = _WRITERS[export.file_format](part, sheet, head, progress)


def _note(export: Export, attempt: int, **found: int) -> None:
    """What is certain now; a worker whose lease was taken over stops here."""
    row = Export.objects.filter(pk=export.pk, attempts=attempt, status=ExportStatus.WAITING)
    if not row.update(**found):
        raise StaleStatusError(f"{export} is somebody else's now")
    for name, value in found.items():
        setattr(export, name, value)


def _finish(export: Export, part: Path, folder: Path, attempt: int) -> None:
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    part.replace(path_of(export, folder))
    done = Export.objects.filter(pk=export.pk, attempts=attempt, status=ExportStatus.WAITING).update(
        status=ExportStatus.DONE,
        sha256=digest,
        offset=path_of(export, folder).stat().st_size,
        row_count=export.row_count,
        finished_at=timezone.now(),
    )
    if not done:
        raise StaleStatusError(f"{export} is somebody else's now")


def fail_export(export: Export, error: AuditError) -> None:
    """It cannot be made, however often it is tried."""
    Export.objects.filter(pk=export.pk).update(
        status=ExportStatus.FAILED, error=str(error)[:2000], finished_at=timezone.now()
    )
