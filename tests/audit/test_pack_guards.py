"""Packs that the log itself sealed, and that are wrong all the same: each guard of both verifiers stands alone here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit.canonical import write_json
from audit.notes import KeyType, SignerKey
from tests.audit.test_packs import BOTH, Said, lines_of, replace, standing_alone
from tests.support.packs import KEY, Log, git_commit, reseal, whole_pack
from verdicts.policy import default_policy_yaml

type Edit = Callable[[Path, Log], object]


def edited(name: str, old: bytes, new: bytes) -> Edit:
    return lambda folder, _log: replace(name, old, new)(folder)


def rows_of(name: str, *rows: dict[str, Any]) -> Edit:
    return lambda folder, _log: (folder / name).write_bytes(b"".join(write_json(row) + b"\n" for row in rows))


def earlier_of(**changed: Any) -> Edit:
    """An earlier checkpoint that the log's own key signed, and that is none of this log."""

    def edit(folder: Path, log: Log) -> None:
        value = json.loads((folder / "earlier.json").read_bytes())
        value["checkpoint"] = log.checkpoint(4, **changed).decode()
        (folder / "earlier.json").write_bytes(write_json(value))

    return edit


def without_last(name: str) -> Edit:
    return lambda folder, _log: (folder / name).write_bytes(b"".join(lines_of(folder, name)[:-1]))


def twice(name: str) -> Edit:
    return lambda folder, _log: (folder / name).write_bytes(
        b"".join([*lines_of(folder, name), lines_of(folder, name)[0]])
    )


# What is wrong -> the kind of pack, the edit that the log then seals, and what each verifier has to say about it.
WRONG: dict[str, tuple[str, Edit, str, str]] = {
    "the earlier checkpoint has another root": ("log", earlier_of(root=bytes(32)), "FAIL earlier checkpoint", "does not begin"),
    "the earlier checkpoint is another log's": ("log", earlier_of(origin="leo.example/audit/2"), "of the log leo.example/audit/2", "does not begin"),
    "a single leaf is another": ("pull", edited("leaves.txt", b" 1790000002000000 ", b" 1790000001000000 "), "leaf 2: not what was signed", "leaf 2: it is not in the signed tree"),
    "a leaf of a run is another": ("log", edited("leaves.txt", b" 1790000003000000 ", b" 1790000001000000 "), "leaves 0 to 5: not what was signed", "leaves 0 to 5: one of them is not"),
    "a body is another": ("log", edited("bodies.jsonl", b"staging/codex-1", b"staging/codex-2"), "leaf 2", "leaf 2: its body is not the one"),
    "a body too many": ("log", twice("bodies.jsonl"), "more bodies than leaves", "more leaves or bodies"),
    "a proof is missing": ("pull", without_last("proofs.jsonl"), "more leaves than the", "more leaves or bodies"),
    "it is called separated, and is not": ("log", edited("principals.jsonl", b'"sponsor":5', b'"sponsor":3'), "it is called separated, and is not", "is called separated, and is not"),
    "a participant is not listed": ("log", edited("separation.jsonl", b',{"duty":"PLAN","principal":3}', b""), "acted as PLAN on H-1 and is not listed", "as PLAN, who is not listed"),
    "it was judged at another tree": ("log", edited("separation.jsonl", b'"size":6', b'"size":7'), "separation.jsonl line 1: acme/payments#1 was judged at", "separation.jsonl line 1: it was judged at another tree head"),
    "it was judged under another root": ("log", edited("separation.jsonl", b'"root":"', b'"root":"0'), "separation.jsonl line 1: acme/payments#1 was judged at", "separation.jsonl line 1: it was judged at another tree head"),
    "it counts an act that is newer": ("log", edited("separation.jsonl", b'"events":3', b'"events":4'), "by 4 acts on acme/payments#1, the pack has 3", "by 4 acts, the pack has 3"),
    "it counts too few acts": ("pull", edited("separation.jsonl", b'"events":3', b'"events":2'), "by 2 acts on acme/payments#1, the pack has 3", "by 2 acts, the pack has 3"),
    "it names a handoff that is newer": ("log", edited("separation.jsonl", b'"handoffs":[1]', b'"handoffs":[1,3]'), "it names H-3, about which", "it names H-3, about which"),
    "it is called separated before it is covered": ("log", edited("separation.jsonl", b'"pending":0', b'"pending":1'), "it is called ok, and 1 acts", "it is called ok, and 1 acts"),
    "a participant is unknown": ("log", edited("principals.jsonl", b'{"id":3,"kind":"human","sponsor":null}\n', b""), "separation.jsonl line 1", "nobody known answers for principal 3"),
    "a policy is missing": ("log", rows_of("policies.jsonl"), "of leaf 4 is missing", "of leaf 4 is missing"),
    "a policy was never enacted": ("log", rows_of("policies.jsonl", {"number": 1, "document": default_policy_yaml().decode()}, {"number": 2, "document": "policy: 2\n"}), "nobody enacted", "nobody enacted"),
    "a row says something else": ("log", edited("records.jsonl", b'"verdict":"PASS"', b'"verdict":"FAIL"'), "verdict is 'FAIL', leaf 4 says otherwise", "verdict is 'FAIL', its leaf 4 says otherwise"),
    "a row is somebody else's": ("log", edited("records.jsonl", b'"principal":3', b'"principal":7'), "principal is '7', leaf 4 says otherwise", "principal is '7', its leaf 4 says otherwise"),
    "a row says truth, not who": ("log", edited("records.jsonl", b'"principal":3', b'"principal":"3"'), "principal is '3', leaf 4", "principal is '3', its leaf 4"),
    "a row is of another time": ("log", edited("records.jsonl", b"+00:00", b"+01:00"), "created_at is", "created_at is"),
    "a row is of another handoff": ("log", edited("records.jsonl", b'"handoff":1', b'"handoff":2'), "handoff is '2'", "handoff is '2'"),
    "a row names another leaf's hash": ("log", edited("records.jsonl", b'"leafHash":"', b'"leafHash":"0'), "records.jsonl line 1: its leaf is", "records.jsonl line 1: its leaf 4 is another one"),
    "a row's leaf is not in the pack": ("log", edited("records.jsonl", b'"leafIndex":4', b'"leafIndex":9'), "its leaf 9 is not in the pack", "its leaf 9 is not in the pack"),
    "a commit's bytes are another's": ("log", edited("commits.jsonl", git_commit("start")[1].encode(), git_commit("begin")[1].encode()), "not the commit", "not the commit"),
    "it is called the whole log, and has a part of it": ("pull", edited("manifest.json", b'"kind":"pull"', b'"kind":"log"'), "called the whole log of 6", "called the whole log of 6"),
    "it is called a period, and has single leaves": ("pull", edited("manifest.json", b'"kind":"pull"', b'"kind":"period"'), "has 0 runs", "has 0 runs"),
    "it is called something else": ("pull", edited("manifest.json", b'"kind":"pull"', b'"kind":"rest"'), "expected log, period or pull", "expected log, period or pull"),
    "a file nobody knows": ("log", lambda folder, _log: (folder / "more.txt").write_text("more"), "more.txt: the manifest does not name it", "more.txt is not in the manifest"),
}  # fmt: skip


