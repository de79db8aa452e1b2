"""Users, organisations, Apps, their installations and tokens: who may call, and as whom."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

if TYPE_CHECKING:
    from tests.support.github.repositories import Repository
    from tests.support.github.world import GitHub

LEVELS = {"": 0, "none": 0, "read": 1, "write": 2, "admin": 3}
ROLES = ("pull", "triage", "push", "maintain", "admin")
GITHUB_ACTIONS = 15368
# What a repository permission includes without saying so.
ALWAYS = {"metadata": "read"}


@dataclass(eq=False)
class Team:
    """Some members of an organisation. Shape: `members` ids of users."""

    id: int
    slug: str
    members: set[int]


@dataclass(eq=False)
class Account:
    """A user, an organisation or an App's bot. Numeric ids never change, logins may."""

    github: GitHub
    id: int
    login: str
    type: str = "User"
    members: dict[int, str] = field(default_factory=dict)
    teams: list[Team] = field(default_factory=list)
    site_admin: bool = False

    def token(self, *, permissions: dict[str, str] | None = None, scopes: str = "repo, workflow") -> str:
        """A personal access token: classic, or fine-grained when `permissions` are given."""
        return self.github.keep_token(Token(user=self, permissions=permissions, scopes=scopes)).value


@dataclass(eq=False)
class App:
    """A GitHub App. `permissions` are what it asks for; an installation has those at the time it was made."""

    github: GitHub
    id: int
    slug: str
    name: str
    owner: Account
    bot: Account
    permissions: dict[str, str]
    events: list[str]
    created_at: datetime
    webhook_url: str = ""
    webhook_secret: str = ""
    client_id: str = ""
    client_secret: str = ""
    external_url: str = "https://portal.example"
    keys: list[rsa.RSAPrivateKey] = field(default_factory=list)

    def private_key(self) -> str:
        """Its newest key as PEM, as GitHub hands it out (PKCS#1)."""
        return (
            self.keys[-1]
            .private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
            .decode()
        )


@dataclass(eq=False)
class Installation:
    """An App where it is installed: on an account, for all its repositories or some."""

    github: GitHub
    id: int
    app: App
    account: Account
    permissions: dict[str, str]
    repositories: list[Repository] | None
    created_at: datetime
    suspended_at: datetime | None = None

    def covers(self, repository: Repository) -> bool:
        if repository.owner is not self.account:
            return False
        return self.repositories is None or repository in self.repositories

    def token(self, **narrowed: object) -> str:
        """A token as POST access_tokens gives it, without the request."""
        return self.github.keep_token(self.new_token(**narrowed)).value  # type: ignore[arg-type]

    def new_token(
        self, *, permissions: dict[str, str] | None = None, repositories: list[Repository] | None = None
    ) -> Token:
        return Token(
            value=f"ghs_{secrets.token_hex(18)}",
            installation=self,
            permissions=dict(self.permissions if permissions is None else permissions),
            repositories=self.repositories if repositories is None else repositories,
            expires_at=self.github.clock.now() + timedelta(hours=1),
        )


@dataclass(eq=False)
class Token:
    """A bearer of rights. Shape: `repositories` None: all that its owner reaches."""

    value: str = field(default_factory=lambda: f"ghp_{secrets.token_hex(18)}")
    user: Account | None = None
    installation: Installation | None = None
    permissions: dict[str, str] | None = None
    repositories: list[Repository] | None = None
    expires_at: datetime | None = None
    scopes: str = ""
    is_revoked: bool = False


@dataclass(frozen=True)
class Actor:
    """Who makes a call: nobody, an App by JWT, an installation's token, or a user's."""

    app: App | None = None
    token: Token | None = None

    @property
    def installation(self) -> Installation | None:
        return self.token.installation if self.token else None

    @property
    def user(self) -> Account | None:
        return self.token.user if self.token else None

    @property
    def account(self) -> Account | None:
        """In whose name it acts: the sender of events."""
        return self.installation.app.bot if self.installation else self.user

    @property
    def acting_app(self) -> App | None:
        return self.installation.app if self.installation else self.app

    @property
    def name(self) -> str:
        if self.account:
            return self.account.login
        return f"app/{self.app.slug}" if self.app else "anonymous"

    def may(self, repository: Repository, need: str) -> bool:
        """Whether an installation, or a fine-grained token, holds a permission like ``checks:write``."""
        assert self.token is not None
        name, _, level = need.partition(":")
        held = ALWAYS | (self.token.permissions or {})
        return LEVELS[held.get(name, "")] >= LEVELS[level] and self.reaches(repository)

    def reaches(self, repository: Repository) -> bool:
        if self.installation:
            listed = self.token.repositories if self.token else None
            return self.installation.covers(repository) and (listed is None or repository in listed)
        return bool(self.user and (repository.role_of(self.user) or not repository.private))

    def sees(self, repository: Repository) -> bool:
        return not repository.private or self.reaches(repository)


def is_at_least(role: str, wanted: str) -> bool:
    return role in ROLES and ROLES.index(role) >= ROLES.index(wanted)
