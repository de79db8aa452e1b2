"""The workflows of a governed repository: nothing in them is informational, and their own lines work on a real bundle."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.management import call_command
from django.db import transaction

from audit import events
from audit.actions import append_event
from audit.events import Role
from audit.models import Kind, Principal
from handoffs.github.oidc import IssuerKeys
from handoffs.github.templates import POLICY, Commands, PolicyKey, Release, TemplateError, render_templates
from handoffs.models import GitHubRepository, WorkflowEvidence
from handoffs.scope.workflow_lint import lint_workflow
from handoffs.strict_yaml import parse_yaml_lines
from leoportal import api_github, setup
from tests.github.issuer import ISSUER, Issuer
from tests.support.portal import Portal, git
from verdicts.statement_rows import PolicyStatement

RELEASE = Release("https://dist.example/leoportal-0.1.0-py3-none-any.whl", "ab" * 32)
PINNED = PolicyKey("AB" * 20, "2026-11-26T08:00:00.123456+00:00")
COMMANDS = Commands("python3 -c pass", "cp ../report.sarif leo-report.sarif")
GATES = ("slsa", "policy", "story", "agents")
SARIF = {
    "version": "2.1.0",
    "runs": [{"tool": {"driver": {"name": "bandit", "version": "1"}}, "results": []}],
}


def render(**changes) -> dict[str, str]:
    given: dict[str, Any] = {
        "portal": "https://portal.example",
        "branch": "main",
        "policy": PINNED,
        "commands": COMMANDS,
    } | changes
    return render_templates(given.pop("release", RELEASE), **given)


def document(text: str) -> Any:
    return parse_yaml_lines(text.encode(), max_bytes=1 << 20, max_depth=20, max_values=10_000)


FILES = render()
WORKFLOWS = {gate: document(FILES[f".github/workflows/leo-{gate}.yml"]) for gate in GATES}


@pytest.mark.threat("GATE-10")
@pytest.mark.parametrize("name", FILES)
def test_the_linter_finds_nothing_in_them(name: str):
    assert lint_workflow(FILES[name].encode(), target_branch="main") == ()
    assert document(FILES[name])


@pytest.mark.threat("GATE-11")
@pytest.mark.parametrize("gate", GATES)
def test_a_workflow_may_as_little_as_it_needs(gate: str):
    workflow = WORKFLOWS[gate]
    assert workflow["permissions"] == {}
    assert workflow["on"] == {
        "workflow_dispatch": {"inputs": {"intent": workflow["on"]["workflow_dispatch"]["inputs"]["intent"]}}
    }
    for name, job in workflow["jobs"].items():
        assert set(job["permissions"]) <= {"contents", "id-token"}
        assert job["permissions"]["contents"] == "read"
        assert [step["uses"].split("@")[0] for step in job["steps"] if "uses" in step] in ([], ["actions/checkout"])
        runs = "\n".join(step.get("run", "") for step in job["steps"])
        is_own_code = COMMANDS.test in runs or COMMANDS.analyse in runs
        assert ("id-token" in job["permissions"]) is not is_own_code, name
        assert ("leo evidence send" in runs) is not is_own_code
        assert f"{RELEASE.sha256}  {RELEASE.file_name}" in runs
        assert "--require-hashes" in runs
        assert "secrets." not in FILES[f".github/workflows/leo-{gate}.yml"]


BAD: dict[str, dict[str, Any]] = {
    "http wheel": {"release": replace(RELEASE, url="http://dist.example/leoportal-0.1.0-py3-none-any.whl")},
    "another package": {"release": replace(RELEASE, url="https://dist.example/evil-0.1.0-py3-none-any.whl")},
    "a shell in the address": {
        "release": replace(RELEASE, url="https://d.example/$(id)/leoportal-0.1.0-py3-none-any.whl")
    },
    "half a digest": {"release": replace(RELEASE, sha256="ab" * 31)},
    "http portal": {"portal": "http://portal.example"},
    "a portal with a path": {"portal": "https://portal.example/x"},
    "an expression": {"commands": Commands("make ${{ github.event.inputs.x }}")},
    "a second command": {"commands": Commands("make test; true")},
    "swallowed": {"commands": Commands("make test || true")},
    "two lines": {"commands": Commands("make test\ntrue")},
    "no command": {"commands": Commands("")},
    "half a fingerprint": {"policy": replace(PINNED, fingerprint="AB" * 19)},
    "no time": {"policy": replace(PINNED, received_at="")},
    "a time with more": {"policy": replace(PINNED, received_at=f"{PINNED.received_at} || true")},
    "a branch with a space": {"branch": "main x"},
    "a branch that is an option": {"branch": "--output=x"},
}


@pytest.mark.threat("GATE-10")
@pytest.mark.parametrize("name", BAD)
def test_what_would_be_a_hole_is_not_written(name: str):
    with pytest.raises(TemplateError, match=r"workflows\."):
        render(**BAD[name])


class _Tokens(BaseHTTPRequestHandler):
    issuer: Issuer
    claims: dict[str, Any] = {}

    def do_GET(self) -> None:
        assert self.headers["Authorization"] == "Bearer request-token"
        audience = parse_qs(urlsplit(self.path).query)["audience"][0]
        body = json.dumps({"value": self.issuer.token(aud=audience, **self.claims)}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def tokens() -> Iterator[str]:
    """Where a job gets its identity token, as GitHub names it in ACTIONS_ID_TOKEN_REQUEST_URL."""
    _Tokens.issuer = Issuer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Tokens)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/token?api-version=2.0"
    server.shutdown()
    server.server_close()


@pytest.fixture
def checkout(portal: Portal, settings, monkeypatch, live_server, tokens: str, tmp_path: Path) -> Path:
    """The head of a governed pull request, checked out as `actions/checkout` does, and a portal that is listening."""
    pull = portal.hand_over() and portal.pull()
    with transaction.atomic():
        entry = append_event(events.REPOSITORY_GOVERNED, setup.OPERATOR, "", {})
        GitHubRepository.objects.create(
            repository=portal.repository,
            github_id=4711,
            full_name="acme/payments",
            enrolled_sha="a" * 40,
            log_entry=entry,
        )
    setup.ensure_principal(
        "github-actions", kind=Kind.MACHINE, role=Role.REPORTER, sponsor=Principal.objects.get(name="rhea")
    )
    settings.PORTAL_URL, settings.GITHUB_OIDC_ISSUER = live_server.url, ISSUER
    keys = IssuerKeys(ISSUER, _Tokens.issuer.fetch)
    monkeypatch.setattr(api_github, "issuer_keys", lambda _: keys)
    _Tokens.claims = {"sha": pull.head_sha}
    work = tmp_path / "job" / "work"
    work.parent.mkdir()
    git(tmp_path, "clone", "--quiet", str(portal.bare), str(work))
    git(work, "checkout", "--quiet", "--detach", pull.head_sha)
    (work.parent / "report.sarif").write_text(json.dumps(SARIF))
    call_command("operate", "policy-export", str(work / POLICY))
    return work


def workflow(gate: str) -> Any:
    """A gate's workflow with the key that signed the policy in force pinned in it."""
    signed = PolicyStatement.objects.latest("pk")
    policy = PolicyKey(signed.key.fingerprint, signed.signed_at.isoformat())
    return document(render(policy=policy)[f".github/workflows/leo-{gate}.yml"])