@pytest.mark.threat("AUD-02")
@BOTH
@pytest.mark.parametrize("name", WRONG)
def test_a_pack_that_the_log_sealed_is_not_believed_for_that(tmp_path: Path, verify: Callable[..., Said], name: str):
    kind, edit, *said_by = WRONG[name]
    log = whole_pack(tmp_path / "pack", kind=kind)
    edit(tmp_path / "pack", log)
    reseal(tmp_path / "pack", log)
    said = verify(tmp_path / "pack")
    assert said.status == 5, said
    assert said_by[verify is standing_alone] in said.wrong
    assert "seal" not in said.wrong


@BOTH
def test_what_is_sealed_again_without_a_change_holds(tmp_path: Path, verify: Callable[..., Said]):
    log = whole_pack(tmp_path / "pack")
    reseal(tmp_path / "pack", log)
    assert verify(tmp_path / "pack") == Said(0, "")


SEALS: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "other white space": lambda seal: json.dumps(seal, sort_keys=True, ensure_ascii=False).encode(),
    "another order": lambda seal: json.dumps(dict(reversed(seal.items())), separators=(",", ":"), ensure_ascii=False).encode(),
    "one member more": lambda seal: write_json({**seal, "more": 1}),
    "a second signature": lambda seal: write_json({**seal, "checkpoint": seal["checkpoint"] + cosigned(seal)}),
}  # fmt: skip


def cosigned(seal: dict[str, Any]) -> str:
    return SignerKey.generate("another").sign(seal["checkpoint"].partition("\n\n")[0] + "\n").line


