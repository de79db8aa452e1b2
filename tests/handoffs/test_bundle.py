"""The archive reader, the writer and the manifest."""

from __future__ import annotations

import gzip
import random
import struct
import time
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handoffs.bundles.archive import TRAILER, _header
from handoffs.bundles.bundle import (
    MEMBERS,
    BundleError,
    Change,
    Limits,
    parse_manifest,
    read_archive,
    read_change,
    write_archive,
)
from handoffs.bundles.gzip_member import GZIP_HEADER, store_blocks
from tests.support.bundles import honest_handover

LIMITS = Limits()
SMALL = {name: f"content of {name}\n".encode() for name in MEMBERS}


def codes(raw: bytes, limits: Limits = LIMITS) -> set[str]:
    return {problem.code for problem in read_archive(raw, limits).problems}


def entry(name: str, content: bytes, **fields: bytes) -> bytes:
    """One tar entry with header fields overwritten and the checksum made right again."""
    places = {"mode": 100, "size": 124, "type": 156, "link": 157, "magic": 257, "uname": 265, "prefix": 345}
    header = bytearray(_header("x", len(content)))
    header[0:100] = name.encode("latin-1").ljust(100, b"\0")
    for field, value in fields.items():
        header[places[field] : places[field] + len(value)] = value
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\x00 " % sum(header)
    return bytes(header) + content + bytes(-len(content) % 512)


def archive(*entries: bytes, trailer: bytes = TRAILER) -> bytes:
    return store_blocks(b"".join(entries) + trailer)


def whole(**replaced: bytes) -> bytes:
    return archive(*(replaced.get(name, entry(name, SMALL[name])) for name in MEMBERS))


def test_what_is_written_is_read_back():
    found = read_archive(write_archive(SMALL), LIMITS)
    assert dict(found.members) == SMALL
    assert not found.problems
    assert whole() == write_archive(SMALL)


def test_the_same_members_give_these_bytes_everywhere():
    raw = write_archive(dict.fromkeys(MEMBERS, b""))
    assert raw[:15] == GZIP_HEADER + b"\x01\x00\x0e\xff\xf1"
    assert len(raw) == 10 + 5 + 7 * 512 + 8
    assert raw[-8:] == struct.pack("<II", zlib.crc32(raw[15:-8]), 3584)


def test_other_tools_can_read_it():
    assert gzip.decompress(write_archive(SMALL)).count(b"ustar\x0000") == 5


@pytest.mark.threat("BUN-05")
def test_no_flipped_bit_passes_anywhere_in_a_small_archive():
    raw = write_archive(SMALL)
    for at in range(len(raw)):
        broken = bytearray(raw)
        broken[at] ^= 1 << (at % 8)
        assert codes(bytes(broken)), f"byte {at}"


