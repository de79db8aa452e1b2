"""Which Sigstore root and which signers this portal trusts now: settings and policy, and what it trusted before.

Source: ATT-04 and ATT-14 of the threat list.
"""

from __future__ import annotations

from django.db import transaction

from audit import events
from audit.actions import append_event
from audit.events import Actor
from handoffs.checks.evidence import BuilderTrust
from handoffs.models import HandoffError, TrustedRootUse
from handoffs.rules import LaneRules
from handoffs.signatures.refusals import RefusedError
from handoffs.signatures.sigstore_signers import Signer
from handoffs.signatures.trust_roots import TrustedRoot, refuse_older


def signers_of(rules: LaneRules) -> dict[str, Signer]:
    """The one signer of each builder whose identity the policy pins."""
    return {
        known.builder_id: Signer(known.identity, known.issuer, repository_id=known.source_repository_id)
        for known in rules.builder_identities
    }


def trust_builders(rules: LaneRules, root: TrustedRoot, *, pinned: bool, by: Actor) -> BuilderTrust:
    """The pinned signers and the root they are judged by, once the portal has taken that root into use.

    Raises: HandoffError("sigstore.root_older"): an operator has to look; no handoff is refused for it.
    """
    take_root(root, pinned=pinned, by=by)
    return BuilderTrust(root, signers_of(rules))


@transaction.atomic(durable=True)
def take_root(root: TrustedRoot, *, pinned: bool, by: Actor) -> None:
    """Note the root in use. An older one than last seen is refused unless an operator pinned its very digest.

    Raises: HandoffError("sigstore.root_older").
    """
    seen = list(TrustedRootUse.objects.select_for_update().order_by("-pk"))
    if seen and seen[0].digest == root.digest:
        return
    if seen and not pinned:
        last = seen[0]
        replaced = [row.digest for row in seen[1:] if row.newest_at <= last.newest_at]
        try:
            refuse_older(root, last_seen=(last.digest, last.newest_at), replaced=replaced)
        except RefusedError as error:
            detail = f"{error.detail}; if it is meant, name its digest in SIGSTORE_TRUSTED_ROOT_SHA256"
            raise HandoffError(error.code, detail) from None
    told = {"digest": root.digest, "newest_at": f"{root.newest_at:%FT%TZ}", "source": root.source}
    entry = append_event(events.TRUSTED_ROOT_TAKEN, by, "", {**told})
    TrustedRootUse.objects.create(digest=root.digest, newest_at=root.newest_at, log_entry=entry)
