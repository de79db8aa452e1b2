"""Fixtures of the trail's tests."""

from __future__ import annotations

import pytest

from tests.support.people import make_cast


@pytest.fixture
def cast(db) -> None:
    """People and machines, and no repository."""
    make_cast()
