"""Who may hand over: with `staging: push: signed` only a commit that a builder's own key signed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pysequoia
import pytest
from django.db import transaction
from django.utils import timezone
from typer.testing import CliRunner

from audit.actions import add_identity, take_part
from audit.events import AuditError, Role
from audit.models import Identity, LogEntry, Participation, Principal
from handoffs.bundles.bundle import digest_of
from handoffs.git.repository import Git
from handoffs.models import BundleCheck, EnforcerRules, Handoff, Status
from handoffs.rules import BuilderKey, LaneRules, Staging, rules_to_json
from handoffs.signatures.commit_signatures import signer_of, with_signature
from handoffs.signatures.refusals import RefusedError
from handoffs.tasks import sweep_staging
from leoportal.cli import app
from leoportal.setup import OPERATOR
from tests.support.people import acting_as
from tests.support.portal import BUILDER_ID, GOOD_CHANGE, Portal, git
from tests.test_quarantine import put

needs_gpg = pytest.mark.skipif(shutil.which("gpg") is None, reason="gpg is not installed")


def new_key(seconds: int = 3600) -> tuple[pysequoia.Tsk, BuilderKey]:
    secret = pysequoia.Tsk.generate("codex", cipher_suite=pysequoia.CipherSuite.Cv25519, validity_seconds=seconds)
    return secret, key_of(secret.extract_certificate())


def key_of(certificate: pysequoia.Cert, builder_id: str = BUILDER_ID) -> BuilderKey:
    return BuilderKey(builder_id=builder_id, fingerprint=certificate.fingerprint.upper(), public_key=str(certificate))


def signed(raw: bytes, secret: pysequoia.Tsk) -> bytes:
    signature: bytes = pysequoia.sign(secret.signer(), raw, mode=pysequoia.SignatureMode.DETACHED)
    return with_signature(raw, signature.decode())


SECRET, KEY = new_key()
OTHER_SECRET, OTHER = new_key()
RAW = b"tree %b\nauthor A <a@x> 1 +0000\ncommitter A <a@x> 1 +0000\n\nsubject\n\nbody\n" % (b"a" * 40)


@pytest.mark.threat("MRK-04")
def test_only_the_key_that_signed_exactly_this_commit_vouches_for_it():
    commit = signed(RAW, SECRET)
    now = datetime.now(UTC)
    assert signer_of(commit, [OTHER, KEY], now) == KEY
    for altered in (
        RAW,
        signed(RAW, OTHER_SECRET),
        commit.replace(b"subject", b"Subject"),
        commit.replace(b"a" * 40, b"b" * 40),
        commit.replace(b"author A", b"author B"),
        commit.replace(b"committer", b"parent %b\ncommitter" % (b"c" * 40)),
        commit.replace(b"gpgsig ", b"gpgsag "),
        with_signature(commit, "-----BEGIN PGP SIGNATURE-----\nnonsense\n-----END PGP SIGNATURE-----\n"),
        b"",
    ):
        with pytest.raises(RefusedError, match=r"staging\.signature"):
            signer_of(altered, [KEY], now)
    with pytest.raises(RefusedError, match=r"key\.expired"):
        signer_of(commit, [KEY], now + timedelta(days=1))
    wrong = KEY.model_copy(update={"public_key": OTHER.public_key})
    with pytest.raises(RefusedError, match=r"staging\.signature"):
        signer_of(commit, [wrong], now)


@pytest.mark.parametrize("staging", [{"push": "signed"}, {"keys": [KEY.model_dump()] * 2}, {"push": "Signed"}])
def test_a_policy_that_nobody_could_hand_over_under_is_refused(staging):
    with pytest.raises(ValueError, match=r"expected|twice|Input should"):
        Staging.model_validate(staging)


def enforce(*keys: BuilderKey) -> None:
    rules = LaneRules(staging=Staging(push="signed", keys=keys))
    EnforcerRules.objects.create(policy_digest="0" * 64, document=rules_to_json(rules))


def sign_branch(portal: Portal, branch: str, secret: pysequoia.Tsk) -> None:
    """Put a signature into the tip of a branch of the repository."""
    bare = Git(portal.bare)
    tip = bare.resolve(f"refs/heads/{branch}")
    found = bare.read_objects([tip], max_bytes=1 << 20)[tip]
    assert found
    (commit,) = bare.write_objects("commit", [signed(found[1], secret)])
    git(portal.bare, "update-ref", f"refs/heads/{branch}", commit)


@pytest.mark.threat("MRK-04")
@pytest.mark.parametrize("who", ["a user without a signature", "the enforcer's own key", "somebody with a key"])
def test_a_push_by_anyone_but_a_builder_is_quarantined_unread_and_audited(portal: Portal, who: str):
    enforce(KEY)
    raw = portal.bundle(GOOD_CHANGE)
    put(portal, raw, "staging/codex-net")
    if who != "a user without a signature":
        sign_branch(portal, "staging/codex-net", OTHER_SECRET)
    sweep_staging()
    handoff = Handoff.objects.get()
    assert (handoff.status, handoff.refusal_code) == (Status.QUARANTINED, "staging.signature")
    assert (handoff.size_bytes, handoff.digest) == (0, "")
    assert not BundleCheck.objects.exists()
    (entry,) = LogEntry.objects.filter(kind="handoff.quarantined")
    assert "staging.signature" in json.dumps(entry.open())


@pytest.mark.threat("MRK-04")
def test_a_strangers_push_neither_supersedes_the_builders_nor_uses_up_its_quota(portal: Portal):
    enforce(KEY)
    raw = portal.bundle(GOOD_CHANGE)
    put(portal, raw, "staging/codex-net")
    sign_branch(portal, "staging/codex-net", SECRET)
    handoff = portal.receive()
    assert handoff.status == Status.OPENED
    check = BundleCheck.objects.get(handoff=handoff, code="manifest.signer")
    assert (check.outcome, check.got) == ("PASSED", BUILDER_ID)
    put(portal, b"rewritten", "staging/codex-net")
    sweep_staging()
    assert Handoff.objects.latest("pk").status == Status.QUARANTINED
    assert Handoff.objects.get(pk=handoff.pk).status == Status.OPENED


@pytest.mark.threat("MRK-04")
def test_one_builder_cannot_hand_over_in_anothers_name(portal: Portal):
    enforce(KEY, key_of(OTHER_SECRET.extract_certificate(), "https://builder.invalid/other"))
    put(portal, portal.bundle(GOOD_CHANGE), "staging/codex-net")
    sign_branch(portal, "staging/codex-net", OTHER_SECRET)
    handoff = portal.receive()
    assert (handoff.status, handoff.refusal_code) == (Status.REFUSED, "manifest.signer")


@pytest.mark.threat("SOD-03")
def test_a_commit_in_the_enforcers_name_is_refused_and_one_in_anothers_is_still_the_builders(portal: Portal):
    enforce(KEY)
    address = Identity.objects.get(principal__name="leoportal-enforcer", kind=Identity.Kind.EMAIL).value
    add_identity(Principal.objects.get(name="auditor"), "email", "auditor@acme.invalid", by=OPERATOR)
    forged = {"staging/codex-a": address, "staging/codex-b": "auditor@acme.invalid"}
    handoffs = []
    for branch, email in forged.items():
        portal.push_bundle(portal.bundle(GOOD_CHANGE, branch=branch), branch=branch, email=email)
        sign_branch(portal, branch, SECRET)
        handoffs.append(portal.receive())
    assert (handoffs[0].status, handoffs[0].refusal_code) == (Status.REFUSED, "sod.conflict")
    assert handoffs[1].status == Status.OPENED
    parts = set(Participation.objects.filter(subject=handoffs[1].chain).values_list("principal__name", "duty"))
    assert {("codex", "BUILDER"), ("ada", "BUILDER"), ("auditor", "BUILDER")} <= parts
    with pytest.raises(AuditError, match=r"sod\.conflict"), transaction.atomic():
        take_part(handoffs[1].chain, acting_as("ada", Role.PLAN))


@pytest.fixture
def gpg_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A home of gpg with a short path, since its agent's socket lies there."""
    home = Path("/tmp") / f"leo-gpg-{os.getpid()}"  # noqa: S108 - made with mode 0700, fails if it is there
    home.mkdir(mode=0o700)
    monkeypatch.setenv("GNUPGHOME", str(home))
    quick = [
        "gpg",
        "--batch",
        "--passphrase",
        "",
        "--quick-gen-key",
        "codex <codex@builder.invalid>",
        "ed25519",
        "sign",
        "1d",
    ]
    subprocess.run(quick, check=True, capture_output=True)
    yield home
    subprocess.run(["gpgconf", "--kill", "all"], check=False, capture_output=True)
    shutil.rmtree(home)


