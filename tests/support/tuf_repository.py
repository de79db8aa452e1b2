"""A TUF repository on the loopback interface, built and signed with python-tuf, and served over real HTTP."""

from __future__ import annotations

import hashlib
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

LATER = timedelta(days=30)


class TufRepository:
    """What it serves lies in `files`; `faults` are endless, silent or down."""

    def __init__(self) -> None:
        self.signers = {role: CryptoSigner.generate_ed25519() for role in ("root", "timestamp", "snapshot", "targets")}
        self.files: dict[str, bytes] = {}
        self.faults: set[str] = set()
        self.version = 0
        self.root_version = 0
        self.write_root()
        self.anchor = self.files["1.root.json"]

    def write_root(self, *, signer: CryptoSigner | None = None) -> None:
        """The next root, by the root key (or another one, wrongly)."""
        self.root_version += 1
        root = Root(version=self.root_version, expires=datetime.now(UTC) + LATER)
        for role, key in self.signers.items():
            root.add_key(key.public_key, role)
        self._sign(root, f"{self.root_version}.root.json", signer or self.signers["root"])

    def publish(
        self,
        target: bytes,
        *,
        name: str = "trusted_root.json",
        version: int | None = None,
        expires: timedelta = LATER,
        signers: dict[str, CryptoSigner] | None = None,
    ) -> None:
        """Targets, snapshot and timestamp of one version; `expires` is the timestamp's."""
        self.version = version if version is not None else self.version + 1
        keys = self.signers | (signers or {})
        until = datetime.now(UTC) + LATER
        file = TargetFile.from_data(name, target, ["sha256"])
        targets = Targets(version=self.version, expires=until, targets={name: file})
        raw = self._sign(targets, f"{self.version}.targets.json", keys["targets"])
        meta = {"targets.json": _meta(self.version, raw)}
        raw = self._sign(
            Snapshot(version=self.version, expires=until, meta=meta),
            f"{self.version}.snapshot.json",
            keys["snapshot"],
        )
        timestamp = Timestamp(
            version=self.version, expires=datetime.now(UTC) + expires, snapshot_meta=_meta(self.version, raw)
        )
        self._sign(timestamp, "timestamp.json", keys["timestamp"])
        self.files[f"targets/{file.hashes['sha256']}.{name}"] = target

    def _sign(self, signed: Any, name: str, signer: CryptoSigner) -> bytes:
        metadata = Metadata(signed)
        metadata.sign(signer)
        self.files[name] = metadata.to_bytes()
        return self.files[name]

    def __enter__(self) -> Self:
        repository = self

        class Handler(BaseHTTPRequestHandler):
            """Answers from `files`."""

            def do_GET(self) -> None:
                """One file."""
                raw = repository.files.get(self.path.lstrip("/"))
                if "down" in repository.faults:
                    self.send_error(503)
                elif raw is None:
                    self.send_error(404)
                else:
                    self.send_response(200)
                    self.end_headers()
                    try:
                        self._write(raw)
                    except OSError:
                        self.close_connection = True

            def _write(self, raw: bytes) -> None:
                while "endless" in repository.faults and self.path == "/timestamp.json":
                    self.wfile.write(b" " * 65_536)
                while "trickle" in repository.faults and self.path == "/timestamp.json":
                    self.wfile.write(b" ")
                    time.sleep(0.05)
                self.wfile.write(raw)

            def log_message(self, *_args: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *_error: object) -> None:
        self.faults.clear()
        self._server.shutdown()
        self._server.server_close()


def _meta(version: int, raw: bytes) -> MetaFile:
    return MetaFile(version, length=len(raw), hashes={"sha256": hashlib.sha256(raw).hexdigest()})
