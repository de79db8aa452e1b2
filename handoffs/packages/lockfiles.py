"""What a change does to lock files and manifests, so that it can be compared with the SBOM.

Each file is compared with itself: a package that moves from one file to another is gone from the first and new in the
second, also where both name the same version. What cannot be read never passes silently: a file of a format in
`_UNREAD` is named in the SBOM and raises the approvals; a file of a format that is read, and is malformed, is refused.

A file that a new line of requirements includes, and whose name is none of a lock file, counts as unread.

Not checked: that a registry has such a package; files of other names that requirements included before; settings of
package managers elsewhere (.npmrc, pip.conf, .cargo).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from audit.canonical import JsonError
from audit.coded import CodedError
from handoffs.git.repository import TreeChange
from handoffs.packages import lockfiles_native as native
from handoffs.packages import lockfiles_node as node
from handoffs.packages import lockfiles_python as python
from handoffs.packages.pins import Pin
from handoffs.packages.requirements import is_prose, requirements
from handoffs.strict_yaml import YamlError

type Reader = Callable[[bytes], Iterable[Pin]]

FILE_MODES: Final = frozenset({"100644", "100755"})
_READERS: Final[Mapping[str, Reader]] = {
    "pyproject.toml": python.pyproject,
    "setup.cfg": python.setup_cfg,
    "pipfile": python.pipfile,
    "pipfile.lock": python.pipfile_lock,
    "poetry.lock": python.toml_lock("pypi"),
    "uv.lock": python.toml_lock("pypi"),
    "pdm.lock": python.toml_lock("pypi"),
    "pylock.toml": python.toml_lock("pypi", "packages"),
    "package.json": node.package_json,
    "package-lock.json": node.npm_lock,
    "npm-shrinkwrap.json": node.npm_lock,
    "pnpm-lock.yaml": node.pnpm_lock,
    "yarn.lock": node.yarn_lock,
    "go.mod": native.go_mod,
    "go.sum": native.go_sum,
    "cargo.toml": native.cargo_toml,
    "cargo.lock": python.toml_lock("cargo"),
    "gemfile": native.gemfile,
    "gems.rb": native.gemfile,
    "gemfile.lock": native.gemfile_lock,
    "gems.locked": native.gemfile_lock,
    "composer.json": native.composer_json,
    "composer.lock": native.composer_lock,
}
_UNREAD: Final = frozenset(
    {
        ".terraform.lock.hcl",
        "bower.json",
        "buf.lock",
        "build.gradle",
        "build.gradle.kts",
        "build.sbt",
        "bun.lock",
        "bun.lockb",
        "cabal.project",
        "cabal.project.freeze",
        "cartfile",
        "cartfile.resolved",
        "chart.lock",
        "chart.yaml",
        "conan.lock",
        "conanfile.py",
        "conanfile.txt",
        "conda-lock.yml",
        "cpanfile",
        "cpanfile.snapshot",
        "deno.json",
        "deno.jsonc",
        "deno.lock",
        "deps.edn",
        "directory.packages.props",
        "dub.json",
        "elm.json",
        "environment.yaml",
        "environment.yml",
        "flake.lock",
        "go.work",
        "go.work.sum",
        "gradle.lockfile",
        "jsr.json",
        "libs.versions.toml",
        "mix.exs",
        "mix.lock",
        "module.bazel",
        "module.bazel.lock",
        "package.json5",
        "package.resolved",
        "package.swift",
        "package.yaml",
        "packages.config",
        "packages.lock.json",
        "paket.dependencies",
        "paket.lock",
        "pixi.lock",
        "pixi.toml",
        "pnpm-workspace.yaml",
        "podfile",
        "podfile.lock",
        "pom.xml",
        "project.clj",
        "pubspec.lock",
        "pubspec.yaml",
        "rebar.config",
        "rebar.lock",
        "renv.lock",
        "requirements.yaml",
        "requirements.yml",
        "setup.py",
        "shard.lock",
        "shard.yml",
        "stack.yaml",
        "stack.yaml.lock",
        "uv.toml",
        "vcpkg.json",
        "verification-metadata.xml",
    }
)
_UNREAD_ENDINGS: Final = (".csproj", ".fsproj", ".vbproj", ".gemspec", ".cabal")
_REQUIREMENTS: Final = re.compile(r"(?:.*[-_.])?requirements(?:[-_.0-9].*)?\.(?:txt|in|pip|lock)\Z")
# Names that requirements have and other texts, too: what pip certainly refuses is one of those.
_PERHAPS: Final = re.compile(
    r"(?:.*/)?(?:requirements/.+|(?:[^/]*[-_.])?(?:constraints|requires|reqs)(?:[-_.0-9][^/]*)?)\.(?:txt|in|pip|lock)\Z"
)
_INCLUDED: Final = re.compile(r"(?:-r|-c|--requirement|--constraint)[\s=]*([^\s=]\S*)\Z")
_BAD: Final = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, JsonError, YamlError)


class LockError(CodedError):
    """A lock file or manifest that cannot be read. `code` is stable."""


@dataclass(frozen=True)
class LockDelta:
    """What a change does to what lock files and manifests say.

    Units: `files` are the paths compared, `unread` paths of formats that are not read, or of files that were malformed
    before the change; `malformed` maps paths that are malformed after it to why. What a `Pin` says begins with the
    file's path, quoted as in a URL.
    """

    added: frozenset[Pin] = frozenset()
    removed: frozenset[Pin] = frozenset()
    files: frozenset[str] = frozenset()
    unread: frozenset[str] = frozenset()
    malformed: tuple[tuple[str, str], ...] = ()


def is_lock_file(path: str) -> bool:
    """Whether a path is a lock file or manifest of a known kind, readable or not."""
    name = _name(path)
    return _reader_of(path) is not None or name in _UNREAD or name.endswith(_UNREAD_ENDINGS)


def delta_of(changes: Iterable[TreeChange], blobs: Mapping[str, bytes]) -> LockDelta:
    """What the changes between two trees do to lock files and manifests. Units: `blobs` maps blob ids to contents."""
    before, after = {}, {}
    for change in changes:
        if is_lock_file(change.path):
            if change.old_mode in FILE_MODES and change.old_blob in blobs:
                before[change.path] = blobs[change.old_blob]
            if change.new_mode in FILE_MODES and change.new_blob in blobs:
                after[change.path] = blobs[change.new_blob]
    return lock_delta(before, after)


def lock_delta(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> LockDelta:
    """Compare the changed lock files and manifests before and after; paths of other files are left out."""
    unread: set[str] = set()
    malformed: list[tuple[str, str]] = []
    sides: list[dict[tuple[str, str], str]] = []
    before, after = _without_other_texts(before), _without_other_texts(after)
    files = {*before, *after}
    for side in (before, after):
        said: dict[tuple[str, str], str] = {}
        for path in sorted(files & set(side)):
            place = _spelled(path)
            try:
                for pin in _read(path, side[path]):
                    said.setdefault((pin.purl, f"{place} {pin.said}" if pin.said else place), pin.licence)
            except LockError as error:
                if error.code == "lock.malformed" and side is after:
                    malformed.append((path, error.detail))
                else:
                    unread.add(path)
        sides.append(said)
    old, new = sides
    added = frozenset([Pin(*key, licence) for key, licence in new.items() if key not in old])
    settings = [pin for pin in added if not pin.purl]
    unread |= {path for pin in settings if (path := _included_by(pin)) and not is_lock_file(path)}
    return LockDelta(
        added=added,
        removed=frozenset([Pin(*key, licence) for key, licence in old.items() if key not in new]),
        files=frozenset(files - unread - {path for path, _ in malformed}),
        unread=frozenset(unread),
        malformed=tuple(malformed),
    )


def _without_other_texts(side: Mapping[str, bytes]) -> dict[str, bytes]:
    return {path: raw for path, raw in side.items() if is_lock_file(path) and not _is_other_text(path, raw)}


def read_lock_file(path: str, content: bytes) -> frozenset[Pin]:
    """What a lock file or manifest says.

    Raises: LockError("lock.unread") for a format out of reach, LockError("lock.malformed").
    """
    return frozenset(_read(path, content))


def _read(path: str, content: bytes) -> list[Pin]:
    reader = _reader_of(path)
    if reader is None:
        raise LockError("lock.unread", f"got {_name(path)}, a format that is not read")
    if len(content) > python.MAX_BYTES:
        raise LockError("lock.malformed", f"got {len(content)} bytes, expected at most {python.MAX_BYTES}")
    try:
        return list(reader(content))
    except _BAD as error:
        raise LockError("lock.malformed", _complaint(error, content)) from None


def _reader_of(path: str) -> Reader | None:
    name = _name(path)
    if name in _READERS:
        return _READERS[name]
    if name.startswith("pylock.") and name.endswith(".toml"):
        return _READERS["pylock.toml"]
    if name.startswith("pnpm-lock.") and name.endswith(".yaml"):  # one for each branch, where pnpm is told so
        return _READERS["pnpm-lock.yaml"]
    if name.endswith((".gemfile", ".gemfile.lock")):
        return native.gemfile if name.endswith(".gemfile") else native.gemfile_lock
    return requirements if _REQUIREMENTS.match(name) or _PERHAPS.match(path.lower()) else None


def _is_other_text(path: str, content: bytes) -> bool:
    """Whether a file that is called like requirements is text that nothing can be installed from."""
    name = _name(path)
    return _reader_of(path) is requirements and not _REQUIREMENTS.match(name) and is_prose(content)


def _included_by(pin: Pin) -> str:
    """The path that a new `-r` or `-c` of a requirements file names, as seen from the root; empty for others."""
    path, _, line = pin.said.partition(" ")
    match = _INCLUDED.match(line)
    if match is None or "://" in match[1] or _reader_of(unquote(path)) is not requirements:
        return ""
    return posixpath.normpath(posixpath.join(posixpath.dirname(unquote(path)), match[1]))


def _complaint(error: Exception, content: bytes) -> str:
    """What is wrong and where, without repeating what the file says: it may hold a secret."""
    if isinstance(error, JsonError):
        return error.code
    if isinstance(error, YamlError):
        return f"{error.code} in line {error.line}"
    at = content.find(str(error).encode()) if str(error) else -1
    return f"{type(error).__name__} in line {content.count(10, 0, at) + 1}" if at >= 0 else type(error).__name__


def _name(path: str) -> str:
    return path.rsplit("/", 1)[-1].lower()


def _spelled(path: str) -> str:
    return quote(path.encode("utf-8", "surrogateescape"), safe="/@+~-._()[]{}")
