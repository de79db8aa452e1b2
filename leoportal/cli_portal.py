"""`leo pr`, `leo gate`, `leo agent`, `leo plan`: the commands that speak to a portal over its JSON API.

The address is LEO_URL, the token LEO_TOKEN or a file named by LEO_TOKEN_FILE. Exit codes: 0 done or pass,
1 a negative answer, 2 usage, 3 not allowed for this role, 4 the portal cannot be reached, 6 timed out.
"""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Annotated, Any, Final

import requests
import typer

from audit.canonical import JsonError, parse_json

TIMEOUT_SECONDS: Final = 30
EXIT_NEGATIVE, EXIT_USAGE, EXIT_ROLE, EXIT_UNREACHABLE, EXIT_TIMED_OUT = 1, 2, 3, 4, 6
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

pr_app = typer.Typer(no_args_is_help=True, help="Pull requests.")
gate_app = typer.Typer(no_args_is_help=True, help="Gates that run elsewhere.")
agent_app = typer.Typer(no_args_is_help=True, help="Sub-agents' reports.")
plan_app = typer.Typer(no_args_is_help=True, help="PLAN's verification.")

Pull = Annotated[str, typer.Argument(help="PR-12, or 12")]
Repo = Annotated[str, typer.Option("--repository", "-r", envvar="LEO_REPOSITORY", help="owner/name")]
AsJson = Annotated[bool, typer.Option("--json", help="print the answer as JSON")]


def say(text: str, *, err: bool = False) -> None:
    """Print text from elsewhere: control characters become visible."""
    typer.echo(_CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text), err=err)


def _number(pull: str) -> int:
    found = re.fullmatch(r"(?:PR-)?([1-9][0-9]{0,8})", pull, re.IGNORECASE)
    if found is None:
        say(f"got {pull!r}, expected PR-<number>. Next: leo pr explain PR-1 --repository owner/name", err=True)
        raise typer.Exit(EXIT_USAGE)
    return int(found[1])


def call(method: str, path: str, **parts: Any) -> Any:
    """One request to the portal; its refusals end the command with the exit code of their kind."""
    url = os.environ.get("LEO_URL", "").rstrip("/")
    token_file = os.environ.get("LEO_TOKEN_FILE", "")
    try:
        token = os.environ.get("LEO_TOKEN") or (Path(token_file).read_text().strip() if token_file else "")
    except (OSError, UnicodeDecodeError) as error:
        say(f"LEO_TOKEN_FILE cannot be read: {error}. Next: check its path and rights", err=True)
        raise typer.Exit(EXIT_USAGE) from None
    if url and not re.match(r"https?://[^/\s]+", url):
        say(f"LEO_URL is {url!r}, expected an address such as https://leo.example. Next: export it again", err=True)
        raise typer.Exit(EXIT_USAGE)
    if not url or not token:
        say("LEO_URL and LEO_TOKEN are not both set. Next: export them; an operator issues the token", err=True)
        raise typer.Exit(EXIT_USAGE)
    headers = {"Authorization": f"Bearer {token}"}
    try:
        answer = requests.request(
            method, f"{url}/api/v1{path}", headers=headers, timeout=TIMEOUT_SECONDS, allow_redirects=False, **parts
        )
        body = answer.json()
    except requests.exceptions.JSONDecodeError:
        say(f"{url} answered {answer.status_code} without JSON. Next: check that LEO_URL is a portal", err=True)
        raise typer.Exit(EXIT_UNREACHABLE) from None
    except requests.RequestException as error:
        say(f"{url} cannot be reached ({type(error).__name__}). Next: start the portal, or check LEO_URL", err=True)
        raise typer.Exit(EXIT_UNREACHABLE) from None
    if answer.ok:
        return body
    say(f"refused [{body.get('code', answer.status_code)}]: {body.get('detail', '')}", err=True)
    raise typer.Exit(EXIT_ROLE if answer.status_code in {401, 403} else EXIT_NEGATIVE)


@pr_app.command("explain")
def explain(pull: Pull, repository: Repo, as_json: AsJson = False) -> None:  # noqa: FBT002 - an option
    """What stands between a pull request and its merge, and who can clear it. Exit 1 while something does."""
    found = call("GET", f"/prs/{repository}/{_number(pull)}")
    _print(found, as_json=as_json)
    if found["judgement"]["verdict"] != "PASS":
        raise typer.Exit(EXIT_NEGATIVE)


