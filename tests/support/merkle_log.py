"""An append-only Merkle tree, written from the specification and independent of the product's.

Source: RFC 6962 section 2.1.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field


@dataclass
class MerkleLog:
    """An append-only log with real inclusion proofs. Source: RFC 6962 section 2.1."""

    bodies: list[bytes] = field(default_factory=list)

    def append(self, body: bytes) -> int:
        """The index of the new leaf."""
        self.bodies.append(body)
        return len(self.bodies) - 1

    def root(self, first: int = 0, size: int | None = None) -> bytes:
        """The tree hash of a range of leaves."""
        size = len(self.bodies) - first if size is None else size
        if size == 1:
            return sha256(b"\x00" + self.bodies[first])
        left = split_of(size)
        return sha256(b"\x01" + self.root(first, left) + self.root(first + left, size - left))

    def proof(self, index: int) -> list[bytes]:
        """The audit path from a leaf to the root, nearest first."""
        path: list[bytes] = []
        first, size = 0, len(self.bodies)
        while size > 1:
            left = split_of(size)
            if index < left:
                path.append(self.root(first + left, size - left))
                size = left
            else:
                path.append(self.root(first, left))
                first, size, index = first + left, size - left, index - left
        return path[::-1]


def split_of(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << ((size - 1).bit_length() - 1)


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
