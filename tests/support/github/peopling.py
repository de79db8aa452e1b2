"""Users, organisations, repositories and tokens as a test makes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.support.github import show
from tests.support.github.accounts import Account, Actor, App, Team, Token
from tests.support.github.plumbing import Git
from tests.support.github.repositories import Repository
from tests.support.github.smart_http import install_hooks
from tests.support.github.state import State


class People(State):
    """The part of GitHub that knows people and what is theirs."""

    def account(self, login: str, kind: str = "User") -> Account:
        """The account of that login, which is made when it is not there."""
        for one in self.accounts:
            if one.login.lower() == login.lower():
                return one
        one = Account(self.itself, self.new_id(), login, kind)
        self.accounts.append(one)
        return one

    def create_user(self, login: str) -> Account:
        return self.account(login)

    def create_organization(self, login: str, *, owners: tuple[Account, ...] = ()) -> Account:
        """Shape: `owners` its administrators; `organization.members[user.id] = "member"` adds a plain one."""
        one = self.account(login, "Organization")
        one.members |= {each.id: "admin" for each in owners}
        return one

    def create_team(self, organization: Account, slug: str, *members: Account) -> Team:
        """Some of an organisation's people; they are members of it then."""
        team = Team(self.new_id(), slug, {one.id for one in members})
        organization.members = {one.id: "member" for one in members} | organization.members
        organization.teams.append(team)
        return team

    def keep_token(self, token: Token) -> Token:
        self.tokens[token.value] = token
        return token

    def expire_tokens(self, app: App | None = None) -> None:
        """Every installation token that was ever given out, of one App or of all, is dead now."""
        for token in self.tokens.values():
            if token.installation and app in {None, token.installation.app}:
                token.expires_at = self.clock.now()

    # --- repositories ---

    def create_repository(
        self,
        full_name: str,
        seed: Mapping[str, str | bytes] | Path | str | None = None,
        *,
        private: bool = True,
        default_branch: str = "main",
        parent: Repository | None = None,
    ) -> Repository:
        """Shape: `seed` files of a first commit, or a git repository to copy; None: empty. The owner is an
        organisation unless a user of that login is there.
        """
        login, name = full_name.split("/")
        owner = self.account(login, "Organization")
        number = self.new_id()
        path = self.folder / "repositories" / f"{number}.git"
        path.parent.mkdir(parents=True, exist_ok=True)
        git = Git(path)
        path.mkdir()
        git.run("init", "-q", "--bare", "-b", default_branch, "--template=")
        source = parent.git.path if parent else seed if isinstance(seed, Path | str) else None
        if source is not None:
            git.run("fetch", "-q", str(source), "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
        install_hooks(git, self.folder)
        one = Repository(self.itself, number, owner, name, git, self.clock.now(), private, default_branch, parent)
        self.repositories.append(one)
        if isinstance(seed, Mapping):
            with self.lock:
                who = one.person(self.ghost)
                tree = git.write_tree(
                    "", {each: text.encode() if isinstance(text, str) else text for each, text in seed.items()}
                )
                git.update_ref(f"refs/heads/{default_branch}", git.write_commit(tree, [], "Initial commit", who, who))
        return one

    def fork(self, repository: Repository, owner: Account, name: str = "") -> Repository:
        return self.create_repository(
            f"{owner.login}/{name or repository.name}",
            parent=repository, private=repository.private, default_branch=repository.default_branch,
        )  # fmt: skip

    def forks_of(self, repository: Repository) -> list[Repository]:
        return [one for one in self.repositories if one.parent is repository]

    def find_repository(self, full_name: str) -> tuple[Repository | None, bool]:
        """The repository of a name, and whether that is an old name of it."""
        wanted = full_name.lower()
        for one in self.repositories:
            if one.full_name.lower() == wanted:
                return one, False
        return self.former_names.get(wanted), True

    def rename(self, repository: Repository, name: str, by: Account) -> None:
        with self.lock:
            self.former_names[repository.full_name.lower()] = repository
            earlier, repository.name = repository.name, name
            self.notify.repository(repository, "renamed", by, {"repository": {"name": {"from": earlier}}})

    def transfer(self, repository: Repository, owner: Account, by: Account) -> None:
        with self.lock:
            self.former_names[repository.full_name.lower()] = repository
            earlier, repository.owner = repository.owner, owner
            kind = "organization" if earlier.type == "Organization" else "user"
            shown = show.organization(earlier) if kind == "organization" else show.user(earlier)
            self.notify.repository(repository, "transferred", by, {"owner": {"from": {kind: shown}}})

    def actor(self, value: str) -> Actor:
        """Who a token is."""
        return Actor(token=self.tokens[value])