def _print(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(found, indent=1, sort_keys=True))
        return
    judgement = found["judgement"]
    say(f"PR-{found['number']} {found['repository']}  {found['label']}  head {found['head_sha'][:7]}")
    say(f"  {found['title']}")
    for term in judgement["terms"]:
        note = f"  {term['note']}" if term["note"] else ""
        kind, outcome = term["kind"].capitalize(), term["outcome"].lower()
        say(f"  {kind:<12} {outcome:<15} {term['confidence']:>6} × {term['weight']}{note}")
    for gate, outcome in found["gates"].items():
        say(f"  gate {gate:<16} {outcome}")
    say(f"  confidence {judgement['confidence']}  ->  computed {judgement['verdict'] or 'not ready'}")
    for reason in judgement["reasons"]:
        say(f"  {reason['who']}: {reason['sentence']} [{reason['code']}]")
    current = "" if found["is_verdict_current"] else " (stale)"
    say(f"  verdict {found['verdict']}{current}" if found["verdict"] else "  no verdict recorded")


@gate_app.command("report")
def report_gate(  # noqa: PLR0913 - options of a command
    pull: Pull,
    repository: Repo,
    gate: Annotated[str, typer.Option(help="the gate's key or its workflow's name")],
    conclusion: Annotated[str, typer.Option(help="success, failure, …: GitHub's conclusions")],
    run_id: Annotated[str, typer.Option(help="your run's own id: reported twice, it is stored once")],
    head: Annotated[str, typer.Option(help="the full id of the commit that the gate judged")],
    evidence: Annotated[str, typer.Option(help="a JSON object, or @FILE")] = "{}",
) -> None:
    """Report how a gate ended on a pull request's head."""
    path = f"/prs/{repository}/{_number(pull)}"
    try:
        raw = Path(evidence[1:]).read_bytes() if evidence.startswith("@") else evidence.encode()
        facts = parse_json(raw)
    except (OSError, JsonError) as error:
        say(f'--evidence cannot be read: {error}. Next: give a JSON object, such as \'{{"url": "…"}}\'', err=True)
        raise typer.Exit(EXIT_USAGE) from None
    body = {"gate": gate, "conclusion": conclusion, "run_id": run_id, "head_sha": head, "evidence": facts}
    stored = call("POST", f"{path}/gates", json=body)
    say(f"{gate} {conclusion} recorded as execution {stored['id']}, log entry {stored['log_entry']}")


@agent_app.command("report")
def report_agent(
    pull: Pull,
    repository: Repo,
    file: Annotated[Path, typer.Argument(help="the report", exists=True, dir_okay=False)],
    form: Annotated[str, typer.Option("--format", help="native, sarif or junit")] = "native",
    kind: Annotated[str, typer.Option(help="SECURITY, DATABASE, TESTING, PERFORMANCE or DESIGN")] = "",
    head: Annotated[str, typer.Option(help="the commit that was judged (sarif, junit)")] = "",
) -> None:
    """Send a sub-agent's report."""
    query = {"format": form, "kind": kind, "head_sha": head}
    stored = call("POST", f"/prs/{repository}/{_number(pull)}/agents", params=query, data=file.read_bytes())
    say(f"report recorded as {stored['id']}, log entry {stored['log_entry']}")


@plan_app.command("verify")
def verify(
    pull: Pull,
    repository: Repo,
    wait_seconds: Annotated[int, typer.Option("--wait", help="give up waiting after so many seconds")] = 600,
    as_json: AsJson = False,  # noqa: FBT002 - an option
) -> None:
    """`/leo-verify`: run the gates and sub-agents again and print what they found. Exit 1 unless PASS is computed."""
    path = f"/prs/{repository}/{_number(pull)}"
    queued = call("POST", f"{path}/verify")
    say(
        f"round {queued['round']}: {queued['queued']} checks queued" if queued["queued"] else "joined the running round"
    )
    end = time.monotonic() + wait_seconds
    while True:
        found = call("GET", path)
        if not any(work["status"] == "waiting" for work in found["work"]):
            break
        if time.monotonic() > end:
            say(f"still running after {wait_seconds} s. Next: leo pr explain {pull} -r {repository}", err=True)
            raise typer.Exit(EXIT_TIMED_OUT)
        time.sleep(1)
    _print(found, as_json=as_json)
    if found["judgement"]["verdict"] != "PASS":
        raise typer.Exit(EXIT_NEGATIVE)
