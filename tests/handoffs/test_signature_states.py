"""Ten states of a signature: only the good one is accepted. Two other verifiers are asked, and where they differ it says so.

The material is made by gpg, with keys of its own, as an attacker or an operator would.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest

from handoffs.keys import verify_receipt
from handoffs.models import SigningKey
from handoffs.signatures.openpgp import SignatureError

pytestmark = pytest.mark.skipif(
    shutil.which("gpg") is None, reason="no gpg here: the states of a signature are skipped"
)
HAS_SQV = shutil.which("sqv") is not None
DATA = b"artifact bytes\n"
NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Case:
    """One state: what the portal has of the key, and what it was given when."""

    key: SigningKey
    signature: bytes
    data: bytes
    received_at: datetime
    ring: bytes


class Gpg:
    """A real gpg with a home of its own."""

    def __init__(self, home: Path) -> None:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.home = home

    def __call__(
        self, *arguments: str, data: bytes = b"", at: datetime | None = None, is_asked: bool = False
    ) -> subprocess.CompletedProcess[bytes]:
        clock = ["--faked-system-time", f"{at:%Y%m%dT%H%M%S}!"] if at else []
        command = ["gpg", "--homedir", str(self.home), "--batch", "--yes", "--no-tty", "--pinentry-mode", "loopback"]
        command += ["--passphrase", "", "--status-fd", "2", "--trust-model", "always", *clock, *arguments]
        done = subprocess.run(command, input=data, capture_output=True, check=False, cwd=self.home)
        assert is_asked or done.returncode == 0, done.stderr.decode(errors="replace")
        return done

    def make(self, uid: str, *, at: datetime, kind: str = "ed25519", expires: str = "30d") -> str:
        self("--quick-gen-key", uid, kind, "sign", expires, at=at)
        listed = self("--list-keys", "--with-colons", uid).stdout.decode()
        return next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr"))

    def sign(self, fingerprint: str, data: bytes = DATA, *more: str, at: datetime | None = None) -> bytes:
        return self("--local-user", fingerprint, "--armor", *more, "--detach-sign", data=data, at=at).stdout

    def public(self, fingerprint: str) -> bytes:
        return self("--armor", "--export", fingerprint).stdout


@cache
def material(folder: Path) -> dict[str, Case]:
    """Every state, made once."""
    gpg = Gpg(folder / "home")
    good = gpg.make("good", at=NOW - DAY)
    dead = gpg.make("dead", at=NOW - 31 * DAY)
    stranger = gpg.make("stranger", at=NOW - DAY)
    lost = gpg.make("lost", at=NOW - DAY)

    def row(fingerprint: str, made: datetime, **more) -> SigningKey:
        return SigningKey(
            fingerprint=fingerprint,
            public_key=gpg.public(fingerprint).decode(),
            created_at=made,
            expires_at=made + 30 * DAY,
            **more,
        )

    def case(signature: bytes, key: SigningKey | None = None, data: bytes = DATA) -> Case:
        key = key or row(good, NOW - DAY)
        return Case(key, signature, data, datetime.now(UTC), key.public_key.encode())

    found = {
        "good": case(gpg.sign(good)),
        "expired": case(gpg.sign(dead, at=NOW - 5 * DAY), row(dead, NOW - 31 * DAY)),
        "expired signature": case(
            gpg.sign(good, DATA, "--default-sig-expire", "seconds=600", at=NOW - timedelta(hours=1)),
            row(good, NOW - DAY),
        ),
        "bad": case(bytes(gpg.sign(good)), data=DATA.replace(b"a", b"b", 1)),
        "unknown key": case(gpg.sign(stranger)),
        "two signatures": case(gpg.sign(good) + gpg.sign(good)),
        "inline as detached": case(gpg("--local-user", good, "--armor", "--sign", data=DATA).stdout),
        "SHA-1": case(
            gpg.sign(good, DATA, "--digest-algo", "SHA1", "--weak-digest", "MD5", "--allow-weak-digest-algos")
        ),
        "wrong file": case(gpg.sign(good, b"another file\n")),
    }
    before = gpg.sign(lost)
    certificate = row(lost, NOW - DAY, revoked_at=NOW, distrusted_since=NOW - timedelta(hours=2))
    revocation = (gpg.home / "openpgp-revocs.d" / f"{lost}.rev").read_text().replace(":-----BEGIN", "-----BEGIN")
    gpg("--import", data=revocation.encode())
    found["revoked"] = Case(certificate, before, DATA, datetime.now(UTC), gpg.public(lost))
    return found


# What our verifier says, then gpg 2.2 (exit code, first telling status) and sqv 1.1 (exit code is 0).
STATES = {
    "good": ("", 0, "GOODSIG", True),
    "expired": ("time.untrusted", 0, "EXPKEYSIG", True),
    "revoked": ("key.distrusted", 0, "REVKEYSIG", False),
    "expired signature": ("signature.bad", 1, "EXPSIG", False),
    "bad": ("signature.bad", 1, "BADSIG", False),
    "unknown key": ("signature.bad", 2, "NO_PUBKEY", False),
    "two signatures": ("signature.count", 0, "GOODSIG", True),
    "inline as detached": ("signature.count", 2, "", False),
    "SHA-1": ("signature.bad", 0, "GOODSIG", False),
    "wrong file": ("signature.bad", 1, "BADSIG", False),
}


@pytest.fixture(scope="module")
def states(tmp_path_factory) -> Iterator[dict[str, Case]]:
    folder = tmp_path_factory.mktemp("g")
    yield material(folder)
    subprocess.run(["gpgconf", "--homedir", str(folder / "home"), "--kill", "all"], check=False)


@pytest.mark.threat("ATT-06")
@pytest.mark.parametrize("state", STATES)
def test_only_a_good_signature_is_accepted(states: dict[str, Case], state: str):
    case, (code, *_) = states[state], STATES[state]
    said = ""
    try:
        verify_receipt(case.key, case.data, case.signature.decode(), received_at=case.received_at)
    except SignatureError as error:
        said = error.code
    assert said == code


@pytest.mark.parametrize("state", STATES)
def test_gpg_is_asked_as_well_and_ends_with_0_for_keys_that_are_revoked_or_expired(
    states: dict[str, Case], state: str, tmp_path: Path
):
    case, (_, code, status, _) = states[state], STATES[state]
    (tmp_path / "a").write_bytes(case.data)
    (tmp_path / "a.asc").write_bytes(case.signature)
    peer = Gpg(tmp_path / "peer")
    peer("--import", data=case.ring)
    done = peer("--verify", str(tmp_path / "a.asc"), str(tmp_path / "a"), is_asked=True)

    assert done.returncode == code
    assert (f"[GNUPG:] {status}" if status else "not a detached signature") in done.stderr.decode(errors="replace")


@pytest.mark.skipif(not HAS_SQV, reason="no sqv here: the second opinion is skipped")
@pytest.mark.parametrize("state", STATES)
def test_sqv_is_asked_as_well(states: dict[str, Case], state: str, tmp_path: Path):
    case, is_accepted = states[state], STATES[state][3]
    for name, content in {"a": case.data, "a.asc": case.signature, "ring": case.ring}.items():
        (tmp_path / name).write_bytes(content)
    command = ["sqv", "--keyring", "ring", "a.asc", "a"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)

    assert (done.returncode == 0) == is_accepted


@pytest.mark.threat("ATT-07")
def test_a_signature_dated_by_a_faked_clock_of_an_expired_key_is_refused(tmp_path: Path):
    gpg = Gpg(tmp_path / "home")
    dead = gpg.make("dead", at=NOW - 31 * DAY)
    backdated = gpg.sign(dead, at=NOW - 20 * DAY).decode()
    key = SigningKey(
        fingerprint=dead,
        public_key=gpg.public(dead).decode(),
        created_at=NOW - 31 * DAY,
        expires_at=NOW - DAY,
    )
    verify_receipt(key, DATA, backdated, received_at=NOW - 20 * DAY)
    with pytest.raises(SignatureError, match=r"time\.untrusted"):
        verify_receipt(key, DATA, backdated, received_at=datetime.now(UTC))
    with pytest.raises(SignatureError, match=r"time\.untrusted: the signature says"):
        verify_receipt(key, DATA, backdated, received_at=NOW - 10 * DAY)


@pytest.mark.threat("ATT-07")
def test_a_stolen_key_that_is_still_valid_cannot_date_its_signatures_back(tmp_path: Path):
    gpg = Gpg(tmp_path / "home")
    stolen = gpg.make("stolen", at=NOW - 10 * DAY)
    key = SigningKey(
        fingerprint=stolen,
        public_key=gpg.public(stolen).decode(),
        created_at=NOW - 10 * DAY,
        expires_at=NOW + 20 * DAY,
    )
    with pytest.raises(SignatureError, match=r"time\.untrusted: the signature says"):
        verify_receipt(key, DATA, gpg.sign(stolen, at=NOW - 5 * DAY).decode(), received_at=datetime.now(UTC))


@pytest.mark.threat("ATT-07")
def test_a_revocation_has_a_moment_and_what_was_received_before_it_still_holds(states: dict[str, Case]):
    case = states["revoked"]
    key = SigningKey(
        fingerprint=case.key.fingerprint,
        public_key=case.key.public_key,
        created_at=case.key.created_at,
        expires_at=case.key.expires_at,
        revoked_at=datetime.now(UTC) + timedelta(minutes=2),
        distrusted_since=datetime.now(UTC) + timedelta(minutes=1),
    )
    verify_receipt(key, case.data, case.signature.decode(), received_at=case.received_at)
    key.distrusted_since = case.received_at
    with pytest.raises(SignatureError, match=r"key\.distrusted"):
        verify_receipt(key, case.data, case.signature.decode(), received_at=case.received_at)
