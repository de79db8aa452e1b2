"""Names under which a principal is seen elsewhere, each in one canonical form. Pure.

Source: GitHub REST (numeric, immutable user ids), OpenID Connect Core 1.0 section 5.7 (issuer and subject together),
RFC 9580 (OpenPGP fingerprints), PostgreSQL 4.1.1 (names of logins).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from audit.events import AuditError

MAX_CHARACTERS: Final = 300
EMAIL: Final = "email"
BUILDER_ID: Final = "builder_id"
OPENPGP: Final = "openpgp"
GITHUB: Final = "github"
OIDC: Final = "oidc"
DATABASE: Final = "database"

_FORMS: Final[Mapping[str, tuple[str, str]]] = {
    EMAIL: (r"[^@\s<>]{1,64}@[^@\s<>]{1,230}", "an address like name@example.org"),
    BUILDER_ID: (r"[a-z][a-z0-9+.-]{0,30}:[^\s|]{1,260}", "a URI"),
    OPENPGP: (r"(?:[0-9A-F]{40}|[0-9A-F]{64})", "a whole fingerprint: 40 or 64 hexadecimal digits"),
    GITHUB: (r"[1-9][0-9]{0,18}", "GitHub's numeric user id, not the login, which can change hands"),
    OIDC: (r"https://[^\s|]{1,200}\|[^\s|]{1,90}", "issuer|subject, the issuer with https"),
    DATABASE: (r"[a-z_][a-z0-9_]{0,62}", "a login of PostgreSQL"),
}
KINDS: Final = tuple(_FORMS)


def canonical(kind: str, value: str) -> str:
    """The one spelling of a name.

    Raises: AuditError("identity.kind"), AuditError("identity.form") with what is expected.
    """
    if kind not in _FORMS:
        raise AuditError("identity.kind", f"got {kind[:40]!r}, expected one of {', '.join(KINDS)}")
    pattern, expected = _FORMS[kind]
    value = value.strip()
    if kind == EMAIL:
        value = value.lower()
    if kind == OPENPGP:
        value = value.replace(" ", "").upper().removeprefix("0X")
    if len(value) > MAX_CHARACTERS or not value.isprintable() or not re.fullmatch(pattern, value):
        raise AuditError("identity.form", f"got {value[:80]!r}, expected {expected}")
    return value
