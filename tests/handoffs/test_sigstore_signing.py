"""The Sigstore process: what it signs, what it refuses, how long it may take, what it may know."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from handoffs.signatures.openpgp import SignatureError
from handoffs.signatures.sigstore_signing import (
    Pinned,
    ServiceClockError,
    Signed,
    SigningRefusedError,
    SigningUnavailableError,
    Sigstore,
)
from leoportal.settings import BASE_DIR
from tests.support.loopback_sigstore import LoopbackSigstore

IDENTITY = "https://portal.leo.example/enforcer"
DATA = b"the bytes of an artifact"
DIGEST = hashlib.sha256(DATA).hexdigest()
STATEMENT = json.dumps(
    {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "artifact.tar.gz", "digest": {"sha256": DIGEST}}],
        "predicateType": "https://slsa.dev/verification_summary/v1",
        "predicate": {"verificationResult": "PASSED"},
    }
).encode()


class Bench:
    """A loopback Sigstore, a client for it, and the token file between them."""

    def __init__(self, service: LoopbackSigstore, folder: Path) -> None:
        self.service = service
        self.token_file = folder / "token"
        self.pinned = Pinned(IDENTITY, service.url)
        self.client = Sigstore(service.write_config(folder), self.token_file, seconds=60.0)
        self.show(service.token(IDENTITY))

    def show(self, token: str) -> None:
        self.token_file.write_text(token)

    def sign(self, statement: bytes | None = STATEMENT) -> Signed:
        return self.client.sign(DIGEST, statement, self.pinned)


@pytest.fixture(params=[1, 2], ids=["rekor1", "rekor2"])
def bench(request, tmp_path: Path) -> Iterator[Bench]:
    with LoopbackSigstore(rekor=request.param) as service:
        yield Bench(service, tmp_path)


@pytest.fixture
def bench1(tmp_path: Path) -> Iterator[Bench]:
    with LoopbackSigstore(rekor=1) as service:
        yield Bench(service, tmp_path)


def test_what_is_signed_verifies_offline(bench: Bench):
    signed = bench.sign()
    asked = len(bench.service.requests)
    checked = bench.client.verify(signed.bundles, bench.pinned, root_digest=signed.root_digest)
    assert checked.payload == STATEMENT
    assert checked.log_index == signed.log_index == 5
    assert signed.statement_log_index == 6
    assert json.loads(signed.envelope)["payloadType"] == "application/vnd.in-toto+json"
    assert len(bench.service.requests) == asked


def test_one_try_is_one_try(bench: Bench):
    bench.service.faults = {"rekor-down"}
    with pytest.raises(SigningUnavailableError):
        bench.sign()
    entries = [seen for seen in bench.service.requests if seen.path.endswith("/log/entries")]
    assert len(entries) == 1


@pytest.mark.parametrize(
    ("fault", "code", "is_refused", "may_be_logged"),
    [
        ("fulcio-down", "signing.fulcio_down: fulcio answers HTTP 503", False, False),
        ("rekor-down", "signing.rekor_down: rekor answers HTTP 503", False, True),
        ("fulcio-refuses", "signing.fulcio_refused: fulcio answers HTTP 403", True, False),
        ("rekor-refuses", "signing.rekor_refused: rekor answers HTTP 403", True, False),
        ("wrong-identity", "signing.identity: got ['https://stranger.example/other']", True, True),
        ("bad-sct", "signing.verification", True, False),
        ("bad-set", "signing.verification", True, True),
        ("bad-checkpoint", "signing.verification", True, True),
        ("bad-proof", "signing.verification", True, True),
    ],
)
def test_each_fault_has_its_code(bench1: Bench, fault: str, code: str, is_refused: bool, may_be_logged: bool):
    bench1.service.faults = {fault}
    with pytest.raises(SigningUnavailableError) as caught:
        bench1.sign()
    assert str(caught.value).startswith(code)
    assert isinstance(caught.value, SigningRefusedError) is is_refused
    assert caught.value.may_be_logged is may_be_logged


def test_a_timestamp_authority_that_is_down_leaves_no_entry_in_the_log(tmp_path: Path):
    with LoopbackSigstore(rekor=2) as service:
        bench = Bench(service, tmp_path)
        service.faults = {"tsa-down"}
        with pytest.raises(SigningUnavailableError, match=r"signing\.tsa_down"):
            bench.sign()
        assert service.digests_logged() == []


@pytest.mark.parametrize("fault", ["fulcio-hangs", "rekor-hangs", "rekor-hangs-after-entry"])
def test_a_service_that_hangs_is_left_at_the_time_limit(bench1: Bench, fault: str):
    bench1.service.faults, bench1.service.hang_seconds = {fault}, 30.0
    client = replace(bench1.client, seconds=4.0)
    began = time.monotonic()
    with pytest.raises(SigningUnavailableError, match=r"signing\.timeout: no answer within 4 s") as caught:
        client.sign(DIGEST, STATEMENT, bench1.pinned)
    assert time.monotonic() - began < 8
    assert caught.value.may_be_logged is (fault != "fulcio-hangs")
    with pytest.raises(SigningUnavailableError, match=r"signing\.network"):
        replace(client, trust_config=dead_config(bench1)).sign(DIGEST, None, bench1.pinned)


def dead_config(bench: Bench) -> Path:
    """The same configuration, where nobody listens."""
    path = bench.token_file.with_name("dead.json")
    path.write_text(bench.client.trust_config.read_text().replace(bench.service.url, "http://127.0.0.1:9"))
    return path


def test_tokens_that_are_not_ours_are_not_even_sent(bench1: Bench):
    forged = bench1.service.token(IDENTITY, key=ec.generate_private_key(ec.SECP256R1()))
    cases = {
        bench1.service.token(IDENTITY, seconds=-60): "signing.token",
        "not.a.token": "signing.token",
        "x" * 20_000: "signing.token",
        bench1.service.token(IDENTITY, audience="somebody-else"): "signing.token",
        bench1.service.token("bob@example.org"): "signing.email",
        bench1.service.token(IDENTITY, iss="https://elsewhere.example"): "signing.issuer",
    }
    for token, code in cases.items():
        bench1.show(token)
        with pytest.raises(SigningRefusedError, match=code.replace(".", r"\.")) as caught:
            bench1.sign()
        assert token not in str(caught.value)
    assert not any("authorization" in seen.headers for seen in bench1.service.requests)
    bench1.show(forged)
    with pytest.raises(SigningRefusedError, match=r"signing\.fulcio_refused: fulcio answers HTTP 401"):
        bench1.sign()
    bench1.token_file.unlink()
    with pytest.raises(SigningRefusedError, match=r"signing\.token: SIGSTORE_IDENTITY_TOKEN_FILE cannot be read"):
        bench1.sign()


@pytest.mark.threat("ATT-13")
def test_a_service_whose_clock_differs_is_not_signed_with(bench1: Bench):
    for seconds, is_taken in ((110, True), (-110, True), (130, False), (-130, False)):
        bench1.service.date_skew = timedelta(seconds=seconds)
        if is_taken:
            bench1.sign(None)
            continue
        before = len(bench1.service.digests_logged())
        with pytest.raises(ServiceClockError, match=r"clock\.skew"):
            bench1.sign(None)
        assert len(bench1.service.digests_logged()) == before


@pytest.mark.threat("ATT-04")
def test_identity_and_issuer_are_compared_exactly(bench: Bench):
    signed = bench.sign()
    for identity, issuer in (
        (IDENTITY + "/", bench.service.url),
        (IDENTITY[:-1], bench.service.url),
        (IDENTITY.upper(), bench.service.url),
        (".*", bench.service.url),
        (IDENTITY, bench.service.url + "/"),
        (IDENTITY, "https://issuer.example"),
    ):
        with pytest.raises(SignatureError, match=r"signing\.(identity|verification)"):
            bench.client.verify(signed.bundles, Pinned(identity, issuer))


@pytest.mark.threat("ATT-08")
def test_bundles_that_were_touched_are_refused(bench: Bench):
    signed = bench.sign()
    good = signed.bundles
    artifact, statement = json.loads(good.artifact_bundle), json.loads(good.statement_bundle)
    doubled = good.artifact_bundle.replace('"mediaType"', '"mediaType": "x", "mediaType"', 1)
    touched = {
        "another artifact": replace(good, digest=hashlib.sha256(b"other").hexdigest()),
        "a duplicate key": replace(good, artifact_bundle=doubled),
        "no log entry": replace(good, artifact_bundle=changed(artifact, "verificationMaterial", "tlogEntries", value=[])),
        "another media type": replace(
            good, artifact_bundle=changed(artifact, "mediaType", value="application/vnd.dev.sigstore.bundle+json;version=0.1")
        ),
        "the statement's entry": replace(
            good,
            artifact_bundle=changed(
                artifact, "verificationMaterial", "tlogEntries", value=statement["verificationMaterial"]["tlogEntries"]
            ),
        ),
        "another payload": replace(
            good, statement_bundle=changed(statement, "dsseEnvelope", "payload", value="e30=")
        ),
        "another payload type": replace(
            good, statement_bundle=changed(statement, "dsseEnvelope", "payloadType", value="application/json")
        ),
        "the artifact in place of the statement": replace(good, statement_bundle=good.artifact_bundle),
        "no JSON": replace(good, artifact_bundle="{"),
    }  # fmt: skip
    bench.client.verify(good, bench.pinned)
    for name, bundles in touched.items():
        with pytest.raises(SignatureError):
            pytest.fail(f"accepted: {name} {bench.client.verify(bundles, bench.pinned)}")


def changed(document: dict, *path: str, value: object) -> str:
    copy = json.loads(json.dumps(document))
    at = copy
    for name in path[:-1]:
        at = at[name]
    at[path[-1]] = value
    return json.dumps(copy)


def test_a_trusted_root_that_changed_is_taken_only_when_an_operator_names_it(bench1: Bench):
    signed = bench1.sign()
    document = json.loads(bench1.client.trust_config.read_text())
    document["trustedRoot"]["tlogs"].append(document["trustedRoot"]["tlogs"][0] | {"baseUrl": "https://second.example"})
    bench1.client.trust_config.write_text(json.dumps(document))
    with pytest.raises(SignatureError, match=r"signing\.(root|verification|answer)"):
        bench1.client.verify(signed.bundles, bench1.pinned, root_digest=signed.root_digest)
    with pytest.raises(SigningRefusedError, match=r"signing\.root"):
        replace(bench1.client, root_digests=(signed.root_digest,)).sign(DIGEST, None, bench1.pinned)


@pytest.mark.threat("ATT-15")
def test_the_log_gets_digests_and_fulcio_an_empty_subject(bench: Bench):
    bench.sign()
    fulcio = [json.loads(seen.body) for seen in bench.service.requests if seen.path.endswith("signingCert")]
    assert [set(body) for body in fulcio] == [{"certificateSigningRequest"}]
    artifact, statement = (seen.body for seen in bench.service.requests if seen.path.endswith("/log/entries"))
    assert b"hashed" in artifact.lower()
    # Rekor v1 takes statements only whole; so what a statement says must be fit for the public (see test_signing).
    assert (b"payload" in statement) is (bench.service.rekor == 1)


@pytest.mark.threat("ATT-15")
def test_the_process_gets_no_secret_of_the_portal(bench1: Bench, monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "s3cret")
    monkeypatch.setenv("SIGSTORE_OIDC_ISSUER", "https://elsewhere.example")
    seen: list[bytes] = []
    ask = bench1.service.answer

    def look(request):
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if b"handoffs.signatures.sigstore_client" in path.read_bytes():
                    seen.append(path.with_name("environ").read_bytes() + path.read_bytes())
            except OSError:
                continue
        return ask(request)

    bench1.service.answer = look  # type: ignore[method-assign]
    bench1.sign(None)
    mine = [each for each in seen if b"s3cret" in each or b"SIGSTORE" in each or b"DATABASE" in each]
    assert seen
    assert mine == []


def test_the_process_ends_with_the_one_that_started_it(bench1: Bench):
    bench1.service.faults, bench1.service.hang_seconds = {"rekor-hangs"}, 60.0
    script = (
        "import sys; from pathlib import Path; from handoffs.signatures.sigstore_signing import *\n"
        "Sigstore(Path(sys.argv[1]), Path(sys.argv[2]), 30.0).sign(sys.argv[3], None, Pinned(*sys.argv[4:6]))"
    )
    arguments = (bench1.client.trust_config, bench1.token_file, DIGEST, IDENTITY, bench1.service.url)
    parent = subprocess.Popen([sys.executable, "-c", script, *map(str, arguments)], cwd=BASE_DIR)
    deadline = time.monotonic() + 20
    while not any(seen.path.endswith("/log/entries") for seen in bench1.service.requests):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (child,) = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and "Z" not in Path(f"/proc/{child}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


SIGNING = {
    "sigstore",
    "handoffs.signatures.sigstore_signing",
    "handoffs.signatures.sigstore_client",
    "handoffs.signing",
}
"""What signs. The builder's side checks signatures with modules of its own, and none of these."""


