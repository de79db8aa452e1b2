"""Cases nobody here wrote: other projects' bundles, patches, SBOMs, statements and envelopes.

They lie beside the repository, in ../shared/corpora, and not in it; where they are absent the tests skip.
"""

from __future__ import annotations

import base64
import json
import re
from itertools import pairwise
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from audit.canonical import parse_json, write_json
from handoffs.attestations.attestations import PROVENANCE_V02, PROVENANCE_V1, STATEMENT_TYPE, parse_attestation
from handoffs.attestations.dsse import pae
from handoffs.bundles.archive import MEMBERS
from handoffs.bundles.bundle import BundleError, write_archive
from handoffs.bundles.limits import Limits
from handoffs.bundles.patches import apply_hunks
from handoffs.bundles.patches_binary import PatchError
from handoffs.bundles.patches_reading import parse_patch
from handoffs.checks.catalogue import Context, Outcome
from handoffs.checks.verification import verify_bundle
from handoffs.git.process import GitError
from tests.support.bundles import failed_codes, honest_handover, write_tree
from tests.support.corpora import CORPORA, all_of, cases, fits, read

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
# The key of the test vectors in the DSSE specification.
DSSE_KEY = ec.EllipticCurvePublicNumbers(
    46950820868899156662930047687818585632848591499744589407958293238635476079160,
    5640078356564379163099075877009565129882514886557779369047442380624545832820,
    ec.SECP256R1(),
)


# What a corpus says is wrong -> the codes of ours that say the same.
WHY_PATCH = (
    (r"bin_|delta|overflow", {"patch.parses", "patch.applies"}),
    (r"conflict|new file|short src", {"patch.applies"}),
    (r"malformed hunk line|hunk (longer|shorter)", {"patch.hunk_counts"}),
)
WHY_SBOM = ((r"spec version", {"sbom.spec_version", "sbom.schema"}), (r".", {"sbom.schema"}))
WHY_STATEMENT = (
    (r"slsa-provenance", {"attestation.predicate"}),
    (r"statement|resource|subject", {"attestation.statement"}),
)


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
    made_of = source.with_suffix(".out")
    code = ""
    try:
        patch = parse_patch(raw, LIMITS)
        for file in patch.files if source.is_file() and made_of.is_file() else ():
            base = source.read_bytes() if file.old_path else b""
            made = file.binary.apply(base, max_bytes=1 << 20) if file.binary else apply_hunks(base, file.hunks)
            assert made == made_of.read_bytes()
    except PatchError as error:
        code = error.code
    if case["expect"] == "fail":
        code = code or ("" if _applies(raw) else "patch.applies")
        assert fits(WHY_PATCH, case, code)
    if case["expect"] == "pass":
        assert bool(code) is has_two_names(raw)


def has_two_names(raw: bytes) -> bool:
    """Whether a file that is neither renamed nor copied has two names: git ignores one of them, we refuse."""
    named = re.match(rb"diff --git a/(\S+) b/(\S+)\n", raw)
    return named is not None and named[1] != named[2] and not re.search(rb"(?m)^(rename|copy) ", raw)


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
    handover = honest_handover()
    report = handover.verify(handover.rebuilt(sbom=read("cyclonedx-specification", case["bundle"])))
    failed = failed_codes(report) & {"sbom.readable", "sbom.schema", "sbom.spec_version"}
    if case["expect"] == "pass":
        assert not failed
    else:
        assert any(fits(WHY_SBOM, case, code) for code in failed)
        assert ("sbom.spec_version" in failed) is (case["expect"] == "unsupported-version")


@pytest.mark.parametrize("case", cases("in-toto-attestation"))
def test_statements_are_judged_as_the_specification_says(case):
    raw = read("in-toto-attestation", case["bundle"])
    if "slsa-provenance-v1" in case["id"]:
        raw = _around(raw)
    code = ""
    try:
        parse_attestation(raw)
    except BundleError as error:
        code = error.code
    if case["expect"] == "fail":
        assert fits(WHY_STATEMENT, case, code)
    if case["expect"] == "pass":
        # The in-toto library takes other versions and predicates; the product asks for v1, with SLSA provenance.
        value = json.loads(raw)
        is_ours = value.get("_type") == STATEMENT_TYPE and value.get("predicateType") in (PROVENANCE_V1, PROVENANCE_V02)
        assert bool(code) is not is_ours


def _around(predicate: bytes) -> bytes:
    subject = {"name": "x", "digest": {"sha256": "1" * 64}}
    statement = {"_type": "https://in-toto.io/Statement/v1", "subject": [subject], "predicateType": PROVENANCE_V1}
    return json.dumps({**statement, "predicate": json.loads(predicate)}).encode()


@pytest.mark.parametrize("case", cases("dsse"))
def test_envelopes_hold_and_are_refused_for_their_payload_type(case):
    raw = read("dsse", case["id"])
    envelope = json.loads(raw)
    assert pae(envelope["payloadType"], base64.b64decode(envelope["payload"])) == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    signature = base64.b64decode(envelope["signatures"][0]["sig"])
    if len(signature) == 64:
        signature = encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))
    signed = pae(envelope["payloadType"], base64.b64decode(envelope["payload"]))
    DSSE_KEY.public_key().verify(signature, signed, ec.ECDSA(hashes.SHA256()))
    with pytest.raises(BundleError, match=r"attestation\.envelope"):
        parse_attestation(raw)


@pytest.mark.parametrize("case", cases("octokit-webhooks"))
def test_webhooks_are_read_and_come_out_the_same(case):
    raw = read("octokit-webhooks", case["bundle"])
    assert parse_json(raw) == json.loads(raw)
    assert parse_json(write_json(parse_json(raw))) == parse_json(raw)


def test_githubs_description_names_every_operation():
    wanted = all_of("github-openapi")
    if not wanted:
        pytest.skip("no corpus github-openapi in ../shared/corpora")
    document: Any = parse_json(read("github-openapi", "api.github.com.subset.json"), max_bytes=1 << 24)
    found = {
        f"{method.upper()} {path}": operation["operationId"]
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if "operationId" in operation
    }
    assert {case["id"]: case["why"] for case in wanted} == {case["id"]: found.get(case["id"]) for case in wanted}
