"""Asking a lock file what it says, and npm's lock file of version 3."""

from __future__ import annotations

import json

from handoffs.packages.lockfiles import read_lock_file


def said(path: str, content: bytes) -> set[str]:
    return {pin.text for pin in read_lock_file(path, content)}


def npm3(**packages) -> bytes:
    entries = {name.replace("__", "/"): entry for name, entry in packages.items()}
    return json.dumps({"name": "own", "lockfileVersion": 3, "packages": {"": {"name": "own"}, **entries}}).encode()
