"""`manage.py repo`: what `leo repo govern` and `leo repo check` do, as the operator at the portal's machine.

The administrator's token comes from a file, LEO_GITHUB_ADMIN_TOKEN or a prompt, is used for this run, and is neither
stored nor shown.
"""

from __future__ import annotations

import getpass
import os
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from audit.coded import CodedError
from audit.names import named
from handoffs.forges.protocol import ForgeError
from handoffs.github.connection import Connection, Token
from handoffs.github.findings import ACCEPTABLE, broken
from handoffs.github.live import Bypass
from leoportal.governing import Ending, Governed, Wish, check, govern
from leoportal.trying_out import try_out

TOKEN: Final = "LEO_GITHUB_ADMIN_TOKEN"  # noqa: S105 - the name of a variable
KINDS: Final = {"team": "Team", "app": "Integration", "user": "User"}
EXITS: Final = {
    Ending.ENFORCED: 0, Ending.OBSERVED: 0, Ending.TRIAL: 0, Ending.OPEN: 1, Ending.UNPROVEN: 1, Ending.INCIDENT: 5,
}  # fmt: skip
UNREACHABLE: Final = frozenset({"github.unreachable", "github.unavailable", "github.rate_limited"})


class Command(BaseCommand):
    """Govern a repository on GitHub, or look at one."""

    help = "Put a repository on GitHub under the portal and prove that its gates block; or look at its rules."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """One sub-command for each act."""
        acts = parser.add_subparsers(dest="act", required=True)
        govern_ = acts.add_parser("govern", help="Apps, rules, onboarding check, canary; safe to repeat")
        govern_.add_argument("--branch", default="main", help="the protected branch")
        govern_.add_argument("--observe", action="store_true", help="observe mode: everything but blocking")
        govern_.add_argument("--trial", action="store_true", help="one token, no Apps: not separated, blocks nothing")
        govern_.add_argument("--builders", default="", help="who may push to staging/*: team:ID, app:ID or user:ID")
        govern_.add_argument(
            "--break-glass-team", type=int, default=0, metavar="ID", help="the one team that may bypass"
        )
        govern_.add_argument("--listed-app", type=int, action="append", default=[], metavar="ID")
        govern_.add_argument(
            "--linear", action="store_true", help="squash and linear history in place of merge commits"
        )
        govern_.add_argument("--queue", action="store_true", help="a merge queue in place of strict checks")
        govern_.add_argument("--accept", action="append", default=[], choices=sorted(ACCEPTABLE), metavar="CODE")
        govern_.add_argument("--installations", default="", metavar="ENFORCER,GATE", help="on a person's account")
        look = acts.add_parser("check", help="the onboarding check with an administrator's eyes")
        for act in (govern_, look):
            act.add_argument("full_name", metavar="OWNER/NAME")
            act.add_argument("--token-file", type=Path, help=f"an administrator's token; else {TOKEN}, else a prompt")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Do one act; what it refuses is said with its code."""
        connection = Connection(settings.GITHUB_API_URL, Token(self._token(options)), seconds=settings.GITHUB_SECONDS)
        try:
            getattr(self, f"_{options['act']}")(options, connection)
        except CodedError as error:
            code = 4 if isinstance(error, ForgeError) and error.code in UNREACHABLE else 1
            raise CommandError(f"[{error.code}] {named(error.detail)}", returncode=code) from None
        finally:
            connection.close()

    def _govern(self, options: dict[str, Any], connection: Connection) -> None:
        if options["trial"]:
            self._end(options["full_name"], try_out(options["full_name"], options["branch"], connection, say=self._say))
            return
        wish = Wish(
            options["full_name"],
            branch=options["branch"],
            is_observed=options["observe"],
            builders=_builders(options["builders"]),
            break_glass=options["break_glass_team"],
            listed=tuple(options["listed_app"]),
            is_linear=options["linear"],
            has_queue=options["queue"],
            accepted=tuple(options["accept"]),
            installations=_installations(options["installations"]),
        )
        self._end(wish.full_name, govern(wish, connection, say=self._say, pause=lambda: time.sleep(1)))

    def _end(self, full_name: str, done: Governed) -> None:
        self._say(f"{done.ending}{f'. Next: {done.next_step}' if done.next_step else ''}")
        if EXITS[done.ending]:
            raise CommandError(f"{full_name} is {done.ending}, not enforced", returncode=EXITS[done.ending])

    def _check(self, options: dict[str, Any], connection: Connection) -> None:
        findings = check(options["full_name"], connection, say=self._say)
        if wrong := broken(findings):
            raise CommandError(f"{len(wrong)} points do not hold", returncode=1)

    def _token(self, options: dict[str, Any]) -> str:
        path: Path | None = options["token_file"]
        try:
            token = path.read_text() if path else os.environ.get(TOKEN) or getpass.getpass("Administrator's token: ")
        except OSError as error:
            raise CommandError(f"the token's file cannot be read: {error.strerror}", returncode=2) from None
        if not (token := token.strip()):
            raise CommandError(f"no token was given: --token-file, {TOKEN} or the prompt", returncode=2)
        return token

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


def _builders(text: str) -> Bypass | None:
    if not text:
        return None
    kind, _, number = text.partition(":")
    if kind not in KINDS or not number.isdecimal():
        raise CommandError(f"got the builders {text[:60]!r}, expected team:ID, app:ID or user:ID", returncode=2)
    return Bypass(KINDS[kind], int(number))


def _installations(text: str) -> tuple[int, int] | None:
    """The two numbers at the end of the addresses at which GitHub shows what is installed."""
    if not text:
        return None
    numbers = [int(part) for part in text.split(",") if part.isdecimal()]
    if len(numbers) != 2 or len(set(numbers)) != 2:
        raise CommandError(f"got {text[:60]!r}, expected two different numbers: ENFORCER,GATE", returncode=2)
    return numbers[0], numbers[1]
