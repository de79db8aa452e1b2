"""Python: pyproject.toml, setup.cfg, Pipfile; lock files of pip, Pipenv, Poetry, uv, PDM.

Source: PEP 517, 621, 735, 751; the tools' own pages.
"""

from __future__ import annotations

import configparser
import contextlib
import re
import tomllib
from collections.abc import Callable, Iterator
from typing import Final

from audit.canonical import parse_json
from handoffs.packages.pins import Pin, array, artifacts, pin, setting, spelled, table, text
from handoffs.packages.requirements import requirement

MAX_BYTES: Final = 64 << 20
_EXACT: Final = re.compile(r"(?:===?\s*)?(\d[A-Za-z0-9.!+_-]*)\Z")
_COMMENT: Final = re.compile(r"(?:^|\s)#.*$")
_LONG_GAP: Final = re.compile(r"\s{200}")
_NEEDS: Final = re.compile(r"(?:^|[.-])(?:dependencies|requires|requires-plugins|deps|plugins|overrides|sources)\Z")
_READ_ABOVE: Final = re.compile(
    r"(?:poetry\.(?:group\.[^.]+\.)?(?:dev-)?dependencies|uv\.(?:(?:dev|constraint|override|build-constraint)-dependencies"
    r"|sources)|pdm\.dev-dependencies|hatch\.envs\.[^.]+\.(?:extra-)?dependencies)\Z"
)
_LOCAL: Final = frozenset({"virtual", "editable", "directory"})
_INDEXED: Final = frozenset({"registry", "git"})
_REMOTE: Final = frozenset({"url", "git", "hg", "svn", "bzr", "vcs", "archive", "sdist", "wheels"})
_DIRECT: Final = (
    "git",
    "hg",
    "svn",
    "url",
    "file",
    "path",
    "ref",
    "revision",
    "editable",
    "subdirectory",
    "vcs",
    "index",
)


def pyproject(content: bytes) -> Iterator[Pin]:
    """pyproject.toml: the standard tables, and those of Poetry, uv, PDM and Hatch."""
    document = tomllib.loads(content.decode("utf-8"))
    project, tool = table(document.get("project", {})), table(document.get("tool", {}))
    yield from _requirement_list(project.get("dependencies", []), "dependencies")
    yield from _requirement_lists(project.get("optional-dependencies", {}), "optional-dependencies")
    yield from _requirement_lists(document.get("dependency-groups", {}), "dependency-groups")
    yield from _requirement_list(table(document.get("build-system", {})).get("requires", []), "build-system")
    poetry, uv, pdm = (table(tool.get(name, {})) for name in ("poetry", "uv", "pdm"))
    yield from _poetry_table(poetry.get("dependencies", {}), "dependencies")
    yield from _poetry_table(poetry.get("dev-dependencies", {}), "dev-dependencies")
    for name, group in table(poetry.get("group", {})).items():
        yield from _poetry_table(table(group).get("dependencies", {}), f"group.{name}")
    for key in (
        "dev-dependencies",
        "constraint-dependencies",
        "override-dependencies",
        "build-constraint-dependencies",
    ):
        yield from _requirement_list(uv.get(key, []), f"uv.{key}")
    yield from _requirement_lists(pdm.get("dev-dependencies", {}), "pdm.dev-dependencies")
    for name, found in table(uv.get("sources", {})).items():
        yield pin("pypi", name, "", "uv.sources", spelled(found))
    for owner, key, found in (
        ("poetry", "source", poetry.get("source", [])),
        ("uv", "index", uv.get("index", [])),
        ("uv", "pip", uv.get("pip", [])),
        *(("uv", key, found) for key, found in uv.items() if key.endswith("-url")),
        ("uv", "find-links", uv.get("find-links", [])),
        ("pdm", "source", pdm.get("source", [])),
        ("setuptools", "dynamic", table(tool.get("setuptools", {})).get("dynamic", [])),
    ):
        for item in found if isinstance(found, list) else [found]:
            yield setting(f"{owner}.{key}", spelled(item))
    for name, env in table(table(tool.get("hatch", {})).get("envs", {})).items():
        for key in ("dependencies", "extra-dependencies"):
            yield from _requirement_list(table(env).get(key, []), f"hatch.{name}")
    yield from _other_tools(tool)


def _other_tools(tool: dict[str, object]) -> Iterator[Pin]:
    """What else stands below `tool` and by its name is about packages: of tools that are not known here, too."""
    waiting: list[tuple[str, object]] = list(tool.items())
    while waiting:
        path, value = waiting.pop()
        if not _NEEDS.search(path):
            waiting += [(f"{path}.{key}", part) for key, part in value.items()] if isinstance(value, dict) else []
        elif not _READ_ABOVE.match(path):
            yield from (_perhaps(path, item) for item in (value if isinstance(value, list) else [value]))


def _perhaps(path: str, item: object) -> Pin:
    """An item of such a list: a requirement if it can be one."""
    if isinstance(item, str) and path.endswith(("dependencies", "requires")):
        with contextlib.suppress(ValueError):
            return requirement(item.strip(), path)
    return setting(path, spelled(item))


