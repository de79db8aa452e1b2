"""Anchors: the newest checkpoint with its cosignatures as a commit in a bare repository that others can fetch."""

from __future__ import annotations

import subprocess
from pathlib import Path

from audit.covering import log_state
from audit.upkeep import ANCHOR_REF
from handoffs.git.repository import Git


def anchor(path: Path) -> str:
    """Commit the newest checkpoint; the commit, or an empty text if it is there already or there is none."""
    newest = log_state().newest
    if newest is None:
        return ""
    if not path.exists():
        subprocess.run(["git", "init", "--quiet", "--bare", str(path)], check=True, capture_output=True)
    git = Git(path)
    lines = newest.cosignatures.order_by("pk").values_list("line", flat=True)
    raw = bytes(newest.note) + "".join(lines).encode()
    blob = git.run("hash-object", "-w", "--stdin", stdin=raw).decode().strip()
    tree = git.run("mktree", stdin=f"100644 blob {blob}\tcheckpoint\n".encode()).decode().strip()
    before = git.refs(ANCHOR_REF).get(ANCHOR_REF, "")
    if before and git.tree_of(before) == tree:
        return ""
    parents = (before,) if before else ()
    message = f"{newest.origin}: {newest.size} leaves\n"
    commit = git.write_commit(
        tree, parents, message, name="leoportal log", email="log@leoportal.invalid", when=newest.created_at
    )
    git.run("update-ref", ANCHOR_REF, commit, *([before] if before else []))
    return commit
