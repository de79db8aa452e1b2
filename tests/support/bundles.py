"""An honest handoff in a small repository, and bundles of it that are wrong in exactly one place."""

from __future__ import annotations

import copy
import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from handoffs.bundles.building import BundleRequest, create_bundle
from handoffs.bundles.bundle import LISTED, Limits, digest_of, read_archive, write_archive
from handoffs.checks.catalogue import Context, Outcome
from handoffs.checks.verification import Report, verify_bundle
from handoffs.git.process import GitError
from handoffs.git.repository import Git

type Files = Mapping[str, bytes | tuple[str, bytes]]
type Edit = Callable[[dict[str, Any]], object]

WHEN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
REPOSITORY = "acme/payments"
BRANCH = "staging/codex-retry"
BUILDER = "https://builders.acme.example/codex"
BASE_FILES: Files = {
    "README.md": b"# Payments\n\nTakes money.\n",
    "src/pay.py": b"def pay(amount):\n    return amount\n\n\ndef refund(amount):\n    return -amount\n",
    "src/crlf.txt": b"one\r\ntwo\r\nthree\r\n",
    "src/cut.txt": b"no line end",
    "src/logo.bin": bytes(range(256)) * 8,
    "requirements.txt": b"django==5.0\nrequests==2.31.0\n",
    "run.sh": ("100755", b"#!/bin/sh\nexit 0\n"),
}
CHANGE: Files = {
    "src/pay.py": b"def pay(amount):\n    return round(amount, 2)\n\n\ndef refund(amount):\n    return -amount\n",
    "src/retry.py": b"ATTEMPTS = 3\n",
    "src/__init__.py": b"",
}


def init_repository(folder: Path) -> Git:
    """An empty bare repository."""
    subprocess.run(["git", "init", "--quiet", "--bare", str(folder)], check=True)
    return Git(folder)


def write_tree(git: Git, files: Files) -> str:
    """A tree of files; a value is the content, or mode and content ('160000' takes an id)."""
    with tempfile.TemporaryDirectory() as folder:
        env = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        lines = b""
        for path, value in files.items():
            mode, content = ("100644", value) if isinstance(value, bytes) else value
            blob = content.decode() if mode == "160000" else git.write_blob(content)
            lines += f"{mode} {blob}\t".encode() + path.encode("utf-8", "surrogateescape") + b"\0"
        unsafe = {"core.protectHFS": "false", "core.protectNTFS": "false"}
        switches = [part for key, value in unsafe.items() for part in ("-c", f"{key}={value}")]
        git.run(*switches, "update-index", "--add", "-z", "--index-info", stdin=lines, env=env)
        return git.run(*switches, "write-tree", env=env).decode().strip()


def write_commit(git: Git, files: Files, *parents: str, message: str = "change\n") -> str:
    """A commit of files by the test's builder."""
    tree = write_tree(git, files)
    return git.write_commit(tree, parents, message, name="Ann", email="ann@acme.example", when=WHEN)


def changed(base: Files, change: Files, *gone: str) -> dict[str, bytes | tuple[str, bytes]]:
    """The files after a change."""
    return {path: value for path, value in {**base, **change}.items() if path not in gone}


