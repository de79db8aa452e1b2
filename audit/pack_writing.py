"""An evidence pack as files: leaves, bodies and proofs, tables of JSON lines, the manifest, the seal, one tar.

    leaves.txt      each leaf's exact bytes and a newline: two lines a leaf, by index
    bodies.jsonl    for each leaf its body and salt, or null where they were erased
    proofs.jsonl    {index, path}: one leaf with its inclusion proof; or {first, end, left, right}: a run of
                    leaves, with the frontier before it and the consistency proof from its end
    artifact-….tar.gz  a signed bundle, by its SHA-256, in the pack of one pull request
    anchors.json    what left the portal, see `pack_anchors`; beside the manifest, as seal.json is
    manifest.json   size and SHA-256 of every file; its own SHA-256 is in a leaf of the log, see seal.json

Shape: one leaf at a time is in memory. JSON is canonical (RFC 8785), hashes in proofs are base64, others hexadecimal.
Source: RFC 9162, C2SP tlog-checkpoint, POSIX.1-1988 ustar.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from audit.canonical import JsonValue, write_json
from audit.merkle import Node, consistency_proof, frontier_of, inclusion_proof

SCHEMA: Final = "leoportal/evidence-pack/v1"
LEAVES: Final = "leaves.txt"
BODIES: Final = "bodies.jsonl"
PROOFS: Final = "proofs.jsonl"
MANIFEST: Final = "manifest.json"
SEAL: Final = "seal.json"
ANCHORS: Final = "anchors.json"
UNNAMED: Final = frozenset({MANIFEST, SEAL, ANCHORS})  # by the manifest: they are made after it, and prove themselves
NEEDED: Final = frozenset(
    {
        "VERIFY.md", BODIES, "checkpoint", "commits.jsonl", "keys.json", LEAVES, "policies.jsonl",
        "principals.jsonl", PROOFS, "records.jsonl", "separation.jsonl", "signatures.jsonl",
    }
)  # fmt: skip
OPTIONAL: Final = frozenset({"earlier.json", "trusted_root.json"})
BLOCK: Final = 512
_ARTIFACT: Final = re.compile(r"artifact-([0-9a-f]{64})\.tar\.gz")


def artifact_name(digest: str) -> str:
    """The file that holds the artifact.tar.gz of this SHA-256."""
    return f"artifact-{digest}.tar.gz"


def artifact_digest(name: str) -> str:
    """The SHA-256 in the name of an artifact's file; empty for any other name."""
    found = _ARTIFACT.fullmatch(name)
    return found[1] if found else ""


@dataclass(frozen=True)
class PackedLeaf:
    """A leaf as it goes into a pack."""

    leaf: bytes
    body: bytes | None
    salt: bytes | None


class PackWriter:
    """Writes a pack into an empty folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.files: dict[str, dict[str, JsonValue]] = {}

    def add(self, name: str, raw: bytes) -> None:
        """A small file."""
        self.add_blocks(name, [raw])

    def add_blocks(self, name: str, blocks: Iterable[bytes]) -> None:
        """A file, block by block."""
        digest, size = hashlib.sha256(), 0
        with (self.folder / name).open("xb") as file:
            for block in blocks:
                file.write(block)
                digest.update(block)
                size += len(block)
        self.files[name] = {"bytes": size, "sha256": digest.hexdigest()}

    def add_rows(self, name: str, rows: Iterable[Mapping[str, JsonValue]]) -> int:
        """A file of JSON objects, one a line. Returns how many."""
        count = 0

        def lines() -> Iterable[bytes]:
            nonlocal count
            for row in rows:
                count += 1
                yield write_json(dict(row)) + b"\n"

        self.add_blocks(name, lines())
        return count

    def add_leaves(self, leaves: Iterable[PackedLeaf]) -> int:
        """Leaves and bodies, read once. Returns how many."""
        count, digest, size = 0, hashlib.sha256(), 0

        def bodies(file: BinaryIO) -> Iterable[bytes]:
            nonlocal count, size
            for found in leaves:
                line = found.leaf + b"\n"
                file.write(line)
                digest.update(line)
                size += len(line)
                count += 1
                is_there = found.body is not None and found.salt is not None
                yield (
                    write_json(
                        {
                            "body": found.body.decode() if is_there and found.body is not None else None,
                            "salt": found.salt.hex() if is_there and found.salt is not None else None,
                        }
                    )
                    + b"\n"
                )

        with (self.folder / LEAVES).open("xb") as file:
            self.add_blocks(BODIES, bodies(file))
        self.files[LEAVES] = {"bytes": size, "sha256": digest.hexdigest()}
        return count

    def finish(self, facts: Mapping[str, JsonValue]) -> str:
        """The manifest over everything so far. Returns its SHA-256."""
        files: dict[str, JsonValue] = dict(self.files)
        raw = write_json({"schema": SCHEMA, **facts, "files": files})
        (self.folder / MANIFEST).write_bytes(raw)
        return hashlib.sha256(raw).hexdigest()

    def seal(self, seal: Mapping[str, JsonValue]) -> None:
        """The leaf that holds the manifest's digest, with its proof."""
        (self.folder / SEAL).write_bytes(write_json(dict(seal)))


def one_leaf(index: int, size: int, node: Node) -> dict[str, JsonValue]:
    """The proof of one leaf."""
    return {"index": index, "path": encoded(inclusion_proof(index, size, node))}


def run_of_leaves(first: int, end: int, size: int, node: Node) -> dict[str, JsonValue]:
    """The proof of leaves [first, end): all of them, in this order, and nothing between them."""
    left = frontier_of(first, node).hashes
    return {"first": first, "end": end, "left": encoded(left), "right": encoded(consistency_proof(end, size, node))}


def encoded(hashes: Sequence[bytes]) -> list[JsonValue]:
    """Hashes as a proof writes them."""
    return [base64.b64encode(found).decode() for found in hashes]


def write_tar(folder: Path, path: Path) -> None:
    """A folder's files as one tar: regular files, no times, no owners, sorted; the same files give the same bytes.

    Raises: ValueError for a name of more than 100 ASCII characters or a file of 8 GiB and more.
    """
    with path.open("wb") as out:
        for file in sorted(folder.iterdir()):
            size = file.stat().st_size
            out.write(_header(file.name, size))
            with file.open("rb") as source:
                while block := source.read(1 << 20):
                    out.write(block)
            out.write(bytes(-size % BLOCK))
        out.write(bytes(2 * BLOCK))


def _header(name: str, size: int) -> bytes:
    raw = name.encode("ascii")
    if len(raw) > 100 or size >= 8**11:
        raise ValueError(f"{name} of {size} bytes does not fit into a tar")
    fields = raw.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % size + b"%011o\0" % 0
    rest = b"0" + bytes(100) + b"ustar\x0000" + bytes(32 + 32) + b"0000000\0" * 2 + bytes(155 + 12)
    checksum = sum(fields) + 8 * 32 + sum(rest)
    return fields + b"%06o\0 " % checksum + rest
