"""Which GitHub, with whose key: connections and forges of governed repositories, built from settings.

A process has the key of its own lane's App, or none. Without one everything is read from the mirror on disk.
"""

from __future__ import annotations

import functools
from enum import StrEnum
from pathlib import Path

from django.conf import settings

from handoffs.circuits import circuit_of
from handoffs.forges.protocol import ForgeError
from handoffs.github.connection import App, Connection, Installation, Token
from handoffs.github.forge import GitHub
from handoffs.models import GitHubRepository, Repository


class Side(StrEnum):
    """The two Apps: one lane each, so that the enforcer cannot publish PLAN's check."""

    ENFORCER = "enforcer"
    GATE = "gate"


def github_forge(repository: Repository) -> GitHub:
    """The forge of a repository on GitHub. It writes in the enforcer's own worker only."""
    hosted = GitHubRepository.objects.get(repository=repository)
    try:
        connection = connect(hosted, Side.ENFORCER)
    except ForgeError as error:
        if error.code != "github.no_key":
            raise
        connection = None
    git_url = f"{settings.GITHUB_URL}/{hosted.full_name}.git"
    return GitHub(Path(repository.path), full_name=hosted.full_name, git_url=git_url, connection=connection)


def connect(hosted: GitHubRepository, side: Side) -> Connection:
    """The connection of one App where this repository is, kept for this process.

    Raises: ForgeError("github.no_key") where this process is not that lane's worker; ("github.plain_http").
    """
    enforcer = side is Side.ENFORCER
    if not hosted.is_separated:
        if not settings.GITHUB_TOKEN:
            raise ForgeError("github.no_key", f"{hosted} was enrolled with a token, and GITHUB_TOKEN is not set here")
        return _connection(settings.GITHUB_API_URL, Token(settings.GITHUB_TOKEN), settings.GITHUB_SECONDS)
    number = settings.GITHUB_ENFORCER_APP_ID if enforcer else settings.GITHUB_GATE_APP_ID
    key = settings.GITHUB_ENFORCER_KEY if enforcer else settings.GITHUB_GATE_KEY
    if not (number and key):
        raise ForgeError("github.no_key", f"this process has no key of leo-{side}; only that lane's worker has it")
    installation = hosted.enforcer_installation if enforcer else hosted.gate_installation
    identity = Installation(App(number, key), installation)
    return _connection(settings.GITHUB_API_URL, identity, settings.GITHUB_SECONDS)


@functools.lru_cache(maxsize=64)
def _connection(api_url: str, identity: Installation | Token, seconds: float) -> Connection:
    return Connection(api_url, identity, seconds=seconds, breaker=circuit_of(api_url))