@dataclass(frozen=True)
class Handover:
    """A repository with a base and a change, and the honest bundle of it."""

    git: Git
    base: str
    head: str
    raw: bytes

    @property
    def members(self) -> dict[str, bytes]:
        """The honest members."""
        return dict(read_archive(self.raw, Limits()).members)

    def document(self, name: str) -> dict[str, Any]:
        """One honest JSON member, to be edited."""
        return dict(json.loads(self.members[name]))

    def rebuilt(
        self,
        *,
        patch: bytes | None = None,
        rollback: bytes | None = None,
        sbom: Edit | bytes | None = None,
        manifest: Edit | bytes | None = None,
        statement: Edit | bytes | None = None,
    ) -> bytes:
        """The bundle with parts replaced or edited; digests of everything else are made right again."""
        members = self.members
        if patch is not None:
            members["changes.patch"] = patch
            about = json.loads(members["sbom.cdx.json"])
            about["metadata"]["component"]["hashes"][0]["content"] = digest_of(patch)
            members["sbom.cdx.json"] = json.dumps(about).encode()
        if rollback is not None:
            members["rollback.md"] = rollback
        members["sbom.cdx.json"] = _edited(members["sbom.cdx.json"], sbom)
        told = json.loads(members["manifest.json"])
        told["members"] = [
            {"name": name, "size": len(members[name]), "sha256": digest_of(members[name])} for name in LISTED
        ]
        members["manifest.json"] = _edited(json.dumps(told).encode(), manifest)
        claim = json.loads(members["attestation.intoto.json"])
        for subject in claim["subject"]:
            subject["digest"] = {"sha256": digest_of(members[subject["name"]])}
        members["attestation.intoto.json"] = _edited(json.dumps(claim).encode(), statement)
        return write_archive(members)

    def context(self, raw: bytes, **changes: Any) -> Context:
        """What the portal knows of a bundle, all of it right."""
        context = Context(
            repository=REPOSITORY,
            marker_subject=f"[CODEX-READY:{digest_of(raw)}] Round the amount",
            branch=BRANCH,
            target_branch_sha=self.base,
            allowed_builders=(BUILDER,),
        )
        return replace(context, **changes)

    def verify(self, raw: bytes, **changes: Any) -> Report:
        """Verify against this repository."""
        return verify_bundle(raw, git=self.git, context=self.context(raw, **changes))

    def failures(self, raw: bytes, **changes: Any) -> set[str]:
        """The codes of the checks that fail."""
        return failed_codes(self.verify(raw, **changes))


def failed_codes(report: Report) -> set[str]:
    """The codes of the checks that failed; none exactly when the report says verified."""
    codes = {result.code for result in report.results if result.outcome is Outcome.FAILED}
    assert report.is_verified is (not codes)
    return codes


def request(**changes: Any) -> BundleRequest:
    """The honest builder's request."""
    honest = BundleRequest(
        prd_id="PRD-7",
        task="Round the amount",
        builder_id=BUILDER,
        sponsor="Ann",
        repository=REPOSITORY,
        branch=BRANCH,
    )
    return replace(honest, **changes)


def hand_over(folder: Path, base: Files, after: Files) -> Handover:
    """Commit both sides and make the bundle of the difference."""
    git = init_repository(folder)
    first = write_commit(git, base)
    second = write_commit(git, after, first)
    return Handover(git, first, second, create_bundle(git, base=first, commit=second, request=request()))


@cache
def honest_handover() -> Handover:
    """One honest handover for all tests of a process; they only read it."""
    folder = Path(tempfile.mkdtemp(prefix="leo-test-"))
    return hand_over(folder / "forge.git", BASE_FILES, changed(BASE_FILES, CHANGE))


def with_result(handover: Handover, files: Files, *gone: str) -> bytes:
    """A bundle whose patch git itself made of a change that the builder lane would refuse to hand over."""
    after = write_tree(handover.git, changed(BASE_FILES, files, *gone))
    return with_patch(handover, handover.git.diff(handover.base, after))


def with_patch(handover: Handover, patch: bytes) -> bytes:
    """A bundle with this patch, and an SBOM that is right wherever the patch applies."""
    try:
        tree = handover.git.result_tree(handover.base, patch)
        changes = handover.git.changes(handover.base, tree)
    except GitError:
        changes = ()
    files = [
        {
            "type": "file",
            "name": change.path,
            "hashes": [
                {"alg": "SHA-256", "content": digest_of(handover.git.read_blob(change.new_blob, max_bytes=64 << 20))}
            ],
        }
        for change in changes
        if change.new_mode in {"100644", "100755", "120000"}
    ]

    def edit(document: dict[str, Any]) -> None:
        document["components"] = files or [{"type": "application", "name": "nothing"}]

    return handover.rebuilt(patch=patch, sbom=edit)


@contextmanager
def sentinel(folder: Path) -> Iterator[Path]:
    """A file that must not come into being while the block runs."""
    path = folder / "executed"
    yield path
    assert not path.exists(), "something was executed"


def _edited(raw: bytes, edit: Edit | bytes | None) -> bytes:
    if edit is None:
        return raw
    if isinstance(edit, bytes):
        return edit
    document = copy.deepcopy(json.loads(raw))
    edit(document)
    return json.dumps(document).encode()
