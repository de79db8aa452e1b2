"""One piece of work with sigstore-python, as a process of its own: sign, verify, or search the log.

A process, because the library has no time limit on Fulcio and Rekor and takes a second to import: the portal starts
one, gives it a deadline and kills it. It reads its work as JSON from standard input and answers in JSON lines: first
the stages it reached, last the result or the error. It ends when whoever started it ends. The identity token is read
from its file here, sent to Fulcio and nowhere else, and never written.

Not checked by the library and therefore here: duplicate keys, the bundle's media type, that the certificate names
exactly one identity, of the kind URI, the DSSE payload type and the payload, the clock.
Source: Sigstore bundle v0.3; sigstore-python 4.5; supply-chain facts section 3.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import sys
import threading
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin

import requests
from cryptography import x509
from sigstore.dsse import Statement
from sigstore.errors import VerificationError
from sigstore.hashes import Hashed
from sigstore.models import Bundle, ClientTrustConfig, InvalidBundle
from sigstore.oidc import ExpiredIdentity, IdentityError, IdentityToken
from sigstore.sign import SigningContext
from sigstore.verify import Verifier, policy
from sigstore_models.common.v1 import HashAlgorithm

from audit.canonical import JsonError, parse_json, write_json
from handoffs.signatures.library_process import end_with_parent

BUNDLE_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
MAX_SKEW_SECONDS: Final = 120
MAX_FILE_BYTES: Final = 1 << 20
MAX_TOKEN_BYTES: Final = 16_384
MAX_ENTRIES: Final = 20
TIMEOUT: Final = (5, 10)


class ClientError(Exception):
    """Work that ended without a result. Kinds: unavailable (try again later), refused (a person has to look), skew."""

    def __init__(self, kind: str, code: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.code = code
        self.detail = detail


def sign(work: Mapping[str, Any]) -> dict[str, Any]:
    """An artifact signature, and one of a statement if there is one, verified before they are given out.

    Services are asked whether they are there before anything is signed: what fails after that may be in the log.
    """
    config, root_digest = _read_config(work)
    _ask_services(config)
    token = _read_token(work)
    with SigningContext.from_trust_config(config).signer(token) as signer:
        _tell({"stage": "logging"})
        digest = bytes.fromhex(work["digest"])
        artifact = signer.sign_artifact(Hashed(algorithm=HashAlgorithm.SHA2_256, digest=digest)).to_json()
        _tell({"stage": "logged"})
        statement = ""
        if work["statement"]:
            statement = signer.sign_dsse(Statement(base64.b64decode(work["statement"]))).to_json()
    checked = _check(config, {**work, "artifact_bundle": artifact, "statement_bundle": statement})
    return {"artifact_bundle": artifact, "statement_bundle": statement, "root_digest": root_digest, **checked}


def verify(work: Mapping[str, Any]) -> dict[str, Any]:
    """Check bundles that are already there, without the network."""
    config, root_digest = _read_config(work)
    return {"root_digest": root_digest, **_check(config, work)}


def search(work: Mapping[str, Any]) -> dict[str, Any]:
    """The indexes of a Rekor v1 log's entries about some digests, by our identity and not before a time.

    Shape: `indexes` is None when the log has no index to ask (Rekor v2).
    """
    services = _parse_file(work["trust_config"])["signingConfig"]["rekorTlogUrls"]
    if max(service["majorApiVersion"] for service in services) > 1:
        return {"indexes": None}
    url = str(services[0]["url"]).rstrip("/")
    found: set[int] = set()
    for digest in work["digests"]:
        answer = requests.post(
            f"{url}/api/v1/index/retrieve", json={"hash": f"sha256:{digest}"}, timeout=TIMEOUT, allow_redirects=False
        )
        answer.raise_for_status()
        for name in answer.json()[:MAX_ENTRIES]:
            entry = requests.get(f"{url}/api/v1/log/entries/{int(name, 16):0{len(name)}x}", timeout=TIMEOUT)
            entry.raise_for_status()
            (body,) = entry.json().values()
            if body["integratedTime"] >= work["since"] and _is_ours(body["body"], work["identity"]):
                found.add(int(body["logIndex"]))
    return {"indexes": sorted(found)}


def _check(config: ClientTrustConfig, work: Mapping[str, Any]) -> dict[str, Any]:
    verifier = Verifier(trusted_root=config.trusted_root)
    pinned = policy.Identity(identity=work["identity"], issuer=work["issuer"])
    artifact, index = _open_bundle(work["artifact_bundle"], work["identity"])
    digest = Hashed(algorithm=HashAlgorithm.SHA2_256, digest=bytes.fromhex(work["digest"]))
    verifier.verify_artifact(digest, artifact, pinned)
    answer: dict[str, Any] = {"log_index": index, "statement_log_index": None, "payload": "", "envelope": ""}
    if work["statement_bundle"]:
        statement, answer["statement_log_index"] = _open_bundle(work["statement_bundle"], work["identity"])
        kind, payload = verifier.verify_dsse(statement, pinned)
        if kind != PAYLOAD_TYPE:
            raise ClientError("refused", "signing.payload_type", f"got {kind!r:.80}, expected {PAYLOAD_TYPE}")
        expected = base64.b64decode(work["statement"] or "")
        if expected and payload != expected:
            raise ClientError("refused", "signing.statement", "the signed statement is not the one that was meant")
        envelope = json.loads(work["statement_bundle"])["dsseEnvelope"]
        answer["payload"] = base64.b64encode(payload).decode()
        answer["envelope"] = base64.b64encode(write_json(envelope)).decode()
    return answer


def _open_bundle(text: str, identity: str) -> tuple[Bundle, int]:
    """A bundle whose certificate names exactly one identity, as a URI, and its index in the log by its proof."""
    document = parse_json(text.encode())
    match document:
        case {
            "mediaType": str(kind),
            "verificationMaterial": {"tlogEntries": [{"inclusionProof": {"logIndex": str(index)}}]},
        } if kind == BUNDLE_TYPE:
            bundle = Bundle.from_json(text)
        case _:
            raise ClientError("refused", "signing.bundle", f"expected one log entry in a {BUNDLE_TYPE}")
    names = _names(bundle.signing_certificate)
    if names != [identity]:
        raise ClientError("refused", "signing.identity", f"got {names!r:.300}, expected exactly the URI {identity}")
    return bundle, int(index)


def _names(certificate: x509.Certificate) -> list[str]:
    """The names a certificate is for; one that is no URI is shown with its kind, and so equals no identity."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [
        name.value if isinstance(name, x509.UniformResourceIdentifier) else f"{type(name).__name__} {name.value}"
        for name in names
    ]


