"""The log's key, file and witnesses as the settings name them."""

from __future__ import annotations

import os
from pathlib import Path

from django.conf import settings
from django.db import transaction

from audit.covering import log_state
from audit.events import AuditError
from audit.models import LogCheckpoint, LogCosignature, LogEpoch
from audit.notes import KeyType, NoteError, SignerKey, VerifierKey, parse_note, parse_vkey
from audit.sequencing import nodes_at
from audit.signer import LogSigner
from audit.witnessing import WitnessError, ask_witness


def epoch_number() -> int:
    """The log's epoch; 1 before any was opened."""
    return LogEpoch.objects.order_by("-number").values_list("number", flat=True).first() or 1


def origin_now() -> str:
    """The log's name in this epoch."""
    return f"{read_key(settings.LOG_KEY_FILE).name}/{epoch_number()}"


def signer_from_settings() -> LogSigner:
    """The signer of the epoch now.

    Raises: AuditError("signer.key").
    """
    key = read_key(settings.LOG_KEY_FILE)
    number = epoch_number()
    named = SignerKey(origin_now(), key.private)
    _write_down(named.verifier())
    return LogSigner(named, settings.LOG_KEY_FILE.with_name(f"log-signed-{number}.json"))


def read_key(path: Path) -> SignerKey:
    """The log's private key; the embedded stack makes its own, once, in a file only its owner reads.

    Raises: AuditError("signer.key").
    """
    if not path.exists():
        if not (settings.EMBEDDED or settings.TESTING):
            raise AuditError(
                "signer.key", f"{path} is missing; make one with `leo witness key NAME FILE` on the signer's machine"
            )
        make_key(path, f"{settings.PORTAL_URL.partition('://')[2].partition('/')[0]}/log")
    if path.stat().st_mode & 0o077:
        raise AuditError("signer.key", f"{path} may be read by others; `chmod 0400 {path}`")
    try:
        return SignerKey.parse(path.read_text())
    except NoteError as error:
        raise AuditError("signer.key", f"{path}: {error.detail}") from None


def make_key(path: Path, name: str) -> SignerKey:
    """A new key in a new file, readable for its owner only."""
    key = SignerKey.generate(name)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "w") as file:  # noqa: PTH123  with its mode
        file.write(key.line)
    return key


def log_vkeys() -> tuple[VerifierKey, ...]:
    """The log's public keys, one for each epoch, as the signer wrote them down; none before it ran."""
    path = settings.LOG_KEY_FILE.with_name("log.vkey")
    return tuple(parse_vkey(line) for line in path.read_text().split()) if path.exists() else ()


def _write_down(key: VerifierKey) -> None:
    path = settings.LOG_KEY_FILE.with_name("log.vkey")
    known = path.read_text() if path.exists() else ""
    if key.vkey not in known.split():
        path.write_text(f"{known}{key.vkey}\n")


def cosign_newest() -> None:
    """Ask each witness that has not signed the newest checkpoint. One that is away is asked again at the next tick."""
    newest = log_state().newest
    if newest is None:
        return
    have = set(newest.cosignatures.values_list("witness", flat=True))
    for line in settings.LOG_WITNESSES:
        url, _, vkey = line.partition(" ")
        key = parse_vkey(vkey)
        if key.name not in have:
            _ask(newest, url, key)


def _ask(newest: LogCheckpoint, url: str, key: VerifierKey) -> None:
    """Raises: AuditError("log.witness_ahead") if the witness has seen more than there is."""
    if key.key_type is not KeyType.COSIGNATURE:
        raise AuditError("log.witness_key", f"{key.name} is no key for cosignatures")
    path = settings.LOG_KEY_FILE.with_name(f"witness-{key.key_id.hex()}-{epoch_number()}")
    known = int(path.read_text()) if path.exists() else 0
    note = parse_note(bytes(newest.note))
    try:
        signature, size = ask_witness(url, key, note, old=known, new=newest.size, nodes=nodes_at)
    except WitnessError as error:
        if error.code in {"witness.ahead", "witness.refused"}:
            raise AuditError(f"log.{error.code.replace('.', '_')}", f"{key.name}: {error.detail}") from None
        return
    with transaction.atomic():
        LogCosignature.objects.get_or_create(checkpoint=newest, witness=key.name, defaults={"line": signature.line})
    path.write_text(str(size))
