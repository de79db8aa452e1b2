"""A portal whose policy signs with the loopback Sigstore, and rows of an outage that is older than the test."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from django.db import transaction

from audit import events
from audit.actions import append_event
from audit.canonical import JsonValue, write_json
from handoffs.models import Handoff, HandoffEvent
from handoffs.tasks import enforcer
from leoportal.setup import OPERATOR
from tests.support.loopback_sigstore import LoopbackSigstore
from verdicts.actions import enact_policy
from verdicts.models import PolicyVersion
from verdicts.policy import parse_policy, policy_to_json

IDENTITY: Final = "https://portal.leo.example/enforcer"


def use_sigstore(
    settings: Any, folder: Path, sigstore: LoopbackSigstore, *, fallback: str = "never", **signing: JsonValue
) -> None:
    """Settings, a fresh token, and a policy that pins this Sigstore's issuer."""
    settings.SIGSTORE_TRUST_CONFIG = str(sigstore.write_config(folder / "sigstore"))
    settings.SIGSTORE_IDENTITY_TOKEN_FILE = str(folder / "sigstore" / "token")
    settings.SIGSTORE_SECONDS = 60.0
    rotate_token(folder, sigstore)
    document: dict[str, JsonValue] = {
        "method": "sigstore",
        "identity": IDENTITY,
        "issuer": sigstore.url,
        "fallback": fallback,
    }
    enact_signing(document | signing)


def rotate_token(folder: Path, sigstore: LoopbackSigstore, **claims: Any) -> None:
    """What the machine's token helper does every few minutes."""
    (folder / "sigstore" / "token").write_text(sigstore.token(claims.pop("subject", IDENTITY), **claims))


def enact_signing(signing: dict[str, JsonValue]) -> None:
    """The policy in force with another signing section."""
    changed: dict[str, JsonValue] = {
        "probes": 3,
        "probe_seconds": 600,
        "identity": "",
        "issuer": "",
        "fallback": "never",
    }
    enact(signing=changed | signing)


def enact(**sections: JsonValue) -> None:
    """The policy in force with other sections."""
    document = policy_to_json(parse_policy(PolicyVersion.objects.latest("number").document.encode()))
    enact_policy(write_json({**document, **sections}), by=OPERATOR)


def fail_probe(handoff: Handoff, at: datetime) -> None:
    """One failed probe in the trail, at another time than now."""
    with transaction.atomic():
        detail: dict[str, JsonValue] = {"code": "signing.network", "detail": "ConnectionError", "attempt": 0}
        entry = append_event(events.SIGNING_UNAVAILABLE, enforcer(), str(handoff), detail)
        HandoffEvent.objects.create(
            handoff=handoff,
            event=events.SIGNING_UNAVAILABLE,
            principal=entry.principal,
            role="ENFORCER",
            detail=detail,
            created_at=at,
            log_entry=entry,
        )


def fail_probes(handoff: Handoff, now: datetime, *minutes_ago: float) -> None:
    """Failed probes, so many minutes ago each."""
    for minutes in minutes_ago:
        fail_probe(handoff, now - timedelta(minutes=minutes))
