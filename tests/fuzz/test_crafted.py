"""Cases somebody would think of, not chance: archives two readers could read differently, JSON for every entry point."""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from collections.abc import Iterator

import pytest
from django.test import Client

from audit.canonical import JsonError, parse_json
from handoffs.bundles.archive import BLOCK, MEMBERS, TRAILER, read_archive
from handoffs.bundles.gzip_member import GZIP_HEADER, store_blocks
from handoffs.bundles.limits import Limits
from tests.fuzz.archives import SEED, SMALL, entries, entry, pax
from tests.fuzz.oracle import OracleError, read_json
from tests.leoportal.test_api import token
from tests.support.portal import Portal

LIMITS = Limits()
CYRILLIC = str.maketrans("ao", "\u0430\u043e")
NAMES = [name.encode() for name in MEMBERS]


def packed(parts: list[bytes], trailer: bytes = TRAILER) -> bytes:
    return store_blocks(b"".join(parts) + trailer)


def around(at: int, *extra: bytes) -> list[bytes]:
    """The honest entries with others before number `at`."""
    honest = entries()
    return [*honest[:at], *extra, *honest[at:]]


def instead(at: int, *others: bytes) -> list[bytes]:
    honest = entries()
    return [*honest[:at], *others, *honest[at + 1 :]]


