"""The log's own processes and acts: sequence, sign, check, open an epoch, set the quorum, anchor."""

from __future__ import annotations

import signal
import time
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import InterfaceError, OperationalError, connection

from audit import epochs
from audit.covering import raise_alarm
from audit.events import AuditError
from audit.keeping import cosign_newest, origin_now, read_key, signer_from_settings
from audit.sequencing import BATCH, integrate_log, refuse_lost
from leoportal.anchors import anchor
from leoportal.setup import OPERATOR
from verdicts.comparing import check_everything

TICK_SECONDS: Final = 0.1  # from one beginning to the next
REST_SECONDS: Final = 0.01
LOOK_SECONDS: Final = 1.0
ANCHOR_SECONDS: Final = 3600.0


class Command(BaseCommand):
    """`manage.py log ACT`."""

    help = "The log: `sequence` and `sign` run until they are stopped; `check` looks at everything once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """One word for each act."""
        acts = parser.add_subparsers(dest="act", required=True)
        acts.add_parser("sequence", help="give committed entries their place, until stopped")
        acts.add_parser("sign", help="sign what was placed, ask the witnesses and anchor; until stopped")
        acts.add_parser("check", help="compute the whole log again and compare; exit code 1 if something is wrong")
        acts.add_parser("anchor", help="put the newest checkpoint into git now")
        quorum = acts.add_parser("quorum", help="how many witnesses have to sign before anything is published")
        quorum.add_argument("witnesses", type=int)
        epoch = acts.add_parser("epoch", help="go on under a new name after a restore; two operators answer for it")
        epoch.add_argument("--operator", action="append", required=True, help="twice: who answers for it")
        epoch.add_argument("--reason", required=True)
        epoch.add_argument("--last", default="", help="file with the last checkpoint that outsiders have")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Raises: CommandError with a code."""
        try:
            match options["act"]:
                case "sequence":
                    self._until_stopped(Sequencer())
                case "sign":
                    self._until_stopped(Signer())
                case "check":
                    self._check()
                case "anchor":
                    self.stdout.write(anchor(settings.LOG_ANCHOR) or "nothing new to anchor")
                case "quorum":
                    epochs.set_quorum(options["witnesses"], by=OPERATOR)
                case "epoch":
                    opened = epochs.open_epoch(
                        options["operator"],
                        reason=options["reason"],
                        last=Path(options["last"]).read_bytes() if options["last"] else b"",
                        name=read_key(settings.LOG_KEY_FILE).name,
                        by=OPERATOR,
                    )
                    self.stdout.write(f"the log goes on as {opened.origin}")
        except AuditError as error:
            raise CommandError(f"{error.detail} ({error.code})") from None

    def _check(self) -> None:
        found = check_everything()
        for finding in found:
            self.stdout.write(f"{finding.code}: {finding.detail}")
        if found:
            raise CommandError(f"{len(found)} findings: the log is not what it was. See docs/trail.md.")
        self.stdout.write("the log is whole")

    def _until_stopped(self, work: Callable[[], None]) -> None:
        """Do the work over and over; what is wrong with the log becomes an alarm, a database away is waited for."""
        stopped: list[int] = []
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda got, _frame: stopped.append(got))
        while not stopped:
            began = time.monotonic()
            try:
                work()
            except AuditError as error:
                if raise_alarm(error.code, error.detail):
                    self.stderr.write(f"ALARM {error.code}: {error.detail}")
            except (OperationalError, InterfaceError) as error:
                self.stderr.write(f"the database is away: {str(error).splitlines()[0]}")
                connection.close()
                time.sleep(LOOK_SECONDS)
            time.sleep(max(TICK_SECONDS - (time.monotonic() - began), REST_SECONDS))


class Sequencer:
    """Integrate, and look for leaves that were taken away."""

    def __init__(self) -> None:
        self._looked = 0.0

    def __call__(self) -> None:
        """One tick."""
        while integrate_log() == BATCH:
            pass
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked = time.monotonic()
            refuse_lost()


class Signer:
    """Sign, ask the witnesses, anchor each hour. The whole log is computed again by a task each night."""

    def __init__(self) -> None:
        self._looked = self._anchored = time.monotonic()
        self._signer = signer_from_settings()

    def __call__(self) -> None:
        """One tick. The log is compared with the signer's own file each time: one that was set back is noticed."""
        if self._signer.key.name != origin_now():
            self._signer = signer_from_settings()
        if self._signer.sign() is not None or self._is_due("_looked", LOOK_SECONDS):
            self._signer.look()
            cosign_newest()
        if self._is_due("_anchored", ANCHOR_SECONDS):
            anchor(settings.LOG_ANCHOR)

    def _is_due(self, name: str, seconds: float) -> bool:
        now = time.monotonic()
        if now - getattr(self, name) < seconds:
            return False
        setattr(self, name, now)
        return True
