"""Reading, judging and writing CycloneDX 1.5."""

from __future__ import annotations

import copy
import gc
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from audit.canonical import write_json
from handoffs.bundles.bundle import BundleError, Limits, digest_of, read_archive
from handoffs.checks.catalogue import CHECKS, GitFacts, Outcome, read_parts
from handoffs.checks.isolation import Ceiling, run_isolated
from handoffs.git.repository import TreeChange
from handoffs.packages.components import component_delta
from handoffs.packages.licences import is_valid_expression
from handoffs.packages.lockfiles import LockDelta, lock_delta
from handoffs.packages.pins import Pin
from handoffs.packages.sbom import SERIAL_NUMBER, Subject, build_sbom, parse_sbom
from tests.support.bundles import honest_handover

SUBJECT = Subject("o/n", "1" * 64, "2026-03-01T12:00:00Z")
HONEST = honest_handover()
REQUIRED: tuple[tuple[Any, ...], ...] = (
    ("bomFormat",), ("specVersion",), ("components", 0, "type"), ("components", 0, "name"), ("components", 0, "hashes", 0, "alg"),
    ("components", 0, "hashes", 0, "content"), ("components", 0, "externalReferences", 0, "url"), ("dependencies", 0, "ref"),
    ("metadata", "component", "type"),
)  # fmt: skip


def built(**changes) -> bytes:
    honest = {"files": {"a": "0" * 64}, "delta": LockDelta()}
    return build_sbom(SUBJECT, **{**honest, **changes})


def rich() -> dict[str, Any]:
    """A valid document with something in every part that is judged."""
    document: dict[str, Any] = json.loads(
        built(delta=LockDelta(added=frozenset({Pin("pkg:npm/%40a/b@1.0", "package-lock.json", "MIT OR Apache-2.0")})))
    )
    document["components"][0] |= {
        "licenses": [{"license": {"id": "MIT"}}],
        "externalReferences": [{"type": "vcs", "url": "https://x.example/a"}],
        "components": [{"type": "library", "name": "nested"}],
    }
    document["dependencies"] = [{"ref": "file:a", "dependsOn": ["pkg:npm/%40a/b@1.0"]}]
    document["metadata"]["tools"] = [{"vendor": "v", "name": "n", "version": "1"}]
    return document


def test_what_is_built_is_valid_and_deterministic():
    delta = LockDelta(
        added=frozenset(
            {
                Pin("pkg:npm/%40a/b@1.0", "x/package-lock.json", "MIT"),
                Pin("pkg:npm/%40a/b@1.0", "package-lock.json"),
                Pin("pkg:pypi/x", "requirements.in >=1"),
                Pin("", "requirements.in -i https://i.example"),
            }
        ),
        removed=frozenset({Pin("pkg:pypi/y@1", "requirements.in")}),
        unread=frozenset({"bun.lock"}),
    )
    raw = built(delta=delta, files={"ü b/c": "1" * 64, "a": "0" * 64})
    assert raw == built(delta=delta, files={"a": "0" * 64, "ü b/c": "1" * 64})
    found = parse_sbom(raw)
    assert not found.schema_errors
    assert not found.repeated_refs
    assert SERIAL_NUMBER.match(found.serial_number)
    assert found.subject is not None
    assert found.subject.hashes == (("SHA-256", "1" * 64),)
    assert [component.name for component in found.components] == ["a", "ü b/c", "@a/b", "@a/b", "x"]
    assert found.components[3].bom_ref == "pkg:npm/%40a/b@1.0 x/package-lock.json"
    assert found.components[3].licences == (("expression", "MIT"),)
    assert found.property_values("leoportal:removed") == {"pkg:pypi/y@1 requirements.in"}
    assert found.property_values("leoportal:setting") == {"requirements.in -i https://i.example"}
    assert found.property_values("leoportal:unread-lock-file") == {"bun.lock"}


def test_a_change_that_only_deletes_still_has_an_sbom():
    assert parse_sbom(built(files={})).components


def test_nested_components_are_seen_also_those_of_the_subject():
    document = json.loads(built())
    document["components"][0]["components"] = [{"type": "library", "name": "hidden", "purl": "pkg:pypi/hidden@1"}]
    document["metadata"]["component"]["components"] = [{"type": "library", "name": "deep"}]
    names = {component.name for component in parse_sbom(json.dumps(document).encode()).components}
    assert names == {"a", "hidden", "deep"}


