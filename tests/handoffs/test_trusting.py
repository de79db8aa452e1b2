"""The portal and the signatures of builders: pinned by policy, judged by its root, told in the trail and on the page."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import DatabaseError, transaction
from django.utils import timezone

from audit import events
from handoffs.bundles.bundle import Limits, digest_of, read_archive, write_archive
from handoffs.lane import rules_in_force
from handoffs.models import EnforcerRules, Handoff, HandoffError, HandoffEvent, Status, TrustedRootUse
from handoffs.rules import BuilderIdentity, LaneRules, RootAge, rules_to_json
from handoffs.tasks import enforcer, tools_for
from handoffs.trusting import take_root
from tests.support.portal import BUILDER_ID, GOOD_CHANGE, Portal
from tests.support.sigstore import IDENTITY, STRANGER, Signed, root_of, signed_statement

MEMBER = "attestation.intoto.json"


def signed_bundle(portal: Portal, *, identity: str = IDENTITY) -> tuple[bytes, Signed]:
    """The builder's bundle with its attestation signed; the Sigstore that did it is gone."""
    members = dict(read_archive(portal.bundle(GOOD_CHANGE), Limits()).members)
    made = signed_statement(members[MEMBER], identity=identity)
    return write_archive({**members, MEMBER: made.raw}), made


def pin(made: Signed, folder: Path, settings) -> None:
    """The policy pins the builder's identity, the settings name the root."""
    known = BuilderIdentity(builder_id=BUILDER_ID, identity=IDENTITY, issuer=made.signer.issuer)
    EnforcerRules.objects.create(policy_digest="1" * 64, document=rules_to_json(LaneRules(builder_identities=(known,))))
    root = folder / "trusted_root.json"
    root.write_text(json.dumps(made.root_document))
    settings.SIGSTORE_TRUSTED_ROOT = str(root)


def check(handoff: Handoff, code: str) -> tuple[str, str]:
    row = handoff.checks.get(code=code)
    return row.outcome, row.got


@pytest.mark.threat("ATT-14")
def test_a_pinned_builders_signature_is_verified_and_its_root_recorded(portal: Portal, settings, tmp_path: Path):
    raw, made = signed_bundle(portal)
    pin(made, tmp_path, settings)
    portal.push_bundle(raw)
    handoff = portal.receive()
    assert handoff.status != Status.REFUSED
    assert check(handoff, "attestation.signature")[0] == "PASSED"
    verified = HandoffEvent.objects.get(handoff=handoff, event=events.HANDOFF_VERIFIED)
    assert verified.log_entry.open()["trusted_root"] == made.root.digest
    assert TrustedRootUse.objects.get().digest == made.root.digest
    by_name = {item["name"]: item for item in handoff.slsa}
    assert by_name["Provenance is signed by its builder"]["standing"] == "met"
    assert {item["source"] for item in handoff.slsa} == {"builder-claimed", "portal-observed"}


@pytest.mark.threat("ATT-04")
def test_another_workflows_valid_signature_is_refused(portal: Portal, settings, tmp_path: Path):
    raw, made = signed_bundle(portal, identity=STRANGER)
    pin(made, tmp_path, settings)
    portal.push_bundle(raw)
    handoff = portal.receive()
    assert (handoff.status, handoff.refusal_code) == (Status.REFUSED, "attestation.signature")
    assert "sigstore.identity" in check(handoff, "attestation.signature")[1]


@pytest.mark.threat("ATT-03")
def test_an_attestation_is_used_once(portal: Portal, settings, tmp_path: Path):
    """The same signed bundle again: on its own branch, on another one, and once a newer one has taken its place."""
    raw, made = signed_bundle(portal)
    pin(made, tmp_path, settings)
    portal.push_bundle(raw)
    first = portal.receive()
    assert first.status != Status.REFUSED
    for branch in ("staging/codex-net", "staging/codex-again"):
        portal.push_bundle(raw, branch=branch, subject=f"[CODEX-READY:{digest_of(raw)}] Again")
        again = portal.receive()
        assert again.pk != first.pk
        assert (again.status, again.refusal_code) == (Status.REFUSED, "intake.duplicate")
    portal.push_bundle(portal.bundle({"newer.md": "x\n"}))
    portal.receive()
    first.refresh_from_db()
    assert first.status == Status.SUPERSEDED
    portal.push_bundle(raw, subject=f"[CODEX-READY:{digest_of(raw)}] Once more")
    last = portal.receive()
    assert (last.status, last.refusal_code) == (Status.REFUSED, "handoff.duplicate")


