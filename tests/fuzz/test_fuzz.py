"""The short form of every fuzz target, in pieces that run side by side. `make fuzz` is the long form."""

from __future__ import annotations

import pytest

from tests.fuzz import archives, documents, patches
from tests.fuzz.__main__ import ROUNDS, all_targets
from tests.fuzz.engine import run

SEED = 20261125


@pytest.mark.threat("BUN-01")
@pytest.mark.threat("BUN-06")
@pytest.mark.parametrize("part", range(8))
def test_no_mutated_archive_crashes_stalls_or_is_read_in_two_ways(part):
    tally = run(archives.TARGET, rounds=2_500, seed=SEED, first=2_500 * part)
    assert tally.accepted > 10
    assert tally.refused > 2_000


@pytest.mark.threat("JSN-01")
@pytest.mark.parametrize("target", documents.TARGETS, ids=lambda target: target.name)
def test_no_mutated_document_crashes_stalls_or_is_read_in_two_ways(target):
    rounds = 600 if target.name == "policy" else 6_000
    tally = run(target, rounds=rounds, seed=SEED)
    assert min(tally.accepted, tally.refused) > rounds / 50


@pytest.mark.threat("PAT-09")
def test_no_mutated_patch_crashes_or_stalls():
    tally = run(patches.reader(), rounds=10_000, seed=SEED)
    assert min(tally.accepted, tally.refused) > 200


@pytest.mark.threat("PAT-09")
@pytest.mark.parametrize("part", range(2))
def test_an_accepted_patch_makes_what_git_apply_makes_of_plain_files(part):
    tally = run(patches.result(), rounds=200, seed=SEED, first=200 * part)
    assert min(tally.accepted, tally.refused) > 10


def test_the_long_form_knows_how_often_for_every_target():
    assert ROUNDS.keys() == all_targets().keys()
