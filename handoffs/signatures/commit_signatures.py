"""Who signed a commit: the OpenPGP signature in its header, made over everything else of it.

The signature is part of the object, so it can be checked again whenever somebody asks, whoever pushed it and whatever
forge it came through. Pushing another's signed commit again changes nothing: it names its tree, branch and parents.
Not checked: what the commit holds.
Source: git, gitformat-signature(5).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from handoffs.rules import BuilderKey
from handoffs.signatures.openpgp_verifying import PinnedKey, verify_openpgp
from handoffs.signatures.refusals import RefusedError

CODE: Final = "staging.signature"
_HEADER: Final = b"gpgsig "
_EXPECTED: Final = "one OpenPGP signature by a builder's key in the policy"


def signer_of(raw: bytes, keys: Sequence[BuilderKey], now: datetime) -> BuilderKey:
    """The builder's key that signed a raw commit object.

    Raises: RefusedError("staging.signature").
    """
    signed, signature = _split(raw)
    why = "no builder's key in the policy"
    for key in keys:
        try:
            verify_openpgp(signed, signature, PinnedKey(key.public_key, key.fingerprint, now))
        except RefusedError as error:
            why = f"{error.code} by {key.fingerprint}"
            continue
        return key
    raise RefusedError(CODE, why if len(keys) < 2 else f"a signature by none of {len(keys)} keys", _EXPECTED)


def with_signature(raw: bytes, signature: str) -> bytes:
    """The raw commit object with a signature over it in its header."""
    header, blank, message = raw.partition(b"\n\n")
    lines = signature.strip("\n").encode().replace(b"\n", b"\n ")
    return header + b"\n" + _HEADER + lines + blank + message


def _split(raw: bytes) -> tuple[bytes, str]:
    """What a commit's signature covers, and the signature."""
    header, blank, message = raw.partition(b"\n\n")
    kept: list[bytes] = []
    signature: list[bytes] = []
    is_inside = False
    for line in header.split(b"\n"):
        is_inside = line.startswith(_HEADER) or (is_inside and line.startswith(b" "))
        if is_inside:
            signature.append(line.removeprefix(_HEADER) if line.startswith(_HEADER) else line[1:])
        else:
            kept.append(line)
    if not signature:
        raise RefusedError(CODE, "a commit that nobody signed", _EXPECTED)
    return b"\n".join(kept) + blank + message, (b"\n".join(signature) + b"\n").decode("ascii", "replace")
