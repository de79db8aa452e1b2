"""Signed statements of what was judged: a SLSA VSA for each verdict and decision, and one statement for each policy.

The gate lane's key signs them. A verdict without its statement is the queue; the sweep finds it. Each statement is
gathered and signed outside any transaction and recorded in one, once.
Source: SLSA VSA v1; SOP sections 2.1 and 10.4 ("Policy Bundles: Signed and attested").
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import IntegrityError, transaction
from django.utils import timezone

from audit import events
from audit.accountability import Act, require
from audit.actions import append_event
from audit.canonical import JsonError, JsonValue
from audit.events import Actor
from handoffs.attestations.vsa import (
    PORTAL_VERSION,
    STATEMENT_TYPE,
    Resource,
    Summary,
    digest_of_json,
    policy_resource,
    write_summary,
)
from handoffs.bundles.bundle import digest_of
from handoffs.clocks import refuse_skew
from handoffs.keys import active_key, confirm_active, refuse_untrusted, verify_receipt
from handoffs.models import Lane, PullRequest, Signature, SigningKey
from handoffs.signatures.openpgp import SignatureError, Signer, open_envelope
from verdicts.decision import Verdict as VerdictKind
from verdicts.models import Decision, DecisionKind, PolicyVersion, Verdict, VerdictError
from verdicts.statement_rows import DecisionStatement, PolicyStatement, VerdictStatement

POLICY_TYPE: Final = "https://leoportal.invalid/policy-enactment/v1"


@dataclass(frozen=True)
class Attestor:
    """Who attests, and with what: built from settings by the task that runs it."""

    by: Actor
    password: str
    portal_url: str


def attest_verdict(verdict_id: int, attestor: Attestor) -> VerdictStatement:
    """The statement of a verdict, made if there is none.

    Raises: HandoffError("key.none"), SignatureError.
    """
    found = VerdictStatement.objects.filter(verdict_id=verdict_id).first()
    if found is not None:
        return found
    verdict = Verdict.objects.select_related("pull_request__repository", "policy", "log_entry").get(pk=verdict_id)
    signed = _sign(write_summary(summary_of_verdict(verdict, attestor.portal_url)), attestor)
    body: dict[str, JsonValue] = {"verdict": verdict.pk, "result": verdict.verdict, **signed.facts}
    try:
        with transaction.atomic(durable=True):
            confirm_active(signed.key, signed.at)
            entry = append_event(events.VERDICT_ATTESTED, attestor.by, _subject(verdict.pull_request), body)
            return VerdictStatement.objects.create(
                verdict=verdict, key=signed.key, envelope=signed.envelope, signed_at=signed.at, log_entry=entry
            )
    except IntegrityError:
        return VerdictStatement.objects.get(verdict_id=verdict_id)


def attest_decision(decision_id: int, attestor: Attestor) -> DecisionStatement:
    """The statement of an approval or a refusal by LEAD, made if there is none. As for `attest_verdict`."""
    found = DecisionStatement.objects.filter(decision_id=decision_id).first()
    if found is not None:
        return found
    decision = Decision.objects.select_related("pull_request__repository", "pull_request__handoff", "log_entry").get(
        pk=decision_id
    )
    signed = _sign(write_summary(summary_of_decision(decision, attestor.portal_url)), attestor)
    body: dict[str, JsonValue] = {"decision": decision.pk, "result": decision.decision, **signed.facts}
    try:
        with transaction.atomic(durable=True):
            confirm_active(signed.key, signed.at)
            entry = append_event(events.DECISION_ATTESTED, attestor.by, _subject(decision.pull_request), body)
            return DecisionStatement.objects.create(
                decision=decision, key=signed.key, envelope=signed.envelope, signed_at=signed.at, log_entry=entry
            )
    except IntegrityError:
        return DecisionStatement.objects.get(decision_id=decision_id)


def attest_policy(version: PolicyVersion, attestor: Attestor) -> PolicyStatement:
    """Signature and statement of a policy by a key that is still trusted, made if there is none.

    As for `attest_verdict`.
    """
    found = trusted_statement(version)
    if found is not None:
        return found
    version = PolicyVersion.objects.select_related("log_entry").get(pk=version.pk)  # with the leaf the database wrote
    signed = _sign(_policy_statement(version), attestor, document=version.document.encode())
    body: dict[str, JsonValue] = {
        "number": version.number,
        "digest": version.digest,
        **signed.facts,
        "signature_sha256": digest_of(signed.signature.encode()),
    }
    try:
        with transaction.atomic(durable=True):
            confirm_active(signed.key, signed.at)
            entry = append_event(events.POLICY_ATTESTED, attestor.by, "", body)
            return PolicyStatement.objects.create(
                policy=version,
                key=signed.key,
                signature=signed.signature,
                envelope=signed.envelope,
                signed_at=signed.at,
                log_entry=entry,
            )
    except IntegrityError:
        return PolicyStatement.objects.exclude(signature="").get(policy=version, key=signed.key)


def trusted_statement(version: PolicyVersion) -> PolicyStatement | None:
    """The newest signature and statement of a policy whose key vouches for when they were received.

    Not checked: what was signed; `verify_policy_signature` and `verify_policy_statement` do.
    """
    rows = PolicyStatement.objects.filter(policy=version).exclude(signature="").select_related("key")
    rows = rows.defer("key__secret_key").order_by("-pk")
    return next((row for row in rows if row.key.vouches_for(row.signed_at)), None)


def verify_policy_signature(version: PolicyVersion) -> str:
    """Who signed the policy's text, after the detached signature was checked over exactly its bytes.

    Raises: VerdictError("policy.unsigned") while there is none (the sweep makes one within seconds),
    VerdictError("policy.signature") for one that does not hold.
    """
    found = _of_the_gate(version, "policy.signature")
    try:
        verify_receipt(found.key, version.document.encode(), found.signature, received_at=found.signed_at)
    except SignatureError as error:
        raise VerdictError("policy.signature", str(error)) from None
    return found.key.fingerprint


def verify_policy_statement(version: PolicyVersion) -> str:
    """Who attested the policy in force, after the statement was checked to be about exactly its text.

    Raises: VerdictError("policy.unsigned") while there is no trusted statement (the sweep makes one within seconds),
    VerdictError("policy.statement") for one that does not hold.
    """
    found = _of_the_gate(version, "policy.statement")
    key = found.key
    try:
        refuse_untrusted(key, found.signed_at)
        said = open_envelope(
            bytes(found.envelope),
            public_key=key.public_key,
            fingerprint=key.fingerprint,
            received_at=found.signed_at,
        )
    except (SignatureError, JsonError, ValueError) as error:
        raise VerdictError("policy.statement", str(error)) from None
    text = hashlib.sha256(version.document.encode()).hexdigest()
    if said != _policy_statement(version) or text != version.digest:
        raise VerdictError("policy.statement", f"policy v{version.number} is not the text that was attested")
    return key.fingerprint


def _of_the_gate(version: PolicyVersion, code: str) -> PolicyStatement:
    found = trusted_statement(version)
    if found is None:
        raise VerdictError("policy.unsigned", f"policy v{version.number} has no trusted signature and statement yet")
    if found.key.lane != Lane.GATE:
        raise VerdictError(code, f"{found.key.fingerprint} is no key of the gate lane")
    return found


def unattested_verdicts() -> list[int]:
    """Verdicts without a statement, oldest first."""
    return list(Verdict.objects.filter(statement=None).order_by("pk").values_list("pk", flat=True)[:200])


def unattested_decisions() -> list[int]:
    """Approvals and refusals without a statement, oldest first. A forced re-run decides nothing yet."""
    rows = Decision.objects.filter(statement=None).exclude(decision=DecisionKind.RERUN)
    return list(rows.order_by("pk").values_list("pk", flat=True)[:200])


def summary_of_verdict(verdict: Verdict, portal_url: str) -> Summary:
    """What a verdict says, as a verification summary. PASSED only for PASS."""
    pull = verdict.pull_request
    return Summary(
        subjects=_subjects(pull, verdict.head_sha, verdict.bundle_digest),
        verifier_id=portal_url,
        verifier_version={"leoportal": PORTAL_VERSION},
        time_verified=verdict.created_at,
        resource_uri=_resource(pull, verdict.head_sha, portal_url),
        policy=policy_resource(portal_url, verdict.policy.digest),
        inputs=_inputs(pull, verdict.bundle_digest, portal_url),
        is_passed=verdict.verdict == VerdictKind.PASS.value,
        facts={
            "verdict": verdict.verdict,
            "computed": verdict.computed,
            "confidence": str(verdict.confidence),
            "head": verdict.head_sha,
            "base": verdict.base_sha,
            "mergeTree": verdict.merge_tree,
            "inputsDigest": {"sha256": digest_of_json(verdict.inputs)},
            "assurance": verdict.assurance,
            "protection": verdict.protection,
            "logLeafHash": bytes(verdict.log_entry.leaf_hash).hex(),
        },
    )


def summary_of_decision(decision: Decision, portal_url: str) -> Summary:
    """What LEAD decided, as a verification summary. PASSED only for an approval."""
    pull = decision.pull_request
    policy = PolicyVersion.objects.filter(created_at__lte=decision.created_at).latest("number")
    bundle = (decision.verdict.bundle_digest if decision.verdict else "") or pull.handoff.digest
    return Summary(
        subjects=_subjects(pull, decision.head_sha, bundle),
        verifier_id=portal_url,
        verifier_version={"leoportal": PORTAL_VERSION},
        time_verified=decision.created_at,
        resource_uri=_resource(pull, decision.head_sha, portal_url),
        policy=policy_resource(portal_url, policy.digest),
        inputs=_inputs(pull, bundle, portal_url),
        is_passed=decision.decision == DecisionKind.APPROVE,
        facts={
            "decision": decision.decision,
            "isOverride": decision.is_override,
            "assurance": decision.assurance,
            "protection": decision.protection,
            "expiresAt": decision.expires_at.isoformat() if decision.expires_at else None,
            "head": decision.head_sha,
            "mergeTree": decision.merge_tree,
            "logLeafHash": bytes(decision.log_entry.leaf_hash).hex(),
        },
    )


def _policy_statement(version: PolicyVersion) -> JsonValue:
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": f"policy v{version.number}", "digest": {"sha256": version.digest}}],
        "predicateType": POLICY_TYPE,
        "predicate": {
            "number": version.number,
            "enactedAt": version.created_at.isoformat(),
            "logLeafHash": bytes(version.log_entry.leaf_hash).hex(),
        },
    }


def _subjects(pull: PullRequest, head: str, bundle: str) -> tuple[tuple[str, dict[str, str]], ...]:
    name = f"{pull.repository.full_name}#PR-{pull.number}"
    return ((name, {"gitCommit": head}), ("artifact.tar.gz", {"sha256": bundle}))


def _resource(pull: PullRequest, head: str, portal_url: str) -> str:
    return f"git+{portal_url}/{pull.repository.full_name}@{head}#PR-{pull.number}"


def _inputs(pull: PullRequest, bundle: str, portal_url: str) -> tuple[Resource, ...]:
    """The enforcer's statement about the bundle that was judged."""
    rows = Signature.objects.filter(handoff__repository_id=pull.repository_id, digest=bundle)
    signature = rows.order_by("-pk").first()
    if signature is None:
        return ()
    uri = f"{portal_url}/handoffs/{signature.handoff_id}/statement.dsse.json"
    return (Resource(uri, {"sha256": digest_of(bytes(signature.envelope))}),)


@dataclass(frozen=True)
class _Signed:
    key: SigningKey
    envelope: bytes
    at: datetime
    signature: str

    @property
    def facts(self) -> dict[str, JsonValue]:
        """What the log says of the signature."""
        return {"fingerprint": self.key.fingerprint, "statement_sha256": digest_of(self.envelope)}


def _sign(statement: JsonValue, attestor: Attestor, *, document: bytes = b"") -> _Signed:
    """The statement in its envelope, and a detached signature over the document if there is one."""
    require(attestor.by, Act.ATTEST)
    refuse_skew()
    key, now = active_key(Lane.GATE), timezone.now()
    signer = Signer(bytes(key.secret_key), password=attestor.password, fingerprint=key.fingerprint, now=now)
    return _Signed(key, signer.envelope(statement), now, signer.sign(document) if document else "")


def _subject(pull: PullRequest) -> str:
    return f"H-{pull.handoff_id}"
