"""Signatures of the loopback Sigstore, as others would hand them to us; everything in them may be broken on purpose."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from sigstore._utils import sha256_digest
from sigstore.dsse import Envelope
from sigstore.models import Bundle, ClientTrustConfig
from sigstore.oidc import IdentityToken
from sigstore.sign import Signer, SigningContext
from sigstore_models.intoto import Envelope as EnvelopeModel
from sigstore_models.intoto import Signature as SignatureModel

from handoffs.attestations.dsse import PAYLOAD_TYPE, pae
from handoffs.signatures import sigstore_signers
from handoffs.signatures.refusals import RefusedError
from handoffs.signatures.trust_roots import TrustedRoot, read_trusted_root
from tests.support.loopback_sigstore import LoopbackSigstore

IDENTITY = "https://ci.acme.example/builder"
STRANGER = "https://ci.acme.example/stranger"


class Signed:
    """One bundle with the root and the signer it is to be judged by."""

    def __init__(self, bundle: str, root: Mapping[str, Any], issuer: str, identity: str) -> None:
        self.bundle = bundle
        self.root_document = root
        self.signer = sigstore_signers.Signer(identity, issuer)

    @property
    def raw(self) -> bytes:
        return self.bundle.encode()

    @property
    def root(self) -> TrustedRoot:
        return root_of(self.root_document)

    def edited(self, edit: Callable[[dict[str, Any]], object]) -> bytes:
        """The bundle with something else in it."""
        document = json.loads(self.bundle)
        edit(document)
        return json.dumps(document).encode()

    def root_with(self, edit: Callable[[dict[str, Any]], object]) -> TrustedRoot:
        """The root with something else in it."""
        document = copy.deepcopy(dict(self.root_document))
        edit(document)
        return root_of(document)


def root_of(document: Mapping[str, Any]) -> TrustedRoot:
    return read_trusted_root(json.dumps(document).encode(), source="test")


@cache
def signed_artifact(content: bytes = b"artifact", *, rekor: int = 1, identity: str = IDENTITY) -> Signed:
    """A signature over an artifact; the Sigstore that made it is switched off again."""
    return _signed(lambda signer: signer.sign_artifact(content), rekor, identity)


@cache
def signed_statement(
    payload: bytes,
    *,
    payload_type: str = PAYLOAD_TYPE,
    rekor: int = 1,
    identity: str = IDENTITY,
    logged: bytes = b"",
) -> Signed:
    """A signed envelope; the library itself would only sign the in-toto type, this signs any.

    Shape: with `logged` Rekor v1 gets no envelope, but a signature by the same key over the digest of these bytes.
    """

    def sign(signer: Signer) -> Bundle:
        certificate = signer._signing_cert()
        signature = _signature(signer, pae(payload_type, payload))
        inner = EnvelopeModel(
            payload=base64.b64encode(payload),
            payload_type=payload_type,
            signatures=[SignatureModel(sig=base64.b64encode(signature))],
        )
        envelope = Envelope(inner)
        rekor_client = signer._signing_ctx._rekor
        entry = rekor_client._build_dsse_request(envelope=envelope, certificate=certificate)
        if logged:
            own = signature if logged == pae(payload_type, payload) else _signature(signer, logged)
            entry = rekor_client._build_hashed_rekord_request(sha256_digest(logged), own, certificate)
        return signer._finalize_sign(certificate, envelope, entry)

    return _signed(sign, rekor, identity)


def _signature(signer: Signer, content: bytes) -> bytes:
    return signer._private_key.sign(content, ec.ECDSA(hashes.SHA256()))


def _signed(sign: Callable[[Signer], Bundle], rekor: int, identity: str) -> Signed:
    with LoopbackSigstore(rekor=rekor) as services:
        root = services.trusted_root()
        config = ClientTrustConfig.from_json(json.dumps(services.trust_config()))
        token = IdentityToken(services.token(identity))
        with SigningContext.from_trust_config(config).signer(token) as signer:
            return Signed(sign(signer).to_json(), root, token.federated_issuer, identity)


def statement_about(
    digest: str, *, predicate_type: str = "https://slsa.dev/verification_summary/v1", **more: Any
) -> bytes:
    """A statement v1 about one digest."""
    document: dict[str, Any] = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "artifact", "digest": {"sha256": digest}}],
        "predicateType": predicate_type,
        "predicate": {"verifier": {"id": "https://portal.example"}, "verificationResult": "PASSED", "resourceUri": "x"},
    }
    return json.dumps({**document, **more}).encode()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def payload_of(bundle: bytes) -> bytes:
    return base64.b64decode(json.loads(bundle)["dsseEnvelope"]["payload"])


def refused(verify: Callable[..., object], *arguments: object, **named: object) -> str:
    """The code of a refusal, which says got and expected."""
    with pytest.raises(RefusedError) as found:
        verify(*arguments, **named)
    assert found.value.got
    assert found.value.expected
    return found.value.code
