"""`leo evidence`: what a gate's workflow finds out about the commit it runs on, and sending it to the portal.

Each command looks at HEAD of the repository, fails if the gate does not hold, and writes a JSON document that says what
was looked at. `send` posts it under the identity token that GitHub gives the job; no other credential is needed.
Source: GATE-10 and GATE-13 of the threat list; GitHub, "OpenID Connect", ACTIONS_ID_TOKEN_REQUEST_URL.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

import requests
import typer

from audit.canonical import JsonError, JsonValue, parse_json, write_json
from handoffs.bundles.bundle import BundleError, Limits, digest_of, parse_manifest, read_archive
from handoffs.checks.catalogue import Context
from handoffs.checks.verification import verify_bundle
from handoffs.git.process import GitError
from handoffs.git.repository import Git
from handoffs.scope.workflow_lint import is_workflow, lint_workflow
from leoportal.cli_bundle import ARTIFACT_PATH
from leoportal.cli_output import INTEGRITY, NEGATIVE, USAGE, say, say_row, stop
from leoportal.cli_report import failed_checks, status
from verdicts.findings import AgentKind, AgentOutcome
from verdicts.reports import parse_junit, parse_sarif
from verdicts.results import ResultError

SECONDS: Final = 30
MAX_BYTES: Final = 60 << 10
UNREACHABLE: Final = 4
TOKEN_URL: Final = "ACTIONS_ID_TOKEN_REQUEST_URL"  # noqa: S105 - the name of a variable
TOKEN: Final = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"  # noqa: S105 - the name of a variable
_STAGING: Final = re.compile(r"^Staging-Commit: ([0-9a-f]{40}|[0-9a-f]{64})$", re.MULTILINE)
_BUNDLE: Final = re.compile(r"^Bundle-SHA256: ([0-9a-f]{64})$", re.MULTILINE)

evidence_app = typer.Typer(no_args_is_help=True, help="What a gate's workflow found out, and sending it.")
Repo = Annotated[Path, typer.Option("--repo", help="the checked-out repository")]
Out = Annotated[Path, typer.Option("--out", help="where the evidence is written")]


@evidence_app.callback()
def evidence() -> None:
    """What a gate's workflow found out, and sending it."""


@evidence_app.command("slsa")
def slsa(
    target: Annotated[str, typer.Option("--target", help="the protected branch, for instance origin/main")],
    repo: Repo = Path(),
    out: Out = Path("evidence.json"),
) -> None:
    """The bundle that this commit was made from: every check, and that its result is this commit's tree."""
    git = Git(repo)
    try:
        head = git.resolve("HEAD")
        message = git.run("cat-file", "commit", head).decode(errors="replace")
        staging, claimed = _STAGING.search(message), _BUNDLE.search(message)
        if staging is None or claimed is None:
            detail = f"the message of {head[:12]} names no bundle"
            stop("evidence.no_bundle", detail, "run it on a branch of the portal's")
        raw = git.run("cat-file", "blob", f"{staging[1]}:{ARTIFACT_PATH}")
        manifest = parse_manifest(read_archive(raw, Limits()).members["manifest.json"])
        context = Context(
            repository=manifest.repository,
            marker_digest=claimed[1],
            branch=manifest.branch,
            target_branch_sha=git.resolve(target),
        )
        report = verify_bundle(raw, git=git, context=context)
        tree = git.tree_of(head)
    except (GitError, BundleError, KeyError) as error:
        stop("evidence.bundle", f"the bundle cannot be read: {error}", "check out with fetch-depth: 0")
    for result in failed_checks(report):
        say_row("FAIL", result.code, f"{result.got} (expected {result.expected})")
    if not report.is_verified:
        detail = f"bundle {report.digest[:12]} does not verify"
        stop("evidence.bundle", detail, "hand a new one over", status=status(report))
    if report.result_tree != tree:
        detail = f"got the tree {tree}, expected the bundle's result {report.result_tree}"
        stop("evidence.tree", detail, "find out who wrote this commit", status=INTEGRITY)
    found: dict[str, JsonValue] = {"bundle": digest_of(raw), "tree": tree, "checks": len(report.results)}
    _write(out, "slsa", head, found)


@evidence_app.command("policy")
def policy(repo: Repo = Path(), out: Out = Path("evidence.json")) -> None:
    """Every workflow and action of this commit: none may be unable to fail."""
    git = Git(repo)
    try:
        head = git.resolve("HEAD")
        names = git.run("ls-tree", "-r", "-z", "--name-only", head).decode(errors="surrogateescape").split("\0")
        files = {name: git.run("cat-file", "blob", f"{head}:{name}") for name in names if is_workflow(name)}
    except GitError as error:
        stop("evidence.git", error.detail, "check out the repository first")
    problems = [(name, problem) for name, content in files.items() for problem in lint_workflow(content)]
    for name, problem in problems:
        say_row("FAIL", problem.rule, f"{name}:{problem.line} {problem.message}")
    if problems:
        stop("evidence.policy", f"{len(problems)} lines let a gate pass without checking", "correct them")
    digests: dict[str, JsonValue] = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    _write(out, "policy", head, {"workflows": digests, "problems": 0})