def run_job(job: dict[str, Any], work: Path, environment: dict[str, str]) -> tuple[int, str, dict[str, str]]:
    """A job's own lines but for the installation, as a runner runs them: its exit status, words and outputs."""
    outputs = work.parent / "outputs"
    outputs.write_text("")
    said = ""
    for step in job["steps"]:
        if "run" not in step or step["name"].startswith("Install"):
            continue
        script = work.parent / "step.sh"
        script.write_text(step["run"])
        given = {**environment, "GITHUB_OUTPUT": str(outputs)}
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)]
        done = subprocess.run(command, cwd=work, env=given, check=False, capture_output=True, text=True)
        said += done.stdout + done.stderr
        if done.returncode:
            return done.returncode, said, {}
    return 0, said, dict(line.split("=", 1) for line in outputs.read_text().splitlines())


def environment(live_url: str, tokens: str) -> dict[str, str]:
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": os.environ["HOME"],
        "LEO_URL": live_url,
        "ACTIONS_ID_TOKEN_REQUEST_URL": tokens,
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "request-token",
    }


@pytest.mark.threat("GATE-10")
@pytest.mark.threat("GATE-13")
def test_each_workflow_finds_its_evidence_on_a_real_head_and_the_portal_takes_it(checkout: Path, live_server, tokens):
    around = environment(live_server.url, tokens)
    for number, gate in enumerate(GATES):
        path = f".github/workflows/leo-{gate}.yml"
        ref = f"acme/payments/{path}@refs/heads/feature/net"
        _Tokens.claims |= {"workflow_ref": ref, "job_workflow_ref": ref, "run_id": str(700 + number)}
        evidence = ""
        for job in workflow(gate)["jobs"].values():
            status, said, outputs = run_job(job, checkout, {**around, "EVIDENCE": evidence})
            assert status == 0, (gate, said)
            evidence = outputs.get("evidence", "")
            if not evidence:
                continue
            (checkout / "evidence.json").unlink()  # the next job starts on another machine
        row = WorkflowEvidence.objects.get(run_id=700 + number)
        told = json.loads(bytes(row.document))
        assert (row.workflow, told["gate"], told["head_sha"]) == (path, gate, _Tokens.claims["sha"])
    assert told["report"]["sha256"] == hashlib.sha256(json.dumps(SARIF).encode()).hexdigest()


