"""Every bad bundle of issue 2 through the real portal: a coded refusal on the row and in the trail, nothing lost."""

from __future__ import annotations

import gzip
import subprocess
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from audit.models import LogEntry
from handoffs.bundles.bundle import digest_of
from handoffs.bundles.markers import MarkerKind, write_marker
from handoffs.git.process import GitError
from handoffs.git.repository import Git
from handoffs.models import Handoff, PullRequest, PushRefusal, Status
from handoffs.tasks import sweep_staging
from tests.support.bundles import Handover
from tests.support.portal import GOOD_CHANGE, Portal, git
from verdicts.decision import Verdict as VerdictKind
from verdicts.merging import merge_pull_request


def _handover(portal: Portal) -> Handover:
    raw = portal.bundle(GOOD_CHANGE)
    store = Git(portal.source)
    return Handover(store, Git(portal.bare).resolve("refs/heads/main"), store.resolve("HEAD"), raw)


def _tarred(change: Callable[[dict[str, bytes]], object]) -> Callable[[Handover], bytes]:
    """The honest members, changed, packed by the tar command: what a builder without `leo` would send."""

    def build(honest: Handover) -> bytes:
        members = honest.members
        change(members)
        with tempfile.TemporaryDirectory() as folder:
            for name, content in members.items():
                (Path(folder) / name).write_bytes(content)
            packed = subprocess.run(
                ["tar", "--format=ustar", "-C", folder, "-cf", "-", *sorted(members)], check=True, capture_output=True
            )
        return gzip.compress(packed.stdout, mtime=0)

    return build


def _patched(text: str) -> Callable[[Handover], bytes]:
    return lambda honest: honest.rebuilt(patch=text.encode())


def _new_file(path: str, mode: str = "100644") -> str:
    return (
        f"diff --git a/{path} b/{path}\nnew file mode {mode}\nindex 0000000..257cc56\n"
        f"--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+foo\n"
    )


def _flip(raw: bytes, at: float) -> bytes:
    place = int(len(raw) * at)
    return raw[:place] + bytes([raw[place] ^ 0x10]) + raw[place + 1 :]


