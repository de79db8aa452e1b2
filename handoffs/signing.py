"""Signing a verified bundle: the enforcer's signature and its statement of what was verified.

Source: SOP sections 10.1 to 10.3; product.md section 4.
"""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from audit import events
from audit.accountability import Act, require
from handoffs.actions import Tools, record_event
from handoffs.keys import active_key, confirm_active
from handoffs.models import Handoff, Lane, Signature, Status
from handoffs.signatures import Signer
from handoffs.summaries import verified_facts
from handoffs.vsa import verification_summary


def sign_handoff(handoff: Handoff, tools: Tools) -> None:
    """Sign the verified bytes and a statement of what was verified. The digest is recomputed from the store."""
    require(tools.enforcer, Act.SIGN_ARTIFACT)
    raw = tools.store.get(handoff.digest)
    key = active_key(Lane.ENFORCER)
    now = timezone.now()
    signer = Signer(bytes(key.secret_key), password=tools.key_password, fingerprint=key.fingerprint, now=now)
    statement = verification_summary(
        verified_facts(handoff, raw, portal_url=tools.portal_url), fingerprint=key.fingerprint
    )
    signature, envelope = signer.sign(raw), signer.envelope(statement)
    with transaction.atomic(durable=True):
        confirm_active(key, now)
        Handoff.objects.move(handoff.pk, old=Status.VERIFIED, new=Status.SIGNED)
        Signature.objects.create(
            handoff=handoff, key=key, digest=handoff.digest, signature=signature, envelope=envelope, signed_at=now
        )
        record_event(
            handoff,
            events.HANDOFF_SIGNED,
            tools.enforcer,
            {"fingerprint": key.fingerprint, "digest": handoff.digest, "transparency": "pending-transparency"},
        )
