"""Apps as a test makes, installs and removes them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from tests.support.github import show
from tests.support.github.accounts import Account, App, Installation
from tests.support.github.hooks import Hook
from tests.support.github.repositories import Repository
from tests.support.github.state import State


class Apps(State):
    """The part of GitHub that knows Apps."""

    def create_app(
        self,
        slug: str,
        permissions: Mapping[str, str],
        *,
        events: tuple[str, ...] | list[str] = (),
        webhook_url: str = "",
        webhook_secret: str = "",
        owner: Account | None = None,
        id: int | None = None,  # noqa: A002 - GitHub's own word for it
    ) -> App:
        app = App(
            self.itself, id or self.new_id(), slug, slug, owner or self.itself.account("ghost"), self.itself.account(f"{slug}[bot]", "Bot"),
            dict(permissions), list(events), self.clock.now(), webhook_url, webhook_secret,
            client_id=f"Iv23{secrets.token_hex(8)}", client_secret=secrets.token_hex(20), keys=[self.new_key()],
        )  # fmt: skip
        self.apps.append(app)
        return app

    def install(self, app: App, *where: Repository, on: Account | None = None) -> Installation:
        """On some repositories of one account (all of `on` when none is named); adds to an installation there."""
        account = on or where[0].owner
        with self.lock:
            for one in self.installations:
                if one.app is app and one.account is account:
                    added = [each for each in where if not one.covers(each)]
                    if one.repositories is not None and added:
                        one.repositories += added
                        self.tell_repositories(one, added, [])
                    return one
            one = Installation(
                self.itself, self.new_id(), app, account, dict(app.permissions), list(where) or None, self.clock.now()
            )
            self.installations.append(one)
            shown = [summary(each) for each in self.covered(one)]
            self.notify.installation(one, "created", app.owner, repositories=shown)
            return one

    def covered(self, installation: Installation) -> list[Repository]:
        return [one for one in self.repositories if installation.covers(one)]

    def remove_from(self, installation: Installation, *which: Repository) -> None:
        with self.lock:
            installation.repositories = [one for one in self.covered(installation) if one not in which]
            self.tell_repositories(installation, [], list(which))

    def tell_repositories(self, installation: Installation, added: list[Repository], gone: list[Repository]) -> None:
        self.notify.installation(
            installation, "added" if added else "removed", installation.app.owner,
            repository_selection="all" if installation.repositories is None else "selected",
            repositories_added=[summary(one) for one in added], repositories_removed=[summary(one) for one in gone],
            requester=None,
        )  # fmt: skip

    def accept_permissions(self, installation: Installation) -> None:
        """The account's owner agrees to what the App asks for by now."""
        with self.lock:
            installation.permissions = dict(installation.app.permissions)
            self.notify.installation(installation, "new_permissions_accepted", installation.app.owner)

    def uninstall(self, installation: Installation) -> None:
        with self.lock:
            shown = [summary(one) for one in self.covered(installation)]
            self.installations.remove(installation)
            self.notify.installation(
                installation, "deleted", installation.app.owner, repositories=shown, requester=None
            )

    def suspend(self, installation: Installation) -> None:
        with self.lock:
            installation.suspended_at = self.clock.now()
            self.notify.installation(installation, "suspend", installation.app.owner)

    def add_hook(self, repository: Repository, url: str, *, secret: str = "", events: list[str] | None = None) -> Hook:
        hook = Hook(repository, self.new_id(), url, secret, events or ["*"], self.clock.now())
        repository.hooks.append(hook)
        return hook


def summary(one: Repository) -> dict[str, Any]:
    """A repository as events of installations carry it."""
    return {
        "id": one.id, "node_id": show.node("Repository", one.id), "name": one.name, "full_name": one.full_name,
        "private": one.private,
    }  # fmt: skip
