"""The checks of the SBOM: valid CycloneDX 1.5 that tells the truth about this change."""

from __future__ import annotations

from typing import Final

from handoffs.attestations.attestations import EMPTY_SHA256
from handoffs.bundles.bundle import has_digest
from handoffs.checks.evidence import Evidence, Judged, Unreadable, failed, first_of, passed, without
from handoffs.checks.patch import NO_REPOSITORY
from handoffs.packages.licences import is_valid_expression
from handoffs.packages.lockfiles import LockDelta
from handoffs.packages.pins import coordinates_of
from handoffs.packages.sbom import HASH_LENGTHS, REMOVED, SERIAL_NUMBER, SETTING, SPEC_VERSION, UNREAD, Component

GITLINK: Final = "160000"
_HASHERS: Final = {
    "MD5": "md5",
    "SHA-1": "sha1",
    "SHA-256": "sha256",
    "SHA-384": "sha384",
    "SHA-512": "sha512",
    "SHA3-256": "sha3_256",
    "SHA3-384": "sha3_384",
    "SHA3-512": "sha3_512",
}
_HEX: Final = frozenset("0123456789abcdef")
_MAX_EXPRESSIONS: Final = 2_000


def sbom_readable(evidence: Evidence) -> Judged:
    """The SBOM is one strict JSON object."""
    found = evidence.sbom
    if not isinstance(found, Unreadable):
        return passed(f"{len(found.components)} components")
    if found.code == "sbom.schema":
        return passed("one JSON object")
    return failed(found.detail, "one JSON object, no duplicate keys")


def sbom_schema(evidence: Evidence) -> Judged:
    """The SBOM holds the CycloneDX 1.5 schema, formats included."""
    found, expected = evidence.sbom, "the CycloneDX 1.5 JSON schema"
    if isinstance(found, Unreadable):
        if found.code == "sbom.schema":
            return failed(found.detail, expected)
        return without("the SBOM", found, expected)
    if found.schema_errors:
        return failed("; ".join(found.schema_errors[:5]), expected)
    return passed("valid", expected)


def sbom_spec_version(evidence: Evidence) -> Judged:
    """The SBOM says it is version 1.5, which the schema does not ask."""
    found, expected = evidence.sbom, SPEC_VERSION
    if isinstance(found, Unreadable):
        return without("the SBOM", found, expected)
    got = found.spec_version or "no specVersion"
    return passed(got) if got == expected else failed(got, expected)


def sbom_serial_number(evidence: Evidence) -> Judged:
    """The SBOM has a serial number that is a UUID, so that it can be told from others."""
    found, expected = evidence.sbom, "urn:uuid: and an RFC 9562 UUID in lower case"
    if isinstance(found, Unreadable):
        return without("the SBOM", found, expected)
    got = found.serial_number
    return passed(got, expected) if SERIAL_NUMBER.match(got) else failed(got or "no serialNumber", expected)


def sbom_subject(evidence: Evidence) -> Judged:
    """The SBOM says that it is about this patch of this repository."""
    found, manifest, expected = evidence.sbom, evidence.manifest, "metadata.component: repository and SHA-256 of patch"
    if isinstance(found, Unreadable):
        return without("the SBOM", found, expected)
    if isinstance(manifest, Unreadable):
        return without("the manifest", manifest, expected)
    digest = evidence.archive.digests.get("changes.patch")
    if digest is None:
        return without("the patch", "the archive has no such member", expected)
    subject = found.subject
    if subject is None:
        return failed("no metadata.component", expected)
    expected = f"application {manifest.repository} with SHA-256 {digest}"
    got = f"{subject.type} {subject.name} with {', '.join(' '.join(pair) for pair in subject.hashes) or 'no hash'}"
    is_it = (subject.type, subject.name) == ("application", manifest.repository) and not subject.purl
    is_true = subject.hashes == (("SHA-256", digest),)
    return passed(got, expected) if is_it and is_true else failed(got, expected)


