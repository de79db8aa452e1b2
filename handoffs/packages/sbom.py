"""CycloneDX 1.5 in JSON: reading and judging a builder's SBOM, writing the one of a change.

An SBOM here describes a change. Its subject (`metadata.component`) is the repository with the SHA-256 of the patch.
Every file the change produces is a `file` component with its SHA-256. Every new statement about a package in a changed
lock file or manifest is a component with its purl, whose `bom-ref` is the whole statement (purl, path, section, range,
source, digest). Top-level properties hold what is no longer said (`leoportal:removed`), new statements about no package
(`leoportal:setting`), and files that could not be read (`leoportal:unread-lock-file`).

Source: CycloneDX 1.5 JSON schema, as shipped inside cyclonedx-python-lib.
"""

from __future__ import annotations

import functools
import json
import re
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Final, NamedTuple

import jsonschema_rs

from audit.canonical import JsonError, JsonValue, digest_json, parse_json, write_json
from handoffs.bundles.bundle import BundleError
from handoffs.packages.licences import is_valid_expression
from handoffs.packages.lockfiles import LockDelta
from handoffs.packages.pins import Pin, name_of, version_of

SPEC_VERSION: Final = "1.5"
REMOVED: Final = "leoportal:removed"
SETTING: Final = "leoportal:setting"
UNREAD: Final = "leoportal:unread-lock-file"
HASH_LENGTHS: Final = {
    "MD5": 32,
    "SHA-1": 40,
    "SHA-256": 64,
    "SHA-384": 96,
    "SHA-512": 128,
    "SHA3-256": 64,
    "SHA3-384": 96,
    "SHA3-512": 128,
    "BLAKE2b-256": 64,
    "BLAKE2b-384": 96,
    "BLAKE2b-512": 128,
    "BLAKE3": 64,
}
SERIAL_NUMBER: Final = re.compile(r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z")
_NAMESPACE: Final = uuid.UUID("6f9e2a54-6d0c-5e0a-9a53-2c8f7b1d4e10")
_SCHEMAS: Final = "cyclonedx.schema._res"
_WITHOUT_REFS: Final = frozenset({"hashes", "properties", "externalReferences"})
_LICENCE_KINDS: Final = ("expression", "id", "name")
_TEXTS: Final = ("type", "name", "purl", "version", "bom-ref")
_CONTAINERS: Final = frozenset({dict, list})
_HOST: Final = "http://cyclonedx.org/schema/"


class Component(NamedTuple):
    """One component, nested ones included.

    Units: `hashes` pairs of algorithm and hex digits; `licences` pairs of `expression`, `id` or `name` and its text.
    """

    type: str
    name: str
    purl: str
    hashes: tuple[tuple[str, str], ...] = ()
    version: str = ""
    licences: tuple[tuple[str, str], ...] = ()
    bom_ref: str = ""


@dataclass(frozen=True)
class Sbom:
    """What could be read of an SBOM, valid or not; `schema_errors` says what the schema refuses.

    `subject` is `metadata.component`; `repeated_refs` are the values of `bom-ref` that stand more than once.
    """

    spec_version: str
    serial_number: str
    subject: Component | None
    components: tuple[Component, ...]
    properties: tuple[tuple[str, str], ...]
    repeated_refs: tuple[str, ...]
    schema_errors: tuple[str, ...]

    def property_values(self, name: str) -> frozenset[str]:
        """Every value of one top-level property."""
        return frozenset(value for key, value in self.properties if key == name)


def parse_sbom(raw: bytes, *, max_bytes: int = 16 << 20) -> Sbom:
    """Read `sbom.cdx.json`.

    Raises: BundleError("sbom.readable") when it is not a JSON object.
    """
    validator = _validator()
    try:
        document = parse_json(raw, max_bytes=max_bytes)
    except JsonError as error:
        raise BundleError("sbom.readable", str(error)) from None
    if not isinstance(document, dict):
        raise BundleError("sbom.readable", f"got {type(document).__name__}, expected a JSON object")
    errors = []
    for found in validator.iter_errors(document):
        place = "/".join(str(part) for part in found.instance_path) or "document"
        errors.append(f"{place[:120]}: does not hold {'/'.join(str(part) for part in found.schema_path[-2:])}")
        if len(errors) == 20:
            break
    metadata = document.get("metadata")
    subject = _objects([metadata["component"]]) if isinstance(metadata, dict) and "component" in metadata else []
    components = _described(_components(document, *subject))
    about = _described(subject)
    told = [found.bom_ref for found in (*components, *about)]
    # Where these are as many as the bytes hold, and no escape can spell another, no more need to be looked for.
    is_told = raw.count(b'"bom-ref"') == len(set(told) - {""}) and b"\\u" not in raw
    return Sbom(
        spec_version=_text(document.get("specVersion")),
        serial_number=_text(document.get("serialNumber")),
        subject=about[0] if about else None,
        components=components,
        properties=_pairs(document.get("properties"), "name", "value"),
        repeated_refs=() if is_told else _repeated_refs(document),
        schema_errors=tuple(errors),
    )


@dataclass(frozen=True)
class Subject:
    """What an SBOM is about. Units: `patch_digest` SHA-256 in hex of `changes.patch`; `created_at` RFC 3339, UTC."""

    repository: str
    patch_digest: str
    created_at: str


def build_sbom(subject: Subject, *, files: Mapping[str, str], delta: LockDelta) -> bytes:
    """The SBOM of a change, canonical JSON; the serial number follows from the content.

    Units: `files` maps the paths the change produces to SHA-256 in hex.
    """
    components: list[JsonValue] = [
        {"type": "file", "bom-ref": f"file:{path}", "name": path, "hashes": [_sha256(files[path])]}
        for path in sorted(files)
    ]
    components += [_package(pin) for pin in sorted(delta.added) if pin.purl]
    marks = [(REMOVED, pin.text) for pin in sorted(delta.removed)]
    marks += [(SETTING, pin.said) for pin in sorted(delta.added) if not pin.purl]
    marks += [(UNREAD, path) for path in sorted(delta.unread)]
    name = subject.repository
    if not components:
        components = [{"type": "application", "bom-ref": "repository", "name": name}]
    about: dict[str, JsonValue] = {
        "type": "application",
        "bom-ref": f"repository:{name}",
        "name": name,
        "hashes": [_sha256(subject.patch_digest)],
    }
    document: dict[str, JsonValue] = {
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "version": 1,
        "metadata": {"timestamp": subject.created_at, "component": about},
        "components": components,
    }
    if marks:
        document["properties"] = [{"name": key, "value": value} for key, value in marks]
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(_NAMESPACE, digest_json(document))}"
    return write_json(document)


