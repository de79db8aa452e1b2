"""The parts of the demo: the governed repository, the builder's sandbox, and following a handoff line by line.

Nothing is simulated: the builder is the `leo` command in a process without the portal's environment, the enforcer
and the sub-agents are the running workers, and the refused merge is a real push that the hook refuses.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from handoffs.git.process import GitError
from handoffs.git.repository import Git
from handoffs.models import Handoff, HandoffEvent, PullRequest, Status
from handoffs.scope.control_plane import classify_path
from verdicts.models import AgentReport, GateExecution, VerificationWork, WorkStatus

FILE_MODES = ("000000", "100644", "100755")
CANDIDATES = 50
MAX_FILES = 200


class TourError(Exception):
    """The demo cannot go on. The text says what to do next."""


@dataclass(frozen=True)
class Chosen:
    """The change the demo hands over. `commit` is None for the uncommitted changes of the work tree."""

    commit: str | None
    base: str
    title: str


def choose_change(source: Path, wanted: str | None) -> Chosen:
    """The newest ordinary commit (or the wanted one) as the builder's change; its parent becomes the branch.

    A repository with a single commit hands over its uncommitted changes instead.
    Raises: TourError with the next step.
    """
    try:
        git = Git(source)
        head = git.resolve(wanted or "HEAD")
    except GitError as error:
        raise TourError(
            f"{source}: {error.detail}. Next: name a git repository with REPO=, a commit with COMMIT="
        ) from None
    listed = git.run("rev-list", "--no-merges", "--min-parents=1", f"--max-count={1 if wanted else CANDIDATES}", head)
    found = [commit for commit in listed.decode("ascii").split() if not wanted or commit == head]
    for is_passable in (True, False):  # a change of what steers the gates goes to LEAD: rather one that PLAN can pass
        for commit in found:
            parent = git.parents_of(commit)[0]
            if _is_ordinary(git, parent, commit, is_passable=is_passable):
                return Chosen(commit, parent, git.message_of(commit).partition("\n")[0])
    if not wanted and _has_uncommitted_changes(git, head):
        return Chosen(None, head, "Uncommitted changes")
    raise TourError(
        f"{source} has no commit with a parent that changes ordinary files only, and no uncommitted changes. "
        "Next: commit a change in it, or name another repository with REPO="
    )


def _is_ordinary(git: Git, parent: str, commit: str, *, is_passable: bool) -> bool:
    try:
        changes = git.changes(parent, commit)
    except GitError:
        return False
    modes = {mode for change in changes for mode in (change.old_mode, change.new_mode)}
    steers = is_passable and any(classify_path(change.path) for change in changes)
    return 0 < len(changes) <= MAX_FILES and modes <= set(FILE_MODES) and not steers


def _has_uncommitted_changes(git: Git, head: str) -> bool:
    try:
        return bool(git.changes(head, git.worktree_tree()))
    except GitError:
        return False


def make_governed(source: Path, target: Path, chosen: Chosen) -> str:
    """A bare clone of the source whose one branch `main` stands just before the chosen change. Returns the branch."""
    if not (target / "HEAD").exists():
        draft = target.with_name(f"{target.name}.{os.getpid()}")
        shutil.rmtree(draft, ignore_errors=True)
        subprocess.run(
            ["git", "init", "--quiet", "--bare", "--initial-branch=main", "--template=", str(draft)], check=True
        )
        git = Git(draft)
        git.fetch(source, f"{chosen.base}:refs/heads/main")
        draft.rename(target)
    return "main"


def repository_name(source: Path) -> str:
    """owner/name for a folder."""
    return "demo/" + (re.sub(r"[^A-Za-z0-9._-]+", "-", source.resolve().name).strip("-.") or "repository")


def run_builder(arguments: list[str], sandbox: Path, say: Callable[[str], None]) -> None:
    """Run `leo` as the builder: its own folder, no database, no token, no portal settings in its environment."""
    sandbox.mkdir(parents=True, exist_ok=True)
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(sandbox), "NO_COLOR": "1"}
    command = [str(Path(sys.executable).with_name("leo")), *arguments]
    say(f"codex $ leo {shlex.join(arguments)}")
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, cwd=sandbox)
    for line in (done.stdout + done.stderr).splitlines():
        say(f"codex | {line.strip()}")
    if done.returncode != 0:
        raise TourError(f"`leo {' '.join(arguments[:2])}` ended with {done.returncode}; its lines above say why")


class Follower:
    """Prints what happens to a handoff as it is recorded, until it stands still."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._seen: set[tuple[str, int]] = set()

    def wait_for(self, condition: Callable[[], bool], handoff: Handoff, *, seconds: float) -> bool:
        """Print new records until `condition` holds; False when the time is over."""
        end = time.monotonic() + seconds
        while True:
            done = condition()
            self.show(handoff)
            if done or time.monotonic() > end:
                return done
            time.sleep(0.2)

    def show(self, handoff: Handoff) -> None:
        """Print what is new."""
        for event in HandoffEvent.objects.filter(handoff=handoff).order_by("pk"):
            detail = ", ".join(f"{key} {_brief(value)}" for key, value in event.detail.items() if value not in ("", []))
            self._once("event", event.pk, f"{event.role.lower()} | {event.event}: {detail}")
        pull = PullRequest.objects.filter(handoff=handoff).first()
        if pull is None:
            return
        for report in AgentReport.objects.filter(pull_request=pull, head_sha=pull.head_sha).order_by("pk"):
            result = report.result
            new = Counter(f["severity"].lower() for f in result["findings"] if f["is_new"] and f["severity"] != "INFO")
            found = ", ".join(f"{count} {severity}" for severity, count in new.items()) or "nothing to mend"
            outcome = result["outcome"].lower().replace("_", " ")
            text = outcome if outcome == "not applicable" else f"{outcome}, confidence {result['confidence']}, {found}"
            self._once("agent", report.pk, f"sub-agent | {report.agent.capitalize()}: {text}")
        for gate in GateExecution.objects.filter(pull_request=pull, head_sha=pull.head_sha).order_by("pk"):
            self._once("gate", gate.pk, f"gate | {gate.gate}: {gate.conclusion} (by {gate.reporter})")

    def _once(self, kind: str, pk: int, line: str) -> None:
        if (kind, pk) not in self._seen:
            self._seen.add((kind, pk))
            self._say(line)


def _brief(value: object) -> str:
    text = ", ".join(str(item) for item in value) if isinstance(value, list) else str(value)
    return f"{text[:12]}…" if re.fullmatch(r"[0-9a-f]{40,64}", text) else text[:80]


def is_settled(handoff: Handoff) -> bool:
    """The enforcer's duty has ended, one way or the other."""
    return Handoff.objects.filter(
        pk=handoff.pk, status__in=[Status.TRIGGERED, Status.REFUSED, Status.SUPERSEDED]
    ).exists()


def is_verified(pull: PullRequest) -> bool:
    """The portal's own workers have nothing left to run on this head."""
    return not VerificationWork.objects.filter(pull_request=pull, status=WorkStatus.WAITING).exists()


def try_to_merge_early(bare: Path, pull: PullRequest) -> str:
    """Push the pull request's head to the protected branch, as anyone with access could try. What git answered."""
    try:
        Git(bare).push(bare, pull.head_sha, f"refs/heads/{pull.base_ref}", old=pull.base_sha)
    except GitError as error:
        lines = [line for line in error.detail.splitlines() if "leoportal refuses" in line]
        return lines[0].removeprefix("remote: ").strip() if lines else error.detail.splitlines()[0]
    raise TourError("the repository took a push to its protected branch before PASS: its hook is not in force")
