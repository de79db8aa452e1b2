"""Evidence packs by tools that are not ours, as VERIFY.md says: openssl, and Go's sumdb packages where they are installed.

Debian: apt-get install golang-go golang-golang-x-mod-dev.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.audit.test_packs import FORGERIES, resealed
from tests.support.packs import KEY, whole_pack

GOCODE = Path("/usr/share/gocode")
PROGRAM = Path(__file__).parent / "independent" / "main.go"
needs_go = pytest.mark.skipif(
    shutil.which("go") is None or not (GOCODE / "src/golang.org/x/mod/sumdb/tlog").exists(),
    reason="no Go or no golang-golang-x-mod-dev here: the independent check by sumdb/note and sumdb/tlog did not run",
)
ON_LEAVES = ("a leaf is left out", "two leaves change places", "an act is backdated", "a leaf names another role")


def by_openssl(folder: Path, checkpoint: bytes) -> bool:
    """VERIFY.md's words, done: no code of the portal but this file's slicing."""
    text, _, line = checkpoint.decode().rpartition("\n\n")
    (folder / "text").write_bytes(f"{text}\n".encode())
    (folder / "signature").write_bytes(base64.b64decode(line.split(" ")[2])[4:])
    raw = base64.b64decode(KEY.verifier().vkey.split("+", 2)[2])[1:]
    body = base64.b64encode(bytes.fromhex("302a300506032b6570032100") + raw).decode()
    (folder / "key.pem").write_text(f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
    done = subprocess.run(
        ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", "key.pem", "-sigfile", "signature", "-in", "text"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode == 0 and "Signature Verified Successfully" in done.stdout


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")
def test_openssl_accepts_the_checkpoint_and_no_other_size(tmp_path: Path):
    whole_pack(tmp_path / "pack")
    checkpoint = (tmp_path / "pack" / "checkpoint").read_bytes()
    assert by_openssl(tmp_path, checkpoint)
    assert not by_openssl(tmp_path, checkpoint.replace(b"\n6\n", b"\n7\n", 1))


@pytest.fixture(scope="module")
def by_go(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, built without a network."""
    folder = tmp_path_factory.mktemp("go")
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(folder), "GOCACHE": str(folder / "cache"), "GO111MODULE": "off",
        "GOPATH": str(GOCODE), "GOPROXY": "off", "CGO_ENABLED": "0",
    }  # fmt: skip
    program = folder / "check"
    subprocess.run(["go", "build", "-o", str(program), str(PROGRAM)], env=environment, check=True, timeout=300)
    return program


@needs_go
@pytest.mark.threat("AUD-01")
def test_go_accepts_good_packs_and_none_whose_leaves_were_touched(by_go: Path, tmp_path: Path):
    for kind, told in (("log", "6 leaves"), ("pull", "5 leaves")):
        whole_pack(tmp_path / kind, kind=kind)
        done = subprocess.run(
            [by_go, tmp_path / kind, KEY.verifier().vkey], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (0, f"{told} are in the tree of 6 that {KEY.name} signed\n")
    for number, name in enumerate(ON_LEAVES):
        log = whole_pack(tmp_path / f"bad{number}")
        resealed(tmp_path / f"bad{number}", log, FORGERIES[name][0])
        done = subprocess.run(
            [by_go, tmp_path / f"bad{number}", KEY.verifier().vkey], capture_output=True, text=True, check=False
        )
        assert done.returncode == 1, name