def _package(pin: Pin) -> JsonValue:
    """One statement about a package, and the licence the lock file names, where it is an SPDX expression."""
    found: dict[str, JsonValue] = {
        "type": "library",
        "bom-ref": pin.text,
        "name": name_of(pin.purl),
        "purl": pin.purl,
    }
    if version_of(pin.purl):
        found["version"] = version_of(pin.purl)
    if pin.licence and is_valid_expression(pin.licence):
        found["licenses"] = [{"expression": pin.licence}]
    return found


def _sha256(digest: str) -> JsonValue:
    return {"alg": "SHA-256", "content": digest}


@functools.cache
def _validator() -> jsonschema_rs.Draft7Validator:
    """The schema with the two it refers to, compiled once; nothing is fetched."""
    folder = resources.files(_SCHEMAS)
    schemas = {
        name: json.loads(folder.joinpath(f"{name}.SNAPSHOT.schema.json").read_bytes())
        for name in ("bom-1.5", "spdx", "jsf-0.82")
    }
    others = [(f"{_HOST}{name}.SNAPSHOT.schema.json", schemas[name]) for name in ("spdx", "jsf-0.82")]
    registry = jsonschema_rs.Registry(others)
    return jsonschema_rs.Draft7Validator(schemas["bom-1.5"], validate_formats=True, registry=registry, offline=True)


def _components(document: dict[str, JsonValue], *subject: dict[str, JsonValue]) -> list[dict[str, JsonValue]]:
    """Every component, however deep it is nested, also those nested in the subject."""
    waiting = [item for part in (*subject, document) for item in _objects(part.get("components"))]
    waiting.reverse()
    found = []
    while waiting:
        item = waiting.pop()
        found.append(item)
        if "components" in item:
            waiting.extend(_objects(item["components"]))
    return found


def _described(items: list[dict[str, JsonValue]]) -> tuple[Component, ...]:
    """What is kept of components: of equal licences, which most have, one.

    Texts are copied, side by side: each would keep the memory around it, which is the whole document's. None of them
    holds U+0000, which `parse_json` refuses.
    """
    said = [value if type(value) is str else "" for item in items for value in map(item.get, _TEXTS)]
    copies = "\0".join(said).split("\0")
    if len(copies) != len(said):
        copies = said
    same: dict[_Pairs, _Pairs] = {}
    hashes = [_pairs(item["hashes"], "alg", "content") if "hashes" in item else () for item in items]
    licences = [_licences(item["licenses"]) if "licenses" in item else () for item in items]
    kept = [same.setdefault(pairs, pairs) for pairs in licences]
    kinds, names, purls, versions, refs = (copies[at :: len(_TEXTS)] for at in range(len(_TEXTS)))
    return tuple(map(Component, kinds, names, purls, hashes, versions, kept, refs))


type _Pairs = tuple[tuple[str, str], ...]


def _licences(value: JsonValue) -> tuple[tuple[str, str], ...]:
    found = []
    for choice in _objects(value):
        licence = choice.get("license")
        inner = licence if isinstance(licence, dict) else {}
        found += [
            (kind, _text(inner[kind] if kind in inner else choice[kind]))
            for kind in _LICENCE_KINDS
            if kind in inner or kind in choice
        ]
    return tuple(found)


def _repeated_refs(document: JsonValue) -> tuple[str, ...]:
    """Every `bom-ref` that stands twice, wherever the specification has one."""
    refs: list[JsonValue] = []
    level = [document]
    while level:
        maps = [value for value in level if type(value) is dict]
        refs += [found["bom-ref"] for found in maps if "bom-ref" in found]
        below = [
            item
            for found in maps
            for key, item in found.items()
            if type(item) in _CONTAINERS and key not in _WITHOUT_REFS
        ]
        level = below + [item for found in level if type(found) is list for item in found if type(item) in _CONTAINERS]
    texts = [ref for ref in refs if isinstance(ref, str)]
    return () if len(set(texts)) == len(texts) else tuple(ref for ref, count in Counter(texts).items() if count > 1)


def _pairs(value: JsonValue, first: str, second: str) -> tuple[tuple[str, str], ...]:
    return tuple((_text(item.get(first)), _text(item.get(second))) for item in _objects(value))


def _objects(value: JsonValue) -> list[dict[str, JsonValue]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else ""
