"""The newest anchors for an evidence pack, each with the proof between its tree and the pack's.

Anchors are made each hour. A pack asks for one more, and is sealed with what there is once that was tried.
"""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.utils import timezone

from audit.canonical import JsonValue
from audit.checkpoint import Checkpoint, parse_checkpoint
from audit.events import AuditError
from audit.merkle import ProofError, consistency_proof
from audit.models import LogAnchor, LogCheckpoint, LogEntry, LogUpkeep, Upkeep
from audit.notes import NoteError, parse_note
from audit.pack_writing import encoded
from audit.sequencing import nodes_at
from audit.tiles import TileError
from audit.upkeep import ANCHOR_REF
from handoffs.git.process import GitError
from handoffs.git.repository import Git

MAX_BYTES: Final = 1 << 20
PATIENCE: Final = timedelta(seconds=30)


def ask_for_anchors() -> None:
    """Have what is anchored each hour done now: it then covers the pack's checkpoint, which is signed already."""
    LogUpkeep.objects.filter(name__in=_kinds()).update(next_try_at=timezone.now())


def is_anchoring(seal: LogEntry, size: int) -> bool:
    """Whether that was not tried yet; half a minute at most, so that nobody waits for a signer that is down."""
    due = LogUpkeep.objects.filter(name__in=_kinds(), size__lt=size, next_try_at__lte=timezone.now())
    return timezone.now() < seal.created_at + PATIENCE and due.exists()


def packed_anchors(size: int) -> dict[str, JsonValue]:
    """The newest anchor of each kind, for a pack at `size` leaves.

    Raises: AuditError("pack.anchor") for one that cannot be read or is none of this log.
    """
    try:
        return {"git": _in_git(size), "rekor": _in_rekor(size)}
    except (GitError, NoteError, ProofError, TileError, UnicodeDecodeError) as error:
        raise AuditError("pack.anchor", f"what is anchored cannot be read, or is not this log: {error}") from None


def _kinds() -> list[Upkeep]:
    return [Upkeep.GIT, Upkeep.REKOR] if settings.LOG_REKOR else [Upkeep.GIT]


def _in_git(size: int) -> JsonValue:
    path = settings.LOG_ANCHOR
    commit = Git(path).refs(ANCHOR_REF).get(ANCHOR_REF, "") if path.exists() else ""
    if not commit:
        return None
    git = Git(path)
    tree = _content(git, git.tree_of(commit))
    blob = _content(git, tree[-(len(commit) // 2) :].hex())  # its one entry ends in the id of the file
    head = parse_checkpoint(parse_note(blob).text)
    if not _is_of_this_epoch(head):
        return None
    return {
        "commit": commit,
        "object": base64.b64encode(_content(git, commit)).decode(),
        "tree": base64.b64encode(tree).decode(),
        "checkpoint": blob.decode(),
        "consistency": _proof(head, size),
    }


def _content(git: Git, name: str) -> bytes:
    found = git.read_objects([name], max_bytes=MAX_BYTES)[name]
    return found[1] if found else b""


def _in_rekor(size: int) -> JsonValue:
    found = LogAnchor.objects.select_related("checkpoint").order_by("checkpoint__size").last()
    if found is None:
        return None
    note = bytes(found.checkpoint.note)
    head = parse_checkpoint(parse_note(note).text)
    if not _is_of_this_epoch(head):
        return None
    return {
        "checkpoint": note.decode(),
        "bundle": found.bundle,
        "identity": found.identity,
        "issuer": found.issuer,
        "consistency": _proof(head, size),
    }


def _is_of_this_epoch(head: Checkpoint) -> bool:
    """An anchor from before a restore is of another log's name, and may be of leaves that the restore lost."""
    return head.origin == LogCheckpoint.objects.latest("pk").origin


def _proof(head: Checkpoint, size: int) -> list[JsonValue]:
    small, large = sorted((head.size, size))
    return encoded(consistency_proof(small, large, nodes_at(large)))
