"""What a workflow, action, script or Makefile calls: every path that its text could mean.

It names too much rather than too little: only what exists in the tree counts afterwards, and a path that is named
in vain costs one look of LEAD.

A Python program's imports are looked for in its own folder, where Python looks first.

Not checked: names put together at run time, wildcards among them; modules that a Python program imports from other
folders; folders that are symbolic links.
"""

from __future__ import annotations

import posixpath
import re
from typing import Final

_WORD: Final = re.compile(rb"[A-Za-z0-9_@.+/-]{1,200}")
# Names of other characters than those of a word: in quotes, or between the separators of a shell.
_QUOTED: Final = re.compile(rb"\"([^\"\n]{1,200})\"|'([^'\n]{1,200})'")
_UNQUOTED: Final = re.compile(rb"(?:\\ |[^\s\"'`;|&<>(){}\\]){1,200}")
# What stands for a folder that is known only at run time, most often the root of the tree.
_VARIABLE: Final = re.compile(rb"\$\{\{[^{}\n]{1,100}\}\}|\$\{[^{}\n]{1,100}\}|\$(?:env:)?[A-Za-z_]\w{0,99}|%\w{1,99}%")
_RUN: Final = re.compile(rb"\b(?:node|bun|deno|tsx|python[0-9.]{0,5}|uv[ ]run)[ \t]{1,4}([A-Za-z0-9_@.+/-]{1,200})")
_FOLDER: Final = re.compile(
    rb"(?:working-directory:|\bcd|\bpushd|--prefix|--cwd|--dir|\s-C)[\s=]{1,4}[\"']?(?:\./)?([A-Za-z0-9_.+/-]{1,200})"
)
_MODULE: Final = re.compile(rb"-m[ \t]{0,4}([A-Za-z_][A-Za-z0-9_.]{0,199})")
_IMPORT: Final = re.compile(rb"(?m)^[ \t]{0,40}(?:from|import)[ \t]{1,4}(\.{0,3}[A-Za-z_][A-Za-z0-9_.]{0,199})")
_MAX_FOLDERS: Final = 12
# Documents name paths without calling them. Requirements are text that pip follows.
_TOLD: Final = (".md", ".rst", ".adoc", ".svg", ".html", ".css", ".lock", ".csv", ".po")
_TOOLS: Final = {
    "make": ("Makefile", "makefile", "GNUmakefile"),
    "gmake": ("Makefile", "makefile", "GNUmakefile"),
    "npm": ("package.json",),
    "npx": ("package.json",),
    "pnpm": ("package.json",),
    "yarn": ("package.json",),
    "bun": ("package.json",),
    "tox": ("tox.ini", "pyproject.toml", "setup.cfg"),
    "nox": ("noxfile.py",),
    "just": ("justfile", "Justfile", ".justfile"),
    "task": ("Taskfile.yml", "Taskfile.yaml"),
    "rake": ("Rakefile",),
    "pytest": ("conftest.py", "pytest.ini", "pyproject.toml", "setup.cfg", "tox.ini"),
    "pre-commit": (".pre-commit-config.yaml",),
    "lefthook": ("lefthook.yml",),
    "docker": ("Dockerfile", "docker-compose.yml", "compose.yaml", "compose.yml"),
    "pip": ("setup.py", "setup.cfg", "pyproject.toml"),
    "uv": ("pyproject.toml", "uv.lock"),
    "poetry": ("pyproject.toml", "poetry.lock"),
}


def called_by(path: str, content: bytes) -> set[str]:
    """Paths from the root of the tree that `content`, the file at `path`, could call."""
    if path.lower().endswith(_TOLD) or b"\0" in content:
        return set()
    own = posixpath.dirname(path)
    plain = _VARIABLE.sub(b".", content)
    words = {
        word.decode("ascii") for text in (content, plain, plain.replace(b"\\", b"/")) for word in _WORD.findall(text)
    }
    folders = [_plain(match.decode("ascii")) for match in _FOLDER.findall(plain)][:_MAX_FOLDERS]
    names = words | _unusual(plain)
    for match in _RUN.findall(plain):
        told = match.decode("ascii").rstrip("/")
        names.update(told + suffix for suffix in (".js", ".mjs", ".cjs", ".ts", "/index.js", "/__main__.py"))
    for word in words:
        names.update(_TOOLS.get(word, ()))
        if word.startswith(("./", "../")):
            names.update(f"{word}/action.y{letters}ml" for letters in ("", "a"))
            names.update(word + suffix for suffix in (".js", ".mjs", ".cjs", ".ts", "/index.js"))
    for match in _MODULE.findall(content):
        names.update(_module(match.decode("ascii")))
    found = {_plain(name) for name in names}
    if path.endswith(".py"):
        for match in _IMPORT.findall(content):
            found |= {_plain(f"{own}/{name}") for name in _module(match.decode("ascii").lstrip("."))}
    for folder in {own, *folders}:
        if folder:
            found |= {_plain(f"{folder}/{name.lstrip('/')}") for name in names}
    return {name for name in found if name and not name.startswith("..")}


def _unusual(content: bytes) -> set[str]:
    """Names with spaces, letters that are not ASCII, or punctuation."""
    found = {one or other for one, other in _QUOTED.findall(content)}
    found |= {name.replace(b"\\ ", b" ") for name in _UNQUOTED.findall(content)}
    return {name.decode("utf-8", "surrogateescape") for name in found if not _WORD.fullmatch(name)}


def _module(dotted: str) -> tuple[str, ...]:
    stem = dotted.replace(".", "/").strip("/")
    return f"{stem}.py", f"{stem}/__main__.py", f"{stem}/__init__.py"


def _plain(name: str) -> str:
    """A path from the root: what a variable stood before (`$ROOT/x`) is taken for the root."""
    plain = posixpath.normpath(name.lstrip("/")) if name.strip("/") else ""
    return "" if plain == "." else plain
