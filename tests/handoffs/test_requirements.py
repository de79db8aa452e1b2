"""What pip would read is a requirements file, whatever else it looks like; what pip refuses is text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.requirements import InvalidRequirement, Requirement

from handoffs.packages.lockfiles import LockDelta, LockError, lock_delta, read_lock_file
from handoffs.packages.requirements import is_prose

PROSE = b"Requirements\n============\n\nThese files pin what the portal needs.\n- one of them is for tests\nruff==1\n"
PERHAPS = [
    "reqs.txt",
    "docs/reqs-old.txt",
    "requirements/README.txt",
    "requirements/notes/why.in",
    "constraints.txt",
    "docs/design.requires.txt",
]


@pytest.mark.parametrize("path", PERHAPS)
def test_prose_in_a_file_that_may_be_anything_is_no_lock_file(path):
    assert lock_delta({}, {path: PROSE}) == LockDelta()
    assert lock_delta({path: PROSE}, {path: PROSE + b"And more.\n"}) == LockDelta()
    assert lock_delta({path: PROSE}, {}) == LockDelta()


@pytest.mark.threat("JSN-02")
@pytest.mark.parametrize("path", PERHAPS)
def test_what_pip_reads_there_still_counts(path):
    delta = lock_delta({path: PROSE}, {path: b"# Prose in a comment.\nevil==1\n"})
    assert [pin.purl for pin in delta.added] == ["pkg:pypi/evil@1"]
    assert delta.files == {path}
    assert [pin.purl for pin in lock_delta({path: b"evil==1\n"}, {path: PROSE}).removed] == ["pkg:pypi/evil@1"]


@pytest.mark.threat("JSN-02")
@pytest.mark.parametrize(
    "raw",
    [
        b"evil==1\nodd line==\n", b"evil=1\n", b"evil == \n", b"some dir/evil\n", b"some dir\\evil\n", b"my evil.whl\n", b"my evil.tar.gz ; x\n", b"some ${DIR}evil\n",
        b"./some dir\n", b"git+https://x.example/a b\n", b"evil @ https://x.example/a b\n", b"\xff\xfee\0v\0i\0l\0 \0x\0\n\0", b"# coding: utf-7\nsome text\n", b"\xffsome text\n",
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["reqs.txt", "requirements/x.txt"])
def test_what_may_be_a_requirement_or_cannot_be_told_is_refused(raw, path):
    delta = lock_delta({}, {path: raw})
    assert delta.malformed or delta.added


@pytest.mark.threat("JSN-02")
@pytest.mark.parametrize("path", ["requirements.txt", "dev-requirements.in", "requirements_ci.txt"])
def test_a_name_that_only_requirements_have_is_held_to_it(path):
    with pytest.raises(LockError, match=r"lock\.malformed"):
        read_lock_file(path, PROSE)
    assert lock_delta({}, {path: PROSE}).malformed


WORDS = st.lists(
    st.text(st.sampled_from("ab1Ä.-_,;@[]()<>=!~'\"#${}: \t"), min_size=1, max_size=6) | st.sampled_from(["a", "bb", "and", ">= 1", "; x", "--hash=x"]),
    min_size=1, max_size=5,
).map(" ".join)  # fmt: skip


@settings(max_examples=2_000, deadline=None)
@given(WORDS)
def test_no_line_that_is_taken_for_prose_is_a_requirement(line):
    if is_prose(line.encode()):
        with pytest.raises(InvalidRequirement):
            Requirement(line.partition(" #")[0])
