"""Another implementation, the npm package @sigstore/verify, accepts what we sign and refuses what we refuse.

It is installed outside the repository, once, when npm and its registry are there; otherwise these tests are skipped.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from handoffs.signatures.sigstore_signing import Pinned, Sigstore
from leoportal.settings import BASE_DIR
from tests.support.loopback_sigstore import LoopbackSigstore

PACKAGE = "@sigstore/verify@4.1.3"
IDENTITY = "https://portal.leo.example/enforcer"
STATEMENT = json.dumps(
    {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "artifact.tar.gz", "digest": {"sha256": "ab" * 32}}],
        "predicateType": "https://slsa.dev/verification_summary/v1",
        "predicate": {"verificationResult": "PASSED"},
    }
).encode()


@pytest.fixture(scope="session")
def modules() -> Path:
    """A folder with the package in it."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("npm is not here: nothing else verified our Sigstore bundles")
    folder = Path(tempfile.gettempdir()) / f"leoportal-{PACKAGE.replace('/', '-').replace('@', '')}"
    if not (folder / "done").exists():
        draft = Path(tempfile.mkdtemp(prefix="leoportal-npm-"))
        (draft / "package.json").write_text("{}")
        command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", PACKAGE]
        done = subprocess.run(command, cwd=draft, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode != 0:
            shutil.rmtree(draft)
            pytest.skip("npm cannot install @sigstore/verify here: nothing else verified our Sigstore bundles")
        (draft / "done").touch()
        try:
            draft.rename(folder)
        except OSError:  # another test process was faster
            shutil.rmtree(draft)
    return folder


@dataclass
class Case:
    """Everything one verification needs, as files."""

    modules: Path
    folder: Path
    issuer: str

    def judge(self, bundle: str, artifact: str, *, identity: str = IDENTITY, issuer: str = "") -> str:
        script = BASE_DIR / "tests" / "support" / "verify_bundle.js"
        names = (self.folder / "trusted_root.json", self.folder / bundle)
        data = "-" if artifact == "-" else str(self.folder / artifact)
        command = ["node", script, self.modules, *names, data, identity, issuer or self.issuer]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode in {0, 1}, done.stderr
        return done.stdout


@pytest.fixture(params=[1, 2], ids=["rekor1", "rekor2"])
def case(request, modules: Path, tmp_path: Path) -> Case:
    data = b"the bytes of an artifact"
    with LoopbackSigstore(rekor=request.param) as service:
        client = Sigstore(service.write_config(tmp_path), tmp_path / "token", seconds=30.0)
        (tmp_path / "token").write_text(service.token(IDENTITY))
        signed = client.sign(hashlib.sha256(data).hexdigest(), STATEMENT, Pinned(IDENTITY, service.url))
    (tmp_path / "artifact").write_bytes(data)
    (tmp_path / "tampered").write_bytes(data + b"!")
    (tmp_path / "artifact.json").write_text(signed.bundles.artifact_bundle)
    (tmp_path / "statement.json").write_text(signed.bundles.statement_bundle)
    return Case(modules, tmp_path, service.url)


def test_another_implementation_accepts_both_bundles(case: Case):
    assert case.judge("artifact.json", "artifact") == f"accepted {IDENTITY}\n"
    assert case.judge("statement.json", "-") == f"accepted {IDENTITY}\n"


def test_another_implementation_refuses_what_is_not_ours(case: Case):
    assert case.judge("artifact.json", "tampered").startswith("refused SIGNATURE_ERROR")
    for bundle, artifact in (("artifact.json", "artifact"), ("statement.json", "-")):
        assert case.judge(bundle, artifact, identity=IDENTITY + "x").startswith("refused UNTRUSTED_SIGNER_ERROR")
        assert case.judge(bundle, artifact, issuer="https://other.example").startswith("refused UNTRUSTED_SIGNER")
    statement = json.loads((case.folder / "statement.json").read_text())
    statement["dsseEnvelope"]["payload"] = "e30="
    (case.folder / "tampered.json").write_text(json.dumps(statement))
    assert case.judge("tampered.json", "-").startswith("refused ")
    with LoopbackSigstore() as other:
        (case.folder / "trusted_root.json").write_text(json.dumps(other.trusted_root()))
    assert case.judge("artifact.json", "artifact").startswith("refused ")
