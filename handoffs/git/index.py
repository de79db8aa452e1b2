"""Applying a patch to a tree through an index that holds only the paths the patch touches.

A full index costs time with the size of the repository, this one with the size of the patch. Git
itself applies the patch; what it leaves in the index is put into the folders of the base tree. A path
in the result that the patch was not read to touch is refused: reader and git would disagree.

Source: gitformat-index(5), version 2.
"""

from __future__ import annotations

import hashlib
import os
import struct
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from handoffs.bundles.limits import Limits
from handoffs.bundles.patches import FilePatch
from handoffs.bundles.patches_binary import PatchError
from handoffs.bundles.patches_reading import parse_patch
from handoffs.git.process import GitError
from handoffs.git.trees import TREE_MODE, Entry, Folder, Trees

REFUSED: Final = "git.patch_does_not_apply"
# The index is read and written once; where the system has a file system in memory, no disk waits for that.
MEMORY: Final = "/dev/shm"  # noqa: S108 - only a new folder of mode 0700 with a random name is made in it
IN_MEMORY: Final = MEMORY if os.access(MEMORY, os.W_OK | os.X_OK) else None


def result_of(
    trees: Trees,
    base_tree: str,
    patch: bytes,
    files: tuple[FilePatch, ...] | None = None,
    *,
    meanwhile: Callable[[], object] = bool,
) -> str:
    """The tree that `patch` makes of `base_tree`, and that `trees` then knows. `files`: the patch, already read.

    `meanwhile` is called while git works.
    Raises: GitError("git.patch_does_not_apply").
    """
    touched = _touched(_read_files(patch) if files is None else files)
    wanted = {folder for path in touched if _is_plain(path) for folder in folders_of(path)} | {b""}
    folders = trees.folders(base_tree, wanted)
    before = {path: entry for path in touched if (entry := _lookup(folders, path)) and not entry.is_folder}
    id_bytes = len(base_tree) // 2
    with tempfile.TemporaryDirectory(prefix="leo-index-", dir=IN_MEMORY) as name:
        index = Path(name) / "index"
        index.write_bytes(write_index(before, id_bytes))
        env = {"GIT_INDEX_FILE": str(index)}
        command = ("apply", "--cached", "--whitespace=nowarn", "-p1", "-")
        with trees.git.start(command, stdin=patch, env=env) as running:
            meanwhile()
            done = running.finish()
        if done.status != 0:
            raise GitError(REFUSED, done.complaint())
        after = read_index(index.read_bytes(), id_bytes)
    if strangers := sorted(set(after) - touched):
        raise GitError(REFUSED, f"git changes {strangers[0]!a}, which the patch does not show")
    return _make_trees(trees, id_bytes, folders, touched, after)


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


def _is_plain(path: bytes) -> bool:
    return not {b"", b".", b".."} & set(path.split(b"/"))


def _lookup(folders: Mapping[bytes, Folder], path: bytes) -> Entry | None:
    folder, _, name = path.rpartition(b"/")
    return folders.get(folder, {}).get(name)


def _make_trees(
    trees: Trees, id_bytes: int, folders: Mapping[bytes, Folder], touched: Iterable[bytes], after: Mapping[bytes, Entry]
) -> str:
    """Put the applied entries into the base's folders, deepest first."""
    made: dict[bytes, Folder] = {folder: dict(entries) for folder, entries in folders.items()}
    for path in touched:
        folder, _, name = path.rpartition(b"/")
        old = made.get(folder, {}).get(name)
        if old is not None and not old.is_folder:
            del made[folder][name]
    arriving: dict[bytes, list[tuple[bytes, Entry]]] = {}
    for path, entry in after.items():
        folder, _, name = path.rpartition(b"/")
        arriving.setdefault(folder, []).append((name, entry))
    changed: list[tuple[str, bytes, Folder]] = []
    for folder in sorted(made, key=lambda item: (-item.count(b"/") - bool(item), item)):
        parent, _, name = folder.rpartition(b"/")
        _put_files(made[folder], arriving.get(folder, []))
        if not folder:
            break
        above = made[parent].get(name)
        if made[folder] and above is not None and not above.is_folder:
            raise GitError(REFUSED, f"{folder!a} would be a file and a folder")
        if above is not None and above.is_folder:
            del made[parent][name]
        if made[folder]:
            changed.append(_tree(made[folder], id_bytes))
            made[parent][name] = Entry(TREE_MODE, changed[-1][0])
    changed.append(_tree(made[b""], id_bytes))
    trees.add(changed)
    return changed[-1][0]


def _put_files(folder: Folder, files: Iterable[tuple[bytes, Entry]]) -> None:
    """The applied files that lie directly in one folder; its own folders are settled by then."""
    for name, entry in files:
        if name in folder and folder[name].is_folder:
            raise GitError(REFUSED, f"{name!a} would be a file and a folder")
        folder[name] = entry


def _tree(entries: Folder, id_bytes: int) -> tuple[str, bytes, Folder]:
    """One tree object: the id it must get, its bytes, its entries."""
    ordered = sorted((name + b"/" if entry.is_folder else name, name, entry) for name, entry in entries.items())
    raw = b"".join(
        b"%b %b\0%b" % (entry.mode.encode("ascii"), name, bytes.fromhex(entry.object_id)) for _, name, entry in ordered
    )
    return _hash(b"tree %d\0" % len(raw) + raw, id_bytes).hex(), raw, entries


def _hash(content: bytes, id_bytes: int) -> bytes:
    return hashlib.new("sha1" if id_bytes == 20 else "sha256", content, usedforsecurity=False).digest()
