"""Two Apps, two keys, two logins: the enforcer cannot publish its own PASS, and the publisher can write nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from django.db import IntegrityError, transaction
from psycopg import sql

from audit import events
from audit.actions import actor_of, append_event
from audit.covering import wait_covered
from audit.models import LogQuorum, Principal
from handoffs.github.check_runs import CheckRun
from handoffs.models import GitHubRepository
from leoportal.lanes.matrix import read_matrix
from leoportal.lanes.switching import acting_in
from leoportal.setup import OPERATOR
from leoportal.stack.portal import children
from leoportal.stack.services import ROOT, SECRETS
from tests.github.publishing import GATE_3, Published, contexts
from tests.support.github import GitHub
from tests.support.portal import Portal
from verdicts.decision import Verdict as VerdictKind
from verdicts.evidence import VERIFIER
from verdicts.publication_rows import CheckPublication
from verdicts.results import GateOutcome
from verdicts.tasks_publishing import desk_of

MATRIX = read_matrix()


@pytest.fixture
def there(portal: Portal, github: GitHub, settings) -> Published:
    return Published.make(portal, github, settings)


@pytest.mark.threat("GATE-02")
def test_no_process_but_the_publisher_is_given_the_gates_key(tmp_path: Path):
    """By name and by file, in the environment of every process that `make demo` starts."""
    secret = {name: "x" for secret in SECRETS for name in (secret, f"{secret}_FILE")}
    logins = {role.variable: f"postgresql:///{role.name}" for role in MATRIX.logins}
    started = children({**os.environ, **secret, **logins}, tmp_path, 8000)
    assert {"enforcer", "publisher", "verifier", "web", "beat"} <= set(started)
    for name, child in started.items():
        known = {key for key in child.command.environment if key in secret}
        gate = {"GITHUB_GATE_KEY", "GITHUB_GATE_KEY_FILE"}
        enforcer = {"GITHUB_ENFORCER_KEY", "GITHUB_ENFORCER_KEY_FILE"}
        assert (gate <= known, enforcer <= known) == (name == "publisher", name == "enforcer"), name
        assert gate.isdisjoint(known) or enforcer.isdisjoint(known), name
        others = {value for key, value in logins.items() if value != logins["DATABASE_PUBLISHER_URL"]}
        if name == "publisher":
            assert others.isdisjoint(child.command.environment.values())


@pytest.mark.threat("GATE-02")
def test_each_apps_token_does_what_its_lane_does_and_no_more(there: Published):
    pull = there.hand_over()
    enforcer = there.github.create_app("leo-enforcer", {"contents": "write", "pull_requests": "write"})
    tokens = {
        "enforcer": there.github.install(enforcer, there.remote).token(),
        "gate": there.github.install(there.gate, there.remote).token(),
    }
    run = {"name": GATE_3, "head_sha": pull.head_sha, "status": "completed", "conclusion": "success"}
    ref = {"ref": "refs/heads/mine", "sha": pull.head_sha}
    status = {"state": "success", "context": GATE_3}
    asked = {
        ("enforcer", f"statuses/{pull.head_sha}"): status,
        ("enforcer", "check-runs"): run,
        ("gate", "git/refs"): ref,
    }
    for (lane, path), body in asked.items():
        assert there.ask(tokens[lane], "POST", path, body) == 403, (lane, path)
    assert there.ask(tokens["gate"], "POST", "check-runs", run) == 201


@pytest.mark.threat("GATE-02")
def test_the_publisher_writes_its_own_rows_and_nothing_else():
    """Where it publishes, whether GitHub answers, what it was asked, what it read of the rules, and the log."""
    written = {
        (table.name, grant.privilege)
        for table in MATRIX.tables.values()
        for grant in table.grants
        if grant.role == "leo_publisher" and grant.privilege != "SELECT"
    }
    assert {table for table, _ in written} == {
        "leo_check_publication",
        "leo_github_circuit",
        "leo_github_repository",
        "leo_github_request",
        "leo_log_entry",
        "leo_protection_reading",
        "leo_protection_watch",
    }
    assert "DELETE" not in {privilege for _, privilege in written}


@pytest.mark.threat("GATE-02")
@pytest.mark.parametrize(
    "table", ["leo_gate_executions", "leo_verification_results", "pr_approval_audit", "handoffs_handoff", "handoffs_pullrequest"]
)  # fmt: skip
def test_the_publisher_judges_nothing(as_role: Callable[[str], psycopg.Connection], table: str):
    for statement in ("INSERT INTO {} DEFAULT VALUES", "UPDATE {} SET id = 1", "DELETE FROM {}"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            as_role("publisher").execute(sql.SQL(statement).format(sql.Identifier(table)))


def publication(there: Published, sha: str, **changes: object) -> CheckPublication:
    """A success of Gate 3, written by the publisher's login as if its code were gone."""
    by = actor_of(Principal.objects.get(name=VERIFIER))
    values = {
        "repository": there.portal.repository,
        "pull_number": 1,
        "head_sha": sha,
        "context": GATE_3,
        "is_own": True,
        "status": "completed",
        "conclusion": "success",
        "title": "PASS",
        "digest": "0" * 64,
    }
    with transaction.atomic(), acting_in("publisher"):
        entry = append_event(events.CHECK_INTENDED, by, "", {})
        return CheckPublication.objects.create(**(values | changes), log_entry=entry)


