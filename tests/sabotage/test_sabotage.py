"""The short form: that the runner bites, and a few guards whose tests take no database. `make sabotage` is the rest."""

from __future__ import annotations

from dataclasses import replace

from tests.sabotage.engine import misfit, run
from tests.sabotage.guards import GUARDS, SHORT


def test_a_few_guards_are_noticed_when_they_are_gone():
    assert run(SHORT, workers=2, with_database=False, say=str) == []


def test_a_guard_that_nobody_needs_and_one_that_is_gone_are_errors():
    guard = SHORT[0]
    (unneeded,) = run([replace(guard, new=guard.old)], workers=1, with_database=False, say=str)
    assert "passes without it" in unneeded
    (gone,) = run([replace(guard, old="no such text")], workers=1, with_database=False, say=str)
    assert "stands there 0 times" in gone
    (broken,) = run([replace(guard, new="(")], workers=1, with_database=False, say=str)
    assert "could not be run" in broken
    (unknown,) = run([replace(guard, test="tests/nowhere.py")], workers=1, with_database=False, say=str)
    assert "does not pass to begin with" in unknown


def test_every_guard_of_the_list_stands_where_it_says():
    assert [problem for guard in GUARDS if (problem := misfit(guard))] == []
    assert len({(guard.file, guard.old, guard.new) for guard in GUARDS}) == len(GUARDS) >= 40
