"""The SOP's table of section 5, copied by hand and frozen, against what routes, SQL and the LocalGit forge do.

Nothing here is derived from the product's own tables: where they disagree with the SOP, this fails.
"""

from __future__ import annotations

import contextlib
import itertools
from datetime import UTC, datetime

import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client

from audit.actions import link_identity
from audit.events import Role
from audit.models import Identity, Kind
from handoffs.forges.protocol import NewCommit
from handoffs.git.process import GitError
from handoffs.models import PullRequest, Status
from leoportal import setup
from leoportal.lanes.switching import acting_in
from tests.lanes.test_routes import ROUTES
from tests.lanes.test_routes import address as route_of
from tests.support.portal import Portal
from tests.web.scene import Scene, make_scene
from verdicts.decision import Verdict as VerdictKind
from verdicts.merging import merge_pull_request

# Source: SOP section 5. One letter for each of Codex, Claude/EXEC, PLAN, LEAD.
SOP = {
    "Generate patches": "YNNN",
    "Sign artifacts": "NYNN",
    "Create PR": "NYNN",
    "Trigger workflows": "NYNN",
    "Monitor gates": "NNYN",
    "Issue PASS verdict": "NNYN",
    "Escalation review": "NNNY",
    "Database writes": "NYYY",
}
LANES = {"builder": 0, "enforcer": 1, "plan": 2, "lead": 3}
PEOPLE = {"builder": "b", "enforcer": "exec", "plan": "plan", "lead": "lead"}
CELLS = list(itertools.product(SOP, LANES))


def allows(action: str, lane: str) -> bool:
    return SOP[action][LANES[lane]] == "Y"


def test_the_table_has_its_eight_times_four_cells():
    assert len(CELLS) == 32
    assert sum(row.count("Y") for row in SOP.values()) == 10


# --- by SQL: what each lane's own login may. Permission is asked before any row is made, and every try is taken back.
ACTS_BY_SQL = {
    "Generate patches": None,  # a patch is a commit on a staging branch; no statement makes one
    "Sign artifacts": ("INSERT INTO leo_signature (digest) VALUES ('x')",),
    "Create PR": ("INSERT INTO handoffs_pullrequest (number) VALUES (1)",),
    "Trigger workflows": ("UPDATE handoffs_handoff SET status = 'triggered' WHERE status = 'opened'",),
    "Monitor gates": None,  # there have to be gates: see below
    "Issue PASS verdict": ("INSERT INTO leo_verification_results (verdict) VALUES ('PASS')",),
    "Escalation review": ("INSERT INTO pr_approval_audit (decision) VALUES ('approve')",),
    "Database writes": (
        "INSERT INTO leo_handoff_tracking (event) VALUES ('x')",
        "INSERT INTO audit_participation (subject) VALUES ('x')",
    ),
}


@pytest.mark.threat("DB-01")
@pytest.mark.parametrize(("action", "lane"), CELLS)
def test_by_sql(as_role, action: str, lane: str):
    statements = ACTS_BY_SQL[action]
    for statement in statements or ():
        try:
            with as_role(lane).transaction(force_rollback=True):
                as_role(lane).execute(statement)
            done = True
        except psycopg.errors.InsufficientPrivilege:
            done = False
        except psycopg.errors.IntegrityError:
            done = True  # it was allowed; the row was not whole
        assert done is allows(action, lane), statement


@pytest.mark.parametrize("lane", LANES)
def test_running_gates_are_seen_by_sql(transactional_db, tmp_path, address, lane: str):
    make_scene(tmp_path).passing()
    with psycopg.connect(address(lane), autocommit=True) as session:
        seen = 0
        with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
            seen = session.execute("SELECT count(*) FROM leo_gate_executions").fetchone()[0]
    assert (seen > 0) is allows("Monitor gates", lane)


# --- by route: what a person of each lane is let do. None: no address does it, for anybody.
ACTS_BY_ROUTE = {
    "Generate patches": None,
    "Sign artifacts": None,
    "Create PR": None,
    "Trigger workflows": None,
    "Monitor gates": ("GET", "verdicts:turn"),
    "Issue PASS verdict": ("POST", "verdicts:verdict"),
    "Escalation review": ("POST", "verdicts:decide"),
    "Database writes": None,
}
WORDS = {
    "sign": {"account_login"},
    "trigger": set(),
    "bundle": {"handoffs:artifact-bundle", "handoffs:statement-bundle"},
}


