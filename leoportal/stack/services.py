"""PostgreSQL and the broker for one data folder, and the environment that leads to them.

Only what nobody gave us is started: the logins' addresses and REDIS_URL of the environment win.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from audit.canonical import JsonError, JsonValue, parse_json, write_json
from leoportal.lanes.matrix import read_matrix
from leoportal.stack.broker import Broker
from leoportal.stack.postgres import Postgres
from leoportal.stack.process import StackError
from leoportal.stack.supervisor import Supervisor

ROOT: Final = Path(__file__).resolve().parents[2]
MARK: Final = ".leoportal"
# A token does the work of both Apps, for trying out.
SECRETS: Final[Mapping[str, tuple[str, ...]]] = {
    "GITHUB_ENFORCER_KEY": ("enforcer",),
    "GITHUB_GATE_KEY": ("publisher",),
    "GITHUB_TOKEN": ("enforcer", "publisher"),
    "GITHUB_ENFORCER_WEBHOOK_SECRETS": ("web",),
    "GITHUB_GATE_WEBHOOK_SECRETS": ("web",),
}
LOGINS: Final = ("migrate", "operator", "web", "enforcer", "verifier", "hook", "sequencer", "signer")


def data_folder() -> Path:
    """LEOPORTAL_VAR, else `var` in the repository; made if missing, closed to others.

    Raises: StackError stack.foreign_folder if LEOPORTAL_VAR names a folder that holds something else.
    """
    given = os.environ.get("LEOPORTAL_VAR")
    folder = Path(given or ROOT / "var").resolve()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if given and not (folder / MARK).exists() and any(folder.iterdir()):
        raise StackError(
            "stack.foreign_folder",
            f"LEOPORTAL_VAR={folder} holds files that are not ours. Next: name a new or an empty folder.",
        )
    (folder / MARK).touch()
    return folder


def is_database_given() -> bool:
    """Whether the environment names a database server; otherwise the embedded one is started."""
    variables = [role.variable for role in read_matrix().logins]
    return any(os.environ.get(name) for name in ("DATABASE_URL", *variables))


def for_login(environment: Mapping[str, str], key: str) -> dict[str, str]:
    """The environment of a process that signs in as one login and knows the address of no other. Empty: of none.

    What is secret at GitHub is known to whom SECRETS says, too.
    """
    roles = read_matrix().roles
    hidden = {"DATABASE_URL", *(role.variable for role in roles.values())}
    others = [name for name, logins in SECRETS.items() if key not in logins]
    hidden |= {variable for name in others for variable in (name, f"{name}_FILE")}
    own = {name: value for name, value in environment.items() if name not in hidden}
    return own | ({"DATABASE_URL": environment[roles[key].variable]} if key else {})


def delete_data(var: Path) -> None:
    """Throw everything in the data folder away. The caller holds it."""
    if not is_database_given():
        Postgres(var / "pg").delete()
    for path in var.iterdir():
        if path.name in {MARK, "lock"}:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


@contextlib.contextmanager
def hold(var: Path) -> Iterator[None]:
    """Own the data folder: one stack at a time.

    Raises: StackError stack.already_running.
    """
    with (var / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            running = read_running(var)
            where = f" at {running['url']}" if running.get("url") else ""
            pid = running.get("pid", "?")
            raise StackError(
                "stack.already_running",
                f"a stack already runs on {var} (pid {pid}){where}. "
                f"Next: use that one, or stop it with Ctrl-C in its terminal or `kill -INT {pid}`.",
            ) from None
        try:
            write_running(var, {})
            yield
        finally:
            (var / "running.json").unlink(missing_ok=True)


def start(supervisor: Supervisor, var: Path) -> dict[str, str]:
    """Start the missing services.

    Shape: the variables that lead to them, besides those of the environment. `redis+socket://` is Celery's form
    of a Unix socket; the cache has an address of its own, since clearing a cache empties its database. DATABASE_URL
    is the operator's: that is who runs commands here.
    Raises: StackError stack.logins where a database of somebody's own lacks the address of a login.
    """
    environment = {"LEOPORTAL_VAR": str(var), "LEOPORTAL_EMBEDDED": os.environ.get("LEOPORTAL_EMBEDDED", "1")}
    roles = read_matrix().roles
    if is_database_given():
        missing = [roles[key].variable for key in LOGINS if not os.environ.get(roles[key].variable)]
        if missing:
            raise StackError(
                "stack.logins",
                f"the database is yours, but {', '.join(missing)} is not set: each process has a login of its own. "
                "Next: `leo db lanes` makes the logins; see docs/operating.md.",
            )
        environment |= {roles[key].variable: os.environ[roles[key].variable] for key in LOGINS}
    else:
        postgres = Postgres(var / "pg")
        supervisor.start(postgres)
        environment |= {role.variable: postgres.url(role.name) for role in read_matrix().logins}
    environment["DATABASE_URL"] = environment[roles["operator"].variable]
    if not os.environ.get("REDIS_URL"):
        broker = Broker(var / "valkey")
        supervisor.start(broker)
        environment |= {"REDIS_URL": broker.url, "CACHE_URL": os.environ.get("CACHE_URL") or broker.cache_url}
    return environment


def write_running(var: Path, running: Mapping[str, JsonValue]) -> None:
    """Leave a note for a second command on the same folder: readable for us alone."""
    draft = var / f"running.{os.getpid()}"
    draft.touch(mode=0o600)
    draft.write_bytes(write_json({"pid": os.getpid(), **running}))
    draft.replace(var / "running.json")


def read_running(var: Path) -> dict[str, JsonValue]:
    """The note of the stack that runs, empty if there is none."""
    try:
        note = parse_json((var / "running.json").read_bytes())
    except (FileNotFoundError, JsonError):
        return {}
    return note if isinstance(note, dict) else {}
