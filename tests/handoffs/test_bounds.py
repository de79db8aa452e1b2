"""The worst inputs that fit the limits: what they cost is bounded, in memory and in time, whoever made them."""

from __future__ import annotations

import base64
import subprocess
import sys
import textwrap
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from handoffs.bundles.archive import read_archive, write_archive
from handoffs.bundles.gzip_member import GZIP_HEADER, store_blocks
from handoffs.bundles.limits import Limits
from handoffs.bundles.patches_binary import PatchError
from handoffs.bundles.patches_reading import parse_patch
from handoffs.checks.isolation import Ceiling, run_isolated
from handoffs.checks.verification import verify_bundle
from handoffs.diffing import MAX_FILES, list_changes, page_of, read_diff
from tests.fuzz.archives import entry
from tests.support.bundles import honest_handover, with_patch

HONEST = honest_handover()
LIMITS = Limits()
HEAD = b"diff --git a/README.md b/README.md\n--- a/README.md\n+++ b/README.md\n"
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def binary(kind: bytes, size: int, data: bytes, *, name: bytes) -> bytes:
    """One section of a binary patch."""
    packed = zlib.compress(data, 1)
    lines = [packed[at : at + 52] for at in range(0, len(packed), 52)]
    coded = b"".join(_LETTERS[len(line) - 1 : len(line)] + base64.b85encode(line, pad=True) + b"\n" for line in lines)
    head = b"diff --git a/%b b/%b\nnew file mode 100644\nindex 0000000..1111111\nGIT binary patch\n" % (name, name)
    return head + b"%b %d\n" % (kind, size) + coded + b"\n"


def varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def amplifying_delta(target: int) -> bytes:
    """A delta that copies the same 16 MiB again and again."""
    return varint(1 << 24) + varint(target) + b"\xf0\xff\xff\xff" * (target >> 24)


def patched(patch: bytes) -> bytes:
    return write_archive({**HONEST.members, "changes.patch": patch})


def with_sbom(raw: bytes) -> bytes:
    return write_archive({**HONEST.members, "sbom.cdx.json": raw})


