"""The log's own processes and acts: sequence, sign, check, open an epoch, set the quorum, anchor."""

from __future__ import annotations

import signal
import threading
import time
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import InterfaceError, OperationalError, connection

from audit import epochs
from audit.coded import CodedError
from audit.copies import Damage, compare_copies, restore_copy, restore_database
from audit.copying import TileCopy
from audit.covering import log_state, raise_alarm
from audit.events import AuditError
from audit.keeping import cosign_newest, log_vkeys, origin_now, read_key, signer_from_settings
from audit.sequencing import BATCH, integrate_log, refuse_lost
from leoportal.anchors import anchor
from leoportal.setup import OPERATOR
from leoportal.upkeep import anchor_in_rekor, copy_tiles, run_beside
from verdicts.comparing import check_everything

TICK_SECONDS: Final = 0.1  # from one beginning to the next
REST_SECONDS: Final = 0.01
LOOK_SECONDS: Final = 1.0
UPKEEP_SECONDS: Final = 2.0  # what copying or anchoring may still take when the signer stops


class Command(BaseCommand):
    """`manage.py log ACT`."""

    help = "The log: `sequence` and `sign` run until they are stopped; `check` looks at everything once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """One word for each act."""
        acts = parser.add_subparsers(dest="act", required=True)
        acts.add_parser("sequence", help="give committed entries their place, until stopped")
        acts.add_parser("sign", help="sign what was placed, ask the witnesses, copy and anchor; until stopped")
        acts.add_parser("check", help="compute the whole log again and compare; exit code 1 if something is wrong")
        acts.add_parser("anchor", help="put the newest checkpoint into git now, and into Rekor if LOG_REKOR is set")
        acts.add_parser("copy", help="bring the second copy to the newest checkpoint now")
        acts.add_parser("compare", help="compare the database's leaves and tiles with the second copy")
        restore = acts.add_parser("restore", help="put back what was signed, from the copy that still has it")
        restore.add_argument("what", choices=["copy", "database"])
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
                    stopped = threading.Event()
                    beside = run_beside(stopped)
                    self._until_stopped(Signer())
                    stopped.set()
                    beside.join(UPKEEP_SECONDS)
                case "check":
                    self._check()
                case "anchor":
                    self._anchor()
                case "copy":
                    newest = log_state().newest
                    new = copy_tiles(newest) if newest else 0
                    self.stdout.write(f"{new} new leaves in {settings.LOG_COPY}")
                case "compare":
                    self._tell(compare_copies(TileCopy(settings.LOG_COPY), log_vkeys()))
                case "restore":
                    self._restore(options["what"])
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
        except CodedError as error:
            raise CommandError(f"{error.detail} ({error.code})") from None

    def _anchor(self) -> None:
        self.stdout.write(anchor(settings.LOG_ANCHOR) or "nothing new to anchor")
        newest = log_state().newest
        if settings.LOG_REKOR and newest is not None:
            made = anchor_in_rekor(newest)
            self.stdout.write(f"checkpoint of {newest.size} leaves is entry {made.log_index} of Rekor")

    def _restore(self, what: str) -> None:
        copy, keys = TileCopy(settings.LOG_COPY), log_vkeys()
        if what == "copy":
            self._tell(restore_copy(copy, keys))
            return
        before, after = restore_database(copy, keys)
        for finding in before:
            self.stdout.write(f"was {finding.code}: {finding.detail}")
        self._tell(after)

    def _tell(self, damage: Damage) -> None:
        for finding in damage.findings:
            self.stdout.write(f"{finding.code}: {finding.detail}")
        if damage.findings:
            raise CommandError(f"{len(damage.findings)} findings: database and copy are not both what was signed")
        self.stdout.write(f"database and {settings.LOG_COPY} are both what was signed")

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
    """Sign and ask the witnesses; copying and anchoring are beside it. The whole log is computed again each night."""

    def __init__(self) -> None:
        self._looked = time.monotonic()
        self._signer = signer_from_settings()

    def __call__(self) -> None:
        """One tick. The log is compared with the signer's own file each time: one that was set back is noticed."""
        if self._signer.key.name != origin_now():
            self._signer = signer_from_settings()
        if self._signer.sign() is not None or self._is_due("_looked", LOOK_SECONDS):
            self._signer.look()
            cosign_newest()

    def _is_due(self, name: str, seconds: float) -> bool:
        now = time.monotonic()
        if now - getattr(self, name) < seconds:
            return False
        setattr(self, name, now)
        return True
