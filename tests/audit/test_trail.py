"""The trail: append-only by trigger and by grant, every row with its leaf, the tree dense and true."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from typing import Any

import psycopg
import pytest
from django.db import DatabaseError, connection, transaction
from django.db.models import QuerySet

from audit import events
from audit.actions import append_event, take_part
from audit.events import Actor, AuditError, Role
from audit.export import log_sheet, tree_head
from audit.leaves import Leaf, open_body, parse_leaf
from audit.merkle import Frontier
from audit.models import LogEntry, LogLeaf, Participation, TreeHead
from handoffs.models import HandoffEvent
from leoportal.lanes.matrix import read_matrix
from tests.support.exports import text_of
from tests.support.log import settle_log
from tests.support.portal import Portal
from verdicts.comparing import find_changed_rows
from verdicts.decision import Verdict as VerdictKind
from verdicts.merging import merge_pull_request
from verdicts.models import AgentReport, Decision, DecisionKind, GateExecution, Verdict
from verdicts.tables import sheet_of
from verdicts.tasks import sweep_statements

# Empty here: no GitHub, no Sigstore, no pinned builder, below 256 leaves, no witness, alarm, restore or quorum. Their
# triggers are in the catalogue.
NO_ROWS_HERE = (
    "leo_signing_downgrade",
    "leo_transparency_record",
    "leo_trusted_root",
    "leo_trusted_root_fetch",
    "leo_signature_renewal",
    *("leo_protection_expectation", "leo_protection_reading", "leo_canary_run", "leo_workflow_evidence"),
    *("leo_github_tampering", "leo_landed_commit"),
    *("leo_log_tile", "leo_log_anchor", "leo_log_cosignature", "leo_log_alarm", "leo_log_epoch", "leo_log_quorum"),
)
APPEND_ONLY = [table.name for table in read_matrix().tables.values() if table.is_append_only]
SOP_TABLES = ("leo_handoff_tracking", "leo_verification_results", "leo_gate_executions", "pr_approval_audit")


@pytest.fixture
def full(portal: Portal) -> Portal:
    """A portal in which every append-only table has rows."""
    portal.verified()
    portal.verdict(VerdictKind.ESCALATE, question="May this merge before the audit?")
    portal.decide(DecisionKind.APPROVE)
    sweep_statements()
    merge_pull_request(portal.pull().pk, portal.tools(), by=portal.actor("lead"))
    settle_log()
    return portal


BY_PORTAL = Actor(0, "", Role.PLAN)
BY = (
    (HandoffEvent, "principal"),
    (GateExecution, "reporter_id"),
    (AgentReport, "reporter_id"),
    (Verdict, "supervisor_id"),
    (Decision, "lead_id"),
)


def test_an_append_is_planned_once_in_a_connection_and_reads_what_the_database_wrote(db):
    for number in range(4):
        with transaction.atomic():
            entry = append_event(events.EXPORT_MADE, BY_PORTAL, f"H-{number}", {})
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT statement FROM pg_prepared_statements WHERE statement LIKE '%INSERT INTO leo_log_entry%'"
        )
        assert len(cursor.fetchall()) == 1
    leaf = parse_leaf(bytes(entry.leaf))
    assert (leaf.entry, leaf.at, leaf.subject) == (entry.pk, entry.created_at, "H-3")
    assert entry == LogEntry.objects.get(pk=entry.pk)


def test_a_row_that_was_made_somebody_elses_past_its_guard_is_found(full: Portal):
    assert find_changed_rows() == []
    other = full.actor("stella").principal_id
    with connection.cursor() as owner:
        for model, column in BY:
            table = model._meta.db_table
            owner.execute(f"ALTER TABLE {table} DISABLE TRIGGER append_only_rows")
            QuerySet(model).filter(pk=QuerySet(model).latest("pk").pk).update(**{column: other})
            owner.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER append_only_rows")
    found = find_changed_rows()
    wanted = {f"{model.__name__} {model.objects.latest('pk').pk}: {column} are not what" for model, column in BY}
    assert {row.partition(" entry")[0] for row in found} == wanted


@pytest.mark.threat("AUD-01")
def test_no_row_of_the_trail_can_be_changed_by_any_lane_or_even_by_the_owner(full: Portal, address):
    assert set(SOP_TABLES) < set(APPEND_ONLY)
    with psycopg.connect(address("operator"), autocommit=True) as app:
        for table in APPEND_ONLY:
            count = app.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            assert count > 0 or table in NO_ROWS_HERE, table
            column = app.execute(
                "SELECT column_name FROM information_schema.columns WHERE table_name = %s ORDER BY ordinal_position",
                [table],
            ).fetchall()[1][0]
            for statement in (f"UPDATE {table} SET {column} = {column}", f"DELETE FROM {table}", f"TRUNCATE {table}"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    app.execute(statement)
            assert app.execute(f"SELECT count(*) FROM {table}").fetchone()[0] == count
            with connection.cursor() as owner:
                for statement in (f"UPDATE {table} SET {column} = {column}", f"DELETE FROM {table}") if count else ():
                    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
                        owner.execute(statement)
                with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
                    owner.execute(f"TRUNCATE {table} CASCADE")


def test_replica_mode_does_not_silence_the_triggers(full: Portal):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = 'append_only_rows' AND tgenabled = 'A'"
        )
        assert {row[0] for row in cursor.fetchall()} == set(APPEND_ONLY)


def test_the_hooks_login_reads_nothing(full: Portal):
    config = json.loads((full.bare / "leo-hook.json").read_text())
    with psycopg.connect(config["database_url"], autocommit=True) as hook:
        for table in (*APPEND_ONLY, "handoffs_handoff", "handoffs_signingkey", "auth_user"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                hook.execute(f"SELECT 1 FROM {table}")
        assert hook.execute("SELECT code FROM leo_may_update_ref('x', 'y', 'a', 'b')").fetchone() == (
            "repository.unknown",
        )


def test_every_row_of_the_four_tables_has_its_leaf_and_the_leaf_says_the_same(full: Portal):
    tables: tuple[tuple[Any, str | tuple[str, ...]], ...] = (
        (HandoffEvent, ("handoff.", "pull.", "signing.")),
        (GateExecution, "gate."),
        (Verdict, "verdict."),
        (Decision, "decision."),
        (AgentReport, "agent."),
    )
    for model, kind in tables:
        rows = list(model.objects.select_related("log_entry"))
        assert rows
        for row in rows:
            leaf, body = read_entry(row.log_entry)
            assert leaf.kind == row.log_entry.kind
            assert leaf.kind.startswith(kind)
            assert leaf.principal == row.log_entry.principal == who_of(row)
            assert row.created_at == row.log_entry.created_at == leaf.at
    verdict = Verdict.objects.get()
    _, body = read_entry(verdict.log_entry)
    assert "actor" not in body
    assert (body["verdict"], body["head"], body["inputs"]) == (verdict.verdict, verdict.head_sha, verdict.inputs)


def who_of(row: Any) -> int:
    names = ("principal", "reporter_id", "supervisor_id", "lead_id")
    return next(int(getattr(row, name)) for name in names if hasattr(row, name))


def read_entry(entry: LogEntry) -> tuple[Leaf, dict[str, Any]]:
    return parse_leaf(bytes(entry.leaf)), entry.open()


def test_the_tree_is_dense_and_its_root_is_that_of_the_leaves(full: Portal):
    settle_log(batch=7)
    leaves = LogLeaf.objects.order_by("index").values_list("index", "entry__leaf")
    assert [index for index, _ in leaves] == list(range(LogEntry.objects.count()))
    hashes = [hashlib.sha256(b"\x00" + bytes(leaf)).digest() for _, leaf in leaves]
    assert bytes(TreeHead.objects.latest("size").root) == plain_root(hashes)


def plain_root(hashes: list[bytes]) -> bytes:
    """RFC 9162 section 2.1.1, as the text says it: split at the largest power of two below the size."""
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return hashlib.sha256(b"\x01" + plain_root(hashes[:split]) + plain_root(hashes[split:])).digest()


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 21, 64, 100])
def test_the_frontier_gives_the_root_of_the_text_of_the_rfc(size: int):
    hashes = [hashlib.sha256(bytes([0, n])).digest() for n in range(size)]
    assert Frontier().extend(hashes).root == plain_root(hashes)


def test_no_act_without_a_leaf(portal: Portal):
    actor = portal.actor("plan")
    with pytest.raises(AuditError, match=r"log\.outside_transaction"):
        append_event(events.EXPORT_MADE, actor, "", {})
    before = LogEntry.objects.count()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        append_event(events.EXPORT_MADE, actor, "", {})
        raise ZeroDivisionError
    assert LogEntry.objects.count() == before


def test_an_entry_whose_leaf_was_changed_on_disk_stops_the_sequencer(portal: Portal):
    with transaction.atomic():
        entry = append_event(events.EXPORT_MADE, portal.actor("auditor"), "", {"n": 1})
        cursor = connection.cursor()
        cursor.execute("ALTER TABLE leo_log_entry DISABLE TRIGGER append_only_rows")
        cursor.execute("UPDATE leo_log_entry SET leaf = 'forged' WHERE id = %s", [entry.pk])
        cursor.execute("ALTER TABLE leo_log_entry ENABLE ALWAYS TRIGGER append_only_rows")
    with pytest.raises(AuditError, match=r"log\.leaf_changed"):
        settle_log()


@pytest.mark.threat("SOD-04")
@pytest.mark.parametrize("first", [Role.BUILDER, Role.ENFORCER, Role.PLAN, Role.LEAD, Role.REPORTER])
@pytest.mark.parametrize("second", [Role.BUILDER, Role.ENFORCER, Role.PLAN, Role.LEAD, Role.REPORTER])
def test_one_principal_has_one_duty_on_one_handoff(portal: Portal, first: Role, second: Role):
    person = portal.add_person("pat", first)
    with transaction.atomic():
        take_part("acme/payments:x", person)
    again = events.Actor(person.principal_id, person.name, second)
    if first is second:
        with transaction.atomic():
            take_part("acme/payments:x", again)
        return
    with pytest.raises(AuditError, match=r"sod\.conflict"), transaction.atomic():
        take_part("acme/payments:x", again)
    with pytest.raises(DatabaseError), transaction.atomic():
        Participation.objects.create(subject="acme/payments:x", principal_id=person.principal_id, duty=second.value)


def test_two_duties_claimed_at_once_by_one_principal_leave_one(portal: Portal):
    person = portal.add_person("pat", Role.PLAN)
    outcomes: list[str] = []
    start = threading.Barrier(2)

    def claim(role: Role, subject: str) -> None:
        start.wait()
        try:
            with transaction.atomic():
                take_part(subject, events.Actor(person.principal_id, person.name, role))
            outcomes.append("took part")
        except AuditError as error:
            outcomes.append(error.code)
        finally:
            connection.close()

    for number in range(20):
        outcomes.clear()
        threads = [threading.Thread(target=claim, args=(role, f"s-{number}")) for role in (Role.PLAN, Role.LEAD)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["sod.conflict", "took part"]
        assert Participation.objects.filter(subject=f"s-{number}").count() == 1


@pytest.mark.threat("SOD-01")
def test_the_person_behind_an_agent_has_the_agents_duty(portal: Portal):
    ada = portal.actor("ada")
    with transaction.atomic():
        take_part("acme/payments:x", portal.actor("codex"))
    with pytest.raises(AuditError, match=r"sod\.conflict"), transaction.atomic():
        take_part("acme/payments:x", events.Actor(ada.principal_id, ada.name, Role.PLAN))


def test_an_unknown_principal_is_refused_never_exempt(portal: Portal):
    with pytest.raises(AuditError, match=r"sod\.unknown_principal"), transaction.atomic():
        take_part("acme/payments:x", events.Actor(999_999, "ghost", Role.PLAN))


# How an exported column is named in the body of its leaf; what is not named differs by nothing but its place.
IN_THE_LEAF = {
    "pull_request": "pr",
    "head_sha": "head",
    "base_sha": "base",
    "bundle_digest": "bundle",
    "policy_digest": "policy",
    "is_override": "override",
    "verdict_id": "verdict",
    "supersedes_id": "supersedes",
}
# The row's own number, and what stands elsewhere in the leaf or follows from another column.
OUTSIDE_THE_BODY = {"id", "handoff", "event", "principal", "role", "created_at"}
FOLLOWS = {"policy_version": "policy_digest"}


@pytest.mark.parametrize("name", SOP_TABLES)
def test_every_exported_column_is_in_the_hashed_leaf(full: Portal, name: str):
    settle_log()
    lines = text_of(sheet_of(name, {}), "jsonl", tree_head()).splitlines()
    rows = [json.loads(line) for line in lines[:-1]]
    assert rows
    for row in rows:
        leaf = parse_leaf(row["leaf"].encode())
        body = open_body(leaf, bytes.fromhex(row["salt"]), row["body"].encode())
        for column, value in row["row"].items():
            if column in FOLLOWS or column in OUTSIDE_THE_BODY or column.endswith(("_salt", "_erased_at")):
                continue
            if column.endswith("_text"):
                assert is_kept_text(row["row"], body, column.removesuffix("_text"))
                continue
            if column == "detail":
                assert value.items() <= body.items()
                continue
            assert body[IN_THE_LEAF.get(column, column)] == value, f"{name}.{column}"
        assert row["row"]["principal"] == leaf.principal
        assert row["row"]["created_at"] == leaf.at.isoformat(timespec="microseconds")


def is_kept_text(row: dict[str, Any], body: dict[str, Any], name: str) -> bool:
    """A text beside the log: with its salt, what the leaf commits to; nothing where nothing was written."""
    if body[name] is None:
        return row[f"{name}_text"] is row[f"{name}_salt"] is None
    salted = hmac.new(bytes.fromhex(row[f"{name}_salt"]), row[f"{name}_text"].encode(), hashlib.sha256)
    return row[f"{name}_erased_at"] is None and salted.hexdigest() == body[name]


def test_an_export_holds_exactly_the_rows_that_its_tree_head_covers(full: Portal):
    settle_log()
    head = tree_head()
    portal_event = portal_acts(full)
    lines = text_of(log_sheet(LogEntry.objects.all()), "jsonl", head).splitlines()
    assert len(lines) - 1 == head.size
    assert portal_event not in {json.loads(line).get("row", {}).get("id") for line in lines}


def portal_acts(portal: Portal) -> int:
    """One more act, whose leaf has no place in the tree yet."""
    with transaction.atomic():
        return append_event("export.made", portal.actor("auditor"), "", {}).pk
