"""Who signed the bundles of an evidence pack, by which keys, and whether something rested on a key that had fallen.

All of it by leaves: when a key was made, replaced and revoked, what it signed and when the portal received that. The
tables of the pack have to say the same, row by row. Revocations, verdicts and merges hold a lock on the pull request
when they write their entry, so that the entries' numbers say which of them knew of which.
Not checked: the signatures themselves; `pack_signatures` does.
Source: SOP section 10.3; ATT-07 of the threat list.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from audit import events
from audit.canonical import JsonValue
from audit.pack_findings import Act, Report
from audit.pack_reading import Pack, PackError, parse_object
from audit.pack_records import moment_of

SIGNED: Final = frozenset({events.HANDOFF_SIGNED, events.HANDOFF_RESIGNED})
RESTED: Final = frozenset({events.VERDICT_RECORDED, events.DECISION_RECORDED})
OF_TRUST: Final = SIGNED | RESTED | {
    events.KEY_CREATED, events.KEY_ROTATED, events.KEY_REVOKED, events.MERGE_INTENDED,
}  # fmt: skip


@dataclass(frozen=True)
class _Signed:
    """A signature as its leaf tells it; `fingerprint` is empty of one by Sigstore, which no key of the portal made."""

    act: Act
    digest: str
    fingerprint: str
    at: datetime


@dataclass(frozen=True)
class _Revoked:
    entry: int
    since: datetime


@dataclass(frozen=True)
class _Rested:
    """An act that rested on a bundle's signature, or said that there was none that is trusted."""

    act: Act
    digest: str
    is_signed: bool


