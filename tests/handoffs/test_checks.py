"""Every check: an honest bundle passes all, and each way to break one fails the check that is for it."""

from __future__ import annotations

import base64
import json
import random
import subprocess
import zlib
from dataclasses import replace
from functools import partial
from importlib.metadata import version

import pytest

from handoffs.attestations.attestations import EMPTY_SHA256, PROVENANCE_V02
from handoffs.bundles.bundle import Limits, digest_of, read_archive, write_archive
from handoffs.checks.catalogue import CHECKS, SECRETS, WITHHELD, Outcome
from handoffs.checks.verification import verify_bundle
from handoffs.rules import Approvals
from tests.support.bundles import (
    BASE_FILES,
    BUILDER,
    changed,
    failed_codes,
    hand_over,
    honest_handover,
    sentinel,
    with_patch,
    with_result,
    write_commit,
)
from tests.support.credentials import SURE

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


def _binary(kind: bytes, data: bytes) -> bytes:
    """One half of git's binary patch."""
    packed, lines = zlib.compress(data), b""
    for at in range(0, len(packed), 52):
        part = packed[at : at + 52]
        count = len(part) + (64 if len(part) <= 26 else 70)
        lines += bytes([count]) + base64.b85encode(part, pad=True) + b"\n"
    return b"%s %d\n%s\n" % (kind, len(data), lines)


@pytest.mark.threat("BUN-09")
def test_a_credential_in_pieces_of_a_binary_delta_is_found():
    kind, secret = next(pair for pair in SURE if pair[0] == "GitHub token")
    old, half = HONEST.git.read_file(HONEST.base, "src/logo.bin", max_bytes=1 << 20), len(secret) // 2
    pieces = [secret[:half].encode(), secret[half:].encode()]
    size = len(old)
    delta = (
        bytes([size & 127 | 128, size >> 7])
        + bytes([len(secret) & 127])
        + b"".join(bytes([len(p)]) + p for p in pieces)
    )
    blobs = [HONEST.git.write_blob(content) for content in (old, secret.encode())]
    patch = (
        b"diff --git a/src/logo.bin b/src/logo.bin\nindex %s..%s 100644\nGIT binary patch\n"
        % tuple(blob.encode() for blob in blobs)
        + _binary(b"delta", delta)
        + _binary(b"literal", old)
    )
    report = HONEST.verify(with_patch(HONEST, patch))
    assert failed_codes(report) == {SECRETS}
    assert f"{kind} in src/logo.bin" in next(result.got for result in report.results if result.code == SECRETS)


@pytest.mark.threat("PAT-09")
def test_a_merge_base_outside_the_history_is_refused():
    stranger = write_commit(HONEST.git, {"x": b"x\n"}, message="stranger\n")
    assert HONEST.failures(HONEST.raw, target_branch_sha=stranger) == {"merge_base.ancestor"}
    later = write_commit(HONEST.git, changed(BASE_FILES, {"x": b"x\n"}), HONEST.base)
    assert HONEST.failures(HONEST.raw, target_branch_sha=later) == set()
    assert HONEST.failures(HONEST.raw, target_branch_sha=later, max_commits_behind=0) == {"merge_base.recent"}
    assert HONEST.failures(HONEST.raw, target_branch_sha=later, max_commits_behind=1) == set()


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
@pytest.mark.parametrize("name", ["readme.md", "SRC/new.py", "Run.sh"])
def test_case_twins_are_refused(name):
    assert HONEST.failures(with_result(HONEST, {name: b"x\n"})) == {"patch.twins"}


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


