"""Whose signature a verdict rested on, by the leaves alone: both verifiers, on packs that the log itself sealed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from audit.canonical import write_json
from tests.audit.test_pack_decisions import BEGUN, HEAD
from tests.audit.test_packs import BOTH, Said, lines_of, standing_alone
from tests.support.packs import KEYLESS, Log, inputs_of, judged_body, reseal, signed_body, whole_pack
from verdicts.policy import inputs_to_json

pytestmark = pytest.mark.threat("ATT-07")

OLD, NEW = "AB" * 20, "CD" * 20
BEFORE, RECEIVED, AFTER = (f"2026-09-21T14:00:0{second}+00:00" for second in (0, 1, 2))
LATER = "2026-09-21T14:10:00+00:00"
REVOKED = ("key.revoked", "", {"fingerprint": OLD, "distrusted_since": BEFORE})
MERGED = ("merge.intended", "H-1", {"head": "0" * 40})
AGAIN = "handoff.resigned"


def row(fingerprint: str = OLD, at: str = RECEIVED, **changed: Any) -> dict[str, Any]:
    own = {"method": "openpgp", "fingerprint": fingerprint, "receivedAt": at, "signature": f"by {fingerprint}"}
    return {**KEYLESS, **own, "identity": "", "issuer": "", "artifactBundle": "", "statementBundle": "", **changed}


def key(fingerprint: str, **changed: Any) -> dict[str, Any]:
    window = {"createdAt": BEFORE, "expiresAt": "2026-10-20T12:00:00+00:00"}
    return {"fingerprint": fingerprint, "publicKey": f"key {fingerprint}", **window, **changed}


def pack(folder: Path, *before: tuple[str, str, Mapping[str, Any]], **changed: Any) -> Log:
    """A pack whose bundle the old key signed; `before` are acts that the log has from before the verdict."""
    log = Log()
    for kind, subject, body in before:
        log.append(kind, 2, "ENFORCER", subject, {**body})
    again = [{**row(NEW, AFTER), "leafIndex": at} for at, (kind, _, _) in enumerate(before) if kind == AGAIN]
    rows = [{**row(), "leafIndex": len(before) + 2}, *again]
    keys = [key(OLD, distrustedSince=BEFORE), key(NEW)]
    given = {"signature": row(), "signing": {"keys": keys}, "changed": {"signatures.jsonl": rows}}
    return whole_pack(folder, log=log, **{**given, **changed})


SIGNED_AGAIN = (AGAIN, "H-1", signed_body(row(NEW, AFTER)))
# What the log had from before the verdict, what came after the merge, and what each verifier has to say.
HISTORIES: dict[str, tuple[tuple[Any, ...], tuple[Any, ...], int, tuple[str, str]]] = {
    "nothing was revoked": ((), (MERGED,), 0, ("", "")),
    "revoked before the verdict": ((REVOKED,), (), 1, ("was not trusted any more since", "was revoked before")),
    "revoked before, from a later moment on": (
        (("key.revoked", "", {"fingerprint": OLD, "distrusted_since": AFTER}),), (MERGED,), 0, ("", "")
    ),
    "revoked again, from an earlier moment on": (
        (("key.revoked", "", {"fingerprint": OLD, "distrusted_since": AFTER}), REVOKED), (), 1,
        ("was not trusted any more since", "was revoked before"),
    ),
    "another key was revoked": ((("key.revoked", "", {"fingerprint": NEW, "distrusted_since": BEFORE}),), (), 0, ("", "")),
    "revoked, and signed again": ((REVOKED, SIGNED_AGAIN), (MERGED,), 0, ("", "")),
    "the next key was revoked, too": (
        (REVOKED, SIGNED_AGAIN, ("key.revoked", "", {"fingerprint": NEW, "distrusted_since": BEFORE})), (), 1,
        ("was not trusted any more since", "was revoked before"),
    ),
    "signed again for another pull request": ((REVOKED, (AGAIN, "H-2", signed_body(row(NEW, AFTER, handoff=2)))), (), 1,
                                              ("was not trusted any more since", "was revoked before")),
    "revoked after the merge": ((), (MERGED, REVOKED), 0, ("whose key was revoked afterwards", "revoked afterwards")),
    "revoked between verdict and merge": ((), (REVOKED, MERGED), 1, ("merge.intended rests on", "was revoked before")),
}  # fmt: skip


@BOTH
@pytest.mark.parametrize("name", HISTORIES)
def test_a_verdict_is_judged_by_the_signature_that_was_in_force(tmp_path: Path, name: str, verify: Callable[..., Said]):
    before, later, status, words = HISTORIES[name]
    changed: dict[str, Any] = {"later": later}
    if name == "signed again for another pull request":
        rows = [{**row(), "leafIndex": 4}, {**row(NEW, AFTER, handoff=2), "leafIndex": 1}]
        changed["changed"] = {"signatures.jsonl": rows}
    if "another key" in name or "next key" in name:
        changed["signing"] = {"keys": [key(OLD, distrustedSince=BEFORE), key(NEW, distrustedSince=BEFORE)]}
    pack(tmp_path / "pack", *before, **changed)
    said = verify(tmp_path / "pack", with_notes=True)
    assert said.status == status, said.wrong
    (word,) = {words[verify.__name__ == "standing_alone"]}
    assert word in said.wrong
    assert ("standing" in said.wrong) is bool(word)


@BOTH
def test_a_verdict_about_a_bundle_that_nobody_signed_is_told(tmp_path: Path, verify: Callable[..., Said]):
    other = inputs_of(HEAD, BEGUN, "1" * 64)
    pack(tmp_path / "pack", verdict={"inputs": inputs_to_json(other), "bundle": "1" * 64})
    said = verify(tmp_path / "pack")
    assert (said.status, "nothing before it" in said.wrong or "no leaf before it" in said.wrong) == (1, True)


@BOTH
def test_a_verdict_that_said_that_nothing_is_signed_rests_on_nothing(tmp_path: Path, verify: Callable[..., Said]):
    unsigned = dataclasses.replace(inputs_of(HEAD, BEGUN), is_bundle_signed=False)
    pack(tmp_path / "pack", REVOKED, MERGED, verdict=judged_body(unsigned, "FAIL", ""))
    assert "standing" not in verify(tmp_path / "pack", with_notes=True).wrong


def rows_of(name: str, change: Callable[[list[dict[str, Any]]], Any]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        rows = [json.loads(line) for line in lines_of(folder, name)]
        change(rows)
        (folder / name).write_bytes(b"".join(write_json(row) + b"\n" for row in rows))

    return edit


def signature(**changed: Any) -> Callable[[Path], None]:
    return rows_of("signatures.jsonl", lambda rows: rows[0].update(changed))


def keys(**changed: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        value = json.loads((folder / "keys.json").read_bytes())
        value["signing"]["keys"][0].update(changed)
        (folder / "keys.json").write_bytes(write_json(value))

    return edit


def forget_key(folder: Path) -> None:
    value = json.loads((folder / "keys.json").read_bytes())
    value["signing"]["keys"].pop()
    (folder / "keys.json").write_bytes(write_json(value))


# What whoever writes the tables of a pack changes, and where both verifiers find it.
EDITS: dict[str, tuple[Callable[[Path], None], str]] = {
    "the fallen signature is left out": (rows_of("signatures.jsonl", lambda rows: rows.pop(0)), "signers"),
    "the later signature is left out": (rows_of("signatures.jsonl", lambda rows: rows.pop()), "signers"),
    "a signature stands twice": (rows_of("signatures.jsonl", lambda rows: rows.append(rows[0])), "signers"),
    "a signature of no leaf": (
        rows_of("signatures.jsonl", lambda rows: rows.append({**rows[0], "leafIndex": 0})),
        "signers",
    ),
    "a signature without a leaf": (signature(leafIndex=None), "signers"),
    "another moment": (signature(receivedAt=AFTER), "signers"),
    "no moment": (signature(receivedAt="yesterday"), "signers"),
    "another signature": (signature(signature="another"), "signers"),
    "another statement": (signature(envelope="AAAA"), "signers"),
    "another key's": (signature(fingerprint=NEW), "signers"),
    "another handoff's": (signature(handoff=2), "signers"),
    "another bundle's": (signature(digest="1" * 64), "signers"),
    "another method": (signature(method="sigstore", artifactBundle=f"by {OLD}", identity=OLD), "signers"),
    "a key is left out": (forget_key, "keys"),
    "a key is another": (keys(publicKey="another"), "keys"),
    "a key lives longer": (keys(expiresAt="2027-12-25T12:00:00+00:00"), "keys"),
    "a key is older": (keys(createdAt="2026-09-20T12:00:00+00:00"), "keys"),
    "a key has no window": (keys(createdAt=None), "keys"),
    "a key was never revoked": (keys(distrustedSince=None), "keys"),
    "a key was distrusted later": (keys(distrustedSince=LATER), "keys"),
    "a key was never replaced": (keys(retiredAt=None), "keys"),
    "a key was replaced later": (keys(retiredAt="2026-09-21T14:13:22+00:00"), "keys"),
}


@BOTH
@pytest.mark.parametrize("name", EDITS)
def test_the_tables_say_what_the_leaves_say(tmp_path: Path, name: str, verify: Callable[..., Said]):
    folder, (edit, check) = tmp_path / "pack", EDITS[name]
    ends = {"distrustedSince": BEFORE, "retiredAt": "2026-09-21T14:13:21+00:00"}  # when leaf 1 was written
    signing = {"keys": [key(OLD, **ends), key(NEW)]}
    before = (REVOKED, ("key.rotated", "", {"old": OLD}), SIGNED_AGAIN)
    log = pack(folder, *before, signing=signing)
    assert verify(folder) == Said(0, "")
    edit(folder)
    reseal(folder, log)
    said = verify(folder)
    assert (said.status, f" {check} " in said.wrong) == (5, True), said.wrong


def test_the_single_file_says_it_of_a_key_that_was_not_in_use(tmp_path: Path):
    """By the row alone; `leo audit verify` says it of the signature itself."""
    pack(tmp_path / "pack", signing={"keys": [key(OLD, expiresAt=BEFORE), key(NEW)]})
    assert "was not in use" in standing_alone(tmp_path / "pack").wrong


@BOTH
def test_a_key_that_no_leaf_made_signs_nothing(tmp_path: Path, verify: Callable[..., Said]):
    folder = tmp_path / "pack"
    log = pack(folder, signing={"keys": [key(NEW)]})
    value = json.loads((folder / "keys.json").read_bytes())
    value["signing"]["keys"].append(key(OLD))
    (folder / "keys.json").write_bytes(write_json(value))
    reseal(folder, log)
    said = verify(folder)
    assert (said.status, said.wrong.count("\n"), OLD in said.wrong) == (5, 0, True)


@BOTH
def test_a_key_without_a_window_is_none(tmp_path: Path, verify: Callable[..., Said]):
    pack(tmp_path / "pack", signing={"keys": [key(OLD), key(NEW, expiresAt=None)]})
    assert " keys keys.json: " in verify(tmp_path / "pack").wrong


@BOTH
def test_a_leaf_that_says_no_moment_is_told(tmp_path: Path, verify: Callable[..., Said]):
    revoked = ("key.revoked", "", {"fingerprint": NEW, "distrusted_since": "2026-09-21T14:00:00"})
    pack(tmp_path / "pack", signing={"keys": [key(OLD), key(NEW)]}, later=[revoked])
    said = verify(tmp_path / "pack")
    assert (said.status, "time with its zone" in said.wrong) == (5, True)
