"""Names in one spelling, and what is no name."""

from __future__ import annotations

import pytest

from audit.events import AuditError
from audit.identities import canonical

FINGERPRINT = "0123456789ABCDEF0123456789ABCDEF01234567"


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("email", " Ada@Acme.Invalid ", "ada@acme.invalid"),
        ("openpgp", "0x0123 4567 89ab cdef 0123 4567 89ab cdef 0123 4567", FINGERPRINT),
        ("openpgp", FINGERPRINT.lower(), FINGERPRINT),
        ("github", "583231", "583231"),
        ("oidc", "https://issuer.invalid/x|repo:acme/payments", "https://issuer.invalid/x|repo:acme/payments"),
        ("builder_id", "https://builder.invalid/codex/v1", "https://builder.invalid/codex/v1"),
        ("database", "leo_plan", "leo_plan"),
    ],
)
def test_a_name_has_one_spelling(kind: str, value: str, expected: str):
    assert canonical(kind, value) == expected
    assert canonical(kind, canonical(kind, value)) == expected


@pytest.mark.threat("SOD-14")
@pytest.mark.parametrize(
    ("kind", "value", "code"),
    [
        ("github", "octocat", "identity.form"),
        ("github", "0583231", "identity.form"),
        ("github", "583231\n1", "identity.form"),
        ("openpgp", FINGERPRINT[-16:], "identity.form"),
        ("oidc", "repo:acme/payments", "identity.form"),
        ("oidc", "http://issuer.invalid|x", "identity.form"),
        ("email", "ada", "identity.form"),
        ("email", "ada@acme.invalid, eve@acme.invalid", "identity.form"),
        ("email", "ada@acme\u200b.invalid", "identity.form"),
        ("database", "Robert'); DROP", "identity.form"),
        ("login", "octocat", "identity.kind"),
    ],
)
def test_a_login_a_short_key_id_and_a_bare_subject_are_no_names(kind: str, value: str, code: str):
    with pytest.raises(AuditError) as refused:
        canonical(kind, value)
    assert refused.value.code == code
