"""What lock files pin, as package URLs, so that a change of one can be compared with the SBOM.

Read: requirements*.txt, Pipfile.lock, poetry.lock, uv.lock, pdm.lock, package-lock.json,
npm-shrinkwrap.json, pnpm-lock.yaml, yarn.lock, Cargo.lock, go.mod, go.sum, Gemfile.lock, composer.lock.
Known but not read: see UNREAD. A changed file that cannot be read must be named in the SBOM.

Not checked: that a registry has such a package, and integrity hashes inside lock files.
Source: package-url specification for the spelling of purls; PEP 503 for Python names.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from audit.canonical import JsonError, JsonValue, parse_json

UNREAD: Final = frozenset(
    {
        "bun.lock",
        "bun.lockb",
        "cartfile.resolved",
        "conda-lock.yml",
        "deno.lock",
        "flake.lock",
        "gradle.lockfile",
        "mix.lock",
        "package.resolved",
        "packages.lock.json",
        "pixi.lock",
        "podfile.lock",
        "pubspec.lock",
        "pylock.toml",
    }
)
_MAX_BYTES: Final = 64 << 20
_REQUIREMENT: Final = re.compile(
    r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[[A-Za-z0-9,._ -]*\])?\s*([^;#]*)(?:;.*)?"
)
_PINNED: Final = re.compile(r"===?\s*([A-Za-z0-9.!+_-]+)\s*\Z")
_PNPM_KEY: Final = re.compile(r"  '?/?((?:@[^@/\s']+/)?[^@/\s']+)[@/](\d[^\s'(:]*)[^:\n]*:(?:\s*\{.*\})?\s*\Z")
_GEM: Final = re.compile(r"    ([A-Za-z0-9._-]+) \(([^)\s]+)\)\Z")
_GO: Final = re.compile(r"([^\s()]+)\s+(v\d[^\s]*)(?:/go\.mod)?(?:\s+h1:\S+|\s*//.*)?\Z")


class LockError(Exception):
    """A lock file that cannot be read. `code` is stable."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


@dataclass(frozen=True)
class LockDelta:
    """What a change does to what lock files pin. Units: package URLs; `unread` are paths."""

    added: frozenset[str]
    removed: frozenset[str]
    unread: frozenset[str]


def is_lock_file(path: str) -> bool:
    """Whether a path is a lock file of a known kind, readable or not."""
    return _reader_of(path) is not None or _name(path) in UNREAD


def lock_delta(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> LockDelta:
    """Compare the changed lock files before and after; paths of other files are left out."""
    unread: set[str] = set()
    sides: list[set[str]] = []
    for side in (before, after):
        pinned: set[str] = set()
        for path, content in side.items():
            if is_lock_file(path):
                try:
                    pinned |= read_lock_file(path, content)
                except LockError:
                    unread.add(path)
        sides.append(pinned)
    return LockDelta(frozenset(sides[1] - sides[0]), frozenset(sides[0] - sides[1]), frozenset(unread))


def read_lock_file(path: str, content: bytes) -> frozenset[str]:
    """The package URLs a lock file pins.

    Raises: LockError("lock.unread") for a format out of reach, LockError("lock.malformed").
    """
    reader = _reader_of(path)
    if reader is None:
        raise LockError("lock.unread", f"got {_name(path)}, a format that is not read")
    try:
        return frozenset(reader(content))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, JsonError) as error:
        raise LockError("lock.malformed", f"{_name(path)}: {type(error).__name__}") from None


def package_url(kind: str, name: str, version: str) -> str:
    """A purl without qualifiers; without a version where none is pinned."""
    if kind == "pypi":
        name = re.sub(r"[-_.]+", "-", name).lower()
    spelled = "/".join(quote(part, safe="-._~") for part in name.split("/"))
    return f"pkg:{kind}/{spelled}@{quote(version, safe='-._~:')}" if version else f"pkg:{kind}/{spelled}"


def _reader_of(path: str) -> Callable[[bytes], set[str]] | None:
    name = _name(path)
    if name in _READERS:
        return _READERS[name]
    in_folder = path.lower().split("/")[-2:-1] == ["requirements"]
    is_text = name.endswith(".txt")
    return _requirements if is_text and (name.startswith("requirements") or in_folder) else None


def _name(path: str) -> str:
    return path.rsplit("/", 1)[-1].lower()


def _requirements(content: bytes) -> set[str]:
    found: set[str] = set()
    text = re.sub(r"\\\r?\n", " ", content.decode("utf-8-sig"))
    for line in text.splitlines():
        wanted = re.split(r"(?:^|\s)#", line, maxsplit=1)[0].split(" --hash", 1)[0].strip()
        if not wanted or wanted.startswith(("-r", "-c", "--")):
            continue
        match = _REQUIREMENT.fullmatch(wanted)
        if match is None or (match[2] and match[2][0] not in "=<>!~(") or "@" in match[2]:
            raise ValueError(wanted)
        pinned = _PINNED.match(match[2])
        found.add(package_url("pypi", match[1], pinned[1] if pinned else ""))
    return found