@pytest.mark.threat("AUD-01")
@BOTH
@pytest.mark.parametrize("name", SEALS)
def test_a_seal_has_one_form(tmp_path: Path, verify: Callable[..., Said], name: str):
    whole_pack(tmp_path / "pack")
    path = tmp_path / "pack" / "seal.json"
    path.write_bytes(SEALS[name](json.loads(path.read_bytes())))
    said = verify(tmp_path / "pack")
    assert said.status == 5
    assert "seal.json: " in said.wrong


CLASSES = ("PASS", "OVERRIDE", "BREAK-GLASS", "BYPASS", "PRE-ENROLMENT")


@pytest.mark.threat("SOD-12")
@BOTH
@pytest.mark.parametrize("release", ["PASS", "OVERRIDE", "BREAK-GLASS"])
def test_a_merge_is_called_what_let_it_through_and_nothing_else(
    tmp_path: Path, verify: Callable[..., Said], release: str
):
    for told in CLASSES:
        log = whole_pack(tmp_path / told, release=release, told=told)
        assert len(log.leaves) == {"PASS": 7, "OVERRIDE": 8, "BREAK-GLASS": 10}[release]
        said = verify(tmp_path / told)
        if told == release:
            assert said == Said(0, "")
        else:
            assert said.status == 5
            assert f"it is called {told}, the leaves say {release}" in said.wrong


def linked(folder: Path, log: Log) -> None:
    """Who asked and who opened are one person."""
    path = folder / "principals.jsonl"
    path.write_bytes(path.read_bytes() + write_json({"one": 7, "other": 8}) + b"\n")


GLASSES: dict[str, tuple[dict[str, Any], Edit | None, int, str]] = {
    "one person under two names": ({}, linked, 1, "leaf 5"),
    "reviewed by who opened it": ({"reviewer": 8}, None, 1, "leaf 5"),
    "reviewed by who asked": ({"reviewer": 7}, None, 1, "leaf 5"),
    "not reviewed for a day": ({"reviewer": 0, "made_at": "2026-09-23T00:00:00+00:00"}, None, 1, "not reviewed"),
    "not reviewed yet": ({"reviewer": 0, "made_at": "2026-09-21T15:00:00+00:00"}, None, 0, ""),
    "opened by somebody else": ({"glass": {"second": 9}}, None, 5, "it names 9 as the second, and is by 8"),
    "asked for by somebody else": ({"glass": {"requested_by": 9}}, None, 5, "released by break-glass, and no leaf"),
    "for another head": ({"glass": {"head": "0" * 40}}, None, 5, "released by break-glass, and no leaf"),
    "by nobody known": ({"reviewer": 99}, None, 5, "principal 99"),
}


@pytest.mark.threat("SOD-12")
@BOTH
@pytest.mark.parametrize("name", GLASSES)
def test_a_glass_is_broken_by_two_and_reviewed_by_a_third_or_it_is_said(
    tmp_path: Path, verify: Callable[..., Said], name: str
):
    given, edit, status, wrong = GLASSES[name]
    log = whole_pack(tmp_path / "pack", release="BREAK-GLASS", **given)
    if edit:
        edit(tmp_path / "pack", log)
        reseal(tmp_path / "pack", log)
    said = verify(tmp_path / "pack")
    assert said.status == status, said
    assert wrong in said.wrong
    assert ("separated, and is not" in said.wrong) is False


@BOTH
@pytest.mark.parametrize("hours", [23, 25])
def test_a_review_after_a_day_is_late(tmp_path: Path, verify: Callable[..., Said], hours: int):
    class Slow(Log):
        @staticmethod
        def time(index: int) -> int:
            return Log.time(index) + (hours * 3_600_000_000 if index > 5 else 0)

    whole_pack(tmp_path / "pack", release="BREAK-GLASS", log=Slow())
    said = verify(tmp_path / "pack")
    assert (said.status, "reviewed late" in said.wrong) == ((1, True) if hours > 24 else (0, False))


@BOTH
@pytest.mark.parametrize("told", CLASSES)
def test_what_came_past_the_portal_is_called_a_bypass(tmp_path: Path, verify: Callable[..., Said], told: str):
    (begun, start), repository = git_commit("start"), "acme/payments"
    past, raw = git_commit("nobody looked", begun)
    commits: list[dict[str, Any]] = [
        {"repository": repository, "branch": "main", "tip": past, "begun": begun, "isWhole": True},
        {"repository": repository, "commit": past, "object": raw, "class": told, "pull": None},
        {"repository": repository, "commit": begun, "object": start, "class": "PRE-ENROLMENT", "pull": None},
    ]
    whole_pack(tmp_path / "pack", changed={"commits.jsonl": commits})
    said = verify(tmp_path / "pack")
    assert said.status == (1 if told == "BYPASS" else 5)
    assert ("1 commits landed without the portal" if told == "BYPASS" else "the leaves say BYPASS") in said.wrong


