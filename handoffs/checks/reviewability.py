"""What a change raises, from the evidence: steering paths, content that nobody can review, gates that cannot fail.

Source: PAT-07, PAT-11, GATE-10 and GATE-11 of the threat list.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from handoffs.bundles.bundle import digest_of
from handoffs.bundles.patches import FilePatch
from handoffs.checks.evidence import Evidence, GitFacts, Unreadable
from handoffs.git.repository import TreeChange
from handoffs.scope.called_lint import lint_called
from handoffs.scope.control_plane import Raised, RaisedKind, control_plane_paths
from handoffs.scope.hidden_text import find_hidden
from handoffs.scope.workflow_lint import is_workflow, lint_workflow

MAX_BYTES: Final = 1 << 20
MAX_LINE: Final = 2_000  # characters: the diff page shows no more of a line
# A carriage return within a line begins a new one for Python and many others, and for few viewers.
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0b\x0e-\x1f\x7f]|\r(?!\Z)")
_CONTROLS: Final = bytes({*range(32), 127} - set(b"\t\n\f"))
EXECUTABLE: Final = "100755"


def raised_by(evidence: Evidence) -> tuple[Raised, ...]:
    """Everything that raises the approvals of a bundle's change; nothing where there is no result tree to look at."""
    facts = evidence.facts
    if facts is None or facts.result_tree is None:
        return ()
    found = control_plane_paths((change.path for change in facts.changes), facts.steering)
    raised = [Raised(RaisedKind.CONTROL_PLANE, path, what) for path, what in found.items()]
    unread = "a lock file of a kind that is not read: what it pins is unknown"
    raised += (Raised(RaisedKind.UNREVIEWABLE, path, unread) for path in sorted(facts.packages.unread))
    added = _added(evidence)
    for change in facts.changes:
        if change.status != "D":
            files = added.get(change.path, ()) if added is not None else None
            raised += (Raised(RaisedKind.UNREVIEWABLE, change.path, why) for why in _unreviewable(change, facts, files))
            if change.path in found or is_workflow(change.path):
                raised += _informational(change, evidence, files)
    return tuple(raised)


type _Files = tuple[FilePatch, ...]


def _added(evidence: Evidence) -> dict[str, _Files] | None:
    """What the patch says of every changed path; None where it cannot be read: then every line counts as added."""
    if isinstance(evidence.patch, Unreadable):
        return None
    return {file.path: (file,) for file in evidence.patch.files}


def _unreviewable(change: TreeChange, facts: GitFacts, files: _Files | None) -> Iterator[str]:
    """Why a person cannot review what becomes of one path."""
    if change.new_mode == EXECUTABLE and change.old_mode != EXECUTABLE:
        yield "becomes executable"
    if change.new_blob == change.old_blob:
        return
    content = facts.blobs.get(change.new_blob)
    if content is None:
        yield "its content could not be read"
        return
    if b"\0" in content or not _is_utf8(content):
        start = content[:16].hex(" ")
        yield f"binary content: {len(content)} bytes, sha256 {digest_of(content)}, begins with {start}"
        return
    if len(content) > MAX_BYTES:
        yield f"{len(content)} bytes, sha256 {digest_of(content)}; more than {MAX_BYTES} are not reviewed"
    plain = content.split(b"\n") if files is None else [line for file in files for line in file.added_lines]
    whole = b"\n".join(plain)
    is_plain = whole.isascii() and len(whole.translate(None, _CONTROLS)) == len(whole)
    if is_plain and max(map(len, plain), default=0) <= MAX_LINE:
        return
    told = list(enumerate(plain, 1)) if files is None else [row for file in files for row in file.added]
    long = next((number for number, line in told if len(line) > MAX_LINE), None)
    if long is not None:
        yield f"line {long} has more than {MAX_LINE} characters (minified or generated)"
    yield from _hidden(told)


def _hidden(lines: list[tuple[int, bytes]]) -> Iterator[str]:
    found: dict[str, int] = {}
    for number, line in lines:
        if control := _CONTROL.search(line):
            found.setdefault(f"U+{control[0][0]:04X} (a control character)", number)
        if not line.isascii():
            for hidden in find_hidden(line.decode("utf-8", "replace"), number):
                found.setdefault(hidden.name, number)
    if found:
        listed = ", ".join(f"{name} in line {number}" for name, number in list(found.items())[:5])
        yield f"text that does not read as it runs: {listed}" + (
            f" and {len(found) - 5} more" if len(found) > 5 else ""
        )


def _informational(change: TreeChange, evidence: Evidence, files: _Files | None) -> Iterator[Raised]:
    """What the linter says about a changed workflow, action or script of the gates, and whose line it is."""
    content = evidence.facts.blobs.get(change.new_blob, b"") if evidence.facts else b""
    if is_workflow(change.path):
        problems = lint_workflow(content, target_branch=evidence.context.target_branch)
    else:
        problems = lint_called(change.path, content)
    new = None if files is None else {number for file in files for number, _ in file.added}
    for problem in problems:
        whose = "added by this change" if new is None or problem.line in new else "stood in the file before"
        yield Raised(
            RaisedKind.INFORMATIONAL_GATE,
            change.path,
            f"line {problem.line} ({whose}): {problem.message} [{problem.rule}]. Instead: {problem.instead}",
        )


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
