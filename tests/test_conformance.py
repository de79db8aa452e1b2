"""Cases nobody here wrote: other projects' bundles, patches, SBOMs, statements and envelopes.

They lie beside the repository, in ../shared/corpora, and not in it; where they are absent the tests skip.
"""

from __future__ import annotations

import base64
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from handoffs.archive import MEMBERS, Limits
from handoffs.attestations import PROVENANCE_V1, parse_attestation
from handoffs.bundle import BundleError, write_archive
from handoffs.checks import Context, Outcome
from handoffs.dsse import pae
from handoffs.git_process import GitError
from handoffs.patches import PatchError, apply_hunks, parse_patch
from handoffs.sbom import SPEC_VERSION, parse_sbom
from handoffs.verification import verify_bundle
from tests.support.bundles import failed_codes, honest_handover, write_tree

CORPORA = Path(__file__).resolve().parents[1].parent / "shared" / "corpora"
LIMITS = Limits()

# What another project's list of defects calls it -> the checks here that must report it.
UPSTREAM = {
    "att.builder_id_not_uri": {"attestation.builder"},
    "att.empty_file_digest": {"attestation.digests"},
    "att.material_digest_empty": {"attestation.materials"},
    "att.material_uri_local": {"attestation.materials"},
    "att.no_commit": {"attestation.merge_base"},
    "att.predicate_mismatch": {"attestation.predicate"},
    "att.subject_missing": {"attestation.subjects"},
    "att.unsigned": {"attestation.signature"},
    "att.v02_missing": {"attestation.predicate"},
    "att.v1_missing": {"attestation.predicate"},
    "bundle.no_merge_base": {"merge_base.exists", "manifest.schema"},
    "bundle.no_rollback": {"rollback.present"},
    "bundle.no_tarball": {"archive.readable"},
    "patch.hunk_count": {"patch.hunk_counts"},
    "patch.index_oid": {"patch.index_blobs"},
    "patch.no_newlines": {"patch.parses"},
    "patch.trailing_json": {"patch.parses"},
    "patch.unparsable": {"patch.parses", "patch.applies"},
    "sbom.empty_file_digest": {"sbom.hashes"},
    "sbom.hash_length": {"sbom.hashes", "sbom.schema"},
    "sbom.serial_number": {"sbom.serial_number", "sbom.schema"},
    "tar.missing_members": {"archive.members"},
}
# A deletion whose two names differ: git ignores the second one, we refuse every disagreement of names.
STRICTER = {"apply/file_text_delete.patch"}
# The in-toto library still takes Statement v0.1; the product asks for v1, with SLSA provenance.
OTHER_STATEMENTS = {"vectors/statement-wantSt.json", "vectors/statement-type-v0.1.json"}


def cases(folder: str) -> list[Any]:
    path = CORPORA / folder / "cases.json"
    if not path.is_file():
        return [pytest.param({}, marks=pytest.mark.skip(reason=f"no corpus {folder} beside the repository"))]
    return [pytest.param(case, id=case["id"]) for case in json.loads(path.read_text("utf-8"))["cases"]]


def read(folder: str, name: str) -> bytes:
    return (CORPORA / folder / name).read_bytes()


def reported(members: dict[str, bytes], tarball: bytes) -> dict[str, Outcome]:
    """What the checks say about loose files, and about the tarball beside them."""
    handover = honest_handover()
    found: dict[str, Outcome] = {}
    complete = {name: members.get(name, b"") for name in MEMBERS}
    raw = write_archive(complete)
    context = Context("rickfelix/EHG_Engineer", marker_subject="", branch="main", target_branch_sha=handover.base)
    loose = verify_bundle(raw, git=handover.git, context=context)
    whole = verify_bundle(tarball, git=handover.git, context=context)
    assert not loose.is_verified
    assert not whole.is_verified
    for result in loose.results:
        found[result.code] = result.outcome
    for result in whole.results:
        if result.group == "archive":
            found[result.code] = result.outcome
    return found