SPOILED = {
    "slsa": "git -c user.name=x -c user.email=x@x.invalid commit --quiet --allow-empty -m other",
    "policy": "mkdir -p .github/workflows && printf 'on: push\\njobs:\\n  a:\\n    runs-on: x\\n    steps:\\n      - run: make test || true\\n'"
    " > .github/workflows/a.yml && git add . && git -c user.name=x -c user.email=x@x.invalid commit --quiet -m lax",
    "policy edited": f"echo '# laxer' >> {POLICY}/policy.yaml",
    "policy without its attestation": f"rm {POLICY}/policy.dsse.json",
    "policy without its key": f"rm {POLICY}/key.asc",
    "agents": 'sed -i \'s/"results": \\[\\]/"results": [{"ruleId": "B1", "level": "error", "message": {"text": "bad"}}]/\' ../report.sarif',
}


REFUSED = {
    "policy edited": "refused: signature.bad",
    "policy without its attestation": "policy.dsse.json: No such file",
    "policy without its key": "key.asc: No such file",
}


@pytest.mark.threat("GATE-10")
@pytest.mark.parametrize("case", SPOILED)
def test_a_gate_that_does_not_hold_fails_its_job_and_sends_nothing(checkout: Path, live_server, tokens, case: str):
    subprocess.run(["bash", "-ec", SPOILED[case]], cwd=checkout, check=True, capture_output=True)
    first = next(iter(workflow(case.partition(" ")[0])["jobs"].values()))
    status, said, _ = run_job(first, checkout, environment(live_server.url, tokens))
    assert status != 0
    assert REFUSED.get(case, "refused: evidence.") in said, said
    assert not WorkflowEvidence.objects.exists()


@pytest.mark.threat("GATE-10")
def test_a_story_whose_tests_fail_or_whose_evidence_is_refused_fails_its_job(checkout: Path, live_server, tokens):
    around = environment(live_server.url, tokens)
    lax = document(render(commands=Commands("false"))[".github/workflows/leo-story.yml"])
    assert run_job(lax["jobs"]["test"], checkout, around)[0] != 0
    _Tokens.claims |= {"sha": "e" * 40}
    policy = workflow("policy")["jobs"]["policy"]
    status, said, _ = run_job(policy, checkout, around)
    assert status == 1
    assert "refused: evidence.head" in said
