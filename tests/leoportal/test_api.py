"""The JSON API and the commands that speak to it, over real HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client

from audit.actions import append_event, issue_token
from audit.models import ApiToken, LogEntry, Principal
from leoportal.setup import OPERATOR
from tests.support.portal import Portal
from verdicts.models import AgentReport, GateExecution, VerificationWork
from verdicts.results import GateOutcome

SARIF = {
    "version": "2.1.0",
    "runs": [
        {
            "tool": {"driver": {"name": "outside", "version": "1.0"}},
            "results": [
                {
                    "ruleId": "sql-injection",
                    "level": "error",
                    "message": {"text": "query built from input"},
                    "locations": [
                        {
                            "physicalLocation": {
                                "artifactLocation": {"uri": "payments/fees.py"},
                                "region": {"startLine": 9},
                            }
                        }
                    ],
                }
            ],
        }
    ],
}


HIGH = {"rule": "r1", "severity": "HIGH", "file": "a.py", "line": 3, "message": "bad"}


def token(name: str) -> str:
    """A token of somebody of the cast."""
    return issue_token(Principal.objects.get(name=name), "test", days=1, by=OPERATOR)


def leo(url: str, secret: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The installed command, in a process without the portal's environment."""
    environment = {"PATH": os.defpath, "LEO_URL": url, "LEO_TOKEN": secret, "NO_COLOR": "1", "COLUMNS": "200"}
    command = [str(Path(sys.executable).with_name("leo")), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=60)


def post(client: Client, path: str, secret: str, body: object) -> tuple[int, dict]:
    """POST JSON with a bearer token."""
    answer = client.post(
        f"/api/v1/prs/acme/payments/1/{path}",
        data=json.dumps(body),
        content_type="application/json",
        headers={"authorization": f"Bearer {secret}"},
    )
    return answer.status_code, answer.json()


def gate_body(portal: Portal, **changes: object) -> dict[str, object]:
    """A good report of the Story gate."""
    head = portal.pull().head_sha
    return {"gate": "story-release", "conclusion": "success", "run_id": "r-1", "head_sha": head, **changes}


def test_a_gate_is_reported_by_the_command_line_over_http(portal: Portal, live_server):
    portal.hand_over()
    head = portal.pull().head_sha
    options = ("--repository", "acme/payments", "--gate", "story-release", "--run-id", "r-1", "--head", head)
    done = leo(live_server.url, token("story-gate"), "gate", "report", "PR-1", *options, "--conclusion", "success")
    assert (done.returncode, done.stderr) == (0, "")
    row = GateExecution.objects.get(gate="story-release")
    assert (row.conclusion, row.reporter.name, row.head_sha) == ("success", "story-gate", head)
    assert row.log_entry.open()["run_id"] == "r-1"
    again = leo(live_server.url, token("story-gate"), "gate", "report", "PR-1", *options, "--conclusion", "failure")
    assert again.returncode == 1
    assert "gate.run_conflict" in again.stderr
    denied = leo(live_server.url, token("plan"), "gate", "report", "PR-1", *options, "--conclusion", "success")
    assert denied.returncode == 3
    assert "role.not_allowed" in denied.stderr
    assert "plan is PLAN" in denied.stderr


def test_plan_verifies_and_explains_by_the_command_line(portal: Portal, live_server):
    portal.hand_over()
    secret = token("plan")
    explained = leo(live_server.url, secret, "pr", "explain", "PR-1", "-r", "acme/payments")
    assert explained.returncode == 1
    assert "agent.missing" in explained.stdout or "MISSING" in explained.stdout.upper()
    waiting = leo(live_server.url, secret, "plan", "verify", "PR-1", "-r", "acme/payments", "--wait", "1")
    assert waiting.returncode == 6, waiting.stdout
    portal.run_work()
    portal.report("story-release", GateOutcome.SUCCESS)
    done = leo(live_server.url, secret, "pr", "explain", "1", "-r", "acme/payments", "--json")
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["judgement"]["verdict"] == "PASS"
    assert leo(live_server.url, secret, "pr", "explain", "PR-x", "-r", "acme/payments").returncode == 2


def test_a_portal_that_is_away_is_exit_code_4():
    done = leo("http://127.0.0.1:9", "leo_x", "pr", "explain", "PR-1", "-r", "acme/payments")
    assert done.returncode == 4
    assert "Next:" in done.stderr


