"""A Sigstore of our own on 127.0.0.1: identity provider, Fulcio with its CT key, Rekor v1 and v2, timestamp authority.

It checks what the real services check (token, proof of possession, signature of each entry), so a client that gets
through has really done the protocol. Every request is kept, and faults can be switched on.

    with LoopbackSigstore(rekor=2) as sigstore:
        sigstore.write_config(folder)              # trust_config.json, trusted_root.json
        token = sigstore.token("https://ci.leo.example/portal")

`python -m tests.support.loopback_sigstore --folder DIR --subject S [--rekor 1]` serves until it is stopped.
Source: the wire formats of Fulcio v2, Rekor v1 and v2, RFC 3161, RFC 6962, C2SP signed notes.
"""

from __future__ import annotations

import argparse
import base64
import json
import struct
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, Self

import jwt
import rfc8785
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from tests.support import der
from tests.support.certificates import (
    authority_key,
    fulcio_extension,
    key_usage,
    pem,
    public_key_info,
    signed_attributes,
)
from tests.support.merkle_log import MerkleLog, sha256

FAULTS: Final = frozenset(
    {
        "fulcio-down", "rekor-down", "tsa-down",  # 503
        "fulcio-refuses", "rekor-refuses",  # 403
        "fulcio-hangs", "rekor-hangs", "rekor-hangs-after-entry",  # for `hang_seconds`
        "bad-sct", "bad-set", "bad-checkpoint", "bad-proof", "wrong-identity",  # answers that a client must refuse
    }
)  # fmt: skip
SCT_LIST: Final = ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
# Claim of a GitHub token, number of its extension, prefix of the value. Source: Fulcio's oid-info.
GITHUB: Final = (
    ("job_workflow_ref", 9, "https://github.com/"),
    ("job_workflow_sha", 10, ""),
    ("runner_environment", 11, ""),
    ("repository", 12, "https://github.com/"),
    ("sha", 13, ""),
    ("ref", 14, ""),
    ("repository_id", 15, ""),
    ("event_name", 20, ""),
    ("repository_visibility", 22, ""),
)
STRANGER: Final = "https://stranger.example/other"


class RefusedRequestError(Exception):
    """What the real service answers with a 4xx."""

    def __init__(self, detail: str, status: int = 400) -> None:
        super().__init__(detail)
        self.status = status


class OutOfOrderError(Exception):
    """A fault that was switched on: 503."""


