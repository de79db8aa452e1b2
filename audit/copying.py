"""The log's second copy: tiles and entries as files outside the database, as far as they were signed.

Shape: a folder in the layout of C2SP tlog-tiles, with `checkpoint` beside `tile/`; any web server can serve it. It is
extended only to trees that the signer signed: the checkpoint is written last, and only if the files lead to its root.
Not copied: the bodies beside the leaves, which can be erased.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from audit.checkpoint import Checkpoint, parse_checkpoint
from audit.coded import CodedError
from audit.merkle import EMPTY_ROOT, frontier_of, leaf_hash
from audit.notes import NoteError, parse_note
from audit.tiles import (
    ENTRIES,
    HASH_BYTES,
    WIDTH,
    Tile,
    TileError,
    nodes_from,
    parse_bundle,
    subtree_root,
    tile_at,
    tiles_of,
    write_bundle,
)

CHECKPOINT: Final = "checkpoint"


class CopyError(CodedError):
    """The copy cannot be relied on, or not be written. It never stops the log. `code` is stable."""


class TileCopy:
    """The copy in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def head(self) -> Checkpoint:
        """The checkpoint the copy is at; an empty tree before the first.

        Raises: CopyError("copy.checkpoint").
        Not checked: its signature.
        """
        try:
            return parse_checkpoint(parse_note(raw).text) if (raw := self.note()) else Checkpoint("", 0, EMPTY_ROOT)
        except NoteError as error:
            detail = f"{self.folder / CHECKPOINT}: {error.detail}; delete it, and the copy is made anew"
            raise CopyError("copy.checkpoint", detail) from None

    def note(self) -> bytes:
        """The signed checkpoint the copy is at; nothing before the first. Raises: CopyError("copy.missing")."""
        try:
            return (self.folder / CHECKPOINT).read_bytes()
        except (FileNotFoundError, PermissionError):
            return b""  # not here, or the signer's alone; whoever then writes is told
        except OSError as error:
            raise CopyError("copy.missing", f"{self.folder / CHECKPOINT}: {error.strerror}") from None

    def read(self, tile: Tile) -> bytes:
        """The bytes of a tile or a bundle of entries, cut from a wider one if it has grown meanwhile.

        Raises: CopyError("copy.missing"), TileError.
        """
        path, whole = (self.folder / one.path for one in (tile, Tile(tile.level, tile.index)))
        for found in (path, whole, *self._wider(tile)):
            try:
                raw = found.read_bytes()
            except OSError:
                continue
            if found == path:
                return raw
            if tile.level == ENTRIES:
                return write_bundle(parse_bundle(raw)[: tile.width])
            return raw[: tile.width * HASH_BYTES]
        raise CopyError("copy.missing", f"{path} is not there, and nothing wider")

    def _wider(self, tile: Tile) -> list[Path]:
        folder = (self.folder / Tile(tile.level, tile.index, 1).path).parent
        found = [path for path in folder.glob("[0-9]*") if path.name.isdecimal() and int(path.name) > tile.width]
        return sorted(found, key=lambda path: int(path.name))

    def extend(self, note: bytes, read: Callable[[Tile], bytes]) -> int:
        """Copy what `note`, a signed checkpoint, covers and the copy does not have. Returns how many leaves that were.

        `read` gives a bundle of entries. Files that a crash left, or a copy that is too short, are written again.
        Raises: CopyError("copy.changed") if old files and new leaves do not lead to the signed root; ("copy.write").
        """
        wanted, have = parse_checkpoint(parse_note(note).text), self.head()
        if wanted.size < have.size:
            raise CopyError("copy.ahead", f"it has {have.size} leaves, {wanted.size} are signed; was the log set back?")
        if (wanted.size, wanted.root, wanted.origin) == (have.size, have.root, have.origin):
            return 0
        for tile in tiles_of(wanted.size, since=have.size):
            self._write(tile.path, read(tile) if tile.level == ENTRIES else self.hashes(tile, wanted.size))
        self.refuse_other_root(wanted)
        self._write(CHECKPOINT, note)
        for tile in tiles_of(have.size):
            if tile.width < WIDTH and tile != tile_at(tile.level, tile.index, wanted.size):
                (self.folder / tile.path).unlink(missing_ok=True)
        return wanted.size - have.size

    def refuse_other_root(self, wanted: Checkpoint) -> None:
        """Compute the root from the hash tiles on the way to it. Raises: CopyError("copy.changed")."""
        try:
            found = frontier_of(wanted.size, nodes_from(wanted.size, self.read)).root
        except TileError as error:
            raise CopyError("copy.changed", error.detail) from None
        if found != wanted.root:
            raise CopyError("copy.changed", f"{self.folder} does not lead to the signed root of {wanted.size} leaves")

    def hashes(self, tile: Tile, size: int) -> bytes:
        """What a hash tile has to be, from the tiles of this copy below it."""
        if tile.level == 0:
            below = self.read(Tile(ENTRIES, tile.index, tile.width))
            return b"".join(leaf_hash(entry) for entry in parse_bundle(below))
        first = tile.index * WIDTH
        below_it = (tile_at(tile.level - 1, first + nth, size) for nth in range(tile.width))
        return b"".join(subtree_root(self.read(one)) for one in below_it)

    def write(self, tile: Tile, raw: bytes) -> None:
        """Put a file in place of one that is wrong. Raises: CopyError("copy.write")."""
        self._write(tile.path, raw)

    def _write(self, name: str, raw: bytes) -> None:
        path = self.folder / name
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with draft.open("wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError as error:
            raise CopyError("copy.write", f"{path}: {error.strerror}") from None


def hashes_in(raw: bytes) -> list[bytes]:
    """The hashes of a tile."""
    return [raw[at : at + HASH_BYTES] for at in range(0, len(raw), HASH_BYTES)]