def filled(piece: bytes, size: int, head: bytes = b"", tail: bytes = b"") -> bytes:
    return head + piece * ((size - len(head) - len(tail)) // len(piece)) + tail


SBOM, PATCH = LIMITS.max_sbom_bytes, LIMITS.max_patch_bytes
BIG = 120 << 20
WORST: dict[str, Callable[[], bytes]] = {
    "deep JSON": lambda: with_sbom(b"[" * SBOM),
    "deep JSON objects": lambda: with_sbom(filled(b'{"a":', SBOM)),
    "small JSON values": lambda: with_sbom(filled(b"{},", SBOM, b'{"components":[', b"{}]}")),
    "as many JSON values as may be": lambda: with_sbom(filled(b"{},", 5_900_000, b'{"components":[', b"{}]}")),
    "one long JSON text": lambda: with_sbom(filled(b"a", SBOM, b'{"x":"', b'"}')),
    "JSON escapes": lambda: with_sbom(filled(b"\\u00e9", SBOM, b'{"x":"', b'"}')),
    "short patch lines": lambda: patched(filled(b" \n", PATCH, HEAD + b"@@ -1,9999999 +1,9999999 @@\n")),
    "tiny hunks": lambda: patched(filled(b"@@ -1 +1 @@\n-a\n+b\n", PATCH, HEAD)),
    "as many short lines as may be": lambda: patched(
        filled(b" \n", 2 * 999_990, HEAD + b"@@ -1,9999999 +1,9999999 @@\n")
    ),
    "as many tiny hunks as may be": lambda: patched(filled(b"@@ -1 +1 @@\n-a\n+b\n", 18 * 333_000, HEAD)),
    "tiny files": lambda: patched(filled(b"diff --git a/a b/a\nold mode 100644\nnew mode 100755\n", PATCH)),
    "changed lines": lambda: patched(filled(b"+a\n", PATCH, HEAD + b"@@ -0,0 +1,9999999 @@\n")),
    "one long line": lambda: patched(filled(b"a", PATCH, HEAD + b"@@ -1 +1 @@\n-x\n+", b"\n")),
    "zeros in binary": lambda: patched(b"".join(binary(b"literal", BIG, bytes(BIG), name=b"%d" % n) for n in range(2))),
    "copying deltas": lambda: patched(
        b"".join(binary(b"delta", len(d := amplifying_delta(2 << 30)), d, name=b"%d" % n) for n in range(40))
    ),
    "many entries": lambda: store_blocks(entry(b"x", b"") * (LIMITS.max_unpacked_bytes // 512 - 1)),
}


def high_water() -> int:
    """The largest resident size since it was last reset. Units: bytes."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) * 1024


def growth[T](work: Callable[[], T]) -> tuple[T, int]:
    """What `work` returns, and by how much it made this process larger at most, in bytes.

    The child is forked from a test worker whose own size depends on the tests before; it is no part of the figure.
    """
    Path("/proc/self/clear_refs").write_text("5")
    before = high_water()
    return work(), high_water() - before


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.threat("BUN-06")
@pytest.mark.threat("PAT-12")
@pytest.mark.parametrize("name", WORST)
def test_the_worst_that_fits_the_limits_is_refused_within_them(name):
    raw = WORST[name]()
    context = HONEST.context(raw)

    def verify() -> tuple[bool, int]:
        return growth(lambda: verify_bundle(raw, git=HONEST.git, context=context).is_verified)

    verified, grown = run_isolated(tuple[bool, int], verify, Ceiling())
    assert not verified
    assert grown < 512 << 20, f"{grown >> 20} MiB for {len(raw) >> 20} MiB"


def test_binary_halves_share_one_budget():
    half = LIMITS.max_blob_bytes // 2 + 1
    one, two = (binary(b"literal", half, bytes(half), name=name) for name in (b"a", b"b"))
    assert parse_patch(one, LIMITS).files
    with pytest.raises(PatchError, match=r"patch\.limits"):
        parse_patch(one + two, LIMITS)
    delta = varint(10) + varint(LIMITS.max_blob_bytes) + b"\x90\x0a"
    with pytest.raises(PatchError, match=r"patch\.limits"):
        parse_patch(binary(b"delta", len(delta), delta, name=b"c"), LIMITS)
    with pytest.raises(PatchError, match=r"patch\.parses"):
        parse_patch(binary(b"delta", 2, b"\xff\xff", name=b"d"), LIMITS)


@pytest.mark.threat("BUN-06")
def test_a_bomb_of_four_gigabytes_costs_next_to_nothing(tmp_path):
    machine = zlib.compressobj(9, zlib.DEFLATED, -15)
    million = machine.compress(bytes(1 << 20)) + machine.flush(zlib.Z_FULL_FLUSH)
    packed = million * 4096 + machine.flush()
    bomb = tmp_path / "bomb.tar.gz"
    bomb.write_bytes(GZIP_HEADER + packed + bytes(8))
    program = """
        import sys, time, zlib
        from pathlib import Path
        from handoffs.bundles.archive import read_archive
        from handoffs.bundles.limits import Limits
        limits, raw = Limits(), Path(sys.argv[1]).read_bytes()
        begin = time.process_time()
        zlib.decompressobj(-15).decompress(raw[10:], limits.max_unpacked_bytes)
        bare = time.process_time() - begin
        begin = time.process_time()
        found = read_archive(raw, limits)
        ours = time.process_time() - begin
        fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        peak = int(fields["VmHWM"].split()[0]) * 1024
        print(found.problems[0].code, ours / bare, peak)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(bomb)], check=True, capture_output=True, text=True
    )
    code, slower, peak = done.stdout.split()
    assert code == "archive.size"
    assert float(slower) < 6  # against inflating the allowed 40 MiB once, which takes some 0.05 s
    assert int(peak) < 128 << 20
    assert read_archive(bomb.read_bytes(), LIMITS).unpacked_size == 0


# --- exactly at the limits, and one more ---------------------------------------------------------------------------


def result_of_new_files(*, files: int, lines: int, patch_bytes: int = 0) -> tuple[str, bytes]:
    """A tree with so many new files of so many lines in all, and git's patch of exactly so many bytes, if it may be."""
    each, more = divmod(lines, files)
    contents = [(b"x" * 60 + b"\n") * (each + (number < more)) for number in range(files)]
    git, tree, patch = HONEST.git, "", b""
    for _ in range(2):
        contents[0] = contents[0].removesuffix(b"\n") + b"x" * max(0, patch_bytes - len(patch)) * bool(patch) + b"\n"
        blobs = git.write_objects("blob", contents)
        entries = "".join(f"100644 blob {blob}\t{number:05}\n" for number, blob in enumerate(blobs))
        folder = git.run("mktree", stdin=entries.encode()).decode().strip()
        listed = git.run("ls-tree", HONEST.base) + f"040000 tree {folder}\td\n".encode()
        tree = git.run("mktree", stdin=listed).decode().strip()
        patch = git.diff(HONEST.base, tree)
    return tree, patch


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.threat("PAT-12")
def test_at_every_limit_at_once_a_bundle_verifies_and_its_first_pages_are_shown_within_the_memory():
    tree, patch = result_of_new_files(
        files=LIMITS.max_files, lines=LIMITS.max_changed_lines, patch_bytes=LIMITS.max_patch_bytes
    )
    assert len(patch) == LIMITS.max_patch_bytes
    raw = with_patch(HONEST, patch)
    context = HONEST.context(raw)

    def verify() -> tuple[tuple[bool, int], int]:
        def look() -> tuple[bool, int]:
            report = verify_bundle(raw, git=HONEST.git, context=context)
            return report.is_verified, len(report.changes)

        return growth(look)

    def show() -> tuple[tuple[int, int], int]:
        def look() -> tuple[int, int]:
            page = page_of(list_changes(HONEST.git, HONEST.base, tree), 0)
            return len(page.files), read_diff(HONEST.git, HONEST.base, tree, page.files[1].path).shown

        return growth(look)

    found, verifying = run_isolated(tuple[tuple[bool, int], int], verify, Ceiling())
    assert found == (True, LIMITS.max_files)
    assert verifying < 256 << 20, f"{verifying >> 20} MiB"
    listed, showing = run_isolated(tuple[tuple[int, int], int], show, Ceiling())
    assert listed == (MAX_FILES, LIMITS.max_changed_lines // LIMITS.max_files)
    assert showing < 256 << 20, f"{showing >> 20} MiB"


@pytest.mark.threat("PAT-12")
@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"files": LIMITS.max_files + 1, "lines": LIMITS.max_files + 1}, "patch.limits"),
        ({"files": 10, "lines": LIMITS.max_changed_lines + 1}, "patch.limits"),
        ({"files": 10, "lines": 10, "patch_bytes": LIMITS.max_patch_bytes + 1}, "archive.size"),
    ],
    ids=["files", "lines", "bytes"],
)
def test_one_more_in_any_dimension_is_refused(more, code):
    _, patch = result_of_new_files(**more)
    assert code in HONEST.failures(with_patch(HONEST, patch))
