"""Races for everything that may be there once: real connections of a lane that may, all at once, one wins.

`make races` runs the long form: 400 rounds of two and 200 of eight for each.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier

import psycopg
import pytest
from django.db import transaction

from audit.actions import actor_of
from audit.events import Role
from tests.support.people import person
from tests.web.scene import Scene, make_scene
from verdicts.deciding import VerdictRequest, record_verdict
from verdicts.decision import Verdict as VerdictKind
from verdicts.models import Decision, Verdict

LONG = "LEO_RACES" in os.environ
ROUNDS = {2: 400 if LONG else 12, 8: 200 if LONG else 6}


@dataclass
class Ground:
    """What contenders fight over."""

    scene: Scene
    verdict: Verdict


@pytest.fixture
def ground(transactional_db, settings, tmp_path: Path) -> Ground:
    settings.BUNDLE_STORE = tmp_path / "bundles"
    scene = make_scene(tmp_path)
    pull = scene.passing()
    asked = VerdictRequest(VerdictKind.ESCALATE, "Read it.", pull.head_sha, pull.handoff.result_tree, "May this merge?")
    verdict = record_verdict(pull.pk, asked, by=actor_of(person("plan")))
    return Ground(scene, verdict)


type Row = dict[str, object]


def insert(connection: psycopg.Connection, table: str, row: Row) -> None:
    columns = ", ".join(row)
    connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({', '.join(['%s'] * len(row))})", list(row.values()))


def said(connection: psycopg.Connection, kind: str, role: str) -> Row:
    """The entry that a row names, in the transaction that writes the row."""
    found = connection.execute(
        "INSERT INTO leo_log_entry (kind, principal, role, subject, xid, body, salt, leaf, leaf_hash)"
        " VALUES (%s, 0, %s, '', 0, '{}', decode(repeat('00', 16), 'hex'), '', '') RETURNING id",
        [kind, role],
    ).fetchone()
    assert found
    return {"log_entry_id": found[0]}


def newcomer(connection: psycopg.Connection, name: str, sponsor: int | None = None) -> int:
    kind = "machine" if sponsor else "human"
    found = connection.execute(
        "INSERT INTO audit_principal (name, kind, sponsor_id, salt, is_held, created_at) "
        "VALUES (%s, %s, %s, sha256(%s::bytea), false, now()) RETURNING id",
        [name, kind, sponsor, name],
    ).fetchone()
    assert found
    return int(found[0])


def copy_of(row: Verdict | Decision, **changed: object) -> Row:
    values = {
        str(field.column): field.get_db_prep_save(getattr(row, field.attname), transaction.get_connection())
        for field in row._meta.concrete_fields
        if field.name != "id"
    }
    return {**values, **changed}


# What the rows of a table are about, and whose act that is; participation has no entry of its own.
SAID: dict[str, tuple[str, str]] = {
    "audit_rolegrant": ("role.granted", "OPERATOR"),
    "audit_identity": ("identity.linked", "OPERATOR"),
    "audit_person_link": ("persons.linked", "OPERATOR"),
    "leo_verification_results": ("verdict.recorded", "PLAN"),
    "pr_approval_audit": ("decision.recorded", "LEAD"),
}


# Each race: what one round needs, and what each contender inserts.
type Prepare = Callable[[Ground, psycopg.Connection, int, int], tuple[str, list[Row]]]


def two_roles(_ground: Ground, owner: psycopg.Connection, number: int, ways: int) -> tuple[str, list[Row]]:
    principal = newcomer(owner, f"r-{ways}-{number}")
    roles = [role.value for role in Role if role is not Role.OPERATOR]
    return "audit_rolegrant", [
        {
            "principal_id": principal,
            "role": roles[n % len(roles)],
            "starts_at": "2026-11-01",
        }
        for n in range(ways)
    ]


def two_owners(_ground: Ground, owner: psycopg.Connection, number: int, ways: int) -> tuple[str, list[Row]]:
    people = [newcomer(owner, f"o-{ways}-{number}-{n}") for n in range(ways)]
    name = {"kind": "github", "value": f"{ways}{number}", "proof": "administrators", "starts_at": "2026-11-01"}
    return "audit_identity", [{"principal_id": who, **name} for who in people]


def two_links(_ground: Ground, owner: psycopg.Connection, number: int, ways: int) -> tuple[str, list[Row]]:
    one, other = (newcomer(owner, f"l-{ways}-{number}-{n}") for n in range(2))
    return "audit_person_link", [{"one_id": one, "other_id": other, "starts_at": "2026-11-01"}] * ways


def two_duties(_ground: Ground, owner: psycopg.Connection, number: int, ways: int) -> tuple[str, list[Row]]:
    """A person and machines of theirs, each in another duty: no two rows have the same principal."""
    human = newcomer(owner, f"d-{ways}-{number}")
    members = [human, *(newcomer(owner, f"d-{ways}-{number}-{n}", human) for n in range(1, ways))]
    duties = [role.value for role in Role if role is not Role.OPERATOR]
    subject = {"subject": f"acme/payments:{ways}-{number}", "created_at": "2026-11-01"}
    rows = [{**subject, "principal_id": who, "duty": duty} for who, duty in zip(members, duties, strict=False)]
    return "audit_participation", [*rows, *[rows[0]] * (ways - len(rows))]


def two_verdicts(ground: Ground, owner: psycopg.Connection, _number: int, ways: int) -> tuple[str, list[Row]]:
    newest = owner.execute("SELECT max(id) FROM leo_verification_results").fetchone()
    assert newest
    return "leo_verification_results", [copy_of(ground.verdict, supersedes_id=newest[0]) for _ in range(ways)]


def two_decisions(ground: Ground, owner: psycopg.Connection, number: int, ways: int) -> tuple[str, list[Row]]:
    lead, pull = person("lead"), ground.verdict.pull_request
    row = Decision(
        pull_request=pull, verdict=ground.verdict, decision="rerun", is_override=False,
        justification_id=ground.verdict.justification_id,
        head_sha=pull.head_sha, merge_tree=pull.merge_tree, round=1, run=1 + number, lead=lead,
        created_at=ground.verdict.created_at,
    )  # fmt: skip
    return "pr_approval_audit", [copy_of(row) for _ in range(ways)]


RACES: dict[str, Prepare] = {
    "two roles of one principal": two_roles,
    "two owners of one name": two_owners,
    "two links of the same two": two_links,
    "two duties of one person": two_duties,
    "two verdicts on one": two_verdicts,
    "two decisions on one": two_decisions,
}
LANES = {"two duties of one person": "plan", "two verdicts on one": "plan", "two decisions on one": "lead"}
# Two that check an exclusion at once may wait for each other; PostgreSQL then ends one of them.
LOST = (psycopg.errors.ExclusionViolation, psycopg.errors.UniqueViolation, psycopg.errors.DeadlockDetected)


@pytest.mark.threat("SOD-04")
@pytest.mark.threat("SOD-05")
@pytest.mark.parametrize("ways", ROUNDS)
@pytest.mark.parametrize("what", RACES)
def test_of_all_at_once_one_wins(ground: Ground, address, what: str, ways: int):
    start = Barrier(ways)

    def contend(connection: psycopg.Connection, table: str, row: Row) -> bool:
        try:
            with connection.transaction():
                named = said(connection, *SAID[table]) if table in SAID else {}
                start.wait(timeout=60)
                insert(connection, table, {**row, **named})
        except LOST:
            return False
        return True

    with ExitStack() as stack:
        owner = stack.enter_context(psycopg.connect(address("migrate"), autocommit=True))
        lane = address(LANES.get(what, "operator"))
        connections = [stack.enter_context(psycopg.connect(lane, autocommit=True)) for _ in range(ways)]
        pool = stack.enter_context(ThreadPoolExecutor(ways))
        for number in range(ROUNDS[ways]):
            table, rows = RACES[what](ground, owner, number, ways)
            assert len(rows) == ways
            won = list(pool.map(contend, connections, [table] * ways, rows))
            assert won.count(True) == 1, (number, won)
