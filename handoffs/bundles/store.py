"""Bundle bytes, stored by their digest. Reading recomputes the digest: what was verified is what is used."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

from audit.coded import CodedError

DIGEST_CHANGED: Final = "bundle.digest_changed"


class StoreError(CodedError):
    """The store cannot give back what was put in. `code` is stable."""


class BundleStore:
    """A folder of files named by SHA-256."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, raw: bytes) -> str:
        """Store bytes; the same bytes twice are one file. Returns the SHA-256 in hex."""
        digest = hashlib.sha256(raw).hexdigest()
        path = self._path(digest)
        if path.exists():
            return digest
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(f"{digest}.{os.getpid()}")
        with draft.open("wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        return digest

    def get(self, digest: str) -> bytes:
        """The bytes of a digest.

        Raises: StoreError("bundle.missing"), or StoreError("bundle.digest_changed") when the file is not what
        was stored.
        """
        try:
            raw = self._path(digest).read_bytes()
        except FileNotFoundError:
            raise StoreError("bundle.missing", f"no bundle {digest} in the store") from None
        found = hashlib.sha256(raw).hexdigest()
        if found != digest:
            raise StoreError(DIGEST_CHANGED, f"got {found}, expected {digest}")
        return raw

    def holds(self, digest: str) -> bool:
        """Whether there are bytes of a digest. Not checked: that they are the ones that were stored."""
        return self._path(digest).exists()

    def delete(self, digest: str) -> bool:
        """Erase the bytes of a digest. False when they are gone already."""
        path = self._path(digest)
        if not path.exists():
            return False
        path.unlink(missing_ok=True)
        return True

    def _path(self, digest: str) -> Path:
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise StoreError("bundle.digest_malformed", f"got {digest[:80]!r}, expected 64 hex digits")
        return self._root / digest[:2] / digest
