"""The three commands of the stack: `up`, `run` and `reset`."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from audit.canonical import JsonValue
from leoportal.stack import portal, services
from leoportal.stack.process import StackError, StopRequestedError
from leoportal.stack.supervisor import Supervisor

READY_SECONDS: Final = 60.0
_BEGIN: Final = time.monotonic()


class Interrupt:
    """Remembers that somebody asked for the stop; asked at every wait."""

    def __init__(self) -> None:
        self.is_requested = False
        for signal_ in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signal_, self._request)

    def __call__(self) -> bool:
        """Whether the stop was asked for."""
        return self.is_requested

    def _request(self, _number: int, _frame: FrameType | None) -> None:
        self.is_requested = True


def main(arguments: Sequence[str]) -> int:
    """Run one of the commands; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m leoportal.stack")
    commands = parser.add_subparsers(dest="command", required=True)
    up_parser = commands.add_parser("up", help="start everything and serve until Ctrl-C")
    up_parser.add_argument("--demo", action="store_true", help="then run leoportal.demo")
    up_parser.add_argument("--repo", help="the git repository the demo takes a commit from")
    up_parser.add_argument("--commit", help="the commit the demo hands over")
    run_parser = commands.add_parser("run", help="run a command with the services")
    run_parser.add_argument("argv", nargs=argparse.REMAINDER, metavar="CMD")
    commands.add_parser("reset", help="throw the local data away")
    options = parser.parse_args(arguments)
    interrupt = Interrupt()
    try:
        if options.command == "run":
            if not options.argv:
                run_parser.error("a command is missing")
            return run(options.argv, interrupt)
        if options.command == "reset":
            return reset()
        chosen = {"--repo": options.repo, "--commit": options.commit}
        if any(chosen.values()) and not options.demo:
            up_parser.error("--repo and --commit go with --demo")
        tour = tuple(word for name, value in chosen.items() if value for word in (name, value))
        return up(tour if options.demo else None, interrupt)
    except StackError as error:
        _say(f"{error.detail}\n  ({error.code})")
        return 1
    except StopRequestedError:
        return 130


def up(tour: tuple[str, ...] | None, interrupt: Interrupt) -> int:
    """Services, database, the portal's processes, then the tour, then serve until somebody asks for the stop.

    Raises: StackError; StopRequestedError when that happens before everything is up.
    """
    if tour is not None:
        _refuse_no_repository(tour)
    var = services.data_folder()
    with services.hold(var):
        supervisor = Supervisor(_say, interrupt)
        try:
            environment = _services(supervisor, var)
            portal.prepare(environment, var, say=_say, is_interrupted=interrupt)
            url = _serve(supervisor, environment, var)
            exit_code = 0 if tour is None else _tour(supervisor, tour, environment | {"LEO_URL": url}, var)
            _say(f"the portal is at {url}/ (Ctrl-C stops everything)")
            with contextlib.suppress(StopRequestedError):
                supervisor.wait(lambda: False, seconds=float("inf"))
            return exit_code
        finally:
            _say("stopping")
            supervisor.stop()
            _say("stopped; nothing is left running")


def _refuse_no_repository(tour: tuple[str, ...]) -> None:
    """Look at REPO before anything is started.

    Raises: StackError stack.repo.
    """
    if "--repo" not in tour:
        return
    path = tour[tour.index("--repo") + 1]
    look = ["git", "-C", path, "rev-parse", "--git-dir"]
    if subprocess.run(look, check=False, capture_output=True).returncode != 0:
        raise StackError("stack.repo", f"REPO={path} is no git repository. Next: name one, or leave REPO= out.")


def run(argv: list[str], interrupt: Interrupt) -> int:
    """One command with the services of the data folder, those of a stack that runs already if there is one.

    Raises: StackError; StopRequestedError.
    """
    var = services.data_folder()
    with contextlib.ExitStack() as ends:
        try:
            ends.enter_context(services.hold(var))
        except StackError:
            found = services.read_running(var).get("environment")
            if not isinstance(found, dict):
                raise
            return _foreground(argv, {str(name): str(value) for name, value in found.items()})
        supervisor = Supervisor(_quiet, interrupt)
        ends.callback(supervisor.stop)
        environment = services.start(supervisor, var)
        services.write_running(var, {"environment": dict(environment)})
        return _foreground(argv, environment)


def reset() -> int:
    """Throw the data folder's content away.

    Raises: StackError stack.already_running while a stack uses it.
    """
    var = services.data_folder()
    with services.hold(var):
        services.delete_data(var)
    _say(f"{var} is empty")
    return 0


def _services(supervisor: Supervisor, var: Path) -> dict[str, str]:
    environment = services.start(supervisor, var)
    for service in supervisor.services:
        _say(service.describe())
    services.write_running(var, {"environment": dict(environment)})
    return os.environ | environment


def _serve(supervisor: Supervisor, environment: dict[str, str], var: Path) -> str:
    given = os.environ.get("PORT") or "8000"
    if not (given.isdecimal() and 0 < int(given) < 65536):
        raise StackError("stack.port", f"PORT={given} is no port. Next: a number from 1 to 65535.")
    wanted = int(given)
    port = portal.free_port(wanted)
    if port != wanted:
        _say(f"port {wanted} is taken, so it is {port}")
    url = f"http://{portal.HOST}:{port}"
    children = portal.children(environment | {"LEO_URL": url}, var, port)
    supervisor.start(*children.values())
    if not supervisor.wait(lambda: portal.health(port) == 200, seconds=READY_SECONDS):
        answer = portal.health(port) or "nothing"
        raise StackError(
            "stack.not_ready",
            f"the web process runs but {url}/healthz answered {answer} instead of 200 for {READY_SECONDS:.0f} s. "
            f"Next: read {children['web'].command.log}.",
        )
    ours: dict[str, JsonValue] = {name: v for name, v in environment.items() if os.environ.get(name) != v}
    services.write_running(var, {"url": url, "environment": {**ours, "LEO_URL": url}})
    return url


def _tour(supervisor: Supervisor, tour: tuple[str, ...], environment: dict[str, str], var: Path) -> int:
    process = portal.demo(tour, environment, var)
    try:
        supervisor.wait(lambda: not process.is_running, seconds=float("inf"))
    finally:
        process.stop()
    exit_code = process.exit_code or 0
    if exit_code:
        _say(
            f"the demo ended with exit code {exit_code}; the portal goes on serving. "
            f"Next: read the lines above and {var / 'log'}; `make reset` begins anew."
        )
    return exit_code


def _foreground(argv: list[str], environment: dict[str, str]) -> int:
    """The terminal belongs to the command, Ctrl-C too; we only pass on what asks us to end."""
    try:
        process = subprocess.Popen(argv, env=os.environ | environment)
    except OSError as error:
        raise StackError(
            "stack.command", f"{argv[0]} cannot be run ({error.strerror}). Next: check its name."
        ) from None
    for signal_ in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signal_, lambda number, _frame: process.send_signal(number))
    code = process.wait()
    return 128 - code if code < 0 else code


def _say(line: str) -> None:
    """A line for the terminal, which may be gone."""
    with contextlib.suppress(OSError):
        sys.stdout.write(f"[{time.monotonic() - _BEGIN:5.1f} s] {line}\n")
        sys.stdout.flush()


def _quiet(_line: str) -> None:
    """`run` leaves the terminal to its command."""