@pytest.mark.threat("JSN-02")
@pytest.mark.parametrize(
    ("edit", "codes"),
    [
        (lambda d: d.update(specVersion="1.4"), {"sbom.spec_version"}),
        (lambda d: d.update(specVersion="1.6"), {"sbom.spec_version"}),
        (lambda d: d.pop("specVersion"), {"sbom.spec_version", "sbom.schema"}),
        (lambda d: d.pop("serialNumber"), {"sbom.serial_number"}),
        (lambda d: d.update(serialNumber="urn:uuid:1758336123385"), {"sbom.serial_number", "sbom.schema"}),
        (lambda d: d.update(components=[]), {"sbom.not_empty", "sbom.files"}),
        (lambda d: d["components"][1].pop("type"), {"sbom.schema", "sbom.files", "sbom.lock_delta"}),
        (lambda d: d["components"].pop(), {"sbom.files"}),
        (lambda d: d["components"][1]["hashes"][0].update(content="0" * 64), {"sbom.files"}),
        (lambda d: d["components"][1]["hashes"][0].update(content=EMPTY_SHA256), {"sbom.files", "sbom.hashes"}),
        (lambda d: d["components"][1]["hashes"][0].update(content="0" * 65), {"sbom.files", "sbom.hashes", "sbom.schema"}),
        (lambda d: d["components"][1]["hashes"].append({"alg": "SHA-512", "content": "1" * 128}), {"sbom.files"}),
        (lambda d: d["components"][1]["hashes"].append({"alg": "BLAKE3", "content": "1" * 64}), {"sbom.files"}),
        (lambda d: d["components"][1].update(name="src/other.py"), {"sbom.files"}),
        (lambda d: d["components"].append({"type": "file", "name": "artifact.tar.gz"}), {"sbom.files"}),
        (lambda d: d["components"].append({"type": "library", "name": "x", "purl": "pkg:pypi/x@1"}), {"sbom.lock_delta"}),
        (lambda d: d["components"].append({"type": "library", "name": "x"}), {"sbom.lock_delta"}),
        (lambda d: d.update(properties=[{"name": "leoportal:removed", "value": "pkg:pypi/x@1"}]), {"sbom.lock_delta"}),
        (lambda d: d.update(metadata={"timestamp": "2020-04-13"}), {"sbom.schema", "sbom.subject"}),
        (lambda d: d.pop("metadata"), {"sbom.subject"}),
        (lambda d: d["metadata"]["component"].update(name="acme/other"), {"sbom.subject"}),
        (lambda d: d["metadata"]["component"].update(type="library"), {"sbom.subject"}),
        (lambda d: d["metadata"]["component"].update(purl="pkg:pypi/other@1"), {"sbom.subject"}),
        (lambda d: d["metadata"]["component"].pop("hashes"), {"sbom.subject"}),
        (lambda d: d["metadata"]["component"]["hashes"][0].update(content="1" * 64), {"sbom.subject"}),
        (lambda d: d["metadata"]["component"].update(components=[{"type": "library", "name": "x", "purl": "pkg:npm/x@1"}]), {"sbom.lock_delta"}),
        (lambda d: d["components"][1].update({"bom-ref": d["components"][0]["bom-ref"]}), {"sbom.bom_refs"}),
        (lambda d: d["components"][0].update({"bom-ref": d["metadata"]["component"]["bom-ref"]}), {"sbom.bom_refs"}),
        (lambda d: d.update(services=[{"name": "s", "bom-ref": d["components"][0]["bom-ref"]}]), {"sbom.bom_refs"}),
        (lambda d: d["components"].append(d["components"][0]), {"sbom.files", "sbom.bom_refs", "sbom.schema"}),
        (lambda d: d["components"][0].update(licenses=[{"expression": "MIT AND"}]), {"sbom.licences"}),
        (lambda d: d["components"][0].update(licenses=[{"expression": "Mine-1.0"}]), {"sbom.licences"}),
        (lambda d: d["components"][0].update(licenses=[{"license": {"id": "Mine-1.0"}}]), {"sbom.schema"}),
        (lambda d: d["metadata"]["component"].update(licenses=[{"expression": "()"}]), {"sbom.licences"}),
        (lambda d: d["components"][0].update(purl="pkg:npm/x@1"), {"sbom.lock_delta"}),
        (lambda d: d["components"].append({"type": "container", "name": "x"}), {"sbom.lock_delta"}),
        (lambda d: d["components"].append({"type": "application", "name": "acme/payments"}), {"sbom.lock_delta"}),
        (lambda d: d["components"].append({"type": "library", "name": "x", "purl": "pkg:npm/x@1", "bom-ref": "pkg:npm/x@1 package.json"}), {"sbom.lock_delta"}),
        (lambda d: d.update(properties=[{"name": "leoportal:setting", "value": "x"}]), {"sbom.lock_delta"}),
        (lambda d: d.update(properties=[{"name": "leoportal:unread-lock-file", "value": "bun.lock"}]), {"sbom.lock_delta"}),
    ],
)  # fmt: skip
@pytest.mark.threat("JSN-02")
def test_a_wrong_sbom_is_refused(edit, codes):
    assert HONEST.failures(HONEST.rebuilt(sbom=edit)) == codes


@pytest.mark.threat("JSN-02")
@pytest.mark.parametrize(
    "files",
    [
        {"requirements.txt": b"django==5.1\nrequests==2.31.0\nflask==3.0.0\n"},
        {"requirements.txt": b"django==5.0\n"},
        {"requirements.txt": b"django==5.0\nrequests==2.31.0\n-i https://evil.example/packages\n"},
        {"pyproject.toml": b'[project]\nname = "p"\ndependencies = ["evil"]\n'},
        {"package.json": b'{"dependencies":{"evil":"^1"}}'},
        {"bun.lock": b"{}\n"},
    ],
)
def test_a_lock_file_or_manifest_and_the_sbom_must_agree(files):
    assert HONEST.failures(with_result(HONEST, files)) == {"sbom.lock_delta"}


