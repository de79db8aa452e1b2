"""Evidence packs: what holds is said to hold, and every kind of edit is found by both verifiers, which name the record."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from audit import standalone_verifier
from audit.notes import SignerKey, parse_vkey
from audit.pack_checks import Verification
from audit.pack_findings import Judges
from audit.pack_reading import Pack, PackError
from audit.pack_writing import write_tar
from audit.standalone_verifier import verify_by_openssl, verify_ed25519
from tests.support.packs import KEY, Log, git_commit, whole_pack
from verdicts.replaying import replay_decision, replay_policy

STANDALONE = Path(standalone_verifier.__file__)
VKEY = KEY.verifier().vkey


@dataclass(frozen=True)
class Said:
    """What a verifier answered: its exit code, and its findings that are no mere notes, or those, too."""

    status: int
    wrong: str


def by_portal(
    path: Path,
    *,
    earlier: bytes | None = None,
    is_pinned: bool = True,
    witnesses: Sequence[str] = (),
    with_notes: bool = False,
) -> Said:
    try:
        seen = [parse_vkey(line) for line in witnesses]
        judges = Judges(replay_decision, replay_policy, lambda _row, _acts: "", lambda _row, _raw: "")
        found = Verification(Pack(path), [KEY.verifier()] if is_pinned else [], earlier, judges, seen).run()
    except PackError as error:
        return Said(5, str(error))
    states = {finding.state.value for finding in found}
    told = {"FAIL", "BROKEN", "note"} if with_notes else {"FAIL", "BROKEN"}
    wrong = "\n".join(f"{f.state} {f.check} {f.detail}" for f in found if f.state.value in told)
    return Said(5 if "FAIL" in states else 1 if "BROKEN" in states else 0, wrong)


def standing_alone(
    path: Path,
    *,
    earlier: bytes | None = None,
    is_pinned: bool = True,
    witnesses: Sequence[str] = (),
    with_notes: bool = False,
) -> Said:
    try:
        keys = [standalone_verifier.parse_key(VKEY)] if is_pinned else []
        seen = [standalone_verifier.parse_key(line, is_witness=True) for line in witnesses]
        report = standalone_verifier.Verifier(standalone_verifier.Pack(path), keys, earlier, seen).run()
    except standalone_verifier.PackError as error:
        return Said(5, str(error))
    told = {"FAILED", "BROKEN", "gap"} if with_notes else {"FAILED", "BROKEN"}
    wrong = "\n".join(f"{state} {check} {detail}" for state, check, detail in report.rows if state in told)
    return Said(report.status, wrong)


BOTH = pytest.mark.parametrize("verify", [by_portal, standing_alone])


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packs")
    for kind in ("log", "pull"):
        log = whole_pack(folder / kind, kind=kind)
        (folder / "mine").write_bytes(log.checkpoint(4))
        write_tar(folder / kind, folder / f"{kind}.tar")
    return folder


@BOTH
@pytest.mark.parametrize("name", ["log", "pull", "log.tar", "pull.tar"])
def test_a_good_pack_holds(packs: Path, verify: Callable[..., Said], name: str):
    assert verify(packs / name, earlier=(packs / "mine").read_bytes()) == Said(0, "")


@BOTH
def test_a_pack_whose_key_nobody_gave_is_not_green(packs: Path, verify: Callable[..., Said]):
    said = verify(packs / "log", is_pinned=False)
    assert said.status == 1
    assert "no key was given" in said.wrong


@pytest.mark.threat("AUD-01")
@BOTH
@pytest.mark.parametrize("kind", ["log", "pull"])
def test_every_edited_byte_of_every_file_is_found(packs: Path, tmp_path: Path, verify: Callable[..., Said], kind: str):
    """Each file: first, last and three places between; one bit changed, one byte taken out, one put in; no file at all."""
    count = 0
    for file in sorted((packs / kind).iterdir()):
        raw = file.read_bytes()
        copy = tmp_path / f"{kind}-{file.name}"
        shutil.copytree(packs / kind, copy)
        for at in sorted({0, len(raw) // 4, len(raw) // 2, len(raw) * 3 // 4, max(0, len(raw) - 1)}):
            flipped = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :] if raw else b"x"
            for edited in (flipped, raw[:at] + raw[at + 1 :], raw[:at] + b"7" + raw[at:], raw[:at] + b" " + raw[at:]):
                if edited == raw:
                    continue
                (copy / file.name).write_bytes(edited)
                said = verify(copy)
                assert said.status == 5, (file.name, at, edited[max(0, at - 20) : at + 20])
                assert file.name in said.wrong or file.name in {"seal.json", "manifest.json", "checkpoint"}, said.wrong
                count += 1
        (copy / file.name).unlink()
        assert verify(copy).status == 5, file.name
    assert count > 150


@pytest.mark.threat("AUD-01")
@BOTH
def test_every_edited_block_of_a_tar_is_found(packs: Path, tmp_path: Path, verify: Callable[..., Said]):
    raw = (packs / "pull.tar").read_bytes()
    copy = tmp_path / "pack.tar"
    is_padding = 0
    for at in range(0, len(raw), 487):
        copy.write_bytes(raw[:at] + bytes([raw[at] ^ 0x41]) + raw[at + 1 :])
        said = verify(copy)
        is_padding += said.status != 5  # the empty rest of a block, or a field of the header that nobody reads
        assert said.status == 5 or raw[at] == 0, (at, raw[at - 9 : at + 9])
    for shorter in (raw[:-1], raw[:-512], raw[: len(raw) // 2], raw + bytes(512), raw + b"x", b""):
        copy.write_bytes(shorter)
        assert verify(copy).status == 5
    assert is_padding < len(raw) / 487 / 2


def resealed(folder: Path, log: Log, edit: Callable[[Path], None]) -> None:
    """What a forger can do who holds everything but the log's key: the manifest says what the files are now."""
    edit(folder)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    for name in manifest["files"]:
        size, digest = Pack(folder).digest(name)
        manifest["files"][name] = {"bytes": size, "sha256": digest}
    (folder / "manifest.json").write_text(json.dumps(manifest, sort_keys=True, separators=(",", ":")))


