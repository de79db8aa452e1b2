"""GitHub as it stands in for itself, and a household in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from handoffs.actions import Enrolment, govern_on_github
from handoffs.models import GitHubRepository
from leoportal import setup
from leoportal.lanes.ingesting import close
from tests.github.events import HEAD
from tests.lanes.conftest import as_role  # noqa: F401  a fixture
from tests.support.github import GitHub
from tests.support.github.house import House, make_house
from tests.support.on_github import OnGitHub


@pytest.fixture
def github(tmp_path: Path) -> Iterator[GitHub]:
    """Fails at its end when a request, an answer or an event broke GitHub's own description."""
    with GitHub(tmp_path / "github") as made:
        yield made


@pytest.fixture(autouse=True)
def no_connection_stays():
    yield
    close()


@pytest.fixture
def house(github: GitHub) -> House:
    return make_house(github)


@pytest.fixture
def on_github(github: GitHub, portal_folder: Path, settings: Any) -> OnGitHub:
    """A portal that governs `acme/payments` on GitHub; no webhook is set up, so that everything is found by looking."""
    return OnGitHub.on(github, portal_folder, settings)


@pytest.fixture
def hosted(db, tmp_path: Path) -> GitHubRepository:
    """`acme/payments` as GitHub's repository 4711, where both Apps are installed; nothing answers for GitHub."""
    return enrol(tmp_path)


def enrol(folder: Path, *, github_id: int = 4711, name: str = "acme/payments", apps: bool = True) -> GitHubRepository:
    setup.ensure_lanes("opal", "rhea")
    enrolment = Enrolment(
        github_id=github_id,
        full_name=name,
        protected_branch="main",
        mirror=folder / "github" / f"{github_id}.git",
        tip=HEAD,
        enforcer_installation=31 if apps else 0,
        gate_installation=41 if apps else 0,
        gate_app=51 if apps else 0,
    )
    return govern_on_github(enrolment, by=setup.OPERATOR)
