"""`leo verify`: signatures and attestations of images, policies, bundles and anything else, offline.

Nothing is fetched and nobody is asked: a Sigstore signature is judged by a pinned trusted root, one exact identity and
one exact issuer; an OpenPGP signature by one certificate and its full fingerprint. Patterns are refused.
Source: SOP section 10.4.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final

import typer

from handoffs.attestations.statements import (
    COSIGN_SIGN,
    PROVENANCE,
    read_statement,
    require_predicate,
    require_subject,
    require_summary,
)
from handoffs.signatures.refusals import RefusedError
from handoffs.signatures.sigstore_verifying import verify_artifact, verify_statement
from handoffs.signatures.sigstore_wire import MAX_BUNDLE_BYTES
from leoportal.cli_signed import (
    Found,
    add_signature,
    bytes_of,
    check_attestation,
    check_signature,
    digests_of,
    given_digest,
    holds_statement,
    refusing,
    signed_statement,
    signer_of,
    sigstore_signer,
)
from verdicts.policy import PolicyError
from verdicts.policy_document import parse_policy

verify_app = typer.Typer(help="Check signatures and attestations, offline.", no_args_is_help=True)

_IMAGE: Final = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9.-]*(?::[0-9]{1,5})?(?:/[a-z0-9][a-z0-9._-]*+)*+)(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?"
    r"@sha256:(?P<digest>[0-9a-f]{64})\Z"
)
BundleOption = Annotated[Path | None, typer.Option("--bundle", help="Sigstore bundle of the signature.")]
AttestationOption = Annotated[
    Path | None, typer.Option("--attestation", help="Sigstore bundle, or DSSE envelope with an OpenPGP signature.")
]
Identity = Annotated[str, typer.Option("--identity", help="Who must have signed: one exact URI or address.")]
Issuer = Annotated[str, typer.Option("--issuer", help="Who vouches for the identity: one exact https address.")]
RootOption = Annotated[
    Path | None, typer.Option("--trusted-root", envvar="SIGSTORE_TRUSTED_ROOT", help="trusted_root.json to judge by.")
]
SignatureOption = Annotated[Path | None, typer.Option("--signature", help="Armoured OpenPGP signature.")]
KeyOption = Annotated[Path | None, typer.Option("--key", help="The OpenPGP certificate to check with.")]
Fingerprint = Annotated[str, typer.Option("--fingerprint", help="Its full primary fingerprint, upper case.")]
ReceivedAt = Annotated[
    str, typer.Option("--received-at", help="When the portal received it, as its trail says: 2026-03-01T12:00:00Z.")
]
PredicateType = Annotated[list[str] | None, typer.Option("--predicate-type", help="Wanted type; may be repeated.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@verify_app.command("image")
def verify_image(  # noqa: PLR0913 - options of a command
    image: Annotated[str, typer.Argument(metavar="IMAGE@sha256:DIGEST", help="The image, by its digest.")],
    *,
    bundle: Annotated[Path, typer.Option("--bundle", help="Sigstore bundle of the signature.")],
    identity: Identity,
    issuer: Issuer,
    attestation: AttestationOption = None,
    predicate_type: PredicateType = None,
    trusted_root: RootOption = None,
    as_json: AsJson = False,
) -> None:
    """A container image: its signature, and its attestation if one is given, over exactly this digest."""
    with refusing(as_json=as_json):
        named = _IMAGE.match(image)
        if named is None:
            raise RefusedError("image.no_digest", image[:200], "NAME@sha256:<64 lower-case hexadecimal digits>")
        digest = named["digest"]
        found = Found(f"image {named['name']}@sha256:{digest}", {"sha256": digest})
        sigstore = sigstore_signer(identity, issuer, trusted_root, found)
        raw = bytes_of(bundle, MAX_BUNDLE_BYTES)
        if holds_statement(raw):
            signed = verify_statement(raw, signer=sigstore.signer, root=sigstore.root)
            statement = read_statement(signed.payload or b"")
            require_predicate(statement, [COSIGN_SIGN])
            require_subject(statement, {"sha256": digest})
        else:
            signed = verify_artifact(digest, raw, signer=sigstore.signer, root=sigstore.root)
        add_signature(found, signed)
        if attestation is None:
            found.note("attestation", "none was given: only the signature was checked")
        else:
            check_attestation(found, attestation, {"sha256": digest}, predicate_type or PROVENANCE, sigstore)
        found.tell(as_json=as_json)


@verify_app.command("attestation")
def verify_attestation(  # noqa: PLR0913 - options of a command
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Sigstore bundle, or DSSE envelope by OpenPGP.")],
    *,
    artifact: Annotated[Path | None, typer.Option("--artifact", help="The file it must be about.")] = None,
    digest: Annotated[str, typer.Option("--digest", help="Or its digest, sha256:<hex>.")] = "",
    identity: Identity = "",
    issuer: Issuer = "",
    trusted_root: RootOption = None,
    key: KeyOption = None,
    fingerprint: Fingerprint = "",
    received_at: ReceivedAt = "",
    predicate_type: PredicateType = None,
    as_json: AsJson = False,
) -> None:
    """An in-toto attestation: who signed it, that it is about this artifact, and of the wanted kind."""
    with refusing(as_json=as_json):
        if (artifact is None) == (not digest):
            raise RefusedError("usage", "both or neither of --artifact and --digest", "one of them")
        digests = digests_of(bytes_of(artifact)) if artifact else given_digest(digest)
        found = Found(f"attestation {file.name}", {**digests})
        by = signer_of(identity, issuer, trusted_root, key, fingerprint, received_at, found=found)
        check_attestation(found, file, digests, predicate_type or PROVENANCE, by)
        found.tell(as_json=as_json)


@verify_app.command("bundle")
def verify_bundle_file(  # noqa: PLR0913 - options of a command
    file: Annotated[Path, typer.Argument(metavar="FILE", help="artifact.tar.gz as the portal gives it out.")],
    *,
    bundle: BundleOption = None,
    identity: Identity = "",
    issuer: Issuer = "",
    trusted_root: RootOption = None,
    signature: SignatureOption = None,
    key: KeyOption = None,
    fingerprint: Fingerprint = "",
    received_at: ReceivedAt = "",
    summary: Annotated[Path | None, typer.Option("--vsa", help="The portal's verification summary.")] = None,
    verifier: Annotated[str, typer.Option("--verifier", help="Who must have verified: the portal's address.")] = "",
    as_json: AsJson = False,
) -> None:
    """A handoff's artifact.tar.gz: the portal's signature, and its summary of what it verified if one is given."""
    with refusing(as_json=as_json):
        raw = bytes_of(file)
        digests = digests_of(raw)
        found = Found(f"bundle {file.name}", {"sha256": digests["sha256"]})
        by = signer_of(identity, issuer, trusted_root, key, fingerprint, received_at, found=found)
        check_signature(found, raw, bundle, signature, by)
        if summary is None:
            found.note("summary", "none was given: that the bundle was verified is not shown; give --vsa")
        else:
            statement = signed_statement(found, summary, by, "summary signature")
            who = require_summary(statement, verifier=verifier)
            require_subject(statement, digests)
            found.add("summary", f"PASSED, says {who}", verifier=who, result="PASSED")
        found.tell(as_json=as_json)


@verify_app.command("policy")
def verify_policy(  # noqa: PLR0913 - options of a command
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The policy document, YAML.")],
    *,
    bundle: BundleOption = None,
    identity: Identity = "",
    issuer: Issuer = "",
    trusted_root: RootOption = None,
    signature: SignatureOption = None,
    key: KeyOption = None,
    fingerprint: Fingerprint = "",
    received_at: ReceivedAt = "",
    attestation: AttestationOption = None,
    predicate_type: PredicateType = None,
    as_json: AsJson = False,
) -> None:
    """A policy document: that it is one, its signature, and the attestation about it. Both are needed (SOP 10.4)."""
    with refusing(as_json=as_json):
        raw = bytes_of(file, 1 << 20)
        digests = digests_of(raw)
        found = Found(f"policy {file.name}", {"sha256": digests["sha256"]})
        try:
            policy = parse_policy(raw)
        except PolicyError as error:
            raise RefusedError(error.code, error.detail, "a policy document") from None
        found.add("document", f"strict, meaning {policy.digest}", digest=policy.digest)
        by = signer_of(identity, issuer, trusted_root, key, fingerprint, received_at, found=found)
        missing = " and ".join(
            name
            for name, is_given in (
                ("signature", bundle is not None or signature is not None),
                ("attestation", attestation is not None),
            )
            if not is_given
        )
        if attestation is None or missing:
            raise RefusedError("policy.evidence_missing", f"no {missing}", "a signature and an attestation, both")
        check_signature(found, raw, bundle, signature, by)
        check_attestation(found, attestation, digests, predicate_type or (), by)
        found.tell(as_json=as_json)
