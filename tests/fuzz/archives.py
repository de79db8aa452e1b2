"""Archives: five small members, broken in the stream, in the tar structure or in a header with its checksum mended."""

from __future__ import annotations

import functools
import gzip
import random
import struct
import zlib

from handoffs.bundles.archive import BLOCK, MEMBERS, TRAILER, _header, read_archive, write_archive
from handoffs.bundles.gzip_member import GZIP_HEADER, store_blocks
from handoffs.bundles.limits import Limits
from tests.fuzz.engine import INTERESTING, Target, mutate_bytes
from tests.fuzz.oracle import by_gnu_tar, by_tarfile

LIMITS = Limits()
SMALL = {name: f"content of {name}\n".encode() * (1 + len(name) % 3) for name in MEMBERS}
SEED = write_archive(SMALL)
KINDS = b"\x001234567DKLMNSVXgx"
NAMES = (
    b"changes.patch ", b"CHANGES.PATCH", b"./changes.patch", b"../changes.patch", b"/changes.patch", b"changes.patch/",
    b"changes.patch\0x", "ch\u0430nges.patch".encode(), "changes.p\u00e4tch".encode(), b"PaxHeaders/x", b"././@LongLink", b"", b"manifest.json",
)  # fmt: skip
FIELDS = {
    "name": (0, 100), "mode": (100, 8), "uid": (108, 8), "gid": (116, 8), "size": (124, 12), "mtime": (136, 12), "checksum": (148, 8),
    "kind": (156, 1), "link": (157, 100), "magic": (257, 8), "owner": (265, 32), "major": (329, 8), "prefix": (345, 155),
}  # fmt: skip


def entry(name: bytes, content: bytes, **fields: bytes) -> bytes:
    """One tar entry with header fields overwritten and the checksum made right again."""
    header = bytearray(_header("x", len(content)))
    for field, value in {"name": name.ljust(100, b"\0"), **fields}.items():
        at, most = FIELDS[field]
        header[at : at + most] = (
            value[:most].ljust(len(header[at : at + most]), b"\0") if len(value) < most else value[:most]
        )
    return mended(bytes(header)) + content + bytes(-len(content) % BLOCK)


def mended(header: bytes) -> bytes:
    """A header with the checksum it should have."""
    blank = header[:148] + b" " * 8 + header[156:]
    return blank[:148] + b"%06o\x00 " % sum(blank) + blank[156:]


def entries(members: dict[str, bytes] = SMALL) -> list[bytes]:
    """The five honest entries."""
    return [entry(name.encode(), content) for name, content in members.items()]


def pax(records: dict[str, str], kind: bytes = b"x") -> bytes:
    """A PAX header block with its records."""
    lines = []
    for key, value in records.items():
        body = f" {key}={value}\n".encode()
        length = len(body) + len(str(len(body) + 2))
        lines.append(str(length).encode() + body)
    return entry(b"PaxHeaders/x", b"".join(lines), kind=kind)


def mutate(_raw: bytes, randomly: random.Random) -> bytes:
    """A broken stream, a broken tar in a good stream, or a broken header with a good checksum."""
    how = randomly.randrange(10)
    if how == 0:
        return mutate_bytes(SEED, randomly)
    if how == 1:
        return mutate_stream(gzip.decompress(SEED), randomly)
    parts = entries()
    if how <= 3:
        return store_blocks(mutate_bytes(b"".join(parts) + TRAILER, randomly))
    for _ in range(randomly.choice((1, 1, 2))):
        at = randomly.randrange(len(parts))
        parts[at : at + 1] = mutate_entry(parts[at], randomly)
    if randomly.random() < 0.1:
        randomly.shuffle(parts)
    trailer = (
        TRAILER
        if randomly.random() < 0.9
        else randomly.choice((b"", bytes(BLOCK), bytes(3 * BLOCK), TRAILER + b"x", TRAILER + parts[0]))
    )
    return store_blocks(b"".join(parts) + trailer)


def mutate_entry(raw: bytes, randomly: random.Random) -> list[bytes]:
    """One entry: a field replaced and mended, doubled, dropped, or with another header before it."""
    field = randomly.choice(tuple(FIELDS))
    at, most = FIELDS[field]
    header = bytearray(raw[:BLOCK])
    match randomly.randrange(8):
        case 0:
            value = bytes([randomly.choice(KINDS)])
            header[156:157] = value
        case 1:
            header[0:100] = randomly.choice(NAMES).ljust(100, b"\0")
        case 2:
            size = randomly.choice(
                (
                    b"-0000000001\0",
                    b"\x80" + bytes(10) + b"\x05",
                    b"\xff" * 12,
                    b"77777777777\0",
                    b"00000000000\0",
                    b"       1000 ",
                    b"0x000000010\0",
                )
            )
            header[124:136] = size
        case 3:
            header[at : at + most] = bytes(randomly.randrange(256) for _ in range(most))
        case 4:
            value = randomly.choice(INTERESTING)[:most]
            header[at : at + len(value)] = value
        case 5:
            return [raw, raw] if randomly.random() < 0.5 else []
        case 6:
            return [
                pax(
                    {
                        randomly.choice(("path", "size", "linkpath", "GNU.sparse.name")): randomly.choice(
                            ("evil", "5", "rollback.md")
                        )
                    }
                ),
                raw,
            ]
        case _:
            return [entry(b"././@LongLink", b"evil\0", kind=b"L"), raw]
    return [(mended(bytes(header)) if randomly.random() < 0.85 else bytes(header)) + raw[BLOCK:]]


def mutate_stream(content: bytes, randomly: random.Random) -> bytes:
    """The honest tar in another gzip stream: levels, flags, several members, wrong trailers."""
    match randomly.randrange(5):
        case 0:
            return gzip.compress(content, compresslevel=randomly.randrange(10), mtime=0)
        case 1:
            cut = randomly.randrange(len(content))
            return store_blocks(content[:cut]) + store_blocks(content[cut:])
        case 2:
            return SEED[:3] + bytes([randomly.randrange(1, 256)]) + SEED[4:]
        case 3:
            return SEED[:-8] + struct.pack("<II", zlib.crc32(content) ^ randomly.randrange(1, 1 << 32), len(content))
        case _:
            return GZIP_HEADER + bytes(randomly.randrange(256) for _ in range(randomly.randrange(60)))


@functools.lru_cache(maxsize=1024)
def others_agree(raw: bytes) -> bool:
    """tarfile and GNU tar see the same names and contents, in the same order."""
    ours = list(read_archive(raw, LIMITS).members.items())
    return ours == by_tarfile(raw) == by_gnu_tar(raw)


def judge(raw: bytes) -> bool:
    """Never raises; what has no problem is exactly what the writer makes, and every reader sees the same in it."""
    found = read_archive(raw, LIMITS)
    if found.problems:
        assert all(
            problem.code.startswith("archive.") and problem.got and problem.expected for problem in found.problems
        )
        return False
    assert raw == write_archive(dict(found.members)), "accepted, but not what the writer makes"
    assert others_agree(raw), "accepted, but other readers see something else"
    return True


TARGET = Target("archive", (SEED,), judge, mutate)