def differentials() -> Iterator[tuple[str, bytes]]:
    """Each of five members, each with every trick: duplicates, extension headers, sizes, streams, padding."""
    plain = gzip.decompress(SEED)
    for at, name in enumerate(NAMES):
        body, evil = SMALL[name.decode()], b"evil\n"
        yield from (
            (f"{name!r} {what}", raw)
            for what, raw in (
                ("twice, evil first", packed(around(at, entry(name, evil)))),
                ("twice, evil last", packed([*entries(), entry(name, evil)])),
                ("twice, the same", packed([*entries(), entries()[at]])),
                ("renamed by PAX", packed(instead(at, pax({"path": name.decode()}), entry(b"x", evil)))),
                ("resized by PAX", packed(around(at, pax({"size": "3"})))),
                ("resized to nothing by PAX", packed(around(at, pax({"size": "0"})))),
                ("linked by PAX", packed(around(at, pax({"linkpath": "/etc/passwd"})))),
                ("renamed by global PAX", packed([pax({"path": name.decode()}, kind=b"g"), *entries()])),
                ("PAX without a record", packed(around(at, entry(b"PaxHeaders/x", b"", kind=b"x")))),
                ("PAX with a broken length", packed(around(at, entry(b"PaxHeaders/x", b"99 path=x\n", kind=b"x")))),
                (
                    "renamed by GNU long name",
                    packed(instead(at, entry(b"././@LongLink", name + b"\0", kind=b"L"), entry(b"x", evil))),
                ),
                ("linked by GNU long link", packed(around(at, entry(b"././@LongLink", b"/etc/passwd\0", kind=b"K")))),
                ("sparse by GNU", packed(instead(at, entry(name, body, kind=b"S")))),
                (
                    "sparse by PAX",
                    packed(around(at, pax({"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "x"}))),
                ),
                ("contiguous", packed(instead(at, entry(name, body, kind=b"7")))),
                ("old type", packed(instead(at, entry(name, body, kind=b"\0")))),
                ("symbolic link", packed(instead(at, entry(name, b"", kind=b"2", link=b"/etc/passwd")))),
                ("hard link", packed(instead(at, entry(name, b"", kind=b"1", link=NAMES[at - 1])))),
                ("hard link with a body", packed(instead(at, entry(name, body, kind=b"1", link=NAMES[at - 1])))),
                ("folder with a body", packed(instead(at, entry(name, body, kind=b"5")))),
                ("device", packed(instead(at, entry(name, b"", kind=b"3")))),
                ("FIFO", packed(instead(at, entry(name, b"", kind=b"6")))),
                ("volume header", packed(around(at, entry(b"label", b"", kind=b"V")))),
                ("multi-volume", packed(instead(at, entry(name, body, kind=b"M")))),
                ("unknown type", packed(instead(at, entry(name, body, kind=b"Z")))),
                (
                    "size in base 256",
                    packed(instead(at, entry(name, body, size=b"\x80" + len(body).to_bytes(11, "big")))),
                ),
                ("negative size in base 256", packed(instead(at, entry(name, body, size=b"\xff" * 12)))),
                ("negative size in octal", packed(instead(at, entry(name, body, size=b"-0000000001\0")))),
                ("size with blanks", packed(instead(at, entry(name, body, size=b"%11o " % len(body))))),
                ("size without an end", packed(instead(at, entry(name, body, size=b"%012o" % len(body))))),
                ("size beyond the end", packed(instead(at, entry(name, body, size=b"00000777777\0")))),
                ("size one short", packed(instead(at, entry(name, body, size=b"%011o\0" % (len(body) - 1))))),
                ("checksum with other blanks", packed(instead(at, _unmended(entry(name, body), b" %o\0")))),
                ("checksum signed", packed(instead(at, _unmended(entry(name, body), b"%07o\0")))),
                ("GNU magic", packed(instead(at, entry(name, body, magic=b"ustar  \0")))),
                ("no magic", packed(instead(at, entry(name, body, magic=b"")))),
                ("prefix", packed(instead(at, entry(name, body, prefix=b"a")))),
                ("prefix of a dot", packed(instead(at, entry(name, body, prefix=b".")))),
                ("bytes after the name's end", packed(instead(at, entry(name + b"\0evil", body)))),
                ("bytes in the padding", packed(instead(at, entry(name, body)[:-1] + b"x"))),
                ("zero block before", packed(around(at, bytes(BLOCK)))),
                ("end before", packed(around(at, TRAILER))),
                ("dot before the name", packed(instead(at, entry(b"./" + name, body)))),
                ("blank after the name", packed(instead(at, entry(name + b" ", body)))),
                ("slash after the name", packed(instead(at, entry(name + b"/", body)))),
                ("upper case", packed(instead(at, entry(name.upper(), body)))),
                ("upper case beside", packed([*entries(), entry(name.upper(), body)])),
                ("folder above", packed(instead(at, entry(b"a/../" + name, body)))),
                ("absolute", packed(instead(at, entry(b"/" + name, body)))),
                ("backslash", packed(instead(at, entry(b".\\" + name, body)))),
                ("look-alike letter", packed(instead(at, entry(name.decode().translate(CYRILLIC).encode(), body)))),
                ("invisible letter", packed(instead(at, entry("\u200b".encode() + name, body)))),
                ("setuid", packed(instead(at, entry(name, body, mode=b"0004755\0")))),
                ("owner", packed(instead(at, entry(name, body, owner=b"root")))),
                ("time", packed(instead(at, entry(name, body, mtime=b"00000000001\0")))),
                ("link name on a file", packed(instead(at, entry(name, body, link=b"x")))),
                ("missing", packed(entries()[:at] + entries()[at + 1 :])),
                (
                    "stream split inside",
                    store_blocks(plain[: BLOCK * (at + 1)]) + store_blocks(plain[BLOCK * (at + 1) :]),
                ),
            )
        )
    yield from (
        ("two streams", SEED + SEED),
        ("an empty stream behind", SEED + gzip.compress(b"", mtime=0)),
        ("an empty stream before", gzip.compress(b"", mtime=0) + SEED),
        ("bytes behind", SEED + b"x"),
        ("a zero byte behind", SEED + b"\0"),
        ("no trailer", packed(entries(), trailer=b"")),
        ("half a trailer", packed(entries(), trailer=bytes(BLOCK))),
        ("a long trailer", packed(entries(), trailer=bytes(BLOCK * 18))),
        ("an archive behind the end", packed([*entries(), TRAILER, *entries()])),
        ("half a block behind", packed([*entries(), TRAILER], trailer=bytes(100))),
        ("another order", packed(entries()[::-1])),
        ("a gzip name", SEED[:3] + b"\x08" + SEED[4:10] + b"x\0" + SEED[10:]),
        ("a gzip comment", SEED[:3] + b"\x10" + SEED[4:10] + b"x\0" + SEED[10:]),
        ("a gzip extra field", SEED[:3] + b"\x04" + SEED[4:10] + b"\x01\0x" + SEED[10:]),
        (
            "a gzip header checksum",
            SEED[:3]
            + b"\x02"
            + SEED[4:10]
            + struct.pack("<H", zlib.crc32(SEED[:3] + b"\x02" + SEED[4:10]) & 0xFFFF)
            + SEED[10:],
        ),
        ("a gzip time", SEED[:4] + b"\1\0\0\0" + SEED[8:]),
        ("a wrong checksum", SEED[:-8] + b"\0\0\0\0" + SEED[-4:]),
        ("a wrong length", SEED[:-4] + b"\1\0\0\0"),
        ("compressed", gzip.compress(plain, mtime=0)),
        ("a preset of zlib", GZIP_HEADER + zlib.compress(plain) + SEED[-8:]),
    )


def _unmended(raw: bytes, form: bytes) -> bytes:
    """An entry whose checksum is right but written in another way."""
    total = sum(raw[:148]) + sum(raw[156:BLOCK]) + 8 * 0x20
    return raw[:148] + (form % total).ljust(8, b" ")[:8] + raw[156:]


CASES = dict(differentials())


@pytest.mark.threat("BUN-07")
def test_every_archive_two_readers_could_read_differently_is_refused():
    assert len(CASES) >= 300
    accepted = [what for what, raw in CASES.items() if not read_archive(raw, LIMITS).problems]
    assert accepted == []
    assert not read_archive(SEED, LIMITS).problems


def look_alikes(name: str) -> Iterator[str]:
    """Names a person or a file system could take for `name`."""
    yield from (
        name.upper(),
        name.title(),
        name.swapcase(),
        f"./{name}",
        f"/{name}",
        f"../{name}",
        f"a/{name}",
        f"{name}/",
        f".\\{name}",
    )
    yield from (
        f"{name} ",
        f" {name}",
        f"{name}.",
        f"{name}\0",
        f"{name}\0x",
        f"{name}::$DATA",
        f"{name}\n",
        f"{name}\r",
        f"\t{name}",
    )
    for letter, others in {"a": "\u0430\u00e5\uff41", "e": "\u0435e\u0301\u00e9", "o": "\u043e\u03bf", "c": "\u0441", "i": "\u0131\u0456\u0130", "s": "\u017f\u0455", "n": "n\u0303", "l": "\u04cf", "k": "\u212a"}.items():  # fmt: skip
        for other in others.split() if len(others) == 1 else [*others]:
            if letter in name:
                yield name.replace(letter, other, 1)
    for invisible in "\u200b\u200c\u200d\u2060\ufeff\u00ad\u202e\u034f":
        yield invisible + name
        yield name[:3] + invisible + name[3:]


@pytest.mark.threat("BUN-08")
@pytest.mark.parametrize("name", MEMBERS)
def test_no_other_spelling_of_a_name_is_taken(name: str):
    at = MEMBERS.index(name)
    tried = 0
    for spelling in look_alikes(name):
        if spelling.rstrip("\0") == name:
            continue
        raw = packed(instead(at, entry(spelling.encode()[:100], SMALL[name])))
        found = read_archive(raw, LIMITS)
        codes = {problem.code for problem in found.problems}
        assert "archive.members" in codes, ascii(spelling)
        assert name not in found.members, ascii(spelling)
        tried += 1
    assert tried >= 35


@pytest.mark.threat("BUN-06")
@pytest.mark.parametrize("size", [b"-0000000001\0", b"\xff" * 12, b"\x80" + b"\xff" * 11, b"77777777777\0"])
def test_a_size_that_leads_backwards_or_away_ends_the_walk(size: bytes):
    for at, name in enumerate(NAMES):
        found = read_archive(packed(instead(at, entry(name, b"x", size=size))), LIMITS)
        assert "archive.readable" in {problem.code for problem in found.problems}
        assert list(found.members) == list(MEMBERS[:at])


def malformed() -> list[bytes]:
    """Documents that some JSON reader takes and a strict one must not."""
    values = [b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e999", b"01", b"+1", b".5", b"1.", b"1e", b"0x10", b"1_000", b"9007199254740992",
              b"-9007199254740993", b"123456789012345678901234567890", b"True", b"None", b"nul", b"tru", b"'a'", b'"\\ud800"', b'"\\udc00\\ud800"',
              b'"\\ud83d\\u0041"', b'"\\x41"', b'"\\u12"', b'"\\u00zz"', b'"a\nb"', b'"a\tb"', b'"\x01"', b'"\\u0000"', b'"unfinished', b"[1,]",
              b"[,1]", b"[1 2]", b'{"a":1,}', b"{,}", b'{"a" 1}', b"{a:1}", b"{1:1}", b'{"a":}', b'{"a":1,"a":2}', b'{"a":1,"\\u0061":2}',
              b'{"b":{"a":1,"a":1}}', b"[" * 65 + b"]" * 65, b'{"a":' * 65 + b"1" + b"}" * 65, b"[" * 10_000, b"/* */ 1", b"// x\n1", b"1 2",
              b"undefined", b'"\xff"', b'"\xc0\x80"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b"\xef\xbb\xbf1", b"\x00", b"", b" "]  # fmt: skip
    nested = [b'{"x":[' + value + b"]}" for value in values if value.strip()]
    deep = [
        b'[{"a":' * 33 + b"1" + b"}]" * 33,
        b'{"[":[' * 33 + b"]}" * 33,
        b"[" * 65 + b'"]"' + b"]" * 65,
        b"[" * 40 + b'"[","]"' + b"}" * 40,
    ]
    return [
        *values,
        *nested,
        *deep,
        b"{}x",
        b"{} {}",
        b"{}\0",
        "{}".encode("utf-16"),
        "{}".encode("utf-32"),
        b'{"":1,"":2}',
        b"]",
        b"}",
        b":",
        b",",
    ]


@pytest.mark.threat("JSN-01")
def test_malformed_documents_are_refused_as_the_specification_says():
    assert len(malformed()) >= 120
    for raw in malformed():
        with pytest.raises(JsonError):
            parse_json(raw)
        with pytest.raises(OracleError):
            read_json(raw)


@pytest.mark.threat("JSN-01")
@pytest.mark.parametrize("path", ["gates", "agents", "agents?format=sarif&kind=SECURITY"])
def test_the_interface_answers_malformed_documents_with_4xx(portal: Portal, path: str):
    portal.hand_over()
    client = Client(raise_request_exception=False)
    secret = token("story-gate")
    head = portal.pull().head_sha
    good = {"gate": "story-release", "conclusion": "success", "run_id": "r", "head_sha": head, "evidence": {}}
    whole = json.dumps(good).encode()
    bodies = malformed()
    bodies += [whole.replace(b'"evidence": {}', b'"evidence": ' + raw) for raw in malformed() if raw.strip()]
    bodies += [
        b"1",
        b'"x"',
        b"null",
        b"[]",
        b"{}",
        b'{"gate":[]}',
        whole.replace(b'"r"', b"7"),
        whole.replace(b'"success"', b'"won"'),
    ]
    for raw in bodies:
        answer = client.post(
            f"/api/v1/prs/acme/payments/1/{path}",
            data=raw,
            content_type="application/json",
            headers={"authorization": f"Bearer {secret}"},
        )
        assert 400 <= answer.status_code < 500, (answer.status_code, raw[:200])
        assert set(answer.json()) == {"code", "detail"}
