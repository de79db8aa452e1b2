"""The auditor in the browser: every step with who did it in which role, exports that hold the rows, and no other act."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from pathlib import Path

import pytest
from django.apps import apps
from playwright.sync_api import expect

from audit.leaves import open_body, parse_leaf
from audit.merkle import leaf_hash
from audit.models import LogEntry, Principal, TreeHead
from handoffs.models import PullRequest
from leoportal.words import EVENTS
from tests.support.browser import Site, Visitor, address, change
from tests.support.log import settle_log
from verdicts.decision import Verdict as VerdictKind
from verdicts.export_rows import Export
from verdicts.merging import merge_pull_request
from verdicts.models import Decision, DecisionKind
from verdicts.tasks import run_export

TABLES = {
    "leo_handoff_tracking": "HandoffEvent",
    "leo_verification_results": "Verdict",
    "leo_gate_executions": "GateExecution",
    "pr_approval_audit": "Decision",
    "leo_log_entry": "LogEntry",
}
QUESTION = "May this merge before the yearly audit?"


@pytest.fixture
def merged(site: Site) -> PullRequest:
    """A pull request that went the whole way: PLAN asked, LEAD approved and merged."""
    pull = site.portal.verified(change("ledger"), branch="staging/codex-ledger", task="Add ledger")
    site.portal.verdict(VerdictKind.ESCALATE, question=QUESTION)
    site.portal.decide(DecisionKind.APPROVE)
    merge_pull_request(pull.pk, site.portal.tools(), by=site.portal.actor("lead"))
    settle_log()
    pull.refresh_from_db()
    return pull


def hashes_of(table: str) -> list[str]:
    """The leaf hash of each row of a table, oldest first, from the database."""
    rows = next(model for model in apps.get_models() if model.__name__ == TABLES[table])._default_manager.order_by("pk")
    lookup = "leaf_hash" if table == "leo_log_entry" else "log_entry__leaf_hash"
    return [bytes(found).hex() for found in rows.values_list(lookup, flat=True)]


def download(visitor: Visitor, table: str, label: str, folder: Path) -> bytes:
    """Fill the form, press the button, read the file the browser got."""
    page = visitor.page
    page.get_by_label("Table").select_option(table)
    page.get_by_label("Format").select_option(label=label)
    page.get_by_role("button", name="Make export").click()
    expect(page.get_by_role("heading", name="Exports made")).to_be_visible()
    run_export(Export.objects.latest("pk").pk)
    page.reload()
    with page.expect_download() as started:
        page.locator("#exports-live tbody tr").first.get_by_role("link").first.click()
    assert started.value.failure() is None
    assert started.value.suggested_filename.startswith(table)
    path = folder / started.value.suggested_filename
    started.value.save_as(path)
    return path.read_bytes()


def test_the_auditor_sees_every_step_and_the_exports_hold_every_row(site: Site, merged: PullRequest, tmp_path: Path):
    auditor = site.visitor("auditor")
    page = auditor.page
    auditor.open("/")
    assert auditor.path == "/audit/"
    handoff = str(merged.handoff)
    page.get_by_label("Subject").fill(handoff)
    page.get_by_role("button", name="Filter").click()
    entries = list(LogEntry.objects.filter(subject=handoff).order_by("-pk"))
    shown = page.locator("tr[data-row]")
    expect(shown).to_have_count(len(entries))
    for row, entry in zip(shown.all_inner_texts(), entries, strict=True):
        who = Principal.objects.get(pk=entry.principal).name
        for text in (who, entry.role, entry.kind, EVENTS[entry.kind], f"{entry.created_at:%Y-%m-%d %H:%M:%S}"):
            assert text in row
    page.locator("table").get_by_role("link", name=re.compile(rf"^{entries[0].pk}\b")).click()
    expect(page.locator("#entry")).to_contain_text(bytes(entries[0].leaf_hash).hex())
    expect(page.locator("#entry")).to_contain_text("Holds")

    auditor.open(f"/audit{address(merged)}")
    expect(page.locator("header.head")).to_contain_text("Separated")
    acts = page.locator("section").filter(has_text="Who did what").locator("tbody tr").all_inner_texts()
    done = [re.split(r"\s*\t\s*", " ".join(row.split(" ")).strip()) for row in acts]
    by = {row[0]: (row[2], row[3]) for row in done}
    assert set(by.values()) >= {
        ("codex", "BUILDER"),
        ("leoportal-enforcer", "ENFORCER"),
        ("plan", "PLAN"),
        ("lead", "LEAD"),
    }

    auditor.open("/audit/exports/")
    for table in TABLES:
        expected = hashes_of(table)
        assert expected, table
        raw = download(auditor, table, "CSV", tmp_path)
        head, *rows, end = list(csv.reader(io.StringIO(raw.decode(), newline="")))
        if table == "leo_log_entry":
            expected = hashes_of(table)[:-1]  # the export is an event itself, and came after the tree head
        assert [row[head.index("leaf_hash")] for row in rows] == expected, table
        assert end[0] == "#end"
        told = dict(cell.split(":", 1) for cell in end[1:])
        assert (told["rows"], told["sha256"]) == (str(len(rows)), hashlib.sha256(before_last_line(raw)).hexdigest())

        raw = download(auditor, table, "JSON Lines, with every leaf", tmp_path)
        *lines, last = [json.loads(line) for line in raw.decode().splitlines()]
        if table == "leo_log_entry":
            expected = hashes_of(table)[:-1]
        assert [line["leafHash"] for line in lines] == expected, table
        for line in lines:
            assert leaf_hash(line["leaf"].encode()).hex() == line["leafHash"]
            leaf = parse_leaf(line["leaf"].encode())
            assert leaf.at.isoformat(timespec="microseconds") == line["row"]["created_at"]
            assert open_body(leaf, bytes.fromhex(line["salt"]), line["body"].encode())
        covered = TreeHead.objects.get(size=last["end"]["treeSize"])
        assert last["end"] == {
            "table": table,
            "rows": len(lines),
            "treeSize": covered.size,
            "rootHash": bytes(covered.root).hex(),
            "sha256": hashlib.sha256(before_last_line(raw)).hexdigest(),
        }
    auditor.open("/audit/exports/")
    expect(page.locator("section").filter(has_text="Exports made").locator("tbody tr")).to_have_count(2 * len(TABLES))


def before_last_line(raw: bytes) -> bytes:
    """Everything but the last line: what its digest is of."""
    return b"".join(raw.splitlines(keepends=True)[:-1])


def test_the_auditor_reads_but_cannot_act(site: Site):
    pull = site.portal.verified(change("quiet"), branch="staging/codex-quiet", task="Add quiet")
    site.portal.verdict(VerdictKind.ESCALATE, question=QUESTION)
    auditor = site.visitor("auditor")
    page = auditor.page
    auditor.open(address(pull))
    for control in ("Review verdict…", f"Merge {pull}", "Verify again"):
        expect(page.get_by_role("button", name=control)).to_have_count(0)
    auditor.open(f"/escalations/{pull.pk}/")
    expect(page.get_by_role("button", name="Review decision…")).to_have_count(0)
    expect(page.locator("main")).to_contain_text("You are signed in as AUDITOR. A LEAD decides here.")
    auditor.open("/turn/", status=403)
    expect(page.locator("main")).to_contain_text("This page needs the role PLAN. You are signed in as AUDITOR.")

    auditor.open("/audit/exports/")
    acts = {
        f"/escalations/{pull.pk}/decide/": "LEAD",
        f"{address(pull)}verdict/": "PLAN",
        f"{address(pull)}verify/": "PLAN",
        f"{address(pull)}merge/": "LEAD or PLAN",
    }
    for path, roles in acts.items():
        page.locator("form[action$='/make/']").evaluate("(form, path) => { form.action = path; form.submit() }", path)
        expect(page.locator("main")).to_contain_text(f"This page needs the role {roles}. You are signed in as AUDITOR.")
        page.go_back()
    assert not Decision.objects.filter(pull_request=pull).exists()