@pytest.mark.parametrize("case", cases("upstream-ehg"))
def test_the_first_implementations_bundles_are_refused_for_each_reason(case):
    folder = "upstream-ehg"
    names = {
        "manifest.json": "manifest",
        "changes.patch": "patch",
        "sbom.cdx.json": "sbom",
        "attestation.intoto.json": "attestation",
    }
    members = {name: read(folder, case[key]) for name, key in names.items() if key in case}
    if "bundle" in case:
        kind = "sbom.cdx.json" if case["bundle"].endswith(".cdx.json") else "attestation.intoto.json"
        members[kind] = read(folder, case["bundle"])
    tarball = read(folder, case["tarball"]) if case.get("tarball") else b""
    found = reported(members, tarball)
    if "changes.patch" in members and case.get("tarball"):
        found.update(_index_check(members["changes.patch"]))
    wanted = [defect["code"] for defect in case.get("defects", ()) if defect["level"] == "must"]
    assert wanted
    for code in wanted:
        for check in UPSTREAM[code]:
            assert found[check] is not Outcome.PASSED, f"{code}: {check} passed"
    if "sound" in case and "SBOM is schema-valid" in case["sound"]:
        assert found["sbom.schema"] is Outcome.PASSED


def _index_check(patch: bytes) -> dict[str, Outcome]:
    """Its hunk counts repaired, the patch applies; only then can its invented blob ids be seen."""
    starts = [match.start() for match in re.finditer(rb"(?m)^diff --git", patch)] + [len(patch)]
    repaired = b""
    for start, end in pairwise(starts):
        section = patch[start:end]
        added = sum(line.startswith(b"+") for line in section.split(b"\n")) - 1
        repaired += re.sub(rb"@@ -0,0 \+1,\d+ @@", b"@@ -0,0 +1,%d @@" % added, section)
    handover = honest_handover()
    report = handover.verify(handover.rebuilt(patch=repaired))
    assert "patch.applies" not in failed_codes(report)
    return {result.code: result.outcome for result in report.results if result.code == "patch.index_blobs"}


@pytest.mark.parametrize("case", [*cases("patches/go-gitdiff"), *cases("patches/python-unidiff")])
def test_patches_are_read_strictly(case):
    folder = next(
        f for f in ("patches/go-gitdiff", "patches/python-unidiff") if (CORPORA / f / case["bundle"]).is_file()
    )
    raw = read(folder, case["bundle"])
    source = (CORPORA / folder / case["bundle"]).with_suffix(".src")
    try:
        patch = parse_patch(raw, LIMITS)
        for file in patch.files if source.is_file() else ():
            base = source.read_bytes() if file.old_path else b""
            made = file.binary.apply(base, max_bytes=1 << 20) if file.binary else apply_hunks(base, file.hunks)
            assert made == source.with_suffix(".out").read_bytes()
        verdict = "pass"
    except PatchError:
        verdict = "fail"
    if case["expect"] == "fail" and verdict == "pass":
        assert not _applies(raw), "read, but it must not apply"
    if case["expect"] == "pass":
        assert verdict == ("fail" if case["id"] in STRICTER else "pass")


def _applies(raw: bytes) -> bool:
    """Whether a patch applies to a tree that has its files, each with other content."""
    git = honest_handover().git
    patch = parse_patch(raw, LIMITS)
    base = write_tree(git, {file.old_path: b"something else\n" for file in patch.files if file.old_path})
    try:
        git.result_tree(base, raw)
    except GitError:
        return False
    return True


@pytest.mark.parametrize("case", cases("cyclonedx-specification"))
def test_sboms_are_judged_as_the_specification_says(case):
    try:
        found = parse_sbom(read("cyclonedx-specification", case["bundle"]))
        is_good = not found.schema_errors and found.spec_version == SPEC_VERSION
    except BundleError:
        is_good = False
    assert is_good is (case["expect"] == "pass")


@pytest.mark.parametrize("case", cases("in-toto-attestation"))
def test_statements_are_judged_as_the_specification_says(case):
    raw = read("in-toto-attestation", case["bundle"])
    if "slsa-provenance-v1" in case["id"]:
        raw = _around(raw)
    try:
        parse_attestation(raw)
        is_good = True
    except BundleError:
        is_good = False
    if case["expect"] == "fail":
        assert not is_good
    if case["expect"] == "pass":
        assert is_good is (case["id"] not in OTHER_STATEMENTS)


def _around(predicate: bytes) -> bytes:
    subject = {"name": "x", "digest": {"sha256": "1" * 64}}
    statement = {"_type": "https://in-toto.io/Statement/v1", "subject": [subject], "predicateType": PROVENANCE_V1}
    return json.dumps({**statement, "predicate": json.loads(predicate)}).encode()


@pytest.mark.parametrize("case", cases("dsse"))
def test_envelopes_of_another_payload_type_are_read_and_refused(case):
    raw = read("dsse", case["id"])
    envelope = json.loads(raw)
    assert pae(envelope["payloadType"], base64.b64decode(envelope["payload"])) == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    with pytest.raises(BundleError, match=r"attestation\.envelope"):
        parse_attestation(raw)
