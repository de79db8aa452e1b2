"""The checks of the merge base, the patch and its scope: one thing made wrong at a time."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from functools import partial

import pytest

from handoffs.checks.catalogue import Outcome
from handoffs.rules import Approvals
from tests.support.bundles import (
    BASE_FILES,
    changed,
    failed_codes,
    honest_handover,
    sentinel,
    with_patch,
    with_result,
    write_commit,
)

HONEST = honest_handover()


@pytest.mark.threat("PAT-09")
def test_a_merge_base_outside_the_history_is_refused():
    stranger = write_commit(HONEST.git, {"x": b"x\n"}, message="stranger\n")
    assert HONEST.failures(HONEST.raw, target_branch_sha=stranger) == {"merge_base.ancestor"}
    later = write_commit(HONEST.git, changed(BASE_FILES, {"x": b"x\n"}), HONEST.base)
    assert HONEST.failures(HONEST.raw, target_branch_sha=later) == set()
    assert HONEST.failures(HONEST.raw, target_branch_sha=later, max_commits_behind=0) == {"merge_base.recent"}
    assert HONEST.failures(HONEST.raw, target_branch_sha=later, max_commits_behind=1) == set()


def _symlink(content: bytes) -> tuple[str, bytes]:
    return ("120000", content)


@pytest.mark.threat("PAT-02")
@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({"link": _symlink(b"/etc/passwd")}, "patch.modes"),
        ({"link": _symlink(b"README.md")}, "patch.modes"),
        ({"README.md": _symlink(b"run.sh")}, "patch.modes"),
        ({"vendor": ("160000", b"1" * 40)}, "patch.modes"),
        ({".gitmodules": b'[submodule "x"]\n'}, "patch.submodules"),
    ],
)
def test_links_and_submodules_are_refused(files, code):
    assert code in HONEST.failures(with_result(HONEST, files))


def _creation(name: str) -> bytes:
    quoted = name.encode()
    return (
        b"diff --git " + (b'"a/%s" "b/%s"' if b"\\" in quoted else b"a/%s b/%s") % (quoted, quoted) + b"\n"
        b"new file mode 100644\n--- /dev/null\n+++ "
        + (b'"b/%s"' if b"\\" in quoted else b"b/%s") % quoted
        + b"\n@@ -0,0 +1 @@\n+x\n"
    )


@pytest.mark.threat("PAT-04")
@pytest.mark.parametrize(
    "name",
    [
        "../x", "/etc/x", "a/../../x", ".git/config", ".GIT/config", "sub/.Git/hooks/post-checkout", "GIT~1/config",
        ".git./config", ".git /config", ".git::$INDEX_ALLOCATION/config", ".g\u200cit/config", "tail.", "c:x",
        "a\\nb", "a\\\\b", "e\u0301", "a\u202eb",
    ],
)  # fmt: skip
def test_unsafe_paths_are_refused(name):
    assert "patch.safe_paths" in HONEST.failures(with_patch(HONEST, _creation(name)))


@pytest.mark.threat("PAT-08")
@pytest.mark.parametrize(
    "files",
    [("readme.md",), ("SRC/new.py",), ("Run.sh",), ("A", "a"), ("\u0131", "I"), ("\u00e9", "\u00c9"), ("ss", "\u00df")],
)
def test_case_twins_are_refused(files):
    assert HONEST.failures(with_result(HONEST, dict.fromkeys(files, b"x\n"))) == {"patch.twins"}


@pytest.mark.threat("PAT-04")
def test_git_alone_would_take_an_alias_of_its_folder(tmp_path):
    """The control: what our settings and our own reading refuse, git with its defaults applies."""
    patch = _creation(".g\u200cit/config")
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    command = ["git", "-C", tmp_path, "apply", "--cached", "-"]
    assert subprocess.run(command, input=patch, capture_output=True, check=False).returncode == 0
    command[3:3] = ["-c", "core.protectHFS=true"]
    assert subprocess.run(command, input=patch, capture_output=True, check=False).returncode != 0
    assert "patch.safe_paths" in HONEST.failures(with_patch(HONEST, patch))


@pytest.mark.threat("PAT-09")
def test_a_patch_for_another_place_in_the_file_is_refused():
    raw = HONEST.members["changes.patch"]
    for broken, codes in (
        (raw.replace(b"@@ -1,5", b"@@ -2,5").replace(b"+1,5 @@", b"+2,5 @@"), {"patch.exact"}),
        (raw.replace(b"    return amount\n", b"    return  amount\n"), {"patch.applies"}),
        (raw.replace(b"round(amount, 2)", b"round(amount, 3)"), {"patch.index_blobs"}),
    ):
        assert broken != raw
        assert codes <= HONEST.failures(with_patch(HONEST, broken)), codes


def test_a_patch_that_creates_a_file_that_exists_is_refused():
    assert "patch.applies" in HONEST.failures(with_patch(HONEST, _creation("README.md")))
    assert "patch.applies" in HONEST.failures(with_patch(HONEST, _creation("src")))
    assert "patch.applies" in HONEST.failures(with_patch(HONEST, _creation("README.md/x")))


PROTECTED = [".github/workflows/ci.yml", ".github/actions/x/action.yml", "tools/action.yaml", "CODEOWNERS", ".github/CODEOWNERS",
             "CLAUDE.md", "sub/AGENTS.md", ".cursorrules", ".cursor/rules/a.mdc", ".leo/policy.yaml", ".husky/pre-commit",
             ".github/copilot-instructions.md", ".gitattributes", "conftest.py", "Makefile"]  # fmt: skip


def steering(report) -> dict[str, str]:
    """The paths that raise the approvals because they steer the gates."""
    return {one.path: one.why for one in report.raised if one.kind == "control_plane"}


@pytest.fixture(scope="module")
def guarded() -> tuple[str, str]:
    """The honest base with every protected path in it, and with an ordinary copy of the same content."""
    files = dict.fromkeys(PROTECTED, b"one\ntwo\n")
    return write_commit(HONEST.git, changed(BASE_FILES, files)), HONEST.base


def _ways(path: str) -> dict[str, bytes]:
    """One change of a protected path, written in six ways. The first needs the path in the base."""
    octal = "".join(f"\\{byte:03o}" for byte in path.encode())
    edited = f"diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n@@ -1,2 +1,2 @@\n one\n-two\n+three\n"
    renamed = f"diff --git a/README.md b/{path}\nsimilarity index 100%\nrename from README.md\nrename to {path}\n"
    return {
        "edit": edited.encode(),
        "create": _creation(path),
        "octal": _creation(octal),
        "rename": renamed.encode(),
        "copy": renamed.replace("rename", "copy").encode(),
        "mismatch": _creation(path).replace(f"+++ b/{path}".encode(), b"+++ b/README.txt"),
    }


def _moved(manifest: dict[str, object], *, base: str) -> None:
    manifest["merge_base"] = base


@pytest.mark.threat("PAT-01")
@pytest.mark.parametrize("path", PROTECTED)
def test_control_plane_paths_are_seen_in_six_encodings(path, guarded):
    """15 paths in 6 encodings: 90 patches, each listed for LEAD, or refused where the text contradicts itself."""
    unseen = {way for way, patch in _ways(path).items() if f"\n+++ b/{path}\n".encode() not in patch}
    assert unseen == {"octal", "rename", "copy", "mismatch"}, "what a reader of the text alone would miss"
    for way, patch in _ways(path).items():
        base = guarded[0] if way == "edit" else guarded[1]
        raw = with_patch(replace(HONEST, base=base), patch)
        if way == "edit":
            raw = HONEST.rebuilt(patch=patch, manifest=partial(_moved, base=base))
        report = HONEST.verify(raw, target_branch_sha=base)
        failed = failed_codes(report)
        if way == "mismatch":
            assert "patch.parses" in failed
            continue
        assert path in steering(report), way
        assert not [code for code in failed if code.startswith(("patch.", "scope."))], way
        assert not failed or way == "edit"  # which keeps the honest SBOM and statement
        listed = next(result for result in report.results if result.code == "scope.control_plane")
        assert (listed.outcome, path in listed.got) == (Outcome.PASSED, True)
        refusing = Approvals(control_plane="refuse")
        assert "scope.control_plane" in failed_codes(HONEST.verify(raw, target_branch_sha=base, approvals=refusing))


@pytest.mark.threat("PAT-05")
def test_nothing_of_the_repository_is_executed(tmp_path):
    git = HONEST.git
    with sentinel(tmp_path) as path:
        run = f"touch {path}"
        hooks = git.git_dir / "hooks"
        hooks.mkdir(exist_ok=True)
        planted = []
        for name in ("post-index-change", "pre-applypatch", "post-checkout", "reference-transaction"):
            hook = hooks / name
            hook.write_text(f"#!/bin/sh\n{run}\n")
            hook.chmod(0o755)
            planted.append(hook)
        config = git.git_dir / "config"
        honest = config.read_text()
        config.write_text(
            honest
            + f'[core]\n\tfsmonitor = "{run}"\n\tpager = "{run}"\n[diff]\n\texternal = "{run}"\n[diff "x"]\n\ttextconv = "{run}"\n\tcommand = "{run}"\n'
            f'[filter "x"]\n\tclean = "{run}"\n\tsmudge = "{run}"\n[merge "x"]\n\tdriver = "{run}"\n[gpg]\n\tprogram = "{run}"\n[commit]\n\tgpgSign = true\n'
        )
        (git.git_dir / "info").mkdir(exist_ok=True)
        (git.git_dir / "info" / "attributes").write_text("* filter=x diff=x merge=x\n")
        try:
            raw = with_result(HONEST, {".gitattributes": b"* filter=x diff=x merge=x\n", "src/new.py": b"x = 1\n"})
            HONEST.verify(raw)
            git.diff(HONEST.base, HONEST.head)
            git.merge_tree(HONEST.base, HONEST.head)
            write_commit(git, {"a": b"a\n"}, HONEST.base)
        finally:
            config.write_text(honest)
            (git.git_dir / "info" / "attributes").unlink()
            for hook in planted:
                hook.unlink()
