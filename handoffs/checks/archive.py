"""The checks of the archive, the marker and the manifest."""

from __future__ import annotations

from urllib.parse import urlsplit

from handoffs.attestations.attestations import is_absolute_uri
from handoffs.bundles.bundle import LISTED, MEMBERS
from handoffs.bundles.markers import MarkerError, MarkerKind, is_staging_branch, parse_marker
from handoffs.checks.evidence import Evidence, Judged, Unreadable, failed, first_of, passed, without


def _archive(evidence: Evidence, code: str, good: str) -> Judged:
    found = [problem for problem in evidence.archive.problems if problem.code == code]
    if found:
        return failed("; ".join(problem.got for problem in found[:5]), found[0].expected)
    return passed(good)


def archive_readable(evidence: Evidence) -> Judged:
    """The file is one gzip member around a ustar archive that ends where it should."""
    return _archive(evidence, "archive.readable", f"{evidence.archive.size} bytes")


def archive_size(evidence: Evidence) -> Judged:
    """Neither the archive, nor what it unpacks to, nor a member is larger than allowed."""
    return _archive(evidence, "archive.size", f"{evidence.archive.unpacked_size} bytes unpacked")


def archive_members(evidence: Evidence) -> Judged:
    """The archive holds exactly the five members."""
    return _archive(evidence, "archive.members", f"{len(MEMBERS)} members")


def archive_regular_files(evidence: Evidence) -> Judged:
    """Every member is a regular file: no link, device, folder or extension header."""
    return _archive(evidence, "archive.regular_files", "regular files only")


def archive_unique_names(evidence: Evidence) -> Judged:
    """No name stands twice, also not in another case."""
    return _archive(evidence, "archive.unique_names", "every name once")


def archive_no_traversal(evidence: Evidence) -> Judged:
    """No name leads to another folder."""
    return _archive(evidence, "archive.no_traversal", "names without folders")


def archive_deterministic(evidence: Evidence) -> Judged:
    """Everything the content does not decide has its one fixed value."""
    return _archive(evidence, "archive.deterministic", "the fixed form")


def marker_grammar(evidence: Evidence) -> Judged:
    """The handoff commit's subject starts with one well-formed CODEX-READY marker."""
    expected = "[CODEX-READY:<64 lower-case hex>] at the start of the subject"
    subject = evidence.context.marker_subject
    if subject is None:
        if evidence.context.marker_digest is None:
            return without("the marker", "no commit subject was given", expected)
        return passed("no commit yet, its digest was given", expected)
    try:
        marker = parse_marker(subject.encode("utf-8", "surrogateescape"))
    except MarkerError as error:
        return failed(str(error), expected)
    if marker.kind is not MarkerKind.CODEX_READY:
        return failed(f"a {marker.kind} marker", expected)
    return passed(f"[{marker.kind}:{marker.digest[:12]}...]", expected)


def marker_digest(evidence: Evidence) -> Judged:
    """The digest in the marker is the digest of the archive."""
    expected = evidence.digest
    digest = evidence.context.marker_digest
    if evidence.context.marker_subject is not None:
        try:
            digest = parse_marker(evidence.context.marker_subject.encode("utf-8", "surrogateescape")).digest
        except MarkerError as error:
            return without("the marker", error.detail, expected)
    if digest is None:
        return without("the marker", "no digest was given", expected)
    return passed(digest) if digest == expected else failed(digest, expected)


def marker_branch(evidence: Evidence) -> Judged:
    """The branch is `staging/codex-*` in plain ASCII."""
    branch = evidence.context.branch
    expected = "staging/codex-<letters, digits, . _ ->"
    if branch is None:
        return without("the branch", "none was given", expected)
    return passed(branch, expected) if is_staging_branch(branch) else failed(branch, expected)


def manifest_readable(evidence: Evidence) -> Judged:
    """The manifest is strict JSON."""
    found = evidence.manifest
    if isinstance(found, Unreadable) and found.code != "manifest.schema":
        return failed(found.detail, "one JSON document, no duplicate keys")
    return passed("strict JSON")


def manifest_schema(evidence: Evidence) -> Judged:
    """The manifest has exactly the fields of its schema, each well-formed."""
    found = evidence.manifest
    expected = "leoportal/handoff-manifest/v1"
    return failed(found.detail, expected) if isinstance(found, Unreadable) else passed(found.schema_id, expected)


def manifest_members(evidence: Evidence) -> Judged:
    """The manifest lists patch, SBOM and rollback notes with their true size and SHA-256."""
    found = evidence.manifest
    expected = f"size and sha256 of {', '.join(LISTED)}"
    if isinstance(found, Unreadable):
        return without("the manifest", found, expected)
    wrong = []
    if sorted(member.name for member in found.members) != list(LISTED):
        wrong.append("another list of names")
    for member in found.members:
        content = evidence.archive.members.get(member.name)
        if content is None:
            wrong.append(f"{member.name} is not in the archive")
        elif len(content) != member.size:
            wrong.append(f"{member.name} has {len(content)} bytes, {member.size} listed")
        elif (digest := evidence.archive.digests[member.name]) != member.sha256:
            wrong.append(f"{member.name} has sha256 {digest}, {member.sha256} listed")
    return failed("; ".join(wrong), expected) if wrong else passed("3 of 3 match", expected)


def manifest_repository(evidence: Evidence) -> Judged:
    """The manifest names the repository the bundle was handed to."""
    found, expected = evidence.manifest, evidence.context.repository
    if isinstance(found, Unreadable):
        return without("the manifest", found, expected)
    return passed(found.repository) if found.repository == expected else failed(found.repository, expected)


def manifest_branch(evidence: Evidence) -> Judged:
    """The manifest names the staging branch the bundle lies on."""
    found, expected = evidence.manifest, evidence.context.branch
    if isinstance(found, Unreadable):
        return without("the manifest", found, expected or "the staging branch")
    if expected is None:
        return without("the branch", "none was given", found.branch)
    return passed(found.branch) if found.branch == expected else failed(found.branch, expected)


def manifest_people(evidence: Evidence) -> Judged:
    """The builder id is an absolute URI, and sponsor and task are readable text."""
    found, expected = evidence.manifest, "an absolute URI, a sponsor and a task in printable text"
    if isinstance(found, Unreadable):
        return without("the manifest", found, expected)
    wrong = []
    if not is_absolute_uri(found.builder_id) or urlsplit(found.builder_id).fragment:
        wrong.append(f"builder_id {found.builder_id}")
    if not found.sponsor.isprintable() or found.sponsor != found.sponsor.strip():
        wrong.append("a sponsor that is not printable")
    text = found.task.replace("\n", "").replace("\t", "")
    if not text.isprintable() or not text.strip():
        wrong.append("a task that is not printable")
    return failed(first_of(wrong), expected) if wrong else passed(f"{found.builder_id}, a sponsor and a task", expected)
