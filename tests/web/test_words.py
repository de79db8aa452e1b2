"""Words, durations and percentages that pages show."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from audit import events
from handoffs.checks.catalogue import CHECKS, RECORD_CHECKS
from handoffs.checks.evidence import Outcome
from handoffs.models import PullStatus, Status
from leoportal.templatetags import portal
from leoportal.words import CHECK_GROUPS, EVENTS, WORDS, percent_of, span_of, word_of
from verdicts.decision import Clearer, Verdict
from verdicts.models import DecisionKind
from verdicts.results import AgentOutcome, GateOutcome, Grade, Severity


@pytest.mark.parametrize(
    "kind", [Verdict, AgentOutcome, GateOutcome, Grade, Severity, PullStatus, Status, DecisionKind, Outcome]
)
def test_every_state_has_a_word_a_glyph_and_a_shape(kind):
    assert [value for value in kind if str(value) not in WORDS] == []


def test_every_group_of_checks_has_a_heading():
    assert {check.group for check in (*CHECKS, *RECORD_CHECKS)} == set(CHECK_GROUPS)
    assert (portal.check_group("merge_base"), portal.check_group("sbom")) == ("Merge base", "SBOM")


def test_only_success_looks_like_a_pass_among_gates():
    assert [value for value in GateOutcome if WORDS[value].style == "pass"] == [GateOutcome.SUCCESS]
    assert [value for value in AgentOutcome if WORDS[value].style == "pass"] == [AgentOutcome.PASSED]


def test_an_unnamed_state_is_never_green():
    assert word_of("SOMETHING_NEW").style == "wait"
    assert word_of("SOMETHING_NEW").text == "SOMETHING NEW"


def test_every_event_of_the_catalogue_has_a_sentence():
    kinds = {value for name, value in vars(events).items() if name.isupper() and isinstance(value, str)}
    assert len(kinds) > 20
    assert kinds == set(EVENTS)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (13265, "3 h 41 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_durations_have_at_most_two_units(seconds: int, text: str):
    assert span_of(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    ("value", "text"), [("84.96", "84.9 %"), ("84.99", "84.9 %"), ("100.00", "100.0 %"), ("0", "0.0 %")]
)
def test_percentages_are_never_rounded_up(value: str, text: str):
    assert percent_of(value) == text


def test_times_are_exact_and_in_utc():
    moment = datetime(2026, 11, 22, 9, 14, 5, tzinfo=UTC)
    assert portal.utc(moment) == (
        '<time datetime="2026-11-22T09:14:05+00:00" title="2026-11-22 09:14:05 UTC">2026-11-22 09:14:05</time>'
    )
    assert portal.utc(None) == "–"
    assert portal.ago(None) == "never"


def test_a_chip_says_its_word_and_escapes_what_it_is_about():
    html = portal.chip("FAILED", "<b>")
    assert "Failed" in html
    assert "&lt;b&gt;" in html


def test_every_party_has_words():
    assert [who for who in Clearer if not portal.party(who)] == []


def test_what_stands_between_backticks_is_code_and_nothing_of_it_is_markup():
    assert portal.coded("run `leo <b>` again") == "run <code>leo &lt;b&gt;</code> again"
    assert portal.coded("<i>") == "&lt;i&gt;"