def sbom_bom_refs(evidence: Evidence) -> Judged:
    """No `bom-ref` stands twice, so that a reference means one thing."""
    found, expected = evidence.sbom, "every bom-ref once"
    if isinstance(found, Unreadable):
        return without("the SBOM", found, expected)
    return failed(first_of([*found.repeated_refs]), expected) if found.repeated_refs else passed(expected)


def sbom_not_empty(evidence: Evidence) -> Judged:
    """The SBOM lists at least one component."""
    found, expected = evidence.sbom, "at least one component"
    if isinstance(found, Unreadable):
        return without("the SBOM", found, expected)
    count = len(found.components)
    return passed(f"{count} components", expected) if count else failed("no components", expected)


def sbom_hashes(evidence: Evidence) -> Judged:
    """Every hash is hex of its algorithm's length, and the empty file's only where the file is empty."""
    found, expected = evidence.sbom, "hashes of the right length, none of the empty file"
    if isinstance(found, Unreadable):
        return without("the SBOM", found, expected)
    blobs = evidence.facts.blobs if evidence.facts else {}
    empty = {path for path, blob in evidence.produced_files().items() if blobs.get(blob) == b""}
    wrong, counted = [], 0
    for component in [component for component in found.components if component.hash_values]:
        for algorithm, digest in component.hashes:
            counted += 1
            if len(digest) != HASH_LENGTHS.get(algorithm) or not set(digest) <= _HEX:
                wrong.append(f"{component.name}: {algorithm} with {len(digest)} characters")
            elif digest == EMPTY_SHA256 and not (component.type == "file" and component.name in empty):
                wrong.append(f"{component.name}: the digest of the empty file")
    return failed(first_of(wrong), expected) if wrong else passed(f"{counted} hashes", expected)


def sbom_files(evidence: Evidence) -> Judged:
    """The file components are exactly the files the patch produces, with their true SHA-256 and no false hash."""
    found, expected = evidence.sbom, "one file component with SHA-256 for each file the patch produces"
    if isinstance(found, Unreadable):
        return without("the SBOM", found, expected)
    if isinstance(produced := _produced(evidence), str):
        return without("the changed files", produced, expected)
    listed = [component for component in found.components if component.type == "file"]
    wrong, seen = [], set()
    for component in listed:
        algorithms = [algorithm for algorithm, _ in component.hashes]
        if component.name not in produced:
            wrong.append(f"{component.name}: not a file of this change")
        elif component.name in seen:
            wrong.append(f"{component.name}: listed twice")
        elif algorithms.count("SHA-256") != 1:
            wrong.append(f"{component.name}: {algorithms.count('SHA-256') or 'no'} SHA-256")
        else:
            wrong += [f"{component.name}: {line}" for line in _false_hashes(component, produced[component.name])]
        seen.add(component.name)
    wrong += [f"{path}: not listed as a file" for path in sorted(produced.keys() - seen)]
    return failed(first_of(wrong), expected) if wrong else passed(f"{len(seen)} files", expected)


def sbom_lock_files(evidence: Evidence) -> Judged:
    """Every changed lock file and manifest of a kind that is read is well-formed, so that it can hide nothing."""
    expected = "well-formed lock files and manifests"
    delta = _delta(evidence)
    if isinstance(delta, str):
        return without("the changed files", delta, expected)
    if delta.malformed:
        return failed(first_of([f"{path}: {why}" for path, why in delta.malformed]), expected)
    unread = f"; not read: {first_of(sorted(delta.unread))}" if delta.unread else ""
    return passed(f"{len(delta.files)} read{unread}", expected)


