"""Asking a witness for its signature under a checkpoint: C2SP tlog-witness, the client's side.

Not checked: that the witness is independent of us; that is for who chose it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from audit.checkpoint import Submission
from audit.coded import CodedError
from audit.merkle import Node, consistency_proof
from audit.notes import Note, NoteError, Signature, VerifierKey, parse_signatures

SECONDS: Final = 5.0
MAX_ANSWER: Final = 1 << 14
SIZE_TYPE: Final = "text/x.tlog.size"


class WitnessError(CodedError):
    """A witness did not sign. `code` says whether it was away, refused, or knows a longer log."""


def ask_witness(
    url: str, key: VerifierKey, note: Note, *, old: int, new: int, nodes: Callable[[int], Node]
) -> tuple[Signature, int]:
    """The witness's cosignature under `note`, a checkpoint of `new` leaves, and the size it knows now.

    `old` is the size it knew last; where that is wrong it says so and is asked once more.
    Raises: WitnessError "witness.away", "witness.ahead" (it has seen more than `new`), "witness.refused".
    """
    for _ in range(2):
        proof = consistency_proof(min(old, new), new, nodes(new)) if old else ()
        status, kind, body = _post(url, Submission(old, proof, note).raw)
        if status == 200:
            return _own(body, key, note), new
        if status == 409 and kind == SIZE_TYPE and body.strip().isdigit():
            known = int(body)
            if known > new:
                raise WitnessError("witness.ahead", f"it has seen {known} leaves, the log has {new}")
            if known != old:
                old = known
                continue
        raise WitnessError("witness.refused", f"it answered {status} to a checkpoint of {new} leaves from {old}")
    raise WitnessError("witness.away", "it changed its mind about the size twice")


def _own(body: str, key: VerifierKey, note: Note) -> Signature:
    try:
        found = Note(note.text, parse_signatures(body)).verify([key])
    except NoteError as error:
        raise WitnessError("witness.refused", f"its signature does not hold: {error.detail}") from None
    return found[0].signature


def _post(url: str, body: bytes) -> tuple[int, str, str]:
    if not url.startswith(("http://", "https://")):
        raise WitnessError("witness.away", f"{url} is no web address")
    request = Request(f"{url.rstrip('/')}/add-checkpoint", data=body, method="POST")  # noqa: S310  checked above
    try:
        with urlopen(request, timeout=SECONDS) as answer:  # noqa: S310  checked above
            return answer.status, answer.headers.get_content_type(), answer.read(MAX_ANSWER).decode("utf-8", "replace")
    except HTTPError as error:
        with error:
            text = error.read(MAX_ANSWER).decode("utf-8", "replace")
            return error.code, error.headers.get_content_type(), text
    except (URLError, OSError) as error:
        raise WitnessError("witness.away", str(error)) from None
