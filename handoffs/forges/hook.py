"""The forge's update hook: a small process that asks the portal's database whether a ref may move. Fail closed.

It runs outside Django, with a login that may call one function and report one refusal, nothing else.
Source: githooks(5), update.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg

from handoffs.bundles.markers import is_staging_branch
from handoffs.scope.secrets import redact

MAX_COMMITS: Final = 1000
MAX_COMMIT_BYTES: Final = 64 << 10
ZERO: Final = re.compile(r"^0+$")

SENTENCES: Final = {
    "ref.deletion": "branches of a governed repository are not deleted",
    "ref.not_fast_forward": "a staging branch only moves forward; push a new commit on top",
    "ref.commit_size": "a push to staging brings at most 1,000 commits of at most 64 KiB, their messages included",
    "ref.staging_name": "a builder's branch is named staging/codex-<feature>, in ASCII letters, digits, . _ -",
    "ref.not_allowed": "only staging/codex-* is open to pushes; the portal opens every other branch itself",
    "ref.tree_mismatch": "the pushed commit does not hold the tree that was judged",
    "repository.unknown": "this repository is not governed by the portal any more",
    "merge.no_pass": "no PASS and no LEAD approval is recorded for exactly this change; "
    "merge it in the portal after the verdict",
    "portal.unreachable": "the portal's database did not answer, so nothing may move; start the portal and push again",
}


@dataclass(frozen=True)
class Update:
    """One ref that somebody wants to move."""

    ref: str
    old: str
    new: str


def update(config_path: str) -> int:
    """The update hook: exit 0 lets this one ref move."""
    change = Update(sys.argv[1], sys.argv[2], sys.argv[3])
    code = judge(config_path, change)
    if not code:
        return 0
    sys.stderr.write(f"leoportal refuses {change.ref} [{code}]: {SENTENCES.get(code, 'refused')}\n")
    return 1


def judge(config_path: str, change: Update) -> str:
    """The refusal code for a ref update; empty when it may happen. Anything unexpected is a refusal."""
    try:
        config = json.loads(Path(config_path).read_text())
        with psycopg.connect(config["database_url"], autocommit=True, connect_timeout=5) as connection:
            code = _code(connection, config["path"], change)
            if code:
                connection.execute(
                    "INSERT INTO leo_push_refusal (repository_path, ref, old, new, code) VALUES (%s, %s, %s, %s, %s)",
                    [config["path"][:500], redact(change.ref)[:300], change.old[:64], change.new[:64], code],
                )
            return code
    except (OSError, ValueError, KeyError, psycopg.Error, subprocess.SubprocessError):
        return "portal.unreachable"


def _code(connection: psycopg.Connection[tuple[object, ...]], path: str, change: Update) -> str:
    if ZERO.match(change.new):
        return "ref.deletion"
    if change.ref.startswith("refs/heads/staging/"):
        if not is_staging_branch(change.ref.removeprefix("refs/heads/")):
            return "ref.staging_name"
        if not ZERO.match(change.old) and not _is_ancestor(change.old, change.new):
            return "ref.not_fast_forward"
        if not _is_small(change.new):
            return "ref.commit_size"
    row = connection.execute(
        "SELECT code, tree FROM leo_may_update_ref(%s, %s, %s, %s)", [path, change.ref, change.old, change.new]
    ).fetchone()
    if row is None:
        return "portal.unreachable"
    code, tree = str(row[0]), str(row[1])
    if not code and tree and _tree_of(change.new) != tree:
        return "ref.tree_mismatch"
    return code


def _is_small(new: str) -> bool:
    """Whether a push brings at most MAX_COMMITS commits, each (with its message) of at most MAX_COMMIT_BYTES."""
    listed = subprocess.run(
        ["git", "rev-list", f"--max-count={MAX_COMMITS + 1}", new, "--not", "--all"],
        check=True,
        capture_output=True,
        timeout=60,
    ).stdout
    checked = subprocess.run(
        ["git", "cat-file", "--batch-check=%(objectsize)"], input=listed, check=True, capture_output=True, timeout=60
    ).stdout
    sizes = [int(size) for size in checked.split()]
    return len(sizes) <= MAX_COMMITS and max(sizes, default=0) <= MAX_COMMIT_BYTES


def _is_ancestor(old: str, new: str) -> bool:
    done = subprocess.run(["git", "merge-base", "--is-ancestor", old, new], check=False, timeout=60)
    return done.returncode == 0


def _tree_of(commit: str) -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--verify", f"{commit}^{{tree}}"], check=True, capture_output=True, text=True, timeout=60
    )
    return done.stdout.strip()
