"""The product's own processes with traps laid into them from outside: the product knows nothing of this.

A trap is a file `<point>@<branch>` that holds `kill` or `hold`. Whoever comes to that point on that branch takes the
file away, so that it fires once, and then either kills its whole process group with SIGKILL or stands still until
the trap is released. Without such a file the wrapped process does what the product does.

python -m tests.support.faulty_worker celery -A leoportal worker ...   is `python -m celery -A leoportal worker ...`;
python -m tests.support.faulty_worker manage log sequence              is `python -m manage log sequence`.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import django
from celery.__main__ import main as celery
from django.core.management import execute_from_command_line

FOLDER: Final = "LEO_TRAPS"
LONGEST_HOLD_SECONDS: Final = 60.0


class Traps:
    """The folder of traps, from both sides: the test lays them, the wrapped process steps on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def lay(self, point: str, branch: str, action: str = "kill") -> None:
        """The next process at this point on this branch dies, or holds."""
        draft = self.folder / f".{time.monotonic_ns()}"
        draft.write_text(action)
        draft.rename(self._path(point, branch))

    def has_fired(self, point: str, branch: str) -> bool:
        """Whether a process came by."""
        return self._path(point, branch).with_suffix(".fired").exists()

    def release(self, point: str, branch: str) -> None:
        """Let the process that holds go on."""
        self._path(point, branch).with_suffix(".go").touch()

    def is_over(self, point: str, branch: str) -> bool:
        """Whether the process that held goes on."""
        return self._path(point, branch).with_suffix(".over").exists()

    def clear(self) -> None:
        """Take every trap away, and let everybody go on who holds."""
        for path in self.folder.glob("*.armed"):
            path.unlink(missing_ok=True)
        for path in self.folder.glob("*.fired"):
            path.with_suffix(".go").touch()

    def step_on(self, point: str, branch: Callable[[], str]) -> None:
        """Called at every point. `branch` is only asked for when somebody waits for this point."""
        if not any(self.folder.glob(f"{point}@*.armed")):
            return
        path = self._path(point, branch())
        fired = path.with_suffix(".fired")
        try:
            path.rename(fired)
        except FileNotFoundError:
            return
        if fired.read_text() == "kill":
            os.killpg(os.getpgrp(), signal.SIGKILL)
        deadline = time.monotonic() + LONGEST_HOLD_SECONDS
        while not fired.with_suffix(".go").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        fired.with_suffix(".over").touch()

    def _path(self, point: str, branch: str) -> Path:
        return self.folder / f"{point}@{re.sub('[^A-Za-z0-9-]', '_', branch)}.armed"


class Wrapper:
    """Lays a point before and after product functions."""

    def __init__(self, traps: Traps) -> None:
        self.traps = traps
        self.branch = ""
        self.is_scanning = False

    def wrap[**P, R](self, function: Callable[P, R], point: str, branch: Callable[P, str]) -> Callable[P, R]:
        """`<point>.before` and `<point>.after` around a function."""

        @functools.wraps(function)
        def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
            self.traps.step_on(f"{point}.before", lambda: branch(*args, **kwargs))
            result = function(*args, **kwargs)
            self.traps.step_on(f"{point}.after", lambda: branch(*args, **kwargs))
            return result

        return wrapped

    def replace(self, owner: Any, name: str, point: str, branch: Callable[..., str]) -> None:
        """Wrap an attribute where the product looks it up."""
        setattr(owner, name, self.wrap(getattr(owner, name), point, branch))

    @contextlib.contextmanager
    def on(self, branch: str) -> Iterator[None]:
        """What happens inside is about this branch."""
        self.branch = branch
        try:
            yield
        finally:
            self.branch = ""

    def current(self, *_args: object, **_kwargs: object) -> str:
        """The branch of the step that runs now, for effects that do not know it."""
        return self.branch


