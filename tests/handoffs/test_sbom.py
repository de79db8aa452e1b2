"""Reading, judging and writing CycloneDX 1.5."""

from __future__ import annotations

import json
import time

import pytest

from handoffs.bundle import BundleError
from handoffs.lockfiles import LockDelta
from handoffs.sbom import SERIAL_NUMBER, build_sbom, parse_sbom

NOTHING = LockDelta(frozenset(), frozenset(), frozenset())


def built(**changes):
    honest = {"files": {"a": "0" * 64}, "delta": NOTHING, "repository": "o/n", "created_at": "2026-03-01T12:00:00Z"}
    return build_sbom(**{**honest, **changes})


def test_what_is_built_is_valid_and_deterministic():
    delta = LockDelta(
        frozenset({"pkg:npm/%40a/b@1.0", "pkg:pypi/x"}), frozenset({"pkg:pypi/y@1"}), frozenset({"bun.lock"})
    )
    raw = built(delta=delta, files={"ü b/c": "1" * 64, "a": "0" * 64})
    assert raw == built(delta=delta, files={"a": "0" * 64, "ü b/c": "1" * 64})
    found = parse_sbom(raw)
    assert not found.schema_errors
    assert SERIAL_NUMBER.match(found.serial_number)
    assert [component.name for component in found.components] == ["a", "ü b/c", "@a/b", "x"]
    assert found.property_values("leoportal:removed") == {"pkg:pypi/y@1"}


def test_a_change_that_only_deletes_still_has_an_sbom():
    assert parse_sbom(built(files={})).components


def test_nested_components_are_seen():
    document = json.loads(built())
    document["components"][0]["components"] = [{"type": "library", "name": "hidden", "purl": "pkg:pypi/hidden@1"}]
    assert [component.name for component in parse_sbom(json.dumps(document).encode()).components] == ["a", "hidden"]


@pytest.mark.parametrize("uri", ["a b", "http://[::1", "x\u0001y", "%zz", "<>"])
def test_formats_are_checked(uri):
    document = json.loads(built())
    document["components"][0]["externalReferences"] = [{"type": "vcs", "url": uri}]
    assert parse_sbom(json.dumps(document).encode()).schema_errors


@pytest.mark.parametrize("raw", [b"", b"[]", b"<bom/>", b'{"a":1,"a":2}', b"null", b'{"a":"x\\u0000y"}'])
def test_what_is_not_a_json_object_is_refused(raw):
    with pytest.raises(BundleError, match=r"sbom\.readable"):
        parse_sbom(raw)


def test_many_components_are_read_in_linear_time():
    parse_sbom(built())
    started = time.process_time()
    found = parse_sbom(built(files={f"file-{number}": f"{number:064x}" for number in range(4000)}))
    assert len(found.components) == 4000
    assert not found.schema_errors
    assert time.process_time() - started < 5
