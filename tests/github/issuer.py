"""An issuer of identity tokens as GitHub Actions has one: keys, claims, tokens."""

from __future__ import annotations

import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

ISSUER = "https://token.actions.example"
AUDIENCE = "https://portal.example"
HEAD = "a" * 40
WORKFLOW_REF = "acme/payments/.github/workflows/leo-slsa.yml@refs/heads/feature/net"
CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "aud": AUDIENCE,
    "sub": "repo:acme/payments:ref:refs/heads/feature/net",
    "repository": "acme/payments",
    "repository_id": "4711",
    "ref": "refs/heads/feature/net",
    "workflow_ref": WORKFLOW_REF,
    "job_workflow_ref": WORKFLOW_REF,
    "sha": HEAD,
    "run_id": "600",
    "run_attempt": "1",
    "event_name": "workflow_dispatch",
    "actor": "octo-ada",
}


class Issuer:
    """One RSA key, published as a key set."""

    def __init__(self, name: str = "key-1", bits: int = 2048) -> None:
        self.name = name
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
        self.asked = 0

    def jwk(self) -> dict[str, Any]:
        public: dict[str, Any] = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        return public | {"kid": self.name, "use": "sig", "alg": "RS256"}

    def fetch(self, _issuer: str) -> bytes:
        self.asked += 1
        return json.dumps({"keys": [self.jwk()]}).encode()

    def token(self, *, header: dict[str, Any] | None = None, key: Any = None, algorithm: str = "RS256", **claims: Any):
        """A token of these claims; None leaves one out."""
        now = int(time.time())
        whole = {"iat": now, "nbf": now - 5, "exp": now + 300} | CLAIMS | claims
        said = {name: value for name, value in whole.items() if value is not None}
        return jwt.encode(said, key or self.key, algorithm=algorithm, headers={"kid": self.name} | (header or {}))
