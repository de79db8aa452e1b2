"""The Merkle tree of the log: leaf and node hashes, the frontier, roots, inclusion and consistency proofs.

A proof is read from perfect subtrees: `Node` answers for level k and index i with the root of the leaves
i·2^k up to (i+1)·2^k. Where these come from (memory, tiles) is the caller's business.
Shape: every hash is 32 bytes.
Source: RFC 9162 sections 2.1.1 (tree), 2.1.3 (inclusion), 2.1.4 (consistency); SHA-256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from audit.coded import CodedError

EMPTY_ROOT: Final = hashlib.sha256(b"").digest()

type Node = Callable[[int, int], bytes]


class ProofError(CodedError):
    """A proof that does not hold. `code` is stable, `detail` says got and expected."""


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

    def extend(self, leaves: Iterable[bytes]) -> Frontier:
        """The frontier after more leaf hashes, in order."""
        size, hashes = self.size, list(self.hashes)
        for leaf in leaves:
            merged, rest = leaf, size
            while rest & 1:
                merged = node_hash(hashes.pop(), merged)
                rest >>= 1
            hashes.append(merged)
            size += 1
        return Frontier(size, tuple(hashes))

    @property
    def root(self) -> bytes:
        """The Merkle tree hash over all leaves."""
        if not self.hashes:
            return EMPTY_ROOT
        merged = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            merged = node_hash(left, merged)
        return merged


def nodes_of(hashes: Sequence[bytes]) -> Node:
    """The perfect subtrees over leaf hashes in memory.

    Shape: about twice the leaves' hashes are held, level by level.
    """
    levels = [list(hashes)]
    while len(levels[-1]) > 1:
        below = levels[-1]
        levels.append([node_hash(below[at], below[at + 1]) for at in range(0, len(below) - 1, 2)])
    return lambda level, index: levels[level][index]


def root_of(size: int, node: Node) -> bytes:
    """The Merkle tree hash over the first `size` leaves."""
    return _range_root(0, size, node) if size else EMPTY_ROOT


def frontier_of(size: int, node: Node) -> Frontier:
    """The frontier of the first `size` leaves."""
    return Frontier(size, tuple(node(level, index) for level, index in _perfect(0, size)))


def inclusion_proof(index: int, size: int, node: Node) -> tuple[bytes, ...]:
    """The hashes that lead from leaf `index` to the root over `size` leaves, lowest first.

    Raises: ProofError("proof.index") for a leaf that is not in the tree.
    """
    if not 0 <= index < size:
        raise ProofError("proof.index", f"got leaf {index}, expected one of {size}")
    proof: list[bytes] = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            proof.append(_range_root(middle, end, node))
            end = middle
        else:
            proof.append(_range_root(begin, middle, node))
            begin = middle
    return tuple(reversed(proof))


def consistency_proof(old: int, new: int, node: Node) -> tuple[bytes, ...]:
    """The hashes that show that the tree of `new` leaves begins with the tree of `old` leaves.

    Shape: empty if `old` is 0 or equals `new`.
    Raises: ProofError("proof.sizes") unless 0 <= old <= new.
    """
    if not 0 <= old <= new:
        raise ProofError("proof.sizes", f"got the sizes {old} and {new}, expected 0 <= old <= new")
    if old in {0, new}:
        return ()
    proof: list[bytes] = []
    begin, end, is_whole = 0, new, True
    while end != old:
        middle = begin + _split(end - begin)
        if old <= middle:
            proof.append(_range_root(middle, end, node))
            end = middle
        else:
            proof.append(_range_root(begin, middle, node))
            begin, is_whole = middle, False
    if not is_whole:
        proof.append(_range_root(begin, end, node))
    return tuple(reversed(proof))


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that the leaf hash `leaf` stands at `index` of the tree with this size and root.

    Raises: ProofError with a stable code.
    Not checked: who signed `size` and `root`.
    Source: RFC 9162 section 2.1.3.2.
    """
    if not 0 <= index < size:
        raise ProofError("proof.index", f"got leaf {index}, expected one of {size}")
    found = leaf
    for other, is_left in _walk(index, size - 1, _hashes(proof)):
        found = node_hash(other, found) if is_left else node_hash(found, other)
    if found != root:
        raise ProofError("proof.root", f"got the root {found.hex()}, expected {root.hex()}")


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree (new, new_root) extends the tree (old, old_root).

    Raises: ProofError with a stable code.
    Not checked: who signed either tree.
    Source: RFC 9162 section 2.1.4.2.
    """
    if not 0 <= old <= new:
        raise ProofError("proof.sizes", f"got the sizes {old} and {new}, expected 0 <= old <= new")
    if old in {0, new}:
        _verify_trivial(old, new, old_root, new_root, proof)
        return
    path = _hashes(proof)
    if not path:
        raise ProofError("proof.length", f"got no hashes for the sizes {old} and {new}")
    if old & (old - 1) == 0:
        path = [old_root, *path]
    first, last = old - 1, new - 1
    while first & 1:
        first, last = first >> 1, last >> 1
    found_old = found_new = path[0]
    for other, is_left in _walk(first, last, path[1:]):
        if is_left:
            found_old = node_hash(other, found_old)
        found_new = node_hash(other, found_new) if is_left else node_hash(found_new, other)
    if found_old != old_root:
        raise ProofError("proof.old_root", f"got the root {found_old.hex()} of {old}, expected {old_root.hex()}")
    if found_new != new_root:
        raise ProofError("proof.root", f"got the root {found_new.hex()} of {new}, expected {new_root.hex()}")


def _walk(first: int, last: int, path: Sequence[bytes]) -> Iterator[tuple[bytes, bool]]:
    """The hashes on the way from node `first` up to the root of a level whose last node is `last`; True: on the left.

    Raises: ProofError("proof.length") if they are too many or too few.
    """
    for other in path:
        if last == 0:
            raise ProofError("proof.length", f"got {len(path)} hashes, expected fewer")
        is_left = bool(first & 1) or first == last
        yield other, is_left
        while is_left and not first & 1 and first:
            first, last = first >> 1, last >> 1
        first, last = first >> 1, last >> 1
    if last:
        raise ProofError("proof.length", f"got {len(path)} hashes, expected more")


def _verify_trivial(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    if proof:
        raise ProofError("proof.length", f"got {len(proof)} hashes for the sizes {old} and {new}, expected none")
    expected = EMPTY_ROOT if old == 0 else new_root
    if old_root != expected:
        raise ProofError("proof.old_root", f"got the root {old_root.hex()} of {old}, expected {expected.hex()}")
    if new == 0 and new_root != EMPTY_ROOT:
        raise ProofError("proof.root", f"got the root {new_root.hex()} of no leaves, expected {EMPTY_ROOT.hex()}")


def _hashes(proof: Sequence[bytes]) -> list[bytes]:
    for found in proof:
        if len(found) != len(EMPTY_ROOT):
            raise ProofError("proof.hash_length", f"got a hash of {len(found)} bytes, expected {len(EMPTY_ROOT)}")
    return list(proof)


def _split(width: int) -> int:
    """The largest power of two below `width`."""
    return 1 << (width - 1).bit_length() - 1


def _perfect(begin: int, end: int) -> Iterable[tuple[int, int]]:
    """Level and index of the perfect subtrees that make up [begin, end), from the left. `begin` is aligned."""
    while begin < end:
        level = (end - begin).bit_length() - 1
        yield level, begin >> level
        begin += 1 << level


def _range_root(begin: int, end: int, node: Node) -> bytes:
    parts = [node(level, index) for level, index in _perfect(begin, end)]
    merged = parts.pop()
    while parts:
        merged = node_hash(parts.pop(), merged)
    return merged