@needs_gpg
@pytest.mark.threat("MRK-04")
def test_leo_hands_over_with_gpg_and_git_agrees_who_signed(portal: Portal, gpg_home: Path, tmp_path: Path):
    public = subprocess.run(["gpg", "--armor", "--export"], check=True, capture_output=True).stdout
    key = key_of(pysequoia.Cert.from_bytes(public))
    enforce(key)
    file = tmp_path / "artifact.tar.gz"
    file.write_bytes(portal.bundle(GOOD_CHANGE))
    command = [
        "bundle",
        "handoff",
        str(file),
        "--repo",
        str(portal.source),
        "--remote",
        str(portal.bare),
        "--target",
        "main",
    ]
    who = ["--name", "Cody", "--email", "codex@builder.invalid"]
    done = CliRunner().invoke(app, [*command, *who, "--sign", "F" * 40])
    assert done.exit_code == 2
    assert "sign.gpg" in done.output
    done = CliRunner().invoke(app, [*command, *who, "--sign", key.fingerprint])
    assert done.exit_code == 0, done.output
    handoff = portal.receive()
    assert (handoff.status, handoff.digest) == (Status.OPENED, digest_of(file.read_bytes()))
    said = subprocess.run(
        ["git", "verify-commit", "--raw", handoff.staging_commit],
        cwd=portal.bare,
        check=True,
        capture_output=True,
        text=True,
    ).stderr
    assert f"VALIDSIG {key.fingerprint}" in said
    assert timezone.now() - handoff.received_at < timedelta(minutes=5)
