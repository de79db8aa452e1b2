"""Which changed paths steer the gates themselves: workflows, owners, instructions for agents, policies.

They do not make a bundle wrong; they raise who must approve it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_FOLDERS: Final = (
    (".github/workflows/", "workflow"),
    (".github/actions/", "action"),
    (".github/", "repository settings"),
    (".gitlab/", "repository settings"),
    (".circleci/", "workflow"),
    (".ci/", "workflow"),
    (".buildkite/", "workflow"),
    (".leo/", "policy"),
    ("policies/", "policy"),
    ("policy/", "policy"),
    (".husky/", "hook"),
    (".githooks/", "hook"),
    ("hooks/", "hook"),
    (".claude/", "agent instructions"),
    (".cursor/", "agent instructions"),
    (".codex/", "agent instructions"),
    (".gemini/", "agent instructions"),
    (".windsurf/", "agent instructions"),
    (".continue/", "agent instructions"),
    (".aider/", "agent instructions"),
    (".devcontainer/", "development container"),
)
_NAMES: Final = {
    "codeowners": "code owners",
    "claude.md": "agent instructions",
    "agents.md": "agent instructions",
    "gemini.md": "agent instructions",
    ".cursorrules": "agent instructions",
    ".windsurfrules": "agent instructions",
    ".clinerules": "agent instructions",
    ".aider.conf.yml": "agent instructions",
    "copilot-instructions.md": "agent instructions",
    ".mcp.json": "agent instructions",
    "action.yml": "action",
    "action.yaml": "action",
    ".gitlab-ci.yml": "workflow",
    ".travis.yml": "workflow",
    "azure-pipelines.yml": "workflow",
    "jenkinsfile": "workflow",
    "bitbucket-pipelines.yml": "workflow",
    ".pre-commit-config.yaml": "hook",
    "lefthook.yml": "hook",
    ".gitattributes": "repository settings",
    ".gitmodules": "repository settings",
    ".npmrc": "package source",
    ".pypirc": "package source",
    "pip.conf": "package source",
    ".yarnrc.yml": "package source",
    "policy.yml": "policy",
    "policy.yaml": "policy",
}
_TOOLS: Final = {
    "make": ("makefile", "gnumakefile"),
    "npm": ("package.json",),
    "pnpm": ("package.json",),
    "yarn": ("package.json",),
    "tox": ("tox.ini",),
    "nox": ("noxfile.py",),
    "just": ("justfile",),
    "pytest": ("conftest.py",),
}
_WORDS: Final = re.compile(rb"[A-Za-z0-9_./-]{2,200}")


def classify_path(path: str) -> str:
    """What a path steers, in words; empty for ordinary paths. Case does not matter."""
    lowered = path.lower()
    for folder, what in _FOLDERS:
        if lowered.startswith(folder) or (folder.startswith(".") and f"/{folder}" in lowered):
            return what
    name = lowered.rsplit("/", 1)[-1]
    if name.endswith((".instructions.md", ".prompt.md")):
        return "agent instructions"
    if lowered.startswith("requirements/ci") or name in {"requirements-ci.txt", "ci-requirements.txt", "ci.lock"}:
        return "lock file of the gates"
    return _NAMES.get(name, "")


def control_plane_paths(paths: Iterable[str], workflows: Iterable[bytes]) -> dict[str, str]:
    """The paths that steer the gates, each with what it is: by name, or because a workflow calls it.

    Not checked: scripts that other scripts call, and paths a workflow puts together at run time.
    """
    called: set[str] = set()
    for text in workflows:
        words = {word.decode("ascii").lower().removeprefix("./") for word in _WORDS.findall(text)}
        called |= words
        called |= {name for tool, names in _TOOLS.items() if tool in words for name in names}
    found: dict[str, str] = {}
    for path in sorted(set(paths)):
        what = classify_path(path)
        lowered = path.lower()
        if not what and (lowered in called or ("/" not in lowered and lowered.rsplit("/", 1)[-1] in called)):
            what = "called by a workflow"
        if what:
            found[path] = what
    return found
