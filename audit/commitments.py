"""Commitments: what the log says in place of a name or a text, so that the name or text can be erased. Pure.

Shape: 64 lower-case hexadecimal digits, HMAC-SHA256 under a secret salt of 32 bytes.
While salt and value are there anybody can check that they belong together; once the salt is destroyed, no guess of the
value can be confirmed, and the log is still whole.
Source: RFC 2104; FIPS 198-1.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

SALT_BYTES: Final = 32


def commitment(salt: bytes, value: str) -> str:
    """What the log says of `value`. Raises: ValueError for a salt that is not 32 bytes (`secrets.token_bytes()`)."""
    if len(salt) != SALT_BYTES:
        raise ValueError(f"got a salt of {len(salt)} bytes, expected {SALT_BYTES}")
    return hmac.new(salt, value.encode(), hashlib.sha256).hexdigest()


def is_committed(digest: str, salt: bytes, value: str) -> bool:
    """Whether `digest` in the log is the commitment to `value`."""
    return hmac.compare_digest(digest, commitment(salt, value))