@pytest.mark.threat("JSN-02")
@pytest.mark.parametrize(
    "edit",
    [
        lambda c: c.update(name="harmless"),
        lambda c: c.update(version="0.9"),
        lambda c: c.pop("version"),
        lambda c: c.update(purl="pkg:pypi/harmless@3.0.0"),
        lambda c: c.pop("purl"),
        lambda c: c.pop("bom-ref"),
        lambda c: c.update({"bom-ref": c["purl"]}),
        lambda c: c.update(type="file"),
    ],
)
def test_a_package_is_listed_under_its_own_name_and_version(tmp_path, edit):
    after = changed(BASE_FILES, {"requirements.txt": b"django==5.0\nrequests==2.31.0\nflask==3.0.0\n"})
    handover = hand_over(tmp_path / "forge.git", BASE_FILES, after)
    assert handover.failures(handover.raw) == set()
    raw = handover.rebuilt(sbom=lambda d: edit(d["components"][-1]))
    assert "sbom.lock_delta" in handover.failures(raw)


@pytest.mark.threat("JSN-02")
@pytest.mark.parametrize(
    "path", ["package-lock.json", "uv.lock", "sub/Cargo.toml", "pnpm-lock.yaml", "requirements.txt"]
)
def test_a_malformed_lock_file_is_refused_also_where_the_sbom_calls_it_unread(path):
    raw = with_result(HONEST, {path: b"{ what\n"})
    assert HONEST.failures(raw) >= {"sbom.lock_files"}
    marked = read_archive(raw, Limits()).members
    document = json.loads(marked["sbom.cdx.json"])
    document["properties"] = [{"name": "leoportal:unread-lock-file", "value": path}]
    again = HONEST.rebuilt(patch=marked["changes.patch"], sbom=json.dumps(document).encode())
    assert HONEST.failures(again) >= {"sbom.lock_files", "sbom.lock_delta"}


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


def _as_v02(document) -> None:
    predicate = document["predicate"]
    document["predicateType"] = PROVENANCE_V02
    dependency = predicate["buildDefinition"]["resolvedDependencies"][0]
    document["predicate"] = {
        "builder": {"id": BUILDER},
        "buildType": "https://acme.example/build@v1",
        "materials": [{"uri": dependency["uri"], "digest": {"sha1": dependency["digest"]["gitCommit"]}}],
    }


def _dependency(**changes):
    def edit(document) -> None:
        document["predicate"]["buildDefinition"]["resolvedDependencies"][0].update(changes)

    return edit


def _envelope(**changes):
    claim = HONEST.members["attestation.intoto.json"]
    honest = {
        "payload": base64.b64encode(claim).decode(),
        "payloadType": "application/vnd.in-toto+json",
        "signatures": [{"keyid": "k", "sig": base64.b64encode(b"anything").decode()}],
    }
    return json.dumps({**honest, **changes}).encode()


def test_provenance_v02_and_envelopes_are_accepted():
    assert HONEST.failures(HONEST.rebuilt(statement=_as_v02)) == set()
    members = {**HONEST.members, "attestation.intoto.json": _envelope()}
    report = HONEST.verify(write_archive(members))
    assert report.is_verified
    claim = next(result for result in report.results if result.code == "attestation.signature")
    assert claim.outcome is Outcome.CLAIMED


