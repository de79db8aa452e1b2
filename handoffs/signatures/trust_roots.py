"""Sigstore trusted roots: read strictly, identified by digest, cut down to what was valid at a time.

A verifier that takes every key of a root for valid for ever accepts what a retired key signs. So the keys and
authorities whose window excludes the time of a signature are taken out of the root before it is used.

Not checked: who made the root. It is trusted because its digest is pinned, or its file was named by an operator.
Source: Sigstore protobuf-specs trustroot v0.1; RFC 5280 sections 4.2.1.3 and 4.2.1.9.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from audit.canonical import JsonError, JsonValue, parse_json, write_json
from handoffs.signatures.certificates import CertificateError, read_certificate
from handoffs.signatures.refusals import RefusedError

MEDIA_TYPE: Final = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
MAX_ROOT_BYTES: Final = 1 << 20
FRESH_DAYS: Final = 7
FRESH_ONLINE: Final = timedelta(hours=24)
_KEYS: Final = ("tlogs", "ctlogs")
_AUTHORITIES: Final = ("certificateAuthorities", "timestampAuthorities")
_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)
_TICK: Final = timedelta(microseconds=1)


@dataclass(frozen=True)
class Window:
    """When a key or an authority may be trusted; both ends belong to it."""

    start: datetime
    end: datetime

    def holds(self, moments: Iterable[datetime]) -> bool:
        """Whether every moment lies in the window."""
        return all(self.start <= moment <= self.end for moment in moments)

    def __str__(self) -> str:
        return f"{_day(self.start, _FIRST)} to {_day(self.end, _LAST)}"


@dataclass(frozen=True)
class TrustedRoot:
    """A root as it was read. Units: `digest` is the SHA-256 of `raw`; `newest_at` the latest start of any window.

    Roots carry no version: one whose newest key started earlier is taken for the older one.
    """

    raw: bytes
    digest: str
    newest_at: datetime
    source: str
    refreshed_at: datetime | None
    document: dict[str, Any]

    def windows(self, kind: str, identifier: str) -> list[Window]:
        """The windows of the logs that carry a key id, or of the authorities whose first certificate has a subject."""
        return [window for known, window in self._items[kind] if known == identifier]

    @cached_property
    def _items(self) -> dict[str, list[tuple[str, Window]]]:
        """Name and window of everything in the root, by kind, in its order."""
        return {
            kind: [
                (
                    certificates_of(item)[0].subject.rfc4514_string()
                    if kind in _AUTHORITIES
                    else item["logId"]["keyId"],
                    window_of(item),
                )
                for item in self.document[kind]
            ]
            for kind in (*_KEYS, *_AUTHORITIES)
        }

    def cut(self, *, issued: datetime, certified: Iterable[datetime], logged: Iterable[datetime]) -> bytes:
        """The root without authorities that were not valid when the certificate was issued, CT logs that were not
        when it was certified, and transparency logs that were not when the signature was logged.

        Raises: RefusedError("sigstore.time") when nothing of a kind is left.
        """
        cut, is_whole = dict(self._judged), True
        moments = {"certificateAuthorities": [issued], "ctlogs": [issued, *certified], "tlogs": [issued, *logged]}
        for kind, when in moments.items():
            items = zip(cut[kind], self._items[kind], strict=True)
            cut[kind] = [item for item, (_, window) in items if window.holds(when)]
            if not cut[kind]:
                raise RefusedError("sigstore.time", f"no {kind} of the root valid at {when[-1]:%F %T}", "one")
            is_whole = is_whole and len(cut[kind]) == len(self.document[kind])
        return self.whole if is_whole else write_json(cut)

    @cached_property
    def whole(self) -> bytes:
        """The root with nothing cut off, as `cut` gives it."""
        return write_json(self._judged)

    @cached_property
    def _judged(self) -> dict[str, Any]:
        """The document, and in it the end of a timestamp authority as the library means it: the first moment after."""
        kind, moved = "timestampAuthorities", []
        for item, (_, window) in zip(self.document[kind], self._items[kind], strict=True):
            after = {"end": (window.end + _TICK).isoformat()} if window.end < _LAST else {}
            moved.append({**item, "validFor": {**item["validFor"], **after}} if after else item)
        return {**self.document, kind: moved}

    def age_warning(self, now: datetime, *, is_online: bool = False) -> str:
        """What to say about a root that nobody refreshed for a while; empty while it is fresh.

        Where there is a mirror to refresh it from, a day is a while; without one, a week.
        """
        if self.refreshed_at is None:
            return f"trusted root {self.digest[:12]}: nobody knows when it was last refreshed"
        age = now - self.refreshed_at
        if age < (FRESH_ONLINE if is_online else timedelta(days=FRESH_DAYS)):
            return ""
        ago = f"{age.days} days" if age.days > 1 else f"{int(age.total_seconds()) // 3600} hours"
        return f"trusted root {self.digest[:12]} was last refreshed {ago} ago; get the current one"


def root_changes(old: TrustedRoot, new: TrustedRoot) -> tuple[str, ...]:
    """What a new root adds, takes away, or gives another window: one line for each key and authority, for people."""
    said = []
    for kind in (*_KEYS, *_AUTHORITIES):
        before, after = _windows_by_name(old, kind), _windows_by_name(new, kind)
        said += [f"{kind}: added {name}, {window}" for name, window in after.items() if name not in before]
        said += [f"{kind}: removed {name}, {window}" for name, window in before.items() if name not in after]
        said += [
            f"{kind}: {name} from {before[name]} to {window}"
            for name, window in after.items()
            if before.get(name, window) != window
        ]
    if old.digest != new.digest and not said:
        said.append("the same keys and windows in other bytes")
    return tuple(said)


def _windows_by_name(root: TrustedRoot, kind: str) -> dict[str, str]:
    """Each key or authority by what it is: a digest of its material, with the operator's or subject's name."""
    found: dict[str, list[str]] = {}
    for item in root.document[kind]:
        if kind in _AUTHORITIES:
            leaf = certificates_of(item)[0]
            name = f"{leaf.subject.rfc4514_string()} {leaf.fingerprint(hashes.SHA256()).hex()[:16]}"
        else:
            material = hashlib.sha256(item["publicKey"]["rawBytes"].encode()).hexdigest()
            name = f"{item.get('baseUrl', '')} key {item['logId']['keyId']} {material[:16]}"
        found.setdefault(name, []).append(str(window_of(item)))
    return {name: ", ".join(sorted(windows)) for name, windows in found.items()}


def read_trusted_root(raw: bytes, *, source: str, refreshed_at: datetime | None = None) -> TrustedRoot:
    """Read a trusted root.

    Raises: RefusedError("sigstore.root").
    """
    try:
        document: Any = parse_json(raw, max_bytes=MAX_ROOT_BYTES)
    except JsonError as error:
        raise _bad_root(f"{source}: {error}") from None
    if not isinstance(document, dict) or document.get("mediaType") != MEDIA_TYPE:
        kind = document.get("mediaType") if isinstance(document, dict) else type(document).__name__
        raise _bad_root(f"{source} of type {str(kind)[:80]!a}")
    known = {"mediaType", *_KEYS, *_AUTHORITIES}
    if unknown := document.keys() - known:
        raise _bad_root(f"{source} with the field {min(unknown)[:40]!a}")
    document.setdefault("timestampAuthorities", [])
    starts: list[datetime] = []
    try:
        for kind in _KEYS:
            starts += [window_of(_key(item)).start for item in _items(document, kind, at_least=1)]
        for kind, least in zip(_AUTHORITIES, (1, 0), strict=True):
            for item in _items(document, kind, at_least=least):
                starts.append(window_of(item).start)
                for certificate in certificates_of(item)[0 if least else 1 :]:
                    if problem := authority_problem(certificate):
                        raise _bad_root(f"{source}: {certificate.subject.rfc4514_string()}: {problem}")
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise _bad_root(f"{source}: {type(error).__name__} {str(error)[:200]}") from None
    return TrustedRoot(raw, hashlib.sha256(raw).hexdigest(), max(starts), source, refreshed_at, document)


def refuse_older(root: TrustedRoot, *, last_seen: tuple[str, datetime], replaced: Iterable[str] = ()) -> None:
    """A root that was rolled back is refused: one that a newer one replaced, or whose newest key is older.

    Shape: `last_seen` is digest and `newest_at` of the root used last; `replaced` are digests of roots before that one.
    Raises: RefusedError("sigstore.root_older").
    """
    if root.digest == last_seen[0]:
        return
    if root.digest in set(replaced) or root.newest_at < last_seen[1]:
        raise RefusedError(
            "sigstore.root_older",
            f"the trusted root {root.digest}, newest key of {root.newest_at:%F}",
            f"{last_seen[0]}, newest key of {last_seen[1]:%F}, or a newer root",
        )


def authority_problem(certificate: x509.Certificate) -> str:
    """Why a certificate may not issue others; empty when it may. Source: RFC 5280 sections 4.2.1.3, 4.2.1.9."""
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    except x509.ExtensionNotFound as error:
        return f"no {error.oid.dotted_string}"
    except ValueError as error:
        return str(error)[:100]
    if not basic.critical or not basic.value.ca:
        return "basic constraints are not critical, or not of an authority"
    return "" if usage.value.key_cert_sign else "key usage is not certificate signing"


def leaf_problem(certificate: x509.Certificate) -> str:
    """Why a certificate may not sign artifacts; empty when it may. Source: Fulcio's certificate specification."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound as error:
        return f"no {error.oid.dotted_string}"
    except ValueError as error:
        return str(error)[:100]
    if is_authority(certificate):
        return "it is an authority's"
    if not usage.value.digital_signature:
        return "key usage is not digital signature"
    is_for_code = x509.oid.ExtendedKeyUsageOID.CODE_SIGNING in purposes.value
    return "" if is_for_code else "extended key usage is not code signing"


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether a certificate says it is an authority's; one that cannot be read counts as such."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
    except ValueError:
        return True


