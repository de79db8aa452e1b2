"""The checks of rollback notes and credentials, and that nothing of a bundle is repeated unsafely."""

from __future__ import annotations

import base64
import zlib

import pytest

from handoffs.checks.catalogue import SECRETS, WITHHELD
from tests.support.bundles import (
    failed_codes,
    honest_handover,
    with_patch,
    with_result,
)
from tests.support.credentials import SURE

HONEST = honest_handover()


def _binary(kind: bytes, data: bytes) -> bytes:
    """One half of git's binary patch."""
    packed, lines = zlib.compress(data), b""
    for at in range(0, len(packed), 52):
        part = packed[at : at + 52]
        count = len(part) + (64 if len(part) <= 26 else 70)
        lines += bytes([count]) + base64.b85encode(part, pad=True) + b"\n"
    return b"%s %d\n%s\n" % (kind, len(data), lines)


@pytest.mark.threat("BUN-09")
def test_a_credential_in_pieces_of_a_binary_delta_is_found():
    kind, secret = next(pair for pair in SURE if pair[0] == "GitHub token")
    old, half = HONEST.git.read_file(HONEST.base, "src/logo.bin", max_bytes=1 << 20), len(secret) // 2
    pieces = [secret[:half].encode(), secret[half:].encode()]
    size = len(old)
    delta = (
        bytes([size & 127 | 128, size >> 7])
        + bytes([len(secret) & 127])
        + b"".join(bytes([len(p)]) + p for p in pieces)
    )
    blobs = [HONEST.git.write_blob(content) for content in (old, secret.encode())]
    patch = (
        b"diff --git a/src/logo.bin b/src/logo.bin\nindex %s..%s 100644\nGIT binary patch\n"
        % tuple(blob.encode() for blob in blobs)
        + _binary(b"delta", delta)
        + _binary(b"literal", old)
    )
    report = HONEST.verify(with_patch(HONEST, patch))
    assert failed_codes(report) == {SECRETS}
    assert f"{kind} in src/logo.bin" in next(result.got for result in report.results if result.code == SECRETS)


@pytest.mark.parametrize(
    ("notes", "code"),
    [
        (b"", "rollback.says_how"),
        (b"# Rollback\n\nTODO\n", "rollback.says_how"),
        (b"N/A\n" * 20, "rollback.says_how"),
        (b"\xff\xfe revert the commit that added the retries", "rollback.present"),
        (b"revert the commit \x1b[2J that added the retries", "rollback.present"),
    ],
)
def test_rollback_notes_that_say_nothing_are_refused(notes, code):
    assert code in HONEST.failures(HONEST.rebuilt(rollback=notes))


def test_a_credential_is_refused_and_never_repeated():
    secret = "ghp_" + "a1B2" * 9
    raw = with_result(HONEST, {"src/key.py": f"KEY = '{secret}'\n".encode()})
    report = HONEST.verify(raw)
    assert failed_codes(report) == {"secrets.none"}
    result = next(result for result in report.results if result.code == "secrets.none")
    assert "GitHub token in src/key.py:1" in result.got
    assert not any(secret in text for r in report.results for text in (r.got, r.expected))
    notes = b"Revert it. The password is in https://ann:hunter2hunter2@acme.example/\n"
    assert HONEST.failures(HONEST.rebuilt(rollback=notes)) == {"secrets.none"}


def test_what_the_checks_say_is_safe_to_print():
    raw = HONEST.rebuilt(manifest=lambda d: d.update(task="\x1b[2J\u202eevil"), rollback=b"\x1b]0;x\x07")
    for result in HONEST.verify(raw, branch="staging/\x1b[31m").results:
        assert result.got.isprintable()
        assert result.expected.isprintable()


@pytest.mark.threat("BUN-09")
def test_beside_a_credential_the_other_checks_say_nothing_of_what_they_saw():
    token = next(text for kind, text in SURE if kind == "GitHub token")
    raw = HONEST.rebuilt(manifest=lambda d: d.update(prd_id=f"{'x' * 30}{token}", merge_base=token, branch=token))
    results = HONEST.verify(raw).results
    assert {(result.got, result.expected) for result in results if result.code != SECRETS} == {(WITHHELD, WITHHELD)}
    (found,) = [result.got for result in results if result.code == SECRETS]
    assert found == "GitHub token in manifest.json:1"
