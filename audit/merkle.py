"""The Merkle tree of the log: leaf and node hashes, the frontier and the root.

Shape: every hash is 32 bytes.
Source: RFC 9162 section 2.1 (SHA-256, domain separation by a leading byte).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(leaf: bytes) -> bytes:
    """Hash of one log entry: SHA-256(0x00 || leaf)."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node: SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True)
class Frontier:
    """The roots of the perfect subtrees of a tree of `size` leaves, largest first.

    Shape: one hash for each bit set in `size`. Enough to append and to compute the root.
    """

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if self.size < 0 or len(self.hashes) != self.size.bit_count():
            raise ValueError(f"got {len(self.hashes)} hashes for {self.size} leaves")

    def append(self, leaf: bytes) -> Frontier:
        """The frontier after one more leaf hash."""
        hashes = list(self.hashes)
        merged = leaf
        rest = self.size
        while rest & 1:
            merged = node_hash(hashes.pop(), merged)
            rest >>= 1
        return Frontier(self.size + 1, (*hashes, merged))

    def extend(self, leaves: Iterable[bytes]) -> Frontier:
        """The frontier after many leaf hashes, in order."""
        frontier = self
        for leaf in leaves:
            frontier = frontier.append(leaf)
        return frontier

    @property
    def root(self) -> bytes:
        """The Merkle tree hash over all leaves."""
        if not self.hashes:
            return EMPTY_ROOT
        merged = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            merged = node_hash(left, merged)
        return merged
