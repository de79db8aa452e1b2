"""The checks of the builder's attestation: well-formed, coherent, about this bundle. Never: trusted."""

from __future__ import annotations

from typing import Final

from handoffs.attestations.attestations import (
    EMPTY_SHA256,
    LENGTHS,
    STATEMENT_TYPE,
    digest_problem,
    is_absolute_uri,
    names_repository,
)
from handoffs.attestations.dsse import PAYLOAD_TYPE
from handoffs.bundles.bundle import MEMBERS, has_digest
from handoffs.checks.evidence import Evidence, Judged, Unreadable, claimed, failed, first_of, passed, without

ATTESTATION: Final = "attestation.intoto.json"
ABOUT: Final = tuple(name for name in MEMBERS if name != ATTESTATION)


def attestation_envelope(evidence: Evidence) -> Judged:
    """A DSSE envelope, if there is one, has exactly the in-toto payload type and canonical base64."""
    found, expected = evidence.statement, f"no envelope, or payloadType {PAYLOAD_TYPE}"
    if isinstance(found, Unreadable):
        if found.code == "attestation.envelope":
            return failed(found.detail, expected)
        if found.code == "archive.members":
            return without("the attestation", found, expected)
        return passed("no problem with an envelope", expected)
    return passed(PAYLOAD_TYPE if found.envelope or found.sigstore else "no envelope", expected)


def attestation_statement(evidence: Evidence) -> Judged:
    """The attestation is an in-toto Statement v1 with exactly its fields."""
    found = evidence.statement
    if isinstance(found, Unreadable) and found.code != "attestation.predicate":
        return failed(found.detail, STATEMENT_TYPE)
    return passed(STATEMENT_TYPE)


def attestation_predicate(evidence: Evidence) -> Judged:
    """The predicate is SLSA provenance v0.2 or v1, and its body is of the version it says."""
    found, expected = evidence.statement, "SLSA provenance v0.2 or v1, not a mixture"
    return failed(found.detail, expected) if isinstance(found, Unreadable) else passed(found.predicate_type, expected)


def attestation_signature(evidence: Evidence) -> Judged:
    """A builder whose Sigstore identity the policy pins signed this; any other signature is a claim nobody checked."""
    found, expected = evidence.statement, "a claim; the enforcer signs what it saw itself"
    if isinstance(found, Unreadable):
        return claimed("nothing readable", expected)
    if evidence.signature is not None:
        return evidence.signature.judged
    if found.sigstore is not None:
        why = "no trusted root is given" if evidence.context.trust is None else "nobody verified it"
        return claimed(f"signed with Sigstore, not verified: {why}", expected)
    count = len(found.envelope.signatures) if found.envelope else 0
    return claimed(f"{count} signatures, not verified: no key is pinned" if count else "unsigned", expected)


def attestation_subjects(evidence: Evidence) -> Judged:
    """The subjects are the four other members of the archive, each once, and nothing else."""
    found, expected = evidence.statement, ", ".join(ABOUT)
    if isinstance(found, Unreadable):
        return without("the statement", found, expected)
    names = sorted(subject.name for subject in found.subjects)
    return passed(expected) if names == sorted(ABOUT) else failed(first_of(names), expected)


def attestation_digests(evidence: Evidence) -> Judged:
    """Every subject has the true SHA-256 of its member, never an empty one, and no false digest beside it."""
    found, expected = evidence.statement, "the SHA-256 of every member"
    if isinstance(found, Unreadable):
        return without("the statement", found, expected)
    wrong = []
    for subject in found.subjects:
        digest = subject.digest.get("sha256", "")
        content = evidence.archive.members.get(subject.name)
        known = ("sha256", evidence.archive.digests.get(subject.name))
        problem = digest_problem(subject.digest)
        if problem:
            wrong.append(f"{subject.name}: {problem}")
        elif not digest or digest == EMPTY_SHA256:
            wrong.append(f"{subject.name}: no sha256")
        elif content is None:
            wrong.append(f"{subject.name}: not a member")
        else:
            wrong += [
                f"{subject.name}: {name} {value}"
                if name in LENGTHS
                else f"{subject.name}: {name[:40]} cannot be checked"
                for name, value in subject.digest.items()
                if (name, value) != known and (name not in LENGTHS or not has_digest(content, name, value))
            ]
    return failed(first_of(wrong), expected) if wrong else passed(f"{len(found.subjects)} match", expected)


def attestation_materials(evidence: Evidence) -> Judged:
    """Materials or resolved dependencies are URIs with well-formed digests."""
    found, expected = evidence.statement, "absolute URIs, digests in lower-case hex"
    if isinstance(found, Unreadable):
        return without("the statement", found, expected)
    wrong = []
    for item in found.dependencies:
        if not is_absolute_uri(item.uri):
            wrong.append(f"{item.uri or 'an entry'}: not an absolute URI")
        elif not item.digest:
            wrong.append(f"{item.uri}: no digest")
        elif problem := digest_problem(item.digest):
            wrong.append(f"{item.uri}: {problem}")
    return failed(first_of(wrong), expected) if wrong else passed(f"{len(found.dependencies)} entries", expected)


def attestation_merge_base(evidence: Evidence) -> Judged:
    """Materials or resolved dependencies name the repository at the merge base."""
    found, repository = evidence.statement, evidence.context.repository
    base = evidence.manifest.merge_base if not isinstance(evidence.manifest, Unreadable) else ""
    expected = f"{repository} at {base or 'the merge base'}"
    if isinstance(found, Unreadable):
        return without("the statement", found, expected)
    if not base:
        return without("the merge base", "the manifest cannot be read", expected)
    own = [item for item in found.dependencies if names_repository(item.uri, repository)]
    commits = {v for item in own for k, v in item.digest.items() if k in {"gitCommit", "sha1"}}
    if commits == {base}:
        return passed(expected)
    got = first_of(sorted(commits)) if commits else "no commit of this repository"
    return failed(got, expected)


def attestation_builder(evidence: Evidence) -> Judged:
    """The builder id is an absolute URI, the one of the manifest, and on the list of allowed builders."""
    found, allowed = evidence.statement, evidence.context.allowed_builders
    expected = "the manifest's builder id, an absolute URI"
    if allowed is not None:
        expected += f", one of: {first_of(list(allowed)) or 'nobody'}"
    if isinstance(found, Unreadable):
        return without("the statement", found, expected)
    if not is_absolute_uri(found.builder_id):
        return failed(f"{found.builder_id}, not an absolute URI", expected)
    if isinstance(evidence.manifest, Unreadable):
        return without("the manifest", evidence.manifest, expected)
    if found.builder_id != evidence.manifest.builder_id:
        return failed(f"{found.builder_id}, the manifest says {evidence.manifest.builder_id}", expected)
    if allowed is not None and found.builder_id not in allowed:
        return failed(f"{found.builder_id}, not allowed", expected)
    return passed(found.builder_id, expected)


def attestation_build_type(evidence: Evidence) -> Judged:
    """The build type is an absolute URI."""
    found, expected = evidence.statement, "an absolute URI"
    if isinstance(found, Unreadable):
        return without("the statement", found, expected)
    return (
        passed(found.build_type, expected) if is_absolute_uri(found.build_type) else failed(found.build_type, expected)
    )
