"""When Sigstore is away: waiting, probing, OpenPGP only by policy and with LEAD, and logging later."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import transaction
from django.utils import timezone

from audit import events
from audit.actions import take_part
from audit.events import AuditError, Role
from audit.models import ErasableText, LogEntry
from handoffs.fallback import acknowledge_downgrade, read_outage, visible_length
from handoffs.lane import rules_in_force
from handoffs.models import (
    Handoff,
    HandoffError,
    Method,
    Signature,
    Status,
    TransparencyRecord,
)
from handoffs.signatures.sigstore_signing import Bundles, Pinned
from handoffs.signing import SignerWaitsError, sign_handoff
from handoffs.tasks import sweep_signing
from tests.support.loopback_sigstore import LoopbackSigstore
from tests.support.outages import again, happened, waiting
from tests.support.portal import GOOD_CHANGE, Portal
from tests.support.signing import IDENTITY, enact_signing, fail_probes, use_sigstore
from verdicts.gates import run_slsa_gate
from verdicts.results import GateOutcome

WHY = "The release cannot wait for the signing service; the fix is reviewed."

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.threat("ATT-10")
def test_an_outage_waits_and_probes_at_most_once_in_an_interval(
    portal: Portal, settings, tmp_path: Path, sigstore: LoopbackSigstore
):
    use_sigstore(settings, tmp_path, sigstore)
    handoff = waiting(portal, sigstore)
    assert (handoff.attempts, handoff.lease_until) == (0, None)
    assert handoff.error.startswith("signing.fulcio_down: ")
    assert timedelta(seconds=150) < (handoff.next_try_at or timezone.now()) - timezone.now() <= timedelta(seconds=200)
    asked = len(sigstore.requests)
    for _ in range(7):  # an operator's retries make no probe
        assert again(handoff) == "waiting"
    handoff.refresh_from_db()
    assert len(sigstore.requests) == asked
    assert handoff.attempts == 0
    assert handoff in Handoff.objects.open().filter(attempts__lt=5)
    assert len(happened(handoff, events.SIGNING_UNAVAILABLE)) == 1
    sigstore.faults = set()
    late = replace(portal.tools(), clock=lambda: timezone.now() + timedelta(seconds=110))
    with pytest.raises(SignerWaitsError):
        sign_handoff(handoff, late)


def test_when_sigstore_is_back_the_handoff_is_signed_with_sigstore(
    portal: Portal, settings, tmp_path: Path, sigstore: LoopbackSigstore
):
    use_sigstore(settings, tmp_path, sigstore, fallback="acknowledged", probes=20)
    handoff = waiting(portal, sigstore)
    sigstore.faults = set()
    later = replace(portal.tools(), clock=lambda: timezone.now() + timedelta(seconds=60))
    sign_handoff(handoff, later)
    assert again(handoff) == Status.OPENED
    handoff = Handoff.objects.get(pk=handoff.pk)
    assert handoff.signature.method == Method.SIGSTORE
    assert [attempt.outcome for attempt in handoff.signing_attempts.order_by("pk")] == ["failed", "accepted"]


@pytest.mark.threat("ATT-10")
def test_two_failed_probes_are_too_few_however_far_apart(
    portal: Portal, settings, tmp_path: Path, rekor1: LoopbackSigstore
):
    use_sigstore(settings, tmp_path, rekor1, fallback="acknowledged")
    handoff = waiting(portal, rekor1)
    fail_probes(handoff, timezone.now(), 60)
    with pytest.raises(HandoffError, match=r"downgrade\.too_early: got 2 failed probes over"):
        acknowledge_downgrade(handoff.pk, WHY, by=portal.actor("lead"))


@pytest.mark.threat("ATT-10")
def test_openpgp_stands_in_only_after_the_probes_and_lead(
    portal: Portal, settings, tmp_path: Path, rekor1: LoopbackSigstore
):
    use_sigstore(settings, tmp_path, rekor1, fallback="acknowledged")
    handoff = waiting(portal, rekor1)
    lead = portal.actor("lead")
    now = timezone.now()
    with pytest.raises(HandoffError, match=r"downgrade\.too_early"):
        acknowledge_downgrade(handoff.pk, WHY, by=lead)
    fail_probes(handoff, now, 9.9, 5)
    with pytest.raises(HandoffError, match=r"downgrade\.too_early: got 3 failed probes over 5"):
        acknowledge_downgrade(handoff.pk, WHY, by=lead)
    fail_probes(handoff, now, 11)
    assert read_outage(handoff, rules_in_force().signing).is_long_enough
    assert again(handoff) == "waiting"
    assert Handoff.objects.get(pk=handoff.pk).status == Status.WAITING_SIGNER
    for name in ("plan", "auditor"):
        with pytest.raises(AuditError, match=r"role\.not_allowed"):
            acknowledge_downgrade(handoff.pk, WHY, by=portal.actor(name))
    for text in ("too short", "short" + " " * 40, "\u200b" * 40, "x" * 29, "x" * 10_001):
        with pytest.raises(HandoffError, match=r"downgrade\.justification"):
            acknowledge_downgrade(handoff.pk, text, by=lead)
    acknowledge_downgrade(handoff.pk, WHY, by=lead)
    with pytest.raises(HandoffError, match=r"downgrade\.twice"):
        acknowledge_downgrade(handoff.pk, WHY, by=lead)
    assert again(handoff) == Status.OPENED
    handoff = Handoff.objects.get(pk=handoff.pk)
    assert (handoff.signature.method, handoff.signature.transparency) == (Method.OPENPGP, "pending-transparency")
    (body,) = happened(handoff, events.SIGNING_DOWNGRADED)
    assert body["probes"] == 4
    entry = LogEntry.objects.get(kind=events.SIGNING_DOWNGRADED)
    assert entry.principal == portal.actor("lead").principal_id
    assert str(ErasableText.objects.get(digest=entry.open()["justification"])) == WHY
    result = run_slsa_gate(portal.pull(), portal.tools())
    assert result.conclusion is GateOutcome.SUCCESS
    assert "acknowledged by LEAD" in str(result.evidence)


@pytest.mark.threat("ATT-10")
def test_a_policy_without_fallback_never_downgrades(portal: Portal, settings, tmp_path: Path, rekor1: LoopbackSigstore):
    use_sigstore(settings, tmp_path, rekor1, fallback="acknowledged")
    handoff = waiting(portal, rekor1)
    fail_probes(handoff, timezone.now(), 60, 30, 10)
    acknowledge_downgrade(handoff.pk, WHY, by=portal.actor("lead"))
    enact_signing({"method": "sigstore", "identity": IDENTITY, "issuer": rekor1.url, "fallback": "never"})
    assert again(handoff) == "waiting"
    assert not Signature.objects.filter(handoff=handoff).exists()


def test_no_acknowledgement_where_the_policy_says_never(
    portal: Portal, settings, tmp_path: Path, rekor1: LoopbackSigstore
):
    use_sigstore(settings, tmp_path, rekor1)
    handoff = waiting(portal, rekor1)
    fail_probes(handoff, timezone.now(), 60, 30, 10)
    with pytest.raises(HandoffError, match=r"downgrade\.policy"):
        acknowledge_downgrade(handoff.pk, WHY, by=portal.actor("lead"))


def test_lead_who_has_another_duty_on_the_handoff_cannot_acknowledge(
    portal: Portal, settings, tmp_path: Path, rekor1: LoopbackSigstore
):
    use_sigstore(settings, tmp_path, rekor1, fallback="acknowledged")
    handoff = waiting(portal, rekor1)
    fail_probes(handoff, timezone.now(), 60, 30, 10)
    lead = portal.actor("lead")
    with transaction.atomic():
        take_part(handoff.chain, replace(lead, role=Role.PLAN))
    with pytest.raises(AuditError, match=r"sod\.conflict"):
        acknowledge_downgrade(handoff.pk, WHY, by=lead)
    assert not happened(handoff, events.SIGNING_DOWNGRADED)


def test_a_refusal_is_no_outage_and_waits_for_a_person(
    portal: Portal, settings, tmp_path: Path, sigstore: LoopbackSigstore
):
    use_sigstore(settings, tmp_path, sigstore, fallback="acknowledged")
    sigstore.faults = {"wrong-identity"}
    portal.push_bundle(portal.bundle(GOOD_CHANGE))
    handoff = portal.receive()
    assert handoff.status == Status.VERIFIED
    assert handoff.error.startswith("signing.identity: ")
    assert handoff.attempts == 1
    assert not happened(handoff, events.SIGNING_UNAVAILABLE)
    assert happened(handoff, events.SIGNING_REFUSED)[0]["code"] == "signing.identity"
    (orphan,) = happened(handoff, events.SIGNING_ORPHANED)
    assert orphan["why"] == "signing.identity"
    assert handoff.signing_attempts.get().outcome == "orphaned"
    assert not Signature.objects.filter(handoff=handoff).exists()


def test_signatures_that_are_in_no_log_are_logged_when_the_policy_says_so(
    portal: Portal, settings, tmp_path: Path, sigstore: LoopbackSigstore
):
    handoff = portal.hand_over()
    assert sweep_signing() == 0
    use_sigstore(settings, tmp_path, sigstore)
    before = len(sigstore.digests_logged())
    assert run_slsa_gate(portal.pull(), portal.tools()).conclusion is GateOutcome.FAILURE
    assert sweep_signing() == 1
    record = TransparencyRecord.objects.get()
    assert record.signature.is_logged
    assert Signature.objects.get().transparency == "pending-transparency"
    assert sigstore.digests_logged()[before:] == [handoff.digest]
    portal.tools().sigstore.verify(Bundles(handoff.digest, record.artifact_bundle), Pinned(IDENTITY, sigstore.url))
    assert happened(handoff, events.SIGNING_LOGGED)[0]["log_indexes"] == [record.log_index]
    assert run_slsa_gate(portal.pull(), portal.tools()).conclusion is GateOutcome.SUCCESS
    assert sweep_signing() == 0
    assert len(sigstore.digests_logged()) == before + 1


def test_an_air_gapped_portal_logs_nothing(portal: Portal, settings, tmp_path: Path, rekor1: LoopbackSigstore):
    portal.hand_over()
    settings.SIGSTORE_TRUST_CONFIG = str(rekor1.write_config(tmp_path / "sigstore"))
    assert sweep_signing() == 0
    assert rekor1.requests == []
    assert not Signature.objects.get().is_logged


def test_logging_that_fails_is_tried_again_later_and_leaves_its_trace(
    portal: Portal, settings, tmp_path: Path, rekor1: LoopbackSigstore
):
    handoff = portal.hand_over()
    use_sigstore(settings, tmp_path, rekor1)
    rekor1.faults = {"rekor-down"}
    assert sweep_signing() == 0
    asked = len(rekor1.requests)
    assert sweep_signing() == 0
    assert len(rekor1.requests) == asked
    assert happened(handoff, events.SIGNING_UNAVAILABLE)[0]["for"] == "transparency"


def test_only_what_can_be_seen_counts_as_a_justification():
    assert visible_length("a b\tc\n\u200b\u202e\u00a0d") == 4
