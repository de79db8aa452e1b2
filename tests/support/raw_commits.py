"""Commits that git itself would not write, or not like this."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from typing import Final

from handoffs.git.repository import Git
from tests.support.portal import Portal

WHEN: Final = datetime(2026, 11, 1, tzinfo=UTC)


def add_raw_commit(
    portal: Portal, message: bytes, *, who: bytes = b"Cody <codex@builder.invalid> 1790000000 +0000"
) -> str:
    """A commit object as git would store it, with any message."""
    base = Git(portal.bare).resolve("refs/heads/main")
    tree = Git(portal.source).tree_of(base)
    raw = b"tree %s\nparent %s\nauthor %s\ncommitter %s\n\n" % (tree.encode(), base.encode(), who, who) + message
    command = ["git", "hash-object", "-t", "commit", "-w", "--literally", "--stdin"]
    return (
        subprocess.run(command, cwd=portal.source, input=raw, check=True, capture_output=True).stdout.decode().strip()
    )