def test_no_flipped_bit_passes_in_the_framing():
    raw = write_archive(SMALL)
    for bit in (*range(8 * 700), *range(8 * (len(raw) - 20), 8 * len(raw))):
        broken = bytearray(raw)
        broken[bit // 8] ^= 1 << (bit % 8)
        assert codes(bytes(broken)), f"bit {bit}"


def test_every_truncation_is_refused():
    raw = write_archive(SMALL)
    assert all(codes(raw[:length]) for length in range(0, len(raw), 37))
    assert codes(raw + b"\0")
    assert codes(raw + raw) == {"archive.readable", "archive.deterministic"}


@pytest.mark.threat("BUN-06")
def test_a_bomb_is_refused_without_being_unpacked():
    machine = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = b"".join(machine.compress(bytes(1 << 20)) for _ in range(512)) + machine.flush()
    started = time.process_time()
    assert "archive.size" in codes(GZIP_HEADER + packed + bytes(8))
    assert time.process_time() - started < 0.5


@pytest.mark.threat("BUN-06")
def test_what_grows_more_than_two_hundred_times_is_refused_however_small_it_is():
    packed = zlib.compress(bytes(30 << 20), 9, -15)
    assert len(packed) * LIMITS.max_ratio < 30 << 20 < LIMITS.max_unpacked_bytes
    assert "archive.size" in codes(GZIP_HEADER + packed + struct.pack("<II", zlib.crc32(bytes(30 << 20)), 30 << 20))


@pytest.mark.threat("BUN-06")
def test_a_negative_size_does_not_hang():
    broken = archive(entry("changes.patch", b"", size=b"-0000000001\x00"), *(entry(n, SMALL[n]) for n in MEMBERS[2:]))
    assert "archive.readable" in codes(broken)


@pytest.mark.threat("BUN-01")
@pytest.mark.parametrize("kind", [b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"S", b"x", b"g", b"L", b"K", b"\0"])
def test_only_regular_files_are_taken(kind):
    broken = whole(**{"rollback.md": entry("rollback.md", b"text", type=kind)})
    assert "archive.regular_files" in codes(broken)


@pytest.mark.threat("BUN-08")
@pytest.mark.parametrize(
    "name",
    [
        "ch\u0430nges.patch".encode().decode("latin-1"),
        "CHANGES.PATCH",
        "changes.patch\0x",
        "./changes.patch",
        "../changes.patch",
        "/changes.patch",
        "changes.patch ",
        "changes.patch/",
        "a/changes.patch",
        "",
    ],
)
def test_only_the_exact_names_are_taken(name):
    found = codes(whole(**{"changes.patch": entry(name, b"x")}))
    assert "archive.members" in found


@pytest.mark.threat("BUN-07")
@pytest.mark.parametrize(
    ("broken", "code"),
    [
        (whole() + whole(), "archive.readable"),
        (archive(*(entry(n, SMALL[n]) for n in MEMBERS), entry("extra", b"x")), "archive.members"),
        (archive(*(entry(n, SMALL[n]) for n in MEMBERS[1:])), "archive.members"),
        (archive(*(entry(n, SMALL[n]) for n in MEMBERS), entry("rollback.md", b"x")), "archive.unique_names"),
        (archive(*(entry(n, SMALL[n]) for n in MEMBERS), entry("ROLLBACK.md", b"x")), "archive.unique_names"),
        (archive(*(entry(n, SMALL[n]) for n in MEMBERS), entry("../rollback.md", b"x")), "archive.no_traversal"),
        (archive(*(entry(n, SMALL[n]) for n in reversed(MEMBERS))), "archive.deterministic"),
        (archive(*(entry(n, SMALL[n]) for n in MEMBERS), trailer=bytes(512)), "archive.readable"),
        (archive(*(entry(n, SMALL[n]) for n in MEMBERS), trailer=bytes(10240)), "archive.deterministic"),
        (archive(*(entry(n, SMALL[n]) for n in MEMBERS), trailer=TRAILER + b"more"), "archive.readable"),
        (whole(**{"rollback.md": entry("rollback.md", b"x", mode=b"0004755\x00")}), "archive.deterministic"),
        (whole(**{"rollback.md": entry("rollback.md", b"x", uname=b"root")}), "archive.deterministic"),
        (whole(**{"rollback.md": entry("rollback.md", b"x", prefix=b"tmp")}), "archive.members"),
        (whole(**{"rollback.md": entry("rollback.md", b"x", magic=b"ustar  \x00")}), "archive.readable"),
        (whole(**{"rollback.md": entry("rollback.md", b"x")[:-1] + b"y"}), "archive.deterministic"),
        (whole(**{"rollback.md": entry("rollback.md", b"x", size=b"\x80" + bytes(10) + b"\x01")}), "archive.readable"),
    ],
)
def test_two_readers_cannot_disagree(broken, code):
    assert code in codes(broken)


@pytest.mark.threat("BUN-05")
@pytest.mark.parametrize("level", [1, 9])
def test_a_compressed_archive_is_read_and_refused(level):
    content = gzip.decompress(write_archive(SMALL))
    end = struct.pack("<II", zlib.crc32(content), len(content))
    found = read_archive(GZIP_HEADER + zlib.compress(content, level, -15) + end, LIMITS)
    assert dict(found.members) == SMALL
    assert {problem.code for problem in found.problems} == {"archive.deterministic"}


@pytest.mark.parametrize(("flags", "more"), [(b"\x08", b"name\0"), (b"\x01", b"")])
def test_optional_gzip_fields_are_refused(flags, more):
    raw = write_archive(SMALL)
    assert "archive.readable" in codes(raw[:3] + flags + raw[4:10] + more + raw[10:])


@pytest.mark.parametrize("name", MEMBERS)
def test_a_member_over_its_limit_is_refused(name):
    limit = LIMITS.of_member(name)
    assert "archive.size" not in codes(write_archive({**SMALL, name: bytes(limit)}))
    assert "archive.size" in codes(write_archive({**SMALL, name: bytes(limit + 1)}))


def test_writing_asks_for_exactly_the_members():
    with pytest.raises(ValueError, match="expected"):
        write_archive({**SMALL, "more": b""})


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(MEMBERS), st.binary(max_size=1200), min_size=5))
def test_any_content_comes_back_as_it_was(members):
    found = read_archive(write_archive(members), LIMITS)
    assert dict(found.members) == members
    assert not found.problems


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=3000))
def test_no_bytes_make_the_reader_fail(raw):
    assert codes(raw)
    assert codes(store_blocks(raw))


@pytest.mark.threat("BUN-01")
def test_mutated_archives_never_crash_and_never_pass():
    raw, randomly = write_archive(SMALL), random.Random(7)
    for _ in range(3000):
        content = bytearray(gzip.decompress(raw))
        for _ in range(randomly.randint(1, 6)):
            content[randomly.randrange(len(content))] = randomly.randrange(256)
        found = read_archive(store_blocks(bytes(content)), LIMITS)
        assert found.problems or store_blocks(bytes(content)) == write_archive(dict(found.members))


def test_the_patch_of_a_verified_archive_is_read_again():
    honest = honest_handover()
    assert read_change(honest.raw) == Change(honest.base, honest.members["changes.patch"])
    with pytest.raises(BundleError, match="archive"):
        read_change(honest_handover().raw[:-1])


def test_the_honest_manifest_is_read():
    assert parse_manifest(honest_handover().members["manifest.json"]).prd_id == "PRD-7"


@pytest.mark.threat("JSN-01")
@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b"{}", b'{"a":1,"a":2}', b'{"a":NaN}', b"[" * 100, b"\xff", b'{"a":1e999}', b'"\\ud800"', b'{"a":1}x'],
)
def test_a_manifest_that_is_not_strict_json_is_refused(raw):
    with pytest.raises(BundleError) as caught:
        parse_manifest(raw)
    assert caught.value.code in {"manifest.json", "manifest.schema"}
