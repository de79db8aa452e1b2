"""JavaScript: package.json, package-lock.json of npm, pnpm-lock.yaml, yarn.lock of both generations.

Source: npm's package-lock.json page (lockfileVersion 1 to 3); pnpm's lock file versions 5 to 9; Yarn's lock files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from audit.canonical import parse_json
from handoffs.packages.pins import Pin, pin, setting, spelled, table, text
from handoffs.strict_yaml import parse_yaml_text

MAX_BYTES: Final = 64 << 20
_SECTIONS: Final = ("dependencies", "devDependencies", "peerDependencies", "optionalDependencies")
_RULES: Final = ("overrides", "resolutions", "pnpm", "workspaces")
_EXACT: Final = re.compile(r"[=v]*(\d+\.\d+\.\d+(?:[-+][0-9A-Za-z.+-]+)?)\Z")
_ALIAS: Final = re.compile(r"npm:((?:@[^@/]+/)?[^@/]+)(?:@(.*))?\Z")
_PLACE: Final = re.compile(r"(?:.*/)?node_modules/((?:@[^/]+/)?[^/@]+)\Z")
_PNPM_5: Final = re.compile(r"/((?:@[^/]+/)?[^/]+)/(\d[^/_(]*)(?:_.*)?\Z")
_PNPM_6: Final = re.compile(r"/?((?:@[^@/]+/)?[^@/]+)@([^(]+)(?:\(.*)?\Z")
_LOCATOR: Final = re.compile(r"((?:@[^@/]+/)?[^@/]+)@(.+)\Z")
_BERRY: Final = frozenset(
    {"version", "resolution", "checksum", "conditions", "languageName", "linkType", "bin", "dependencies",
     "dependenciesMeta", "optionalDependencies", "peerDependencies", "peerDependenciesMeta"}
)  # fmt: skip
_YARN_KEY: Final = re.compile(r'"([^"\\]+)"|([^\s",:]+)')
_YARN_FIELD: Final = re.compile(r'  (version|resolved|integrity|uid) (?:"([^"\\]*)"|([^"\s]\S*))\Z')
_YARN_NESTED: Final = re.compile(r"  (dependencies|optionalDependencies):\Z")
_YARN_NEEDED: Final = re.compile(r'    (?:"[^"\\]+"|[^"\s]+) (?:"[^"\\]*"|[^"\s]\S*)\Z')


def package_json(content: bytes) -> Iterator[Pin]:
    """package.json: every section of dependencies, the rules that override them, and the package manager it names."""
    document = table(parse_json(content, max_bytes=MAX_BYTES))
    for section in _SECTIONS:
        for name, wanted in table(document.get(section, {})).items():
            yield _wanted(section, name, text(wanted))
    for rule in _RULES:
        if rule in document:
            yield setting(rule, spelled(document[rule]))
    if "packageManager" in document:
        name, _, version = text(document["packageManager"]).partition("@")
        plain, _, digest = version.partition("+")
        yield pin("npm", name, plain, "packageManager", digest)


def npm_lock(content: bytes) -> Iterator[Pin]:
    """package-lock.json and npm-shrinkwrap.json; both halves of version 2, since npm 6 reads the other one."""
    document = table(parse_json(content, max_bytes=MAX_BYTES, max_depth=200))
    if document.get("lockfileVersion", 1) not in {1, 2, 3}:
        raise ValueError("lockfileVersion")
    for place, entry in table(document.get("packages", {})).items():
        package, match = table(entry), _PLACE.match(place)
        if match is None and "node_modules" in place.split("/"):
            raise ValueError(place)
        if package.get("link") is True:
            yield setting("local", place, spelled(package.get("resolved", "")))
        elif match is not None:
            yield _locked(match[1], package)
    waiting = [table(document.get("dependencies", {}))]
    while waiting:
        for name, entry in waiting.pop().items():
            package = table(entry)
            version = text(package["version"])
            alias = _ALIAS.match(version)
            if version.startswith(("file:", "link:")) and "integrity" not in package:
                yield setting("local", name, version)
            elif alias:
                yield _locked(name, {**package, "name": alias[1], "version": alias[2]})
            else:
                yield _locked(name, package)
            waiting.append(table(package.get("dependencies", {})))


def pnpm_lock(content: bytes) -> Iterator[Pin]:
    """pnpm-lock.yaml, versions 5 to 9."""
    document = table(parse_yaml_text(content, max_bytes=MAX_BYTES))
    major = text(document.get("lockfileVersion", "")).partition(".")[0]
    if major not in {"5", "6", "7", "8", "9"}:
        raise ValueError("lockfileVersion")
    for key, entry in table(document.get("packages", {})).items():
        package = table(entry)
        resolution = table(package.get("resolution", {}))
        match = (_PNPM_5 if major == "5" else _PNPM_6).match(key)
        name = text(package["name"]) if "name" in package else (match[1] if match else "")
        told = match[2] if match else ""
        version = text(package.get("version", "")) or (told if told[:1].isdigit() else "")
        if "directory" in resolution:
            yield setting("local", name or key, spelled(resolution))
            continue
        said = "" if version == told else key.partition("(")[0]
        yield pin("npm", name, version, said, spelled(resolution))
    for rule in ("overrides", "patchedDependencies", "catalogs", "packageExtensionsChecksum", "pnpmfileChecksum"):
        if rule in document:
            yield setting(rule, spelled(document[rule]))


def yarn_lock(content: bytes) -> Iterator[Pin]:
    """yarn.lock: YAML from Yarn 2 on, Yarn's own form before."""
    if re.search(rb"^__metadata:", content, re.MULTILINE):
        return _berry(content)
    return _classic(content)


