"""Tiles: the tree in pieces of 256 hashes, the entries in bundles of 256, each with one address for ever.

Source: C2SP tlog-tiles.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from audit.coded import CodedError
from audit.merkle import Node, node_hash

WIDTH: Final = 256
HEIGHT: Final = 8
HASH_BYTES: Final = 32
MAX_ENTRY_BYTES: Final = (1 << 16) - 1
MAX_LEVEL: Final = 7  # 256^8 leaves are more than a 64-bit index can count
ENTRIES: Final = -1
_PATH: Final = re.compile(
    r"tile/(?P<level>entries|[0-7])/(?P<index>(?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)


class TileError(CodedError):
    """A tile, a bundle or an address that is not well-formed. `code` is stable."""


@dataclass(frozen=True, order=True)
class Tile:
    """The address of a tile: its level (ENTRIES for a bundle of entries), its place there, how much of it there is.

    Shape: a tile of level L holds roots of perfect subtrees of 256^L leaves; `width` is 1 to 256.
    """

    level: int
    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """The address below the log's prefix, e.g. tile/0/x001/234.p/17."""
        level = "entries" if self.level == ENTRIES else str(self.level)
        *above, last = _threes(self.index)
        place = "".join(f"x{group}/" for group in above) + last
        return f"tile/{level}/{place}" + (f".p/{self.width}" if self.width < WIDTH else "")

    @property
    def first_leaf(self) -> int:
        """The first leaf below it."""
        return self.index << HEIGHT * (max(self.level, 0) + 1)

    @property
    def last_leaf(self) -> int:
        """The first leaf after it."""
        return self.first_leaf + (self.width << HEIGHT * max(self.level, 0))


def parse_tile(path: str) -> Tile:
    """Read an address.

    Raises: TileError("tile.path").
    """
    match = _PATH.fullmatch(path)
    if match is None:
        raise TileError("tile.path", f"got {path[:80]!r}, expected tile/<level>/<index>[.p/<width>]")
    index = int(match["index"].replace("x", "").replace("/", ""))
    width = int(match["width"] or WIDTH)
    tile = Tile(ENTRIES if match["level"] == "entries" else int(match["level"]), index, width)
    if tile.path != path:
        raise TileError("tile.path", f"got {path[:80]!r}, expected {tile.path}")
    return tile


def tiles_of(size: int, *, since: int = 0) -> Iterator[Tile]:
    """The tiles and bundles of a tree of `size` leaves that a tree of `since` leaves did not have, leaves first.

    Shape: every full tile, and the partial one at the end of each level.
    """
    for level in (ENTRIES, *range(MAX_LEVEL + 1)):
        count = size >> HEIGHT * max(level, 0)
        before = since >> HEIGHT * max(level, 0)
        if count == before:
            continue
        for index in range(before // WIDTH, count // WIDTH):
            yield Tile(level, index)
        if count % WIDTH:
            yield Tile(level, count // WIDTH, count % WIDTH)


def nodes_from(size: int, read: Callable[[Tile], bytes]) -> Node:
    """The perfect subtrees of a tree of `size` leaves, read from its tiles; each tile is read once.

    Raises: TileError("tile.length"), and whatever `read` raises.
    """
    kept: dict[Tile, bytes] = {}

    def node(level: int, index: int) -> bytes:
        height = level % HEIGHT
        tile = tile_at(level // HEIGHT, (index << height) // WIDTH, size)
        raw = kept.get(tile)
        if raw is None:
            raw = kept[tile] = read(tile)
            if len(raw) != tile.width * HASH_BYTES:
                raise TileError("tile.length", f"got {len(raw)} bytes of {tile.path}, expected {tile.width} hashes")
        first = (index << height) % WIDTH * HASH_BYTES
        return subtree_root(raw[first : first + (HASH_BYTES << height)])

    return node


def tile_at(level: int, index: int, size: int) -> Tile:
    """The tile at this place in a tree of `size` leaves, full or partial.

    Raises: TileError("tile.missing") if there is none.
    """
    width = min(WIDTH, (size >> HEIGHT * max(level, 0)) - index * WIDTH)
    if width < 1 or index < 0:
        raise TileError("tile.missing", f"a tree of {size} leaves has no tile {index} at level {level}")
    return Tile(level, index, width)


def subtree_root(raw: bytes) -> bytes:
    """The root over concatenated hashes, whose number is a power of two."""
    hashes = [raw[at : at + HASH_BYTES] for at in range(0, len(raw), HASH_BYTES)]
    while len(hashes) > 1:
        hashes = [node_hash(hashes[at], hashes[at + 1]) for at in range(0, len(hashes), 2)]
    return hashes[0]


def write_bundle(entries: Sequence[bytes]) -> bytes:
    """Entries as a bundle: each with its length in two bytes before it.

    Raises: TileError("bundle.entry") for one that is too long.
    """
    parts = []
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise TileError("bundle.entry", f"got an entry of {len(entry)} bytes, expected at most {MAX_ENTRY_BYTES}")
        parts += [len(entry).to_bytes(2), entry]
    return b"".join(parts)


def parse_bundle(raw: bytes) -> list[bytes]:
    """The entries of a bundle.

    Raises: TileError("bundle.form") for bytes that end in the middle, or for more than 256 entries.
    """
    entries: list[bytes] = []
    at = 0
    while at < len(raw):
        length = int.from_bytes(raw[at : at + 2])
        at += 2 + length
        if at > len(raw) or len(entries) == WIDTH:
            raise TileError("bundle.form", f"got {len(raw)} bytes, expected at most {WIDTH} whole entries")
        entries.append(raw[at - length : at])
    return entries


def _threes(number: int) -> list[str]:
    text = f"{number:,}".split(",")
    return [group.zfill(3) for group in text]