def test_by_route(scene: Scene):
    pull = scene.escalated()
    clients = {lane: scene.client(name) for lane, name in PEOPLE.items() if lane != "builder"}
    clients["builder"] = Client()
    clients["builder"].force_login(User.objects.create(username="b"), backend="leoportal.roles.SignInBackend")
    for (action, lane), doing in (((a, one), ACTS_BY_ROUTE[a]) for a, one in CELLS):
        if doing is not None:
            method, name = doing
            status = clients[lane].generic(method, route_of(name, scene, pull)).status_code
            assert (status != 403) is allows(action, lane), (action, lane, status)


def test_no_address_signs_opens_triggers_or_takes_a_patch():
    posts = {
        name for name in ROUTES if name.rpartition(":")[2] in {"sign", "apply", "open", "trigger", "submit", "bundle"}
    }
    assert posts == set()


# --- by the LocalGit forge: what ends up in the governed repository, whoever pushes.
@pytest.mark.threat("SOD-01")
def test_patches_by_the_forge(portal: Portal):
    """A bundle under the id of a machine of another lane is refused; its push alone opens nothing."""
    roles = {"builder": Role.BUILDER, "enforcer": Role.ENFORCER, "plan": Role.PLAN, "lead": Role.LEAD}
    for lane, role in roles.items():
        name, branch = f"https://builder.invalid/{lane}", f"staging/codex-{lane}"
        person = setup.ensure_principal(f"sam-{lane}", kind=Kind.HUMAN, role=role)
        machine = setup.ensure_principal(f"agent-{lane}", kind=Kind.MACHINE, role=role, sponsor=person)
        with transaction.atomic():
            link_identity(machine, Identity.Kind.BUILDER_ID, name, proof=Identity.Proof.SET_UP, by=setup.OPERATOR)
        setup.ensure_policy((name,))
        raw = portal.bundle({f"{lane}.md": "x\n"}, sponsor=f"sam-{lane}", builder_id=name, branch=branch)
        portal.push_bundle(raw, branch=branch)
        expected = Status.OPENED if allows("Generate patches", lane) else Status.REFUSED
        assert portal.receive().status == expected, lane


def test_feature_branches_by_the_forge(portal: Portal, address):
    """The hook lets a feature branch through that the lane could announce: only the enforcer's can."""
    commit = portal.tools().git.resolve("refs/heads/main")
    for lane in LANES:
        ref = f"refs/heads/feature/{lane}"
        try_by_sql(address(lane), ANNOUNCE.format(ref=ref, old="0" * 40, new=commit))
        assert pushes(portal, commit, ref, old="") is allows("Create PR", lane), lane


def test_no_lane_merges_by_what_it_writes_without_a_decision_and_after_plans_pass_the_portal_does(
    portal: Portal, address
):
    pull = portal.verified()
    merge = portal.tools().forge.write_commit(
        NewCommit(
            tree=pull.merge_tree, parents=(pull.base_sha, pull.head_sha), message="Merge", name="x", email="x@x.invalid",
            when=datetime(2026, 11, 1, tzinfo=UTC),
        )
    )  # fmt: skip
    for lane in LANES:
        try_by_sql(
            address(lane),
            f"UPDATE handoffs_pullrequest SET merge_sha = '{merge}'",
            "UPDATE handoffs_pullrequest SET status = 'ready-to-merge'",
            ANNOUNCE.format(ref="refs/heads/main", old=pull.base_sha, new=merge),
        )
        assert not pushes(portal, merge, "refs/heads/main", old=pull.base_sha), lane
    PullRequest.objects.update(merge_sha="", status=pull.status)
    portal.verdict(VerdictKind.PASS)
    with acting_in("plan"):
        merged = merge_pull_request(pull.pk, portal.tools(), by=portal.actor("plan"))
    assert portal.tools().git.resolve("refs/heads/main") == merged.merge_sha


ANNOUNCE = (
    "INSERT INTO leo_ref_intent (ref, old, new, created_at, log_entry_id, repository_id)"
    " SELECT '{ref}', '{old}', '{new}', now(), (SELECT max(id) FROM leo_log_entry), id FROM handoffs_repository"
)


def try_by_sql(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as session:
        for statement in statements:
            with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
                session.execute(statement.encode())


def pushes(portal: Portal, commit: str, ref: str, *, old: str) -> bool:
    try:
        portal.tools().git.push(portal.bare, commit, ref, old=old)
    except GitError:
        return False
    return True
