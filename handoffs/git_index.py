"""Applying a patch to a tree through an index that holds only the paths the patch touches.

A full index costs time with the size of the repository, this one with the size of the patch. Git
itself applies the patch; what it leaves in the index is put into the folders of the base tree. A path
in the result that the patch was not read to touch is refused: reader and git would disagree.

Source: gitformat-index(5), version 2.
"""

from __future__ import annotations

import hashlib
import struct
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from handoffs.archive import Limits
from handoffs.git_objects import GitReader
from handoffs.git_process import GitError
from handoffs.patches import FilePatch, PatchError, parse_patch

REFUSED: Final = "git.patch_does_not_apply"
_TREE_MODE: Final = "40000"
_MAX_TREES_BYTES: Final = 256 << 20


@dataclass(frozen=True)
class Entry:
    """One line of a tree or index: a mode in octal without leading zero, and an object id."""

    mode: str
    object_id: str


type Folder = dict[bytes, Entry]


def result_of(git: GitReader, base_tree: str, patch: bytes, files: tuple[FilePatch, ...] | None = None) -> str:
    """The tree that `patch` makes of `base_tree`; written to the repository. `files`: the patch, already read.

    Raises: GitError("git.patch_does_not_apply").
    """
    touched = _touched(_read_files(patch) if files is None else files)
    folders = _read_folders(git, base_tree, touched)
    before = {path: entry for path in touched if (entry := _lookup(folders, path)) and entry.mode != _TREE_MODE}
    with tempfile.TemporaryDirectory(prefix="leo-index-") as name:
        index = Path(name) / "index"
        index.write_bytes(write_index(before, len(base_tree) // 2))
        env = {"GIT_INDEX_FILE": str(index)}
        done = git.finish(("apply", "--cached", "--whitespace=nowarn", "-p1", "-"), stdin=patch, env=env)
        if done.status != 0:
            raise GitError(REFUSED, done.complaint())
        after = read_index(index.read_bytes(), len(base_tree) // 2)
    strangers = sorted(set(after) - touched)
    if strangers:
        raise GitError(REFUSED, f"git changes {strangers[0]!a}, which the patch does not show")
    return _write_trees(git, base_tree, folders, touched, after)


def write_index(entries: Mapping[bytes, Entry], id_bytes: int) -> bytes:
    """An index, version 2, without extensions or file times."""
    parts = [struct.pack(">4sII", b"DIRC", 2, len(entries))]
    for path in sorted(entries):
        entry = entries[path]
        fixed = struct.pack(">6I", 0, 0, 0, 0, 0, 0) + struct.pack(">I", int(entry.mode, 8)) + bytes(12)
        body = fixed + bytes.fromhex(entry.object_id) + struct.pack(">H", min(len(path), 0xFFF)) + path
        parts.append(body + bytes(8 - len(body) % 8))
    content = b"".join(parts)
    return content + _hash(content, id_bytes)


def read_index(raw: bytes, id_bytes: int) -> dict[bytes, Entry]:
    """The entries of an index that git wrote.

    Raises: GitError("git.failed") for what cannot come from `git apply --cached`.
    """
    magic, version, count = struct.unpack_from(">4sII", raw)
    if magic != b"DIRC" or version != 2:
        raise GitError("git.failed", f"got an index of version {version}, expected 2")
    found: dict[bytes, Entry] = {}
    at = 12
    for _ in range(count):
        (mode,) = struct.unpack_from(">I", raw, at + 24)
        name_at = at + 40 + id_bytes + 2
        (flags,) = struct.unpack_from(">H", raw, name_at - 2)
        end = raw.index(b"\0", name_at)
        if flags & 0x7000:
            raise GitError("git.failed", "got an unmerged or extended index entry")
        found[raw[name_at:end]] = Entry(f"{mode:o}", raw[at + 40 : at + 40 + id_bytes].hex())
        length = end - at
        at += length + 8 - length % 8
    return found


def read_tree(raw: bytes, id_bytes: int) -> Folder:
    """The entries of a raw tree object: `mode SP name NUL id`, again and again."""
    found: Folder = {}
    at = 0
    while at < len(raw):
        end = raw.index(b"\0", at)
        mode, _, name = raw[at:end].partition(b" ")
        found[name] = Entry(mode.decode("ascii"), raw[end + 1 : end + 1 + id_bytes].hex())
        at = end + 1 + id_bytes
    return found


def folders_of(path: bytes) -> list[bytes]:
    """Every folder above a path; the root is empty."""
    parts = path.split(b"/")[:-1]
    return [b"/".join(parts[:count]) for count in range(len(parts) + 1)]


def _read_files(patch: bytes) -> tuple[FilePatch, ...]:
    try:
        return parse_patch(patch, Limits()).files
    except PatchError as error:
        raise GitError(REFUSED, f"the patch cannot be read: {error.detail}") from None


def _touched(files: Iterable[FilePatch]) -> set[bytes]:
    """The paths git needs in the index: all the patch names, the sources of copies too."""
    names = (name for file in files for name in (file.old_path, file.new_path) if name is not None)
    return {name.encode("utf-8", "surrogateescape") for name in names}


def _read_folders(git: GitReader, base_tree: str, touched: Iterable[bytes]) -> dict[bytes, Folder]:
    """Every folder above a touched path; empty where the base has none."""
    wanted = sorted({folder for path in touched if _is_plain(path) for folder in folders_of(path)} | {b""})
    names = [f"{base_tree}:{folder.decode('utf-8', 'surrogateescape')}" for folder in wanted]
    objects = git.read_objects(names, max_bytes=_MAX_TREES_BYTES)
    found: dict[bytes, Folder] = {}
    for folder, name in zip(wanted, names, strict=True):
        item = objects[name]
        found[folder] = read_tree(item[1], len(base_tree) // 2) if item and item[0] == "tree" else {}
    return found


def _is_plain(path: bytes) -> bool:
    return not {b"", b".", b".."} & set(path.split(b"/"))


def _lookup(folders: Mapping[bytes, Folder], path: bytes) -> Entry | None:
    folder, _, name = path.rpartition(b"/")
    return folders.get(folder, {}).get(name)


def _write_trees(
    git: GitReader,
    base_tree: str,
    folders: Mapping[bytes, Folder],
    touched: Iterable[bytes],
    after: Mapping[bytes, Entry],
) -> str:
    """Put the applied entries into the base's folders, deepest first, and write the folders that changed."""
    made: dict[bytes, Folder] = {folder: dict(entries) for folder, entries in folders.items()}
    for path in touched:
        folder, _, name = path.rpartition(b"/")
        old = made.get(folder, {}).get(name)
        if old is not None and old.mode != _TREE_MODE:
            del made[folder][name]
    arriving: dict[bytes, list[tuple[bytes, Entry]]] = {}
    for path, entry in after.items():
        folder, _, name = path.rpartition(b"/")
        arriving.setdefault(folder, []).append((name, entry))
    orders: list[bytes] = []
    expected: list[str] = []
    for folder in sorted(made, key=lambda item: (-item.count(b"/") - bool(item), item)):
        parent, _, name = folder.rpartition(b"/")
        _put_files(made[folder], arriving.get(folder, []))
        if not folder:
            break
        if made[folder] and made[parent].get(name, Entry(_TREE_MODE, "")).mode != _TREE_MODE:
            raise GitError(REFUSED, f"{folder!a} would be a file and a folder")
        if _is_folder(made[parent].get(name)):
            del made[parent][name]
        if made[folder]:
            order, object_id = _tree(made[folder], len(base_tree) // 2)
            made[parent][name] = Entry(_TREE_MODE, object_id)
            orders.append(order)
            expected.append(object_id)
    order, root = _tree(made[b""], len(base_tree) // 2)
    orders.append(order)
    expected.append(root)
    if orders == [b""]:
        return git.run("mktree", "-z").decode("ascii").strip()
    written = git.run("mktree", "-z", "--batch", "--missing", stdin=b"\0".join(orders)).decode("ascii").split()
    if written != expected:
        raise GitError("git.failed", "got other tree ids than the entries give")
    return root


def _put_files(folder: Folder, files: Iterable[tuple[bytes, Entry]]) -> None:
    """The applied files that lie directly in one folder; its own folders are settled by then."""
    for name, entry in files:
        if _is_folder(folder.get(name)):
            raise GitError(REFUSED, f"{name!a} would be a file and a folder")
        folder[name] = entry


def _is_folder(entry: Entry | None) -> bool:
    return entry is not None and entry.mode == _TREE_MODE


def _tree(entries: Folder, id_bytes: int) -> tuple[bytes, str]:
    """One tree as `git mktree -z` reads it, and the id it must get."""
    raw, lines = bytearray(), bytearray()
    for name in sorted(entries, key=lambda item: item + b"/" * _is_folder(entries[item])):
        entry = entries[name]
        raw += entry.mode.encode("ascii") + b" " + name + b"\0" + bytes.fromhex(entry.object_id)
        kind = {_TREE_MODE: "tree", "160000": "commit"}.get(entry.mode, "blob")
        lines += f"{entry.mode:0>6} {kind} {entry.object_id}\t".encode("ascii") + name + b"\0"
    return bytes(lines), _hash(b"tree %d\0" % len(raw) + bytes(raw), id_bytes).hex()


def _hash(content: bytes, id_bytes: int) -> bytes:
    return hashlib.new("sha1" if id_bytes == 20 else "sha256", content, usedforsecurity=False).digest()