def sbom_lock_delta(evidence: Evidence) -> Judged:
    """The packages of the SBOM are exactly those of which the changed lock files and manifests say something new."""
    found, expected = evidence.sbom, "the difference the lock files and manifests make"
    if isinstance(found, Unreadable):
        return without("the SBOM", found, expected)
    delta = _delta(evidence)
    if isinstance(delta, str):
        return without("the changed files", delta, expected)
    packages = [component for component in found.components if component.type != "file" or component.purl]
    about = found.subject.name if found.subject else ""
    wrong = [
        line for component in packages if (line := _strange(component, about, is_alone=len(found.components) == 1))
    ]
    said = {component.bom_ref for component in packages if component.purl}
    pinned = {pin.text for pin in delta.added if pin.purl}
    wrong += [f"{line} is pinned but not listed" for line in sorted(pinned - said)]
    wrong += [f"{line or 'no bom-ref'} is listed but not newly pinned" for line in sorted(said - pinned)]
    removed, settings, unread = (found.property_values(name) for name in (REMOVED, SETTING, UNREAD))
    gone, new = {pin.text for pin in delta.removed}, {pin.said for pin in delta.added if not pin.purl}
    wrong += [f"{line} is no longer said but not marked so" for line in sorted(gone - removed)]
    wrong += [f"{line} is marked as removed but was not" for line in sorted(removed - gone)]
    wrong += [f"{line} is newly said but not marked so" for line in sorted(new - settings)]
    wrong += [f"{line} is marked as new but is not" for line in sorted(settings - new)]
    wrong += [f"{path} cannot be read and is not marked so" for path in sorted(delta.unread - unread)]
    wrong += [f"{path} is marked as unreadable but is not" for path in sorted(unread - delta.unread)]
    if wrong:
        return failed(first_of(wrong), expected)
    told = f"{len(pinned) + len(new)} statements added, {len(gone)} removed"
    return passed(f"{told}; not read: {first_of(sorted(delta.unread))}" if delta.unread else told, expected)


def sbom_licences(evidence: Evidence) -> Judged:
    """Every licence expression in the SBOM is SPDX; a package without one is counted as unknown, never as fine."""
    found, expected = evidence.sbom, "SPDX licence expressions"
    if isinstance(found, Unreadable):
        return without("the SBOM", found, expected)
    expressions = found.licence_expressions()
    if len(expressions) > _MAX_EXPRESSIONS:
        return failed(f"{len(expressions)} different expressions", f"at most {_MAX_EXPRESSIONS}")
    wrong = [text[:100] for text in sorted(expressions) if not is_valid_expression(text)]
    if wrong:
        return failed(first_of(wrong), expected)
    packages = [component for component in found.components if component.purl]
    unknown = sum(not component.choices for component in packages)
    return passed(f"{len(packages) - unknown} packages with a licence, {unknown} unknown", expected)


def _false_hashes(component: Component, content: bytes) -> list[str]:
    """The hashes that are not this content's, and those that nobody here can compute."""
    return [
        f"{algorithm} {digest}" if algorithm in _HASHERS else f"{algorithm} cannot be checked"
        for algorithm, digest in component.hashes
        if algorithm not in _HASHERS or not has_digest(content, _HASHERS[algorithm], digest)
    ]


def _strange(component: Component, about: str, *, is_alone: bool) -> str:
    """Why a component that is no file has no place in the SBOM of a change; empty where it has one."""
    if component.type == "file":
        return f"{component.name} is a file and a package"
    if not component.purl:
        is_placeholder = is_alone and (component.type, component.name) == ("application", about)
        return "" if is_placeholder else f"{component.name} is listed without a purl"
    ref = component.bom_ref.partition(" ")[0]
    if ref == component.purl and (component.name, component.version) == coordinates_of(component.purl):
        return ""
    return f"{component.purl} is called {ref} {component.name} {component.version}"


def _facts_problem(evidence: Evidence) -> str:
    facts = evidence.facts
    if facts is None:
        return NO_REPOSITORY
    return facts.apply_error if facts.result_tree is None else facts.blobs_error


def _delta(evidence: Evidence) -> LockDelta | str:
    """What the change does to lock files and manifests, or why that is not known."""
    problem = _facts_problem(evidence)
    return problem if problem or evidence.facts is None else evidence.facts.packages


def _produced(evidence: Evidence) -> dict[str, bytes] | str:
    """Path to content of every file that the patch produces, or why that is not known."""
    problem, facts = _facts_problem(evidence), evidence.facts
    if problem or facts is None:
        return problem
    produced = {}
    for change in facts.changes:
        if change.status == "D" or change.new_mode == GITLINK:
            continue
        if change.new_blob not in facts.blobs:
            return f"{change.path} could not be read"
        produced[change.path] = facts.blobs[change.new_blob]
    return produced
