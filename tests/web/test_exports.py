"""Exports: written by a worker, continued after it dies, downloaded in parts, in every format, never as a formula."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import io
import json
import shutil
import subprocess
import xml.etree.ElementTree as ET
import zipfile  # noqa: TID251 - a spreadsheet of ours is read back
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from audit import export as exports
from audit.actions import append_event
from audit.events import Actor, AuditError, Role
from audit.export import Head, log_sheet, tree_head
from audit.models import LogEntry
from handoffs.models import StaleStatusError
from tests.support.exports import export, text_of
from tests.support.log import settle_log
from tests.support.people import acting_as
from tests.web.scene import Scene
from verdicts import exporting
from verdicts.export_rows import Export, ExportStatus
from verdicts.exporting import path_of, request_export, write_export
from verdicts.tasks import run_export, sweep_exports

FORMULAS = [
    f"{start}cmd|' /C calc'!A0" for start in ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "|", "%")
]
NASTY = [
    *FORMULAS,
    'a "quoted", text',
    "line\r\nbreak",
    "ünïcödé 漢字 🙂",
    "back\\slash",
    "\x01\x02",
    "",
    "'",
    "2026-01-01",
]
BY = Actor(0, "nobody", Role.REPORTER)
CELL = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


@pytest.fixture
def nasty(scene: Scene) -> Scene:
    """A log with a row for every text that a format could get wrong."""
    for text in NASTY:
        append_event("gate.reported", Actor(0, "", Role.REPORTER), text, {"text": text})
    settle_log()
    return scene


def ask(scene: Scene, file_format: str = "csv", **filters: str) -> Export:
    settle_log()
    return request_export("leo_log_entry", file_format, filters, by=scene.actor("auditor"))


def claim(made: Export) -> int:
    Export.objects.filter(pk=made.pk).update(attempts=made.attempts + 1)
    made.attempts += 1
    return made.attempts


@pytest.mark.parametrize("file_format", ["csv", "jsonl"])
def test_an_export_goes_on_where_a_worker_died(nasty: Scene, file_format: str, settings, monkeypatch):
    monkeypatch.setattr(exporting, "WINDOW", 3)
    made = ask(nasty, file_format)
    whole = text_of(log_sheet(LogEntry.objects.all()), file_format, tree_head_of(made))
    monkeypatch.setattr(exports, "ROWS_ASKED_FOR", 2)
    assert write_export(made, settings.EXPORTS, claim(made), by=BY, patience=0) is False
    part = settings.EXPORTS / f"{made.pk}.part"
    for _ in range(100):
        with part.open("ab") as file:
            file.write(b"half a row that nobody vouches fo")
        row = Export.objects.get(pk=made.pk)
        written = row.offset
        with monkeypatch.context() as dying:
            dying.setattr(exporting, "_sync", die_after(1))
            if row.status == ExportStatus.DONE or finish_or_die(row, settings.EXPORTS):
                break
        assert Export.objects.get(pk=made.pk).offset >= written
    assert path_of(made, settings.EXPORTS).read_bytes() == whole
    row = Export.objects.get(pk=made.pk)
    assert (row.sha256, row.status, row.percent) == (hashlib.sha256(whole).hexdigest(), "done", 100)


def tree_head_of(made: Export):
    head = tree_head()
    assert head.size >= made.tree_size
    return Head(made.tree_size, made.root)


def die_after(count: int):
    left = [count]
    real = exporting._sync

    def sync(file) -> None:
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        real(file)

    return sync


def finish_or_die(row: Export, folder: Path) -> bool:
    try:
        return write_export(row, folder, claim(row), by=BY)
    except KeyboardInterrupt:
        return False


def test_a_window_reads_no_leaf_before_it(nasty: Scene):
    with CaptureQueriesContext(connection) as asked:
        exports.rows_of(log_sheet(LogEntry.objects.all()), tree_head(), 0, tree_head().size)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE leo_log_leaf; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        cursor.execute(f"EXPLAIN {asked[-1]['sql']}")
        plan = "".join(line for (line,) in cursor.fetchall())
    assert "leo_log_leaf_pkey" in plan
    assert "leo_log_leaf_entry_id_key" not in plan


def test_a_lost_part_is_written_again_from_the_start(nasty: Scene, settings, monkeypatch):
    monkeypatch.setattr(exporting, "WINDOW", 3)
    made = ask(nasty)
    with monkeypatch.context() as dying:
        dying.setattr(exporting, "_sync", die_after(2))
        assert not finish_or_die(made, settings.EXPORTS)
    (settings.EXPORTS / f"{made.pk}.part").write_bytes(b"id")
    row = Export.objects.get(pk=made.pk)
    assert row.offset > 2
    assert finish_or_die(row, settings.EXPORTS)
    whole = text_of(log_sheet(LogEntry.objects.all()), "csv", tree_head_of(made))
    assert path_of(made, settings.EXPORTS).read_bytes() == whole


def test_a_worker_that_lost_its_lease_finishes_nothing(nasty: Scene, settings):
    made = ask(nasty)
    with pytest.raises(StaleStatusError):
        write_export(made, settings.EXPORTS, attempt=7, by=BY)
    assert Export.objects.get(pk=made.pk).status == ExportStatus.WAITING


def test_the_sweep_writes_what_nobody_works_on(nasty: Scene):
    made = ask(nasty)
    assert sweep_exports() == 1
    assert Export.objects.get(pk=made.pk).status == ExportStatus.DONE
    assert sweep_exports() == 0
    assert run_export(made.pk) == "not mine"


@pytest.mark.threat("WEB-11")
def test_csv_cells_are_read_back_and_none_is_a_formula(nasty: Scene):
    raw = export(nasty.client("auditor"), file_format="csv", kind="gate.reported").getvalue()
    _, *rows, _ = csv.reader(io.StringIO(raw.decode(), newline=""))
    told = [f"'{text}" if text in FORMULAS else text for text in NASTY]
    assert [row[4] for row in rows] == told


@pytest.mark.threat("WEB-11")
def test_a_spreadsheet_holds_texts_and_no_formula(nasty: Scene):
    raw = export(nasty.client("auditor"), file_format="xlsx", kind="gate.reported").getvalue()
    with zipfile.ZipFile(io.BytesIO(raw)) as book:
        page = book.read("xl/worksheets/sheet1.xml")
        assert not [name for name in book.namelist() if "external" in name.lower()]
    assert b"<f>" not in page
    assert b"hyperlink" not in page
    rows = [
        {cell.attrib["r"].rstrip("0123456789"): "".join(cell.itertext()) for cell in row.iter(f"{CELL}c")}
        for row in ET.fromstring(page).iter(f"{CELL}row")  # noqa: S314 - a spreadsheet of ours
    ]
    assert (rows[0]["C"], rows[0]["E"]) == ("principal", "subject")
    plain = [text for text in NASTY if text.isprintable()]
    assert [
        row.get("E", "") for row in rows[1:-1] if row.get("E", "").isprintable() and "_x00" not in row.get("E", "")
    ] == plain
    assert rows[-1]["A"].startswith(f"#end rows:{len(NASTY)} treeSize:")


def test_a_spreadsheet_that_would_be_too_long_says_so(nasty: Scene, settings, monkeypatch):
    monkeypatch.setattr("audit.export_files.MAX_XLSX_ROWS", 5)
    made = ask(nasty, "xlsx")
    assert run_export(made.pk) == "failed"
    row = Export.objects.get(pk=made.pk)
    assert (row.status, row.error.split(":")[0]) == ("failed", "export.too_long")
    assert "take CSV" in nasty.client("auditor").get("/audit/exports/").content.decode()
    assert nasty.client("auditor").get(f"/audit/exports/{made.pk}/file").status_code == 404


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is not None, reason="pyarrow is installed")
def test_parquet_without_its_library_names_what_to_install(nasty: Scene):
    made = ask(nasty, "parquet")
    assert run_export(made.pk) == "failed"
    assert "pip install 'leoportal[parquet]'" in Export.objects.get(pk=made.pk).error


def test_parquet_gives_every_value_back(nasty: Scene):
    parquet = pytest.importorskip("pyarrow.parquet", reason="an extra: pip install 'leoportal[parquet]'")
    raw = export(nasty.client("auditor"), file_format="parquet", kind="gate.reported").getvalue()
    table = parquet.read_table(io.BytesIO(raw))
    assert table.column("subject").to_pylist() == NASTY
    rows = LogEntry.objects.filter(kind="gate.reported").order_by("pk")
    assert table.column("leaf").to_pylist() == [bytes(row.leaf) for row in rows]
    assert table.schema.metadata[b"rootHash"].decode() == Export.objects.get().root


def test_a_download_goes_on_where_it_broke_off(nasty: Scene):
    client = nasty.client("auditor")
    whole = export(client)
    raw, etag = whole.getvalue(), whole["ETag"]
    address = f"/audit/exports/{Export.objects.get().pk}/file"

    def part(wanted: str, condition: str = etag):
        answer = client.get(address, headers={"Range": wanted, "If-Range": condition})
        return answer.status_code, answer.getvalue(), answer.get("Content-Range", "")

    size = len(raw)
    assert part("bytes=10-") == (206, raw[10:], f"bytes 10-{size - 1}/{size}")
    assert part("bytes=10-19") == (206, raw[10:20], f"bytes 10-19/{size}")
    assert part("bytes=-7") == (206, raw[-7:], f"bytes {size - 7}-{size - 1}/{size}")
    assert part(f"bytes={size}-")[0] == 416
    assert part("bytes=10-", '"another file"') == (200, raw, "")
    for refused in ("bytes=-", "bytes=1-2,4-5", "lines=1-2"):
        assert part(refused)[:2] == (200, raw)


def test_only_an_auditor_downloads(nasty: Scene):
    export(nasty.client("auditor"))
    address = f"/audit/exports/{Export.objects.get().pk}/file"
    assert [nasty.client(name).get(address).status_code for name in ("plan", "lead", "exec", "outsider")] == [403] * 4
    for name, role in (("plan", Role.PLAN), ("lead", Role.LEAD), ("exec", Role.ENFORCER)):
        with pytest.raises(AuditError, match=r"role\.not_allowed"):
            request_export("leo_gate_executions", "csv", {}, by=acting_as(name, role))


@pytest.mark.parametrize("table", ["leo_log_entry", "leo_gate_executions"])
def test_an_export_takes_the_explorers_filters(scene: Scene, table: str):
    one, other = scene.passing(), scene.passing()
    raw = export(
        scene.client("auditor"), table=table, file_format="csv", subject=str(one.handoff), role="REPORTER"
    ).getvalue()
    _, *rows, _end = csv.reader(io.StringIO(raw.decode(), newline=""))
    shown = LogEntry.objects.filter(
        subject=str(one.handoff), role="REPORTER", **({} if table == "leo_log_entry" else {"kind": "gate.reported"})
    )
    assert len(rows) == shown.count() > 0
    assert str(other.handoff) not in raw.decode()
    page = scene.client("auditor").get("/audit/exports/").content.decode()
    assert f"subject: {one.handoff}" in page


def test_the_separation_proof_says_who_did_what_as_json_and_as_pdf(scene: Scene):
    pull = scene.escalated()
    address = f"/audit/prs/acme/payments/{pull.number}/proof/"
    client = scene.client("auditor")
    answer = client.post(address, {"file_format": "json"})
    found = json.loads(answer.content)
    assert answer["Content-Disposition"] == f'attachment; filename="PR-{pull.number}-role-separation.json"'
    assert found["schema"] == "leoportal/role-separation/v1"
    duties = {(part["principal"], part["duty"]) for part in found["parts"]}
    assert (scene.builder.pk, "BUILDER") in duties
    assert (scene.actor("plan").principal_id, "PLAN") in duties
    assert found["circles"][str(scene.builder.pk)] == sorted({scene.builder.pk, scene.builder.sponsor.pk})
    assert (found["state"], found["assurance"]) == ("ok", "separated")
    raw = client.post(address, {"file_format": "pdf"}).content
    assert raw.startswith(b"%PDF-")
    made = LogEntry.objects.filter(kind="export.made").order_by("pk")
    assert [entry.principal for entry in made] == [scene.actor("auditor").principal_id] * 2
    assert client.post(address, {"file_format": "exe"}).status_code == 404
    if program := shutil.which("pdftotext"):
        done = subprocess.run([program, "-layout", "-", "-"], input=raw, capture_output=True, check=True)
        for text in ("Role separation: acme/payments", "Issue verdict", "plan", "separated"):
            assert text in done.stdout.decode()