def test_the_builder_side_knows_nothing_of_signing():
    script = f"import sys, leoportal.cli_bundle\nfound = {SIGNING!r} & sys.modules.keys()\nassert not found, found\n"
    done = subprocess.run([sys.executable, "-c", script], cwd=BASE_DIR, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_leo_bundle_reads_no_sigstore_setting(tmp_path: Path):
    """Every look at the environment is written down by the interpreter's own audit hook."""
    script = (
        "import os, sys\n"
        "class Watched(dict):\n"
        "    def __getitem__(self, name):\n"
        "        assert 'SIGSTORE' not in name, name\n"
        "        return dict.__getitem__(self, name)\n"
        "    def get(self, name, default=None):\n"
        "        assert 'SIGSTORE' not in name, name\n"
        "        return dict.get(self, name, default)\n"
        "os.environ = Watched(os.environ)\n"
        "touched = []\n"
        "sys.addaudithook(lambda event, args: touched.append(args) if event.startswith('socket.connect') or\n"
        "    event == 'open' and 'token' in str(args[0]) and 'sigstore' in str(args[0]) else None)\n"
        "import leoportal.cli\n"
        "sys.argv = ['leo', 'bundle', 'verify', sys.argv[1]]\n"
        "try:\n"
        "    leoportal.cli.main()\n"
        "except SystemExit:\n"
        "    pass\n"
        "assert not touched, touched\n"
        f"found = {SIGNING!r} & sys.modules.keys()\n"
        "assert not found, found\n"
    )
    token = tmp_path / "sigstore-token"
    token.write_text("secret")
    artifact = tmp_path / "artifact.tar.gz"
    artifact.write_bytes(b"not a bundle")
    environment = {**os.environ, "SIGSTORE_IDENTITY_TOKEN_FILE": str(token), "SIGSTORE_TRUST_CONFIG": str(token)}
    done = subprocess.run(
        [sys.executable, "-c", script, str(artifact)],
        cwd=BASE_DIR,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "archive" in done.stdout