def setup_cfg(content: bytes) -> Iterator[Pin]:
    """setup.cfg: what [options] and its extras require."""
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=", ":"))
    told = content.decode("utf-8").replace("\r", "\n")
    if _LONG_GAP.search(told):
        raise ValueError("a long gap, which takes the parser long")
    try:
        parser.read_string(told)
    except configparser.Error as error:
        raise ValueError(type(error).__name__) from None
    listed = [
        (key, parser.get("options", key, fallback=""))
        for name in ("install_requires", "setup_requires", "tests_require")
        for key in (name, name.replace("_", "-"))
    ]
    if parser.has_section("options.extras_require"):
        listed += [(f"extras_require.{key}", value) for key, value in parser.items("options.extras_require")]
    for section, value in listed:
        if value.strip().startswith(("file:", "attr:")):
            yield setting(section, value)
            continue
        for line in value.splitlines() if "\n" in value else value.split(";"):
            wanted = _COMMENT.sub("", line).strip()
            if wanted:
                yield requirement(wanted, section)


def pipfile(content: bytes) -> Iterator[Pin]:
    """Pipfile: its categories of packages, and its sources."""
    document = tomllib.loads(content.decode("utf-8"))
    for name, section in document.items():
        if name == "source":
            yield from (setting("source", spelled(item)) for item in array(section))
        elif name not in {"requires", "scripts", "pipenv"}:
            yield from _poetry_table(section, name)


def pipfile_lock(content: bytes) -> Iterator[Pin]:
    """Pipfile.lock: every category but its own notes."""
    document = table(parse_json(content, max_bytes=MAX_BYTES))
    for source in array(table(document.get("_meta", {})).get("sources", [])):
        yield setting("source", spelled(source))
    for section, packages in document.items():
        for name, entry in table(packages).items() if section != "_meta" else ():
            package = table(entry)
            said = [f"{key}={spelled(package[key])}" for key in (*_DIRECT, "markers", "extras") if key in package]
            version = text(package.get("version", "")).removeprefix("==")
            yield pin("pypi", name, version, section, *said, artifacts(package.get("hashes")))


def toml_lock(kind: str, key: str = "package") -> Callable[[bytes], Iterator[Pin]]:
    """A reader of poetry.lock, uv.lock, pdm.lock, pylock.toml or Cargo.lock."""

    def read(content: bytes) -> Iterator[Pin]:
        document = tomllib.loads(content.decode("utf-8"))
        metadata = table(document.get("metadata", {}))
        listed = table(metadata.get("files", {})) if kind == "pypi" else {}
        for entry in array(document.get(key, [])):
            package = table(entry)
            name, source = text(package["name"]), package.get("source", "")
            origin = spelled(source) or " ".join(f"{at}={spelled(package[at])}" for at in _DIRECT if package.get(at))
            if "directory" in package:
                origin = f"directory={spelled(package['directory'])}"
            if _is_local(kind, package):
                yield setting("local", name, origin)
                continue
            found = (package.get(at) for at in ("files", "sdist", "wheels", "checksum", "archive", "hashes"))
            checksum = metadata.get(f"checksum {name} {package.get('version')} ({source})")
            files = artifacts(*found, listed.get(name), checksum)
            yield pin(kind, name, text(package.get("version", "")), origin, files)

    return read


def _is_local(kind: str, package: dict[str, object]) -> bool:
    """Whether the entry is a part of this repository: the project itself, a member, a folder."""
    source = package.get("source", "")
    if kind == "cargo":
        return not source
    if isinstance(source, dict) and source:
        is_folder = source.get("type") == "directory" and "://" not in spelled(source) and not source.keys() & _INDEXED
        return source.keys() <= _LOCAL or is_folder
    return bool(package.keys() & {"directory", "path"}) and not package.keys() & _REMOTE


def _requirement_list(value: object, section: str) -> Iterator[Pin]:
    for item in array(value):
        if isinstance(item, dict):
            yield setting(section, spelled(item))
        else:
            yield requirement(text(item).strip(), section)


def _requirement_lists(value: object, section: str) -> Iterator[Pin]:
    for name, items in table(value).items():
        yield from _requirement_list(items, f"{section}.{name}")


def _poetry_table(value: object, section: str) -> Iterator[Pin]:
    """Name to version, table, or list of tables, as Poetry and Pipenv write them."""
    for name, wanted in table(value).items():
        for item in wanted if isinstance(wanted, list) else [wanted]:
            if not isinstance(item, str | dict):
                raise TypeError(name)
            if section == "dependencies" and name == "python":
                yield setting(section, "python", spelled(item))
                continue
            told = text(item if isinstance(item, str) else item.get("version", ""))
            exact = _EXACT.match(told)
            rest = {key: part for key, part in item.items() if key != "version"} if isinstance(item, dict) else {}
            said = "" if exact else told
            yield pin("pypi", name, exact[1] if exact and "*" not in told else "", section, said, spelled(rest))
