"""What the `leo verify` commands share: whose signature counts, what was found, and how a refusal is told."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import typer

from audit.canonical import JsonError, JsonValue, parse_json
from audit.separation import Assurance
from handoffs.attestations.provenance import AnyStatement
from handoffs.attestations.statements import read_statement, require_predicate, require_subject
from handoffs.attestations.vsa import OURS
from handoffs.github.findings import Protection
from handoffs.rules import refuse_vague
from handoffs.signatures.openpgp_verifying import PinnedKey, open_openpgp, verify_openpgp
from handoffs.signatures.refusals import RefusedError
from handoffs.signatures.sigstore_bundles import is_sigstore_bundle
from handoffs.signatures.sigstore_signers import Signer
from handoffs.signatures.sigstore_verifying import (
    VerifiedSignature,
    production_root,
    read_root_file,
    verify_artifact,
    verify_statement,
)
from handoffs.signatures.sigstore_wire import MAX_BUNDLE_BYTES
from handoffs.signatures.trust_roots import TrustedRoot
from leoportal.cli_output import INTEGRITY, NEGATIVE, USAGE, say, say_json, say_row, stop

_DIGEST: Final = re.compile(r"(sha256|sha384|sha512):([0-9a-f]{64,128})\Z")
_LENGTHS: Final = {"sha256": 64, "sha384": 96, "sha512": 128}
# Refusals that say "this is not the question you meant", not "somebody changed these bytes".
_NEGATIVE: Final = frozenset(
    {
        "sigstore.unsupported",
        "sigstore.identity",
        "sigstore.issuer",
        "sigstore.repository",
        "sigstore.content",
        "sigstore.root_older",
        "statement.predicate_type",
        "statement.version",
        "summary.result",
        "summary.verifier",
        "key.expired",
        "key.revoked",
        "openpgp.fingerprint",
    }
)
_USAGE: Final = frozenset(
    {"usage", "file", "image.no_digest", "sigstore.vague", "sigstore.root", "sigstore.root_pin", "openpgp.certificate"}
)
# What a portal's statement says of the people behind its lanes.
_ASSURANCES: Final = {
    Assurance.SEPARATED.value: "whoever answers for builders and enforcer answers for no decider (separated)",
    Assurance.SINGLE_OPERATOR.value: "one person answers for makers and deciders (single_operator): no two persons",
}
# And of the gate behind it.
_PROTECTIONS: Final = {
    Protection.ENFORCED.value: "the gate blocked whatever had no verdict (ENFORCED)",
    Protection.OBSERVED.value: "nothing was blocked: the repository was only observed (OBSERVE MODE)",
    Protection.UNENFORCED.value: "nobody could say that the gate blocked anything (UNENFORCED)",
}
_NEXT: Final = {
    "sigstore.unsupported": "ask for a keyless bundle of version 0.3, as `cosign --bundle` of today writes it",
    "sigstore.identity": "ask who signed, and give that exact --identity only if they are meant to",
    "sigstore.issuer": "give the exact --issuer, for instance https://token.actions.githubusercontent.com",
    "sigstore.time": "if keys were rotated, give the current root with --trusted-root; otherwise do not use this",
    "sigstore.root": "give a trusted_root.json with --trusted-root",
    "sigstore.root_pin": "reinstall leoportal, or give a trusted_root.json you trust with --trusted-root",
    "statement.subject": "compare the digest of what you hold with the one you were promised",
    "statement.predicate_type": "name the type you want with --predicate-type",
    "policy.evidence_missing": "add --bundle (or --signature) and --attestation; the SOP asks for both",
    "key.expired": "give --received-at with the time in the portal's trail, if it was received before",
    "image.no_digest": "resolve the tag first, then name the image as NAME@sha256:<64 hexadecimal digits>",
}


@dataclass
class Found:
    """What holds so far, for people and for programs."""

    what: str
    facts: dict[str, JsonValue] = field(default_factory=dict)
    rows: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, name: str, text: str, **facts: JsonValue) -> None:
        """One thing that holds."""
        self.rows.append(("ok", name, text))
        self.facts[name] = {**facts}

    def note(self, name: str, text: str) -> None:
        """Something that nobody checked, or that is getting old."""
        self.rows.append(("note", name, text))
        notes = self.facts.setdefault("notes", [])
        assert isinstance(notes, list)  # noqa: S101 - narrows the type
        notes.append(f"{name}: {text}")

    def tell(self, *, as_json: bool) -> None:
        """Print it all."""
        if as_json:
            say_json({"verified": True, "what": self.what, **self.facts})
            return
        say(self.what)
        for word, name, text in self.rows:
            say_row(word, name, text)
        say("  VERIFIED.")


@dataclass(frozen=True)
class SigstoreSigner:
    """Whose Sigstore signature counts, and the root it is judged by."""

    signer: Signer
    root: TrustedRoot


def signer_of(  # noqa: PLR0913 - as the options come
    identity: str,
    issuer: str,
    trusted_root: Path | None,
    key: Path | None,
    fingerprint: str,
    received_at: str,
    *,
    found: Found,
) -> SigstoreSigner | PinnedKey:
    """Whose signature counts: a Sigstore identity, or an OpenPGP key. Exactly one of them."""
    if (key is None) != (not fingerprint) or (not identity) != (not issuer) or (key is None) == (not identity):
        got = "no or half a signer" if key is None else "two signers, or half of one"
        raise RefusedError("usage", got, "--identity with --issuer, or --key with --fingerprint")
    if key is None:
        return sigstore_signer(identity, issuer, trusted_root, found)
    try:
        moment = _moment(received_at) if received_at else None
    except (ValueError, OverflowError):
        raise RefusedError("usage", f"--received-at {received_at[:40]!a}", "2026-03-01T12:00:00Z") from None
    certificate = bytes_of(key, 1 << 20).decode("utf-8", "replace")
    return PinnedKey(certificate, fingerprint, datetime.now(UTC), moment)


def _moment(text: str) -> datetime:
    """A time with its zone. Raises: ValueError, OverflowError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("no zone")
    return moment.astimezone(UTC)