@pytest.mark.parametrize("secret", ["", "leo_wrong", "x" * 5000])
def test_without_a_good_token_there_is_no_answer(portal: Portal, client: Client, secret: str):
    portal.hand_over()
    status, body = post(client, "gates", secret, gate_body(portal))
    assert (status, body["code"]) == (401, "token.invalid")
    assert not GateExecution.objects.filter(gate="story-release").exists()


def test_an_expired_or_revoked_token_is_dead_at_once(portal: Portal, client: Client):
    portal.hand_over()
    secret = token("story-gate")
    ApiToken.objects.update(expires_at="2020-01-01T00:00Z")
    assert post(client, "gates", secret, gate_body(portal))[0] == 401
    with transaction.atomic():
        said = append_event("person.erased", portal.actor("plan"), "", {})
        ApiToken.objects.update(expires_at="2999-01-01T00:00Z", revoked_at="2020-01-01T00:00Z", end_entry=said)
    assert post(client, "gates", secret, gate_body(portal))[0] == 401


def test_the_tokens_text_is_stored_nowhere(portal: Portal):
    secret = token("story-gate")
    assert not ApiToken.objects.filter(digest=secret.encode()).exists()
    assert not any(secret.encode() in bytes(leaf) for leaf in LogEntry.objects.values_list("leaf", flat=True))


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"head_sha": "ab" * 20}, 409, "gate.head_moved"),
        ({"gate": "nothing"}, 422, "gate.unknown"),
        ({"gate": "slsa"}, 422, "gate.built_in"),
        ({"gate": "policy-bundle"}, 422, "gate.built_in"),
        ({"gate": "SLSA Verification / Verify SLSA Provenance"}, 422, "gate.built_in"),
        ({"gate": "gate-3"}, 422, "gate.own"),
        ({"gate": "LEO Gate Validation / Run Gate 3 for PRD-1"}, 422, "gate.own"),
        ({"conclusion": "missing"}, 422, "request.invalid"),
        ({"conclusion": "SUCCESS"}, 422, "request.invalid"),
        ({"run_id": None}, 422, "request.invalid"),
        ({"run_id": ""}, 422, "gate.run_id"),
        ({"run_id": "r" * 121}, 422, "gate.run_id"),
    ],
)
def test_a_bad_gate_report_is_refused_with_a_code(
    portal: Portal, client: Client, changes: dict, status: int, code: str
):
    portal.hand_over()
    answer = post(client, "gates", token("story-gate"), gate_body(portal, **changes))
    assert (answer[0], answer[1]["code"]) == (status, code)
    assert answer[1]["detail"]
    assert not GateExecution.objects.exists()


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b'{"gate":"story-release","gate":"slsa"}', "json.duplicate_key"),
        (b'{"evidence":' + b"[" * 2000 + b"]" * 2000 + b"}", "json.too_deep"),
        (b'{"evidence":{"n":NaN}}', "json.not_a_number"),
        (b"[1]", "json.not_an_object"),
        (b"{", "json.syntax"),
    ],
)
def test_a_body_that_is_not_strict_json_is_refused_with_a_code(portal: Portal, client: Client, raw: bytes, code: str):
    portal.hand_over()
    answer = client.post(
        "/api/v1/prs/acme/payments/1/gates",
        data=raw,
        content_type="application/json",
        headers={"authorization": f"Bearer {token('story-gate')}"},
    )
    assert (answer.status_code, answer.json()["code"]) == (422, code)


def test_an_unknown_pull_request_is_404_with_a_code(portal: Portal, client: Client):
    portal.hand_over()
    answer = client.get("/api/v1/prs/acme/other/1", headers={"authorization": f"Bearer {token('plan')}"})
    assert (answer.status_code, answer.json()["code"]) == (404, "pull.unknown")