def _toml_packages(kind: str) -> Callable[[bytes], set[str]]:
    def read(content: bytes) -> set[str]:
        document = tomllib.loads(content.decode("utf-8"))
        packages = document.get("package", [])
        found = set()
        for package in packages:
            source = package.get("source", {})
            is_own = isinstance(source, dict) and bool(source.keys() & {"virtual", "editable"})
            if not is_own and not (kind == "cargo" and "source" not in package):
                found.add(package_url(kind, package["name"], package.get("version", "")))
        return found

    return read


def _object(value: JsonValue) -> dict[str, JsonValue]:
    if not isinstance(value, dict):
        raise TypeError(type(value).__name__)
    return value


def _text(value: JsonValue) -> str:
    if not isinstance(value, str):
        raise TypeError(type(value).__name__)
    return value


def _pipfile(content: bytes) -> set[str]:
    document = _object(parse_json(content, max_bytes=_MAX_BYTES))
    found = set()
    for section in ("default", "develop"):
        for name, entry in _object(document.get(section, {})).items():
            found.add(package_url("pypi", name, _text(_object(entry).get("version", "")).removeprefix("==")))
    return found


def _npm(content: bytes) -> set[str]:
    document = _object(parse_json(content, max_bytes=_MAX_BYTES))
    found: set[str] = set()
    if "packages" in document:
        for place, entry in _object(document["packages"]).items():
            package = _object(entry)
            if "node_modules/" not in place or package.get("link") is True:
                continue
            name = _text(package.get("name", place.rsplit("node_modules/", 1)[1]))
            found.add(package_url("npm", name, _text(package.get("version", ""))))
        return found
    waiting = [_object(document.get("dependencies", {}))]
    while waiting:
        for name, entry in waiting.pop().items():
            package = _object(entry)
            found.add(package_url("npm", name, _text(package["version"])))
            waiting.append(_object(package.get("dependencies", {})))
    return found


def _pnpm(content: bytes) -> set[str]:
    found: set[str] = set()
    inside = False
    for line in content.decode("utf-8").splitlines():
        if line and not line.startswith((" ", "#")):
            inside = line.rstrip() == "packages:"
        elif inside and re.match(r"  [^\s#]", line):
            match = _PNPM_KEY.match(line)
            if match is None:
                raise ValueError(line)
            found.add(package_url("npm", match[1], match[2]))
    return found


def _yarn(content: bytes) -> set[str]:
    found: set[str] = set()
    name = ""
    for line in content.decode("utf-8").splitlines():
        if line and not line.startswith((" ", "#")):
            name = ""
            key = line.rstrip(":").split(",", 1)[0].strip().strip('"')
            if key != "__metadata":
                name = key[: key.index("@", 1)]
            is_own = "@workspace:" in key
            name = "" if is_own else name
        match = re.match(r'  version:? "?([^"\s]+)"?\s*\Z', line)
        if match and name:
            found.add(package_url("npm", name, match[1]))
    return found


def _go(content: bytes) -> set[str]:
    found: set[str] = set()
    block = ""
    for raw in content.decode("utf-8").splitlines():
        line = raw.strip()
        if line == ")":
            block = ""
        elif line.endswith("(") and line.split():
            block = line.split()[0]
        elif block == "require" or line.startswith("require "):
            wanted = line.removeprefix("require ").strip()
            if not wanted or wanted.startswith("//"):
                continue
            match = _GO.match(wanted)
            if match is None:
                raise ValueError(line)
            found.add(package_url("golang", match[1], match[2]))
        elif (block == "replace" or line.startswith("replace ")) and "=>" in line:
            target = line.split("=>", 1)[1].split()
            if len(target) > 1:
                found.add(package_url("golang", target[0], target[1]))
    return found


def _go_sum(content: bytes) -> set[str]:
    found: set[str] = set()
    for line in content.decode("utf-8").splitlines():
        module, version, _ = line.split()
        if not version.endswith("/go.mod"):
            found.add(package_url("golang", module, version))
    return found


def _gems(content: bytes) -> set[str]:
    found: set[str] = set()
    inside = False
    for line in content.decode("utf-8").splitlines():
        if line and not line.startswith(" "):
            inside = line in {"GEM", "GIT", "PLUGIN SOURCE"}
        match = _GEM.match(line) if inside else None
        if match:
            found.add(package_url("gem", match[1], match[2]))
    return found


def _composer(content: bytes) -> set[str]:
    document = _object(parse_json(content, max_bytes=_MAX_BYTES))
    found = set()
    for section in ("packages", "packages-dev"):
        packages = document.get(section, [])
        if not isinstance(packages, list):
            raise TypeError(section)
        for entry in packages:
            package = _object(entry)
            found.add(package_url("composer", _text(package["name"]).lower(), _text(package["version"])))
    return found


_READERS: Final[Mapping[str, Callable[[bytes], set[str]]]] = {
    "pipfile.lock": _pipfile,
    "poetry.lock": _toml_packages("pypi"),
    "uv.lock": _toml_packages("pypi"),
    "pdm.lock": _toml_packages("pypi"),
    "package-lock.json": _npm,
    "npm-shrinkwrap.json": _npm,
    "pnpm-lock.yaml": _pnpm,
    "yarn.lock": _yarn,
    "cargo.lock": _toml_packages("cargo"),
    "go.mod": _go,
    "go.sum": _go_sum,
    "gemfile.lock": _gems,
    "composer.lock": _composer,
}
