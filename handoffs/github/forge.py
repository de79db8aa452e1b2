"""The GitHub forge: reads from the mirror, writes through git and the API.

Source: GitHub REST API, "Pulls".
"""

from __future__ import annotations

from pathlib import Path

from handoffs.forges.bare import BareReads
from handoffs.forges.protocol import ForgeError, NewPull
from handoffs.github.connection import Connection
from handoffs.github.mirror import Mirror
from handoffs.github.pulls import with_block


class GitHub(BareReads):
    """One repository on GitHub. Implements `handoffs.forges.protocol.Forge`.

    `connection` is None in the processes that hold no key: they read the mirror as it was last brought up to date, and
    every write is refused.
    """

    def __init__(self, path: Path, *, full_name: str, git_url: str, connection: Connection | None) -> None:
        self.full_name = full_name
        self._connection = connection
        self._mirror = Mirror(path, git_url, self._token)
        self._mirror.make()
        super().__init__(path)

    @property
    def connection(self) -> Connection:
        """The connection of this process's App.

        Raises: ForgeError("github.no_key").
        """
        if self._connection is None:
            raise ForgeError("github.no_key", "this process holds no key of an App; the lane's own worker does this")
        return self._connection

    def refresh(self) -> None:
        """Fetch every branch."""
        self._mirror.fetch()

    def refresh_only(self, *names: str) -> None:
        """Fetch these branches, a `*` at an end stands for several, and leave all others as they are."""
        self._mirror.fetch(*names)

    def tags(self) -> tuple[str, ...]:
        """The names of the tags on GitHub, which are no part of the copy."""
        return self._mirror.remote_tags()

    def update_branch(self, name: str, *, old: str, new: str) -> None:
        """Move a branch by a push that GitHub's rules judge; doing it again is no error."""
        self._mirror.push(name, old=old, new=new)

    def open_pull(self, wanted: NewPull) -> int:
        """The branch's open pull request, found again before it is made again."""
        if number := self._open_pull(wanted):
            return number
        remote, body = self.connection.repository(self.full_name), with_block("", wanted.body)
        try:
            with self.connection.talking():
                return int(remote.create_pull(base=wanted.base, head=wanted.head, title=wanted.title, body=body).number)
        except ForgeError as error:
            # Made meanwhile, perhaps by ourselves in a try whose answer was lost.
            if error.code == "github.refused" and (number := self._open_pull(wanted)):
                return number
            raise

    def _open_pull(self, wanted: NewPull) -> int:
        remote = self.connection.repository(self.full_name)
        with self.connection.talking():
            head = f"{self.full_name.partition('/')[0]}:{wanted.head}"
            for pull in remote.get_pulls(state="open", head=head, base=wanted.base):
                return int(pull.number)
        return 0

    def _token(self) -> str:
        return self.connection.token()
