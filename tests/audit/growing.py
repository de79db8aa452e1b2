"""A log that grows for a test, signed by a key of its own."""

from __future__ import annotations

from typing import Final

from audit.models import LogCheckpoint
from audit.signer import LogSigner
from tests.audit.tampering import append
from tests.support.log import settle_log

ORIGIN: Final = "portal.example/log/1"


def grow(signer: LogSigner, count: int) -> LogCheckpoint:
    """So many entries more, placed and signed."""
    append(count)
    settle_log()
    row = signer.sign()
    assert row is not None
    return row