FORK = "acme/fork"


@BOTH
@pytest.mark.parametrize("told", ["PRE-ENROLMENT", "PASS"])
def test_two_repositories_can_have_one_commit_and_a_merge_counts_for_its_own(
    tmp_path: Path, verify: Callable[..., Said], told: str
):
    """A fork that lies at the other one's merge when the portal begins, or that got there past the portal."""

    def fork(folder: Path, log: Log) -> None:
        path = folder / "commits.jsonl"
        rows = [json.loads(line) for line in path.read_bytes().splitlines()]
        same = [{**row, "repository": FORK} for row in rows]
        for row in same:
            if "tip" in row:
                row["begun"] = row["tip"] if told == "PRE-ENROLMENT" else row["begun"]
            elif row["class"] != "PRE-ENROLMENT":
                row["class"] = told
        path.write_bytes(b"".join(write_json(row) + b"\n" for row in (*rows, *same)))

    log = whole_pack(tmp_path / "pack")
    fork(tmp_path / "pack", log)
    reseal(tmp_path / "pack", log)
    said = verify(tmp_path / "pack")
    assert said.status == (0 if told == "PRE-ENROLMENT" else 5), said
    assert ("the leaves say BYPASS" in said.wrong) is (told == "PASS")


@BOTH
@pytest.mark.parametrize(
    ("edit", "wrong"),
    [
        (edited("commits.jsonl", b'"class":"PRE-ENROLMENT"', b'"class":"BYPASS"'), "the leaves say PRE-ENROLMENT"),
        (without_last("commits.jsonl"), "older than the portal, is missing"),
    ],
)
def test_what_is_older_than_the_portal_is_listed_as_that(
    tmp_path: Path, verify: Callable[..., Said], edit: Edit, wrong: str
):
    log = whole_pack(tmp_path / "pack")
    edit(tmp_path / "pack", log)
    reseal(tmp_path / "pack", log)
    said = verify(tmp_path / "pack")
    assert said.status == 5
    assert wrong in said.wrong


@pytest.mark.threat("AUD-08")
@BOTH
def test_a_witness_that_the_reader_trusts_has_to_have_signed(tmp_path: Path, verify: Callable[..., Said]):
    witness, other = SignerKey.generate("witness.example/1"), SignerKey.generate("witness.example/2")
    keys = [key.verifier(KeyType.COSIGNATURE).vkey for key in (witness, other)]
    log = whole_pack(tmp_path / "pack", witnesses=[witness])
    assert verify(tmp_path / "pack") == Said(0, "")
    assert verify(tmp_path / "pack", witnesses=keys[:1]) == Said(0, "")
    said = verify(tmp_path / "pack", witnesses=keys)
    assert said.status == 1
    assert "witness.example/2 did not sign" in said.wrong
    path = tmp_path / "pack" / "checkpoint"
    text = path.read_text().partition("\n\n")[0] + "\n"
    line = witness.cosign(text, 1_790_000_010).line.encode()
    path.write_bytes(path.read_bytes().replace(witness.cosign(text, 1_790_000_009).line.encode(), b"") + line)
    reseal(tmp_path / "pack", log)
    assert verify(tmp_path / "pack", witnesses=keys[:1]) == Said(0, "")
    forged = witness.cosign(text.replace("\n6\n", "\n5\n"), 1_790_000_010).line.encode()
    path.write_bytes(path.read_bytes().replace(line, forged))
    reseal(tmp_path / "pack", log)
    said = verify(tmp_path / "pack", witnesses=keys[:1])
    assert said.status == 5
    assert "does not hold" in said.wrong
    assert verify(tmp_path / "pack") == Said(0, "")


@BOTH
def test_a_witness_alone_signs_no_tree(tmp_path: Path, verify: Callable[..., Said]):
    witness = SignerKey.generate("witness.example/1")
    whole_pack(tmp_path / "pack", witnesses=[witness])
    path = tmp_path / "pack" / "checkpoint"
    head, _, lines = path.read_text().partition("\n\n")
    path.write_text(f"{head}\n\n{''.join(line for line in lines.splitlines(keepends=True) if 'witness' in line)}")
    said = verify(tmp_path / "pack", witnesses=[witness.verifier(KeyType.COSIGNATURE).vkey])
    assert said.status == 5
    assert "checkpoint" in said.wrong
    assert KEY.name in said.wrong