def _berry(content: bytes) -> Iterator[Pin]:
    for key, entry in table(parse_yaml_text(content, max_bytes=MAX_BYTES)).items():
        package = table(entry)
        if key == "__metadata":
            continue
        match = _LOCATOR.match(text(package["resolution"]))
        if match is None or not package.keys() <= _BERRY:
            raise ValueError(key)
        protocol, _, rest = match[2].partition(":")
        version = text(package["version"])
        if protocol in {"workspace", "link", "portal"}:
            yield setting("local", match[0])
            continue
        is_plain = protocol == "npm" and rest == version
        said = "" if is_plain else match[0]
        yield pin("npm", match[1], version, said, text(package.get("checksum", "")), _conditions(package))


def _conditions(package: dict[str, object]) -> str:
    return spelled(package["conditions"]) if "conditions" in package else ""


def _classic(content: bytes) -> Iterator[Pin]:
    """Every line must be of the few forms Yarn writes."""
    keys: list[str] = []
    fields: dict[str, str] = {}
    for raw in [*content.decode("utf-8").split("\n"), "end:"]:
        line = raw.removesuffix("\r")
        if not line or line.startswith("#"):
            continue
        field = _YARN_FIELD.match(line)
        if not line.startswith(" "):
            if keys:
                yield _classic_entry(keys, fields)
            keys, fields = _classic_keys(line), {}
        elif field and keys and field[1] not in fields:
            fields[field[1]] = field[2] if field[2] is not None else field[3]
        elif not (keys and (_YARN_NESTED.match(line) or _YARN_NEEDED.match(line))):
            raise ValueError(line)


def _classic_keys(line: str) -> list[str]:
    keys: list[str] = []
    at = 0
    while match := _YARN_KEY.match(line, at):
        keys.append(match[1] or match[2])
        at = match.end() + 2
        if line[match.end() :] == ":":
            return keys
        if line[match.end() : at] != ", ":
            break
    raise ValueError(line)


def _classic_entry(keys: list[str], fields: dict[str, str]) -> Pin:
    """The package of one entry; its keys may be aliases of it."""
    names, wanted = set(), []
    for key in keys:
        match = _LOCATOR.match(key)
        if match is None:
            raise ValueError(key)
        wanted.append(match[2])
        alias = _ALIAS.match(match[2])
        names.add(alias[1] if alias else match[1])
    resolved = fields.get("resolved", "")
    if len(names) != 1 or "version" not in fields:
        raise ValueError(keys[0])
    version, integrity = fields["version"], fields.get("integrity", "")
    if not resolved and all(place.startswith(("file:", "link:")) for place in wanted):
        return setting("local", keys[0])
    return pin("npm", names.pop(), version, resolved, integrity)


def _locked(place: str, package: dict[str, object]) -> Pin:
    """One installed package of npm's lock file; the folder's name may be an alias."""
    name = text(package.get("name", place))
    version = text(package.get("version", ""))
    source = ""
    if version and not version[0].isdigit():
        version, source = "", version
    resolved = text(package["resolved"]) if isinstance(package.get("resolved"), str) else ""
    licence = package.get("license", "")
    said = (f"as {place}" if name != place else "", source, resolved, text(package.get("integrity", "")))
    return pin("npm", name, version, *said, licence=licence if isinstance(licence, str) else "")


def _wanted(section: str, name: str, wanted: str) -> Pin:
    """One line of a section of package.json."""
    alias = _ALIAS.match(wanted)
    said = f"as {name}" if alias else ""
    if alias:
        name, wanted = alias[1], alias[2] or ""
    exact = _EXACT.match(wanted)
    return pin("npm", name, exact[1] if exact else "", section, said, "" if exact else wanted)
