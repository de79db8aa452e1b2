"""What a lock file or a manifest says, one statement at a time, in one spelling.

A statement about a package carries its package URL; with a version only where the file names exactly one. A statement
about where packages come from, or about a package that is part of this repository, has no package URL: a setting.

Source: package-url specification; PEP 503 for Python names.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Final
from urllib.parse import quote, unquote

import msgspec

_LONGEST: Final = 800
_SEPARATORS: Final = re.compile(r"[-_.]+")
_CREDENTIALS: Final = re.compile(r"://[^/\s@?#]*@")


class Pin(msgspec.Struct, frozen=True, order=True, gc=False):
    """One statement. `said` is what else the file says: section, range, extras, marker, source, digest.

    `licence` is what the file says of the package's licence: a part of no comparison of files.
    """

    purl: str
    said: str = ""
    licence: str = ""

    @property
    def text(self) -> str:
        """The statement as one line."""
        return f"{self.purl} {self.said}".strip()


def package_url(kind: str, name: str, version: str) -> str:
    """A purl without qualifiers; without a version where none is pinned.

    Case is kept where it tells packages apart (npm, Go, Cargo, RubyGems) and folded where it does not (PyPI, Composer).
    """
    if kind == "pypi":
        name = pypi_name(name)
    if kind == "composer":
        name = name.lower()
    spelled = "/".join(quote(part, safe="-._~") for part in name.split("/"))
    return f"pkg:{kind}/{spelled}@{quote(version, safe='-._~:')}" if version else f"pkg:{kind}/{spelled}"


def pypi_name(name: str) -> str:
    """A Python package's name in its one spelling."""
    is_plain = "_" not in name and "." not in name and "--" not in name
    return name.lower() if is_plain else _SEPARATORS.sub("-", name).lower()


def name_of(purl: str) -> str:
    """The package's name as people write it."""
    return coordinates_of(purl)[0]


def version_of(purl: str) -> str:
    """The version a purl names, or nothing."""
    return coordinates_of(purl)[1]


def coordinates_of(purl: str) -> tuple[str, str]:
    """Name and version of a purl."""
    head, _, version = purl.partition("@")
    name = head.partition("/")[2]
    return (unquote(name), unquote(version)) if "%" in purl else (name, version)


def pin(kind: str, name: str, version: str, *said: str, licence: str = "") -> Pin:
    """A statement about a package.

    Raises: ValueError for a name or text that cannot stand in an SBOM.
    """
    if not name.strip("/") or name != name.strip() or version != version.strip():
        raise ValueError(name)
    return Pin(_sound(package_url(kind, name, version)), _said(said), licence)


def setting(*said: str) -> Pin:
    """A statement about no package from outside.

    Raises: ValueError for text that cannot stand in an SBOM.
    """
    return Pin("", _said(said))


def artifacts(*values: object) -> str:
    """One digest over everything a file says about a package's files, in whatever order; nothing for nothing."""
    spelled = sorted(
        json.dumps(part, sort_keys=True, default=str)
        for value in values
        if value
        for part in (value if isinstance(value, list) else [value])
    )
    return f"files=sha256:{hashlib.sha256(chr(10).join(spelled).encode()).hexdigest()}" if spelled else ""


def spelled(value: object) -> str:
    """A table, list or text of a manifest on one line, keys sorted."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return ",".join(f"{key}={spelled(item)}" for key, item in sorted(value.items()))
    if isinstance(value, list):
        return "[" + ",".join(spelled(item) for item in value) + "]"
    return json.dumps(value, default=str)


def table(value: object) -> dict[str, object]:
    """The value, if it is a table. Raises: TypeError."""
    if not isinstance(value, dict):
        raise TypeError(type(value).__name__)
    return value


def array(value: object) -> list[object]:
    """The value, if it is a list. Raises: TypeError."""
    if not isinstance(value, list):
        raise TypeError(type(value).__name__)
    return value


def text(value: object) -> str:
    """The value, if it is text. Raises: TypeError."""
    if not isinstance(value, str):
        raise TypeError(type(value).__name__)
    return value


def _said(parts: tuple[str, ...]) -> str:
    """White space folded, credentials in addresses hidden, very long text cut and closed with its digest."""
    whole = _CREDENTIALS.sub("://***@", " ".join(" ".join(parts).split()))
    if len(whole) > _LONGEST:
        whole = f"{whole[:_LONGEST]}… sha256:{hashlib.sha256(whole.encode()).hexdigest()}"
    return _sound(whole)


def _sound(line: str) -> str:
    if "\0" in line:
        raise ValueError("U+0000")
    line.encode("utf-8")
    return line