def lines_of(folder: Path, name: str) -> list[bytes]:
    return (folder / name).read_bytes().splitlines(keepends=True)


def drop_leaf(folder: Path) -> None:
    (folder / "leaves.txt").write_bytes(
        b"".join(lines_of(folder, "leaves.txt")[:6] + lines_of(folder, "leaves.txt")[8:])
    )
    bodies = lines_of(folder, "bodies.jsonl")
    (folder / "bodies.jsonl").write_bytes(b"".join(bodies[:3] + bodies[4:]))


def drop_merge(folder: Path) -> None:
    (folder / "commits.jsonl").write_bytes(b"".join(lines_of(folder, "commits.jsonl")[:2]))


def swap_leaves(folder: Path) -> None:
    lines, bodies = lines_of(folder, "leaves.txt"), lines_of(folder, "bodies.jsonl")
    (folder / "leaves.txt").write_bytes(b"".join([*lines[:4], *lines[6:8], *lines[4:6], *lines[8:]]))
    (folder / "bodies.jsonl").write_bytes(b"".join([*bodies[:2], bodies[3], bodies[2], *bodies[4:]]))


def replace(name: str, old: bytes, new: bytes) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        raw = (folder / name).read_bytes()
        assert old in raw
        (folder / name).write_bytes(raw.replace(old, new, 1))

    return edit


FORGERIES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a leaf is left out": (drop_leaf, "lea"),
    "two leaves change places": (swap_leaves, "lea"),
    "an act is backdated": (replace("leaves.txt", b" 1790000004000000 ", b" 1790000002000000 "), "lea"),
    "a leaf names another role": (replace("leaves.txt", b'"role":"PLAN"', b'"role":"LEAD"'), "lea"),
    "a verdict's body is another": (replace("bodies.jsonl", b"PASS", b"FAIL"), "leaf 4"),
    "a row is another": (replace("records.jsonl", b'"verdict":"PASS"', b'"verdict":"FAIL"'), "records.jsonl line 1"),
    "a row's time is another": (replace("records.jsonl", b"+00:00", b"+01:00"), "records.jsonl line 1"),
    "a policy is another": (replace("policies.jsonl", b"max_rounds: 3", b"max_rounds: 2"), "policies.jsonl"),
    "an override is called a pass": (replace("commits.jsonl", b'"class":"PASS"', b'"class":"OVERRIDE"'), "commit "),
    "a merge is called a bypass": (replace("commits.jsonl", b'"class":"PASS"', b'"class":"BYPASS"'), "commit "),
    "a commit is left out": (drop_merge, "is missing"),
    "a participant is left out": (replace("separation.jsonl", b'{"duty":"PLAN","principal":3}', b'{"duty":"PLAN","principal":4}'), "separation.jsonl line 1"),
    "a sponsor is unknown": (replace("principals.jsonl", b'"sponsor":5', b'"sponsor":6'), "separation.jsonl line 1"),
    "the earlier checkpoint is another": (replace("earlier.json", b"\\n4\\n", b"\\n3\\n"), "earlier"),
}  # fmt: skip


