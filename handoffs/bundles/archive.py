"""`artifact.tar.gz`: a restricted reader and a deterministic writer. Nothing is ever extracted.

The reader takes five fixed names, regular files, ustar headers and one gzip member, and nothing else;
it goes on after a problem where it safely can, so that one look reports everything that is wrong.

Source: POSIX.1-2017 pax, "ustar Interchange Format".
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Final

from handoffs.bundles.gzip_member import inflate, store_blocks, unstore_blocks
from handoffs.bundles.limits import Limits, Problem

MEMBERS: Final = ("attestation.intoto.json", "changes.patch", "manifest.json", "rollback.md", "sbom.cdx.json")
BLOCK: Final = 512
TRAILER: Final = bytes(2 * BLOCK)
_MAX_ENTRIES: Final = 64
_OCTAL: Final = frozenset(b"01234567")


@dataclass(frozen=True)
class Archive:
    """What the reader found: the members it could read, and every problem."""

    size: int
    unpacked_size: int
    members: Mapping[str, bytes]
    problems: tuple[Problem, ...]

    @cached_property
    def digests(self) -> Mapping[str, str]:
        """SHA-256 in lower-case hex of every member, each computed once."""
        return MappingProxyType({name: hashlib.sha256(content).hexdigest() for name, content in self.members.items()})


def write_archive(members: Mapping[str, bytes]) -> bytes:
    """Write the five members; the same members give the same bytes on every machine.

    Raises: ValueError when the names are not exactly MEMBERS.
    """
    if sorted(members) != list(MEMBERS):
        raise ValueError(f"got the members {sorted(members)}, expected {list(MEMBERS)}")
    parts = []
    for name in MEMBERS:
        content = members[name]
        parts += [_header(name, len(content)), content, bytes(-len(content) % BLOCK)]
    return store_blocks(b"".join([*parts, TRAILER]))


def read_archive(raw: bytes, limits: Limits) -> Archive:
    """Read an archive without extracting it. Never raises: what is wrong is in `problems`."""
    problems: list[Problem] = []
    if len(raw) > limits.max_archive_bytes:
        problems.append(Problem("archive.size", f"{len(raw)} bytes", f"at most {limits.max_archive_bytes} bytes"))
        return Archive(len(raw), 0, MappingProxyType({}), tuple(problems))
    stored = unstore_blocks(raw)
    is_fixed = stored is not None and len(stored) <= limits.max_unpacked_bytes
    unpacked = stored if stored is not None and is_fixed else inflate(raw, limits, problems)
    members = _walk(unpacked, limits, problems)
    if not is_fixed:
        found = "other gzip framing than the writer's"
        problems.append(Problem("archive.deterministic", found, "a fixed gzip header and stored blocks"))
    return Archive(len(raw), len(unpacked), MappingProxyType(members), tuple(problems))


def _walk(content: bytes, limits: Limits, problems: list[Problem]) -> dict[str, bytes]:
    """Go through the tar entries one after the other; every offset is checked before it is used."""
    members: dict[str, bytes] = {}
    seen: list[bytes] = []
    at = 0
    while len(seen) <= _MAX_ENTRIES:
        header = content[at : at + BLOCK]
        if len(header) < BLOCK:
            problems.append(Problem("archive.readable", "the archive ends early", "two zero blocks at the end"))
            break
        if not any(header):
            _check_trailer(content[at:], problems)
            break
        size = _size_of(header, problems)
        if size is None:
            break
        raw_name = _name_of(header)
        seen.append(raw_name)
        body = content[at + BLOCK : at + BLOCK + size]
        padding = content[at + BLOCK + size : at + BLOCK + size + -size % BLOCK]
        if len(body) < size or len(padding) < -size % BLOCK:
            problems.append(Problem("archive.readable", f"{_show(raw_name)} ends early", f"{size} bytes"))
            break
        at += BLOCK + size + len(padding)
        if any(padding):
            problems.append(
                Problem("archive.deterministic", f"bytes in the padding of {_show(raw_name)}", "zero bytes")
            )
        _take(header, raw_name, body, members, limits, problems)
    _check_names(seen, problems)
    return members


def _take(
    header: bytes,
    raw_name: bytes,
    body: bytes,
    members: dict[str, bytes],
    limits: Limits,
    problems: list[Problem],
) -> None:
    """Keep one entry if it is a regular file with one of the five names."""
    if header[156:157] != b"0" or any(header[157:257]):
        kind = header[156:157].decode("latin-1")
        problems.append(
            Problem("archive.regular_files", f"{_show(raw_name)} has type {kind!r}", "regular files, type '0'")
        )
        return
    name = raw_name.decode("latin-1")
    if name not in MEMBERS or name in members:
        return
    if header != _header(name, len(body)):
        problems.append(
            Problem("archive.deterministic", f"other header fields of {name}", "mode 0644, no owner, no time, ustar")
        )
    if len(body) > limits.of_member(name):
        expected = f"at most {limits.of_member(name)} bytes"
        problems.append(Problem("archive.size", f"{name} has {len(body)} bytes", expected))
        return
    lines = body.count(b"\n")
    if lines > limits.max_member_lines:
        expected = f"at most {limits.max_member_lines} lines"
        problems.append(Problem("archive.size", f"{name} has {lines} lines", expected))
        return
    members[name] = body


def _check_names(seen: list[bytes], problems: list[Problem]) -> None:
    """Exactly the five names, each once, in their order."""
    allowed = [name.encode("ascii") for name in MEMBERS]
    foreign = [_show(name) for name in seen if name not in allowed]
    missing = [name for name in MEMBERS if name.encode("ascii") not in seen]
    twice = sorted({_show(name) for name in seen if seen.count(name) > 1})
    folded = [name.lower().strip().rsplit(b"/", 1)[-1] for name in dict.fromkeys(seen)]
    twins = sorted({_show(name) for name in folded if folded.count(name) > 1})
    for found, what in ((foreign, "foreign"), (missing, "missing")):
        if found:
            got = f"{what}: {', '.join(found[:10])}"
            problems.append(Problem("archive.members", got, f"exactly {', '.join(MEMBERS)}"))
    for found, what in ((twice, "twice"), (twins, "twins but for case or folder")):
        if found:
            problems.append(Problem("archive.unique_names", f"{what}: {', '.join(found[:10])}", "every name once"))
    unsafe = [name for name in seen if name.startswith(b"/") or b".." in name.split(b"/") or b"\\" in name]
    if unsafe:
        got = ", ".join(_show(name) for name in unsafe[:10])
        problems.append(Problem("archive.no_traversal", got, "names without folders"))
    if not foreign and not missing and not twice and seen != allowed:
        problems.append(Problem("archive.deterministic", "members in another order", "members sorted by name"))


def _check_trailer(rest: bytes, problems: list[Problem]) -> None:
    if any(rest):
        problems.append(
            Problem("archive.readable", "bytes after the end of the archive", "nothing after two zero blocks")
        )
    elif len(rest) < len(TRAILER):
        problems.append(Problem("archive.readable", f"{len(rest)} zero bytes at the end", f"{len(TRAILER)}"))
    elif len(rest) > len(TRAILER):
        problems.append(Problem("archive.deterministic", f"{len(rest)} zero bytes at the end", f"{len(TRAILER)}"))


def _size_of(header: bytes, problems: list[Problem]) -> int | None:
    """The size field, once magic, checksum and digits hold; None where the walk must stop."""
    if header[257:265] != b"ustar\x0000":
        problems.append(Problem("archive.readable", f"magic {_show(header[257:265])}", "a ustar header, no GNU or PAX"))
        if header[257:262] != b"ustar":
            return None
    counted = sum(header) - sum(header[148:156]) + 8 * 0x20
    if header[148:156] != b"%06o\x00 " % counted:
        problems.append(Problem("archive.readable", "a wrong header checksum", f"{counted:06o}"))
        return None
    digits = header[124:136]
    if digits[11:] not in {b"\x00", b" "} or not set(digits[:11]) <= _OCTAL:
        problems.append(Problem("archive.readable", f"size field {_show(digits)}", "eleven octal digits"))
        return None
    return int(digits[:11], 8)


def _name_of(header: bytes) -> bytes:
    name = header[:100]
    cut = name.split(b"\0", 1)[0]
    if any(name[len(cut) :]):
        cut = name.rstrip(b"\0")
    prefix = header[345:500].rstrip(b"\0")
    return prefix + b"/" + cut if prefix else cut


def _header(name: str, size: int) -> bytes:
    """The only header an entry may have: nothing in it but the name and the size."""
    head = name.encode("ascii").ljust(100, b"\0") + b"0000644\x000000000\x000000000\x00"
    head += b"%011o\x00" % size + b"00000000000\x00"
    tail = b"0" + bytes(100) + b"ustar\x0000" + bytes(64) + b"0000000\x000000000\x00" + bytes(167)
    total = sum(head) + sum(tail) + 8 * 0x20
    return head + b"%06o\x00 " % total + tail


def _show(name: bytes) -> str:
    """A raw name, safe to print, at most 80 characters."""
    return ascii(name[:80].decode("latin-1"))
