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
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from itertools import islice
from typing import Final

import jsonschema_rs
import msgspec

from audit.canonical import JsonError, JsonValue, digest_json, parse_json, write_json
from handoffs.bundles.bundle import BundleError
from handoffs.collecting import uncollected
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
_CONTAINERS: Final = frozenset({dict, list})
_MAX_ERRORS: Final = 20


class _Wire(msgspec.Struct, frozen=True, gc=False):
    """A part of the document, as far as anything here looks at it; what is not of its type is refused."""


class _Hash(_Wire, frozen=True):
    alg: str = ""
    content: str = ""


class _Licence(_Wire, frozen=True):
    expression: str | None = None
    id: str | None = None
    name: str | None = None


class _Choice(_Licence, frozen=True):
    license: _Licence = _Licence()


class Component(_Wire, frozen=True):
    """One component; those nested in it stand behind it in an `Sbom`, too."""

    type: str = ""
    name: str = ""
    purl: str = ""
    version: str = ""
    bom_ref: str = msgspec.field(default="", name="bom-ref")
    hash_values: tuple[_Hash, ...] = msgspec.field(default=(), name="hashes")
    choices: tuple[_Choice, ...] = msgspec.field(default=(), name="licenses")
    components: tuple[Component, ...] = ()

    @property
    def hashes(self) -> tuple[tuple[str, str], ...]:
        """Pairs of algorithm and hex digits."""
        return tuple([(found.alg, found.content) for found in self.hash_values])

    @property
    def licences(self) -> tuple[tuple[str, str], ...]:
        """Pairs of `expression`, `id` or `name` and its text."""
        said = []
        for choice in self.choices:
            for kind in _Licence.__struct_fields__:
                inner, outer = getattr(choice.license, kind), getattr(choice, kind)
                said += [(kind, text) for text in (inner, outer) if text is not None][:1]
        return tuple(said)


class _Property(_Wire, frozen=True):
    name: str = ""
    value: str = ""


class _Metadata(_Wire, frozen=True):
    component: Component | None = None


class _Document(_Wire, frozen=True, rename="camel"):
    spec_version: str = ""
    serial_number: str = ""
    metadata: _Metadata = _Metadata()
    components: tuple[Component, ...] = ()
    properties: tuple[_Property, ...] = ()


_READER: Final = msgspec.json.Decoder(_Document)


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

    def licence_expressions(self) -> frozenset[str]:
        """Every licence expression, the subject's too."""
        about = () if self.subject is None else (self.subject,)
        choices = [choice for component in (*self.components, *about) for choice in component.choices]
        said = [text for choice in choices for text in (choice.expression, choice.license.expression)]
        return frozenset([text for text in said if text is not None])


@uncollected()
def parse_sbom(raw: bytes, *, max_bytes: int = 16 << 20) -> Sbom:
    """Read `sbom.cdx.json`.

    Raises: BundleError("sbom.readable") when it is not a JSON object, BundleError("sbom.schema") when a part that is
    looked at is of another type than the schema says.
    """
    errors = _schema_errors(raw, max_bytes)
    try:
        # Not made of the document, which is gone by now: texts of it would keep the memory around them.
        read = _READER.decode(raw)
    except msgspec.ValidationError as error:
        raise BundleError("sbom.schema", "; ".join(errors[:5]) or str(error)) from None
    subject = read.metadata.component
    about = () if subject is None else (subject,)
    components = tuple(_flat((*(inner for part in about for inner in part.components), *read.components)))
    told = {found.bom_ref for found in (*components, *about)} - {""}
    # Where these are as many as the bytes hold, and no escape can spell another, no more need to be looked for.
    is_told = raw.count(b'"bom-ref"') == len(told) and (b"\\" not in raw or b"\\u" not in raw)
    return Sbom(
        spec_version=read.spec_version,
        serial_number=read.serial_number,
        subject=subject,
        components=components,
        properties=tuple([(found.name, found.value) for found in read.properties]),
        repeated_refs=() if is_told else _repeated_refs(parse_json(raw, max_bytes=max_bytes)),
        schema_errors=errors,
    )


def _schema_errors(raw: bytes, max_bytes: int) -> tuple[str, ...]:
    """What the schema refuses, at most twenty times; the document is read strictly for it."""
    validator = _validator()
    try:
        document = parse_json(raw, max_bytes=max_bytes)
    except JsonError as error:
        raise BundleError("sbom.readable", str(error)) from None
    if not isinstance(document, dict):
        raise BundleError("sbom.readable", f"got {type(document).__name__}, expected a JSON object")
    errors = []
    for found in islice(validator.iter_errors(document), _MAX_ERRORS):
        place = "/".join(str(part) for part in found.instance_path) or "document"
        errors.append(f"{place[:120]}: does not hold {'/'.join(str(part) for part in found.schema_path[-2:])}")
    return tuple(errors)


def _flat(components: Iterable[Component]) -> Iterator[Component]:
    """Every component, however deep it is nested."""
    for component in components:
        yield component
        if component.components:
            yield from _flat(component.components)


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
    schemas = {
        name: json.loads(resources.files(_SCHEMAS).joinpath(f"{name}.SNAPSHOT.schema.json").read_bytes())
        for name in ("bom-1.5", "spdx", "jsf-0.82")
    }
    host = "http://cyclonedx.org/schema"
    others = [(f"{host}/{name}.SNAPSHOT.schema.json", schemas[name]) for name in ("spdx", "jsf-0.82")]
    registry = jsonschema_rs.Registry(others)
    return jsonschema_rs.Draft7Validator(schemas["bom-1.5"], validate_formats=True, registry=registry, offline=True)


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
