"""Webhooks of three pull requests in any order, in any number, while GitHub goes on and the portal looks: one final state."""

from __future__ import annotations

import os
import random

import pytest

from handoffs import tasks_github
from handoffs.models import GitHubRepository
from tests.github.interleaving import END, Scene, interleave

LONG = bool(os.environ.get("LEO_HOOKS"))
COUNT = int(os.environ.get("LEO_INTERLEAVINGS", "20000" if LONG else "16"))
BLOCK = 200


@pytest.fixture
def scene(hosted: GitHubRepository, monkeypatch) -> Scene:
    monkeypatch.setattr(tasks_github, "nudge", lambda *_: None)
    made = Scene(hosted)
    made.set()
    return made


@pytest.mark.threat("HOK-03")
@pytest.mark.parametrize("first", range(0, COUNT, BLOCK))
def test_interleaved_lives_of_three_pull_requests_end_in_what_github_shows(scene: Scene, first: int):
    """LEO_HOOKS=1 for 20,000 of them, which `make hooks` runs; one in twenty then goes through the inbox's rows, here one
    in two. Each is decided by its number. A block is one transaction, which dead rows make slower and slower."""
    for number in range(first, min(first + BLOCK, COUNT)):
        is_stored = number % (20 if LONG else 2) == 0
        assert interleave(scene, random.Random(number), is_stored=is_stored) == END, number
