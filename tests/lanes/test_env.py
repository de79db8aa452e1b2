"""Each example of a lane's environment signs in, reads what it should, and is refused whatever belongs to another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from django.conf import settings

from leoportal.lanes.matrix import read_matrix

LANES = {"codex": "builder", "claude": "enforcer", "plan": "plan", "lead": "lead", "auditor": "auditor"}
READS = {
    "codex": "SELECT id, status, refusal_code FROM handoffs_handoff",
    "claude": "SELECT * FROM handoffs_handoff",
    "plan": "SELECT * FROM leo_gate_executions",
    "lead": "SELECT * FROM leo_verification_results",
    "auditor": "SELECT * FROM leo_log_entry",
}
# What no lane may, whichever it is.
FORBIDDEN = (
    "DELETE FROM leo_log_entry",
    "UPDATE leo_log_entry SET principal = 0",
    "TRUNCATE pr_approval_audit",
    "UPDATE leo_verification_results SET verdict = 'PASS'",
    "INSERT INTO audit_rolegrant (principal_id, role, starts_at) VALUES (1, 'LEAD', now())",
    "SELECT password FROM auth_user",
    "SELECT session_data FROM django_session",
    "SELECT digest FROM audit_apitoken",
    "INSERT INTO leo_policy_version (number, document, digest) VALUES (9, '', '')",
    "ALTER TABLE leo_log_entry DISABLE TRIGGER ALL",
    "CREATE FUNCTION public.leo_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
    "SET ROLE leoportal_owner",
    "SET session_replication_role = replica",
    "COPY (SELECT 1) TO PROGRAM 'id'",
)
VERDICT = "INSERT INTO leo_verification_results (verdict) VALUES ('PASS')"
DECISION = "INSERT INTO pr_approval_audit (decision) VALUES ('approve')"
SIGNATURE = "INSERT INTO leo_signature (digest) VALUES ('x')"
PULL = "INSERT INTO handoffs_pullrequest (number) VALUES (1)"
OTHERS = {
    "codex": (VERDICT, DECISION, SIGNATURE, PULL, "SELECT 1 FROM leo_gate_executions", "SET ROLE leo_enforcer"),
    "claude": (
        VERDICT,
        DECISION,
        "SELECT 1 FROM leo_gate_executions",
        "SELECT 1 FROM pr_approval_audit",
        "SET ROLE leo_plan",
    ),
    "plan": (DECISION, SIGNATURE, PULL, "SELECT secret_key FROM handoffs_signingkey", "SET ROLE leo_lead"),
    "lead": (VERDICT, SIGNATURE, PULL, "SELECT secret_key FROM handoffs_signingkey", "SET ROLE leo_plan"),
    "auditor": (
        VERDICT,
        DECISION,
        SIGNATURE,
        PULL,
        "UPDATE handoffs_pullrequest SET status = 'merged'",
        "SET ROLE leo_plan",
    ),
}


def example(name: str) -> dict[str, str]:
    lines = (Path(settings.BASE_DIR) / f".env.{name}.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@pytest.mark.threat("DB-01")
@pytest.mark.parametrize("name", LANES)
def test_an_environment_signs_in_as_its_lane_and_as_no_other(db, address: Callable[[str], str], name: str):
    given = example(name)
    login = urlsplit(given["DATABASE_URL"]).username
    assert login == read_matrix().roles[LANES[name]].name
    assert [variable for variable in given if variable.startswith("DATABASE_")] == ["DATABASE_URL"]
    with psycopg.connect(address(LANES[name]), autocommit=True) as session:
        assert session.execute("SELECT session_user, current_user").fetchone() == (login, login)
        session.execute(READS[name])
        for statement in (*FORBIDDEN, *OTHERS[name]):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(statement)


def test_there_is_no_other_example():
    assert {path.name for path in Path(settings.BASE_DIR).glob(".env*")} == {f".env.{name}.example" for name in LANES}
    assert "LEO_TOKEN_FILE" not in example("codex")
    assert {name for name in LANES if "SIGNING_KEY_PASSWORD_FILE" in example(name)} == {"claude"}
