"""Tiles: the addresses and widths of the specification's examples, and proofs from tiles as from memory."""

from __future__ import annotations

import pytest

from audit.merkle import consistency_proof, inclusion_proof, leaf_hash, node_hash, nodes_of, root_of
from audit.tiles import (
    ENTRIES,
    Tile,
    TileError,
    nodes_from,
    parse_bundle,
    parse_tile,
    subtree_root,
    tile_at,
    tiles_of,
    write_bundle,
)

HASHES = [leaf_hash(number.to_bytes(4)) for number in range(70_000)]


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 1_234_067), "tile/0/x001/x234/067"),  # the example of the specification
        (Tile(0, 0), "tile/0/000"),
        (Tile(1, 999, 17), "tile/1/999.p/17"),
        (Tile(2, 1000, 255), "tile/2/x001/000.p/255"),
        (Tile(ENTRIES, 273, 112), "tile/entries/273.p/112"),
    ],
)
def test_a_tile_has_one_address(tile: Tile, path: str):
    assert tile.path == path
    assert parse_tile(path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/1",
        "tile/0/x000/001",
        "tile/00/001",
        "tile/8/001",
        "tile/0/001.p/0",
        "tile/0/001.p/256",
        "tile/0/001.p/017",
        "tile/0/001/000",
        "tile/0/001\n",
        "tile/-1/001",
        "tile/entries/001.p",
        "/tile/0/001",
        "tile/0/../001",
    ],
)
def test_another_address_is_refused(path: str):
    with pytest.raises(TileError):
        parse_tile(path)


def test_the_tree_of_the_specification_has_the_tiles_it_names():
    tiles = list(tiles_of(70_000))
    by_level = {level: [tile for tile in tiles if tile.level == level] for level in (ENTRIES, 0, 1, 2, 3)}
    assert [len([tile for tile in by_level[level] if tile.width == 256]) for level in (ENTRIES, 0, 1)] == [273, 273, 1]
    assert by_level[ENTRIES][-1].width == by_level[0][-1].width == 112
    assert by_level[1][-1] == Tile(1, 1, 17)
    assert by_level[2] == [Tile(2, 0, 1)]
    assert not by_level[3]
    assert [tile for tile in tiles_of(256) if tile.level == 1] == [Tile(1, 0, 1)]
    assert list(tiles_of(0)) == []


def test_what_is_new_since_an_earlier_size_is_exactly_what_it_did_not_have():
    for since, size in ((0, 1), (1, 2), (255, 256), (256, 257), (300, 300), (300, 66_000), (65_535, 65_536)):
        had = set(tiles_of(since))
        assert set(tiles_of(size, since=since)) == set(tiles_of(size)) - had


def store(size: int) -> dict[Tile, bytes]:
    """The tiles of a tree, each level built from full tiles of the one below."""
    level, tiles, hashes = 0, {}, HASHES[:size]
    while hashes:
        full = []
        for at in range(0, len(hashes), 256):
            raw = b"".join(hashes[at : at + 256])
            tiles[Tile(level, at // 256, len(raw) // 32)] = raw
            if len(raw) == 8192:
                full.append(subtree_root(raw))
        level, hashes = level + 1, full
    return tiles


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 1000, 65_536, 70_000])
def test_tiles_give_the_roots_and_proofs_of_the_tree(size: int):
    tiles = store(size)
    assert set(tiles) == {tile for tile in tiles_of(size) if tile.level != ENTRIES}
    memory, from_tiles = nodes_of(HASHES[:size]), nodes_from(size, tiles.__getitem__)
    assert root_of(size, from_tiles) == root_of(size, memory)
    for place in {0, 1, size // 3, size // 2, size - 1}:
        if place < size:
            assert inclusion_proof(place, size, from_tiles) == inclusion_proof(place, size, memory)
        assert consistency_proof(place, size, from_tiles) == consistency_proof(place, size, memory)


def test_a_tile_that_is_too_short_is_refused():
    with pytest.raises(TileError, match=r"tile\.length"):
        root_of(3, nodes_from(3, lambda _tile: bytes(64)))
    with pytest.raises(TileError, match=r"tile\.missing"):
        tile_at(0, 1, 256)


def test_a_bundle_holds_its_entries():
    entries = [b"", b"a", b"b" * 65_535]
    assert parse_bundle(write_bundle(entries)) == entries
    assert write_bundle([b"ab"]) == b"\x00\x02ab"
    with pytest.raises(TileError, match=r"bundle\.entry"):
        write_bundle([b"x" * 65_536])
    for raw in (b"\x00", b"\x00\x02a", write_bundle([b""] * 257)):
        with pytest.raises(TileError, match=r"bundle\.form"):
            parse_bundle(raw)


def test_the_leaves_below_a_tile():
    assert (Tile(1, 1, 17).first_leaf, Tile(1, 1, 17).last_leaf) == (65_536, 65_536 + 17 * 256)
    assert (Tile(ENTRIES, 2, 3).first_leaf, Tile(ENTRIES, 2, 3).last_leaf) == (512, 515)
    assert subtree_root(HASHES[0] + HASHES[1]) == node_hash(HASHES[0], HASHES[1])
