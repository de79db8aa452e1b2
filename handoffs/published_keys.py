"""What anybody may know of the signing keys: the document behind /.well-known/leoportal-keys.json.

Deterministic for the same rows and the same states; no private half, no reason of a revocation, no person.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from audit.canonical import JsonValue, parse_json, write_json
from handoffs.models import SigningKey

SCHEMA: Final = "https://leoportal.invalid/keys/v1"
MAX_KEYS: Final = 400


def published_keys(keys: Sequence[SigningKey], *, now: datetime) -> bytes:
    """The document. `keys` newest first, each with `replaces` loaded.

    Shape: at most 400 keys, some 2 MB; `omitted` says how many older ones are left out.
    """
    return write_json(
        {
            "schema": SCHEMA,
            "keys": [_entry(key, now) for key in keys[:MAX_KEYS]],
            "omitted": max(0, len(keys) - MAX_KEYS),
        }
    )


def _entry(key: SigningKey, now: datetime) -> JsonValue:
    return {
        "fingerprint": key.fingerprint,
        "lane": key.lane,
        "algorithm": key.algorithm,
        "publicKey": key.public_key,
        "state": key.state_at(now).value,
        "createdAt": _time(key.created_at),
        "expiresAt": _time(key.expires_at),
        "retiredAt": _time(key.retired_at),
        "revokedAt": _time(key.revoked_at),
        "distrustedSince": _time(key.distrusted_since),
        "revokedPublicKey": key.revoked_public_key or None,
        "replaces": key.replaces.fingerprint if key.replaces else None,
        "transition": parse_json(bytes(key.transition)) if key.transition else None,
    }


def _time(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z") if moment else None
