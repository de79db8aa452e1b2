"""Exports as a test asks for them: a sheet's text, or the whole way from the form to the downloaded file."""

from __future__ import annotations

import hashlib
from typing import Any

from django.test import Client

from audit.export import Head, Sheet, TextExport, bounds
from tests.support.log import settle_log
from verdicts.export_rows import Export
from verdicts.tasks import run_export


def text_of(sheet: Sheet, file_format: str, head: Head) -> bytes:
    """All of a text export in one window."""
    text, (first, last) = TextExport(sheet, file_format, head), bounds(sheet, head)
    raw, rows = text.begin(), 0
    if first <= last:
        raw += b"".join(text.window(first, last + 1))
        rows = text.rows
    return raw + text.end(rows, hashlib.sha256(raw).hexdigest())


def export(client: Client, **values: str) -> Any:
    """The answer to the download of an export that was asked for, written and downloaded; or the form's refusal."""
    settle_log()  # the sequencer's turn: an export holds what the log has numbered
    answer = client.post("/audit/exports/make/", {"table": "leo_log_entry", "file_format": "jsonl", **values})
    if answer.status_code != 302:
        return answer
    made = Export.objects.latest("pk")
    assert run_export(made.pk) == "done", Export.objects.get(pk=made.pk).error
    return client.get(f"/audit/exports/{made.pk}/file")
