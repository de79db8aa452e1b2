"""Signing a verified handoff with the loopback Sigstore: attempts, outages, LEAD's acknowledgement, logging afterwards."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.utils import timezone

from audit import events
from audit.models import Identity, Principal
from handoffs.actions import Tools, record_event
from handoffs.attempts import end_attempt, start_attempt
from handoffs.models import (
    TRANSITIONS,
    BundleCheck,
    Handoff,
    HandoffEvent,
    Method,
    Signature,
    SigningAttempt,
    StaleStatusError,
    Status,
)
from handoffs.rules import Signing
from handoffs.signatures.sigstore_signing import Bundles, Pinned
from handoffs.signing import SignerWaitsError, sign_handoff, statement_of
from tests.support.loopback_sigstore import LoopbackSigstore
from tests.support.outages import again, happened, waiting
from tests.support.portal import GOOD_CHANGE, Portal
from tests.support.signing import IDENTITY, enact_signing, rotate_token, use_sigstore
from verdicts.gates import run_slsa_gate
from verdicts.results import GateOutcome

pytestmark = pytest.mark.django_db(transaction=True)


def stated(handoff: Handoff, tools: Tools) -> bytes:
    """The statement that the enforcer signs for a handoff."""
    return statement_of(handoff, tools.store.get(handoff.digest), tools)


def test_a_handoff_is_signed_keylessly_and_passes_the_gate(portal: Portal, settings, tmp_path: Path, sigstore):
    use_sigstore(settings, tmp_path, sigstore)
    handoff = portal.hand_over()
    assert handoff.status == Status.TRIGGERED, handoff.error
    signature = handoff.signature
    assert (signature.method, signature.transparency, signature.signer) == (Method.SIGSTORE, "logged", IDENTITY)
    statement = stated(handoff, portal.tools())
    checked = portal.tools().sigstore.verify(
        Bundles(handoff.digest, signature.artifact_bundle, signature.statement_bundle), Pinned(IDENTITY, sigstore.url)
    )
    assert checked.payload == statement
    assert f"Signed-By: {IDENTITY}" in portal.tools().git.message_of(portal.pull().head_sha)
    (attempt,) = handoff.signing_attempts.all()
    assert (attempt.outcome, bytes(attempt.statement)) == ("accepted", statement)
    result = run_slsa_gate(portal.pull(), portal.tools())
    assert result.conclusion is GateOutcome.SUCCESS, result.evidence
    client = Client()
    client.force_login(User.objects.get(username="plan"), backend="leoportal.roles.SignInBackend")
    for name, expected in (("artifact", signature.artifact_bundle), ("statement", signature.statement_bundle)):
        answer = client.get(f"/handoffs/{handoff.pk}/{name}.sigstore.json")
        assert (answer.status_code, answer.content.decode()) == (200, expected)
        assert answer["Content-Disposition"].endswith('.sigstore.json"')
    assert client.get(f"/handoffs/{handoff.pk}/artifact.tar.gz.asc").status_code == 404
    order = [row.event for row in HandoffEvent.objects.filter(handoff=handoff).order_by("pk")]
    assert order.index(events.SIGNING_STARTED) < order.index(events.HANDOFF_SIGNED)


def test_the_gate_refuses_another_identity_another_artifact_and_another_root(
    portal: Portal, settings, tmp_path: Path, rekor1: LoopbackSigstore
):
    use_sigstore(settings, tmp_path, rekor1)
    portal.hand_over()
    pull, tools = portal.pull(), portal.tools()
    assert run_slsa_gate(pull, tools).conclusion is GateOutcome.SUCCESS
    with LoopbackSigstore(rekor=1) as other:
        foreign = replace(tools.sigstore, trust_config=other.write_config(tmp_path / "other"))
        assert run_slsa_gate(pull, replace(tools, sigstore=foreign)).conclusion is GateOutcome.FAILURE
    unpinned = replace(tools.sigstore, root_digests=("0" * 64,))
    assert run_slsa_gate(pull, replace(tools, sigstore=unpinned)).conclusion is GateOutcome.FAILURE
    assert run_slsa_gate(pull, replace(tools, sigstore=None)).conclusion is GateOutcome.FAILURE
    enact_signing({"method": "sigstore", "identity": f"{IDENTITY}/other", "issuer": rekor1.url})
    assert run_slsa_gate(pull, tools).conclusion is GateOutcome.FAILURE
    path = settings.BUNDLE_STORE / pull.handoff.digest[:2] / pull.handoff.digest
    enact_signing({"method": "sigstore", "identity": IDENTITY, "issuer": rekor1.url, "probes": 4})
    assert run_slsa_gate(pull, tools).conclusion is GateOutcome.SUCCESS
    path.write_bytes(path.read_bytes() + b"x")
    assert run_slsa_gate(pull, tools).conclusion is GateOutcome.FAILURE


@pytest.mark.threat("ATT-11")
def test_what_is_meant_to_be_signed_is_stored_before_anything_leaves_the_machine(
    portal: Portal, settings, tmp_path: Path, rekor1: LoopbackSigstore
):
    use_sigstore(settings, tmp_path, rekor1)
    seen: list[Any] = []
    ask = rekor1.answer

    def watch(request):
        with psycopg.connect(settings_url(), autocommit=True) as other:
            seen.append(other.execute("SELECT outcome, statement FROM leo_signing_attempt").fetchall())
            seen[-1].append(
                other.execute("SELECT count(*) FROM leo_log_entry WHERE kind = 'signing.started'").fetchone()
            )
        return ask(request)

    rekor1.answer = watch  # type: ignore[method-assign]
    handoff = portal.hand_over()
    assert handoff.status == Status.TRIGGERED
    statement = stated(handoff, portal.tools())
    assert {(outcome, bytes(stored)) for (outcome, stored), _ in seen} == {("started", statement)}
    assert {count for _, count in seen} == {(1,)}


def settings_url() -> str:
    found = connection.get_connection_params()
    return psycopg.conninfo.make_conninfo(
        **{name: found[name] for name in ("dbname", "user", "password", "host", "port") if found.get(name)}
    )


@pytest.mark.threat("ATT-11")
def test_an_interrupted_attempt_becomes_an_orphan_with_its_log_entries(
    portal: Portal, settings, tmp_path: Path, rekor1: LoopbackSigstore
):
    use_sigstore(settings, tmp_path, rekor1)
    rekor1.faults = {"fulcio-down"}
    handoff = waiting(portal, rekor1)
    rekor1.faults = set()
    tools = portal.tools()
    statement = stated(handoff, tools)
    lost = start_attempt(handoff, Method.SIGSTORE, statement, tools, why="signature")
    left = tools.sigstore.sign(handoff.digest, statement, Pinned(IDENTITY, rekor1.url))
    tools = replace(tools, clock=lambda: timezone.now() + timedelta(seconds=100))
    fail = HandoffEvent.objects.filter(handoff=handoff, event=events.SIGNING_UNAVAILABLE).count()
    assert fail == 1
    with pytest.raises(SignerWaitsError):  # the next probe is not due yet; the orphan is found all the same
        sign_handoff(handoff, tools)
    lost.refresh_from_db()
    assert lost.outcome == "orphaned"
    (orphan,) = happened(handoff, events.SIGNING_ORPHANED)
    assert orphan["log_indexes"] == [left.log_index, left.statement_log_index]
    with pytest.raises(StaleStatusError), transaction.atomic():
        end_attempt(lost, SigningAttempt.Outcome.ACCEPTED)


@pytest.mark.threat("ATT-11")
def test_a_run_that_comes_too_late_accepts_nothing_and_is_an_orphan(
    portal: Portal, settings, tmp_path: Path, rekor1: LoopbackSigstore
):
    use_sigstore(settings, tmp_path, rekor1)
    ask = rekor1.answer

    def supersede_meanwhile(request):
        if request.path.endswith("/log/entries"):
            Handoff.objects.filter(status=Status.VERIFIED).update(status=Status.SUPERSEDED)
            connection.close()
        return ask(request)

    rekor1.answer = supersede_meanwhile  # type: ignore[method-assign]
    portal.push_bundle(portal.bundle(GOOD_CHANGE))
    handoff = portal.receive()
    assert handoff.status == Status.SUPERSEDED
    assert not Signature.objects.filter(handoff=handoff).exists()
    (attempt,) = handoff.signing_attempts.all()
    assert attempt.outcome == "orphaned"
    (orphan,) = happened(handoff, events.SIGNING_ORPHANED)
    assert len(orphan["log_indexes"]) == 2


def test_a_handoff_has_at_most_one_accepted_attempt(portal: Portal):
    handoff = portal.hand_over()
    tools = portal.tools()
    second = start_attempt(handoff, Method.OPENPGP, b"{}", tools, why="signature")
    with pytest.raises(IntegrityError), transaction.atomic():
        end_attempt(second, SigningAttempt.Outcome.ACCEPTED)


@pytest.mark.threat("ATT-13")
@pytest.mark.parametrize("skew", [timedelta(minutes=10), timedelta(minutes=-10), timedelta(hours=25)])
def test_a_clock_that_is_wrong_stops_signing_until_it_is_right(portal: Portal, settings, tmp_path, rekor1, skew):
    use_sigstore(settings, tmp_path, rekor1)
    rekor1.faults = {"fulcio-down"}
    handoff = waiting(portal, rekor1)
    rekor1.faults = set()
    asked = len(rekor1.requests)
    wrong = replace(portal.tools(), clock=lambda: timezone.now() + skew)
    with pytest.raises(SignerWaitsError, match=r"clock\.skew: this clock and the database's differ by"):
        sign_handoff(handoff, wrong)
    assert len(rekor1.requests) == asked
    assert handoff.signing_attempts.count() == 1


@pytest.mark.threat("ATT-13")
@pytest.mark.parametrize("minutes", [10, -10, 25 * 60])
def test_a_signing_service_with_another_time_is_not_signed_with(portal: Portal, settings, tmp_path, rekor1, minutes):
    use_sigstore(settings, tmp_path, rekor1)
    rekor1.date_skew = timedelta(minutes=minutes)
    portal.push_bundle(portal.bundle(GOOD_CHANGE))
    handoff = portal.receive()
    assert (handoff.status, handoff.attempts) == (Status.VERIFIED, 0)
    assert handoff.error.startswith("clock.skew: ")
    assert rekor1.digests_logged() == []
    rekor1.date_skew = timedelta()
    assert again(handoff) == Status.OPENED


@pytest.mark.threat("ATT-05")
def test_no_path_to_signed_skips_verified():
    paths: set[str] = {Status.RECEIVED}
    while True:
        further = {new for old in paths if old != Status.VERIFIED for new in TRANSITIONS[old]} | paths
        if further == paths:
            break
        paths = further
    assert paths == {Status.RECEIVED, Status.VERIFIED, Status.REFUSED, Status.QUARANTINED, Status.SUPERSEDED}
    assert Status.SIGNED in TRANSITIONS[Status.VERIFIED]


@pytest.mark.threat("ATT-05")
def test_the_database_refuses_a_signed_handoff_that_was_not_verified(portal: Portal):
    handoff = portal.hand_over()
    other = Handoff.objects.create(
        repository=portal.repository, staging_branch="staging/codex-x", staging_commit="1" * 40, chain="x"
    )
    for status in ("signed", "applied", "opened", "triggered"):
        with pytest.raises(IntegrityError, match="signed-was-verified"):
            Handoff.objects.filter(pk=other.pk).update(status=status, digest="2" * 64, applied_commit="3" * 40)
        with pytest.raises(IntegrityError, match="signed-was-verified"):
            Handoff.objects.create(
                repository=portal.repository, staging_branch="b", staging_commit="4" * 40, status=status,
                digest="5" * 64, applied_commit="3" * 40, chain="y",
            )  # fmt: skip
    with pytest.raises(IntegrityError, match="signed-was-verified"):
        Handoff.objects.filter(pk=handoff.pk).update(digest="6" * 64)
    Handoff.objects.filter(pk=other.pk).update(digest="7" * 64)
    forge_signature(other, handoff.signature)
    BundleCheck.objects.create(
        handoff=other, position=0, code="archive.size", group="x", sentence="x", outcome="PASSED"
    )
    forge_signature(other, handoff.signature)  # checks without the event of a verification
    with transaction.atomic():
        record_event(other, events.HANDOFF_VERIFIED, portal.actor("leoportal-enforcer"), {"digest": "8" * 64})
    forge_signature(other, handoff.signature)  # the event is about another digest
    BundleCheck.objects.create(
        handoff=other, position=1, code="archive.readable", group="x", sentence="x", outcome="FAILED"
    )
    with transaction.atomic():
        record_event(other, events.HANDOFF_VERIFIED, portal.actor("leoportal-enforcer"), {"digest": "7" * 64})
    forge_signature(other, handoff.signature)  # a check failed
    other.refresh_from_db()
    assert other.status == Status.RECEIVED


def forge_signature(handoff: Handoff, like: Signature) -> None:
    """A signature row written past the actions is refused when its transaction ends."""
    with pytest.raises(IntegrityError, match="signed-was-verified"):
        Signature.objects.create(
            handoff=handoff, key=like.key, digest="7" * 64, signature="x", envelope=b"{}", signed_at=timezone.now()
        )


def test_a_statement_is_the_same_bytes_whenever_it_is_made(
    portal: Portal, settings, tmp_path: Path, rekor1: LoopbackSigstore
):
    use_sigstore(settings, tmp_path, rekor1)
    handoff = waiting(portal, rekor1)
    first = stated(handoff, portal.tools())
    Handoff.objects.filter(pk=handoff.pk).update(moved_at=timezone.now() + timedelta(hours=1))
    assert stated(Handoff.objects.get(pk=handoff.pk), portal.tools()) == first
    assert hashlib.sha256(first).hexdigest() == happened(handoff, events.SIGNING_STARTED)[0]["statement"]


def test_the_token_is_read_anew_for_each_signature(portal: Portal, settings, tmp_path: Path, rekor1: LoopbackSigstore):
    use_sigstore(settings, tmp_path, rekor1)
    rotate_token(tmp_path, rekor1, seconds=-60)
    portal.push_bundle(portal.bundle(GOOD_CHANGE))
    handoff = portal.receive()
    assert handoff.error.startswith("signing.token: ")
    assert not any(request.path.endswith("signingCert") for request in rekor1.requests)
    rotate_token(tmp_path, rekor1)
    assert again(handoff) == Status.OPENED


@pytest.mark.threat("ATT-15")
def test_nothing_private_is_sent_to_the_public_services(
    portal: Portal, settings, tmp_path: Path, sigstore: LoopbackSigstore
):
    use_sigstore(settings, tmp_path, sigstore)
    handoff = portal.hand_over()
    assert handoff.status == Status.TRIGGERED
    sent = b"\n".join(decoded(request.body) for request in sigstore.requests)
    assert handoff.digest.encode() in sent or bytes.fromhex(handoff.digest) in sent
    people = [*Principal.objects.values_list("name", flat=True), *Identity.objects.values_list("value", flat=True)]
    secrets = ["acme/payments", "payments", "staging/codex", handoff.title, handoff.prd_id, *people]
    for secret in secrets:
        assert len(secret) < 5 or secret.encode() not in sent, secret
    assert re.findall(rb"[A-Za-z0-9._-]{2,}@[A-Za-z0-9-]{2,}\.[a-z]{2,}", sent) == []
    with pytest.raises(ValueError, match="expected a URI"):
        Signing(method="sigstore", identity="ci@leo.example", issuer="https://accounts.example.com")


def decoded(body: bytes) -> bytes:
    """A request body with everything base64 in it laid open, however deep."""
    found = [body]
    for text in re.findall(rb"[A-Za-z0-9+/]{24,}={0,2}", body):
        padded = text + b"=" * (-len(text) % 4)
        try:
            inner = base64.b64decode(padded)
        except ValueError:
            continue
        found.append(decoded(inner) if inner.isascii() else inner)
    return b"\n".join(found)