def sigstore_signer(identity: str, issuer: str, trusted_root: Path | None, found: Found) -> SigstoreSigner:
    """The one signer, and the root with its age."""
    try:
        refuse_vague(identity, issuer)
    except ValueError as error:
        raise RefusedError("sigstore.vague", str(error)[:300], "one exact identity and one exact issuer") from None
    root = read_root_file(trusted_root) if trusted_root else production_root()
    source = "given" if trusted_root else "pinned in this release"
    found.facts["trusted_root"] = {
        "sha256": root.digest,
        "source": source,
        "refreshed_at": f"{root.refreshed_at:%FT%TZ}" if root.refreshed_at else None,
    }
    found.rows.append(("ok", "trusted root", f"{root.digest}, {source}"))
    if warning := root.age_warning(datetime.now(UTC)):
        found.note("trusted root", warning)
    return SigstoreSigner(Signer(identity, issuer), root)


def check_signature(
    found: Found, raw: bytes, bundle: Path | None, signature: Path | None, by: SigstoreSigner | PinnedKey
) -> None:
    """The signature over the artifact itself."""
    if isinstance(by, SigstoreSigner):
        if bundle is None or signature is not None:
            raise RefusedError("usage", "no Sigstore bundle", "--bundle beside --identity and --issuer")
        digest = hashlib.sha256(raw).hexdigest()
        add_signature(
            found, verify_artifact(digest, bytes_of(bundle, MAX_BUNDLE_BYTES), signer=by.signer, root=by.root)
        )
        return
    if signature is None or bundle is not None:
        raise RefusedError("usage", "no OpenPGP signature", "--signature beside --key and --fingerprint")
    verify_openpgp(raw, bytes_of(signature, 1 << 20).decode("utf-8", "replace"), by)
    found.add("signature", f"OpenPGP, {by.fingerprint}", fingerprint=by.fingerprint)


