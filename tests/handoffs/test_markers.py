"""The marker grammar and the branch grammar."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handoffs.bundles.markers import Marker, MarkerError, MarkerKind, is_staging_branch, parse_marker, write_marker

DIGEST = "ab" * 32
GOOD = f"[CODEX-READY:{DIGEST}]"


@pytest.mark.parametrize("subject", [GOOD, f"{GOOD} text", f"{GOOD} é", f"{GOOD} "])
def test_a_marker_is_read(subject):
    assert parse_marker(subject.encode()) == Marker(MarkerKind.CODEX_READY, DIGEST)


@pytest.mark.threat("MRK-03")
@pytest.mark.parametrize(
    "subject",
    [
        "", " " + GOOD, "x" + GOOD, "\n" + GOOD, "\ufeff" + GOOD, GOOD.lower(), GOOD.replace("[", "\uff3b"), GOOD.replace("]", "\uff3d"),
        GOOD.replace(":", " :"), GOOD.replace(":", ": "), GOOD.replace("READY", "READY "), GOOD.replace("-", "\u2010"), GOOD[:-2] + "]",
        GOOD[:-1] + "a]", GOOD[:-1], GOOD.replace("ab", "AB", 1), GOOD.replace("a", "\u0430", 1), GOOD.replace("b", "g", 1), GOOD + "text",
        GOOD + "\ttext", GOOD + "\u00a0text", GOOD + "\ntext", GOOD + " a\nb", GOOD + " a\rb", GOOD + " a\0b", GOOD + " a\x1b[m", GOOD + GOOD,
        f"{GOOD} {GOOD}", f"{GOOD} [CLAUDE-APPLIED:{DIGEST}]", f"Re: {GOOD}", f"[CODEX-READY:{DIGEST[:12]}]", "[CODEX-READY:]", "[CODEX-READY]",
        "[CODEX-READY:" + "ab" * 64 + "]", f"[CODEX_READY:{DIGEST}]", f"[PLAN-SUPERVISOR: {DIGEST}]", f"(CODEX-READY:{DIGEST})",
        f"[[CODEX-READY:{DIGEST}]]", f"[CODEX-READY:{DIGEST}\u200b]", f"[CODEX-READY:{DIGEST}] [CODEX-READY:x",
    ],
)  # fmt: skip
def test_near_misses_are_refused(subject):
    with pytest.raises(MarkerError):
        parse_marker(subject.encode())


@pytest.mark.threat("MRK-02")
def test_long_subjects_take_no_time():
    started = time.process_time()
    for hostile in (
        "[CODEX-READY:" * 80_000,
        GOOD + " " + "[" * 1_000_000,
        "[" * 1_000_000,
        GOOD[:-1] + "a" * 1_000_000,
    ):
        try:
            parse_marker(hostile.encode())
        except MarkerError:
            continue
    assert time.process_time() - started < 0.3


@given(st.sampled_from(list(MarkerKind)), st.binary(min_size=32, max_size=32), st.text())
def test_what_is_written_is_read(kind, digest, text):
    try:
        subject = write_marker(kind, digest.hex(), text)
    except (MarkerError, UnicodeEncodeError):
        return
    assert "\n" not in subject
    assert parse_marker(subject.encode()) == Marker(kind, digest.hex())


@pytest.mark.parametrize("branch", ["staging/codex-x", "staging/codex-PRD-7.retry_2", "staging/codex-0"])
def test_staging_branches(branch):
    assert is_staging_branch(branch)


@pytest.mark.threat("MRK-04")
@pytest.mark.parametrize(
    "branch",
    [
        "", "main", "staging/codex-", "staging/codex", "Staging/codex-x", "staging/c\u043edex-x", "staging/codex-x/y", "staging/codex-..x",
        "staging/codex-x..y", "staging/codex-.x", "staging/codex-x.", "staging/codex-x.lock", "staging/codex- x", "staging/codex-x\n",
        "refs/heads/staging/codex-x", "staging/codex-x~1", "staging/codex-x^", "staging/codex-@{", "staging/codex--x", "staging//codex-x",
        "staging/codex-" + "x" * 200, "staging/codex-x\udcff", "staging/codex-é",
    ],
)  # fmt: skip
def test_other_branches(branch):
    assert not is_staging_branch(branch)