@evidence_app.command("story", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def story(
    context: typer.Context,
    repo: Repo = Path(),
    out: Out = Path("evidence.json"),
) -> None:
    """The repository's own test command, after `--`: it has to end well."""
    if not context.args:
        stop("usage", "no command was given", "leo evidence story -- make test", status=USAGE)
    head, command = _head(repo), list[JsonValue](context.args)
    try:
        code = subprocess.run(context.args, cwd=repo, check=False).returncode
    except OSError as error:
        stop("evidence.story", f"{context.args[0]} cannot be started: {error.strerror}", "give another --test command")
    if code != 0:
        stop("evidence.story", f"{context.args[0]} ended with {code}, expected 0", "see its output above")
    _write(out, "story", head, {"command": command, "exit": code})


@evidence_app.command("agents")
def agents(
    report: Annotated[Path, typer.Argument(help="SARIF (.sarif) or JUnit (.xml)")],
    agent: Annotated[AgentKind, typer.Option("--agent", help="whose subject it is")],
    repo: Repo = Path(),
    out: Out = Path("evidence.json"),
) -> None:
    """A report of the repository's own analysers: readable, and without an open finding that fails."""
    head = _head(repo)
    try:
        raw = report.read_bytes()
        read = parse_junit if report.suffix == ".xml" else parse_sarif
        result = read(raw, agent, head)
    except (OSError, ResultError) as error:
        stop("evidence.report", f"{report.name} cannot be read: {error}", "write SARIF 2.1.0 or JUnit XML")
    if result.outcome is not AgentOutcome.PASSED:
        for finding in result.findings[:20]:
            say_row("FAIL", finding.rule, f"{finding.file}:{finding.line or 0} {finding.message}")
        stop("evidence.report", f"{agent.value} {result.outcome.value}", "correct what it found")
    told: dict[str, JsonValue] = {
        "agent": agent.value,
        "outcome": result.outcome.value,
        "findings": len(result.findings),
        "report": {"name": report.name, "sha256": hashlib.sha256(raw).hexdigest(), "bytes": len(raw)},
    }
    _write(out, "agents", head, told)


@evidence_app.command("send")
def send(file: Annotated[Path, typer.Argument(help="what `leo evidence …` wrote")] = Path("evidence.json")) -> None:
    """Post it to the portal (LEO_URL) under this job's identity token. A refusal fails the job."""
    portal = os.environ.get("LEO_URL", "").rstrip("/")
    address, bearer = os.environ.get(TOKEN_URL, ""), os.environ.get(TOKEN, "")
    if not (portal and address and bearer):
        detail = f"LEO_URL, {TOKEN_URL} or {TOKEN} is not set"
        stop("usage", detail, "set LEO_URL, and `permissions: id-token: write` on the job", status=USAGE)
    try:
        raw = file.read_bytes()
        parse_json(raw, max_bytes=MAX_BYTES)
        token = _identity(f"{address}&audience={quote(portal, safe='')}", bearer)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        answer = requests.post(
            f"{portal}/api/v1/github/evidence", data=raw, headers=headers, timeout=SECONDS, allow_redirects=False
        )
    except (OSError, JsonError) as error:
        is_away = isinstance(error, requests.RequestException)
        what = "the portal or GitHub's token service" if is_away else file.name
        code = UNREACHABLE if is_away else USAGE
        stop("evidence.unsent", f"{what}: {type(error).__name__}", "run the workflow again", status=code)
    if answer.status_code != 201:
        told = _words(answer)
        stop(
            str(told.get("code", "evidence.refused")), str(told.get("detail", answer.status_code)), "see docs/github.md"
        )
    say(f"the portal has it: {hashlib.sha256(raw).hexdigest()}")


def _identity(address: str, bearer: str) -> str:
    answer = requests.get(address, headers={"Authorization": f"Bearer {bearer}"}, timeout=SECONDS)
    answer.raise_for_status()
    return str(_words(answer).get("value", ""))


def _words(answer: requests.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _head(repo: Path) -> str:
    try:
        return Git(repo).resolve("HEAD")
    except GitError as error:
        stop("evidence.git", error.detail, "check out the repository first", status=NEGATIVE)


def _write(out: Path, gate: str, head: str, found: dict[str, JsonValue]) -> None:
    told: dict[str, JsonValue] = {"schema": "leoportal/evidence/v1", "gate": gate, "head_sha": head, "result": "passed"}
    raw = write_json({**told, **found})
    if len(raw) > MAX_BYTES:
        stop("evidence.too_large", f"got {len(raw)} bytes, expected at most {MAX_BYTES}", "hand over less at once")
    out.write_bytes(raw)
    say_row("ok", gate, f"holds on {head}; written to {out}")
