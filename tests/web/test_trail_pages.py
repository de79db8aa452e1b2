"""The auditor's pages: explorer, one entry, role separation, exports."""

from __future__ import annotations

import csv
import hashlib
import html
import io
import json
import re
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction
from django.http import StreamingHttpResponse

from audit import events
from audit.actions import actor_of, append_event, take_part
from audit.events import Actor, Role
from audit.export import log_sheet, tree_head
from audit.merkle import leaf_hash
from audit.models import LogEntry, Participation, Principal
from tests.support.exports import export as make_export
from tests.support.exports import text_of
from tests.support.log import settle_log
from tests.web.asking import address, verdict_form
from tests.web.scene import Scene
from tests.web.test_lead import decision_form
from verdicts.export_rows import Export

CLOCKS = 10**6  # nobody's number


def export(scene: Scene, name: str = "auditor", **values: str):
    return make_export(scene.client(name), **values)


def body_of(answer: StreamingHttpResponse) -> bytes:
    assert answer.status_code == 200
    return answer.getvalue()


def test_the_explorer_filters_by_every_field(scene: Scene):
    pull = scene.passing()
    client = scene.client("auditor")
    everything = client.get("/audit/").content.decode()
    assert "nothing is signed yet" in everything
    assert "no leaf yet" in everything
    one = client.get(f"/audit/?subject=H-{pull.handoff_id}&kind=gate.reported&role=REPORTER").content.decode()
    assert one.count("<tr data-row>") == 3
    unknown = client.get("/audit/?actor=nobody")
    assert unknown.status_code == 422
    for said in ("No event fits these filters.", "Nobody here has that name. Whoever was erased is found by number."):
        assert said in unknown.content.decode()
    plan = Principal.objects.get(name="plan")
    append_session(plan)
    for who in ("plan", str(plan.pk)):
        found = client.get(f"/audit/?actor={who}").content.decode()
        assert found.count("<tr data-row>") == LogEntry.objects.filter(principal=plan.pk).count() > 0
        assert '<th scope="row" data-label="Actor">plan</th>' in found
    portal = client.get("/audit/?actor=0").content.decode()
    assert portal.count('data-label="Actor">the portal</th>') == portal.count("<tr data-row>") > 0
    assert "No event fits" in client.get("/audit/?first=2020-01-01&last=2020-01-02").content.decode()
    wrong = client.get("/audit/?first=2026-02-01&last=2026-01-01")
    assert wrong.status_code == 422
    assert "The period ends before it starts." in wrong.content.decode()


def append_session(principal: Principal) -> None:
    with transaction.atomic():
        append_event(events.SESSION_STARTED, actor_of(principal), "", {})


