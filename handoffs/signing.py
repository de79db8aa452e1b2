"""Signing a verified bundle: the enforcer's signature and its statement of what was verified.

Sigstore or OpenPGP, as the policy says. What is to be signed is stored before anything leaves this machine; signature,
accepted attempt and SIGNED are one transaction.
Source: SOP sections 10.1 to 10.3; product.md section 4; ATT-05, ATT-10, ATT-11, ATT-13 of the threat list.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import NoReturn

from django.db import transaction

from audit import events
from audit.accountability import Act, require
from audit.canonical import JsonValue, parse_json, write_json
from handoffs.actions import Tools, record_event
from handoffs.attempts import end_attempt, find_entries, orphan_attempts, record_orphan, start_attempt
from handoffs.attestations.vsa import verification_summary
from handoffs.bundles.bundle import digest_of
from handoffs.clocks import CLOCK_RETRY, ClockSkewError, refuse_skew
from handoffs.fallback import Outage, read_outage
from handoffs.keys import active_key, confirm_active
from handoffs.lane import rules_in_force
from handoffs.models import (
    Handoff,
    HandoffError,
    Lane,
    Method,
    Signature,
    SignatureRenewal,
    SigningAttempt,
    SigningDowngrade,
    StaleStatusError,
    Status,
)
from handoffs.rules import Signing
from handoffs.signatures.openpgp import Signer
from handoffs.signatures.sigstore_signing import (
    Pinned,
    ServiceClockError,
    SigningRefusedError,
    SigningUnavailableError,
)
from handoffs.summaries import verified_facts


class SignerWaitsError(HandoffError):
    """Nothing is wrong with the handoff: it waits, as long as it takes, and is tried again after `retry_in`."""

    def __init__(self, code: str, detail: str, *, retry_in: timedelta) -> None:
        super().__init__(code, detail)
        self.retry_in = retry_in


def sign_handoff(handoff: Handoff, tools: Tools) -> None:
    """Sign the verified bytes and a statement of what was verified. The digest is recomputed from the store.

    Raises: SignerWaitsError when the signing service is down or a clock is wrong; HandoffError, SignatureError.
    """
    require(tools.enforcer, Act.SIGN_ARTIFACT)
    rules = rules_in_force().signing
    check_clocks(tools)
    orphan_attempts(handoff.signing_attempts.filter(outcome=SigningAttempt.Outcome.STARTED), handoff, tools)
    raw = tools.store.get(handoff.digest)
    if (
        choose_method(rules, is_acknowledged=SigningDowngrade.objects.filter(handoff=handoff).exists())
        == Method.OPENPGP
    ):
        _sign_with_openpgp(handoff, raw, tools)
        return
    outage = read_outage(handoff, rules)
    if outage.next_at is not None and outage.next_at > tools.clock():
        raise SignerWaitsError(outage.code, outage.detail, retry_in=outage.next_at - tools.clock())
    _sign_with_sigstore(handoff, raw, outage, tools)


def choose_method(rules: Signing, *, is_acknowledged: bool) -> Method:
    """How this handoff is signed. OpenPGP stands in for Sigstore only by policy and with LEAD's acknowledgement."""
    if rules.method == "openpgp" or (rules.fallback == "acknowledged" and is_acknowledged):
        return Method.OPENPGP
    return Method.SIGSTORE


def check_clocks(tools: Tools) -> None:
    """Compare this process's clock with the others that are known. Raises: SignerWaitsError("clock.skew")."""
    try:
        refuse_skew(tools.clock)
    except ClockSkewError as error:
        raise SignerWaitsError(error.code, error.detail, retry_in=CLOCK_RETRY) from None


def statement_of(handoff: Handoff, raw: bytes, tools: Tools, *, fingerprint: str = "") -> bytes:
    """The statement to be signed: the same bytes for the same verified handoff under the same policy."""
    facts = verified_facts(handoff, raw, portal_url=tools.portal_url)
    return write_json(verification_summary(facts, fingerprint=fingerprint))


def receipt_of(signature: Signature | SignatureRenewal) -> dict[str, JsonValue]:
    """What the log says of a signature: when the portal received it, and which bytes it is."""
    keyless = signature.artifact_bundle if isinstance(signature, Signature) else ""
    return {
        "received_at": signature.signed_at.isoformat(),
        "signature_sha256": digest_of((keyless or signature.signature).encode()),
        "statement_sha256": digest_of(bytes(signature.envelope)),
    }


