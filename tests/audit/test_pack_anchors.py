"""Anchors in evidence packs: what left the portal is this log, or both verifiers say what is not."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit.canonical import write_json
from audit.merkle import consistency_proof
from audit.notes import SignerKey
from audit.pack_checks import Verification
from audit.pack_findings import Judges, State
from audit.pack_reading import Pack
from audit.pack_writing import ANCHORS, encoded
from tests.audit.test_packs import BOTH, Said
from tests.support.packs import KEY, Log, whole_pack

pytestmark = pytest.mark.threat("AUD-03")
SIZE = 6  # leaves of the pack's tree


def object_of(kind: str, raw: bytes, algorithm: str = "sha1") -> tuple[str, bytes]:
    return hashlib.new(algorithm, f"{kind} {len(raw)}\0".encode() + raw).hexdigest(), raw


def in_git(log: Log, size: int, note: bytes = b"", algorithm: str = "sha1") -> dict[str, Any]:
    """A commit with this one file, as git writes it, and the proof between its tree and the pack's."""
    note = note or log.checkpoint(size)
    blob, _ = object_of("blob", note, algorithm)
    tree, tree_raw = object_of("tree", b"100644 checkpoint\0" + bytes.fromhex(blob), algorithm)
    text = (
        f"tree {tree}\nauthor a <a@example.org> 1790000000 +0000\ncommitter a <a@example.org> 1790000000 +0000\n\nx\n"
    )
    name, raw = object_of("commit", text.encode(), algorithm)
    return {
        "commit": name, "object": base64.b64encode(raw).decode(), "tree": base64.b64encode(tree_raw).decode(),
        "checkpoint": note.decode(), "consistency": proof(log, size),
    }  # fmt: skip


def in_rekor(log: Log, size: int) -> dict[str, Any]:
    note = log.checkpoint(size)
    digest = base64.b64encode(hashlib.sha256(note).digest()).decode()
    bundle = {"messageSignature": {"messageDigest": {"algorithm": "SHA2_256", "digest": digest}}}
    return {
        "checkpoint": note.decode(), "bundle": json.dumps(bundle), "identity": "https://portal.example/log",
        "issuer": "https://issuer.example", "consistency": proof(log, size),
    }  # fmt: skip


def proof(log: Log, size: int) -> list[Any]:
    small, large = sorted((size, SIZE))
    return encoded(consistency_proof(small, large, log.node))


def made(folder: Path, git: Callable[[Log], Any] | None = None, rekor: Callable[[Log], Any] | None = None) -> Log:
    log = whole_pack(folder)
    value = {"git": git(log) if git else None, "rekor": rekor(log) if rekor else None}
    (folder / ANCHORS).write_bytes(write_json(value))
    return log


@BOTH
@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
@pytest.mark.parametrize(("size", "left"), [(4, 2), (SIZE, 0), (SIZE + 1, 0)], ids=["older", "same", "newer"])
def test_an_anchor_of_this_log_is_told(
    tmp_path: Path, size: int, left: int, algorithm: str, verify: Callable[..., Said]
):
    made(tmp_path / "pack", lambda log: in_git(log, size, algorithm=algorithm), lambda log: in_rekor(log, size))
    said = verify(tmp_path / "pack", with_notes=True)
    assert (said.status, "anchors Rekor" in said.wrong or "the entry in Rekor" in said.wrong) == (0, True)
    assert (f" {left} leaves of the pack's tree are in no anchor" in said.wrong) is bool(left)


@BOTH
def test_a_pack_without_an_anchor_says_so(tmp_path: Path, verify: Callable[..., Said]):
    whole_pack(tmp_path / "pack")
    said = verify(tmp_path / "pack", with_notes=True)
    assert (said.status, " anchors " in said.wrong) == (0, True)


def rewritten() -> Log:
    """A log of the same name and key in which something else was said."""
    log = Log()
    for number in range(SIZE):
        log.append("other.act", number, "REPORTER", "", {})
    return log


def changed(told: dict[str, Any], **parts: Any) -> dict[str, Any]:
    return {**told, **parts}


STRANGER = SignerKey.generate(KEY.name)
OTHER = base64.b64encode(b"tree " + b"0" * 40 + b"\n").decode()
WRONG: dict[str, tuple[Callable[[Log], Any] | None, Callable[[Log], Any] | None]] = {
    "another history was anchored": (lambda log: in_git(log, SIZE, rewritten().checkpoint(SIZE)), None),
    "another history was anchored earlier": (lambda log: in_git(log, 4, rewritten().checkpoint(4)), None),
    "another history is in Rekor": (None, lambda log: {**in_rekor(rewritten(), 4), "consistency": proof(log, 4)}),
    "no proof": (lambda log: changed(in_git(log, 4), consistency=[]), None),
    "nobody signed it": (lambda log: in_git(log, SIZE, Log(STRANGER, log.leaves).checkpoint(SIZE)), None),
    "another log's name": (lambda log: in_git(log, SIZE, log.checkpoint(SIZE, origin="leo.example/audit/2")), None),
    "another commit's name": (lambda log: changed(in_git(log, SIZE), commit="0" * 40), None),
    "another commit": (lambda log: changed(in_git(log, SIZE), object=OTHER), None),
    "another tree": (lambda log: changed(in_git(log, SIZE), tree=in_git(log, 4)["tree"]), None),
    "another tree's commit": (
        lambda log: {**in_git(log, SIZE), **{k: in_git(log, 4)[k] for k in ("commit", "object")}}, None
    ),
    "another file": (lambda log: changed(in_git(log, 4), checkpoint=in_git(log, SIZE)["checkpoint"], consistency=[]), None),
    "no base64": (lambda log: changed(in_git(log, SIZE), tree="*"), None),
    "a member is missing": (lambda log: {k: v for k, v in in_git(log, SIZE).items() if k != "tree"}, None),
    "it is no object": (lambda log: [log.key.name], None),
    "a bundle about something else": (None, lambda log: changed(in_rekor(log, 4), bundle=in_rekor(log, SIZE)["bundle"])),
    "no bundle": (None, lambda log: changed(in_rekor(log, 4), bundle="{}")),
    "a bundle that is none": (None, lambda log: changed(in_rekor(log, 4), bundle="x")),
}  # fmt: skip


@BOTH
@pytest.mark.parametrize("name", WRONG)
def test_an_anchor_that_is_none_of_this_log_is_named(tmp_path: Path, name: str, verify: Callable[..., Said]):
    made(tmp_path / "pack", *WRONG[name])
    said = verify(tmp_path / "pack")
    assert (said.status, " anchors " in said.wrong) == (5, True), said.wrong


def test_the_bundle_in_rekor_is_judged_by_whom_the_reader_names(tmp_path: Path):
    log = made(tmp_path / "pack", None, lambda log: in_rekor(log, SIZE))
    asked = []

    def judge(bundle: bytes, digest: str) -> str:
        asked.append(digest)
        return "" if len(asked) == 1 else "somebody else signed it"

    judges = Judges(lambda *_: "", lambda *_: "", lambda *_: "", lambda *_: "", judge)
    for state in (State.OK, State.FAILED):
        found = Verification(Pack(tmp_path / "pack"), [KEY.verifier()], None, judges).run()
        assert [f.state for f in found if f.check == "anchors"] == [state]
    assert asked == [hashlib.sha256(log.checkpoint(SIZE)).hexdigest()] * 2