@pytest.mark.threat("GATE-03")
def test_the_database_takes_no_success_that_nothing_releases(there: Published):
    pull = there.hand_over()
    other = there.remote.sha("main")
    refused = r"publication\.not_released"
    with pytest.raises(IntegrityError, match=refused):
        publication(there, pull.head_sha)
    entry = there.portal.verdict(VerdictKind.PASS).log_entry_id
    assert wait_covered([entry], seconds=60)
    with pytest.raises(IntegrityError, match=refused):  # whatever else is an entry
        publication(there, pull.head_sha, causes=[entry - 1])
    set_quorum(1)
    with pytest.raises(IntegrityError, match=refused):  # nobody cosigned it
        publication(there, pull.head_sha, causes=[entry])
    set_quorum(0)
    publication(there, pull.head_sha, causes=[entry])
    with pytest.raises(IntegrityError, match=refused):
        publication(there, other, causes=[entry])
    with pytest.raises(IntegrityError, match=refused):
        publication(there, pull.head_sha, causes=[entry, entry])
    for conclusion in ("neutral", "skipped"):
        with pytest.raises(IntegrityError, match=refused):
            publication(there, other, causes=[entry], conclusion=conclusion)
    with pytest.raises(IntegrityError, match="history: UPDATE"), transaction.atomic():
        CheckPublication.objects.update(title="Another")
    there.portal.report("story-release", GateOutcome.FAILURE, run_id="late")
    with pytest.raises(IntegrityError, match=refused):  # taken back
        publication(there, pull.head_sha, causes=[entry])


@transaction.atomic
def set_quorum(witnesses: int) -> None:
    LogQuorum.objects.create(witnesses=witnesses, log_entry=append_event(events.QUORUM_SET, OPERATOR, "", {}))


@pytest.mark.threat("GATE-01")
def test_the_key_of_another_app_publishes_nothing(there: Published):
    """The rule set pins one App's number: what another says would block nothing, and nobody would notice."""
    there.hand_over()
    GitHubRepository.objects.update(gate_app=there.gate.id + 1)
    assert there.publish() == "failed"
    assert "github.other_app" in GitHubRepository.objects.get().gate_error
    assert there.remote.check_runs == []


@pytest.mark.threat("GATE-12")
@pytest.mark.parametrize("conclusion", ["success", "neutral", "skipped"])
def test_what_satisfies_github_is_never_made_only_written_into_a_run_that_is_known(there: Published, conclusion: str):
    run = CheckRun(GATE_3, there.remote.sha(), "leo-1", "", "completed", conclusion, "PASS", "PASS")
    with pytest.raises(ValueError, match="expected one that waits"):
        desk_of(there.hosted).checks.make(run)


KILLED = """
import os, signal, sys
import django
django.setup()
from verdicts import publisher
from verdicts.tasks_publishing import publish

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[2] == "between effect and result":
    holds, count = publisher._holds, []
    def second(*arguments):
        count.append(1)
        return die() if len(count) == 2 else holds(*arguments)
    publisher._holds = second
else:
    real = publisher._intend
    def intend(desk, one):
        row = real(desk, one)
        return die() if one.wanted.is_release else row
    publisher._intend = intend
publish(int(sys.argv[1]))
"""


@pytest.mark.threat("GATE-12")
@pytest.mark.parametrize(("place", "shown"), [("between intent and effect", "in_progress"), ("between effect and result", "success")])  # fmt: skip
def test_a_publisher_killed_around_the_effect_leaves_one_check_run(
    there: Published, address: Callable[[str], str], settings, place: str, shown: str
):
    """kill -9 of the real process, signed in as leo_publisher and with the gate's key alone."""
    pull = there.hand_over()
    assert there.publish() == "done"
    there.portal.verdict(VerdictKind.PASS)
    environment = {
        **os.environ,
        "DATABASE_URL": address("publisher"),
        "DJANGO_SETTINGS_MODULE": "leoportal.settings",
        "LEOPORTAL_EMBEDDED": "1",
        "LEOPORTAL_VAR": str(settings.VAR),
        "GITHUB_URL": there.github.url,
        "GITHUB_API_URL": there.github.api,
        "GITHUB_GATE_APP_ID": str(there.gate.id),
        "GITHUB_GATE_KEY": there.gate.private_key(),
        "LOG_WAIT_SECONDS": "60",
    }
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(there.portal.repository.pk), place],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert there.gate_3(pull.head_sha) == shown
    row = CheckPublication.objects.filter(is_own=True).latest("pk")
    assert (row.conclusion, row.is_certain) == ("success", False)
    there.retry()
    assert there.publish() == "done"
    assert set(there.states(pull.head_sha).values()) == {"success"}
    assert len(there.remote.check_runs) == len(contexts())
    assert CheckPublication.objects.filter(is_own=True).latest("pk").is_certain