@pytest.mark.threat("ATT-14")
def test_an_older_root_stops_the_lane_and_refuses_no_handoff(portal: Portal, settings, tmp_path: Path):
    raw, made = signed_bundle(portal)
    pin(made, tmp_path, settings)
    newer = dict(made.root_document)
    newer["tlogs"] = [*newer["tlogs"], _started(newer["tlogs"][0], "2999-01-01T00:00:00Z")]
    take_root(root_of(newer), pinned=False, by=enforcer())
    portal.push_bundle(raw)
    handoff = portal.receive()
    assert handoff.status == Status.RECEIVED
    assert "sigstore.root_older" in handoff.error
    settings.SIGSTORE_TRUSTED_ROOT_SHA256 = [made.root.digest]
    Handoff.objects.filter(pk=handoff.pk).update(next_try_at=None)
    assert portal.receive().status != Status.RECEIVED
    assert TrustedRootUse.objects.latest("pk").digest == made.root.digest


def _started(log, moment):
    return {**log, "publicKey": {**log["publicKey"], "validFor": {"start": moment}}}


@pytest.mark.threat("ATT-14")
def test_a_root_older_than_the_policy_allows_stops_the_lane(portal: Portal, settings, tmp_path: Path):
    raw, made = signed_bundle(portal)
    pin(made, tmp_path, settings)
    rules = rules_in_force().model_copy(update={"trusted_root": RootAge(max_age_days=2)})
    EnforcerRules.objects.create(policy_digest="2" * 64, document=rules_to_json(rules))
    written = (timezone.now() - timedelta(days=3)).timestamp()
    os.utime(settings.SIGSTORE_TRUSTED_ROOT, (written, written))
    portal.push_bundle(raw)
    handoff = portal.receive()
    assert (handoff.status, handoff.error.partition(":")[0]) == (Status.RECEIVED, "sigstore.root_stale")
    os.utime(settings.SIGSTORE_TRUSTED_ROOT)
    Handoff.objects.filter(pk=handoff.pk).update(next_try_at=None)
    assert portal.receive().status != Status.RECEIVED


@pytest.mark.threat("ATT-14")
def test_a_swapped_root_is_not_taken(portal: Portal, settings, tmp_path: Path):
    raw, made = signed_bundle(portal)
    pin(made, tmp_path, settings)
    settings.SIGSTORE_TRUSTED_ROOT_SHA256 = ["1" * 64]
    portal.push_bundle(raw)
    handoff = portal.receive()
    assert handoff.status == Status.RECEIVED
    assert "sigstore.root_pin" in handoff.error
    assert not TrustedRootUse.objects.exists()


@pytest.mark.threat("ATT-14")
def test_a_root_that_was_replaced_stays_replaced(portal: Portal):
    made = signed_statement(b"{}")
    first, second = root_of(made.root_document), root_of({**made.root_document, "timestampAuthorities": []})
    take_root(first, pinned=False, by=enforcer())
    take_root(first, pinned=False, by=enforcer())
    assert TrustedRootUse.objects.count() == 1
    take_root(second, pinned=False, by=enforcer())
    with pytest.raises(HandoffError, match=r"sigstore\.root_older"):
        take_root(first, pinned=False, by=enforcer())
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        TrustedRootUse.objects.update(digest="0" * 64)


def test_where_nobody_is_pinned_no_root_is_read(portal: Portal, settings):
    settings.SIGSTORE_TRUSTED_ROOT = "/nonexistent.json"
    raw, _ = signed_bundle(portal)
    portal.push_bundle(raw)
    handoff = portal.receive()
    assert check(handoff, "attestation.signature")[0] == "CLAIMED"
    assert tools_for(handoff.repository).read_root is not None