@dataclass(frozen=True)
class Seen:
    """One request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class LoopbackSigstore:
    """All services on one port. `rekor` says which version the signing configuration names; both answer."""

    def __init__(self, *, rekor: int = 1, port: int = 0, tsa: bool | None = None, preload: int = 5) -> None:
        self.rekor = rekor
        self.has_tsa = (rekor == 2) if tsa is None else tsa
        self.faults: set[str] = set()
        self.hang_seconds = 30.0
        self.date_skew = timedelta()
        self.certificate_minutes = 10.0
        self.requests: list[Seen] = []
        self._lock = threading.Lock()
        self._born = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
        self._make_keys()
        self.logs = {1: MerkleLog(), 2: MerkleLog()}
        for log in self.logs.values():
            for number in range(preload):
                log.append(b"an older entry, number %d" % number)
        self._entries: dict[str, dict[str, Any]] = {}
        self._hashes: dict[str, list[str]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler_of(self))
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.host}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    # What a client is configured with

    def trusted_root(self) -> dict[str, Any]:
        """The document that verifiers trust."""
        return {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [
                self._log_instance(self.url, self._rekor1, self._rekor1_id),
                self._log_instance(f"{self.url}/rekor2", self._rekor2, self._rekor2_id),
            ],
            "certificateAuthorities": [self._authority(self.url, self._intermediate, self._root)],
            "ctlogs": [self._log_instance(f"{self.url}/ct", self._ct, sha256(public_key_info(self._ct)))],
            "timestampAuthorities": [self._authority(f"{self.url}/tsa", self._tsa_leaf, self._tsa_root)],
        }

    def signing_config(self) -> dict[str, Any]:
        """Where a signer finds the services."""

        def service(url: str, version: int = 1) -> list[dict[str, Any]]:
            valid_for = {"start": _rfc3339(self._born)}
            return [{"url": url, "majorApiVersion": version, "validFor": valid_for, "operator": "loopback"}]

        return {
            "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
            "caUrls": service(self.url),
            "oidcUrls": service(self.url),
            "rekorTlogUrls": service(f"{self.url}/rekor2", 2) if self.rekor == 2 else service(self.url),
            "tsaUrls": service(f"{self.url}/tsa") if self.has_tsa else [],
            "rekorTlogConfig": {"selector": "ANY"},
            "tsaConfig": {"selector": "ANY"},
        }

    def trust_config(self) -> dict[str, Any]:
        """Both in one document, as sigstore's `ClientTrustConfig` reads it."""
        return {
            "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
            "trustedRoot": self.trusted_root(),
            "signingConfig": self.signing_config(),
        }

    def write_config(self, folder: Path) -> Path:
        """trust_config.json and trusted_root.json in `folder`; returns the first."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "trusted_root.json").write_text(json.dumps(self.trusted_root()))
        path = folder / "trust_config.json"
        path.write_text(json.dumps(self.trust_config()))
        return path

    # Identity provider

    def token(
        self, subject: str, *, audience: str = "sigstore", seconds: int = 300, key: Any = None, **claims: str
    ) -> str:
        """An identity token. `seconds` may be negative: expired. `key` may be another one: forged."""
        now = int(time.time())
        issued = now + min(0, seconds) - 1
        body = {"iss": self.url, "aud": audience, "sub": subject, "iat": issued, "nbf": issued, "exp": now + seconds}
        return jwt.encode(body | claims, key or self._oidc, algorithm="ES256", headers={"kid": "loopback"})

    def _discovery(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/auth",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }

    def _jwks(self) -> dict[str, Any]:
        public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self._oidc.public_key()))
        return {"keys": [public | {"kid": "loopback", "use": "sig", "alg": "ES256"}]}

    # Fulcio

    def issue_certificate(self, token: str, body: bytes) -> dict[str, Any]:
        """Check the token and the proof of possession; answer a short-lived certificate with an embedded SCT."""
        self._trip("fulcio")
        try:
            claims = jwt.decode(
                token,
                self._oidc.public_key(),
                algorithms=["ES256"],
                audience="sigstore",
                issuer=self.url,
                options={"require": ["aud", "sub", "iat", "exp", "iss"]},
            )
        except jwt.PyJWTError as error:
            raise RefusedRequestError(f"There was an error processing the identity token: {error}", 401) from error
        request = x509.load_pem_x509_csr(base64.b64decode(json.loads(body)["certificateSigningRequest"]))
        if not request.is_signature_valid:
            raise RefusedRequestError("The signature supplied in the request could not be verified")
        now = datetime.now(UTC)
        builder = self._leaf(request.public_key(), claims, now)
        precertificate = builder.sign(self._intermediate_key, hashes.SHA256())
        scts = der.value(der.OCTETS, self._scts(precertificate, now))
        certificate = builder.add_extension(x509.UnrecognizedExtension(SCT_LIST, scts), critical=False).sign(
            self._intermediate_key, hashes.SHA256()
        )
        chain = [pem(item) for item in (certificate, self._intermediate, self._root)]
        return {"signedCertificateEmbeddedSct": {"chain": {"certificates": chain}}}

    def _leaf(self, key: Any, claims: dict[str, str], now: datetime) -> x509.CertificateBuilder:
        builder = (
            x509.CertificateBuilder(
                issuer_name=self._intermediate.subject,
                subject_name=x509.Name([]),
                public_key=key,
                serial_number=x509.random_serial_number(),
                not_valid_before=now - timedelta(seconds=1),
                not_valid_after=now + timedelta(minutes=self.certificate_minutes),
            )
            .add_extension(key_usage(signs=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(authority_key(self._intermediate), critical=False)
            .add_extension(x509.SubjectAlternativeName([self._san(claims)]), critical=True)
            .add_extension(fulcio_extension(1, self.url.encode()), critical=False)
            .add_extension(fulcio_extension(8, der.value(der.UTF8, self.url.encode())), critical=False)
        )
        for claim, number, prefix in GITHUB:
            if claim in claims:
                text = der.value(der.UTF8, (prefix + claims[claim]).encode())
                builder = builder.add_extension(fulcio_extension(number, text), critical=False)
        return builder

    def _san(self, claims: dict[str, str]) -> x509.GeneralName:
        if "wrong-identity" in self.faults:
            return x509.UniformResourceIdentifier(STRANGER)
        if "job_workflow_ref" in claims:
            return x509.UniformResourceIdentifier("https://github.com/" + claims["job_workflow_ref"])
        address = claims.get("email", claims["sub"])
        if "@" in address and "/" not in address:
            return x509.RFC822Name(address)
        return x509.UniformResourceIdentifier(claims["sub"])

    def _scts(self, precertificate: x509.Certificate, now: datetime) -> bytes:
        """A list of one signed certificate timestamp. Source: RFC 6962 sections 3.2 and 3.3."""
        milliseconds = int(now.timestamp() * 1000)
        body = precertificate.tbs_certificate_bytes
        entry = sha256(public_key_info(self._intermediate_key)) + len(body).to_bytes(3, "big") + body
        signed = struct.pack("!BBQH", 0, 0, milliseconds, 1) + entry + struct.pack("!H", 0)
        if "bad-sct" in self.faults:
            signed += b"!"
        signature = self._ct.sign(signed, ec.ECDSA(hashes.SHA256()))
        sct = b"\x00" + sha256(public_key_info(self._ct)) + struct.pack("!QH", milliseconds, 0)
        sct += b"\x04\x03" + struct.pack("!H", len(signature)) + signature
        return struct.pack("!HH", len(sct) + 2, len(sct)) + sct

    # Rekor

    def add_entry_v1(self, body: bytes) -> dict[str, Any]:
        """hashedrekord and dsse, version 0.0.1: checked, logged, answered with promise and proof."""
        self._trip("rekor")
        proposed = json.loads(body)
        if proposed.get("apiVersion") != "0.0.1":
            raise RefusedRequestError("only version 0.0.1 is supported")
        match proposed:
            case {"kind": "hashedrekord", "spec": spec}:
                logged, keys = self._hashedrekord_v1(spec)
            case {"kind": "dsse", "spec": {"proposedContent": content}}:
                logged, keys = self._dsse_v1(content)
            case _:
                raise RefusedRequestError(f"entry kind {proposed.get('kind')!r} is not supported")
        canonical = rfc8785.dumps({"apiVersion": "0.0.1", "kind": proposed["kind"], "spec": logged})
        with self._lock:
            answer = self._integrate_v1(canonical)
            name = uuid.uuid4().hex
            self._entries[name] = answer
            for key in keys:
                self._hashes.setdefault(f"sha256:{key}", []).append(name)
        self._trip("rekor", "hangs-after-entry")
        return {name: answer}

    def _hashedrekord_v1(self, spec: Any) -> tuple[dict[str, Any], list[str]]:
        certificate, signature = spec["signature"]["publicKey"]["content"], spec["signature"]["content"]
        digest = spec["data"]["hash"]["value"]
        _check_signature(
            x509.load_pem_x509_certificate(base64.b64decode(certificate)),
            base64.b64decode(signature),
            bytes.fromhex(digest),
        )
        logged = {
            "signature": {"content": signature, "publicKey": {"content": certificate}},
            "data": {"hash": {"algorithm": "sha256", "value": digest}},
        }
        return logged, [digest]

    def _dsse_v1(self, content: Any) -> tuple[dict[str, Any], list[str]]:
        envelope, verifier = json.loads(content["envelope"]), content["verifiers"][0]
        payload, signature = base64.b64decode(envelope["payload"]), envelope["signatures"][0]["sig"]
        kind = envelope["payloadType"].encode()
        encoded = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
        certificate = x509.load_pem_x509_certificate(base64.b64decode(verifier))
        _check_signature(certificate, base64.b64decode(signature), sha256(encoded))
        hashed = {"payload": sha256(payload).hex(), "envelope": sha256(content["envelope"].encode()).hex()}
        logged = {
            "envelopeHash": {"algorithm": "sha256", "value": hashed["envelope"]},
            "payloadHash": {"algorithm": "sha256", "value": hashed["payload"]},
            "signatures": [{"signature": signature, "verifier": verifier}],
        }
        return logged, list(hashed.values())

    def _integrate_v1(self, canonical: bytes) -> dict[str, Any]:
        log = self.logs[1]
        index, when = log.append(canonical), int(time.time())
        proof = self._proof(log, index)
        promised: dict[str, Any] = {
            "body": _b64(canonical),
            "integratedTime": when + ("bad-set" in self.faults),
            "logID": self._rekor1_id.hex(),
            "logIndex": index,
        }
        return {
            **promised,
            "integratedTime": when,
            "verification": {
                "signedEntryTimestamp": _b64(self._rekor1.sign(rfc8785.dumps(promised), ec.ECDSA(hashes.SHA256()))),
                "inclusionProof": {
                    "checkpoint": self._checkpoint(
                        log, f"{self.host} - 1", self.host, self._rekor1_id, self._sign_p256
                    ),
                    "hashes": [item.hex() for item in proof],
                    "logIndex": index,
                    "rootHash": log.root().hex(),
                    "treeSize": len(log.bodies),
                },
            },
        }

    def add_entry_v2(self, body: bytes) -> dict[str, Any]:
        """hashedrekord, version 0.0.2: the answer is a TransparencyLogEntry; the log states no time."""
        self._trip("rekor")
        proposed = json.loads(body).get("hashedRekordRequestV002")
        if not proposed:
            raise RefusedRequestError("only hashedRekordRequestV002 is supported")
        signature = proposed["signature"]
        certificate = base64.b64decode(signature["verifier"]["x509Certificate"]["rawBytes"])
        _check_signature(
            x509.load_der_x509_certificate(certificate),
            base64.b64decode(signature["content"]),
            base64.b64decode(proposed["digest"]),
        )
        logged = {"data": {"algorithm": "SHA2_256", "digest": proposed["digest"]}, "signature": signature}
        canonical = rfc8785.dumps({"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {"hashedRekordV002": logged}})
        with self._lock:
            log, origin = self.logs[2], f"{self.host}/rekor2"
            index = log.append(canonical)
            checkpoint = self._checkpoint(log, origin, origin, self._rekor2_id, self._rekor2.sign)
            answer = {
                "logIndex": str(index),
                "logId": {"keyId": _b64(self._rekor2_id)},
                "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
                "canonicalizedBody": _b64(canonical),
                "inclusionProof": {
                    "logIndex": str(index),
                    "rootHash": _b64(log.root()),
                    "treeSize": str(len(log.bodies)),
                    "hashes": [_b64(item) for item in self._proof(log, index)],
                    "checkpoint": {"envelope": checkpoint},
                },
            }
        self._trip("rekor", "hangs-after-entry")
        return answer

    def search_index(self, body: bytes) -> list[str]:
        """Rekor v1's index: the entries that mention a hash."""
        return self._hashes.get(str(json.loads(body).get("hash", "")), [])

    def digests_logged(self, version: int | None = None) -> list[str]:
        """What the artifact entries of a log are about, in order: SHA-256 in hex. For tests that count entries."""
        found = []
        for body in self.logs[version or self.rekor].bodies:
            if not body.startswith(b"{"):
                continue
            match json.loads(body)["spec"]:
                case {"data": {"hash": {"value": digest}}} | {"payloadHash": {"value": digest}}:
                    found.append(digest)
                case {"hashedRekordV002": {"data": {"digest": digest}}}:
                    found.append(base64.b64decode(digest).hex())
        return found

    def _proof(self, log: MerkleLog, index: int) -> list[bytes]:
        path = log.proof(index)
        return [bytes(32), *path[1:]] if "bad-proof" in self.faults else path

    def _checkpoint(self, log: MerkleLog, origin: str, name: str, key_id: bytes, sign: Callable[[bytes], bytes]) -> str:
        note = f"{origin}\n{len(log.bodies)}\n{_b64(log.root())}\n"
        signature = sign(note.encode())
        if "bad-checkpoint" in self.faults:
            note = f"{origin}\n{len(log.bodies) + 1}\n{_b64(log.root())}\n"
        return f"{note}\n\u2014 {name} {_b64(key_id[:4] + signature)}\n"

    def _sign_p256(self, data: bytes) -> bytes:
        return self._rekor1.sign(data, ec.ECDSA(hashes.SHA256()))

    # Timestamp authority

    def timestamp(self, body: bytes) -> bytes:
        """An RFC 3161 response over the imprint of the request."""
        self._trip("tsa")
        ((_, request),) = der.members(body)
        fields = list(der.members(request))
        imprint = list(der.members(fields[1][1]))[1][1]
        nonces = [contents for tag, contents in fields[2:] if tag == der.INTEGER]
        wants_certificate = any(tag == der.BOOLEAN and contents != b"\x00" for tag, contents in fields[2:])
        sha256 = der.value(der.SEQUENCE, der.oid("2.16.840.1.101.3.4.2.1"), der.value(der.NULL))
        token_info = der.value(
            der.SEQUENCE,
            der.integer(1),
            der.oid("1.3.6.1.4.1.57264.2"),
            der.value(der.SEQUENCE, sha256, der.value(der.OCTETS, imprint)),
            der.integer(uuid.uuid4().int),
            der.value(der.TIME, datetime.now(UTC).strftime("%Y%m%d%H%M%SZ").encode()),
            *(der.value(der.INTEGER, nonce) for nonce in nonces),
        )
        certificate = self._tsa_leaf.public_bytes(serialization.Encoding.DER)
        attributes = b"".join(sorted(signed_attributes(token_info, certificate)))
        signature = self._tsa_key.sign(der.value(der.SET, attributes), ec.ECDSA(hashes.SHA256()))
        signer = der.value(
            der.SEQUENCE,
            der.integer(1),
            der.value(der.SEQUENCE, self._tsa_leaf.issuer.public_bytes(), der.integer(self._tsa_leaf.serial_number)),
            sha256,
            der.value(0xA0, attributes),
            der.value(der.SEQUENCE, der.oid("1.2.840.10045.4.3.2")),
            der.value(der.OCTETS, signature),
        )
        content = der.value(
            der.SEQUENCE,
            der.oid("1.2.840.113549.1.9.16.1.4"),
            der.value(0xA0, der.value(der.OCTETS, token_info)),
        )
        signed = der.value(
            der.SEQUENCE,
            der.integer(3),
            der.value(der.SET, sha256),
            content,
            der.value(0xA0, certificate) if wants_certificate else b"",
            der.value(der.SET, signer),
        )
        message = der.value(der.SEQUENCE, der.oid("1.2.840.113549.1.7.2"), der.value(0xA0, signed))
        return der.value(der.SEQUENCE, der.value(der.SEQUENCE, der.integer(0)), message)

    # Keys, certificates, faults

    def _make_keys(self) -> None:
        def key() -> ec.EllipticCurvePrivateKey:
            return ec.generate_private_key(ec.SECP256R1())

        self._oidc, self._ct, self._rekor1, self._tsa_key = key(), key(), key(), key()
        self._rekor2 = ed25519.Ed25519PrivateKey.generate()
        root_key, self._intermediate_key, tsa_root_key = key(), key(), key()
        self._root = self._ca("loopback root", root_key, root_key, None, 1)
        self._intermediate = self._ca("loopback intermediate", self._intermediate_key, root_key, self._root, 0)
        self._tsa_root = self._ca("loopback timestamp root", tsa_root_key, tsa_root_key, None, 0)
        self._tsa_leaf = (
            self._certificate("loopback timestamps", self._tsa_key, self._tsa_root)
            .add_extension(key_usage(signs=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
            .sign(tsa_root_key, hashes.SHA256())
        )

    def _certificate(self, name: str, key: Any, issuer: x509.Certificate | None) -> x509.CertificateBuilder:
        subject = x509.Name(
            [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "loopback"), x509.NameAttribute(NameOID.COMMON_NAME, name)]
        )
        builder = x509.CertificateBuilder(
            issuer_name=issuer.subject if issuer else subject,
            subject_name=subject,
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=self._born,
            not_valid_after=self._born + timedelta(days=3650),
        ).add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        return builder.add_extension(authority_key(issuer), critical=False) if issuer else builder

    def _ca(
        self, name: str, key: Any, signed_by: Any, issuer: x509.Certificate | None, path_length: int
    ) -> x509.Certificate:
        return (
            self._certificate(name, key, issuer)
            .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
            .add_extension(key_usage(signs=False), critical=True)
            .sign(signed_by, hashes.SHA256())
        )

    @property
    def _rekor1_id(self) -> bytes:
        return sha256(public_key_info(self._rekor1))

    @property
    def _rekor2_id(self) -> bytes:
        raw = self._rekor2.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return sha256(f"{self.host}/rekor2\n".encode() + b"\x01" + raw)

    def _log_instance(self, url: str, key: Any, log_id: bytes) -> dict[str, Any]:
        is_p256 = isinstance(key, ec.EllipticCurvePrivateKey)
        return {
            "baseUrl": url,
            "hashAlgorithm": "SHA2_256",
            "logId": {"keyId": _b64(log_id)},
            "publicKey": {
                "rawBytes": _b64(public_key_info(key)),
                "keyDetails": "PKIX_ECDSA_P256_SHA_256" if is_p256 else "PKIX_ED25519",
                "validFor": {"start": _rfc3339(self._born)},
            },
        }

    def _authority(self, url: str, *chain: x509.Certificate) -> dict[str, Any]:
        certificates = [{"rawBytes": _b64(item.public_bytes(serialization.Encoding.DER))} for item in chain]
        return {
            "subject": {"organization": "loopback", "commonName": "loopback"},
            "uri": url,
            "validFor": {"start": _rfc3339(self._born)},
            "certChain": {"certificates": certificates},
        }

    def _trip(self, service: str, fault: str = "") -> None:
        """Fail or hang here, if the fault is switched on."""
        unknown = self.faults - FAULTS
        if unknown:
            raise ValueError(f"no such fault: {sorted(unknown)}")
        if f"{service}-{fault or 'hangs'}" in self.faults:
            time.sleep(self.hang_seconds)
        if not fault and f"{service}-down" in self.faults:
            raise OutOfOrderError(f"{service} is out of order")
        if not fault and f"{service}-refuses" in self.faults:
            raise RefusedRequestError(f"{service} refuses", 403)

    # HTTP

    def answer(self, seen: Seen) -> tuple[int, bytes, str]:
        """Status, body and content type for one request."""
        self.requests.append(seen)
        try:
            return self._route(seen)
        except RefusedRequestError as refusal:
            return refusal.status, _problem(refusal.status, str(refusal)), "application/json"
        except OutOfOrderError as outage:
            return 503, _problem(503, str(outage)), "application/json"
        except (ValueError, KeyError, TypeError, IndexError) as error:
            return 400, _problem(400, f"{type(error).__name__}: {error}"), "application/json"

    def _route(self, seen: Seen) -> tuple[int, bytes, str]:
        entry = seen.path.removeprefix("/api/v1/log/entries/")
        match seen.method, seen.path:
            case "POST", "/api/v2/signingCert":
                token = seen.headers.get("authorization", "").removeprefix("Bearer ")
                return 200, _json(self.issue_certificate(token, seen.body)), "application/json"
            case "POST", "/api/v1/log/entries":
                return 201, _json(self.add_entry_v1(seen.body)), "application/json"
            case "POST", "/api/v1/index/retrieve":
                self._trip("rekor")
                return 200, _json(self.search_index(seen.body)), "application/json"
            case "POST", "/rekor2/api/v2/log/entries":
                return 201, _json(self.add_entry_v2(seen.body)), "application/json"
            case "POST", "/tsa":
                return 201, self.timestamp(seen.body), "application/timestamp-reply"
            case "GET" | "HEAD", "/.well-known/openid-configuration":
                return 200, _json(self._discovery()), "application/json"
            case "GET", "/jwks":
                return 200, _json(self._jwks()), "application/json"
            case "GET", _ if entry in self._entries:
                self._trip("rekor")
                return 200, _json({entry: self._entries[entry]}), "application/json"
            case _:
                return 404, _problem(404, "not found"), "application/json"


def _handler_of(services: LoopbackSigstore) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): text for name, text in self.headers.items()}
            status, answer, kind = services.answer(Seen(self.command, self.path, headers, body))
            try:
                self.send_response_only(status, HTTPStatus(status).phrase)
                self.send_header("Date", format_datetime(datetime.now(UTC) + services.date_skew, usegmt=True))
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer)
            except OSError:
                self.close_connection = True  # the client was killed meanwhile

        do_GET = do_POST = do_HEAD = _answer  # noqa: N815  the parent calls these

        def log_message(self, format: str, *_args: object) -> None:  # noqa: A002  the parent's name
            del format

    return Handler


def _check_signature(certificate: x509.Certificate, signature: bytes, digest: bytes) -> None:
    """As Rekor does: an entry whose signature does not hold is refused."""
    key = certificate.public_key()
    try:
        assert isinstance(key, ec.EllipticCurvePublicKey)
        key.verify(signature, digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
    except InvalidSignature as error:
        raise RefusedRequestError("verifying signature: invalid signature") from error


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _json(document: Any) -> bytes:
    return json.dumps(document).encode()


def _problem(status: int, message: str) -> bytes:
    return _json({"code": status, "message": message})


def _rfc3339(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def main() -> None:
    """Serve until stopped: configuration and a token in a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--subject", required=True)
    parser.add_argument("--rekor", type=int, choices=(1, 2), default=1)
    parser.add_argument("--port", type=int, default=0)
    wanted = parser.parse_args()
    with LoopbackSigstore(rekor=wanted.rekor, port=wanted.port) as sigstore:
        sigstore.write_config(wanted.folder)
        token = wanted.folder / "token"
        while True:
            draft = token.with_suffix(".draft")
            draft.touch(mode=0o600)
            draft.write_text(sigstore.token(wanted.subject))
            draft.rename(token)
            time.sleep(120)


if __name__ == "__main__":
    main()
