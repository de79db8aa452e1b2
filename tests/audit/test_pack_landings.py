"""Commits in packs, however they were merged: what was released is told from what only looks like it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.audit.test_packs import BOTH, Said
from tests.support.packs import git_commit, inputs_of, judged_body, whole_pack
from verdicts.policy import default_policy_yaml

REPOSITORY = "acme/payments"
BEGUN, BEGUN_OBJECT = git_commit("start")
HEAD, HEAD_OBJECT = git_commit("change", BEGUN)
PAST, PAST_OBJECT = git_commit("nobody looked", BEGUN)
OTHER_TREE = "f" * 40
POLICY = hashlib.sha256(default_policy_yaml()).hexdigest()
BEGAN: dict[str, Any] = {
    "repository": REPOSITORY, "commit": BEGUN, "object": BEGUN_OBJECT, "class": "PRE-ENROLMENT", "pull": None,
}  # fmt: skip


def row(commit: tuple[str, str], kind: str = "PASS") -> dict[str, Any]:
    return {"repository": REPOSITORY, "commit": commit[0], "object": commit[1], "class": kind, "pull": None}


def branch(*commits: dict[str, Any]) -> list[dict[str, Any]]:
    """A branch whose tip is the first of these commits, and that began where every pack's begins."""
    tip = commits[0]["commit"]
    return [{"repository": REPOSITORY, "branch": "main", "tip": tip, "begun": BEGUN, "isWhole": True}, *commits, BEGAN]


# What landed -> its commit, what else is on the branch, the base that its leaf names, and what is said of it.
LANDED: dict[str, tuple[tuple[str, str], list[dict[str, Any]], str, str]] = {
    "squashed": (git_commit("squash", BEGUN), [], BEGUN, ""),
    "the head itself": ((HEAD, HEAD_OBJECT), [], BEGUN, ""),
    "squashed to other files": (git_commit("squash", BEGUN, tree=OTHER_TREE), [], BEGUN, "landed with another tree"),
    "merged to other files": (git_commit("merge", BEGUN, HEAD, tree=OTHER_TREE), [row((HEAD, HEAD_OBJECT))], BEGUN, "landed with another tree"),
    "the same files on another base": (git_commit("squash", PAST), [row((PAST, PAST_OBJECT), "BYPASS")], PAST, "landed on another base"),
    "another base than its leaf says": (git_commit("squash", PAST), [row((PAST, PAST_OBJECT), "BYPASS")], BEGUN, "landed on another base"),
    "rebased, and this is the last of several": (git_commit("second", PAST), [row((PAST, PAST_OBJECT), "BYPASS")], PAST, "landed on another base"),
    "another head merged": (git_commit("merge", BEGUN, PAST), [row((PAST, PAST_OBJECT))], BEGUN, "landed on another base"),
    "three at once": (git_commit("merge", BEGUN, HEAD, PAST), [row((HEAD, HEAD_OBJECT)), row((PAST, PAST_OBJECT))], BEGUN, "landed on another base"),
    "two heads, one twice": (git_commit("merge", BEGUN, HEAD, HEAD), [row((HEAD, HEAD_OBJECT))], BEGUN, "landed on another base"),
}  # fmt: skip


@pytest.mark.threat("GATE-05")
@BOTH
@pytest.mark.parametrize("name", LANDED)
def test_what_landed_is_what_was_judged_however_it_was_merged(tmp_path: Path, verify: Callable[..., Said], name: str):
    commit, others, base, wrong = LANDED[name]
    commits = branch(row(commit), *others)
    whole_pack(
        tmp_path / "pack", landing=lambda _begun, _head: commit, merged_on=base, changed={"commits.jsonl": commits}
    )
    said = verify(tmp_path / "pack")
    assert said == Said(0, "") if not wrong else (said.status, wrong in said.wrong) == (5, True), said


FIRST = git_commit("merge", BEGUN, HEAD)
SECOND = git_commit("second change", BEGUN)
FROM_QUEUE = git_commit("from the queue", FIRST[0], tree=OTHER_TREE)
TOLD: dict[str, Any] = {
    "repository": REPOSITORY, "commit": FROM_QUEUE[0], "tree": OTHER_TREE, "base": FIRST[0], "head": SECOND[0],
    "class": "PASS", "code": "",
}  # fmt: skip


# What the verifier lane said of it -> what differs from the truth.
QUEUED: dict[str, dict[str, Any] | None] = {
    "as it is": {}, "nothing": None, "another tree": {"tree": "e" * 40}, "another base": {"base": BEGUN},
    "another head": {"head": HEAD}, "another commit": {"commit": FIRST[0]}, "a bypass": {"class": "BYPASS", "code": "x"},
    "of another repository": {"repository": "acme/fork"},
}  # fmt: skip


def queued(folder: Path, told: dict[str, Any] | None, *commits: dict[str, Any]) -> None:
    """Two heads of a handoff that were judged on one base; the second, the first of `commits`, landed on top of the next."""
    landed, base = commits[0]["commit"], commits[1]["commit"]
    judged = judged_body(inputs_of(SECOND[0], BEGUN), "PASS", POLICY)
    merged = {"repository": REPOSITORY, "commit": landed, "base": base, "head": SECOND[0]}
    said = [] if told is None else [("commit.landed", "H-1", {**TOLD, "commit": landed, "base": base, **told})]
    later = [
        ("verdict.recorded", "H-1", judged),
        *said,
        ("pull.merged", "H-1", merged),
    ]
    whole_pack(folder, later=later, changed={"commits.jsonl": branch(*commits)})


@pytest.mark.threat("GATE-06")
@BOTH
@pytest.mark.parametrize("name", QUEUED)
def test_what_a_queue_landed_on_a_later_base_needs_the_verifiers_word(
    tmp_path: Path, verify: Callable[..., Said], name: str
):
    queued(tmp_path / "pack", QUEUED[name], row(FROM_QUEUE), row(FIRST), row((HEAD, HEAD_OBJECT)))
    said = verify(tmp_path / "pack")
    assert said.status == (0 if name == "as it is" else 5), said
    assert ("landed on another base" in said.wrong) is (name != "as it is")
    look = f"git merge-tree --write-tree {FIRST[0]} {SECOND[0]}"
    assert (look in verify(tmp_path / "pack", with_notes=True).wrong) is (name == "as it is")


@pytest.mark.threat("GATE-06")
@BOTH
def test_what_a_queue_landed_on_something_that_nobody_released_is_not_believed(
    tmp_path: Path, verify: Callable[..., Said]
):
    past = git_commit("in between", FIRST[0])
    landed = git_commit("from the queue", past[0], tree=OTHER_TREE)
    queued(tmp_path / "pack", {}, row(landed), row(past, "BYPASS"), row(FIRST), row((HEAD, HEAD_OBJECT)))
    said = verify(tmp_path / "pack")
    assert (said.status, "landed on another base" in said.wrong) == (5, True), said
