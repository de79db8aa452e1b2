"""Go, Cargo, RubyGems and Composer: go.mod, go.sum, Cargo.toml, Gemfile, Gemfile.lock, composer.json, composer.lock.

A Gemfile is a program. Its lines are not run: a `gem` line is read, every other line is kept word for word as a
setting, so that none can change without the SBOM saying so; comments too: within a text of several lines they are none.
Source: the Go Modules Reference; the Cargo Book, "Specifying Dependencies"; Bundler's gemfile(5).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Final

from audit.canonical import parse_json
from handoffs.packages.pins import Pin, array, pin, setting, spelled, table, text

MAX_BYTES: Final = 64 << 20
_GO_VERSION: Final = re.compile(r"v\d[0-9A-Za-z.+-]*\Z")
_GO_BLOCK: Final = re.compile(r"([a-z]+)\s*\(\Z")
_GO_WORDS: Final = frozenset(
    {"module", "go", "toolchain", "godebug", "require", "exclude", "replace", "retract", "tool", "ignore"}
)
_GEM_SOURCES: Final = frozenset({"GEM", "GIT", "PATH", "PLUGIN SOURCE"})
_GEM_ENTRY: Final = re.compile(r"    ([A-Za-z0-9._-]+) \(([^()\s]+)\)\Z")
_GEM_FIELD: Final = re.compile(r"  ([a-z]+): ?(.*)\Z")
_GEM_NEED: Final = re.compile(r"      [A-Za-z0-9._-]+!?(?: \([^()]*\))?\Z")
_GEM_LINE: Final = re.compile(r"""gem[ (]\s*(['"])([A-Za-z0-9._-]+)\1\s*(.*?)\)?\Z""")
_GEM_BLOCK: Final = re.compile(
    r"(?:.*\bdo(?:\s*\|[^|]*\|)?|(?:if|unless|case|begin|def|class|module|while|until|for)\b.*)\Z"
)
_MAX_BLOCKS: Final = 50
_MAX_BLOCK_LINE: Final = 200
_MAX_FIELDS: Final = 20
_MAX_FIELD_LINE: Final = 1_000
_CARGO: Final = ("dependencies", "dev-dependencies", "build-dependencies")
_CARGO_OLD: Final = ("dev_dependencies", "build_dependencies")
_CARGO_EXACT: Final = re.compile(r"=\s*(\d+\.\d+\.\d+[0-9A-Za-z.+-]*)\Z")


def go_mod(content: bytes) -> Iterator[Pin]:
    """go.mod: what it requires, replaces and excludes; everything else but its own name is a setting."""
    block = ""
    for raw in content.decode("utf-8").split("\n"):
        line = re.split(r"(?:^|\s)//", raw, maxsplit=1)[0].strip()
        opened = _GO_BLOCK.match(line)
        if not line:
            continue
        if block and line == ")":
            block = ""
        elif not block and opened:
            block = opened[1]
        else:
            words = [_unquoted(word) for word in line.split()]
            word, rest = (block, words) if block else (words[0], words[1:])
            if word not in _GO_WORDS or not rest or "(" in line or ")" in line:
                raise ValueError(line)
            yield from _go_line(word, rest)
    if block:
        raise ValueError("an open block")


def go_sum(content: bytes) -> Iterator[Pin]:
    """go.sum: the modules with the digest of their content; the digests of their go.mod alone are left out."""
    for line in content.decode("utf-8").split("\n"):
        if line.strip():
            module, version, digest = line.split()
            if not version.endswith("/go.mod"):
                yield pin("golang", module, version, digest)


def cargo_toml(content: bytes) -> Iterator[Pin]:
    """Cargo.toml: every table of dependencies, also of targets and the workspace, and what is patched."""
    document = tomllib.loads(content.decode("utf-8"))
    tables = [(key, document.get(key, {})) for key in (*_CARGO, *_CARGO_OLD, "replace")]
    tables.append(("workspace", table(document.get("workspace", {})).get("dependencies", {})))
    tables += [(f"patch.{source}", found) for source, found in table(document.get("patch", {})).items()]
    for target, found in table(document.get("target", {})).items():
        tables += [(f"target.{target}.{key}", table(found).get(key, {})) for key in (*_CARGO, *_CARGO_OLD)]
    for section, listed in tables:
        for name, wanted in table(listed).items():
            told = {"version": wanted} if isinstance(wanted, str) else dict(table(wanted))
            real = text(told.pop("package", name))
            version = text(told.pop("version", ""))
            exact = _CARGO_EXACT.match(version)
            said = (f"as {name}" if real != name else "", "" if exact else version, spelled(told))
            yield pin("cargo", real.partition(":")[0], exact[1] if exact else "", section, *said)


def gemfile(content: bytes) -> Iterator[Pin]:
    """Gemfile: its `gem` lines with the blocks they stand in, and every other line as it is."""
    around: list[str] = []
    parts: list[str] = []
    for raw in [*content.decode("utf-8").split("\n"), "# end"]:
        part = raw.strip()
        if raw != "# end" and part.startswith("#"):
            yield setting(part)
            continue
        if raw == "# end" or not part:
            part = ""
        else:
            parts.append(part)
            if part.endswith((",", "\\")):
                continue
        if not parts or (not part and raw != "# end"):
            continue
        line, parts = " ".join(parts), []
        match = _GEM_LINE.match(line)
        if match:
            yield pin("gem", match[2], "", *around, match[3].lstrip(", "))
        else:
            yield setting(*around, line)
        if line == "end" and around:
            around.pop()
        elif not match and _GEM_BLOCK.match(line):
            around.append(line[:_MAX_BLOCK_LINE])
            if len(around) > _MAX_BLOCKS:
                raise ValueError("nested too deep")


def gemfile_lock(content: bytes) -> Iterator[Pin]:
    """Gemfile.lock: the gems of every source; each line must be of a form Bundler writes."""
    sections: list[tuple[str, list[str]]] = []
    for raw in content.decode("utf-8").split("\n"):
        line = raw.removesuffix("\r")
        if re.fullmatch(r"[A-Z][A-Z ]*", line):
            sections.append((line.rstrip(), []))
        elif line.strip():
            if line[0] != " " or not sections:
                raise ValueError(line)
            sections[-1][1].append(line)
    digests: dict[str, str] = {}
    for line in [line for name, lines in sections if name == "CHECKSUMS" for line in lines]:
        name, _, digest = line.strip().partition(")")
        digests[f"{name})"] = digest.strip()
    for name, lines in sections:
        if name in _GEM_SOURCES:
            yield from _gems(name.lower(), lines, digests)


def _gems(kind: str, lines: list[str], digests: dict[str, str]) -> Iterator[Pin]:
    """The gems of one source, which is named before them."""
    source: list[str] = []
    for line in lines:
        entry, told = _GEM_ENTRY.match(line), _GEM_FIELD.match(line)
        if entry and kind == "path":
            yield setting("local", entry[1], *source)
        elif entry:
            yield pin("gem", entry[1], entry[2], kind, *source, digests.get(f"{entry[1]} ({entry[2]})", ""))
        elif told and len(source) < _MAX_FIELDS and len(line) <= _MAX_FIELD_LINE:
            source += [f"{told[1]}={told[2]}"] if told[1] != "specs" else []
        elif not _GEM_NEED.match(line):
            raise ValueError(line)


def composer_json(content: bytes) -> Iterator[Pin]:
    """composer.json: what it requires, replaces and forbids, and its repositories."""
    document = table(parse_json(content, max_bytes=MAX_BYTES))
    for section in ("require", "require-dev", "replace", "provide", "conflict"):
        for name, wanted in table(document.get(section, {})).items():
            yield pin("composer", name, "", section, text(wanted))
    if "repositories" in document:
        yield setting("repositories", spelled(document["repositories"]))


def composer_lock(content: bytes) -> Iterator[Pin]:
    """composer.lock, with the licence each package names."""
    document = table(parse_json(content, max_bytes=MAX_BYTES))
    for section in ("packages", "packages-dev"):
        for entry in array(document.get(section, [])):
            package = table(entry)
            origin = [spelled(package[key]) for key in ("dist", "source") if key in package]
            licences = [text(item) for item in array(package.get("license", []))]
            licence = " OR ".join(licences) if licences else ""
            yield pin("composer", text(package["name"]), text(package["version"]), section, *origin, licence=licence)


def _go_line(word: str, rest: list[str]) -> Iterator[Pin]:
    if word in {"require", "exclude"}:
        if len(rest) != 2 or not _GO_VERSION.match(rest[1]):
            raise ValueError(" ".join(rest))
        yield pin("golang", rest[0], rest[1], "" if word == "require" else word)
    elif word == "replace":
        at = rest.index("=>")
        old, new = rest[:at], rest[at + 1 :]
        if not 1 <= len(old) <= 2 or not 1 <= len(new) <= 2:
            raise ValueError(" ".join(rest))
        if len(new) == 2:
            yield pin("golang", new[0], new[1], "replaces", *old)
        else:
            yield pin("golang", old[0], old[1] if len(old) == 2 else "", "replaced by", *new)
    elif word != "module":
        yield setting(word, *rest)


def _unquoted(word: str) -> str:
    for quote in ('"', "`"):
        if word.startswith(quote):
            inner = word[1:-1]
            if len(word) < 3 or not word.endswith(quote) or quote in inner or "\\" in inner:
                raise ValueError(word)
            return inner
    return word
