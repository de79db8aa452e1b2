"""Keeping the second copy and anchoring: beside the signer, in a thread, so that none of it delays a checkpoint.

Whatever fails is written down with its code and the time of the next try. Rekor is asked only where LOG_REKOR names
whose signature it is to be.
"""

from __future__ import annotations

import hashlib
import logging
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection, transaction

from audit.coded import CodedError
from audit.copying import CopyError, TileCopy
from audit.covering import log_state
from audit.models import LogAnchor, LogCheckpoint, LogUpkeep, Upkeep
from audit.sequencing import read_tile
from audit.tiles import TileError
from handoffs.git.process import GitError
from handoffs.signatures.sigstore_signing import Bundles, Checked, Pinned, SigningRefusedError, Sigstore
from handoffs.tasks import sigstore
from leoportal.anchors import anchor

log = logging.getLogger(__name__)
HOUR: Final = timedelta(hours=1)
COPY_AGAIN: Final = timedelta(seconds=5)
RETRY: Final = timedelta(minutes=5)
LOOK_SECONDS: Final = 1.0


@dataclass(frozen=True)
class Work:
    """One of them: how often, when first, and what to do with the newest checkpoint."""

    again: timedelta
    first_after: timedelta
    run: Callable[[LogCheckpoint], object]


def copy_tiles(newest: LogCheckpoint) -> int:
    """Bring the second copy to a checkpoint; how many leaves were new. Raises: CopyError, TileError."""
    return TileCopy(settings.LOG_COPY).extend(bytes(newest.note), read_tile)


def anchor_in_git(_newest: LogCheckpoint) -> str:
    """Raises: GitError, OSError, CalledProcessError."""
    return anchor(settings.LOG_ANCHOR)


def anchor_in_rekor(newest: LogCheckpoint) -> LogAnchor:
    """Sign the digest of a signed checkpoint with Sigstore and keep the bundle; what is there already is returned.

    Raises: SigningUnavailableError and its kinds. A try that ended late may have left an entry that nobody kept: it
    says nothing wrong.
    """
    found = LogAnchor.objects.filter(checkpoint=newest).first()
    if found is not None:
        return found
    digest, pinned = hashlib.sha256(bytes(newest.note)).hexdigest(), _pinned()
    signed = _client().sign(digest, None, pinned)
    with transaction.atomic():
        return LogAnchor.objects.create(
            checkpoint=newest,
            digest=digest,
            bundle=signed.bundles.artifact_bundle,
            log_index=signed.log_index,
            identity=pinned.identity,
            issuer=pinned.issuer,
            root_digest=signed.root_digest,
        )


def check_anchor(found: LogAnchor) -> Checked:
    """Check a stored anchor offline: bundle, inclusion proof, identity, and that it is of this checkpoint's note.

    Raises: SignatureError.
    """
    digest = hashlib.sha256(bytes(found.checkpoint.note)).hexdigest()
    pinned = Pinned(found.identity, found.issuer)
    return _client().verify(Bundles(digest, found.bundle), pinned, root_digest=found.root_digest)


def _client() -> Sigstore:
    client = sigstore()
    if client is None:
        raise SigningRefusedError("signing.not_configured", "SIGSTORE_TRUST_CONFIG is not set")
    return client


def _pinned() -> Pinned:
    identity, _, issuer = settings.LOG_REKOR.partition(" ")
    if not identity or not issuer.strip():
        raise SigningRefusedError(
            "signing.not_configured", f"got LOG_REKOR={settings.LOG_REKOR!r}, expected IDENTITY ISSUER"
        )
    return Pinned(identity, issuer.strip())


WORK: Final[Mapping[Upkeep, Work]] = {
    Upkeep.COPY: Work(COPY_AGAIN, timedelta(0), copy_tiles),
    Upkeep.GIT: Work(HOUR, HOUR, anchor_in_git),
    Upkeep.REKOR: Work(HOUR, timedelta(0), anchor_in_rekor),
}


def do_upkeep(name: Upkeep) -> bool:
    """Do one of them now, for the newest checkpoint, and write down how it went. False: it failed, or has to wait."""
    newest, work = log_state().newest, WORK[name]
    if newest is None:
        return False
    try:
        work.run(newest)
    except (CopyError, TileError, GitError, CodedError, OSError, subprocess.SubprocessError) as error:
        code, detail = (error.code, error.detail) if isinstance(error, CodedError) else (f"{name}.failed", str(error))
        log.warning("%s is late: %s (%s)", name.label, detail, code)
        LogUpkeep.objects.record_failed(name, code, detail, again=min(RETRY, work.again))
        return False
    LogUpkeep.objects.record_done(name, newest.size, again=work.again)
    return True


def do_what_is_due() -> None:
    """One look at all of them."""
    for name, work in WORK.items():
        if name == Upkeep.REKOR and not settings.LOG_REKOR:
            continue
        if LogUpkeep.objects.is_due(name, first_after=work.first_after):
            do_upkeep(name)


def run_beside(stopped: threading.Event) -> threading.Thread:
    """Start looking each second, until stopped. A database that is away is waited for."""

    def run() -> None:
        while not stopped.wait(LOOK_SECONDS):
            try:
                do_what_is_due()
            except (DatabaseError, InterfaceError) as error:
                log.warning("the copy and the anchors wait for the database: %s", str(error).splitlines()[:1])
                connection.close()
        connection.close()

    thread = threading.Thread(target=run, name="upkeep", daemon=True)
    thread.start()
    return thread
