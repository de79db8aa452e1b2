"""The issuer of workflow identities: its configuration, its keys, and tokens a test asks for."""

from __future__ import annotations

import base64
import uuid
from typing import TYPE_CHECKING, Any

import jwt

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import rsa

    from tests.support.github.runs import WorkflowRun
    from tests.support.github.world import GitHub

KID = "stand-in"


def number(value: int) -> str:
    return base64.urlsafe_b64encode(value.to_bytes((value.bit_length() + 7) // 8)).rstrip(b"=").decode()


class Issuer:
    """As token.actions.githubusercontent.com, at ``{url}/oidc``."""

    def __init__(self, github: GitHub, key: rsa.RSAPrivateKey) -> None:
        self.github, self.key = github, key

    @property
    def url(self) -> str:
        return f"{self.github.url}/oidc"

    def configuration(self) -> dict[str, Any]:
        return {
            "issuer": self.url, "jwks_uri": f"{self.url}/.well-known/jwks", "subject_types_supported": ["public", "pairwise"],
            "response_types_supported": ["id_token"], "id_token_signing_alg_values_supported": ["RS256"],
            "scopes_supported": ["openid"],
            "claims_supported": ["sub", "aud", "exp", "iat", "iss", "jti", "nbf", "ref", "sha", "repository"],
        }  # fmt: skip

    def keys(self) -> dict[str, Any]:
        numbers = self.key.public_key().public_numbers()
        one = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": KID, "n": number(numbers.n), "e": number(numbers.e)}
        return {"keys": [one]}

    def token_for(self, run: WorkflowRun, audience: str, **claims: Any) -> str:
        home, now = run.repository, int(self.github.clock.now().timestamp())
        base, head = (run.pull.base, run.pull.head) if run.pull else ("", "")
        said = {
            "jti": str(uuid.uuid4()), "sub": subject(run), "aud": audience, "ref": run.ref, "sha": run.head_sha,
            "repository": home.full_name, "repository_owner": home.owner.login, "repository_owner_id": str(home.owner.id),
            "run_id": str(run.id), "run_number": str(run.number), "run_attempt": str(run.attempt),
            "repository_visibility": "private" if home.private else "public", "repository_id": str(home.id),
            "actor_id": str(run.actor.id), "actor": run.actor.login, "workflow": run.workflow.name, "head_ref": head,
            "base_ref": base, "event_name": run.event, "ref_protected": "false", "ref_type": "branch",
            "workflow_ref": run.workflow_ref, "workflow_sha": run.head_sha, "job_workflow_ref": run.workflow_ref,
            "job_workflow_sha": run.head_sha, "runner_environment": "github-hosted", "iss": self.url, "nbf": now - 300,
            "exp": now + 300, "iat": now,
        }  # fmt: skip
        return jwt.encode(said | claims, self.key, algorithm="RS256", headers={"kid": KID, "typ": "JWT"})


def subject(run: WorkflowRun) -> str:
    name = run.repository.full_name
    return f"repo:{name}:pull_request" if run.pull else f"repo:{name}:ref:{run.ref}"
