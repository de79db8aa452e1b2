"""Requirements and constraints as pip reads them.

Source: PEP 508; pip's requirements file format, with its rules for comments and continued lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from handoffs.packages.pins import Pin, artifacts, pin, pypi_name, setting

_NAME: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[([A-Za-z0-9,._\s-]*)\])?\s*")
_SPECIFIER: Final = re.compile(r"(===|==|~=|!=|<=|>=|<|>)\s*([A-Za-z0-9.*+!_-]+)\Z")
# Most lines of a lock file are this and nothing else: what follows would make the same of them, seven times slower.
_PINNED: Final = re.compile(r"^([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)==([A-Za-z0-9._-]+)$", re.MULTILINE)
_COMMENT: Final = re.compile(r"(?:^|\s)#.*$")
_CODING: Final = re.compile(rb"#.*coding[:=]\s*([-\w.]+)")
_EGG: Final = re.compile(r"[#&]egg=([A-Za-z0-9._-]+)")
# Two words: what no pip takes for a requirement. Not so if it could be a path or hold a variable.
_PROSE: Final = re.compile(r"[^\W\d_][\w.'’-]{0,100},?\s{1,20}[^\W\d_][^/\\$=<>~@;]*+\Z")
_ARCHIVE: Final = re.compile(r"(?i)\.(?:whl|zip|tar|tgz|tbz|txz|tlz|gz|bz2|xz|lz|lzma)\b")


def requirement(line: str, *section: str, options: str = "") -> Pin:
    """One PEP 508 requirement.

    Raises: ValueError.
    """
    match = _NAME.match(line)
    if match is None or not match[1][-1].isalnum():
        raise ValueError(line)
    extras = ",".join(sorted(part.strip().lower() for part in (match[2] or "").split(",") if part.strip()))
    rest = line[match.end() :].strip()
    version, wanted = "", ""
    if rest.startswith("@"):
        wanted, _, marker = rest[1:].strip().partition(" ;")
        if not wanted or len(wanted.split()) != 1:
            raise ValueError(line)
        wanted = f"@ {wanted.strip()}"
    else:
        wanted, _, marker = rest.partition(";")
        version, wanted = _specifiers(wanted.strip())
    said = (f"[{extras}]" if extras else "", wanted, f"; {marker.strip()}" if marker.strip() else "", options)
    return pin("pypi", match[1], version, *section, *said)


def requirements(content: bytes) -> Iterator[Pin]:
    """A requirements or constraints file, as pip reads it."""
    text = _text(content)
    pinned = _PINNED.findall(text)
    if len(pinned) == text.count("\n") + (not text.endswith("\n")):
        yield from [Pin(f"pkg:pypi/{pypi_name(name)}@{version}") for name, version in pinned]
        return
    for line in _joined(text.splitlines()):
        if found := _PINNED.fullmatch(line):
            yield Pin(f"pkg:pypi/{pypi_name(found[1])}@{found[2]}")
            continue
        wanted = _without_comment(line)
        if wanted.startswith("-"):
            yield _option(wanted)
        elif wanted:
            words = wanted.split()
            end = next((at for at, word in enumerate(words) if word.startswith("-")), len(words))
            if end == 0:
                raise ValueError(wanted)
            options = artifacts(sorted(words[end:]))
            plain = " ".join(words[:end])
            try:
                yield requirement(plain, options=options)
            except ValueError:
                yield _direct(plain, options)


def is_prose(content: bytes) -> bool:
    """Whether pip refuses the file for certain, since one of its lines is made of words: nothing is installed from it.

    A file in another encoding than UTF-8 is no prose, for nobody knows what it says.
    """
    try:
        lines = _joined(_text(content).splitlines())
    except ValueError:
        return False
    return any(_PROSE.match(line) and not _ARCHIVE.search(line) for line in map(_without_comment, lines))


def _text(content: bytes) -> str:
    """A file as text. Raises: ValueError for another encoding."""
    for first in content.split(b"\n")[:2]:  # not at CR: neither does pip
        coding = _CODING.match(first)
        if coding and coding[1].lower() not in {b"utf-8", b"utf8", b"ascii"}:
            raise ValueError("another encoding")
    return content.decode("utf-8-sig")


def _without_comment(line: str) -> str:
    return _COMMENT.sub("", line).strip()


def _joined(lines: list[str]) -> Iterator[str]:
    """Continued lines as pip joins them: a comment line continues nothing, whatever it ends with."""
    waiting: list[str] = []
    for line in lines:
        if not waiting and not line.endswith("\\"):
            yield line
            continue
        is_comment = line.lstrip().startswith("#")
        if line.endswith("\\") and not is_comment:
            waiting.append(line.strip("\\"))
            continue
        yield "".join([*waiting, f" {line}" if is_comment else line])
        waiting = []
    if waiting:
        yield "".join(waiting)


def _option(line: str) -> Pin:
    """A line that starts with an option: `-e` is a package, everything else a setting."""
    match = re.match(r"(?:-e|--editable)(?:\s+|=|(?=[^\s=-]))(.+)\Z", line)
    return _direct(match[1].strip(), "editable") if match else setting(line)


def _direct(line: str, options: str) -> Pin:
    """A requirement that is an address or a path.

    Raises: ValueError for anything else.
    """
    egg = _EGG.search(line)
    if egg:
        return pin("pypi", egg[1], "", f"@ {line}", options)
    if "://" in line and len(line.partition(" ;")[0].split()) == 1:
        name = re.split(r"[?#;@]", line.partition("://")[2].rstrip("/").rsplit("/", 1)[-1])[0].removesuffix(".git")
        return pin("generic", name.strip() or "unnamed", "", f"@ {line}", options)
    if line.startswith((".", "/", "~", "file:")) or re.fullmatch(r"[\w.+-]+(?:/[\w.+-]++)++/?", line):
        return setting("local", line, options)
    raise ValueError(line)


def _specifiers(wanted: str) -> tuple[str, str]:
    """The one version, or the range."""
    if wanted.startswith("(") and wanted.endswith(")"):
        wanted = wanted[1:-1]
    parts = [part.strip() for part in wanted.split(",") if part.strip()]
    found = [_SPECIFIER.match(part) for part in parts]
    if not all(found):
        raise ValueError(wanted)
    only = found[0] if len(found) == 1 else None
    if only and only[1] in {"==", "==="} and "*" not in only[2]:
        return only[2], ""
    return "", ",".join(sorted(f"{match[1]}{match[2]}" for match in found if match))
