"""Which Sigstore root and which signers this portal trusts now: settings and policy, and what it trusted before.

Source: ATT-04 and ATT-14 of the threat list.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from django.db import connection, transaction

from audit import events
from audit.actions import append_event
from audit.canonical import JsonValue
from audit.events import Actor
from handoffs.checks.evidence import BuilderTrust
from handoffs.models import HandoffError, TrustedRootFetch, TrustedRootUse
from handoffs.rules import LaneRules
from handoffs.signatures.refusals import RefusedError
from handoffs.signatures.sigstore_signers import Signer
from handoffs.signatures.trust_roots import TrustedRoot, refuse_older

ONE_AT_A_TIME: Final = 0x1E0_0714


def signers_of(rules: LaneRules) -> dict[str, Signer]:
    """The one signer of each builder whose identity the policy pins."""
    return {
        known.builder_id: Signer(known.identity, known.issuer, repository_id=known.source_repository_id)
        for known in rules.builder_identities
    }


def trust_builders(rules: LaneRules, root: TrustedRoot, *, pinned: bool, by: Actor, now: datetime) -> BuilderTrust:
    """The pinned signers and the root they are judged by, once the portal has taken that root into use.

    Raises: HandoffError("sigstore.root_older"), ("sigstore.root_stale"): an operator has to look; no handoff is
    refused for it.
    """
    refuse_stale(rules, root, now)
    take_root(root, pinned=pinned, by=by)
    return BuilderTrust(root, signers_of(rules))


def refuse_stale(rules: LaneRules, root: TrustedRoot, now: datetime) -> None:
    """Where the policy bounds the age of the root, an older one judges nothing. Raises: HandoffError."""
    limit = rules.trusted_root.max_age_days
    if limit is None or (root.refreshed_at is not None and now - root.refreshed_at <= timedelta(days=limit)):
        return
    since = f"{root.refreshed_at:%F %T} UTC" if root.refreshed_at else "nobody knows when"
    raise HandoffError(
        "sigstore.root_stale",
        f"the trusted root {root.digest[:12]} was last refreshed {since}, the policy allows {limit} days; "
        "next: manage.py operate trusted-root refresh",
    )


@transaction.atomic(durable=True)
def take_root(root: TrustedRoot, *, pinned: bool, by: Actor, fetch: TrustedRootFetch | None = None) -> None:
    """Note the root in use. An older one than last seen is refused unless an operator pinned its very digest.

    `fetch`: an operator chose this root of those that were fetched.
    Raises: HandoffError("sigstore.root_older").
    """
    with connection.cursor() as cursor:  # no lane may lock rows of an append-only table
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [ONE_AT_A_TIME])
    seen = list(TrustedRootUse.objects.select_related("fetch").order_by("-pk"))
    if seen and seen[0].digest == root.digest and (fetch is None or seen[0].fetch is not None):
        return
    if seen and not pinned:
        last = seen[0]
        replaced = [row.digest for row in seen[1:] if row.newest_at <= last.newest_at]
        try:
            refuse_older(root, last_seen=(last.digest, last.newest_at), replaced=replaced)
        except RefusedError as error:
            detail = f"{error.detail}; if it is meant, name its digest in SIGSTORE_TRUSTED_ROOT_SHA256"
            raise HandoffError(error.code, detail) from None
    told: dict[str, JsonValue] = {
        "digest": root.digest,
        "newest_at": f"{root.newest_at:%FT%TZ}",
        "source": root.source,
        "chosen": fetch is not None,
    }
    entry = append_event(events.TRUSTED_ROOT_TAKEN, by, "", told)
    TrustedRootUse.objects.create(fetch=fetch, digest=root.digest, newest_at=root.newest_at, log_entry=entry)
