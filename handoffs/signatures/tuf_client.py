"""One refresh of a trusted root over TUF with python-tuf, as a process of its own.

The library's cache folder is never used: its metadata folder is a private one that is made for this run, holds what the
portal saw last (so that nothing older is taken), and is thrown away. It starts from the root the portal gives it.
Source: TUF specification 1.0, section 5; python-tuf 7.
"""

from __future__ import annotations

import base64
import json
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tuf.api import exceptions
from tuf.ngclient import Updater, UpdaterConfig, Urllib3Fetcher

from handoffs.signatures.library_process import end_with_parent

ROLES: Final = ("timestamp", "snapshot", "targets")
SOCKET_SECONDS: Final = 10


class TooLargeError(Exception):
    """The target is larger than any trusted root."""


def refresh(work: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The target, and the metadata that vouches for it: both as they came."""
    for role, text in work["metadata"].items():
        (folder / f"{role}.json").write_text(text)
    mirror = work["mirror"]
    updater = Updater(
        metadata_dir=str(folder),
        metadata_base_url=mirror,
        target_base_url=f"{mirror}/targets/",
        fetcher=Urllib3Fetcher(socket_timeout=SOCKET_SECONDS),
        config=UpdaterConfig(app_user_agent="leoportal"),
        bootstrap=work["bootstrap"].encode(),
    )
    updater.refresh()
    target = updater.get_targetinfo(work["target"])
    if target is None:
        raise LookupError
    if target.length > work["max_bytes"]:
        raise TooLargeError
    raw = Path(updater.download_target(target, str(folder / "target"))).read_bytes()
    metadata = {role: (folder / f"{role}.json").read_text() for role in ("root", *ROLES)}
    return {
        "raw": base64.b64encode(raw).decode(),
        "metadata": metadata,
        "versions": {role: json.loads(text)["signed"]["version"] for role, text in metadata.items()},
    }


def describe(error: Exception) -> tuple[str, str]:
    """Our stable code for what python-tuf raises, and what it says. An unknown end is a refusal, too."""
    said = f"{type(error).__name__}: {error}"
    match error:
        case exceptions.ExpiredMetadataError():
            return "tuf.expired", str(error)
        case exceptions.BadVersionNumberError() if "must be >=" in str(error) or "New snapshot" in str(error):
            return "tuf.rollback", str(error)
        case exceptions.BadVersionNumberError() | exceptions.LengthOrHashMismatchError():
            return "tuf.mismatch", str(error)
        case exceptions.UnsignedMetadataError():
            return "tuf.signature", str(error)
        case exceptions.DownloadLengthMismatchError():
            return "tuf.too_long", str(error)
        case TooLargeError():
            return "tuf.too_long", "the target is larger than any trusted root"
        case exceptions.SlowRetrievalError():
            return "tuf.timeout", "the mirror went silent"
        case exceptions.DownloadError():
            return "tuf.network", said
        case LookupError():
            return "tuf.no_target", "the repository has no such target"
        case _:
            return "tuf.repository", said


def main() -> None:
    """Do one refresh."""
    threading.Thread(target=end_with_parent, args=(int(sys.argv[1]),), daemon=True).start()
    work = json.loads(sys.stdin.buffer.read())
    with tempfile.TemporaryDirectory(prefix="leo-tuf-") as folder:
        try:
            answer: dict[str, Any] = {"result": refresh(work, Path(folder))}
        except Exception as error:  # noqa: BLE001  the library raises what its parsers raise; every end is an answer
            code, detail = describe(error)
            answer = {"error": {"code": code, "detail": detail[:300]}}
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