@dataclass
class Trust:
    """What the leaves so far say of keys and signatures."""

    keys: dict[str, Act] = field(default_factory=dict)
    replaced: dict[str, Act] = field(default_factory=dict)
    revoked: dict[str, list[_Revoked]] = field(default_factory=lambda: defaultdict(list))
    signed: dict[str, list[_Signed]] = field(default_factory=lambda: defaultdict(list))
    rested: dict[str, list[_Rested]] = field(default_factory=lambda: defaultdict(list))
    merges: list[Act] = field(default_factory=list)
    erased: list[int] = field(default_factory=list)
    timeless: list[int] = field(default_factory=list)

    def keep(self, act: Act) -> None:
        """One leaf, in the order of the log."""
        kind, body = act.leaf.kind, act.body
        if kind not in OF_TRUST:
            return
        if body is None:
            self.erased.append(act.index)
        elif kind in SIGNED:
            at = self._moment(body.get("received_at"), act)
            name = "" if body.get("method") == "sigstore" else str(body.get("fingerprint"))
            self.signed[act.leaf.subject].append(_Signed(act, str(body.get("digest")), name, at))
        elif kind in RESTED:
            inputs = body.get("inputs")
            told = inputs if isinstance(inputs, dict) else {}
            digest, is_signed = str(told.get("bundle_digest")), told.get("is_bundle_signed") is not False
            small = Act(act.index, act.digest, act.leaf, None)
            self.rested[act.leaf.subject].append(_Rested(small, digest, is_signed))
        elif kind == events.MERGE_INTENDED:
            self.merges.append(act)
        elif kind == events.KEY_CREATED:
            self.keys[str(body.get("fingerprint"))] = act
        elif kind == events.KEY_ROTATED:
            self.replaced[str(body.get("old"))] = act
        else:
            since = self._moment(body.get("distrusted_since"), act)
            self.revoked[str(body.get("fingerprint"))].append(_Revoked(act.leaf.entry, since))

    def _moment(self, value: JsonValue, act: Act) -> datetime:
        """When; a leaf that does not say it is told by `check_signers`, and nothing rests on it."""
        found = moment_of(value)
        if found is None:
            self.timeless.append(act.index)
        return found or datetime.max.replace(tzinfo=UTC)

    def check_keys(self, pack: Pack) -> str:
        """Every key that the leaves know is in keys.json, with the window that they say.

        Raises: PackError.
        """
        match parse_object(pack.read("keys.json"), "keys.json").get("signing"):
            case {"keys": list(rows), **rest}:
                known = {str(row.get("fingerprint")): row for row in rows if isinstance(row, dict)}
                is_whole = not rest.get("omitted")
            case _:
                known, is_whole = {}, True
        for fingerprint, act in self.keys.items():
            row = known.get(fingerprint)
            if row is None and is_whole:
                raise PackError("keys.json", f"the key {fingerprint} of leaf {act.index} is missing")
            if row is not None and (problem := self._differs(row, fingerprint, act)):
                raise PackError("keys.json", f"{fingerprint}: {problem}")
        return f"{len(self.keys)} are what the leaves say"

    def _differs(self, row: Mapping[str, JsonValue], fingerprint: str, act: Act) -> str:
        """What a row of keys.json says otherwise than the leaves; later acts than the pack's may have shortened it."""
        body = act.body or {}
        window = [moment_of(row.get(name)) for name in ("createdAt", "expiresAt")]
        retired = moment_of(row.get("retiredAt"))
        if hashlib.sha256(str(row.get("publicKey")).encode()).hexdigest() != body.get("public_key_sha256"):
            return f"it is another one than leaf {act.index} says"
        if None in window or window != [moment_of(body.get(name)) for name in ("created_at", "expires_at")]:
            return f"its window is another one than leaf {act.index} says"
        replaced = self.replaced.get(fingerprint)
        if replaced is not None and (retired is None or retired > replaced.leaf.at):
            return f"leaf {replaced.index} replaced it, and it is not said to have retired by then"
        since = min((found.since for found in self.revoked.get(fingerprint, ())), default=None)
        told = moment_of(row.get("distrustedSince"))
        if since is not None and (told is None or told > since):
            return f"it was revoked: the log distrusts it since {since}, the row says {row.get('distrustedSince')}"
        return ""

    def check_signers(self, pack: Pack) -> str:
        """Every signature over a bundle that the leaves know has its one row, and says what its leaf says.

        Raises: PackError.
        """
        if self.timeless:
            raise PackError(f"leaf {self.timeless[0]}", "it has to say a time with its zone")
        wanted = {found.act.index: found for rows in self.signed.values() for found in rows}
        for where, row in pack.rows("signatures.jsonl"):
            index = row.get("leafIndex")
            if row.get("kind") != "bundle" or index in self.erased:
                continue
            found = wanted.pop(index, None) if isinstance(index, int) else None
            if found is None:
                raise PackError(
                    where, f"no leaf of the pack says that it was made, or a row before it is of leaf {index}"
                )
            if problem := _other_row(row, found):
                raise PackError(where, f"{problem} is not what leaf {index} says")
            if found.fingerprint and found.fingerprint not in self.keys:
                raise PackError(where, f"no leaf of the pack says that the key {found.fingerprint} was made")
        if wanted:
            raise PackError("signatures.jsonl", f"the signature of leaf {min(wanted)} is missing")
        return f"{sum(map(len, self.signed.values()))} signatures over bundles are what the leaves say"

    def check_standing(self, report: Report) -> str:
        """Every act that rested on a bundle's signature had one whose key was trusted by then."""
        count, fallen = 0, set[str]()
        acts = [found for rows in self.rested.values() for found in rows if found.is_signed]
        for found in [*acts, *filter(None, map(self._of_merge, self.merges))]:
            leaf, count = found.act.leaf, count + 1
            before = [
                one for one in self.signed.get(leaf.subject, ())
                if one.digest == found.digest and one.act.leaf.entry < leaf.entry
            ]  # fmt: skip
            standing = [one for one in before if not self._distrusted(one, leaf.entry)]
            if standing:
                later = self._distrusted(standing[-1], None)
                fallen |= {f"leaf {found.act.index} on that of leaf {standing[-1].act.index}"} if later else set()
                continue
            if not before and self.erased:
                report.gap("standing", f"leaf {found.act.index}: a body was erased that may say who signed the bundle")
                continue
            why = "no leaf before it says by whom"
            if before:
                since = self._distrusted(before[-1], leaf.entry)
                why = f"the key {before[-1].fingerprint} was not trusted any more since {since}"
            report.broken("standing", f"leaf {found.act.index}: {leaf.kind} rests on a signed bundle, and {why}")
        if fallen:
            held = "; ".join(sorted(fallen)[:5])
            report.gap("standing", f"{len(fallen)} rested on a signature whose key was revoked afterwards: {held}")
        return f"{count} acts looked at that rested on a signature"

    def _of_merge(self, act: Act) -> _Rested | None:
        """What a merge rested on: the same as the newest act before it that said whether the bundle is signed."""
        before = [one for one in self.rested.get(act.leaf.subject, ()) if one.act.leaf.entry < act.leaf.entry]
        return _Rested(act, before[-1].digest, is_signed=True) if before and before[-1].is_signed else None

    def _distrusted(self, signed: _Signed, entry: int | None) -> datetime | None:
        """Since when a signature's key was not trusted, as an act with this entry could know; None if it was."""
        known = [
            one.since for one in self.revoked.get(signed.fingerprint, ())
            if one.since <= signed.at and (entry is None or one.entry < entry)
        ]  # fmt: skip
        return min(known, default=None)


def _other_row(row: Mapping[str, JsonValue], signed: _Signed) -> str:
    """The first thing in a row that is not what the leaf of the signature says."""
    body, leaf = signed.act.body or {}, signed.act.leaf
    raw = row.get("artifactBundle") if row.get("method") == "sigstore" else row.get("signature")
    try:
        envelope = base64.b64decode(str(row.get("envelope")), validate=True)
    except binascii.Error:
        return "its envelope"
    told: dict[str, tuple[object, object]] = {
        "its handoff": (f"H-{row.get('handoff')}", leaf.subject),
        "its digest": (row.get("digest"), body.get("digest")),
        "its method": (row.get("method"), body.get("method")),
        "its signer": (row.get("fingerprint") or row.get("identity"), body.get("fingerprint") or body.get("identity")),
        "when it was received": (moment_of(row.get("receivedAt")), signed.at),
        "its signature": (hashlib.sha256(str(raw).encode()).hexdigest(), body.get("signature_sha256")),
        "its statement": (hashlib.sha256(envelope).hexdigest(), body.get("statement_sha256")),
    }
    return next((name for name, (got, said) in told.items() if got != said), "")