def test_explorer_pages_never_shift(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("audit.views.PAGE_SIZE", 5)
    scene.passing()
    keys = list(LogEntry.objects.order_by("-pk").values_list("pk", flat=True))
    client = scene.client("auditor")
    first = client.get("/audit/").content.decode()
    assert f"before={keys[4]}" in first
    second = client.get(f"/audit/?before={keys[4]}").content.decode()
    assert [f"/audit/events/{key}/" in second for key in keys[4:11]] == [False, *[True] * 5, False]


@contextmanager
def clock_set_by_hand():
    """Entries get their time from the database; only its owner can pretend another."""
    with connection.cursor() as owner:
        owner.execute("ALTER TABLE leo_log_entry DISABLE TRIGGER append_only_rows")
        yield owner
        owner.execute("ALTER TABLE leo_log_entry ENABLE ALWAYS TRIGGER append_only_rows")


def test_pages_hold_every_entry_once_whatever_the_order_of_times_and_numbers(scene: Scene, monkeypatch):
    """A later number may carry an earlier time, and one moment several entries."""
    monkeypatch.setattr("audit.views.PAGE_SIZE", 3)
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    for minutes in (0, 0, 0, 0, 5, 5, -5, 5, 0):
        entry = append_event("gate.reported", Actor(CLOCKS, "clocks", Role.REPORTER), "", {})
        with clock_set_by_hand() as owner:
            owner.execute(
                "UPDATE leo_log_entry SET created_at = %s WHERE id = %s", [noon + timedelta(minutes=minutes), entry.pk]
            )
    address, seen = f"/audit/?actor={CLOCKS}&first=2026-03-01&last=2026-03-01", []
    while address:
        text = scene.client("auditor").get(address).content.decode()
        seen += [int(key) for key in re.findall(r'class="row-link" href="/audit/events/(\d+)/"', text)]
        older = re.search(r'href="(/audit/\?[^"]*before=[^"]*)"', text)
        address = html.unescape(older[1]) if older else ""
    rows = LogEntry.objects.filter(principal=CLOCKS).values_list("created_at", "pk")
    assert seen == [pk for _, pk in sorted(rows, reverse=True)]
    assert scene.client("auditor").get("/audit/?before=999999999").status_code == 404


def test_an_entry_shows_its_leaf_and_its_hash_computed_again(scene: Scene):
    scene.passing()
    settle_log()
    entry = LogEntry.objects.order_by("-pk")[0]
    client = scene.client("plan")
    text = client.get(f"/audit/events/{entry.pk}/").content.decode()
    assert leaf_hash(bytes(entry.leaf)).hex() in text
    assert "Holds" in text
    assert "of the tree" in text
    assert "&quot;kind&quot;: &quot;agent.reported&quot;" in text
    part = client.get(f"/audit/events/{entry.pk}/", headers={"HX-Request": "true", "HX-Target": "entry"})
    assert part.content.decode().lstrip().startswith('<section class="card" id="entry"')
    head = client.get("/audit/").content.decode()
    assert f"{tree_head().size} leaves" in head
    assert tree_head().root in head


def test_an_entry_whose_leaf_was_changed_says_so(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    scene.passing()
    entry = LogEntry.objects.order_by("-pk")[0]
    monkeypatch.setattr("audit.views.leaf_hash", lambda leaf: leaf_hash(leaf + b" "))
    text = scene.client("auditor").get(f"/audit/events/{entry.pk}/").content.decode()
    assert "the stored leaf does not have this hash" in text


def separation(scene: Scene, pull) -> str:
    return scene.client("auditor").get(f"/audit{address(pull)}").content.decode()


def test_the_separation_of_a_judged_pull_request_holds(scene: Scene):
    pull = scene.passing()
    assert "Nothing broken so far" in separation(scene, pull)
    scene.client("plan").post(address(pull, "verdict/"), verdict_form(pull))
    text = separation(scene, pull)
    assert "Separated" in text
    assert "Not separated" not in text
    assert "looking at a page leaves no event" in text
    assert "6 participants" not in text  # plan took part too
    assert "7 participants" in text


def test_a_decision_is_part_of_the_separation(scene: Scene):
    pull = scene.escalated()
    text = separation(scene, pull)
    assert "has not happened yet" in text
    assert "Does not hold" not in text


def test_a_principal_in_two_duties_breaks_the_separation(scene: Scene):
    pull = scene.passing()
    person = scene.actor("plan")
    take_part(pull.handoff.chain, Actor(person.principal_id, person.name, Role.PLAN))
    row = Participation.objects.get(subject=pull.handoff.chain, principal=scene.builder)
    with connection.cursor() as owner:
        owner.execute("SET CONSTRAINTS ALL IMMEDIATE")
        owner.execute("ALTER TABLE audit_participation DISABLE TRIGGER append_only_rows")
        Participation.objects.filter(pk=row.pk).update(duty=Role.ENFORCER.value)
        owner.execute("ALTER TABLE audit_participation ENABLE ALWAYS TRIGGER append_only_rows")
    text = separation(scene, pull)
    assert "Not separated" in text
    assert "b.builder" in text


def test_an_act_in_the_wrong_role_breaks_the_separation(scene: Scene):
    pull = scene.passing()
    append_event(events.HANDOFF_SIGNED, Actor(scene.builder.pk, "codex-a", Role.BUILDER), f"H-{pull.handoff_id}", {})
    text = separation(scene, pull)
    assert "Not separated" in text
    assert "1 entries by a builder" in text


def test_missing_markers_break_the_separation(scene: Scene):
    pull = scene.passing()
    type(pull).objects.filter(pk=pull.pk).update(head_sha=scene.base)
    assert "[CLAUDE-APPLIED:" in separation(scene, pull)
    assert "Not separated" in separation(scene, pull)


def test_an_export_is_recorded_before_it_is_streamed(scene: Scene):
    scene.passing()
    settle_log()
    answer = export(scene)
    entry = LogEntry.objects.get(kind=events.EXPORT_MADE)
    assert entry.principal == scene.actor("auditor").principal_id
    assert isinstance(answer, StreamingHttpResponse)
    assert entry.pk == Export.objects.get().log_entry_id
    assert answer["Content-Disposition"].startswith('attachment; filename="leo_log_entry-')
    assert answer["X-Content-Type-Options"] == "nosniff"
    body_of(answer)
    assert "auditor" in scene.client("plan").get("/audit/exports/").content.decode()


def test_a_json_export_can_be_checked_line_by_line(scene: Scene):
    scene.passing()
    settle_log()
    raw = body_of(export(scene))
    *lines, last = raw.splitlines(keepends=True)
    rows = [json.loads(line) for line in lines]
    end = json.loads(last)["end"]
    assert end["rows"] == len(rows) == LogEntry.objects.count() - 1  # the export's own event comes after the tree head
    assert end["sha256"] == hashlib.sha256(b"".join(lines)).hexdigest()
    assert end["rootHash"] == tree_head().root
    for row in rows:
        assert leaf_hash(row["leaf"].encode()).hex() == row["leafHash"]
    assert [row["leafIndex"] for row in rows] == list(range(end["treeSize"]))


@pytest.mark.parametrize(
    "table", ["leo_handoff_tracking", "leo_verification_results", "leo_gate_executions", "pr_approval_audit"]
)
@pytest.mark.parametrize("file_format", ["csv", "jsonl"])
def test_each_table_of_the_sop_exports_in_both_formats(scene: Scene, table: str, file_format: str):
    pull = scene.escalated()
    scene.client("lead").post(f"/escalations/{pull.pk}/decide/", decision_form(pull))
    raw = body_of(export(scene, table=table, file_format=file_format))
    if file_format == "jsonl":
        rows = [json.loads(line) for line in raw.splitlines()][:-1]
        assert rows
        assert all(leaf_hash(row["leaf"].encode()).hex() == row["leafHash"] for row in rows)
        return
    head, *rows, end = csv.reader(io.StringIO(raw.decode()))
    assert head[-2:] == ["leaf_index", "leaf_hash"]
    assert rows
    assert end[0] == "#end"
    assert f"rows:{len(rows)}" in end
    assert end[-1] == f"sha256:{hashlib.sha256(raw[: raw.rindex(b'#end')]).hexdigest()}"


def test_an_export_of_one_pull_request_holds_nothing_else(scene: Scene):
    one, other = scene.passing(), scene.passing()
    for table in ("leo_handoff_tracking", "leo_gate_executions", "leo_log_entry"):
        raw = body_of(export(scene, table=table, pull=f"acme/payments#{one.number}"))
        rows = [json.loads(line) for line in raw.splitlines()][:-1]
        assert rows
        assert all(f'"H-{other.handoff_id}"' not in row["leaf"] for row in rows)
        assert all(f'"subject":"H-{one.handoff_id}"' in row["leaf"] for row in rows)


def test_an_export_of_another_period_is_empty_and_still_complete(scene: Scene):
    scene.passing()
    raw = body_of(export(scene, first="2020-01-01", last="2020-01-31"))
    assert json.loads(raw)["end"]["rows"] == 0


def test_a_wrong_filter_makes_no_export(scene: Scene):
    answer = export(scene, pull="' OR 1=1")
    assert answer.status_code == 422
    assert "owner/name#3" in answer.content.decode()
    assert not LogEntry.objects.filter(kind=events.EXPORT_MADE).exists()


def test_only_an_auditor_exports(scene: Scene):
    for name in ("plan", "lead", "exec", "outsider"):
        assert export(scene, name).status_code == 403
    assert not LogEntry.objects.filter(kind=events.EXPORT_MADE).exists()


@pytest.mark.threat("WEB-11")
@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠", "|", "%"])
def test_no_cell_is_a_formula(scene: Scene, start: str):
    append_event("gate.reported", Actor(0, "", Role.REPORTER), f"{start}cmd|' /C calc'!A0", {})
    sheet = log_sheet(LogEntry.objects.filter(kind="gate.reported"))
    settle_log()
    text = text_of(sheet, "csv", tree_head()).decode()
    row = list(csv.reader(io.StringIO(text, newline="")))[1]
    assert row[4].startswith(f"'{start}")
    assert all(not cell.startswith(start) for cell in row)