def _is_ours(body: str, identity: str) -> bool:
    """Whether a Rekor v1 entry carries a certificate for our identity."""
    match json.loads(base64.b64decode(body)):
        case {"spec": {"signature": {"publicKey": {"content": str(content)}}}}:
            pass
        case {"spec": {"signatures": [{"verifier": str(content)}]}}:
            pass
        case _:
            return False
    try:
        return _names(x509.load_pem_x509_certificate(base64.b64decode(content))) == [identity]
    except (ValueError, x509.ExtensionNotFound, binascii.Error):
        return False


def _read_config(work: Mapping[str, Any]) -> tuple[ClientTrustConfig, str]:
    """The trust configuration, and the SHA-256 of its trusted root in canonical JSON, which must be a pinned one."""
    document = _parse_file(work["trust_config"])
    digest = hashlib.sha256(write_json(document["trustedRoot"])).hexdigest()
    pins = work["root_digests"]
    if pins and digest not in pins:
        raise ClientError("refused", "signing.root", f"got the trusted root {digest}, expected one of {pins}")
    return ClientTrustConfig.from_json(json.dumps(document)), digest


def _parse_file(path: str) -> Any:
    try:
        document = parse_json(_read_small(path, MAX_FILE_BYTES))
    except (OSError, JsonError) as error:
        raise ClientError("refused", "signing.config", f"SIGSTORE_TRUST_CONFIG: {error}") from None
    if not isinstance(document, dict) or not {"trustedRoot", "signingConfig"} <= document.keys():
        raise ClientError("refused", "signing.config", "SIGSTORE_TRUST_CONFIG holds no client trust configuration")
    return document


