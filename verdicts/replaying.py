"""Judging the contents of an evidence pack: decisions computed again, OpenPGP signatures by the keys in the pack.

Pure. Sigstore's bundles are judged by a root and a signer that the reader names, never by what the pack says.
Source: product.md sections 7 and 9.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from audit.canonical import JsonError, JsonValue, parse_json
from audit.events import VERDICT_RECORDED
from audit.pack_findings import FALLEN, NOT_CHECKED, Act
from audit.pack_reading import PackError
from handoffs.signatures.openpgp import SignatureError, open_envelope, verify_detached
from handoffs.signatures.refusals import RefusedError
from handoffs.signatures.sigstore_signers import Signer
from handoffs.signatures.sigstore_verifying import verify_artifact, verify_statement
from handoffs.signatures.trust_roots import TrustedRoot
from verdicts.decision import Verdict
from verdicts.policy import (
    Judgement,
    PolicyError,
    decide,
    inputs_from_json,
    is_at_least_as_strict,
    judgement_to_json,
    parse_policy,
    policy_from_json,
)
from verdicts.results import ResultError

# What a body says beside its inputs, and what the inputs call it.
_DECIDED: Final = (("repository", "repository"), ("pr", "pull_request"), ("head", "head_sha"), ("base", "base_sha"))
_JUDGED: Final = (*_DECIDED, ("bundle", "bundle_digest"))


def replay_decision(kind: str, body: dict[str, JsonValue], rules: JsonValue) -> str:
    """Why a recorded verdict or decision does not follow from what is stored with it; empty if it does.

    A verdict may be stricter than what was computed, never laxer. `rules` are what the leaf of its policy says.
    """
    try:
        inputs, enacted = inputs_from_json(body.get("inputs")), policy_from_json(rules)
        found = decide(inputs)
    except (PolicyError, ResultError) as error:
        return f"its inputs or its policy cannot be read: {error}"
    for name, source in _JUDGED if kind == VERDICT_RECORDED else _DECIDED:
        if body.get(name) != getattr(inputs, source):
            return f"its inputs are another decision's: {name} is {str(body.get(name))[:60]}, there {source} is another"
    if inputs.policy != enacted:
        return f"its inputs hold other rules than the policy {str(body.get('policy'))[:16]} was enacted with"
    computed = found.verdict.value if found.verdict else ""
    said = body.get("computed" if kind == VERDICT_RECORDED else "computed_now")
    if computed != said:
        return f"its inputs give {computed or 'nothing yet'}, it says {said}"
    return _replay_verdict(body, found) if kind == VERDICT_RECORDED else ""


def _replay_verdict(body: dict[str, JsonValue], found: Judgement) -> str:
    if judgement_to_json(found) != body.get("reasons") or str(found.confidence) != body.get("confidence"):
        return "its inputs give other reasons or another confidence"
    verdict = body.get("verdict")
    if verdict not in set(Verdict) or not is_at_least_as_strict(Verdict(str(verdict)), found.verdict):
        return f"it is {verdict}, laxer than the computed {found.verdict}"
    return ""


def replay_policy(document: str, rules: JsonValue) -> str:
    """Why the rules in the leaf of a policy are not what its text says; empty if they are."""
    try:
        is_same = parse_policy(document.encode()) == policy_from_json(rules)
    except PolicyError as error:
        return f"it cannot be read: {error}"
    return "" if is_same else "its text says other rules than the leaf that enacted it"


_TIMES: Final = ("createdAt", "expiresAt", "retiredAt")


@dataclass(frozen=True)
class Sigstore:
    """Whose Sigstore signatures the reader trusts, and by which root."""

    signer: Signer
    root: TrustedRoot

    def check(self, row: dict[str, JsonValue]) -> str:
        """Why the two bundles of a signature do not hold: over the artifact, and around the statement about it."""
        digest = str(row.get("digest"))
        try:
            verify_artifact(digest, str(row.get("artifactBundle")).encode(), signer=self.signer, root=self.root)
            return self.check_statement(row)
        except (RefusedError, JsonError, ValueError) as error:
            return str(error)

    def check_anchor(self, bundle: bytes, digest: str) -> str:
        """Why a bundle does not hold over what has this SHA-256; empty if it does."""
        try:
            verify_artifact(digest, bundle, signer=self.signer, root=self.root)
        except (RefusedError, JsonError, ValueError) as error:
            return str(error)
        return ""

    def check_statement(self, row: dict[str, JsonValue]) -> str:
        """Why the signed statement is not about the artifact.

        Raises: RefusedError, JsonError.
        """
        raw = str(row.get("statementBundle")).encode()
        told = verify_statement(raw, signer=self.signer, root=self.root).payload or b""
        return _check_bundle(row, parse_json(told))


@dataclass(frozen=True)
class Keyring:
    """The signing keys of a pack, by fingerprint."""

    keys: Mapping[str, Mapping[str, JsonValue]]
    sigstore: Sigstore | None = None

    @classmethod
    def of(cls, published: JsonValue, sigstore: Sigstore | None = None) -> Keyring:
        """From the document in keys.json.

        Raises: PackError.
        """
        match published:
            case {"signing": {"keys": list(rows)}}:
                keys = [row for row in rows if isinstance(row, dict)]
                return cls({str(row.get("fingerprint")): row for row in keys}, sigstore)
            case _:
                raise PackError("keys.json", "expected the published signing keys")

    def check(self, row: dict[str, JsonValue], acts: Mapping[int, Act]) -> str:
        """Why a row of signatures.jsonl does not hold; empty if it does.

        NOT_CHECKED if nobody named its signer, FALLEN if it holds and its key is not trusted any more.
        """
        if row.get("kind") == "bundle" and row.get("method") == "sigstore":
            return self.sigstore.check(row) if self.sigstore else NOT_CHECKED
        try:
            at = _moment(row.get("receivedAt"))
            return self._check(row, acts, at) or self._fallen(row, at)
        except (SignatureError, JsonError, binascii.Error, ValueError) as error:
            return str(error)

    def check_artifact(self, row: dict[str, JsonValue], artifact: bytes) -> str:
        """Why the detached signature of a row does not hold over its artifact.tar.gz; empty if it does, or FALLEN.

        By the key and its window in the pack, and by when the portal received it, never by what the signature says.
        """
        if hashlib.sha256(artifact).hexdigest() != row.get("digest"):
            return "the artifact is another one"
        fingerprint, signature = str(row.get("fingerprint")), str(row.get("signature"))
        try:
            at = _moment(row.get("receivedAt"))
            public = self._public(fingerprint, at)
            verify_detached(artifact, signature, public_key=public, fingerprint=fingerprint, received_at=at)
        except (SignatureError, ValueError) as error:
            return str(error)
        return self._fallen(row, at)

    def _fallen(self, row: Mapping[str, JsonValue], at: datetime) -> str:
        """FALLEN if the key of a signature that was received then is distrusted as of that moment or earlier."""
        since = self.keys[str(row.get("fingerprint"))].get("distrustedSince")
        return FALLEN if since and at >= _moment(since) else ""

    def _public(self, fingerprint: str, at: datetime) -> str:
        """The public key that was in use at this moment.

        Raises: ValueError.
        """
        key = self.keys.get(fingerprint)
        if key is None:
            raise ValueError(f"the key {fingerprint} is not in keys.json")
        if problem := _outside_window(key, at):
            raise ValueError(f"{fingerprint}: {problem}")
        return str(key.get("publicKey"))

    def _check(self, row: dict[str, JsonValue], acts: Mapping[int, Act], at: datetime) -> str:
        fingerprint = str(row.get("fingerprint"))
        public = self._public(fingerprint, at)
        envelope = base64.b64decode(str(row.get("envelope")), validate=True)
        said = open_envelope(envelope, public_key=public, fingerprint=fingerprint, received_at=at)
        if row.get("kind") == "bundle":
            return _check_bundle(row, said)
        index = row.get("leafIndex")
        return _check_statement(said, acts.get(index) if isinstance(index, int) else None)


def _check_bundle(row: dict[str, JsonValue], said: JsonValue) -> str:
    match said:
        case {"subject": [{"digest": {"sha256": str(digest)}}, *_]} if digest == row.get("digest"):
            return ""
        case _:
            return "its statement is about another artifact"


def _check_statement(said: JsonValue, act: Act | None) -> str:
    digest = act.digest if act else ""
    match said:
        case {"predicate": {"leoportal_logLeafHash": str(found), **told}}:
            for name, about in (("assurance", "the people"), ("protection", "the gate behind it")):
                signed, recorded = told.get(f"leoportal_{name}"), act.body.get(name) if act and act.body else None
                if found == digest and None not in (signed, recorded) and signed != recorded:
                    return f"it says {signed} of {about}, its leaf says {recorded}"
        case {"predicate": {"logLeafHash": str(found)}}:
            pass
        case _:
            return "it names no leaf of the log"
    return "" if found == digest else f"it is about the leaf {found[:16]}, not {digest[:16]}"


def _outside_window(key: Mapping[str, JsonValue], at: datetime) -> str:
    """Why a key was not in use at this moment. Whether it was revoked is another question."""
    moments = {name: _moment(key[name]) for name in _TIMES if key.get(name)}
    if not {"createdAt", "expiresAt"} <= moments.keys():
        return "nobody says when it was valid"
    if at < moments["createdAt"]:
        return "it was made later"
    if at >= min(moments["expiresAt"], moments.get("retiredAt", moments["expiresAt"])):
        return "it had expired or retired"
    return ""


def _moment(value: JsonValue) -> datetime:
    """A time with its zone. Raises: ValueError."""
    found = datetime.fromisoformat(str(value))
    if found.tzinfo is None:
        raise ValueError(f"got the time {str(value)[:40]}, expected one with its zone")
    return found
