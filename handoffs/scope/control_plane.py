"""What raises the approvals of a change: paths that steer the gates, content nobody can review, gates that cannot fail.

None of it makes a bundle wrong; the policy says for each kind whether LEAD decides or the bundle is refused. What
counts is the tree that the change makes, not the text of the patch.
Source: product.md section 3 (scope); GATE-10, GATE-11, PAT-01, PAT-07 and PAT-11 of the threat list.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from handoffs.bundles.paths import escape_text

MAX_RAISED: Final = 100
_CI: Final = "run by build and test tools"
_FOLDERS: Final = (
    (".github/workflows/", "workflow"),
    (".github/actions/", "action"),
    (".github/", "repository settings"),
    (".gitlab/", "repository settings"),
    (".gitea/", "workflow"),
    (".forgejo/", "workflow"),
    (".circleci/", "workflow"),
    (".ci/", "workflow"),
    (".buildkite/", "workflow"),
    (".woodpecker/", "workflow"),
    (".teamcity/", "workflow"),
    (".semaphore/", "workflow"),
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
    (".clinerules/", "agent instructions"),
    (".roo/", "agent instructions"),
    (".kiro/", "agent instructions"),
    (".junie/", "agent instructions"),
    (".amazonq/", "agent instructions"),
    (".augment/", "agent instructions"),
    (".kilocode/", "agent instructions"),
    (".opencode/", "agent instructions"),
    (".qwen/", "agent instructions"),
    (".trae/", "agent instructions"),
    (".agent/", "agent instructions"),
    (".agents/", "agent instructions"),
    (".devcontainer/", "development container"),
    (".vscode/", "run by editors"),
    (".idea/", "run by editors"),
    (".zed/", "run by editors"),
    (".yarn/", "package source"),
    (".bundle/", "package source"),
    (".cargo/", _CI),
    (".mvn/", _CI),
    ("gradle/wrapper/", _CI),
)
_NAMES: Final = {
    **dict.fromkeys(("codeowners", "owners"), "code owners"),
    **dict.fromkeys(
        ("claude.md", "claude.local.md", "agents.md", "agent.md", "gemini.md", "llms.txt", "copilot-instructions.md",
         "agents.override.md", "crush.md", "qwen.md", "warp.md", "skill.md", ".goosehints", ".rules", ".roomodes",
         "opencode.json", ".cursorignore", ".aiderignore",
         ".cursorrules", ".windsurfrules", ".clinerules", ".roorules", ".aider.conf.yml", ".mcp.json"),
        "agent instructions",
    ),
    **dict.fromkeys(("action.yml", "action.yaml"), "action"),
    **dict.fromkeys(
        (".gitlab-ci.yml", ".travis.yml", "azure-pipelines.yml", "jenkinsfile", "bitbucket-pipelines.yml",
         "appveyor.yml", ".appveyor.yml", ".drone.yml", ".woodpecker.yml", ".cirrus.yml",
         "cloudbuild.yaml", "cloudbuild.yml"),
        "workflow",
    ),
    **dict.fromkeys((".pre-commit-config.yaml", "lefthook.yml", ".lefthook.yml", "lefthook.yaml"), "hook"),
    **dict.fromkeys((".gitattributes", ".gitmodules", ".gitconfig", ".lfsconfig"), "repository settings"),
    **dict.fromkeys(
        (".npmrc", ".pypirc", "pip.conf", "pip.ini", "uv.toml", ".netrc", ".condarc", ".yarnrc", ".yarnrc.yml",
         "nuget.config"),
        "package source",
    ),
    **dict.fromkeys(("policy.yml", "policy.yaml"), "policy"),
    **dict.fromkeys(
        (".coveragerc", ".flake8", ".pylintrc", "pylintrc", "mypy.ini", ".mypy.ini", "ruff.toml", ".ruff.toml",
         "pyrightconfig.json", ".bandit", ".bandit.yml", ".semgrepignore", ".semgrep.yml", ".gitleaks.toml",
         ".gitleaksignore", ".trivyignore", "trivy.yaml", ".snyk", "codecov.yml", ".codecov.yml",
         "sonar-project.properties", ".golangci.yml", ".golangci.yaml", ".golangci.toml", ".rubocop.yml", ".rspec",
         ".eslintignore", "biome.json", ".nycrc", ".c8rc.json", ".checkov.yml", "osv-scanner.toml", "phpunit.xml",
         "phpunit.xml.dist", "phpstan.neon", ".yamllint", ".hadolint.yaml", "renovate.json", ".importlinter"),
        "settings of checks",
    ),
    **dict.fromkeys(
        ("makefile", "gnumakefile", "bsdmakefile", "justfile", ".justfile", "taskfile.yml", "taskfile.yaml",
         "rakefile", "gemfile", "dangerfile", "vagrantfile", "tiltfile", "brewfile", "fastfile",
         "package.json", "cargo.toml", "composer.json", ".pnpmfile.cjs", ".pnp.cjs", ".pnp.loader.mjs",
         "binding.gyp", "deno.json", "bunfig.toml",
         "conftest.py", "setup.py", "setup.cfg", "pyproject.toml", "tox.ini", "pytest.ini", "noxfile.py", "dodo.py",
         "sitecustomize.py", "usercustomize.py", "tasks.py", "fabfile.py", "wscript", "sconstruct",
         "build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts", "gradle.properties", "gradlew",
         "gradlew.bat", "pom.xml", "mvnw", "mvnw.cmd", "build.sbt", "build.xml", "build.rs", "mix.exs", "rebar.config",
         "cmakelists.txt", "cmakepresets.json", "configure", "configure.ac", "meson.build", "workspace", "module.bazel",
         ".bazelrc", "build.bazel", "magefile.go", ".goreleaser.yml", ".goreleaser.yaml",
         "dockerfile", "containerfile", "docker-compose.yml", "docker-compose.yaml", "compose.yml", "compose.yaml",
         "docker-bake.hcl", "skaffold.yaml", ".envrc", ".mise.toml", "mise.toml", "gruntfile.js", "gulpfile.js",
         "rust-toolchain", "rust-toolchain.toml", ".tool-versions", ".python-version", ".node-version", ".nvmrc",
         "directory.build.props", "directory.build.targets", "turbo.json", "nx.json", "lerna.json"),
        _CI,
    ),
}  # fmt: skip
_CONFIGURED: Final = re.compile(
    r"(?:babel|webpack|vite|vitest|rollup|jest|eslint|karma|playwright|cypress|wdio|next|nuxt|svelte|astro|tailwind"
    r"|postcss|metro|prettier|stylelint|commitlint|lint-staged|release|semantic-release|tsup|esbuild)"
    r"(?:\.[a-z]{1,12})?\.(?:config|conf)\.[cm]?[jt]s\Z|\.(?:eslintrc|prettierrc|babelrc|mocharc|lintstagedrc)"
    r"(?:\.[cm]?js)?\Z"
)
_SUFFIXES: Final = (".mk", ".pth", ".gemspec", ".podspec", ".cmake", ".gradle", ".dockerfile", ".bazel", ".bzl")


class RaisedKind(StrEnum):
    """Why a change needs more than PLAN's PASS. The names are those of `handoffs.rules.Approvals`."""

    CONTROL_PLANE = "control_plane"
    UNREVIEWABLE = "unreviewable"
    INFORMATIONAL_GATE = "informational_gate"


