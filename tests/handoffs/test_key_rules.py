"""What may be a password or a key, and that a portal with a known one does not start."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from handoffs.signatures.key_rules import KNOWN_TEST_KEYS, KeyRuleError, refuse_known_key, refuse_weak_password

WEAK = (
    "",
    "short",
    "fifteen-letters",
    "with spaces in the password",
    "aaaaaaaaaaaaaaaaaaaaaaaa",
    "abcabcabcabcabcabcabcabc",
    "a-password-of-the-test-only",
    "another-password-altogether",
    "changeme-changeme-1234567",
    "Password-1234567890-abcdef",
    hashlib.sha256(b"leoportal").hexdigest(),
    hashlib.sha256(b"").hexdigest(),
)


@pytest.mark.threat("ATT-12")
@pytest.mark.parametrize("password", WEAK)
def test_a_weak_or_derived_password_is_refused_without_being_repeated(password: str):
    with pytest.raises(KeyRuleError, match=r"key\.password_weak") as refused:
        refuse_weak_password(password)
    assert not password or password not in str(refused.value)


def test_random_bytes_are_a_good_password():
    refuse_weak_password(os.urandom(32).hex())


@pytest.mark.threat("ATT-12")
def test_a_published_test_key_is_refused_in_any_spelling():
    for fingerprint in KNOWN_TEST_KEYS:
        for spelling in (fingerprint, fingerprint.lower()):
            with pytest.raises(KeyRuleError, match=r"key\.known"):
                refuse_known_key(spelling)
    refuse_known_key("0" * 40)


@pytest.mark.threat("ATT-12")
@pytest.mark.parametrize(
    ("password", "is_started"),
    [("a-password-of-the-test-only", False), ("shortish", False), ("5c0d7e9f3c1e271be0c94a41c77e9a31", True)],
)
def test_a_portal_with_a_weak_password_does_not_start(password: str, is_started: bool, tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-c", "import leoportal.settings"],
        cwd=settings.BASE_DIR,
        env={
            "PATH": os.environ["PATH"],
            "SECRET_KEY": "x" * 50,
            "SIGNING_KEY_PASSWORD": password,
            "LEOPORTAL_VAR": str(tmp_path),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) is is_started, done.stderr
    if not is_started:
        assert "SIGNING_KEY_PASSWORD is refused" in done.stderr
        assert password not in done.stderr
