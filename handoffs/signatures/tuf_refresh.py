"""Fetching a Sigstore trusted root from a TUF repository: an explicit act of an operator, never a side effect.

Not checked: whether the root that was fetched should be used; that is asked of a person.
Source: TUF specification 1.0; ATT-14 of the threat list.
"""

from __future__ import annotations

import base64
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from handoffs.rules import LOOPBACK
from handoffs.signatures.library_process import run_in_process
from handoffs.signatures.refusals import RefusedError
from handoffs.signatures.trust_roots import MAX_ROOT_BYTES

TARGET: Final = "trusted_root.json"
MAX_ANCHOR_BYTES: Final = 512_000
ANCHOR_SHA256: Final = "73747011d0857ada15479a16c4cae0f3ed03aac698b523b97e1de314ac9d9ca8"
_ANCHOR: Final = ("_store", "https%3A%2F%2Ftuf-repo-cdn.sigstore.dev", "root.json")
_EXPECTED: Final = {
    "tuf.expired": "metadata that has not expired",
    "tuf.rollback": "nothing older than what this portal saw last",
    "tuf.mismatch": "files that belong together",
    "tuf.signature": "enough signatures by the keys the root names",
    "tuf.too_long": "no more than the metadata says",
    "tuf.timeout": "an answer in time",
    "tuf.network": "a mirror that answers",
    "tuf.no_target": TARGET,
    "tuf.repository": "a TUF repository",
}


@dataclass(frozen=True)
class Mirror:
    """Where to fetch from, and the TUF root that all trust starts from. Units: `seconds` for the whole refresh."""

    address: str
    anchor: bytes
    seconds: float

    @property
    def anchor_digest(self) -> str:
        """SHA-256 of the root that all trust starts from: it names the repository, wherever its mirror is."""
        return sha256(self.anchor).hexdigest()


@dataclass(frozen=True)
class Fetched:
    """What the mirror gave: the trusted root, and the metadata by role that vouches for it."""

    raw: bytes
    metadata: dict[str, str]
    versions: dict[str, int]


def fetch_trusted_root(mirror: Mirror, *, last_seen: Mapping[str, str]) -> Fetched:
    """Follow the TUF client workflow from the metadata that was seen last, or from the anchor.

    Raises: RefusedError with tuf.mirror, .expired, .rollback, .mismatch, .signature, .too_long, .timeout, .network,
    .no_target or .repository. Nothing is kept then.
    """
    parts = urlsplit(mirror.address)
    if not (parts.hostname and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK))):
        raise RefusedError("tuf.mirror", mirror.address[:200], "an https address")
    known = dict(last_seen)
    question = {
        "mirror": mirror.address.rstrip("/"),
        "bootstrap": known.pop("root", "") or mirror.anchor.decode("utf-8", "replace"),
        "metadata": known,
        "target": TARGET,
        "max_bytes": MAX_ROOT_BYTES,
    }
    output, is_late = run_in_process("handoffs.signatures.tuf_client", question, seconds=mirror.seconds)
    match _last_line(output):
        case {"result": {"raw": str(raw), "metadata": dict(metadata), "versions": dict(versions)}}:
            return Fetched(base64.b64decode(raw), metadata, versions)
        case {"error": {"code": str(code), "detail": str(detail)}}:
            raise RefusedError(code, detail, _EXPECTED.get(code, "a TUF repository"))
        case _:
            got = f"nothing within {mirror.seconds:g} s" if is_late else "no answer"
            raise RefusedError("tuf.timeout" if is_late else "tuf.repository", got, _EXPECTED["tuf.timeout"])


def public_anchor() -> bytes:
    """The public Sigstore's TUF root as it lies in the installed package, if it is the one that is pinned here.

    Raises: RefusedError with tuf.anchor.
    """
    spec = importlib.util.find_spec("sigstore")
    if spec is None or spec.origin is None:
        raise RefusedError("tuf.anchor", "no installed package sigstore", "the pinned TUF root in it")
    raw = read_anchor(Path(spec.origin).parent.joinpath(*_ANCHOR))
    if sha256(raw).hexdigest() != ANCHOR_SHA256:
        raise RefusedError("tuf.anchor", f"a TUF root with sha256 {sha256(raw).hexdigest()}", ANCHOR_SHA256)
    return raw


def read_anchor(path: Path) -> bytes:
    """A TUF root from a file. Raises: RefusedError("tuf.anchor")."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_ANCHOR_BYTES + 1)
    except OSError as error:
        raise RefusedError("tuf.anchor", f"{path.name}: {error.strerror}", "a readable TUF root") from None
    if len(raw) > MAX_ANCHOR_BYTES:
        raise RefusedError("tuf.anchor", f"more than {MAX_ANCHOR_BYTES} bytes", "a TUF root")
    return raw


def _last_line(output: bytes) -> Any:
    lines = [line for line in output.splitlines() if line.endswith(b"}")]
    return json.loads(lines[-1]) if lines else {}
