"""Who is calling: JWTs are really verified, tokens really expire."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

import jwt
from jwt.types import Options

from tests.support.github.accounts import Actor, App, is_at_least
from tests.support.github.exchange import Refusal, not_found
from tests.support.github.repositories import Repository
from tests.support.github.routing import Route

if TYPE_CHECKING:
    from tests.support.github.world import GitHub

# "Your JWT must not be valid for more than ten minutes"; 60 s of drift are allowed for.
LONGEST_JWT = 600
DRIFT = 60
# The times are judged below, by the stand-in's clock and in GitHub's words.
SIGNATURE_ONLY: Options = {"verify_exp": False, "verify_iat": False, "verify_nbf": False, "verify_aud": False}


def authenticate(github: GitHub, header: str) -> Actor:
    """Raises: Refusal 401 for anything that is presented and does not hold."""
    if not header:
        return Actor()
    scheme, _, value = header.partition(" ")
    value = value.strip()
    if scheme.lower() == "basic":
        try:
            value = base64.b64decode(value).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            raise Refusal(401, "Bad credentials") from None
    if value.count(".") == 2:
        return Actor(app=verify_jwt(github, value))
    token = github.tokens.get(value)
    if token is None or token.is_revoked or (token.expires_at and token.expires_at <= github.clock.now()):
        raise Refusal(401, "Bad credentials")
    if token.installation:
        if token.installation not in github.installations:
            raise Refusal(401, "Bad credentials")
        if token.installation.suspended_at:
            raise Refusal(403, "This installation has been suspended")
    return Actor(token=token)


def verify_jwt(github: GitHub, value: str) -> App:
    unread = Refusal(401, "A JSON web token could not be decoded")
    try:
        claims = jwt.decode(value, options={"verify_signature": False}, algorithms=["RS256"])
        if jwt.get_unverified_header(value).get("alg") != "RS256":
            raise unread
    except jwt.PyJWTError:
        raise unread from None
    issuer = str(claims.get("iss", ""))
    app = next((one for one in github.apps if issuer in {str(one.id), one.client_id}), None)
    if app is None:
        raise Refusal(404, "Integration not found")
    for key in app.keys:
        try:
            jwt.decode(value, key.public_key(), algorithms=["RS256"], options=SIGNATURE_ONLY)
            break
        except jwt.InvalidSignatureError:
            continue
    else:
        raise unread
    now, exp, iat = github.clock.now().timestamp(), claims.get("exp"), claims.get("iat")
    if not isinstance(exp, int | float):
        raise Refusal(401, "Missing 'exp' claim in assertion")
    if not isinstance(iat, int | float):
        raise Refusal(401, "Missing 'iat' claim in assertion")
    if exp <= now:
        raise Refusal(
            401,
            "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires",
        )
    if exp > now + LONGEST_JWT + DRIFT:
        raise Refusal(401, "'Expiration time' claim ('exp') is too far in the future")
    if iat > now + DRIFT:
        raise Refusal(
            401, "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued"
        )
    return app


def authorize(route: Route, actor: Actor, repository: Repository | None) -> None:
    """Raises: Refusal 401, 403 or 404, as GitHub chooses between them."""
    if route.jwt:
        if actor.app is None:
            raise Refusal(401, "A JSON web token could not be decoded")
        return
    if actor.app is not None and actor.token is None:
        raise Refusal(401, "Bad credentials")
    if route.app_only and actor.installation is None:
        if repository and not actor.sees(repository):
            raise not_found()
        raise Refusal(403, "You must authenticate via a GitHub App.")
    if repository is None:
        return
    if not actor.sees(repository):
        raise not_found()
    permit(actor, repository, route.needs, route.role)


def permit(actor: Actor, repository: Repository, needs: tuple[str, ...], role: str) -> None:
    """Whether the actor holds one of the permissions, or, being a user, the role."""
    if actor.token is None:
        if role != "pull" or repository.private or any(need.endswith(":write") for need in needs):
            raise Refusal(401, "Requires authentication")
        return
    if actor.installation or actor.token.permissions is not None:
        kind = "integration" if actor.installation else "personal access token"
        readable = not repository.private and all(need.endswith(":read") for need in needs) and role == "pull"
        if needs and not readable and not any(actor.may(repository, need) for need in needs):
            accepted = "; ".join(need.replace(":", "=") for need in needs)
            raise Refusal(403, f"Resource not accessible by {kind}", X_Accepted_GitHub_Permissions=accepted)
    if actor.user:
        held = repository.role_of(actor.user) or ("" if repository.private else "pull")
        if not is_at_least(held, role):
            word = "admin rights to" if role == "admin" else f"{role} access to"
            raise Refusal(403, f"Must have {word} Repository.")
