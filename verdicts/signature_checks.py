"""The SLSA gate's look at the enforcer's signature and statement, by whichever method they were made.

Source: SOP sections 10.1 to 10.4; ATT-02, ATT-04, ATT-08 and ATT-10 of the threat list.
"""

from __future__ import annotations

from dataclasses import dataclass

from audit.canonical import JsonError, JsonValue, parse_json
from handoffs.actions import Tools
from handoffs.attestations.vsa import VSA_TYPE
from handoffs.bundles.store import StoreError
from handoffs.keys import refuse_untrusted, verify_receipt
from handoffs.lane import rules_in_force
from handoffs.models import Handoff, Lane, Method, Signature, SignatureRenewal, SigningDowngrade, SigningKey
from handoffs.rules import Signing
from handoffs.signatures.openpgp import SignatureError, open_envelope
from handoffs.signatures.sigstore_signing import Bundles, Pinned

ARTIFACT = "the enforcer's signature covers the artifact, by a signer that was trusted when it signed"
STATEMENT = "the enforcer's signed statement says PASSED for this artifact and this tree"
METHOD = "the policy takes this kind of signature"


@dataclass(frozen=True)
class GateCheck:
    """One thing a gate looked at."""

    name: str
    is_met: bool
    got: str


def check_signature(handoff: Handoff, tools: Tools) -> tuple[GateCheck, ...]:
    """The signature over the artifact, the statement, and whether the policy in force takes their kind."""
    found = (
        Signature.objects.filter(handoff=handoff).select_related("key", "logged_later").defer("key__secret_key").first()
    )
    if found is None:
        return tuple(GateCheck(name, is_met=False, got="no signature") for name in (ARTIFACT, STATEMENT))
    rules = rules_in_force().signing
    if found.method == Method.SIGSTORE:
        return _sigstore(handoff, found, rules, tools)
    standing = found.standing
    if standing.key is None:
        return (GateCheck(ARTIFACT, is_met=False, got="no key"),)
    return (
        _openpgp_artifact(handoff, standing, standing.key, tools),
        _openpgp_statement(handoff, standing, standing.key),
        _openpgp_is_allowed(handoff, found, rules, tools),
    )


def _sigstore(handoff: Handoff, found: Signature, rules: Signing, tools: Tools) -> tuple[GateCheck, ...]:
    """Both bundles, offline, under the pinned root, by exactly the identity and issuer that the policy pins."""
    if rules.method != "sigstore" or tools.sigstore is None:
        got = f"signed with Sigstore, but the policy says {rules.method}"
        return (GateCheck(METHOD, is_met=False, got=got if tools.sigstore else "SIGSTORE_TRUST_CONFIG is not set"),)
    bundles = Bundles(handoff.digest, found.artifact_bundle, found.statement_bundle)
    try:
        tools.store.get(handoff.digest)
        checked = tools.sigstore.verify(
            bundles, Pinned(rules.identity, rules.issuer), root_digest=found.trusted_root_digest
        )
        statement = parse_json(checked.payload)
    except (SignatureError, StoreError, JsonError) as error:
        return tuple(GateCheck(name, is_met=False, got=str(error)) for name in (ARTIFACT, STATEMENT))
    got = f"{rules.identity} by {rules.issuer}, log index {checked.log_index}, root {checked.root_digest}"
    return (
        GateCheck(ARTIFACT, is_met=found.digest == handoff.digest, got=got),
        _says_passed(handoff, statement),
        GateCheck(METHOD, is_met=True, got="sigstore"),
    )


def _openpgp_artifact(
    handoff: Handoff, found: Signature | SignatureRenewal, key: SigningKey, tools: Tools
) -> GateCheck:
    try:
        raw = tools.store.get(handoff.digest)
        verify_receipt(key, raw, found.signature, received_at=found.signed_at)
    except (SignatureError, StoreError) as error:
        return GateCheck(ARTIFACT, is_met=False, got=str(error))
    is_met = key.lane == Lane.ENFORCER and handoff.signature.digest == handoff.digest
    return GateCheck(ARTIFACT, is_met=is_met, got=f"{key.fingerprint} at {found.signed_at.isoformat()}")


def _openpgp_statement(handoff: Handoff, found: Signature | SignatureRenewal, key: SigningKey) -> GateCheck:
    try:
        refuse_untrusted(key, found.signed_at)
        statement = open_envelope(
            bytes(found.envelope),
            public_key=key.public_key,
            fingerprint=key.fingerprint,
            received_at=found.signed_at,
        )
    except (SignatureError, JsonError, ValueError) as error:
        return GateCheck(STATEMENT, is_met=False, got=str(error))
    return _says_passed(handoff, statement)


def _openpgp_is_allowed(handoff: Handoff, found: Signature, rules: Signing, tools: Tools) -> GateCheck:
    """OpenPGP counts where the policy says OpenPGP, where LEAD acknowledged it, or once the signature is logged."""
    if rules.method == "openpgp":
        return GateCheck(METHOD, is_met=True, got="openpgp")
    if rules.fallback == "acknowledged" and SigningDowngrade.objects.filter(handoff=handoff).exists():
        return GateCheck(METHOD, is_met=True, got="openpgp, acknowledged by LEAD")
    if not hasattr(found, "logged_later") or tools.sigstore is None:
        return GateCheck(METHOD, is_met=False, got="openpgp, neither acknowledged by LEAD nor logged")
    bundles = Bundles(handoff.digest, found.logged_later.artifact_bundle)
    try:
        checked = tools.sigstore.verify(bundles, Pinned(rules.identity, rules.issuer))
    except SignatureError as error:
        return GateCheck(METHOD, is_met=False, got=str(error))
    return GateCheck(METHOD, is_met=True, got=f"openpgp, logged afterwards with index {checked.log_index}")


def _says_passed(handoff: Handoff, statement: JsonValue) -> GateCheck:
    match statement:
        case {
            "predicateType": str(kind),
            "subject": [{"digest": {"sha256": str(digest)}}],
            "predicate": {
                "verificationResult": "PASSED",
                "leoportal_handoff": str(name),
                "leoportal_mergeBase": str(base),
                "leoportal_resultTree": str(tree),
            },
        }:
            expected = (VSA_TYPE, handoff.digest, str(handoff), handoff.merge_base, handoff.result_tree)
            is_met = (kind, digest, name, base, tree) == expected
            return GateCheck(STATEMENT, is_met=is_met, got=f"{digest} {tree}")
        case _:
            return GateCheck(STATEMENT, is_met=False, got="another kind of statement")
