"""A witness: it signs a log's checkpoint only if it extends the last one it signed. C2SP tlog-witness, add-checkpoint.

Shape: one file per log below `folder`, synced before the signature leaves; one request at a time.
Not checked: what the leaves say; who asks.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from audit.checkpoint import Checkpoint, Submission, parse_checkpoint, parse_submission
from audit.merkle import ProofError, verify_consistency
from audit.notes import NoteError, SignerKey, VerifierKey

MAX_BYTES: Final = 1 << 17
PLAIN: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class Answer:
    """What a request gets."""

    status: int
    body: str = ""
    kind: str = PLAIN


class Witness:
    """The rules and the memory. `logs` are the keys it trusts, by origin."""

    def __init__(
        self, key: SignerKey, folder: Path, logs: Mapping[str, VerifierKey], clock: Callable[[], float] = time.time
    ) -> None:
        self.key, self.folder, self.logs, self._clock = key, folder, dict(logs), clock
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def add_checkpoint(self, raw: bytes) -> Answer:
        """Answer one request; what is signed was stored before."""
        try:
            submission = parse_submission(raw)
            checkpoint = parse_checkpoint(submission.note.text)
        except NoteError as error:
            return Answer(400, f"{error.detail}\n")
        log = self.logs.get(checkpoint.origin)
        if log is None:
            return Answer(404, "this log is not known here\n")
        try:
            submission.note.verify([log])
        except NoteError as error:
            return Answer(403, f"{error.detail}\n")
        if submission.old_size > checkpoint.size:
            return Answer(400, "the old size is larger than the checkpoint's\n")
        with self._lock:
            return self._judge(submission, checkpoint)

    def _judge(self, submission: Submission, checkpoint: Checkpoint) -> Answer:
        known = self.known(checkpoint.origin)
        if submission.old_size != known.size:
            return Answer(409, f"{known.size}\n", "text/x.tlog.size")
        if known.size == checkpoint.size and known.root != checkpoint.root:
            return Answer(409, f"{known.size}\n", "text/x.tlog.size")
        try:
            verify_consistency(known.size, checkpoint.size, known.root, checkpoint.root, submission.proof)
        except ProofError as error:
            return Answer(422, f"{error.detail}\n")
        self._store(checkpoint)
        return Answer(200, self.key.cosign(checkpoint.text, int(self._clock())).line)

    def known(self, origin: str) -> Checkpoint:
        """The last checkpoint of a log that was signed here; an empty log before the first.

        Raises: NoteError for a file that was damaged: nothing is signed then.
        """
        path = self._path(origin)
        return parse_checkpoint(path.read_text()) if path.exists() else Checkpoint(origin, 0, hashlib.sha256().digest())

    def _path(self, origin: str) -> Path:
        return self.folder / f"{hashlib.sha256(origin.encode()).hexdigest()}.checkpoint"

    def _store(self, checkpoint: Checkpoint) -> None:
        path = self._path(checkpoint.origin)
        draft = path.with_suffix(".new")
        with draft.open("w") as file:
            file.write(checkpoint.text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def serve(witness: Witness, host: str, port: int) -> ThreadingHTTPServer:
    """A server for the witness; the caller runs it."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 10
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if self.path.rstrip("/") != "/add-checkpoint":
                self._answer(Answer(404, "only add-checkpoint is here\n"))
            elif not length.isdigit() or int(length) > MAX_BYTES:
                self.close_connection = True
                self._answer(Answer(400, f"a body of at most {MAX_BYTES} bytes, with its length\n"))
            else:
                self._answer(witness.add_checkpoint(self.rfile.read(int(length))))

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the library's name
            """Nothing: requests hold no secret, and there are many."""

        def _answer(self, answer: Answer) -> None:
            raw = answer.body.encode()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.kind)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

    return ThreadingHTTPServer((host, port), Handler)