def test_an_outside_sarif_report_lowers_the_result(portal: Portal, client: Client):
    portal.verified()
    head = portal.pull().head_sha
    answer = client.post(
        f"/api/v1/prs/acme/payments/1/agents?format=sarif&kind=SECURITY&head_sha={head}",
        data=json.dumps(SARIF),
        content_type="application/json",
        headers={"authorization": f"Bearer {token('story-gate')}"},
    )
    assert answer.status_code == 201, answer.content
    report = AgentReport.objects.latest("pk")
    assert (report.agent, report.result["outcome"], report.reporter.name) == ("SECURITY", "FAILED", "story-gate")
    shown = client.get("/api/v1/prs/acme/payments/1", headers={"authorization": f"Bearer {token('plan')}"}).json()
    assert shown["judgement"]["verdict"] in {"ESCALATE", "FAIL"}


def test_a_report_that_is_not_what_it_says_is_refused(portal: Portal, client: Client):
    portal.hand_over()
    for form, raw in (("native", b"{}"), ("native", b'{"a":1,"a":2}'), ("sarif", b"[]"), ("junit", b"<!DOCTYPE x>")):
        answer = client.post(
            f"/api/v1/prs/acme/payments/1/agents?format={form}&kind=TESTING&head_sha={portal.pull().head_sha}",
            data=raw,
            content_type="application/octet-stream",
            headers={"authorization": f"Bearer {token('story-gate')}"},
        )
        assert answer.status_code == 422, (form, answer.content)
        assert answer.json()["code"].startswith(("result.", "json."))
    assert not AgentReport.objects.exists()


def native(head: str, **changes: object) -> dict[str, object]:
    """A sub-agent's result as an outside reviewer sends it."""
    said = {"kind": "SECURITY", "outcome": "PASSED", "confidence": 99, "findings": [], "head_sha": head, "reason": ""}
    made = {"tools": [{"name": "outside", "version": "1"}], "input_digest": "b" * 64, "subjects": ["a.py"]}
    return {"schema": "leoportal/agent-result/v1", **said, **made, **changes}


@pytest.mark.threat("SOD-07")
@pytest.mark.parametrize(
    ("case", "status", "code"),
    [
        ("by who reports nothing", 403, "role.not_allowed"),
        ("by the portal's own agent", 401, "token.invalid"),
        ("about another head", 409, "result.head_moved"),
        ("about another repository's pull request", 404, "pull.unknown"),
        ("with an expired token", 401, "token.invalid"),
    ],
)
def test_a_sub_agents_result_cannot_be_spoofed(portal: Portal, client: Client, case: str, status: int, code: str):
    portal.hand_over()
    head, path, secret = portal.pull().head_sha, "acme/payments/1", token("story-gate")
    match case:
        case "by who reports nothing":
            secret = token("plan")
        case "by the portal's own agent":
            secret = "leo_" + "0" * 40
        case "about another head":
            head = "ab" * 20
        case "about another repository's pull request":
            path = "acme/other/1"
        case "with an expired token":
            ApiToken.objects.update(expires_at="2020-01-01T00:00Z")
    answer = client.post(
        f"/api/v1/prs/{path}/agents",
        data=json.dumps(native(head)),
        content_type="application/json",
        headers={"authorization": f"Bearer {secret}"},
    )
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.json()
    assert not AgentReport.objects.exists()


@pytest.mark.threat("SOD-07")
def test_a_result_sent_again_raises_nothing_and_none_counts_for_the_next_head(portal: Portal, client: Client):
    portal.verified()
    secret, head = token("story-gate"), portal.pull().head_sha
    for said in (native(head, outcome="FAILED", findings=[HIGH]), native(head), native(head)):
        assert post(client, "agents", secret, said)[0] == 201
    shown = client.get("/api/v1/prs/acme/payments/1", headers={"authorization": f"Bearer {token('plan')}"}).json()
    assert shown["judgement"]["verdict"] != "PASS", "a good result after a bad one"
    assert post(client, "agents", secret, native("cd" * 20))[1]["code"] == "result.head_moved"


def test_a_session_cookie_is_no_token(portal: Portal, client: Client):
    portal.hand_over()
    client.force_login(User.objects.get(username="plan"))
    answer = client.post("/api/v1/prs/acme/payments/1/verify")
    assert answer.status_code == 401
    assert VerificationWork.objects.filter(run=2).count() == 0


def test_the_api_describes_itself(portal: Portal, live_server):
    described = requests.get(f"{live_server.url}/api/v1/openapi.json", timeout=10).json()
    assert "/api/v1/prs/{owner}/{name}/{number}/gates" in described["paths"]
