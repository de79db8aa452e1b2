"""GitHub Actions' identity tokens: which run of which workflow at which commit is speaking.

Source: OpenID Connect Core 1.0 section 3.1.3.7; RFC 7517 (JWKS); GitHub, "OpenID Connect reference".
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

import jwt
import requests
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from audit.canonical import JsonError, parse_json
from audit.coded import CodedError

MAX_TOKEN_BYTES: Final = 16 << 10
MAX_KEYS_BYTES: Final = 256 << 10
KEEP_SECONDS: Final = 3600.0
AGAIN_SECONDS: Final = 60.0  # so that made-up key ids do not make the portal ask all the time
LEEWAY_SECONDS: Final = 30
MIN_RSA_BITS: Final = 2048
KEYS_PATH: Final = "/.well-known/jwks"


class OidcError(CodedError):
    """A token that proves nothing here. `code` is stable."""


@dataclass(frozen=True)
class Run:
    """Who speaks: one attempt of one run of a workflow's file. Shape: `workflow` is the file's path."""

    repository_id: int
    full_name: str
    workflow: str
    ref: str
    head_sha: str
    run_id: int
    run_attempt: int
    event_name: str


type Number = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,17}$", strict=True)]


class _Claims(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    repository_id: Number
    repository: Annotated[str, Field(max_length=200, pattern=r"^[\w.-]+/[\w.-]+$", strict=True)]
    workflow_ref: Annotated[str, Field(max_length=600, strict=True)]
    job_workflow_ref: Annotated[str, Field(max_length=600, strict=True)]
    sha: Annotated[str, Field(pattern=r"^(?:[0-9a-f]{40}|[0-9a-f]{64})$", strict=True)]
    run_id: Number
    run_attempt: Number
    event_name: Annotated[str, Field(max_length=60, strict=True)]


def fetch_keys(issuer: str, *, seconds: float) -> bytes:
    """The issuer's key set as it serves it. No redirect is followed.

    Raises: OidcError("oidc.keys").
    """
    try:
        with requests.get(f"{issuer}{KEYS_PATH}", timeout=seconds, allow_redirects=False, stream=True) as answer:
            if answer.status_code != 200:
                raise OidcError("oidc.keys", f"{issuer} answered {answer.status_code}, expected its keys")
            raw = answer.raw.read(MAX_KEYS_BYTES + 1, decode_content=True)
    except requests.RequestException as error:
        raise OidcError("oidc.keys", f"{issuer} gives no keys: {type(error).__name__}") from None
    if len(raw) > MAX_KEYS_BYTES:
        raise OidcError("oidc.keys", f"{issuer} gives more than {MAX_KEYS_BYTES} bytes of keys")
    return bytes(raw)


class IssuerKeys:
    """The keys of one issuer, kept for an hour; an unknown key id makes it look again, at most once a minute."""

    def __init__(self, issuer: str, fetch: Callable[[str], bytes], clock: Callable[[], float] = time.monotonic) -> None:
        self.issuer = issuer
        self._fetch, self._clock = fetch, clock
        self._lock = threading.Lock()
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._asked_at = float("-inf")
        self._read_at = float("-inf")

    def find(self, key_id: str) -> jwt.PyJWK:
        """The key of that id.

        Raises: OidcError("oidc.unknown_key"), OidcError("oidc.keys").
        """
        with self._lock:
            now = self._clock()
            is_old = now - self._read_at > KEEP_SECONDS
            if (is_old or key_id not in self._keys) and now - self._asked_at > AGAIN_SECONDS:
                self._asked_at = now
                self._keys = _read_keys(self._fetch(self.issuer))
                self._read_at = now
            if self._clock() - self._read_at > KEEP_SECONDS:
                raise OidcError("oidc.keys", f"{self.issuer} gives no keys; they are asked for again in a minute")
            if key_id not in self._keys:
                raise OidcError("oidc.unknown_key", f"got key {key_id[:80]!r}, which {self.issuer} does not have")
            return self._keys[key_id]


def _read_keys(raw: bytes) -> dict[str, jwt.PyJWK]:
    """The keys that can have signed such a token: RSA, long enough, for signatures. Others are passed over."""
    try:
        document = parse_json(raw, max_bytes=MAX_KEYS_BYTES)
    except JsonError as error:
        raise OidcError("oidc.keys", f"the issuer's keys: {error.detail}") from None
    listed = document.get("keys") if isinstance(document, dict) else None
    found: dict[str, jwt.PyJWK] = {}
    for entry in listed if isinstance(listed, list) else []:
        if not isinstance(entry, dict) or entry.get("kty") != "RSA" or entry.get("use", "sig") != "sig":
            continue
        key_id = entry.get("kid")
        try:
            key = jwt.PyJWK(entry, algorithm="RS256")
        except (jwt.PyJWTError, ValueError):
            continue
        if isinstance(key_id, str) and key.key.key_size >= MIN_RSA_BITS:
            found[key_id] = key
    return found


def verify_token(token: str, keys: IssuerKeys, *, audience: str) -> Run:
    """Which run a token speaks for, once its signature, issuer, audience and times are right.

    Raises: OidcError with oidc.token, oidc.keys, oidc.unknown_key, oidc.signature, oidc.issuer, oidc.audience,
    oidc.expired, oidc.time, oidc.claims; workflow_ref.mismatch where the job is not of the
    workflow's own file on a branch.
    Not checked: whether the repository is governed and the commit the head of a pull request.
    """
    claims = _verified_claims(token, keys, audience)
    try:
        said = _Claims.model_validate(claims)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise OidcError("oidc.claims", f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    workflow, ref = _workflow(said)
    return Run(
        repository_id=int(said.repository_id),
        full_name=said.repository,
        workflow=workflow,
        ref=ref,
        head_sha=said.sha,
        run_id=int(said.run_id),
        run_attempt=int(said.run_attempt),
        event_name=said.event_name,
    )


def _verified_claims(token: str, keys: IssuerKeys, audience: str) -> dict[str, Any]:
    if len(token) > MAX_TOKEN_BYTES:
        raise OidcError("oidc.token", f"got {len(token)} characters, expected at most {MAX_TOKEN_BYTES}")
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError:
        raise OidcError("oidc.token", "got no signed token, expected GitHub's identity token for the job") from None
    if header.get("alg") != "RS256" or not isinstance(header.get("kid"), str):
        raise OidcError("oidc.token", f"got algorithm {str(header.get('alg'))[:20]!r}, expected RS256 and a key id")
    key = keys.find(header["kid"])
    must = ["iss", "aud", "exp", "nbf", "iat"]
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=["RS256"],
            audience=audience,
            issuer=keys.issuer,
            leeway=LEEWAY_SECONDS,
            options={"require": must},
        )
    except jwt.PyJWTError as error:
        raise _translated(error, audience) from None
    if claims["aud"] != audience:  # the library takes a list that holds it, too
        raise OidcError("oidc.audience", f"got several audiences, expected {audience} alone")
    return claims


def _translated(error: jwt.PyJWTError, audience: str) -> OidcError:
    match error:
        case jwt.ExpiredSignatureError():
            return OidcError("oidc.expired", "got an expired token; ask for a new one in the job")
        case jwt.ImmatureSignatureError():
            return OidcError("oidc.time", "got a token from the future; a clock is wrong")
        case jwt.InvalidAudienceError():
            return OidcError("oidc.audience", f"got another audience, expected {audience}")
        case jwt.InvalidIssuerError():
            return OidcError("oidc.issuer", "got another issuer than this portal's GitHub")
        case jwt.MissingRequiredClaimError():
            return OidcError("oidc.claims", f"got no {error.claim}")
        case jwt.InvalidSignatureError():
            return OidcError("oidc.signature", "the signature is not the issuer's")
        case _:
            return OidcError("oidc.token", "the token cannot be read")


def _workflow(said: _Claims) -> tuple[str, str]:
    """Path of the workflow's file and the branch it ran on; the job is one of that file itself."""
    before = f"{said.repository}/"
    path, at, ref = said.workflow_ref.removeprefix(before).partition("@")
    is_own = said.workflow_ref.startswith(before) and path.startswith(".github/workflows/") and ".." not in path
    if not (is_own and at and ref.startswith("refs/heads/")):
        expected = f"a workflow of {said.repository} on one of its branches"
        raise OidcError("workflow_ref.mismatch", f"got {said.workflow_ref[:200]!r}, expected {expected}")
    if said.job_workflow_ref != said.workflow_ref:
        detail = f"got a job of {said.job_workflow_ref[:200]!r}, expected one of {said.workflow_ref[:200]!r}"
        raise OidcError("workflow_ref.mismatch", detail)
    return path, ref
