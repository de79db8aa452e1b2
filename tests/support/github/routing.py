"""Which endpoint answers an address, and what its caller needs for it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from tests.support.github.exchange import Endpoint

# Parts of an address that may hold slashes, percent-encoded or not.
WITH_SLASHES = {"ref": ".+", "branch": ".+", "basehead": ".+", "path": ".*"}


@dataclass(frozen=True)
class Route:
    """`needs`: an installation's permission, any one of them; `role`: a user's role in the repository.

    ``needs`` empty: anyone who sees the repository. ``jwt``: only an App by its JWT. ``app``: only an installation.
    """

    method: str
    template: str
    pattern: re.Pattern[str]
    endpoint: Endpoint
    needs: tuple[str, ...]
    role: str
    jwt: bool
    app_only: bool


ROUTES: list[Route] = []


def role_for(needs: tuple[str, ...]) -> str:
    if any(need.startswith(("administration:", "repository_hooks:", "secrets:")) for need in needs):
        return "admin"
    return "push" if needs and all(need.endswith(":write") for need in needs) else "pull"


def route(
    method: str, template: str, *needs: str, role: str = "", jwt: bool = False, app_only: bool = False
) -> Callable[[Endpoint], Endpoint]:
    """Declare the endpoint of an operation of GitHub's description."""

    def declare(endpoint: Endpoint) -> Endpoint:
        parts = re.split(r"\{(\w+)\}", template)
        text = "".join(
            re.escape(part) if place % 2 == 0 else f"(?P<{part}>{WITH_SLASHES.get(part, '[^/]+')})"
            for place, part in enumerate(parts)
        )
        assert not any((one.method, one.template) == (method, template) for one in ROUTES), f"{method} {template} twice"
        ROUTES.append(
            Route(method, template, re.compile(text), endpoint, needs, role or role_for(needs), jwt, app_only)
        )
        # What has more literal text is looked at first: branches/{branch}/protection before branches/{branch}.
        ROUTES.sort(key=lambda one: (-len(re.sub(r"\{\w+\}", "", one.template)), one.template))
        return endpoint

    return declare


def find(method: str, path: str) -> tuple[Route, dict[str, str]] | None:
    path += "/" if path.endswith("/contents") else ""
    for one in ROUTES:
        if one.method == method and (match := one.pattern.fullmatch(path)):
            return one, {name: unquote(value) for name, value in match.groupdict().items()}
    return None