@pytest.mark.parametrize("uri", ["a b", "http://[::1", "x\u0001y", "%zz", "<>"])
def test_formats_are_checked(uri):
    document = json.loads(built())
    document["components"][0]["externalReferences"] = [{"type": "vcs", "url": uri}]
    assert parse_sbom(json.dumps(document).encode()).schema_errors


@pytest.mark.threat("JSN-02")
@pytest.mark.parametrize("raw", [b"", b"[]", b"<bom/>", b'"<bom xmlns=\\"http://cyclonedx.org/schema/bom/1.5\\"/>"', b'{"a":1,"a":2}', b"null", b'{"a":"x\\u0000y"}'])  # fmt: skip
def test_what_is_not_a_json_object_is_refused(raw):
    with pytest.raises(BundleError, match=r"sbom\.readable"):
        parse_sbom(raw)
    assert gc.isenabled()


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*at, key))


def mutations() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every value of another type, every object with a stranger, and what the specification requires left out."""
    honest = rich()
    for place in places(honest):
        if not place:
            continue
        document = copy.deepcopy(honest)
        parent = document
        for key in place[:-1]:
            parent = parent[key]
        value = parent[place[-1]]
        parent[place[-1]] = 7 if isinstance(value, str | dict | list) else "seven"
        yield f"{place} of another type", document
        if isinstance(value, dict):
            document = copy.deepcopy(honest)
            parent = document
            for key in place:
                parent = parent[key]
            parent["stranger"] = 1
            yield f"{place} with a stranger", document
    for place in REQUIRED:
        document = copy.deepcopy(honest)
        parent = document
        for key in place[:-1]:
            parent = parent[key]
        del parent[place[-1]]
        yield f"no {place}", document
    for key, value in (
        ("bomFormat", "SPDX"),
        ("version", 0),
        ("serialNumber", "urn:uuid:1758336123385"),
        ("stranger", 1),
    ):
        yield f"{key} is {value}", {**honest, key: value}


@pytest.mark.threat("JSN-02")
def test_schema_mutated_sboms_are_refused_and_the_valid_one_is_accepted():
    honest = parse_sbom(json.dumps(rich()).encode())
    assert not honest.schema_errors
    assert not honest.repeated_refs
    refused = 0
    for name, document in mutations():
        try:
            found = parse_sbom(json.dumps(document).encode())
            assert found.schema_errors or found.spec_version != "1.5", name
        except BundleError as error:
            assert error.code == "sbom.schema", name
        refused += 1
    assert refused >= 60


@pytest.mark.threat("JSN-02")
def test_a_document_of_version_16_is_refused_whatever_it_calls_itself():
    document = rich()
    document["components"][1]["cryptoProperties"] = {"assetType": "algorithm"}
    assert parse_sbom(json.dumps(document).encode()).schema_errors
    document = rich() | {"specVersion": "1.6"}
    raw = HONEST.rebuilt(sbom=lambda d: d.update(specVersion="1.6"))
    assert parse_sbom(json.dumps(document).encode()).spec_version == "1.6"
    assert HONEST.failures(raw) == {"sbom.spec_version"}


@pytest.mark.parametrize(
    ("text", "is_valid"),
    [
        ("MIT", True), ("mit", True), ("MIT OR Apache-2.0", True), ("(MIT OR ISC) AND BSD-3-Clause", True),
        ("GPL-2.0-only WITH Classpath-exception-2.0", True), ("GPL-2.0+", True), ("MIT+", True),
        ("LicenseRef-mine", True), ("DocumentRef-x:LicenseRef-mine", True), ("(" * 32 + "MIT" + ")" * 32, True),
        ("", False), ("  ", False), ("MIT AND", False), ("MIT MIT", False), ("()", False), ("(MIT", False), ("MIT)", False),
        ("MIT/X11", False), ("MIT, ISC", False), ("Foo", False), ("MIT and ISC", False), ("SEE LICENSE IN x", False),
        ("UNLICENSED", False), ("MIT WITH Foo", False), ("MIT WITH ISC", False), ("Classpath-exception-2.0", False),
        ("MIT WITH (ISC)", False), ("MIT\u0000", False), ("M\u0406T", False), ("(" * 33 + "MIT" + ")" * 33, False),
        ("MIT OR " * 100 + "MIT", False),
    ],
)  # fmt: skip
def test_licence_expressions_are_parsed_and_never_guessed(text, is_valid):
    assert is_valid_expression(text) is is_valid


def test_the_component_delta_tells_added_removed_and_changed_with_licences():
    before = {"requirements.txt": b"a==1\nb==2\nsame==1\n", "package.json": b'{"dependencies":{"n":"^1"}}'}
    after = {
        "requirements.txt": b"a==2\nc\nsame==1\n-i https://i.example\n",
        "package.json": b'{"dependencies":{"n":"^2"}}',
        "bun.lock": b"",
        "uv.lock": b"{",
    }
    delta = lock_delta(before, after)
    document = json.loads(built(delta=delta))
    for component in document["components"]:
        if component["name"] == "a":
            component["licenses"] = [{"license": {"id": "MIT"}}]
    found = component_delta(delta, parse_sbom(json.dumps(document).encode()))
    assert found.is_known
    assert [(row.name, row.after, row.licence) for row in found.added] == [("c", (), "")]
    assert [(row.name, row.before) for row in found.removed] == [("b", ("2",))]
    assert [(row.name, row.before, row.after, row.licence) for row in found.changed] == [
        ("n", (), (), ""),
        ("a", ("1",), ("2",), "MIT"),
    ]
    assert found.changed[0].said == ("package.json dependencies ^2",)
    assert found.settings_added == ("requirements.txt -i https://i.example",)
    assert (found.unread, found.malformed) == (("bun.lock",), ("uv.lock",))
    assert found.counts["unknown_licences"] == 2
    first = component_delta(delta, parse_sbom(json.dumps(document).encode()), at_most=1)
    assert first.as_json(at_most=1) == found.as_json(at_most=1)
    assert [row.name for row in first.changed] == ["n"]
    told: Any = found.as_json(at_most=1)
    assert told["counts"]["changed"] == 2
    assert len(told["changed"]) == 1
    assert told["added"][0]["licence"] is None


@pytest.mark.threat("PAT-06")
@pytest.mark.parametrize("name", ["requirements.txt", "bun.lock", "uv.lock"])
def test_what_is_told_of_packages_is_safe_to_store_and_to_print(name):
    """A path that is not UTF-8 ended `leo bundle verify --json`, and the lane's step, again and again."""
    delta = lock_delta({}, {f"d\udcff\x9b\u202e/{name}": "a ; '\x9b\u202e'\n-i \u202e\n".encode()})
    told = write_json(component_delta(delta, parse_sbom(built())).as_json()).decode()
    assert told.isprintable()
    assert "d\\\\udcff\\\\x9b\\\\u202e/" in told or "d%FF%C2%9B%E2%80%AE/" in told


