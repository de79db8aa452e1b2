"""Sigstore keyless signing, verifying and searching, each in a process that is killed at its time limit.

Nothing here imports the library: `handoffs.signatures.sigstore_client` does, in the process. It gets a scrubbed
environment, the path of the identity token and digests; it dies when this process dies. One call is one try.
Source: product.md section 4; ATT-04, ATT-08, ATT-11, ATT-15 of the threat list.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit.coded import CodedError
from handoffs.signatures.library_process import run_in_process
from handoffs.signatures.openpgp import SignatureError


class SigningUnavailableError(CodedError):
    """Sigstore cannot be reached or answers with an error of its own: waiting may help. `code` is stable.

    `may_be_logged`: the try got so far that an entry may stand in the log.
    """

    def __init__(self, code: str, detail: str, *, may_be_logged: bool = False) -> None:
        super().__init__(code, detail)
        self.may_be_logged = may_be_logged


class SigningRefusedError(SigningUnavailableError):
    """Sigstore refuses us, or we refuse what it answered: a person has to look. Never a reason to downgrade."""


class ServiceClockError(SigningUnavailableError):
    """The signing service's clock and ours disagree. Nothing was signed."""


@dataclass(frozen=True)
class Pinned:
    """Whose signature it must be, compared exactly."""

    identity: str
    issuer: str


@dataclass(frozen=True)
class Bundles:
    """What is checked: the digest of the artifact and the bundles, as text. `statement_bundle` may be empty."""

    digest: str
    artifact_bundle: str
    statement_bundle: str = ""


@dataclass(frozen=True)
class Signed:
    """A keyless signature that came back and holds.

    Units: `log_index` of the artifact's entry, by its inclusion proof, and of the statement's; `root_digest` SHA-256
    of the trusted root in canonical JSON.
    """

    bundles: Bundles
    envelope: bytes
    log_index: int
    statement_log_index: int | None
    root_digest: str


@dataclass(frozen=True)
class Checked:
    """Bundles that hold: the statement's verified bytes, and the root they were checked under."""

    payload: bytes
    log_index: int
    root_digest: str


@dataclass(frozen=True)
class Sigstore:
    """One Sigstore: where it is and what is trusted, whose token we show, how long one try may take.

    `root_digests`: if any are given, the trusted root must have one of them.
    """

    trust_config: Path
    token_file: Path | None
    seconds: float
    root_digests: tuple[str, ...] = ()

    def sign(self, digest: str, statement: bytes | None, pinned: Pinned) -> Signed:
        """Sign a digest, and a statement if given. What comes back was verified against `pinned`.

        Raises: SigningUnavailableError, SigningRefusedError, ServiceClockError.
        """
        if self.token_file is None:
            raise SigningRefusedError("signing.token", "SIGSTORE_IDENTITY_TOKEN_FILE is not set")
        encoded = base64.b64encode(statement).decode() if statement else ""
        found = self._run("sign", pinned, digest=digest, statement=encoded, token_file=str(self.token_file))
        return Signed(
            bundles=Bundles(digest, found["artifact_bundle"], found["statement_bundle"]),
            envelope=base64.b64decode(found["envelope"]),
            log_index=found["log_index"],
            statement_log_index=found["statement_log_index"],
            root_digest=found["root_digest"],
        )

    def verify(self, bundles: Bundles, pinned: Pinned, *, root_digest: str = "") -> Checked:
        """Check bundles offline. `root_digest`: the root they were made under.

        A root that has changed since is taken only if its digest is pinned: an operator said so.
        Raises: SignatureError.
        """
        try:
            found = self._run(
                "verify",
                pinned,
                digest=bundles.digest,
                artifact_bundle=bundles.artifact_bundle,
                statement_bundle=bundles.statement_bundle,
                statement="",
            )
        except SigningUnavailableError as error:
            raise SignatureError(error.code, error.detail) from None
        if root_digest and found["root_digest"] != root_digest and not self.root_digests:
            raise SignatureError(
                "signing.root",
                f"got the trusted root {found['root_digest']}, expected {root_digest}; if it was renewed on purpose, "
                "name both in SIGSTORE_SIGNING_ROOT_SHA256",
            )
        return Checked(base64.b64decode(found["payload"]), found["log_index"], found["root_digest"])

    def find_entries(self, digests: Sequence[str], pinned: Pinned, *, since: float) -> tuple[int, ...] | None:
        """The log's entries about these digests under our identity since a time; None when it cannot be asked.

        Units: seconds since 1970.
        """
        try:
            found = self._run("search", pinned, digests=list(digests), since=since)["indexes"]
        except SigningUnavailableError:
            return None
        return None if found is None else tuple(found)

    def _run(self, do: str, pinned: Pinned, **work: object) -> Mapping[str, Any]:
        """One process, one piece of work, one deadline."""
        question = {
            "do": do,
            "trust_config": str(self.trust_config),
            "root_digests": list(self.root_digests),
            "identity": pinned.identity,
            "issuer": pinned.issuer,
            **work,
        }
        output, is_late = run_in_process("handoffs.signatures.sigstore_client", question, seconds=self.seconds)
        return _answer(output, is_late=is_late, seconds=self.seconds)


def _answer(output: bytes, *, is_late: bool, seconds: float) -> Mapping[str, Any]:
    lines = [json.loads(line) for line in output.splitlines() if line.endswith(b"}")]
    stages = {line.get("stage") for line in lines}
    may_be_logged = "logging" in stages
    match lines[-1] if lines else {}:
        case {"result": dict(result)}:
            return result
        case {"error": {"kind": kind, "code": code, "detail": detail}}:
            may_be_logged = "logged" in stages or (may_be_logged and code != "signing.rekor_refused")
            kinds = {"unavailable": SigningUnavailableError, "skew": ServiceClockError}
            raise kinds.get(kind, SigningRefusedError)(code, detail, may_be_logged=may_be_logged)
        case _ if is_late:
            detail = f"no answer within {seconds:g} s"
            raise SigningUnavailableError("signing.timeout", detail, may_be_logged=may_be_logged)
        case _:
            detail = "the signing process ended without an answer"
            raise SigningUnavailableError("signing.process", detail, may_be_logged=may_be_logged)