def check_attestation(
    found: Found,
    file: Path,
    digests: dict[str, str],
    types: list[str] | tuple[str, ...],
    by: SigstoreSigner | PinnedKey,
) -> None:
    """The signed statement about the artifact; no types: any type, and it is shown."""
    statement = signed_statement(found, file, by, "attestation signature")
    if types:
        require_predicate(statement, types)
    subject = require_subject(statement, digests)
    found.add(
        "attestation",
        f"{statement.predicate_type} about {subject.name or 'this digest'}",
        predicateType=statement.predicate_type,
        subject=subject.name,
    )
    for name, known in (("assurance", _ASSURANCES), ("protection", _PROTECTIONS)):
        if said := statement.predicate.get(f"{OURS}{name}", ""):
            tell_claim(found, name, str(said), known)


def tell_claim(found: Found, name: str, said: str, known: Mapping[str, str]) -> None:
    """What a portal's signed statement says of the people, or of the gate, behind it.

    Raises: RefusedError("summary.assurance"), RefusedError("summary.protection").
    """
    if said not in known:
        raise RefusedError(f"summary.{name}", said[:100], f"one of {', '.join(known)}")
    found.add(name, known[said], **{name: said})


def signed_statement(found: Found, file: Path, by: SigstoreSigner | PinnedKey, name: str) -> AnyStatement:
    """The statement in a signed file; only the verified bytes are read."""
    raw = bytes_of(file, MAX_BUNDLE_BYTES)
    if isinstance(by, PinnedKey):
        payload = open_openpgp(raw, by)
        found.add(name, f"OpenPGP, {by.fingerprint}", fingerprint=by.fingerprint)
        return read_statement(payload)
    signed = verify_statement(raw, signer=by.signer, root=by.root)
    add_signature(found, signed, name)
    return read_statement(signed.payload or b"")


def add_signature(found: Found, signed: VerifiedSignature, name: str = "signature") -> None:
    """A signature that holds: whose, when, and where in the log."""
    found.add(
        name,
        f"{signed.signer.identity} of {signed.signer.issuer}, {signed.signed_at:%F %T} UTC, entry {signed.log_index}",
        identity=signed.signer.identity,
        issuer=signed.signer.issuer,
        signed_at=f"{signed.signed_at:%FT%TZ}",
        log_index=signed.log_index,
    )


def holds_statement(raw: bytes) -> bool:
    """Whether a bundle holds an envelope; one that cannot be read is left to the verifier."""
    try:
        value = parse_json(raw, max_bytes=MAX_BUNDLE_BYTES)
    except JsonError:
        return False
    return is_sigstore_bundle(value) and isinstance(value, dict) and "dsseEnvelope" in value


def digests_of(raw: bytes) -> dict[str, str]:
    """Every strong digest of some bytes."""
    return {name: hashlib.new(name, raw).hexdigest() for name in _LENGTHS}


def given_digest(text: str) -> dict[str, str]:
    """The digest of the command line."""
    found = _DIGEST.match(text)
    if found is None or len(found[2]) != _LENGTHS[found[1]]:
        raise RefusedError("usage", f"--digest {text[:80]!a}", "sha256:<64 lower-case hexadecimal digits>")
    return {found[1]: found[2]}


def bytes_of(file: Path, max_bytes: int = 1 << 30) -> bytes:
    """A file's bytes; one that cannot be read, or is too large, is wrong usage."""
    try:
        if file.stat().st_size > max_bytes:
            raise RefusedError("file", f"{file} with {file.stat().st_size} bytes", f"at most {max_bytes}")
        return file.read_bytes()
    except OSError as error:
        raise RefusedError("file", f"{file}: {error.strerror}", "a file that can be read") from None


@contextmanager
def refusing(*, as_json: bool) -> Iterator[None]:
    """A refusal as one line or one document, with the next step and the exit code of its kind."""
    try:
        yield
    except RefusedError as error:
        status = USAGE if error.code in _USAGE else NEGATIVE if error.code in _NEGATIVE else INTEGRITY
        if error.code.startswith("policy."):
            status = NEGATIVE
        next_step = _NEXT.get(error.code, "leo verify --help" if status == USAGE else "do not use it; ask who made it")
        if as_json:
            say_json(
                {
                    "verified": False,
                    "code": error.code,
                    "got": error.got,
                    "expected": error.expected,
                    "next": next_step,
                }
            )
            raise typer.Exit(status) from None
        stop(error.code, error.detail, next_step, status=status)
