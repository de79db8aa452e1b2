"""`leo bundle` from the outside: exit codes, what is printed, what reaches the remote."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from handoffs.bundles.bundle import digest_of
from handoffs.git.repository import Git
from leoportal.cli import app
from tests.support.bundles import BRANCH, BUILDER, REPOSITORY, init_repository, write_commit


class Work:
    """A work tree with a base and a change, and the bundle made of it."""

    def __init__(self, folder: Path) -> None:
        self.repo = folder / "work"
        subprocess.run(["git", "init", "--quiet", "-b", "main", str(self.repo)], check=True)
        self.git = Git(self.repo)
        self.base = write_commit(self.git, {"f": b"a\nb\n"})
        self.head = write_commit(self.git, {"f": b"a\nc\n"}, self.base)
        self.git.run("update-ref", "refs/heads/main", self.head)
        self.file = folder / "artifact.tar.gz"

    def create(self, *more: str) -> Result:
        return leo(
            "create", "--repo", self.repo, "--base", self.base, "--prd", "PRD-7", "--task", "Fix f", "--builder", BUILDER,
            "--sponsor", "Ann", "--repository", REPOSITORY, "--branch", BRANCH, "-o", self.file, *more,
        )  # fmt: skip

    def verify(self, *more: str) -> Result:
        return leo("verify", self.file, "--repo", self.repo, *more)

    def handoff(self, *more: object) -> Result:
        return leo("handoff", self.file, "--repo", self.repo, "--name", "Ann", "--email", "ann@acme.example", *more)


def leo(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["bundle", *(str(argument) for argument in arguments)])


@pytest.fixture
def work(tmp_path: Path) -> Work:
    made = Work(tmp_path)
    assert made.create().exit_code == 0
    return made


def test_a_bundle_is_made_checked_and_handed_over(work, tmp_path):
    checked = work.verify()
    assert checked.exit_code == 0, checked.output
    assert "0 failed. VERIFIED. Next: leo bundle handoff" in checked.output
    remote = init_repository(tmp_path / "remote.git")
    done = work.handoff("--remote", remote.path)
    assert done.exit_code == 0, done.output
    commit = remote.refs("refs/heads/")[f"refs/heads/{BRANCH}"]
    assert remote.parents_of(commit) == (work.base,)
    assert remote.message_of(commit) == f"[CODEX-READY:{digest_of(work.file.read_bytes())}] Fix f\n"
    assert remote.read_file(commit, ".leo/artifact.tar.gz", max_bytes=1 << 20) == work.file.read_bytes()
    assert [change.path for change in remote.changes(work.base, commit)] == [".leo/artifact.tar.gz"]
    assert work.handoff("--remote", remote.path).exit_code == 0


def test_making_it_twice_gives_the_same_file(work, monkeypatch):
    first = work.file.read_bytes()
    assert work.create().exit_code == 0
    assert work.file.read_bytes() == first
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    assert work.create().exit_code == 0
    assert b"1970-01-01T00:00:00Z" in work.file.read_bytes()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "soon")
    assert work.create().exit_code == 2


def test_the_work_tree_can_be_handed_over(work):
    (work.repo / "f").write_bytes(b"changed here\n")
    assert work.create("--worktree").exit_code == 0
    assert b"changed here" in work.file.read_bytes()
    assert work.verify().exit_code == 0
    assert work.create("--worktree", "--commit", "HEAD").exit_code == 2


def test_a_staging_branch_is_replaced_only_when_asked(work, tmp_path):
    remote = init_repository(tmp_path / "remote.git")
    assert work.handoff("--remote", remote.path).exit_code == 0
    assert work.create("--rollback", str(_notes(tmp_path))).exit_code == 0
    refused = work.handoff("--remote", remote.path)
    assert refused.exit_code == 1
    assert "handoff.branch_exists" in refused.output
    assert work.handoff("--remote", remote.path, "--replace").exit_code == 0


def _notes(folder: Path) -> Path:
    path = folder / "rollback.md"
    path.write_text("Revert the commit and restart the workers.\n")
    return path


def test_without_a_remote_the_branch_is_made_here(work):
    done = work.handoff()
    assert done.exit_code == 0
    assert f"refs/heads/{BRANCH}" in work.git.refs("refs/heads/")
    assert "Next: leo bundle handoff" in done.output


def test_json_is_one_document(work):
    report = json.loads(work.verify("--json").output)
    assert report["verified"] is True
    assert {check["outcome"] for check in report["checks"]} == {"PASSED", "CLAIMED"}
    assert json.loads(work.create("--json").output)["sha256"] == report["sha256"]


def test_a_changed_byte_is_an_integrity_failure(work):
    raw = bytearray(work.file.read_bytes())
    raw[2000] ^= 1
    work.file.write_bytes(bytes(raw))
    assert work.verify().exit_code == 5
    assert json.loads(work.verify("--json").output)["verified"] is False
    assert work.handoff().exit_code == 5


@pytest.mark.parametrize(
    ("option", "value", "code", "status"),
    [
        ("--marker", "0" * 64, "marker.digest", 5),
        ("--branch", "staging/codex-other", "manifest.branch", 1),
        ("--branch", "main", "marker.branch", 1),
        ("--repository", "acme/other", "manifest.repository", 1),
        ("--builder", "https://other.example", "attestation.builder", 1),
    ],
)
def test_what_is_given_is_compared(work, option, value, code, status):
    refused = work.verify(option, value)
    assert refused.exit_code == status
    assert f"FAIL  {code}" in refused.output


def test_without_a_repository_nothing_is_verified(work):
    checked = leo("verify", work.file)
    assert checked.exit_code == 1
    assert "not checked" in checked.output
    assert "Next: leo bundle verify" in checked.output


def test_what_could_not_be_looked_at_is_told_by_its_reason(work, tmp_path):
    """Every check runs on a file that is no archive: what it is not stands above, not between forty others."""
    (tmp_path / "artifact.tar.gz").write_bytes(b"nothing here")
    lines = leo("verify", tmp_path / "artifact.tar.gz", "--repo", work.repo).output.splitlines()
    rows = [line.split()[0] for line in lines if line.split()[0] in {"FAIL", "?"}]
    assert rows == sorted(rows, key=["FAIL", "?"].index)
    assert lines[1].split()[:2] == ["FAIL", "archive.readable"]
    reason = next(line for line in lines if "the manifest: the archive has no such member" in line)
    assert lines[lines.index(reason) + 1].split()[0] == "manifest.members,"


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", "missing.tar.gz"),
        ("create",),
        ("verify",),
        ("handoff", "missing.tar.gz", "--repo", "."),
        ("nonsense",),
    ],
)
def test_wrong_usage_ends_with_2(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert leo(*arguments).exit_code == 2


def test_every_refusal_names_a_next_step(work, tmp_path):
    refusals = [
        leo("verify", tmp_path / "none"),
        leo("verify", work.file, "--repo", tmp_path),
        work.verify("--target", "nowhere"),
        work.create("--rollback", str(tmp_path / "none")),
        work.handoff("--remote", tmp_path / "none"),
    ]
    for refused in refusals:
        assert refused.exit_code != 0
        assert "Next: " in refused.output
        assert "Traceback" not in refused.output


def test_nothing_printed_can_move_the_terminal(work, tmp_path):
    assert "\x1b" not in work.verify("--branch", "staging/\x1b[2J\u202e").output
    assert "\x1b" not in leo("verify", tmp_path / "a\x1b[31mb").output


def test_the_page_of_codes_is_what_the_code_says():
    said = CliRunner().invoke(app, ["bundle", "checks", "--markdown"]).output
    page = Path(__file__).parents[2] / "docs" / "checks.md"
    assert page.read_text() == said, "Next: leo bundle checks --markdown > docs/checks.md"