def _items(document: dict[str, JsonValue], kind: str, *, at_least: int) -> list[Any]:
    items = document[kind]
    if not isinstance(items, list) or len(items) < at_least or len(items) > 100:
        raise ValueError(f"{kind}: expected a list of {at_least} to 100")
    return items


def _key(item: Any) -> Any:
    """A log, whose key has a name and bytes. Raises: ValueError."""
    match item:
        case {"logId": {"keyId": str()}, "publicKey": {"rawBytes": str()}}:
            return item
    raise ValueError("a log without logId.keyId or publicKey.rawBytes")


def window_of(item: Any) -> Window:
    """Without a range: always. A range has a start, and perhaps an end. Source: protobuf-specs `TimeRange`."""
    told = item.get("publicKey", item).get("validFor")
    if told is None:
        return Window(_FIRST, _LAST)
    return Window(_moment(told["start"]), _LAST if told.get("end") is None else _moment(told["end"]))


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return moment.astimezone(UTC)


def certificates_of(item: Any) -> list[x509.Certificate]:
    """The chain of an authority, its own certificate first. Raises: ValueError."""
    try:
        raw = [base64.b64decode(one["rawBytes"], validate=True) for one in item["certChain"]["certificates"]]
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    if not raw:
        raise ValueError("an authority without certificates")
    try:
        return [read_certificate(der) for der in raw]
    except CertificateError as error:
        raise ValueError(f"a certificate that cannot be read: {error}") from None


def _day(moment: datetime, without: datetime) -> str:
    return "always" if moment == without else f"{moment:%F %T}"


def _bad_root(got: str) -> RefusedError:
    return RefusedError("sigstore.root", got, "a Sigstore trusted root of version 0.1")