def _read_token(work: Mapping[str, Any]) -> IdentityToken:
    """The identity token as it is now: whoever rotates it writes the file anew. Its issuer must be the pinned one."""
    try:
        raw = _read_small(work["token_file"], MAX_TOKEN_BYTES).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        detail = f"SIGSTORE_IDENTITY_TOKEN_FILE cannot be read: {type(error).__name__}"
        raise ClientError("refused", "signing.token", detail) from None
    try:
        token = IdentityToken(raw)
    except IdentityError as error:
        raise ClientError("refused", "signing.token", f"{error}; is whatever rotates the file alive?") from None
    if token.federated_issuer != work["issuer"]:
        detail = f"the token is by {token.federated_issuer!r:.200}, the policy pins {work['issuer']}"
        raise ClientError("refused", "signing.issuer", detail)
    if "@" in token.identity and "/" not in token.identity:
        raise ClientError("refused", "signing.email", "the token names an e-mail address, and the log is public")
    return token


def _read_small(path: str, limit: int) -> bytes:
    with Path(path).open("rb") as file:
        raw = file.read(limit + 1)
    if len(raw) > limit:
        raise OSError(f"more than {limit} bytes")
    return raw


def _ask_services(config: ClientTrustConfig) -> None:
    """Fulcio answers and agrees about the time, and every timestamp authority stamps."""
    fulcio = config.signing_config.get_fulcio().url
    answer = requests.get(urljoin(fulcio, "/api/v2/configuration"), timeout=TIMEOUT, allow_redirects=False)
    if answer.status_code >= 500:
        raise ClientError("unavailable", "signing.fulcio_down", f"Fulcio answers HTTP {answer.status_code}")
    date = answer.headers.get("Date")
    skew = abs(parsedate_to_datetime(date).timestamp() - time.time()) if date else 0.0
    if skew > MAX_SKEW_SECONDS:
        raise ClientError("skew", "clock.skew", f"this clock and Fulcio's differ by {skew:.0f} s")
    for authority in config.signing_config.get_tsas():
        authority.request_timestamp(b"is anybody there")


def _describe(error: Exception) -> ClientError:
    """Which kind of end an error is. The library leaves out why it was refused: the HTTP status is in its cause."""
    if isinstance(error, ClientError):
        return error
    name = type(error).__name__
    services = {"FulcioClientError": "fulcio", "RekorClientError": "rekor", "TimestampError": "tsa"}
    service = services.get(name, "sigstore")
    cause: BaseException | None = error
    while cause is not None:
        response = getattr(cause, "response", None)
        if response is not None:
            status = int(response.status_code)
            if status >= 500 or status == 429:
                return ClientError("unavailable", f"signing.{service}_down", f"{service} answers HTTP {status}")
            return ClientError("refused", f"signing.{service}_refused", f"{service} answers HTTP {status}")
        if isinstance(cause, requests.ConnectionError | requests.Timeout | ConnectionError | TimeoutError):
            return ClientError("unavailable", "signing.network", type(cause).__name__)
        cause = cause.__cause__ or cause.__context__
    if name == "TimestampError":
        return ClientError("unavailable", "signing.tsa_down", str(error)[:300])
    if isinstance(error, ExpiredIdentity):
        return ClientError("refused", "signing.token", "the identity token has expired")
    if isinstance(error, VerificationError | InvalidBundle):
        return ClientError("refused", "signing.verification", str(error).partition(" hashes=")[0][:300])
    return ClientError("refused", "signing.answer", f"{name}: {error}"[:300])


def _tell(document: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


WORK: Final[Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]]] = {
    "sign": sign,
    "verify": verify,
    "search": search,
}


def main() -> None:
    """Do one piece of work."""
    threading.Thread(target=end_with_parent, args=(int(sys.argv[1]),), daemon=True).start()
    work = json.loads(sys.stdin.buffer.read())
    try:
        _tell({"result": WORK[work["do"]](work)})
    except Exception as error:  # noqa: BLE001  the library raises what its parsers raise; every end is an answer
        found = _describe(error)
        _tell({"error": {"kind": found.kind, "code": found.code, "detail": found.detail}})


if __name__ == "__main__":
    main()
