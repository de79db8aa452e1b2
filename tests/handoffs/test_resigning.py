"""An open handoff whose key was revoked is signed again by the lane's new key; what was merged is only flagged."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, transaction
from django.test import Client

from audit import events
from audit.models import LogEntry
from handoffs import keys
from handoffs.models import (
    Handoff,
    HandoffError,
    HandoffEvent,
    Lane,
    PullStatus,
    Signature,
    SignatureRenewal,
    SigningKey,
)
from handoffs.resigning import fallen_signatures, sign_again
from handoffs.signatures.openpgp import open_envelope, verify_detached
from handoffs.tasks import key_vault
from leoportal import setup
from leoportal.lanes.switching import acting_in
from tests.support.portal import Portal
from verdicts.decision import Verdict as VerdictKind
from verdicts.gates import run_slsa_gate
from verdicts.merging import merge_pull_request
from verdicts.models import VerdictError, VerificationWork
from verdicts.results import GateOutcome
from verdicts.revoking import Revocation, resign_bundle, revoke_key
from verdicts.tasks import sweep_verification

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.threat("ATT-07")]


def revoke(key: SigningKey) -> None:
    why = Revocation(key.fingerprint, key.created_at, "the laptop was lost")
    revoke_key(why, password="", by=setup.OPERATOR)


def new_key() -> SigningKey:
    return keys.create_signing_key(Lane.ENFORCER, key_vault(), by=setup.OPERATOR)


def resigned() -> list[dict[str, str]]:
    rows = HandoffEvent.objects.filter(event=events.HANDOFF_RESIGNED).order_by("pk")
    return [{name: row.detail[name] for name in ("fallen", "fingerprint", "digest")} for row in rows]


def released(portal: Portal) -> Handoff:
    portal.verified()
    portal.verdict(VerdictKind.PASS)
    return portal.pull().handoff


def test_an_open_handoff_is_signed_again_by_the_new_key(portal: Portal):
    handoff, old = released(portal), keys.active_key(Lane.ENFORCER)
    revoke(old)
    sweep_verification()
    assert SignatureRenewal.objects.count() == 0, "nobody can sign yet"
    portal.run_work()
    assert run_slsa_gate(portal.pull(), portal.tools()).conclusion is GateOutcome.FAILURE
    key = new_key()
    sweep_verification()
    sweep_verification()
    assert resigned() == [{"fallen": old.fingerprint, "fingerprint": key.fingerprint, "digest": handoff.digest}]
    renewal = SignatureRenewal.objects.get()
    raw = portal.tools().store.get(handoff.digest)
    verify_detached(raw, renewal.signature, public_key=key.public_key, fingerprint=key.fingerprint)
    said = open_envelope(bytes(renewal.envelope), public_key=key.public_key, fingerprint=key.fingerprint)
    assert isinstance(said, dict)
    assert said["subject"] == [{"name": "artifact.tar.gz", "digest": {"sha256": handoff.digest}}]
    first = Signature.objects.get()
    assert (first.key, first.is_trusted, first.standing) == (old, False, renewal)
    assert VerificationWork.objects.filter(name="slsa", status="waiting").count() == 1
    portal.run_work()
    assert portal.pull().status == PullStatus.GATES_PASSING, "PLAN judges anew"
    portal.verdict(VerdictKind.PASS)
    merge_pull_request(portal.pull().pk, portal.tools(), by=portal.actor("plan"))
    assert portal.pull().status == PullStatus.MERGED


def test_people_see_both_signatures_and_get_the_one_that_holds(portal: Portal):
    handoff, old = released(portal), keys.active_key(Lane.ENFORCER)
    revoke(old)
    client = Client()
    client.force_login(User.objects.get(username="plan"), backend="leoportal.roles.SignInBackend")
    assert "signed again as soon as" in client.get(f"/handoffs/{handoff.pk}/").content.decode()
    key = new_key()
    sweep_verification()
    for address in (f"/handoffs/{handoff.pk}/", f"/prs/acme/payments/{portal.pull().number}/"):
        text = client.get(address).content.decode()
        assert "This signature does not hold" in text
        assert old.fingerprint in text
        assert f"Signed again: OpenPGP, key <code>{key.fingerprint}</code>" in text
    renewal = SignatureRenewal.objects.get()
    assert client.get(f"/handoffs/{handoff.pk}/artifact.tar.gz.asc").content.decode() == renewal.signature
    assert client.get(f"/handoffs/{handoff.pk}/statement.dsse.json").content == bytes(renewal.envelope)


def test_what_was_merged_is_flagged_and_not_signed_again(portal: Portal):
    released(portal)
    merge_pull_request(portal.pull().pk, portal.tools(), by=portal.actor("plan"))
    revoke(keys.active_key(Lane.ENFORCER))
    new_key()
    sweep_verification()
    assert SignatureRenewal.objects.count() == 0
    assert not Signature.objects.get().standing.is_trusted


def test_the_next_key_is_revoked_too(portal: Portal):
    handoff, first = released(portal), keys.active_key(Lane.ENFORCER)
    revoke(first)
    second = new_key()
    sweep_verification()
    portal.run_work()
    revoke(second)
    body = LogEntry.objects.filter(kind="key.revoked").latest("pk").open()
    assert body["handoffs"] == [str(handoff)]
    assert VerificationWork.objects.filter(name="slsa", status="waiting").exists()
    third = new_key()
    sweep_verification()
    assert [entry["fingerprint"] for entry in resigned()] == [second.fingerprint, third.fingerprint]
    assert Signature.objects.get().standing.key == third


def test_two_workers_at_once_and_a_key_that_ends_on_the_way(portal: Portal):
    released(portal)
    revoke(keys.active_key(Lane.ENFORCER))
    key = new_key()
    (signature,) = fallen_signatures()
    late = fallen_signatures()[0]
    with acting_in("enforcer"):
        assert resign_bundle(signature, portal.tools())
        assert not resign_bundle(late, portal.tools())
    assert len(resigned()) == SignatureRenewal.objects.count() == 1
    revoke(key)
    other = new_key()
    draft = sign_again(fallen_signatures()[0], portal.tools())
    revoke(other)
    with pytest.raises(DatabaseError, match=r"key\.not_active"), transaction.atomic():
        draft.log_entry = HandoffEvent.objects.latest("pk").log_entry
        draft.save(force_insert=True)
    with pytest.raises(HandoffError, match=r"key\.none"):
        resign_bundle(fallen_signatures()[0], portal.tools())
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        SignatureRenewal.objects.update(signature="")


def test_bytes_that_changed_are_not_signed_again(portal: Portal, settings):
    handoff = released(portal)
    revoke(keys.active_key(Lane.ENFORCER))
    new_key()
    path = settings.BUNDLE_STORE / handoff.digest[:2] / handoff.digest
    path.chmod(0o600)
    path.write_bytes(path.read_bytes() + b"x")
    sweep_verification()
    assert SignatureRenewal.objects.count() == 0
    with pytest.raises(VerdictError):
        portal.verdict(VerdictKind.PASS)
