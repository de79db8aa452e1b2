"""Reports at the door: what adds up is read exactly, everything else is refused with its code."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.canonical import parse_json, write_json
from verdicts.results import (
    AgentKind,
    AgentOutcome,
    Disposition,
    Finding,
    Grade,
    ResultError,
    Severity,
    confidence_from,
    from_json,
    missing_result,
    outcome_from,
    parse_junit,
    parse_native,
    parse_sarif,
    to_json,
)

HEAD = "a" * 40
HIGH = {"rule": "r1", "severity": "HIGH", "file": "a.py", "line": 3, "message": "bad"}
LOW = {**HIGH, "severity": "LOW"}


def native(**changes):
    document = {
        "schema": "leoportal/agent-result/v1",
        "kind": "SECURITY",
        "outcome": "PASSED",
        "confidence": 97.5,
        "findings": [],
        "head_sha": HEAD,
        "tools": [{"name": "reviewer", "version": "2.1"}],
        "input_digest": "b" * 64,
        "subjects": ["a.py"],
        "reason": "",
    }
    return json.dumps({**document, **changes}).encode()


def refusal(raw, parse=parse_native, *more):
    with pytest.raises(ResultError) as refused:
        parse(raw, *more)
    assert refused.value.detail
    return refused.value.code


def test_a_report_is_read_exactly_and_is_a_claim_until_its_sender_is_known():
    result = parse_native(native(outcome="FAILED", findings=[HIGH, {**LOW, "is_new": False}]))
    assert (result.kind, result.outcome, result.confidence) == (
        AgentKind.SECURITY,
        AgentOutcome.FAILED,
        Decimal("97.5"),
    )
    assert result.grade is Grade.CLAIMED
    assert [item.disposition for item in result.findings] == [Disposition.OPEN, Disposition.PRE_EXISTING]
    assert [item.severity for item in result.open_findings] == [Severity.HIGH]
    assert parse_native(native(), grade=Grade.VERIFIED).grade is Grade.VERIFIED


def test_a_report_cannot_grade_itself_or_dispose_of_its_findings():
    raw = native(grade="VERIFIED", outcome="FAILED", findings=[{**HIGH, "disposition": "pre-existing"}])
    result = parse_native(raw)
    assert result.grade is Grade.CLAIMED
    assert result.open_findings


@pytest.mark.threat("SOD-08")
@pytest.mark.parametrize(
    "token",
    [
        "84.999",
        "84.99999999999999999999",
        "100.01",
        "100.001",
        "-0.01",
        "-1",
        "1e2",
        "8.5E1",
        "true",
        "null",
        '"85"',
        '"85%"',
        "[]",
        "085",
    ],
)
def test_a_confidence_that_is_no_plain_number_is_refused(token):
    assert refusal(native().replace(b"97.5", token.encode())) in {"result.confidence", "result.syntax"}


@pytest.mark.threat("SOD-08")
@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity"])
def test_a_confidence_that_is_not_finite_is_refused(token):
    assert refusal(native().replace(b"97.5", token.encode())) == "result.syntax"


@pytest.mark.threat("SOD-08")
@settings(max_examples=200, deadline=None)
@given(st.decimals(0, 100, places=2))
def test_every_confidence_of_two_decimals_is_read_to_the_digit(value):
    assert parse_native(native().replace(b"97.5", str(value).encode())).confidence == value


@pytest.mark.threat("SOD-08")
@settings(max_examples=200, deadline=None)
@given(
    st.decimals(-1000, 1000, places=5).filter(
        lambda value: value != value.quantize(Decimal("0.01")) or not 0 <= value <= 100
    )
)
def test_every_other_number_is_refused(value):
    assert refusal(native().replace(b"97.5", f"{value:f}".encode())) == "result.confidence"


def test_a_confidence_under_an_ambiguous_key_is_refused():
    assert refusal(native().replace(b'"confidence"', b'"confi\\u0064ence"')) == "result.confidence"
    hidden = native().replace(b'"confidence": 97.5', b'"confi\\u0064ence": 40, "\\"confidence": 99')
    assert refusal(hidden) == "result.confidence"
    assert refusal(native().replace(b'"reason"', b'"confidence": 99, "reason"')) == "result.syntax"


@pytest.mark.parametrize(
    ("outcome", "findings"),
    [
        ("PASSED", [HIGH]),
        ("PASSED", [{**HIGH, "severity": "CRITICAL"}]),
        ("WARNED", []),
        ("WARNED", [HIGH]),
        ("WARNED", [{**LOW, "severity": "INFO"}]),
        ("FAILED", []),
        ("FAILED", [LOW]),
        ("FAILED", [{**HIGH, "is_new": False}]),
    ],
)
def test_an_outcome_that_its_findings_contradict_is_refused(outcome, findings):
    assert refusal(native(outcome=outcome, findings=findings)) == "result.incoherent"


@pytest.mark.parametrize(
    ("outcome", "findings"),
    [("PASSED", [LOW]), ("PASSED", []), ("WARNED", [LOW]), ("FAILED", [HIGH, LOW]), ("BLOCKED", []), ("ERROR", [])],
)
def test_an_outcome_that_its_findings_support_is_read(outcome, findings):
    assert parse_native(native(outcome=outcome, findings=findings)).outcome == outcome


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"outcome": "NOT_APPLICABLE"}, "result.not_applicable_claimed"),
        ({"outcome": "MISSING"}, "result.not_reportable"),
        ({"outcome": "STALE"}, "result.not_reportable"),
        ({"outcome": "passed"}, "result.schema"),
        ({"kind": "DOCMON"}, "result.schema"),
        ({"schema": "v2"}, "result.schema"),
        ({"head_sha": "A" * 40}, "result.schema"),
        ({"head_sha": "a" * 41}, "result.schema"),
        ({"head_sha": HEAD + "\n"}, "result.schema"),
        ({"input_digest": "b" * 63}, "result.schema"),
        ({"tools": []}, "result.no_tool"),
        ({"tools": [{"name": "x"}]}, "result.schema"),
        ({"findings": [{**HIGH, "line": -1}]}, "result.schema"),
        ({"findings": [{**HIGH, "line": "3"}]}, "result.schema"),
        ({"findings": [{**HIGH, "file": "a\x00"}]}, "result.syntax"),
        ({"findings": [{**HIGH, "file": "a\x01"}]}, "result.schema"),
        ({"findings": [{**HIGH, "rule": ""}]}, "result.schema"),
        ({"findings": [{**HIGH, "message": "x" * 4001}]}, "result.schema"),
        ({"findings": [{**HIGH, "is_new": "no"}]}, "result.schema"),
        ({"findings": [LOW] * 2001}, "result.schema"),
        ({"reason": "x" * 4001}, "result.schema"),
    ],
)
def test_a_report_that_breaks_a_rule_is_refused_with_its_code(change, code):
    assert refusal(native(**change)) == code


@pytest.mark.parametrize("raw", [b"", b"[]", b"null", b"{", b'{"a": 1, "a": 2}', b" " * (2 << 20)])
def test_what_is_not_one_strict_json_object_is_refused(raw):
    assert refusal(raw) == "result.syntax"


severities = st.lists(st.sampled_from(Severity), max_size=30)


@settings(max_examples=200, deadline=None)
@given(severities, st.sampled_from(Severity))
def test_one_more_finding_never_raises_confidence_or_outcome(found, extra):
    before = tuple(Finding("r", severity, "a", 1, "m") for severity in found)
    after = (*before, Finding("r", extra, "a", 1, "m"))
    order = [AgentOutcome.PASSED, AgentOutcome.WARNED, AgentOutcome.FAILED]
    assert confidence_from(after) <= confidence_from(before)
    assert order.index(outcome_from(after)) >= order.index(outcome_from(before))


@pytest.mark.parametrize("grade", Grade)
def test_storage_gives_back_the_same_value(grade):
    result = parse_native(native(outcome="FAILED", findings=[HIGH, {**LOW, "is_new": False}]), grade=grade)
    assert from_json(parse_json(write_json(to_json(result)))) == result
    missing = missing_result(AgentKind.DESIGN, HEAD, "has not reported")
    assert from_json(to_json(missing)) == missing


@pytest.mark.parametrize(
    "change", [{"grade": "GOLD"}, {"confidence": 97.5}, {"confidence": "101"}, {"schema": "x"}, {"findings": 1}]
)
def test_a_stored_result_that_was_edited_into_nonsense_is_refused(change):
    stored = to_json(parse_native(native()))
    assert refusal({**stored, **change}, from_json) in {"result.schema", "result.confidence"}


# --- SARIF ---------------------------------------------------------------------------------------------------------


def sarif(*results, driver=None, **run):
    tool = {"driver": driver or {"name": "scan", "version": "1.0"}}
    run = {"tool": tool, "results": list(results), "invocations": [{"executionSuccessful": True}], **run}
    return json.dumps({"version": "2.1.0", "runs": [run]}).encode()


def hit(**changes):
    place = {"physicalLocation": {"artifactLocation": {"uri": "a.py"}, "region": {"startLine": 4}}}
    return {"ruleId": "R1", "message": {"text": "bad"}, "locations": [place], **changes}


def read(raw):
    return parse_sarif(raw, AgentKind.SECURITY, HEAD)


@pytest.mark.parametrize(
    ("change", "severity"),
    [
        ({"level": "error"}, "HIGH"),
        ({"level": "warning"}, "MEDIUM"),
        ({"level": "note"}, "LOW"),
        ({"level": "none"}, "INFO"),
        ({}, "MEDIUM"),
        ({"level": "note", "properties": {"security-severity": "9.8"}}, "CRITICAL"),
        ({"level": "note", "properties": {"security-severity": "7.0"}}, "HIGH"),
        ({"level": "error", "properties": {"security-severity": "4.0"}}, "MEDIUM"),
        ({"level": "error", "properties": {"security-severity": "0.1"}}, "LOW"),
        ({"level": "note", "properties": {"security-severity": "high"}}, "HIGH"),
        ({"level": "error", "kind": "pass"}, "INFO"),
    ],
)
def test_sarif_levels_become_severities(change, severity):
    found = read(sarif(hit(**change)))
    assert [(item.severity, item.file, item.line) for item in found.findings] == [(severity, "a.py", 4)]


def test_sarif_takes_the_level_and_scale_of_the_rule_where_the_result_has_none():
    rules = [
        {"id": "R1", "defaultConfiguration": {"level": "error"}},
        {"id": "R2", "properties": {"security-severity": "9.1"}},
    ]
    found = read(sarif(hit(), hit(ruleId="R2"), driver={"name": "s", "version": "1", "rules": rules}))
    assert [item.severity for item in found.findings] == ["HIGH", "CRITICAL"]


def test_sarif_that_is_clean_passes_and_what_it_leaves_out_counts_against_it():
    assert (read(sarif()).outcome, read(sarif()).confidence) == ("PASSED", 100)
    assert read(sarif(invocations=[])).confidence == 90
    assert read(sarif(driver={"name": "scan"})).confidence == 95
    assert read(sarif(hit(level="none", locations=[]))).confidence == 95
    assert read(sarif(hit(level="error"))).confidence == 70


def test_sarif_of_a_run_that_failed_or_has_no_results_is_an_error():
    for raw in (sarif(invocations=[{"executionSuccessful": False}]), sarif(results=None)):
        assert (read(raw).outcome, read(raw).confidence) == (AgentOutcome.ERROR, 0)


def test_sarif_suppressions_and_baselines_do_not_close_a_finding():
    found = read(sarif(hit(level="error", suppressions=[{"kind": "inSource"}], baselineState="unchanged")))
    assert found.outcome is AgentOutcome.FAILED
    assert "suppressed" in found.findings[0].evidence


@pytest.mark.parametrize(
    "raw",
    [
        b"{}",
        b'{"version": "2.0.0", "runs": []}',
        b'{"version": "2.1.0", "runs": []}',
        sarif(hit(level="fatal")),
        sarif({"ruleId": "x"}),
    ],
)
def test_what_is_not_sarif_is_refused(raw):
    assert refusal(raw, parse_sarif, AgentKind.SECURITY, HEAD) == "result.schema"


# --- JUnit ---------------------------------------------------------------------------------------------------------


def junit(raw):
    return parse_junit(raw, AgentKind.TESTING, HEAD)


def test_junit_passes_only_what_ran():
    full = junit(
        b'<testsuites><testsuite name="a" tests="2"><testcase name="x"/><testcase name="y"/></testsuite></testsuites>'
    )
    assert (full.outcome, full.confidence) == ("PASSED", 100)
    third = junit(
        b'<testsuite name="a" tests="3"><testcase name="x"/><testcase name="y"/><testcase name="z"><skipped/></testcase></testsuite>'
    )
    assert (third.outcome, third.confidence) == ("PASSED", Decimal("66.66"))
    unlisted = junit(b'<testsuite name="a" tests="4"><testcase name="x"/></testsuite>')
    assert unlisted.confidence == 25


@pytest.mark.parametrize("tag", [b"failure", b"error"])
def test_junit_failures_and_errors_fail(tag):
    found = junit(
        b'<testsuite name="a" tests="1"><testcase classname="c" name="x"><'
        + tag
        + b' message="no">t</'
        + tag
        + b"></testcase></testsuite>"
    )
    assert found.outcome is AgentOutcome.FAILED
    assert found.findings[0].message == "c::x: no"


def test_junit_failures_that_are_declared_and_not_listed_fail():
    assert (
        junit(b'<testsuite name="a" tests="1" failures="1"><testcase name="x"/></testsuite>').outcome
        is AgentOutcome.FAILED
    )


def test_junit_finds_failures_in_nested_suites():
    raw = b'<testsuites><testsuite name="a"><testsuite name="b"><testcase name="x"><failure/></testcase></testsuite></testsuite></testsuites>'
    assert junit(raw).outcome is AgentOutcome.FAILED


@pytest.mark.parametrize(
    "raw",
    [
        b"<testsuites/>",
        b'<testsuite name="a" tests="9"/>',
        b'<testsuite name="a"><testcase name="x"><skipped/></testcase></testsuite>',
    ],
)
def test_junit_in_which_nothing_ran_is_an_error(raw):
    assert (junit(raw).outcome, junit(raw).confidence) == (AgentOutcome.ERROR, 0)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b'<!DOCTYPE x [<!ENTITY a "b">]><testsuite name="&a;"/>', "result.unsafe_xml"),
        (b'<!doctype x SYSTEM "file:///etc/passwd"><testsuite/>', "result.unsafe_xml"),
        ('<?xml version="1.0" encoding="utf-16"?><testsuite/>'.encode("utf-16"), "result.unsafe_xml"),
        (b'<?xml version="1.0" encoding="utf-7"?><testsuite/>', "result.unsafe_xml"),
        (b"<testsuite>", "result.syntax"),
        (b"<html/>", "result.syntax"),
        (b"", "result.syntax"),
        (b'<testsuite tests="many"/>', "result.schema"),
        (b"<testsuite>" + b" " * (5 << 20), "result.too_long"),
    ],
)
def test_junit_that_is_unsafe_or_broken_is_refused(raw, code):
    assert refusal(raw, parse_junit, AgentKind.TESTING, HEAD) == code


@pytest.mark.parametrize("parse", [parse_sarif, parse_junit])
def test_a_report_needs_the_full_head(parse):
    assert refusal(sarif(), parse, AgentKind.TESTING, "abc123") == "result.head_sha"