@pytest.mark.threat("AUD-02")
@BOTH
@pytest.mark.parametrize("name", FORGERIES)
def test_a_forger_without_the_logs_key_is_found_and_the_record_is_named(
    tmp_path, verify: Callable[..., Said], name: str
):
    edit, place = FORGERIES[name]
    log = whole_pack(tmp_path / "pack")
    resealed(tmp_path / "pack", log, edit)
    said = verify(tmp_path / "pack")
    assert said.status == 5
    assert place in said.wrong
    assert "the log" in said.wrong  # and the manifest is not the one that was sealed


@pytest.mark.threat("AUD-08")
@BOTH
def test_another_log_of_the_same_key_is_found_by_the_auditors_own_checkpoint(
    tmp_path: Path, verify: Callable[..., Said]
):
    mine = Log()
    for number in range(4):
        mine.append("other.act", number, "REPORTER", "", {"number": number})
    whole_pack(tmp_path / "pack")
    assert verify(tmp_path / "pack").status == 0
    said = verify(tmp_path / "pack", earlier=mine.checkpoint())
    assert said.status == 5
    assert "your checkpoint" in said.wrong


@pytest.mark.threat("AUD-03")
@BOTH
def test_a_pack_of_another_key_is_refused(tmp_path: Path, verify: Callable[..., Said]):
    whole_pack(tmp_path / "pack", log=Log(SignerKey.generate(KEY.name)))
    said = verify(tmp_path / "pack")
    assert said.status == 5
    assert "checkpoint" in said.wrong


@BOTH
def test_what_breaks_a_rule_in_a_genuine_pack_is_told(tmp_path: Path, verify: Callable[..., Said]):
    begun, start = git_commit("start")
    past, raw = git_commit("nobody looked", begun)
    commits: list[dict] = [
        {"repository": "acme/payments", "branch": "main", "tip": past, "begun": begun, "isWhole": True},
        {"repository": "acme/payments", "commit": past, "object": raw, "class": "BYPASS", "pull": None},
        {"repository": "acme/payments", "commit": begun, "object": start, "class": "PRE-ENROLMENT", "pull": None},
    ]
    principals = [
        {"id": number, "kind": "human", "sponsor": 9 if number in {2, 3} else None} for number in range(1, 10)
    ]
    row = {"repository": "acme/payments", "pull": 1, "handoffs": [1], "state": "broken"}
    parts = [{"principal": number, "duty": duty} for number, duty in ((1, "BUILDER"), (2, "ENFORCER"), (3, "PLAN"))]
    whole_pack(
        tmp_path / "pack",
        changed={
            "commits.jsonl": commits,
            "principals.jsonl": principals,
            "separation.jsonl": [{**row, "parts": parts}],
        },
    )
    said = verify(tmp_path / "pack")
    assert said.status == 1
    assert past[:12] in said.wrong
    assert "acme/payments#1" in said.wrong


def test_the_single_file_runs_with_python_alone(packs: Path):
    command = [sys.executable, "-I", "-S", str(STANDALONE), str(packs / "pull.tar"), "--key", VKEY, "--json"]
    done = subprocess.run(command, cwd="/", env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == 0
    done = subprocess.run([*command[:-1], "--checkpoint", "/nowhere"], capture_output=True, text=True, check=False)
    assert done.returncode == 2


# RFC 8032 section 7.1: tests 1, 2, 3, 1024 bytes are left out for their length, SHA(abc).
RFC_8032 = (
    ("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"),
    ("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"),
    ("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
     "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"),
    ("ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
     "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
     "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704"),
)  # fmt: skip
ORDER = 2**252 + 27742317777372353535851937790883648493


@pytest.mark.parametrize(("key", "message", "signature"), RFC_8032)
def test_the_small_ed25519_agrees_with_the_rfc_and_with_openssl(key: str, message: str, signature: str):
    public, text, raw = bytes.fromhex(key), bytes.fromhex(message), bytes.fromhex(signature)
    assert verify_ed25519(public, text, raw)
    if text:
        assert verify_by_openssl(public, text, raw) is not False
    for place in range(64):
        changed = raw[:place] + bytes([raw[place] ^ 1 << place % 8]) + raw[place + 1 :]
        assert not verify_ed25519(public, text, changed)
    assert not verify_ed25519(public, text + b"x", raw)
    assert not verify_ed25519(public, text, raw[:-1])
    more = (int.from_bytes(raw[32:], "little") + ORDER).to_bytes(32, "little")
    assert not verify_ed25519(public, text, raw[:32] + more)  # the same point, another way to write s
    assert not verify_ed25519(b"\xff" * 32, text, raw)
