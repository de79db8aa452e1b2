"""The checks of the rollback notes, and the search for credentials in everything."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from handoffs.bundles.bundle import MEMBERS
from handoffs.bundles.patches import FilePatch
from handoffs.checks.evidence import PATCH, Evidence, Judged, Unreadable, failed, first_of, passed, without
from handoffs.scope.secrets import SecretHit, find_secrets, may_hold_secret, numbered, redact

_PLACEHOLDER: Final = re.compile(
    r"(?i)\W*(?:todo|tbd|n/?a|none|nothing|fixme|xxx|placeholder|rollback|lorem ipsum)\W*\Z"
)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_MIN_LETTERS: Final = 20


def rollback_present(evidence: Evidence) -> Judged:
    """The rollback notes are UTF-8 text."""
    raw = evidence.archive.members.get("rollback.md")
    expected = "UTF-8 text"
    if raw is None:
        return without("rollback.md", "the archive has no such member", expected)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return failed(f"byte {error.start} is not UTF-8", expected)
    if _CONTROL.search(text):
        return failed("control characters", expected)
    return passed(f"{len(raw)} bytes", expected) if raw else failed("no text", expected)


def rollback_says_how(evidence: Evidence) -> Judged:
    """The rollback notes say something: more than a heading, no placeholder."""
    raw = evidence.archive.members.get("rollback.md")
    expected = f"at least {_MIN_LETTERS} letters that are no placeholder"
    if raw is None:
        return without("rollback.md", "the archive has no such member", expected)
    lines = [line.strip() for line in raw.decode("utf-8", "replace").splitlines()]
    told = [line for line in lines if line and not line.startswith("#") and not _PLACEHOLDER.match(line)]
    letters = sum(map(str.isalnum, "".join(told)))
    return passed(f"{letters} letters", expected) if letters >= _MIN_LETTERS else failed(f"{letters} letters", expected)


def secrets_none(evidence: Evidence) -> Judged:
    """No credential is handed over: none in a member, an added line, a path or the commit's subject and branch.

    Removed and context lines of the patch are in the repository already: they are redacted where they are shown, and
    do not keep anybody from taking a credential out.
    """
    expected = "no credential"
    hits = dict.fromkeys(f"{hit.kind} in {hit.place}:{hit.line}" for hit in secrets_in(evidence))
    if hits:
        return failed(first_of(list(hits), at_most=40), expected)
    if set(MEMBERS) - set(evidence.archive.members):
        return without("every member", "members are missing", expected)
    return passed("none found", expected)


def secrets_in(evidence: Evidence) -> list[SecretHit]:
    """Every credential, by kind and place."""
    places = [*_members(evidence), *_added_content(evidence), *_names(evidence)]
    return [hit for place, lines in places for hit in find_secrets(redact(place), lines())]


# Where it lies, and its lines, numbered: only of what may hold a credential.
type _Place = tuple[str, Callable[[], list[tuple[int, str]]]]


def _members(evidence: Evidence) -> Iterator[_Place]:
    for name, raw in evidence.archive.members.items():
        is_unread = name == PATCH and isinstance(evidence.patch, Unreadable)
        if name in evidence.suspects or (is_unread and may_hold_secret(raw)):
            yield name, partial(numbered, raw)


def _names(evidence: Evidence) -> Iterator[_Place]:
    """What is shown of a handoff beside its members: paths, the commit's subject, the branch."""
    context, patch = evidence.context, evidence.patch
    told = {"the commit's subject": [context.marker_subject or ""], "the branch's name": [context.branch or ""]}
    if not isinstance(patch, Unreadable):
        told["a changed path"] = sorted(patch.touched_paths)
    whole = "\n".join(text for texts in told.values() for text in texts)
    if may_hold_secret(whole.encode("utf-8", "surrogatepass")):
        yield from ((place, partial(_unnumbered, texts)) for place, texts in told.items())


def _unnumbered(texts: list[str]) -> list[tuple[int, str]]:
    return [(0, text) for text in texts]


def _added_content(evidence: Evidence) -> Iterator[_Place]:
    """Added lines by file, with their line numbers after the change; new binary content as one text.

    Of a binary delta the file it makes is looked at, too: its pieces need not hold what they make together.
    """
    if isinstance(evidence.patch, Unreadable):
        return
    facts, produced = evidence.facts, evidence.produced_files()
    for file in evidence.patch.files:
        binary = [file.binary.data] if file.binary is not None else []
        if file.binary is not None and file.binary.is_delta and facts is not None:
            binary.append(facts.blobs.get(produced.get(file.path, ""), b""))
        if may_hold_secret(b"\n".join([*file.added_lines, *binary])):
            yield file.path, partial(_added, file, binary)


def _added(file: FilePatch, binary: list[bytes]) -> list[tuple[int, str]]:
    added = [(number, line.decode("utf-8", "replace")) for number, line in file.added]
    return [*added, *((1, content.decode("latin-1")) for content in binary)]
