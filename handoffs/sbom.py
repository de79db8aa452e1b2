"""CycloneDX 1.5 in JSON: reading and judging a builder's SBOM, writing the one of a change.

An SBOM here describes a change: every file it produces as a `file` component with its SHA-256, every
package a changed lock file newly pins as a component with its purl, and in the top-level properties
what is no longer pinned (`leoportal:removed`) and which lock files could not be read
(`leoportal:unread-lock-file`).

Source: CycloneDX 1.5 JSON schema, as shipped inside cyclonedx-python-lib.
"""

from __future__ import annotations

import functools
import json
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Final

import jsonschema_rs

from audit.canonical import JsonError, JsonValue, digest_json, parse_json, write_json
from handoffs.bundle import BundleError
from handoffs.lockfiles import LockDelta

SPEC_VERSION: Final = "1.5"
REMOVED: Final = "leoportal:removed"
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
_HOST: Final = "http://cyclonedx.org/schema/"


@dataclass(frozen=True)
class Component:
    """One component, nested ones included. Units: `hashes` pairs of algorithm and hex digits."""

    type: str
    name: str
    purl: str
    hashes: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Sbom:
    """What could be read of an SBOM, valid or not; `schema_errors` says what the schema refuses."""

    spec_version: str
    serial_number: str
    components: tuple[Component, ...]
    properties: tuple[tuple[str, str], ...]
    schema_errors: tuple[str, ...]

    def property_values(self, name: str) -> frozenset[str]:
        """Every value of one top-level property."""
        return frozenset(value for key, value in self.properties if key == name)


def parse_sbom(raw: bytes, *, max_bytes: int = 16 << 20) -> Sbom:
    """Read `sbom.cdx.json`.

    Raises: BundleError("sbom.readable") when it is not a JSON object.
    """
    try:
        document = parse_json(raw, max_bytes=max_bytes)
    except JsonError as error:
        raise BundleError("sbom.readable", str(error)) from None
    if not isinstance(document, dict):
        raise BundleError("sbom.readable", f"got {type(document).__name__}, expected a JSON object")
    errors = []
    for found in _validator().iter_errors(document):
        place = "/".join(str(part) for part in found.instance_path) or "document"
        errors.append(f"{place[:120]}: does not hold {'/'.join(str(part) for part in found.schema_path[-2:])}")
        if len(errors) == 20:
            break
    return Sbom(
        spec_version=_text(document.get("specVersion")),
        serial_number=_text(document.get("serialNumber")),
        components=tuple(_components(document)),
        properties=tuple(
            (_text(item.get("name")), _text(item.get("value"))) for item in _objects(document.get("properties"))
        ),
        schema_errors=tuple(errors),
    )


def build_sbom(*, files: Mapping[str, str], delta: LockDelta, repository: str, created_at: str) -> bytes:
    """The SBOM of a change, canonical JSON; the serial number follows from the content.

    Units: `files` maps the paths the change produces to SHA-256 in hex.
    """
    components: list[JsonValue] = [
        {
            "type": "file",
            "bom-ref": f"file:{path}",
            "name": path,
            "hashes": [{"alg": "SHA-256", "content": files[path]}],
        }
        for path in sorted(files)
    ]
    components += [_package(purl) for purl in sorted(delta.added)]
    marks = [(REMOVED, purl) for purl in sorted(delta.removed)] + [(UNREAD, path) for path in sorted(delta.unread)]
    if not components:
        components = [{"type": "application", "bom-ref": "repository", "name": repository}]
    document: dict[str, JsonValue] = {
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "version": 1,
        "metadata": {
            "timestamp": created_at,
            "component": {"type": "application", "bom-ref": f"repository:{repository}", "name": repository},
        },
        "components": components,
    }
    if marks:
        document["properties"] = [{"name": name, "value": value} for name, value in marks]
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(_NAMESPACE, digest_json(document))}"
    return write_json(document)


def _package(purl: str) -> JsonValue:
    head, _, version = purl.partition("@") if not purl.startswith("pkg:npm/%40") else _scoped(purl)
    name = head.split("/", 1)[1]
    found: dict[str, JsonValue] = {"type": "library", "bom-ref": purl, "name": name.replace("%40", "@"), "purl": purl}
    if version:
        found["version"] = version
    return found


def _scoped(purl: str) -> tuple[str, str, str]:
    head, _, version = purl.partition("@")
    return head, "@", version


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


def _components(document: dict[str, JsonValue]) -> Iterable[Component]:
    """Every component, however deep it is nested."""
    waiting = list(_objects(document.get("components")))
    waiting.reverse()
    while waiting:
        item = waiting.pop()
        hashes = tuple((_text(h.get("alg")), _text(h.get("content"))) for h in _objects(item.get("hashes")))
        yield Component(_text(item.get("type")), _text(item.get("name")), _text(item.get("purl")), hashes)
        waiting.extend(_objects(item.get("components")))


def _objects(value: JsonValue) -> list[dict[str, JsonValue]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else ""
