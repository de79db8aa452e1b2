"""Every check: an honest bundle passes all, and each way to break one fails the check that is for it."""

from __future__ import annotations

import random
import subprocess
from importlib.metadata import version

import pytest

from handoffs.bundles.bundle import Limits, digest_of, write_archive
from handoffs.checks.catalogue import CHECKS, Outcome
from handoffs.checks.verification import verify_bundle
from tests.support.bundles import (
    BUILDER,
    failed_codes,
    honest_handover,
)

HONEST = honest_handover()


def test_an_honest_bundle_is_verified():
    report = HONEST.verify(HONEST.raw)
    assert report.is_verified, failed_codes(report)
    assert report.result_tree == HONEST.git.tree_of(HONEST.head)
    assert [result.code for result in report.results] == [check.code for check in CHECKS]
    assert {result.code for result in report.results if result.outcome is Outcome.CLAIMED} == {"attestation.signature"}


def test_rebuilding_without_a_change_stays_verified():
    assert HONEST.failures(HONEST.rebuilt()) == set()


def test_every_check_has_a_stable_code_and_a_sentence():
    groups = {
        "archive",
        "marker",
        "manifest",
        "merge_base",
        "patch",
        "scope",
        "sbom",
        "attestation",
        "rollback",
        "secrets",
    }
    assert {check.group for check in CHECKS} == groups
    assert len({check.code for check in CHECKS}) == len(CHECKS)
    for result in HONEST.verify(HONEST.raw).results:
        assert result.sentence.endswith("."), result.code
        assert result.expected, result.code


def test_all_checks_run_on_anything():
    for raw in (b"", b"\x1f\x8b", HONEST.raw[:700], write_archive(dict.fromkeys(HONEST.members, b""))):
        report = HONEST.verify(raw)
        assert len(report.results) == len(CHECKS)
        assert not report.is_verified
        assert report.manifest is None


def test_without_a_repository_nothing_that_needs_one_passes():
    report = verify_bundle(HONEST.raw, git=None, context=HONEST.context(HONEST.raw))
    for result in report.results:
        if result.code in {"patch.applies", "patch.exact", "patch.modes", "merge_base.exists", "sbom.files"}:
            assert result.outcome is Outcome.FAILED
            assert "not checked" in result.got


@pytest.mark.threat("BUN-05")
def test_flipped_bits_all_over_the_bundle_are_refused():
    randomly = random.Random(11)
    context = HONEST.context(HONEST.raw, marker_subject=None)
    for bit in sorted(randomly.sample(range(len(HONEST.raw) * 8), 400)):
        broken = bytearray(HONEST.raw)
        broken[bit // 8] ^= 1 << (bit % 8)
        raw = bytes(broken)
        report = verify_bundle(raw, git=None, context=context)
        failed = {result.code for result in report.results if result.outcome is Outcome.FAILED}
        assert any(code.startswith("archive.") for code in failed), f"bit {bit}"


@pytest.mark.threat("BUN-05")
@pytest.mark.parametrize("name", sorted(HONEST.members))
def test_a_member_changed_alone_is_refused(name):
    members = HONEST.members
    members[name] = members[name].replace(b"a", b"A", 1)
    codes = HONEST.failures(write_archive(members))
    assert codes & {
        "manifest.members",
        "manifest.schema",
        "attestation.digests",
        "attestation.statement",
        "manifest.json",
    }


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"marker_subject": None}, "marker.grammar"),
        ({"marker_subject": "Round the amount"}, "marker.grammar"),
        ({"marker_subject": f"[CLAUDE-APPLIED:{digest_of(HONEST.raw)}]"}, "marker.grammar"),
        ({"marker_subject": f"[CODEX-READY:{'0' * 64}]"}, "marker.digest"),
        ({"branch": None}, "marker.branch"),
        ({"branch": "main"}, "marker.branch"),
        ({"branch": "staging/c\u043edex-x"}, "marker.branch"),
        ({"branch": "staging/codex-other"}, "manifest.branch"),
        ({"repository": "acme/other"}, "manifest.repository"),
        ({"target_branch_sha": None}, "merge_base.ancestor"),
        ({"allowed_builders": ()}, "attestation.builder"),
        ({"allowed_builders": (BUILDER + "/",)}, "attestation.builder"),
        ({"other_patches": frozenset({digest_of(HONEST.members["changes.patch"])})}, "patch.reused"),
        ({"limits": Limits(max_files=1)}, "patch.limits"),
        ({"limits": Limits(max_changed_lines=1)}, "patch.limits"),
        ({"limits": Limits(max_blob_bytes=10)}, "patch.limits"),
    ],
)
def test_a_bundle_in_the_wrong_place_is_refused(changes, code):
    assert code in HONEST.failures(HONEST.raw, **changes)


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (lambda d: d.update(schema="leoportal/handoff-manifest/v2"), "manifest.schema"),
        (lambda d: d.update(more=1), "manifest.schema"),
        (lambda d: d.pop("prd_id"), "manifest.schema"),
        (lambda d: d.update(prd_id="REQ-1"), "manifest.schema"),
        (lambda d: d.update(merge_base="HEAD"), "manifest.schema"),
        (lambda d: d.update(merge_base="0" * 40), "merge_base.exists"),
        (lambda d: d.update(created_at="yesterday"), "manifest.schema"),
        (lambda d: d["members"].pop(), "manifest.schema"),
        (lambda d: d["members"].reverse() or d["members"].__setitem__(0, d["members"][1]), "manifest.members"),
        (lambda d: d["members"][0].update(size=1), "manifest.members"),
        (lambda d: d["members"][0].update(sha256="0" * 64), "manifest.members"),
        (lambda d: d.update(builder_id="codex-lane"), "manifest.people"),
        (lambda d: d.update(sponsor="Ann\u202eX"), "manifest.people"),
        (lambda d: d.update(task="\x1b[31mred"), "manifest.people"),
        (lambda d: d.update(repository="../x"), "manifest.schema"),
    ],
)
def test_a_wrong_manifest_is_refused(edit, code):
    assert code in HONEST.failures(HONEST.rebuilt(manifest=edit))


@pytest.mark.threat("JSN-01")
@pytest.mark.parametrize("part", ["manifest", "sbom", "statement"])
@pytest.mark.parametrize(
    "raw", [b'{"a":1,"a":1}', b"[NaN]", b"\xef\xbb\xbf{}", b"{} {}", b"[" * 65 + b"]" * 65, b"1e999"]
)
def test_json_two_readers_could_read_differently_is_refused(part, raw):
    codes = HONEST.failures(HONEST.rebuilt(**{part: raw}))
    assert codes & {"manifest.json", "manifest.schema", "sbom.readable", "attestation.statement"}


def test_each_result_names_what_judged_it():
    tools = {result.code: result.tool for result in HONEST.verify(HONEST.raw).results}
    git = subprocess.run(["git", "version"], capture_output=True, text=True, check=True).stdout.split()[2]
    assert tools["archive.readable"] == f"leoportal {version('leoportal')}"
    assert tools["patch.applies"] == f"leoportal {version('leoportal')}, git {git}"
    assert version("jsonschema-rs") in tools["sbom.schema"]
    assert version("cyclonedx-python-lib") in tools["sbom.schema"]
    assert tools["sbom.licences"] == f"license-expression {version('license-expression')}"
    assert all(tools.values())
    alone = verify_bundle(HONEST.raw, git=None, context=HONEST.context(HONEST.raw))
    assert next(r.tool for r in alone.results if r.code == "patch.applies").endswith("git not asked")
