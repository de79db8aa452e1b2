"""The checks of the SBOM: one thing made wrong at a time."""

from __future__ import annotations

import json

import pytest

from handoffs.attestations.attestations import EMPTY_SHA256
from handoffs.bundles.bundle import Limits, read_archive
from tests.support.bundles import (
    BASE_FILES,
    changed,
    hand_over,
    honest_handover,
    with_result,
)

HONEST = honest_handover()


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
        (lambda d: d["components"][0].update(licenses=[{"expression": ""}]), {"sbom.licences"}),
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


@pytest.mark.threat("JSN-02")
def test_where_a_part_is_of_another_type_nothing_else_is_said_of_the_sbom():
    report = HONEST.verify(HONEST.rebuilt(sbom=lambda d: d["components"][0].update(name=7)))
    told = {result.code: result for result in report.results if result.group == "sbom"}
    assert told["sbom.readable"].outcome == "PASSED"
    assert "components/0/name" in told["sbom.schema"].got
    others = told.keys() - {"sbom.readable", "sbom.schema", "sbom.lock_files"}
    assert all(told[code].is_unchecked for code in others)
