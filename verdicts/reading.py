"""What a pull request changes, read from the repository for the sub-agents. Nothing of it is executed."""

from __future__ import annotations

from handoffs.bundles.limits import Limits
from handoffs.bundles.patches import FilePatch
from handoffs.bundles.patches_reading import parse_patch
from handoffs.git.repository import Git
from handoffs.models import PullRequest
from verdicts.findings import Finding
from verdicts.subagents.change import Change, ChangedFile
from verdicts.subagents.sandbox import MAX_FILE_BYTES

MAX_CHANGE_BYTES = 1 << 30
# Stands for a file above the analysers' limit: they see that it is too large, and say so.
TOO_LARGE = bytes(MAX_FILE_BYTES + 1)
FILE_MODES = ("100644", "100755")


def read_change(
    pull: PullRequest, git: Git, *, other_findings: tuple[Finding, ...] = (), round_number: int = 1
) -> Change:
    """The changed files of a pull request's head against its merge base, with the lines that are new."""
    base, head = pull.handoff.merge_base, pull.head_sha
    added = {file.path: _added_lines(file) for file in parse_patch(git.diff(base, head), Limits()).files}
    changes = git.changes(base, head)
    wanted = [c.new_blob for c in changes if c.new_mode in FILE_MODES]
    large = _large(git, wanted)
    blobs = git.read_blobs([blob for blob in wanted if blob not in large], max_bytes=MAX_CHANGE_BYTES)
    blobs |= dict.fromkeys(large, TOO_LARGE)
    return Change(
        files=tuple(
            ChangedFile(
                path=change.path,
                content=blobs.get(change.new_blob, b"") if change.status != "D" else b"",
                added_lines=added.get(change.path, frozenset()),
                is_deleted=change.status == "D",
            )
            for change in changes
        ),
        head_sha=head,
        other_findings=other_findings,
        round=round_number,
    )


def _large(git: Git, blobs: list[str]) -> frozenset[str]:
    """The blobs no analyser reads, so that one file cannot keep the sub-agents from the others."""
    lines = git.run("cat-file", "--batch-check=%(objectname) %(objectsize)", stdin="\n".join(blobs).encode() + b"\n")
    sizes = (line.split() for line in lines.decode("ascii").splitlines() if blobs)
    return frozenset(name for name, size in sizes if int(size) > MAX_FILE_BYTES)


def _added_lines(file: FilePatch) -> frozenset[int]:
    """Line numbers, from 1, that the change adds to the new file; of a pure deletion, the line that follows it."""
    found: set[int] = set()
    for hunk in file.hunks:
        number = hunk.new_start
        is_deletion = not any(line.kind == b"+" for line in hunk.lines)
        for line in hunk.lines:
            if line.kind == b"+" or (is_deletion and line.kind == b"-"):
                found.add(number)
            if line.kind != b"-":
                number += 1
    return frozenset(found)