def install(traps: Traps) -> Wrapper:
    """Wrap every step, effect and record of the lanes. Django is set up here."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "leoportal.settings")
    django.setup()
    from audit.models import TreeHead
    from handoffs import intake, rotating, signing, tasks
    from handoffs.bundles.store import BundleStore
    from handoffs.forges.localgit import LocalGit
    from handoffs.models import PullRequest, Status
    from handoffs.signatures.openpgp import Signer
    from handoffs.signatures.sigstore_signing import Sigstore
    from verdicts import actions as verification
    from verdicts import tasks as judging
    from verdicts.subagents import sandbox

    wrapper = Wrapper(traps)

    def branch_of_pull(pull_id: int, *_args: object, **_kwargs: object) -> str:
        return PullRequest.objects.select_related("handoff").get(pk=pull_id).handoff.staging_branch

    def branch_of_handoff(handoff: Any, *_args: object, **_kwargs: object) -> str:
        return str(handoff.staging_branch)

    def in_step(step: Callable[..., None]) -> Callable[..., None]:
        def run(handoff: Any, tools: Any) -> None:
            with wrapper.on(handoff.staging_branch):
                step(handoff, tools)

        return run

    names = {
        Status.RECEIVED: "verify",
        Status.VERIFIED: "sign",
        Status.WAITING_SIGNER: "sign-later",
        Status.SIGNED: "apply",
        Status.APPLIED: "open",
    }
    setattr(  # noqa: B010  Final for the product, not for its saboteur
        tasks,
        "STEPS",
        {
            status: wrapper.wrap(in_step(step), names[Status(status)], branch_of_handoff)
            for status, step in tasks.STEPS.items()
        },
    )
    setattr(  # noqa: B010  Final for the product, not for its saboteur
        rotating,
        "STEPS",
        {
            name: wrapper.wrap(step, f"rotate-{name}", lambda rotation, *_: str(rotation.lane))
            for name, step in rotating.STEPS.items()
        },
    )
    wrapper.replace(intake, "receive_handoff", "receive", lambda _repository, staging, **_: staging.branch)
    wrapper.replace(BundleStore, "put", "store", wrapper.current)
    wrapper.replace(Signer, "envelope", "signature", wrapper.current)
    wrapper.replace(Sigstore, "sign", "sigstore", wrapper.current)
    wrapper.replace(signing, "start_attempt", "intent", wrapper.current)
    wrapper.replace(LocalGit, "update_branch", "push", wrapper.current)
    wrapper.replace(verification, "trigger_gates", "trigger", branch_of_pull)
    wrapper.replace(
        verification, "finish_gate_work", "gate", lambda work, *_, **__: branch_of_pull(work.pull_request_id)
    )
    wrapper.replace(verification, "report_agent", "agent", branch_of_pull)
    for name in ("report_agent", "finish_gate_work"):
        setattr(verification, name, _last(wrapper, getattr(verification, name), branch_of_pull))
    wrapper.replace(TreeHead.objects, "create", "integrate", lambda **_: "log")
    # Wherever it was imported: a list of modules would be out of date as soon as one of them is split.
    for name, module in list(sys.modules.items()):
        if name.startswith(("handoffs.", "verdicts.")) and hasattr(module, "record_event"):
            setattr(module, "record_event", _record(wrapper, module.record_event))  # noqa: B010  a module found at run time has no attribute that types know
    _wrap_scanners(wrapper, judging, sandbox)
    return wrapper


def _record(wrapper: Wrapper, record: Callable[..., Any]) -> Callable[..., Any]:
    """`record.<event>`: inside the transaction, after its rows were written and before it commits."""

    @functools.wraps(record)
    def wrapped(handoff: Any, event: str, *args: Any, **kwargs: Any) -> Any:
        row = record(handoff, event, *args, **kwargs)
        wrapper.traps.step_on(f"record.{event}", lambda: str(handoff.staging_branch))
        return row

    return wrapped


def _last(wrapper: Wrapper, report: Callable[..., Any], branch_of_pull: Callable[[int], str]) -> Callable[..., Any]:
    """`last-report.after`: a result was recorded, and nothing is left to run on that pull request."""

    @functools.wraps(report)
    def wrapped(subject: Any, *args: Any, **kwargs: Any) -> Any:
        result = report(subject, *args, **kwargs)
        work = kwargs.get("work", subject)
        if not type(work).objects.filter(pull_request=work.pull_request_id, status="waiting").exists():
            wrapper.traps.step_on("last-report.after", lambda: branch_of_pull(work.pull_request_id))
        return result

    return wrapped


def _wrap_scanners(wrapper: Wrapper, verifying: Any, sandbox: Any) -> None:
    """`scanner.running`: a sub-agent's scanner was started and has not ended."""
    run_agent, execute, wait = verifying._run_agent, sandbox._execute, subprocess.Popen.wait

    @functools.wraps(run_agent)
    def run_agent_on_branch(work: Any, pull: Any) -> None:
        with wrapper.on(pull.handoff.staging_branch):
            run_agent(work, pull)

    @functools.wraps(execute)
    def scanning(*args: Any) -> Any:
        wrapper.is_scanning = True
        try:
            return execute(*args)
        finally:
            wrapper.is_scanning = False

    @functools.wraps(wait)
    def wait_watched(process: subprocess.Popen[Any], timeout: float | None = None) -> int:
        if wrapper.is_scanning and process.returncode is None:
            wrapper.traps.step_on("scanner.running", wrapper.current)
        return wait(process, timeout)

    verifying._run_agent = run_agent_on_branch
    sandbox._execute = scanning
    setattr(subprocess.Popen, "wait", wait_watched)  # noqa: B010


if __name__ == "__main__":
    install(Traps(Path(os.environ[FOLDER])))
    del sys.argv[0]
    if sys.argv[0] == "celery":
        sys.exit(celery())
    execute_from_command_line(sys.argv)