@pytest.mark.threat("ATT-01")
@pytest.mark.parametrize(
    "changes",
    [
        *({"payloadType": kind} for kind in (
            "application/vnd.in-toto+JSON", "application/vnd.in-toto+json; charset=utf-8", "application/json", "", "text/plain",
            " application/vnd.in-toto+json", "application/vnd.in-toto+json\n", "application/vnd.in\u2010toto+json", None, 1,
        )),
        {"payload": "not base64"}, {"payload": ""}, {"payload": "e30"}, {"signatures": []}, {"signatures": [{"sig": ""}]},
        {"signatures": [{"sig": "***"}]}, {"more": 1},
    ],
)  # fmt: skip
def test_other_envelopes_are_refused(changes):
    members = {**HONEST.members, "attestation.intoto.json": _envelope(**changes)}
    assert HONEST.failures(write_archive(members)) & {"attestation.envelope", "attestation.statement"}


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (lambda d: d.update(_type="https://in-toto.io/Statement/v0.1"), "attestation.statement"),
        (lambda d: d.update(more=1), "attestation.statement"),
        (lambda d: d.update(subject=[]), "attestation.statement"),
        (lambda d: d.update(predicateType=PROVENANCE_V02), "attestation.predicate"),
        (lambda d: d.update(predicateType="https://slsa.dev/provenance/v0.1"), "attestation.predicate"),
        (lambda d: d["predicate"].update(builder={"id": BUILDER}), "attestation.predicate"),
        (lambda d: d["predicate"].pop("runDetails"), "attestation.predicate"),
        (lambda d: d["subject"].pop(), "attestation.subjects"),
        (
            lambda d: d["subject"].append({"name": "artifact.tar.gz", "digest": {"sha256": "1" * 64}}),
            "attestation.subjects",
        ),
        (lambda d: d["subject"].append(d["subject"][0]), "attestation.subjects"),
        (lambda d: d["subject"][0].update(digest={"sha256": ""}), "attestation.digests"),
        (lambda d: d["subject"][0].update(digest={"sha256": EMPTY_SHA256}), "attestation.digests"),
        (lambda d: d["subject"][0].update(digest={"sha256": "1" * 64}), "attestation.digests"),
        (lambda d: d["subject"][0].update(digest={"sha512": "1" * 128}), "attestation.digests"),
        (lambda d: d["subject"][0]["digest"].update(sha512="1" * 128), "attestation.digests"),
        (lambda d: d["subject"][0]["digest"].update(sha3_256="1" * 64), "attestation.digests"),
        (lambda d: d["subject"][0]["digest"].update(sha1="1" * 39), "attestation.digests"),
        (lambda d: d["predicate"]["buildDefinition"].update(resolvedDependencies=[]), "attestation.merge_base"),
        (_dependency(uri="git+https://github.com/acme/other"), "attestation.merge_base"),
        (_dependency(digest={"gitCommit": "1" * 40}), "attestation.merge_base"),
        (_dependency(digest={"gitCommit": ""}), "attestation.materials"),
        (_dependency(uri="/home/codex/changes.patch"), "attestation.materials"),
        (_dependency(digest={}), "attestation.materials"),
        (lambda d: d["predicate"]["runDetails"]["builder"].update(id="codex-lane"), "attestation.builder"),
        (lambda d: d["predicate"]["runDetails"]["builder"].update(id=BUILDER + "2"), "attestation.builder"),
        (lambda d: d["predicate"]["buildDefinition"].update(buildType="mine"), "attestation.build_type"),
    ],
)
def test_a_wrong_attestation_is_refused(edit, code):
    assert code in HONEST.failures(HONEST.rebuilt(statement=edit))


@pytest.mark.threat("ATT-03")
def test_another_allowed_builder_than_the_manifests_is_refused():
    raw = HONEST.rebuilt(statement=lambda d: d["predicate"]["runDetails"]["builder"].update(id=BUILDER + "2"))
    assert HONEST.failures(raw, allowed_builders=(BUILDER, BUILDER + "2")) == {"attestation.builder"}


@pytest.mark.parametrize(
    ("notes", "code"),
    [
        (b"", "rollback.says_how"),
        (b"# Rollback\n\nTODO\n", "rollback.says_how"),
        (b"N/A\n" * 20, "rollback.says_how"),
        (b"\xff\xfe revert the commit that added the retries", "rollback.present"),
        (b"revert the commit \x1b[2J that added the retries", "rollback.present"),
    ],
)
def test_rollback_notes_that_say_nothing_are_refused(notes, code):
    assert code in HONEST.failures(HONEST.rebuilt(rollback=notes))


def test_a_credential_is_refused_and_never_repeated():
    secret = "ghp_" + "a1B2" * 9
    raw = with_result(HONEST, {"src/key.py": f"KEY = '{secret}'\n".encode()})
    report = HONEST.verify(raw)
    assert failed_codes(report) == {"secrets.none"}
    result = next(result for result in report.results if result.code == "secrets.none")
    assert "GitHub token in src/key.py:1" in result.got
    assert not any(secret in text for r in report.results for text in (r.got, r.expected))
    notes = b"Revert it. The password is in https://ann:hunter2hunter2@acme.example/\n"
    assert HONEST.failures(HONEST.rebuilt(rollback=notes)) == {"secrets.none"}


def test_what_the_checks_say_is_safe_to_print():
    raw = HONEST.rebuilt(manifest=lambda d: d.update(task="\x1b[2J\u202eevil"), rollback=b"\x1b]0;x\x07")
    for result in HONEST.verify(raw, branch="staging/\x1b[31m").results:
        assert result.got.isprintable()
        assert result.expected.isprintable()


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


@pytest.mark.threat("BUN-09")
def test_beside_a_credential_the_other_checks_say_nothing_of_what_they_saw():
    token = next(text for kind, text in SURE if kind == "GitHub token")
    raw = HONEST.rebuilt(manifest=lambda d: d.update(prd_id=f"{'x' * 30}{token}", merge_base=token, branch=token))
    results = HONEST.verify(raw).results
    assert {(result.got, result.expected) for result in results if result.code != SECRETS} == {(WITHHELD, WITHHELD)}
    (found,) = [result.got for result in results if result.code == SECRETS]
    assert found == "GitHub token in manifest.json:1"
