"""The leaves of an evidence pack in the signed tree: each where its proof says, none between those of a run.

Source: RFC 9162 section 2.1.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

from audit.canonical import JsonValue
from audit.checkpoint import Checkpoint
from audit.merkle import Frontier, ProofError, node_hash, verify_consistency, verify_inclusion
from audit.pack_reading import Pack, PackError
from audit.pack_writing import LEAVES, PROOFS

SUBTREE: Final = 1024


def check_tree(pack: Pack, head: Checkpoint) -> str:
    """Every leaf stands in the signed tree where its proof says. Bytes only; nothing is parsed."""
    lines, hash_of = pack.lines(LEAVES), hashlib.sha256
    hashes = (hash_of(b"\0" + first + second[:-1]).digest() for first, second in zip(lines, lines, strict=True))
    count, last = 0, -1
    try:
        for where, proof in pack.rows(PROOFS):
            first, end = extent(proof, where)
            if not last < first < end <= head.size:
                raise PackError(where, f"got leaves {first} to {end} after {last} in a tree of {head.size}")
            _check_proof(proof, first, end, hashes, head)
            last, count = end - 1, count + end - first
        if next(hashes, None) is not None:
            raise PackError(LEAVES, f"there are more leaves than the {count} that are proved")
    except ValueError:
        raise PackError(LEAVES, "got an odd number of lines, expected two for each leaf") from None
    return f"{count} leaves are in the tree"


def _check_proof(
    proof: Mapping[str, JsonValue], first: int, end: int, hashes: Iterator[bytes], head: Checkpoint
) -> None:
    where = f"leaf {first}" if end == first + 1 else f"leaves {first} to {end - 1}"
    try:
        if "index" in proof:
            found = next(hashes, b"")
            verify_inclusion(found, first, head.size, decoded(proof.get("path"), PROOFS), head.root)
            return
        frontier = _grown(Frontier(first, tuple(decoded(proof.get("left"), PROOFS))), islice(hashes, end - first))
        if frontier.size != end:
            raise PackError(LEAVES, f"leaf {frontier.size} is missing")
        verify_consistency(end, head.size, frontier.root, head.root, decoded(proof.get("right"), PROOFS))
    except (ProofError, ValueError) as error:
        raise PackError(where, f"not what was signed, or not complete: {error}") from None


def indexed(pack: Pack) -> Iterator[tuple[int, bytes, bool]]:
    """Each leaf's index and bytes, as the proofs number them, and whether it has a proof of its own."""
    lines = pack.lines(LEAVES)
    for where, proof in pack.rows(PROOFS):
        first, end = extent(proof, where)
        for index in range(first, end):
            yield index, next(lines, b"") + next(lines, b"\n")[:-1], "index" in proof


def decoded(hashes: JsonValue, where: str) -> list[bytes]:
    """Hashes as a proof writes them, in the one way they are written."""
    if not isinstance(hashes, list):
        raise PackError(where, "expected a list of hashes")
    found = []
    for text in hashes:
        try:
            raw = base64.b64decode(str(text), validate=True)
        except binascii.Error:
            raw = b""
        if len(raw) != 32 or base64.b64encode(raw).decode() != text:
            raise PackError(where, f"got {str(text)[:60]!r}, expected 32 bytes in base64")
        found.append(raw)
    return found


def _grown(frontier: Frontier, hashes: Iterator[bytes]) -> Frontier:
    """As `Frontier.extend`, in perfect subtrees of 1,024 leaves: a third faster."""
    frontier = frontier.extend(islice(hashes, -frontier.size % SUBTREE))
    size, stack, hash_of = frontier.size, list(frontier.hashes), hashlib.sha256
    while len(level := list(islice(hashes, SUBTREE))) == SUBTREE:
        while len(level) > 1:
            nodes = iter(level)
            level = [hash_of(b"\1" + left + right).digest() for left, right in zip(nodes, nodes, strict=True)]
        (root,), rest = level, size // SUBTREE
        while rest & 1:
            root, rest = node_hash(stack.pop(), root), rest >> 1
        stack.append(root)
        size += SUBTREE
    return Frontier(size, tuple(stack)).extend(level)


def extent(proof: Mapping[str, JsonValue], where: str) -> tuple[int, int]:
    """The first leaf of a proof, and the one after its last.

    Raises: PackError.
    """
    match proof:
        case {"index": int(index), "path": list()}:
            return index, index + 1
        case {"first": int(first), "end": int(end), "left": list(), "right": list()}:
            return first, end
        case _:
            raise PackError(where, "expected index and path, or first, end, left and right")
