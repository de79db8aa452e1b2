"""Proofs of the log: the vectors of the RFC 6962 reference log, and every proof of small trees against the RFC's text."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest

from audit.merkle import (
    EMPTY_ROOT,
    Frontier,
    ProofError,
    consistency_proof,
    frontier_of,
    inclusion_proof,
    leaf_hash,
    nodes_of,
    root_of,
    verify_consistency,
    verify_inclusion,
)

# The eight leaves and the roots that Certificate Transparency's reference implementations test themselves with.
LEAVES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
FIRST_OF_EIGHT = (
    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
)
SIX_TO_EIGHT = (
    "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
)


def mth(hashes: Sequence[bytes]) -> bytes:
    """RFC 9162 section 2.1.1, as the text says it."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    k = split(len(hashes))
    return hashlib.sha256(b"\x01" + mth(hashes[:k]) + mth(hashes[k:])).digest()


def split(n: int) -> int:
    """The k of the RFC: the largest power of two with k < n."""
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def path(m: int, hashes: Sequence[bytes]) -> list[bytes]:
    """RFC 9162 section 2.1.3.1."""
    if len(hashes) == 1:
        return []
    k = split(len(hashes))
    if m < k:
        return [*path(m, hashes[:k]), mth(hashes[k:])]
    return [*path(m - k, hashes[k:]), mth(hashes[:k])]


def subproof(m: int, hashes: Sequence[bytes], *, whole: bool) -> list[bytes]:
    """RFC 9162 section 2.1.4.1."""
    if m == len(hashes):
        return [] if whole else [mth(hashes)]
    k = split(len(hashes))
    if m <= k:
        return [*subproof(m, hashes[:k], whole=whole), mth(hashes[k:])]
    return [*subproof(m - k, hashes[k:], whole=False), mth(hashes[:k])]


HASHES = [leaf_hash(number.to_bytes(2)) for number in range(70)]


def test_the_published_roots_and_proofs_come_out():
    hashes = [leaf_hash(leaf) for leaf in LEAVES]
    node = nodes_of(hashes)
    for size, root in enumerate(ROOTS, 1):
        assert Frontier().extend(hashes[:size]).root.hex() == root_of(size, node).hex() == root
    assert tuple(found.hex() for found in inclusion_proof(0, 8, node)) == FIRST_OF_EIGHT
    assert tuple(found.hex() for found in consistency_proof(1, 8, node)) == FIRST_OF_EIGHT
    assert tuple(found.hex() for found in consistency_proof(6, 8, node)) == SIX_TO_EIGHT
    assert root_of(0, node) == Frontier().root == EMPTY_ROOT


@pytest.mark.parametrize("size", [*range(1, 34), 63, 64, 65, 70])
def test_every_proof_of_a_tree_is_the_one_of_the_text_and_holds(size: int):
    node = nodes_of(HASHES)
    root = mth(HASHES[:size])
    assert root_of(size, node) == root == frontier_of(size, node).root
    for index in range(size):
        proof = inclusion_proof(index, size, node)
        assert list(proof) == path(index, HASHES[:size])
        verify_inclusion(HASHES[index], index, size, proof, root)
    for old in range(1, size):
        proof = consistency_proof(old, size, node)
        assert list(proof) == subproof(old, HASHES[:size], whole=True)
        verify_consistency(old, size, mth(HASHES[:old]), root, proof)
    for old in (0, size):
        assert consistency_proof(old, size, node) == ()
        verify_consistency(old, size, mth(HASHES[:old]), root, ())


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 13, 33])
def test_no_altered_inclusion_proof_holds(size: int):
    node = nodes_of(HASHES)
    root = mth(HASHES[:size])
    for index in range(size):
        proof = inclusion_proof(index, size, node)
        cases = [
            (HASHES[size], index, size, proof, root),
            (HASHES[index], size, size, proof, root),
            (HASHES[index], -1, size, proof, root),
            (HASHES[index], index, size, proof, HASHES[0] if size > 1 else HASHES[1]),
            (HASHES[index], index, size, (*proof, HASHES[0]), root),
            *((HASHES[index], other, size, proof, root) for other in range(size) if other != index),
            *((HASHES[index], index, size, changed, root) for changed in alterations(proof)),
        ]
        for case in cases:
            with pytest.raises(ProofError):
                verify_inclusion(*case)


@pytest.mark.parametrize("size", [2, 3, 7, 8, 13, 33])
def test_no_altered_consistency_proof_holds(size: int):
    node = nodes_of(HASHES)
    root = mth(HASHES[:size])
    for old in range(1, size):
        proof = consistency_proof(old, size, node)
        old_root = mth(HASHES[:old])
        cases = [
            (old, size, HASHES[69], root, proof),
            (old, size, old_root, HASHES[69], proof),
            (size + 1, size, old_root, root, proof),
            (0, size, old_root, root, ()),
            (size, size, old_root, root, ()),
            (old, size, old_root, root, ()),
            (old, size, old_root, root, (*proof, HASHES[0])),
            *((other, size, old_root, root, proof) for other in range(1, size) if other != old),
            *((old, size, old_root, root, changed) for changed in alterations(proof)),
        ]
        for case in cases:
            with pytest.raises(ProofError):
                verify_consistency(*case)


def alterations(proof: Sequence[bytes]):
    """The proof with one hash changed, missing, shortened or in another place."""
    for at, found in enumerate(proof):
        before, after = proof[:at], proof[at + 1 :]
        yield (*before, *after)
        yield (*before, bytes([found[0] ^ 1]) + found[1:], *after)
        yield (*before, found[:31], *after)
        if after:
            yield (*before, after[0], found, *after[1:])


def test_a_rewritten_history_has_no_proof():
    forged = [*HASHES[:5], leaf_hash(b"forged"), *HASHES[6:]]
    proof = consistency_proof(20, 40, nodes_of(forged))
    with pytest.raises(ProofError, match=r"proof\.old_root"):
        verify_consistency(20, 40, mth(HASHES[:20]), mth(forged[:40]), proof)


def test_what_cannot_be_proved_is_said_to_be_so():
    node = nodes_of(HASHES)
    for index, size in ((0, 0), (5, 5), (-1, 3)):
        with pytest.raises(ProofError, match=r"proof\.index"):
            inclusion_proof(index, size, node)
    for old, new in ((3, 2), (-1, 2)):
        with pytest.raises(ProofError, match=r"proof\.sizes"):
            consistency_proof(old, new, node)
    with pytest.raises(ProofError, match=r"proof\.root"):
        verify_consistency(0, 0, EMPTY_ROOT, HASHES[0], ())
    with pytest.raises(ValueError, match="2 leaves"):
        Frontier(2, ())
