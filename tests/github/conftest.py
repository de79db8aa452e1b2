"""GitHub as it stands in for itself, and a household in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lanes.conftest import as_role  # noqa: F401  a fixture
from tests.support.github import GitHub
from tests.support.github.contract import NOTICE, Contract
from tests.support.github.house import House, make_house


@pytest.fixture
def github(tmp_path: Path) -> Iterator[GitHub]:
    """Fails at its end when a request, an answer or an event broke GitHub's own description."""
    with GitHub(tmp_path / "github") as made:
        yield made


@pytest.fixture
def house(github: GitHub) -> House:
    return make_house(github)


def pytest_report_header() -> str:
    """Said where nothing can be compared."""
    return "" if Contract().is_there else NOTICE
