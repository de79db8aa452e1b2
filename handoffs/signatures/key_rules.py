"""What a signing key may be, and for how long. Pure.

Source: SOP section 10.3 (RSA-4096, 30 days); ATT-12 of the threat list.
"""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta
from enum import StrEnum
from typing import Final

from audit.coded import CodedError

VALIDITY: Final = timedelta(days=30)
REMIND_AFTER: Final = timedelta(days=25)
ROTATE_AFTER: Final = timedelta(days=28)
MIN_PASSWORD: Final = 16

# Keys whose private half anybody can read: the samples of RFC 9580, appendix A. They never sign here.
KNOWN_TEST_KEYS: Final = frozenset(
    {
        "C959BDBAFA32A2F89A153B678CFDE12197965A9A",
        "CB186C4F0609A697E4D52DFA6C722B0C1F1E27C18A56708F6525EC27BAD9ACC9",
    }
)
# Passwords of this project's own tests, and digests of words everybody tries first.
_WORDS: Final = ("", "leo", "leoportal", "changeme", "password", "secret", "signing", "test")
_KNOWN_PASSWORDS: Final = frozenset(
    {"a-password-of-the-test-only", "another-password-altogether"}
    | {hashlib.sha256(word.encode()).hexdigest() for word in _WORDS}
)
_KNOWN_STARTS: Final = ("changeme", "password", "leoportal", "insecure", "testtest")


class Algorithm(StrEnum):
    """The strengths that may sign: nothing below RSA-3072 or Ed25519."""

    RSA_4096 = "RSA-4096"
    RSA_3072 = "RSA-3072"
    ED25519 = "Ed25519"


class KeyRuleError(CodedError):
    """A password or a key that must not be used. `code` is stable."""


def refuse_weak_password(password: str) -> None:
    """The password that encrypts the private keys at rest: long, without spaces, not one that others know.

    Raises: KeyRuleError("key.password_weak"). The password itself is never in the message.
    """
    why = ""
    if not re.fullmatch(rf"\S{{{MIN_PASSWORD},}}", password):
        why = f"it needs at least {MIN_PASSWORD} characters without spaces, it has {len(password)}"
    elif len(set(password)) < 8:
        why = f"it consists of {len(set(password))} different characters, expected at least 8"
    elif password.lower() in _KNOWN_PASSWORDS or password.lower().startswith(_KNOWN_STARTS):
        why = "it is known from tests or examples"
    if why:
        raise KeyRuleError("key.password_weak", f"SIGNING_KEY_PASSWORD is refused: {why}; use 32 random bytes as hex")


def refuse_known_key(fingerprint: str) -> None:
    """A key that everybody has the private half of never signs.

    Raises: KeyRuleError("key.known").
    """
    if fingerprint.upper() in KNOWN_TEST_KEYS:
        raise KeyRuleError("key.known", f"{fingerprint} is a published test key; make another one")
