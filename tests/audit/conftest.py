"""Fixtures of the trail's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from audit.notes import SignerKey
from audit.signer import LogSigner
from tests.audit.growing import ORIGIN
from tests.support.people import make_cast


@pytest.fixture
def cast(db) -> None:
    """People and machines, and no repository."""
    make_cast()


@pytest.fixture
def signer(transactional_db, tmp_path: Path) -> LogSigner:
    """A signer with a new key and no memory, for an empty log."""
    return LogSigner(SignerKey.generate(ORIGIN), tmp_path / "signed.json")
