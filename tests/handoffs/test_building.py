"""The builder lane: deterministic, and what it makes of any ordinary commit verifies."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

import pytest

from handoffs.bundles.building import create_bundle
from handoffs.bundles.bundle import BundleError, Limits, parse_manifest, read_archive
from handoffs.git.process import GitError
from handoffs.git.repository import Git
from tests.support.bundles import (
    BASE_FILES,
    CHANGE,
    WHEN,
    Files,
    Handover,
    changed,
    failed_codes,
    hand_over,
    honest_handover,
    request,
    write_commit,
    write_tree,
)

HONEST = honest_handover()


def package_files(name: str) -> dict[str, bytes]:
    """The files of an installed package: hundreds of real ones."""
    root = Path(str(resources.files(name)))
    paths = [path for path in sorted(root.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    return {f"{name}/{path.relative_to(root).as_posix()}": path.read_bytes() for path in paths}


def test_the_same_inputs_give_the_same_bytes():
    again = create_bundle(HONEST.git, base=HONEST.base, commit=HONEST.head, request=request())
    assert again == HONEST.raw
    other = create_bundle(HONEST.git, base=HONEST.base, commit=HONEST.head, request=request(task="Other"))
    assert other != HONEST.raw


def test_the_time_is_the_commits_unless_told_otherwise():
    def created_at(**changes) -> str:
        raw = create_bundle(HONEST.git, base=HONEST.base, commit=HONEST.head, request=request(**changes))
        return parse_manifest(read_archive(raw, Limits()).members["manifest.json"]).created_at

    assert created_at() == WHEN.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert created_at(created_at=datetime(2001, 2, 3, tzinfo=UTC)) == "2001-02-03T00:00:00Z"


ORDINARY: dict[str, Files] = {
    "edit": changed(BASE_FILES, CHANGE),
    "rename": changed(BASE_FILES, {"src/moved.py": BASE_FILES["src/pay.py"]}, "src/pay.py"),
    "delete only": changed(BASE_FILES, {}, "src/pay.py", "src/cut.txt", "src/logo.bin"),
    "mode only": changed(BASE_FILES, {"run.sh": ("100644", b"#!/bin/sh\nexit 0\n")}),
    "executable": changed(BASE_FILES, {"tool": ("100755", b"#!/bin/sh\n")}),
    "line ends": changed(BASE_FILES, {"src/crlf.txt": b"one\r\n2\r\nthree\r\n", "src/cut.txt": b"still no line end", "src/r.txt": b"a\rb\r"}),
    "line end added": changed(BASE_FILES, {"src/cut.txt": b"no line end\n"}),
    "binary": changed(BASE_FILES, {"src/logo.bin": bytes(range(255, -1, -1)) * 9, "new.bin": b"\0" * 5000}),
    "names": changed(BASE_FILES, {"a b/c d.txt": b"1\n", "ü/日本 '\"$.txt": b"2\n", "-dash": b"3\n", "git/x": b"4\n", " lead": b"5\n"}),
    "empty files": changed(BASE_FILES, {"empty": b"", "also": b""}),
    "file to folder": changed(BASE_FILES, {"README.md/index.md": b"# now a folder\n"}, "README.md"),
    "folder to file": changed({k: v for k, v in BASE_FILES.items() if not k.startswith("src/")}, {"src": b"now a file\n"}),
    "lock file": changed(BASE_FILES, {"requirements.txt": b"django==5.1\nflask==3.0\n"}),
    "unread lock file": changed(BASE_FILES, {"requirements.txt": b"git+https://x.example/y\n", "bun.lock": b"{}\n"}),
    "lock file gone": changed(BASE_FILES, {}, "requirements.txt"),
    "lock file moved": changed(BASE_FILES, {"a b/requirements.txt": b"django==5.0\nrequests==2.31.0\n"}, "requirements.txt"),
    "lock file only executable": changed(BASE_FILES, {"requirements.txt": ("100755", b"django==5.0\nrequests==2.31.0\n")}),
    "one package in two files": changed(BASE_FILES, {"dev/requirements.txt": b"django==5.0\n", "pyproject.toml": b'[project]\ndependencies=["django==5.0"]\n'}),
    "settings alone": changed(BASE_FILES, {"requirements.txt": b"-i https://mirror.example/packages\ndjango==5.0\nrequests==2.31.0\n"}),
    "licences": changed(BASE_FILES, {"package-lock.json": b'{"lockfileVersion":3,"packages":{"node_modules/a":{"version":"1.0.0","license":"MIT"},"node_modules/b":{"version":"1.0.0","license":"SEE LICENSE"}}}'}),
    "workflow": changed(BASE_FILES, {".github/workflows/ci.yml": b"on: push\n", "AGENTS.md": b"Be kind.\n"}),
    "diff of a diff": changed(BASE_FILES, {"x.patch": b"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n\\ No newline at end of file\n"}),
    "attributes": changed(BASE_FILES, {".gitattributes": b"* -diff binary\n*.py eol=crlf\n", "src/pay.py": b"new\n"}),
    "all new": {"only": b"this\n"},
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(ORDINARY))
def test_the_bundle_of_an_ordinary_commit_verifies(name):
    git = HONEST.git
    head = write_commit(git, ORDINARY[name], HONEST.base)
    raw = create_bundle(git, base=HONEST.base, commit=head, request=request())
    report = HONEST.verify(raw)
    assert failed_codes(report) == set(), [(r.code, r.got) for r in report.results if r.outcome == "FAILED"]
    assert report.result_tree == git.tree_of(head)


def test_the_bundle_of_hundreds_of_real_files_verifies(tmp_path):
    files = package_files("hypothesis")
    assert len(files) > 100
    after: dict[str, bytes] = {}
    for number, (path, content) in enumerate(files.items()):
        match number % 5:
            case 0:
                after[path] = content + b"# one more line\n"
            case 1:
                after[f"moved/{path}"] = content
            case 2 if number % 2:
                continue
            case _:
                after[path] = content
    handover = hand_over(tmp_path / "package.git", files, after)
    report = handover.verify(handover.raw)
    codes = failed_codes(report)
    assert codes <= {"secrets.none"}, [(r.code, r.got) for r in report.results if r.outcome == "FAILED"]
    assert report.result_tree == handover.git.tree_of(handover.head)


def test_the_first_commit_of_an_empty_base_verifies(tmp_path):
    handover = hand_over(tmp_path / "empty.git", {}, {"first": b"file\n"})
    assert failed_codes(handover.verify(handover.raw)) == set()


def test_a_work_tree_is_handed_over_without_a_commit(tmp_path):
    folder = tmp_path / "work"
    subprocess.run(["git", "init", "--quiet", "-b", "main", str(folder)], check=True)
    git = Git(folder)
    base = write_commit(git, {"a": b"a\n"})
    git.run("update-ref", "refs/heads/main", base)
    (folder / "a").write_bytes(b"b\n")
    (folder / "new").write_bytes(b"n\n")
    raw = create_bundle(git, base=base, commit=None, request=request())
    handover = Handover(git, base, base, raw)
    report = handover.verify(raw)
    assert failed_codes(report) == set()
    assert {change.path for change in report.changes} == {"a", "new"}


def test_the_merge_base_is_used_when_the_base_moved_on():
    later = write_commit(HONEST.git, changed(BASE_FILES, {"later": b"x\n"}), HONEST.base)
    raw = create_bundle(HONEST.git, base=later, commit=HONEST.head, request=request())
    assert raw == HONEST.raw
    assert HONEST.failures(raw, target_branch_sha=later) == set()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"branch": "main"}, "marker.branch"),
        ({"builder_id": "codex"}, "manifest.people"),
        ({"prd_id": "7"}, "manifest.schema"),
        ({"repository": "payments"}, "manifest.schema"),
        ({"task": ""}, "manifest.schema"),
    ],
)
def test_a_request_that_could_not_verify_is_refused_at_once(changes, code):
    with pytest.raises(BundleError) as caught:
        create_bundle(HONEST.git, base=HONEST.base, commit=HONEST.head, request=replace(request(), **changes))
    assert caught.value.code == code


@pytest.mark.parametrize("path", ["package.json", "uv.lock", "go.mod", "Gemfile.lock"])
def test_a_malformed_lock_file_is_refused_at_once_and_mending_one_is_not(path):
    git = HONEST.git
    broken = write_commit(git, changed(BASE_FILES, {path: b"<<<<<<< ours\n"}), HONEST.base)
    with pytest.raises(BundleError, match=r"sbom\.lock_files"):
        create_bundle(git, base=HONEST.base, commit=broken, request=request())
    well = {
        "package.json": b"{}",
        "uv.lock": b"version = 1\n",
        "go.mod": b"module x\n",
        "Gemfile.lock": b"GEM\n  specs:\n",
    }
    for after in (changed(BASE_FILES, {path: well[path]}), BASE_FILES):
        mended = write_commit(git, after, broken)
        raw = create_bundle(git, base=broken, commit=mended, request=request())
        report = HONEST.verify(raw, target_branch_sha=broken)
        assert failed_codes(report) == set()
        assert report.components.unread == (path,)


def test_a_link_that_becomes_a_manifest_is_handed_over():
    git = HONEST.git
    base = write_commit(git, changed(BASE_FILES, {"package.json": ("120000", b"README.md")}), HONEST.base)
    head = write_commit(git, changed(BASE_FILES, {"package.json": b'{"dependencies":{"a":"1"}}'}), base)
    raw = create_bundle(git, base=base, commit=head, request=request())
    assert HONEST.failures(raw, target_branch_sha=base) == set()


def test_changes_that_cannot_be_handed_over_are_refused_at_once():
    git = HONEST.git
    for after, code in ((BASE_FILES, "patch.not_empty"), (changed(BASE_FILES, {"l": ("120000", b"x")}), "patch.modes")):
        head = git.write_commit(write_tree(git, after), [HONEST.base], "m\n", name="A", email="a@x", when=WHEN)
        with pytest.raises(BundleError) as caught:
            create_bundle(git, base=HONEST.base, commit=head, request=request())
        assert caught.value.code == code
    with pytest.raises(GitError):
        create_bundle(git, base="nowhere", commit=HONEST.head, request=request())