@dataclass(frozen=True, slots=True)
class Raised:
    """One reason. `path` is safe to print and empty where it is about the whole change."""

    kind: str
    path: str
    why: str


@dataclass(frozen=True)
class Steering:
    """What the gates call, found by following them through both trees: each path with the file that calls it.

    `problem` says why the search ended early; then nothing is known of any path. Empty when it did not.
    """

    called: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    problem: str = ""


def classify_path(path: str) -> str:
    """What a path steers by its name alone, in words; empty for ordinary paths. Case does not matter."""
    lowered = path.lower()
    for folder, what in _FOLDERS:
        if lowered.startswith(folder) or (folder.startswith(".") and f"/{folder}" in lowered):
            return what
    name = lowered.rsplit("/", 1)[-1]
    if name.endswith((".instructions.md", ".prompt.md")):
        return "agent instructions"
    if lowered.startswith("requirements/ci") or name in {"requirements-ci.txt", "ci-requirements.txt", "ci.lock"}:
        return "lock file of the gates"
    if name in _NAMES:
        return _NAMES[name]
    is_run = name.endswith(_SUFFIXES) or name.startswith("dockerfile.") or _CONFIGURED.match(name)
    return _CI if is_run else ""


def control_plane_paths(paths: Iterable[str], steering: Steering) -> dict[str, str]:
    """The paths that steer the gates, each with what it is: by name, or because a gate calls it.

    Not checked: paths that a workflow puts together at run time, and what a called program imports from elsewhere.
    """
    callers = {path.lower(): caller for path, caller in steering.called.items()}
    found: dict[str, str] = {}
    for path in sorted(set(paths)):
        what = classify_path(path)
        if not what and path.lower() in callers:
            what = f"called by {callers[path.lower()]}"
        if not what and steering.problem:
            what = steering.problem
        if what:
            found[path] = what
    return found


def bounded(raised: Iterable[Raised]) -> tuple[Raised, ...]:
    """At most MAX_RAISED of each kind, the rest counted: what is stored and shown stays readable."""
    found: list[Raised] = []
    for kind, rows in _by_kind(raised):
        found += rows[:MAX_RAISED]
        if len(rows) > MAX_RAISED:
            found.append(Raised(kind, "", f"and {len(rows) - MAX_RAISED} more"))
    return tuple(found)


def _by_kind(raised: Iterable[Raised]) -> Iterator[tuple[str, list[Raised]]]:
    rows: dict[str, list[Raised]] = {}
    for one in raised:
        rows.setdefault(one.kind, []).append(Raised(one.kind, escape_text(one.path)[:1000], escape_text(one.why)[:500]))
    yield from rows.items()
