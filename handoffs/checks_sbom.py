"""The checks of the SBOM: valid CycloneDX 1.5 that tells the truth about this change."""

from __future__ import annotations

from typing import Final

from handoffs.attestations import EMPTY_SHA256
from handoffs.bundle import digest_of
from handoffs.checks_patch import NO_REPOSITORY
from handoffs.evidence import Evidence, Judged, Unreadable, failed, first_of, passed, without
from handoffs.lockfiles import LockDelta, lock_delta
from handoffs.sbom import HASH_LENGTHS, REMOVED, SERIAL_NUMBER, SPEC_VERSION, UNREAD

_HEX: Final = frozenset("0123456789abcdef")


def sbom_readable(evidence: Evidence) -> Judged:
    """The SBOM is one strict JSON object."""
    found = evidence.sbom
    if isinstance(found, Unreadable):
        return failed(found.detail, "one JSON object, no duplicate keys")
    return passed(f"{len(found.components)} components")


def sbom_schema(evidence: Evidence) -> Judged:
    """The SBOM holds the CycloneDX 1.5 schema, formats included."""
    found, expected = evidence.sbom, "the CycloneDX 1.5 JSON schema"
    if isinstance(found, Unreadable):
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
    for component in found.components:
        for algorithm, digest in component.hashes:
            counted += 1
            if len(digest) != HASH_LENGTHS.get(algorithm) or not set(digest) <= _HEX:
                wrong.append(f"{component.name}: {algorithm} with {len(digest)} characters")
            elif digest == EMPTY_SHA256 and not (component.type == "file" and component.name in empty):
                wrong.append(f"{component.name}: the digest of the empty file")
    return failed(first_of(wrong), expected) if wrong else passed(f"{counted} hashes", expected)


def sbom_files(evidence: Evidence) -> Judged:
    """The file components are exactly the files the patch produces, with their true SHA-256."""
    found, expected = evidence.sbom, "one file component with SHA-256 for each file the patch produces"
    facts = evidence.facts
    if isinstance(found, Unreadable):
        return without("the SBOM", found, expected)
    if facts is None or facts.result_tree is None:
        return without("the result tree", facts.apply_error if facts else NO_REPOSITORY, expected)
    if facts.blobs_error:
        return without("the changed files", facts.blobs_error, expected)
    produced = {path: facts.blobs[blob] for path, blob in evidence.produced_files().items() if blob in facts.blobs}
    wrong = [f"{path}: not listed" for path in sorted(set(produced) - {c.name for c in found.components})]
    seen: set[str] = set()
    for component in found.components:
        if component.type != "file":
            continue
        listed = [digest for algorithm, digest in component.hashes if algorithm == "SHA-256"]
        if component.name not in produced:
            wrong.append(f"{component.name}: not a file of this change")
        elif component.name in seen:
            wrong.append(f"{component.name}: listed twice")
        elif listed != [digest_of(produced[component.name])]:
            wrong.append(f"{component.name}: {first_of(listed) or 'no SHA-256'}")
        seen.add(component.name)
    wrong += [f"{path}: not listed as a file" for path in sorted(set(produced) - seen) if path not in "".join(wrong)]
    return failed(first_of(wrong), expected) if wrong else passed(f"{len(seen)} files", expected)


def sbom_lock_delta(evidence: Evidence) -> Judged:
    """The packages of the SBOM are exactly those the changed lock files newly pin, and it names the removed ones."""
    found, expected = evidence.sbom, "the difference the lock files make"
    facts = evidence.facts
    if isinstance(found, Unreadable):
        return without("the SBOM", found, expected)
    if facts is None or facts.result_tree is None:
        return without("the result tree", facts.apply_error if facts else NO_REPOSITORY, expected)
    if facts.blobs_error:
        return without("the changed files", facts.blobs_error, expected)
    delta = delta_of(evidence)
    packages = {c.purl for c in found.components if c.purl}
    nameless = [c.name for c in found.components if c.type in {"library", "framework"} and not c.purl]
    removed, unread = found.property_values(REMOVED), found.property_values(UNREAD)
    wrong = [f"{purl} is pinned but not listed" for purl in sorted(delta.added - packages)]
    wrong += [f"{purl} is listed but not newly pinned" for purl in sorted(packages - delta.added)]
    wrong += [f"{name} is listed without a purl" for name in nameless]
    wrong += [f"{purl} is no longer pinned but not marked so" for purl in sorted(delta.removed - removed)]
    wrong += [f"{purl} is marked as removed but was not" for purl in sorted(removed - delta.removed)]
    wrong += [f"{path} cannot be read and is not marked so" for path in sorted(delta.unread - unread)]
    wrong += [f"{path} is marked as unreadable but is not" for path in sorted(unread - delta.unread)]
    if wrong:
        return failed(first_of(wrong), expected)
    said = f"{len(delta.added)} added, {len(delta.removed)} removed"
    return passed(f"{said}; not read: {first_of(sorted(delta.unread))}" if delta.unread else said, expected)


def delta_of(evidence: Evidence) -> LockDelta:
    """What the change does to the lock files it touches."""
    facts = evidence.facts
    if facts is None:
        return LockDelta(frozenset(), frozenset(), frozenset())
    before = {c.path: facts.blobs[c.old_blob] for c in facts.changes if c.old_blob in facts.blobs}
    after = {c.path: facts.blobs[c.new_blob] for c in facts.changes if c.new_blob in facts.blobs}
    return lock_delta(before, after)
