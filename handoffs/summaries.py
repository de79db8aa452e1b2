"""Reads: the facts of the enforcer's statement about a verified handoff, gathered from its row and its bytes."""

from __future__ import annotations

from audit import events
from handoffs.attestations.vsa import Verified, digest_of_json
from handoffs.bundles.archive import read_archive
from handoffs.bundles.bundle import digest_of
from handoffs.bundles.limits import Limits
from handoffs.models import EnforcerRules, Handoff, HandoffError, HandoffEvent
from handoffs.rules import LaneRules, rules_to_json


def verified_facts(handoff: Handoff, raw: bytes, *, portal_url: str) -> Verified:
    """What the enforcer verified. `raw` is the artifact, whose attestation is the input of the summary.

    Raises: HandoffError("signing.not_verified").
    """
    verified = HandoffEvent.objects.filter(handoff=handoff, event=events.HANDOFF_VERIFIED).first()
    if verified is None:
        raise HandoffError("signing.not_verified", f"{handoff} was never verified")
    attestation = read_archive(raw, Limits()).members.get("attestation.intoto.json", b"")
    return Verified(
        digest=handoff.digest,
        handoff=str(handoff),
        merge_base=handoff.merge_base,
        result_tree=handoff.result_tree,
        verified_at=verified.created_at,
        checks=tuple(handoff.checks.values_list("code", flat=True)),
        verifier_id=portal_url,
        policy_digest=policy_digest(),
        attestation_digest=digest_of(attestation),
    )


def policy_digest() -> str:
    """The digest of the policy in force; before any policy, that of the lane's defaults."""
    newest = EnforcerRules.objects.order_by("-pk").values_list("policy_digest", flat=True).first()
    return newest or digest_of_json(rules_to_json(LaneRules()))
