"""What a signed statement must say before it helps anybody: its version, its subject, its predicate's type.

The bytes are the verified ones, read by the strict reader; nothing is taken from anywhere else.
Source: in-toto Statement v1; SLSA Verification Summary Attestation v1; cosign's bundle specification.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from pydantic import ValidationError

from audit.canonical import JsonError, parse_json
from handoffs.attestations.attestations import PROVENANCE_V02, PROVENANCE_V1, STATEMENT_TYPE, digest_problem
from handoffs.attestations.provenance import AnyStatement, AnySubject, ProvenanceV02, ProvenanceV1
from handoffs.bundles.bundle import explain
from handoffs.signatures.refusals import RefusedError

MAX_STATEMENT_BYTES: Final = 4 << 20
COSIGN_SIGN: Final = "https://sigstore.dev/cosign/sign/v1"
VSA: Final = "https://slsa.dev/verification_summary/v1"
PROVENANCE: Final = (PROVENANCE_V1, PROVENANCE_V02)
_STRONG: Final = frozenset({"sha256", "sha384", "sha512"})


def read_statement(payload: bytes) -> AnyStatement:
    """Read a Statement v1; a SLSA provenance in it must be of the version it says.

    Raises: RefusedError with statement.json, statement.version, statement.malformed or statement.predicate.
    Not checked: other predicates.
    """
    try:
        value = parse_json(payload, max_bytes=MAX_STATEMENT_BYTES)
    except JsonError as error:
        raise RefusedError("statement.json", str(error), "one strict JSON document") from None
    if not isinstance(value, dict) or value.get("_type") != STATEMENT_TYPE:
        kind = value.get("_type") if isinstance(value, dict) else type(value).__name__
        raise RefusedError("statement.version", f"_type {str(kind)[:80]!a}", STATEMENT_TYPE)
    try:
        statement = AnyStatement.model_validate(value)
    except ValidationError as error:
        raise RefusedError("statement.malformed", explain(error), "an in-toto Statement v1") from None
    try:
        if statement.predicate_type == PROVENANCE_V1:
            ProvenanceV1.model_validate(statement.predicate)
        elif statement.predicate_type == PROVENANCE_V02:
            ProvenanceV02.model_validate(statement.predicate)
    except ValidationError as error:
        raise RefusedError("statement.predicate", explain(error), statement.predicate_type) from None
    return statement


def require_subject(statement: AnyStatement, digests: Mapping[str, str]) -> AnySubject:
    """The subject that is the artifact: every strong digest it carries is the artifact's, and it carries one.

    Shape: `digests` maps sha256, sha384 or sha512 to lower-case hex; a digest that is unknown here is no match.
    Raises: RefusedError("statement.subject").
    """
    for subject in statement.subject:
        if problem := digest_problem(subject.digest):
            raise RefusedError("statement.subject", f"{subject.name or 'a subject'}: {problem}", "well-formed digests")
    for subject in statement.subject:
        strong = {name: value for name, value in subject.digest.items() if name in _STRONG}
        if strong and all(digests.get(name) == value for name, value in strong.items()):
            return subject
    got = "; ".join(f"{name}:{value}" for item in statement.subject[:3] for name, value in item.digest.items())
    wanted = " or ".join(f"{name}:{value}" for name, value in digests.items())
    raise RefusedError("statement.subject", got, wanted)


def require_predicate(statement: AnyStatement, allowed: Collection[str]) -> None:
    """The predicate is of exactly one of the wanted types. Raises: RefusedError("statement.predicate_type")."""
    if statement.predicate_type not in allowed:
        raise RefusedError("statement.predicate_type", ascii(statement.predicate_type)[:200], " or ".join(allowed))


def require_summary(statement: AnyStatement, *, verifier: str = "") -> str:
    """A verification summary that says PASSED, by the wanted verifier if one is. Returns who verified.

    Raises: RefusedError with statement.predicate_type, summary.malformed, summary.result or summary.verifier.
    """
    require_predicate(statement, [VSA])
    match statement.predicate:
        case {"verifier": {"id": str(found)}, "verificationResult": str(result), "resourceUri": str()}:
            pass
        case _:
            raise RefusedError("summary.malformed", "no verifier, result or resource", "a SLSA VSA v1")
    levels = statement.predicate.get("verifiedLevels")
    if isinstance(levels, list) and (result == "PASSED") == ("FAILED" in levels):
        raise RefusedError("summary.malformed", f"{result[:100]} with {str(levels)[:100]}", "one result, not two")
    if result != "PASSED":
        raise RefusedError("summary.result", result[:100], "PASSED")
    if verifier and found != verifier:
        raise RefusedError("summary.verifier", found[:200], verifier)
    return found
