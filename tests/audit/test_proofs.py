"""A key is linked by signing the portal's challenge with it, and by nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import pysequoia
import pytest
from django.utils import timezone

from audit.actions import add_identity, append_event
from audit.events import AuditError
from audit.models import Identity
from audit.proofs import challenge_for, fingerprint_in, link_by_proof
from handoffs.signatures.openpgp import SignatureError, verify_detached
from leoportal.setup import OPERATOR
from tests.support.people import person


@dataclass
class Key:
    """Somebody's own key."""

    secret: pysequoia.Tsk

    @property
    def certificate(self) -> pysequoia.Cert:
        return self.secret.extract_certificate()

    @property
    def fingerprint(self) -> str:
        return str(self.certificate.fingerprint.upper())

    def sign(self, text: str) -> str:
        return bytes(
            pysequoia.sign(self.secret.signer(), text.encode(), mode=pysequoia.SignatureMode.DETACHED)
        ).decode()


@pytest.fixture
def key() -> Key:
    return Key(pysequoia.Tsk.generate("Plan <plan@acme.invalid>"))


def prove(key: Key, challenge: str, signature: str, *, name: str = "plan") -> Identity:
    def verify(data: bytes, wanted: str) -> None:
        verify_detached(
            data, signature, public_key=str(key.certificate), fingerprint=wanted, received_at=timezone.now()
        )

    return link_by_proof(person(name), challenge, verify=verify, by=OPERATOR)


def test_whoever_signs_the_challenge_is_linked(cast, key: Key):
    challenge = challenge_for(person("plan"), key.fingerprint.lower())
    linked = prove(key, challenge, key.sign(challenge))
    assert (linked.value, linked.proof, linked.principal) == (key.fingerprint, "signature", person("plan"))


@pytest.mark.threat("SOD-01")
def test_nothing_else_links_a_key(cast, key: Key):
    challenge = challenge_for(person("plan"), key.fingerprint)
    other = Key(pysequoia.Tsk.generate("Eve <eve@acme.invalid>"))
    with pytest.raises(SignatureError):
        prove(key, challenge, other.sign(challenge))
    with pytest.raises(SignatureError):
        prove(other, challenge, other.sign(challenge))
    with pytest.raises(SignatureError):
        prove(key, challenge, key.sign("something else"))
    with pytest.raises(AuditError, match=r"proof\.challenge"):
        prove(key, challenge, key.sign(challenge), name="lead")
    forged = challenge.replace(key.fingerprint, other.fingerprint)
    with pytest.raises(AuditError, match=r"proof\.challenge"):
        prove(other, forged, other.sign(forged))
    assert not Identity.objects.filter(kind="openpgp").exists()


def test_a_challenge_lapses_a_taken_key_stays_and_a_removed_one_is_the_administrators(cast, key: Key):
    challenge = challenge_for(person("plan"), key.fingerprint)
    found = add_identity(person("lead"), "openpgp", key.fingerprint, by=OPERATOR)
    with pytest.raises(AuditError, match=r"identity\.taken"):
        prove(key, challenge, key.sign(challenge))
    said = append_event("identity.unlinked", OPERATOR, "", {})
    Identity.objects.filter(pk=found.pk).update(ends_at=timezone.now(), end_entry=said)
    with pytest.raises(AuditError, match=r"proof\.removed"):
        prove(key, challenge, key.sign(challenge))
    with pytest.raises(AuditError, match=r"proof\.expired"):
        fingerprint_in(challenge, person("plan"), good_for_seconds=-1)
