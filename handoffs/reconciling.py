"""Bringing the portal up to date with GitHub: the copy of the repository on disk."""

from __future__ import annotations

import logging

from audit.events import Actor
from handoffs.hosting import github_forge
from handoffs.models import GitHubRepository

log = logging.getLogger(__name__)


def reconcile_repository(hosted: GitHubRepository, *, by: Actor) -> None:
    """Look at one repository.

    Raises: ForgeError; what was done before it stays done.
    """
    log.debug("%s looks at %s", by.role, hosted)
    github_forge(hosted.repository).refresh()
