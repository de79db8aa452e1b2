"""The bytes that a DSSE signature covers. Source: DSSE v1.0.2, "Pre-Authentication Encoding"."""

from __future__ import annotations

from typing import Final

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"


def pae(payload_type: str, payload: bytes) -> bytes:
    """PAE(type, body) = "DSSEv1" SP len(type) SP type SP len(body) SP body, lengths in decimal ASCII."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
