"""GitHub Actions' identity tokens: one form, one issuer, one audience, one key set; everything else proves nothing."""

from __future__ import annotations

import base64
import hmac
import http.server
import json
import threading
import time
from collections.abc import Iterator

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from handoffs.github.oidc import IssuerKeys, OidcError, Run, fetch_keys, verify_token
from tests.github.issuer import AUDIENCE, CLAIMS, HEAD, ISSUER, WORKFLOW_REF, Issuer


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(scope="module")
def stranger() -> Issuer:
    return Issuer()


def verify(issuer: Issuer, token: str) -> Run:
    return verify_token(token, IssuerKeys(ISSUER, issuer.fetch), audience=AUDIENCE)


def refused(issuer: Issuer, token: str) -> str:
    with pytest.raises(OidcError) as error:
        verify(issuer, token)
    return error.value.code


def test_a_token_says_which_run_of_which_file_at_which_commit_speaks(issuer: Issuer):
    assert verify(issuer, issuer.token()) == Run(
        repository_id=4711,
        full_name="acme/payments",
        workflow=".github/workflows/leo-slsa.yml",
        ref="refs/heads/feature/net",
        head_sha=HEAD,
        run_id=600,
        run_attempt=1,
        event_name="workflow_dispatch",
    )


NOW = int(time.time())


@pytest.mark.threat("GATE-13")
@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"iss": "https://token.actions.example.evil"}, "oidc.issuer"),
        ({"iss": ISSUER + "/"}, "oidc.issuer"),
        ({"aud": "https://other.example"}, "oidc.audience"),
        ({"aud": AUDIENCE + "/"}, "oidc.audience"),
        ({"aud": [AUDIENCE, "https://other.example"]}, "oidc.audience"),
        ({"aud": [AUDIENCE]}, "oidc.audience"),
        ({"exp": NOW - 600}, "oidc.expired"),
        ({"nbf": NOW + 6000, "exp": NOW + 9000}, "oidc.time"),
        ({"iat": NOW + 6000}, "oidc.time"),
        *(({name: None}, "oidc.claims") for name in ("exp", "nbf", "iat", "repository_id", "repository", "sha")),
        *(({name: None}, "oidc.claims") for name in ("run_id", "run_attempt", "event_name", "workflow_ref")),
        ({"aud": None}, "oidc.claims"),
        ({"iss": None}, "oidc.claims"),
        ({"job_workflow_ref": None}, "oidc.claims"),
        ({"repository_id": 4711}, "oidc.claims"),
        ({"repository_id": "4711x"}, "oidc.claims"),
        ({"run_id": "0600"}, "oidc.claims"),
        ({"sha": "A" * 40}, "oidc.claims"),
        ({"sha": "main"}, "oidc.claims"),
        (dict.fromkeys(("workflow_ref", "job_workflow_ref"), "acme/payments/.github/workflows/evil.yml@refs/pull/1/merge"), "workflow_ref.mismatch"),
        (dict.fromkeys(("workflow_ref", "job_workflow_ref"), "acme/payments/.github/workflows/leo-slsa.yml@refs/tags/v1"), "workflow_ref.mismatch"),
        (dict.fromkeys(("workflow_ref", "job_workflow_ref"), "acme/other/.github/workflows/leo-slsa.yml@refs/heads/main"), "workflow_ref.mismatch"),
        (dict.fromkeys(("workflow_ref", "job_workflow_ref"), "acme/payments/.github/workflows/../../leo-slsa.yml@refs/heads/main"), "workflow_ref.mismatch"),
        (dict.fromkeys(("workflow_ref", "job_workflow_ref"), "acme/payments/leo-slsa.yml@refs/heads/main"), "workflow_ref.mismatch"),
        (dict.fromkeys(("workflow_ref", "job_workflow_ref"), WORKFLOW_REF.partition("@")[0]), "workflow_ref.mismatch"),
        ({"job_workflow_ref": "evil/actions/.github/workflows/leo-slsa.yml@refs/heads/main"}, "workflow_ref.mismatch"),
    ],
)  # fmt: skip
def test_a_token_that_says_something_else_is_refused(issuer: Issuer, claims, code: str):
    assert refused(issuer, issuer.token(**claims)) == code


