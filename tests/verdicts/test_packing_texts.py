"""Texts beside the log: gone from pages, rows and packs once erased, and held against their digests."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone

from audit import pack_records, standalone_verifier
from audit.commitments import commitment
from audit.erasure import apply_retention
from audit.models import ErasableText, LogEntry
from audit.texts import ERASED
from tests.support.portal import Portal
from tests.support.portal_packs import by_command, key_of_the_log, make_pack
from verdicts.comparing import find_changed_rows


def test_erased_texts_are_gone_from_pages_rows_and_packs_and_every_proof_holds(full: Portal, settings):
    words = [str(row) for row in ErasableText.objects.filter(kind="decision")]
    assert len(words) == 3
    assert sum(word in make_pack(settings).read_text(errors="replace") for word in words) == 3
    before = b"".join(bytes(leaf) for leaf in LogEntry.objects.order_by("pk").values_list("leaf", flat=True))
    assert apply_retention({"decision": 1}, now=timezone.now() + timedelta(days=2)) == 3
    leaves = b"".join(bytes(leaf) for leaf in LogEntry.objects.order_by("pk").values_list("leaf", flat=True))
    assert leaves.startswith(before)
    assert find_changed_rows() == []
    client = Client()
    client.force_login(User.objects.get(username="lead"), backend="leoportal.roles.SignInBackend")
    entry = LogEntry.objects.get(kind="verdict.recorded")
    for address in ("/prs/acme/payments/1/", "/prs/acme/payments/1/history/", f"/audit/events/{entry.pk}/"):
        page = client.get(address).content.decode()
        assert ERASED in page, address
        assert not any(word in page for word in words), address
    path = make_pack(settings)
    assert not any(word in path.read_text(errors="replace") for word in words)
    assert by_command(path)[0] == 0
    assert standalone_verifier.main([str(path), "--key", key_of_the_log()]) == 0


def test_a_text_that_was_changed_past_its_guard_is_found(full: Portal):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_text DISABLE TRIGGER history_rows")
        ErasableText.objects.filter(kind="decision").update(text="I never said that.")
        cursor.execute("ALTER TABLE audit_text ENABLE ALWAYS TRIGGER history_rows")
    found = find_changed_rows()
    assert any("justification, question" in line for line in found)
    assert any(line.startswith("Decision") for line in found)


SALT = "ab" * 32

DIGEST = commitment(bytes.fromhex(SALT), "Read it.")

TEXTS = {
    "as it was written": ((DIGEST, "Read it.", SALT, None), True),
    "erased, and it says when": ((DIGEST, None, None, "2026-11-25T12:00:00.000000+00:00"), True),
    "never written": ((None, None, None, None), True),
    "another text": ((DIGEST, "Read that.", SALT, None), False),
    "another salt": ((DIGEST, "Read it.", "cd" * 32, None), False),
    "no salt": ((DIGEST, "Read it.", None, None), False),
    "left out, and not erased": ((DIGEST, None, None, None), False),
    "erased and still there": ((DIGEST, "Read it.", SALT, "2026-11-25T12:00:00.000000+00:00"), False),
    "a text without a digest": ((None, "Read it.", SALT, None), False),
}


@pytest.mark.parametrize("holds", [pack_records.holds_text, standalone_verifier.holds_text], ids=["portal", "file"])
@pytest.mark.parametrize("case", TEXTS)
def test_both_verifiers_hold_a_text_against_its_digest(case: str, holds):
    given, expected = TEXTS[case]
    assert holds(*given) is expected
