"""`leo repo`: a repository on GitHub, put under the portal.

`app` and `workflows` write files and need no portal. `govern` and `check` run at the portal's machine as its operator
(DATABASE_URL of the operator's login, as for `manage.py operate`): they start the portal's own command.
Exit codes: 0 done, 1 something is open or nothing was proved, 2 usage, 4 GitHub cannot be reached, 5 a canary merged.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from handoffs.forges.protocol import ForgeError
from handoffs.github.connection import Connection, Nobody
from handoffs.github.manifests import SIDES, ManifestError, is_code, refuse_other_app
from handoffs.github.templates import POLICY, REPORT, Commands, PolicyKey, Release, TemplateError, render_templates
from leoportal.cli_output import NEGATIVE, USAGE, say, stop

PASSED_ON: Final = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
UNREACHABLE: Final = 4
FILES: Final = {"pem": "pem", "webhook_secret": "webhook-secret"}

repo_app = typer.Typer(no_args_is_help=True, help="A repository on GitHub, put under the portal.")


@repo_app.callback()
def repository() -> None:
    """A repository on GitHub, put under the portal."""


@repo_app.command("govern", context_settings=PASSED_ON)
def govern(context: typer.Context) -> None:
    """OWNER/NAME: Apps, rules, the onboarding check, and a canary that proves that the gates block."""
    _at_the_machine("govern", context.args)


@repo_app.command("check", context_settings=PASSED_ON)
def check(context: typer.Context) -> None:
    """OWNER/NAME: look at the rules with an administrator's token, and record what was found."""
    _at_the_machine("check", context.args)


def _at_the_machine(act: str, arguments: list[str]) -> None:
    if not (is_help := "--help" in arguments) and not os.environ.get("DATABASE_URL"):
        stop(
            "usage",
            "DATABASE_URL is not set, expected the operator's: this is done at the portal's machine",
            "run it there, for instance: python -m leoportal.stack run leo repo govern OWNER/NAME",
            status=USAGE,
        )
    environment = {"DJANGO_SETTINGS_MODULE": "leoportal.settings", **os.environ}
    if is_help:
        environment.setdefault("LEOPORTAL_EMBEDDED", "1")
    command = [sys.executable, "-m", "django", "repo", act, *arguments]
    raise typer.Exit(subprocess.run(command, env=environment, check=False).returncode)


@repo_app.command("app")
def app(
    side: Annotated[str, typer.Argument(help="enforcer or gate")],
    code: Annotated[str, typer.Option("--code", help="what GitHub gave back to the portal's page; valid for an hour")],
    folder: Annotated[Path | None, typer.Option("--folder", help="where the key goes; default: var/github")] = None,
) -> None:
    """Take the keys of an App that was just made from the portal's manifest, into files that only you can read."""
    if side not in SIDES:
        stop(
            "usage",
            f"got the App {side[:40]!r}, expected enforcer or gate",
            "leo repo app gate --code CODE",
            status=USAGE,
        )
    if not is_code(code):
        stop("usage", "that is no code of GitHub's", "copy it from the portal's page once more", status=USAGE)
    home = folder or Path(os.environ.get("LEOPORTAL_VAR", "var")) / "github"
    try:
        made = _convert(code)
        refuse_other_app(side, made)
        paths = _keep(home, side, made)
    except ManifestError as error:
        stop(error.code, error.detail, f"{made.get('html_url', 'the App')} is of no use; delete it")
    except ForgeError as error:
        is_away = error.code in {"github.unreachable", "github.unavailable", "github.rate_limited"}
        step = "make the App again on the portal's page: a code is good once, for an hour"
        stop(error.code, error.detail, step, status=UNREACHABLE if is_away else NEGATIVE)
    name = f"GITHUB_{side.upper()}"
    say(f"leo-{side} is App {made['id']}; its key and its webhook secret are in files that only you can read")
    say(f"  {name}_APP_ID={made['id']}")
    say(f"  {name}_KEY_FILE={paths['pem']}")
    say(f"  {name}_WEBHOOK_SECRETS_FILE={paths['webhook_secret']}")
    say("Next: set these three where the portal starts, then install the App:")
    say(f"  {made.get('html_url', '')}/installations/new")


def _convert(code: str) -> dict[str, Any]:
    api = os.environ.get("GITHUB_API_URL", "https://api.github.com")
    connection = Connection(api, Nobody())
    try:
        found = connection.request("POST", f"/app-manifests/{code}/conversions").data
    finally:
        connection.close()
    return found if isinstance(found, dict) else {}


def _keep(home: Path, side: str, made: dict[str, Any]) -> dict[str, Path]:
    """Each secret in a file of its own, 0600 from its first byte, the old one replaced at once."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    paths = {}
    for name, suffix in FILES.items():
        path = (home / f"leo-{side}.{suffix}").resolve()
        draft = path.with_suffix(f".{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(str(made[name]))
        draft.replace(path)
        paths[name] = path
    return paths


@repo_app.command("workflows")
def workflows(  # noqa: PLR0913 - options of a command
    wheel: Annotated[str, typer.Option("--wheel", help="address of the leoportal wheel that the workflows install")],
    sha256: Annotated[str, typer.Option("--sha256", help="its SHA-256, 64 hex digits")],
    portal: Annotated[str, typer.Option("--portal", help="address of the portal")],
    policy_key: Annotated[str, typer.Option("--policy-key", help="fingerprint, as `operate policy-export` says it")],
    policy_received: Annotated[str, typer.Option("--policy-received", help="when, as `operate policy-export` says it")],
    branch: Annotated[str, typer.Option("--branch", help="the protected branch")] = "main",
    test: Annotated[str, typer.Option("--test", help="the repository's own test command")] = "make test",
    analyse: Annotated[
        str, typer.Option("--analyse", help=f"what writes its analysers' report, {REPORT}")
    ] = "make leo-report.sarif",
    write: Annotated[Path | None, typer.Option("--write", help="the repository's root; default: print them")] = None,
) -> None:
    """The four gates' workflows and the action they share, for the governed repository."""
    try:
        files = render_templates(
            Release(wheel, sha256),
            portal=portal,
            branch=branch,
            policy=PolicyKey(policy_key, policy_received),
            commands=Commands(test, analyse),
        )
    except TemplateError as error:
        stop(error.code, error.detail, "leo repo workflows --help", status=USAGE)
    for name, text in files.items():
        if write is None:
            say(f"# {name}\n{text}")
            continue
        path = write / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        say(f"wrote {path}")
    if write is not None:
        say(f"The signed policy goes into {POLICY}: manage.py operate policy-export {write / POLICY}")
        say("Next: commit them to the protected branch, with owners for /.github/ in CODEOWNERS")