def unsigned(header: dict, claims: dict, signature: bytes = b"") -> str:
    parts = [json.dumps(header).encode(), json.dumps(claims).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


@pytest.mark.threat("GATE-13")
def test_a_token_that_the_issuer_did_not_sign_is_refused(issuer: Issuer, stranger: Issuer):
    assert refused(issuer, stranger.token()) == "oidc.signature"
    head, claims, signature = issuer.token().split(".")
    assert refused(issuer, f"{head}.{issuer.token(sha='b' * 40).split('.')[1]}.{signature}") == "oidc.signature"
    assert refused(issuer, f"{head}.{claims}.") == "oidc.signature"
    whole = CLAIMS | {"iat": NOW, "nbf": NOW, "exp": NOW + 600}
    assert refused(issuer, unsigned({"alg": "none", "kid": "key-1"}, whole)) == "oidc.token"
    public = issuer.key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.PKCS1)
    confused = unsigned({"alg": "HS256", "kid": "key-1"}, whole).removesuffix(".")
    mac = hmac.digest(public, confused.encode(), "sha256")
    assert refused(issuer, f"{confused}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}") == "oidc.token"
    assert refused(issuer, issuer.token(algorithm="RS512")) == "oidc.token"
    assert refused(issuer, issuer.token(header={"kid": "key-2"})) == "oidc.unknown_key"
    assert refused(issuer, unsigned({"alg": "RS256"}, whole, b"x")) == "oidc.token"
    assert refused(issuer, "not a token") == "oidc.token"
    assert refused(issuer, issuer.token(padding="x" * 20_000)) == "oidc.token"
    # What the token itself names as its key, or where to get it, is not looked at.
    own = {"jwk": stranger.jwk(), "jku": "https://evil.example/jwks", "x5u": "https://evil.example"}
    assert refused(issuer, stranger.token(header=own)) == "oidc.signature"


def keys_of(*entries: object) -> bytes:
    return json.dumps({"keys": list(entries)}).encode()


@pytest.mark.parametrize(
    "change",
    [
        {"kty": "EC"},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"use": "enc"},
        {"kid": 7},
        {"n": "!!"},
        {"d": "AQAB"},
        {"e": None},
    ],
)
def test_a_key_that_is_not_for_such_signatures_is_passed_over(issuer: Issuer, change):
    keys = IssuerKeys(ISSUER, lambda _: keys_of(issuer.jwk() | change, "nonsense", 7))
    with pytest.raises(OidcError, match=r"oidc\.unknown_key"):
        verify_token(issuer.token(), keys, audience=AUDIENCE)


def test_a_short_key_is_passed_over():
    weak = Issuer(bits=1024)
    with pytest.warns(jwt.warnings.InsecureKeyLengthWarning):
        token = weak.token()
    assert refused(weak, token) == "oidc.unknown_key"


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"keys": {}}', b'{"keys": [], "keys": []}'])
def test_a_key_set_of_another_form_gives_no_keys(issuer: Issuer, raw: bytes):
    with pytest.raises(OidcError, match=r"oidc\.(keys|unknown_key)"):
        verify_token(issuer.token(), IssuerKeys(ISSUER, lambda _: raw), audience=AUDIENCE)


def test_keys_are_kept_for_an_hour_and_a_made_up_one_makes_the_portal_ask_once_a_minute(issuer: Issuer):
    now = [1000.0]
    issuer.asked = 0
    keys = IssuerKeys(ISSUER, issuer.fetch, clock=lambda: now[0])
    for _ in range(5):
        verify_token(issuer.token(), keys, audience=AUDIENCE)
    assert issuer.asked == 1
    for second in range(120):
        now[0] = 1100.0 + second
        with pytest.raises(OidcError, match=r"oidc\.unknown_key"):
            keys.find("made-up")
    assert issuer.asked == 3
    now[0] = 10_000.0
    verify_token(issuer.token(), keys, audience=AUDIENCE)
    assert issuer.asked == 4


def test_old_keys_are_not_believed_while_the_issuer_is_away(issuer: Issuer):
    now, is_away = [1000.0], [False]

    def fetch(name: str) -> bytes:
        if is_away[0]:
            raise OidcError("oidc.keys", "away")
        return issuer.fetch(name)

    keys = IssuerKeys(ISSUER, fetch, clock=lambda: now[0])
    keys.find("key-1")
    now[0], is_away[0] = 1000.0 + 3599, True
    keys.find("key-1")
    for later in (3601, 3602, 3700):
        now[0] = 1000.0 + later
        with pytest.raises(OidcError, match=r"oidc\.keys"):
            keys.find("key-1")


@pytest.fixture
def served(issuer: Issuer) -> Iterator[tuple[str, dict[str, tuple[int, bytes]]]]:
    """A real HTTP server with an answer for each path."""
    answers: dict[str, tuple[int, bytes]] = {"/.well-known/jwks": (200, issuer.fetch(""))}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers.get(self.path, (404, b""))
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", answers
        server.shutdown()
        thread.join()


def test_keys_come_from_the_issuers_own_address_and_from_nowhere_it_sends_one_to(served, issuer: Issuer):
    address, answers = served
    keys = IssuerKeys(address, lambda name: fetch_keys(name, seconds=5))
    assert verify_token(issuer.token(iss=address), keys, audience=AUDIENCE).run_id == 600
    answers["/elsewhere"] = answers["/.well-known/jwks"]
    for wrong in ((302, b""), (500, b""), (200, b"x" * (300 << 10))):
        answers["/.well-known/jwks"] = wrong
        with pytest.raises(OidcError, match=r"oidc\.keys"):
            fetch_keys(address, seconds=5)
    with pytest.raises(OidcError, match=r"oidc\.keys"):
        fetch_keys("http://127.0.0.1:1", seconds=5)