def test_nothing_is_known_of_a_change_that_was_not_applied():
    assert component_delta(None, parse_sbom(built())).as_json()["is_known"] is False


@pytest.mark.threat("JSN-02")
def test_as_many_components_as_may_be_are_judged_within_the_ceiling():
    """Twenty thousand components whose addresses are long; `bench` has the growth (goal 3)."""
    count = 10_000
    added = frozenset(Pin(f"pkg:pypi/p{n}@1.{n}", "requirements.txt") for n in range(count))
    blobs = {f"{n:040x}": b"%d" % n for n in range(count)}
    changes = tuple(TreeChange(f"f{n}", "A", "000000", "100644", "0" * 40, f"{n:040x}") for n in range(count))
    delta = LockDelta(added=added, files=frozenset({"requirements.txt"}))
    document = json.loads(built(delta=delta, files={f"f{n}": digest_of(b"%d" % n) for n in range(count)}))
    for component in document["components"][:300]:
        component["externalReferences"] = [{"type": "vcs", "url": "https://x.example/" + "a" * 4000}]
    raw = json.dumps(document).encode()
    evidence = read_parts(read_archive(HONEST.raw, Limits()), digest_of(HONEST.raw), HONEST.context(HONEST.raw))
    facts = GitFacts(result_tree="0" * 40, apply_error="", changes=changes, blobs=blobs, packages=delta)
    checks = [check for check in CHECKS if check.group == "sbom" and check.code != "sbom.subject"]

    def judge() -> tuple[str, ...]:
        whole = replace(evidence, sbom=parse_sbom(raw), facts=facts)
        results = [check.run(whole) for check in checks]
        return tuple(result.code for result in results if result.outcome is not Outcome.PASSED)

    assert run_isolated(tuple[str, ...], judge, Ceiling()) == ()
