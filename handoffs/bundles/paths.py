"""Path rules: what a changed path may look like so that it means the same file on every system.

Source: git's own rules (verify_path, is_hfs_dotgit, is_ntfs_dotgit), made stricter: git refuses the
aliases of `.git`, these rules also refuse names that only differ on some file systems.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_HFS_IGNORABLE: Final = re.compile("[\u200c-\u200f\u202a-\u202e\u2060-\u206f\ufeff]")
_SHORT_GIT: Final = re.compile(r"\.?git(~[0-9]+)?\Z")
_SHORT_MODULES: Final = re.compile(r"(gitmod~[0-9]+|gi7eba~[0-9]+|gi7eb[0-9a-f]*~[0-9]+)\Z")
_MAX_PATH_BYTES: Final = 4096
_MAX_NAME_BYTES: Final = 255


def path_problem(path: str) -> str:
    """Why a path is refused, in words; empty when it is safe."""
    try:
        raw = path.encode("utf-8")
    except UnicodeEncodeError:
        return "is not UTF-8"
    if not raw or len(raw) > _MAX_PATH_BYTES:
        return f"has {len(raw)} bytes"
    if path.startswith("/"):
        return "is absolute"
    if "\\" in path:
        return "holds a backslash"
    if ":" in path:
        return "holds a colon (drive or NTFS stream)"
    if unicodedata.normalize("NFC", path) != path:
        return "is not in Unicode normal form C"
    for character in path if not (path.isascii() and path.isprintable()) else "":
        if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
            return f"holds the invisible character U+{ord(character):04X}"
    return next((problem for name in path.split("/") if (problem := _name_problem(name))), "")


def names_submodules(path: str) -> bool:
    """Whether any part of a path is `.gitmodules` in some spelling."""
    if path.isascii() and "gi" not in path.lower():  # every spelling has that, unless invisible characters part it
        return False
    return any(
        name == ".gitmodules" or bool(_SHORT_MODULES.match(name)) for name in (_plain(n) for n in path.split("/"))
    )


def twin_key(name: str) -> str:
    """Two names with the same key are one file on some file system (case, Unicode form, dotless i)."""
    folded = unicodedata.normalize("NFC", name).upper().casefold()
    return unicodedata.normalize("NFC", folded)


def escape_text(text: str) -> str:
    """Text that is safe to print: control, invisible and broken characters become \\u escapes."""
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable() or character == " "
        else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in text
    )


def _name_problem(name: str) -> str:
    if name in {"", ".", ".."}:
        return f"has the part {name!r}"
    if len(name.encode()) > _MAX_NAME_BYTES:
        return "has a part longer than 255 bytes"
    if _SHORT_GIT.match(_plain(name)) and _plain(name) != "git":
        return "is an alias of .git"
    if name[-1] in ". ":
        return "has a part that ends with a dot or a space"
    return ""


def _plain(name: str) -> str:
    """A name as HFS+ and NTFS compare it: ignorable characters, case, streams, trailing dots and spaces gone."""
    visible = name if name.isascii() else _HFS_IGNORABLE.sub("", unicodedata.normalize("NFC", name))
    return visible.split(":", 1)[0].rstrip(". ").casefold()