def _sign_with_openpgp(handoff: Handoff, raw: bytes, tools: Tools) -> None:
    key = active_key(Lane.ENFORCER)
    now = tools.clock()
    signer = Signer(bytes(key.secret_key), password=tools.key_password, fingerprint=key.fingerprint, now=now)
    statement = statement_of(handoff, raw, tools, fingerprint=key.fingerprint)
    attempt = start_attempt(handoff, Method.OPENPGP, statement, tools, why="signature")
    signature = Signature(
        handoff=handoff,
        method=Method.OPENPGP,
        key=key,
        digest=handoff.digest,
        signature=signer.sign(raw),
        envelope=signer.envelope(parse_json(statement)),
        signed_at=now,
    )
    _accept(signature, attempt, tools, {"fingerprint": key.fingerprint})


def _sign_with_sigstore(handoff: Handoff, raw: bytes, outage: Outage, tools: Tools) -> None:
    if tools.sigstore is None:
        raise HandoffError("signing.not_configured", "the policy says sigstore; set SIGSTORE_TRUST_CONFIG")
    pinned = Pinned(outage.rules.identity, outage.rules.issuer)
    statement = statement_of(handoff, raw, tools)
    attempt = start_attempt(handoff, Method.SIGSTORE, statement, tools, why="signature")
    try:
        signed = tools.sigstore.sign(handoff.digest, statement, pinned)
    except SigningUnavailableError as error:
        _record_failure(attempt, error, outage, tools)
    signature = Signature(
        handoff=handoff,
        method=Method.SIGSTORE,
        digest=handoff.digest,
        envelope=signed.envelope,
        artifact_bundle=signed.bundles.artifact_bundle,
        statement_bundle=signed.bundles.statement_bundle,
        identity=pinned.identity,
        issuer=pinned.issuer,
        log_index=signed.log_index,
        trusted_root_digest=signed.root_digest,
        transparency=Signature.Transparency.LOGGED,
        signed_at=tools.clock(),
    )
    indexes: list[JsonValue] = [signed.log_index, signed.statement_log_index]
    _accept(signature, attempt, tools, {"identity": pinned.identity, "issuer": pinned.issuer, "log_indexes": indexes})


def _accept(signature: Signature, attempt: SigningAttempt, tools: Tools, detail: Mapping[str, JsonValue]) -> None:
    """The one signature of a handoff, its attempt and its status, together. A run that came too late is an orphan."""
    handoff = signature.handoff
    try:
        with transaction.atomic(durable=True):
            if signature.key is not None:
                confirm_active(signature.key, signature.signed_at)
            end_attempt(attempt, SigningAttempt.Outcome.ACCEPTED)
            Handoff.objects.move(handoff.pk, old=Status(handoff.status), new=Status.SIGNED)
            signature.save(force_insert=True)
            record_event(
                handoff,
                events.HANDOFF_SIGNED,
                tools.enforcer,
                {
                    **detail,
                    "method": str(signature.method),
                    "digest": signature.digest,
                    "transparency": str(signature.transparency),
                    **receipt_of(signature),
                },
            )
    except StaleStatusError:
        orphan_attempts(SigningAttempt.objects.filter(pk=attempt.pk, outcome="started"), handoff, tools)
        raise


def _record_failure(attempt: SigningAttempt, error: SigningUnavailableError, outage: Outage, tools: Tools) -> NoReturn:
    """A failed try: refused, or one failed probe. Raises what the row is released with."""
    handoff = attempt.handoff
    entries = find_entries(attempt, handoff, tools) if error.may_be_logged else ()
    is_down = not isinstance(error, SigningRefusedError | ServiceClockError)
    outcome = SigningAttempt.Outcome.ORPHANED if error.may_be_logged else SigningAttempt.Outcome.FAILED
    body: dict[str, JsonValue] = {"attempt": attempt.pk, "code": error.code, "detail": error.detail[:300]}
    with transaction.atomic(durable=True):
        end_attempt(attempt, outcome, str(error))
        if error.may_be_logged:
            record_orphan(attempt, handoff, tools, entries, why=error.code)
        if is_down:
            if handoff.status == Status.VERIFIED:
                Handoff.objects.move(handoff.pk, old=Status.VERIFIED, new=Status.WAITING_SIGNER)
            record_event(handoff, events.SIGNING_UNAVAILABLE, tools.enforcer, {**body, "probe": outage.probes + 1})
        else:
            record_event(handoff, events.SIGNING_REFUSED, tools.enforcer, body)
    if is_down:
        raise SignerWaitsError(error.code, error.detail, retry_in=outage.interval) from None
    if isinstance(error, ServiceClockError):
        raise SignerWaitsError(error.code, error.detail, retry_in=CLOCK_RETRY) from None
    raise HandoffError(error.code, error.detail) from None