BAD: dict[str, tuple[Callable[[Handover], bytes], str]] = {
    "truncated": (lambda honest: honest.raw[: len(honest.raw) // 2], "archive."),
    "bomb": (lambda _honest: gzip.compress(bytes(200 << 20), mtime=0), "archive."),
    "not an archive": (lambda _honest: b"hello", "archive."),
    "missing member": (_tarred(lambda members: members.pop("rollback.md")), "archive.members"),
    "extra member": (_tarred(lambda members: members.update({"evil.sh": b"#!/bin/sh"})), "archive.members"),
    "one flipped bit, early": (lambda honest: _flip(honest.raw, 0.1), ""),
    "one flipped bit, middle": (lambda honest: _flip(honest.raw, 0.5), ""),
    "one flipped bit, late": (lambda honest: _flip(honest.raw, 0.95), ""),
    "patch that does not apply": (
        _patched(
            "diff --git a/README.md b/README.md\nindex 1111111..2222222 100644\n"
            "--- a/README.md\n+++ b/README.md\n@@ -1 +1 @@\n-Other\n+New\n"
        ),
        "patch.",
    ),
    "path with ..": (_patched(_new_file("../evil")), "patch."),
    "path in .GIT": (_patched(_new_file(".GIT/config")), "patch."),
    "symlink": (_patched(_new_file("link", "120000")), "patch."),
    "gitlink": (
        _patched(
            "diff --git a/sub b/sub\nnew file mode 160000\nindex 0000000..1111111\n--- /dev/null\n+++ b/sub\n"
            "@@ -0,0 +1 @@\n+Subproject commit 1111111111111111111111111111111111111111\n"
        ),
        "patch.",
    ),
    "SBOM of another version": (lambda honest: honest.rebuilt(sbom=lambda d: d.update(specVersion="1.4")), "sbom."),
    "attestation with an empty digest": (
        lambda honest: honest.rebuilt(statement=lambda d: d["subject"][0]["digest"].update(sha256="")),
        "attestation.",
    ),
    "attestation of something else": (
        lambda honest: honest.rebuilt(statement=lambda d: d["subject"][0]["digest"].update(sha256="ab" * 32)),
        "attestation.",
    ),
    "unknown builder": (
        lambda honest: honest.rebuilt(manifest=lambda d: d.update(builder_id="https://stranger.invalid/x")),
        "",
    ),
    "another sponsor": (lambda honest: honest.rebuilt(manifest=lambda d: d.update(sponsor="nobody")), "manifest."),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_bundle_is_refused_with_codes_and_the_lane_goes_on(portal: Portal, name: str):
    build, prefix = BAD[name]
    commit = portal.push_bundle(build(_handover(portal)))
    handoff = portal.receive()
    assert (handoff.status, handoff.staging_commit) == (Status.REFUSED, commit)
    failed = set(handoff.checks.filter(outcome="FAILED").values_list("code", flat=True))
    assert any(code.startswith(prefix) for code in failed), failed
    assert all(check.got and check.expected for check in handoff.checks.filter(outcome="FAILED"))
    event = handoff.events.get(event="handoff.refused")
    assert set(event.detail["failed"]) == failed
    assert LogEntry.objects.filter(pk=event.log_entry_id, kind="handoff.refused").exists()
    assert not Handoff.objects.filter(status=Status.TRIGGERED).exists()
    assert portal.hand_over(branch="staging/codex-after").status == Status.TRIGGERED


def test_a_marker_that_is_not_the_artifacts_digest_is_refused(portal: Portal):
    raw = portal.bundle(GOOD_CHANGE)
    portal.push_bundle(raw, subject=f"[CODEX-READY:{digest_of(b'something else')}] Add net")
    handoff = portal.receive()
    assert handoff.status == Status.REFUSED
    assert handoff.checks.filter(outcome="FAILED", code__startswith="marker.").exists()


def test_a_commit_without_the_artifact_is_refused(portal: Portal):
    base = Git(portal.bare).resolve("refs/heads/main")
    git(portal.source, "checkout", "--quiet", "--detach", base)
    git(portal.source, "commit", "--quiet", "--allow-empty", "-m", f"[CODEX-READY:{'ab' * 32}] nothing here")
    git(portal.source, "push", "--quiet", str(portal.bare), "HEAD:refs/heads/staging/codex-empty")
    assert portal.receive().refusal_code == "git.missing_path"


@pytest.mark.parametrize(
    ("ref", "code"),
    [
        ("refs/heads/main", "merge.no_pass"),
        ("refs/heads/feature/mine", "ref.not_allowed"),
        ("refs/heads/other", "ref.not_allowed"),
        ("refs/tags/v1", "ref.not_allowed"),
        ("refs/heads/staging/codex-ü", "ref.staging_name"),
        ("refs/heads/staging/other", "ref.staging_name"),
    ],
)
def test_the_repository_refuses_every_other_push_and_the_trail_says_so(portal: Portal, ref: str, code: str):
    base = Git(portal.bare).resolve("refs/heads/main")
    commit = Git(portal.source).write_commit(
        Git(portal.source).tree_of(base),
        [base],
        "mine",
        name="A",
        email="a@b.invalid",
        when=datetime(2026, 11, 1, tzinfo=UTC),
    )
    old = base if ref == "refs/heads/main" else ""
    with pytest.raises(GitError, match=code):
        Git(portal.source).push(portal.bare, commit, ref, old=old)
    assert Git(portal.bare).resolve("refs/heads/main") == base
    sweep_staging()
    refusal = PushRefusal.objects.get()
    assert (refusal.code, refusal.ref, refusal.new) == (code, ref, commit)
    assert LogEntry.objects.filter(kind="push.refused", pushrefusal=refusal).exists()


def test_the_hook_fails_closed_without_the_database(portal: Portal):
    config = portal.bare / "leo-hook.json"
    config.write_text(config.read_text().replace("leoportal_hook", "nobody_such"))
    raw = portal.bundle(GOOD_CHANGE)
    with pytest.raises(GitError, match=r"portal\.unreachable"):
        portal.push_bundle(raw)
    config.write_text("not json")
    with pytest.raises(GitError, match=r"portal\.unreachable"):
        portal.push_bundle(raw)
    config.unlink()
    with pytest.raises(GitError, match=r"portal\.unreachable"):
        portal.push_bundle(raw)


def test_branches_are_neither_deleted_nor_rewound(portal: Portal):
    first = portal.push_bundle(portal.bundle(GOOD_CHANGE))
    with pytest.raises(subprocess.CalledProcessError) as refused:
        git(portal.source, "push", str(portal.bare), ":refs/heads/staging/codex-net")
    assert "deletion" in refused.value.stderr
    assert Git(portal.bare).resolve("refs/heads/staging/codex-net") == first
    base = Git(portal.bare).resolve("refs/heads/main")
    with pytest.raises(GitError, match=r"ref\.not_fast_forward"):
        Git(portal.source).push(portal.bare, base, "refs/heads/staging/codex-net", old=first)


def test_the_same_bundle_on_two_branches_is_one_handoff(portal: Portal):
    raw = portal.bundle(GOOD_CHANGE)
    portal.push_bundle(raw)
    assert portal.receive().status == Status.OPENED
    portal.push_bundle(
        raw, branch="staging/codex-again", subject=write_marker(MarkerKind.CODEX_READY, digest_of(raw), "Again")
    )
    second = portal.receive()
    assert (second.status, second.refusal_code) == (Status.REFUSED, "intake.duplicate")
    assert Handoff.objects.filter(status=Status.OPENED).count() == 1


@pytest.mark.threat("PAT-03")
def test_after_pass_only_the_portals_own_merge_commit_lands(portal: Portal):
    pull = portal.verified()
    portal.verdict(VerdictKind.PASS)
    bare, moment = Git(portal.bare), datetime(2026, 11, 1, tzinfo=UTC)
    parents = [pull.base_sha, pull.head_sha]
    same_tree = bare.write_commit(pull.merge_tree, parents, "Merge by hand", name="A", email="a@b.invalid", when=moment)
    other_tree = bare.write_commit(
        bare.tree_of(pull.base_sha), parents, "Merge nothing", name="A", email="a@b.invalid", when=moment
    )
    for commit in (pull.head_sha, same_tree, other_tree):
        with pytest.raises(GitError, match=r"merge\.no_pass"):
            bare.push(portal.bare, commit, "refs/heads/main", old=pull.base_sha)
    PullRequest.objects.update(merge_sha=other_tree)
    with pytest.raises(GitError, match=r"ref\.tree_mismatch"):
        bare.push(portal.bare, other_tree, "refs/heads/main", old=pull.base_sha)
    PullRequest.objects.update(merge_sha="")
    merged = merge_pull_request(pull.pk, portal.tools(), by=portal.actor("plan"))
    assert bare.resolve("refs/heads/main") == merged.merge_sha
    assert bare.tree_of(merged.merge_sha) == pull.merge_tree
