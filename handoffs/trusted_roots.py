"""Refreshing the Sigstore trusted root: an operator fetches it over TUF, sees what changed, and says whether to use it.

Nothing refreshes by itself, and nothing that was fetched is used because it was fetched: only its age counts, when it
is the root already in use. A refused refresh is in the trail, and the old root stays.
Source: ATT-14 of the threat list; TUF specification 1.0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from audit import events
from audit.accountability import Act, require
from audit.actions import append_event
from audit.canonical import JsonValue
from audit.events import Actor
from handoffs.clocks import Clock, refuse_skew
from handoffs.lane import rules_in_force
from handoffs.models import HandoffError, TrustedRootFetch, TrustedRootUse
from handoffs.signatures.refusals import RefusedError
from handoffs.signatures.trust_roots import TrustedRoot, read_trusted_root, root_changes
from handoffs.signatures.tuf_refresh import Fetched, Mirror, fetch_trusted_root
from handoffs.trusting import refuse_stale, take_root

MAX_CHANGES: Final = 100


@dataclass(frozen=True)
class Refreshed:
    """A refresh that holds: what the mirror gave, and how it differs from the root in use."""

    root: TrustedRoot
    changes: tuple[str, ...]


def refresh_root(mirror: Mirror, current: TrustedRoot, *, by: Actor, clock: Clock = timezone.now) -> Refreshed:
    """Fetch the root over TUF and store it. The root in use stays; if it is the one that came, it is fresh again.

    Raises: HandoffError with a code of `fetch_trusted_root`, `sigstore.root` or `clock.skew`; it is in the trail.
    """
    require(by, Act.REFRESH_ROOT)
    refuse_skew(clock)
    try:
        fetched = fetch_trusted_root(mirror, last_seen=_last_seen(mirror))
        root = read_trusted_root(fetched.raw, source=mirror.address, refreshed_at=clock())
    except RefusedError as error:
        with transaction.atomic(durable=True):
            told = {"mirror": mirror.address[:300], "code": error.code, "detail": error.detail[:500]}
            append_event(events.TRUSTED_ROOT_REFUSED, by, "", {**told, "kept": current.digest})
        raise HandoffError(error.code, f"{error.detail}; the root {current.digest[:12]} stays") from None
    changes = root_changes(current, root)[:MAX_CHANGES]
    _store(root, fetched, mirror, {"before": current.digest, "changes": list(changes)}, by)
    return Refreshed(root, changes)


@transaction.atomic(durable=True)
def _store(root: TrustedRoot, fetched: Fetched, mirror: Mirror, told: dict[str, JsonValue], by: Actor) -> None:
    body: dict[str, JsonValue] = {
        "digest": root.digest,
        "mirror": mirror.address[:300],
        "anchor": mirror.anchor_digest,
        "versions": {**fetched.versions},
        **told,
    }
    entry = append_event(events.TRUSTED_ROOT_FETCHED, by, "", body)
    TrustedRootFetch.objects.create(
        digest=root.digest,
        raw=root.raw,
        newest_at=root.newest_at,
        mirror=mirror.address[:300],
        anchor=mirror.anchor_digest,
        versions=fetched.versions,
        metadata=fetched.metadata,
        created_at=entry.created_at,
        log_entry=entry,
    )


def use_root(digest: str, *, by: Actor) -> TrustedRoot:
    """Take a root that was fetched into use, named by its whole digest.

    Raises: HandoffError("sigstore.root_unknown"), ("sigstore.root_pin") when the stored bytes are others.
    """
    require(by, Act.REFRESH_ROOT)
    fetch = TrustedRootFetch.objects.filter(digest=digest).order_by("-pk").first()
    if fetch is None:
        raise HandoffError("sigstore.root_unknown", f"no root with sha256 {digest[:64]!a} was fetched; refresh first")
    root = _read(fetch)
    take_root(root, pinned=True, by=by, fetch=fetch)
    return root


def chosen_root() -> TrustedRoot | None:
    """The fetched root that an operator chose last; None if nobody chose one.

    Raises: HandoffError("sigstore.root_pin") when its stored bytes are not what was chosen.
    """
    use = TrustedRootUse.objects.filter(fetch__isnull=False).select_related("fetch").order_by("-pk").first()
    return _read(use.fetch) if use is not None and use.fetch is not None else None


def fetched_at(digest: str) -> datetime | None:
    """When a root with this digest came over TUF last."""
    newest = TrustedRootFetch.objects.filter(digest=digest).aggregate(newest=Max("created_at"))["newest"]
    assert newest is None or isinstance(newest, datetime)  # noqa: S101 - narrows the type
    return newest


def waiting_root(current: TrustedRoot) -> TrustedRootFetch | None:
    """A root that was fetched after the one in use and differs from it: nobody has said yet whether to use it."""
    newest = TrustedRootFetch.objects.order_by("-pk").first()
    return newest if newest is not None and newest.digest != current.digest else None


@dataclass(frozen=True)
class RootStanding:
    """The root in use as people see it. `problem`: why none can be used; `warning`: that it is getting old."""

    root: TrustedRoot | None
    problem: str
    warning: str
    waiting: TrustedRootFetch | None
    is_online: bool


def root_standing(read: Callable[[], TrustedRoot], *, is_online: bool, now: datetime) -> RootStanding:
    """What to show of the root in use; nothing is fetched for it."""
    try:
        root = read()
        refuse_stale(rules_in_force(), root, now)
    except (RefusedError, HandoffError) as error:
        return RootStanding(None, str(error), "", None, is_online)
    return RootStanding(root, "", root.age_warning(now, is_online=is_online), waiting_root(root), is_online)


def _read(fetch: TrustedRootFetch) -> TrustedRoot:
    root = read_trusted_root(bytes(fetch.raw), source=fetch.mirror, refreshed_at=fetched_at(fetch.digest))
    if root.digest != fetch.digest:
        raise HandoffError("sigstore.root_pin", f"the stored root has sha256 {root.digest}, chosen was {fetch.digest}")
    return root


def _last_seen(mirror: Mirror) -> dict[str, str]:
    """The newest metadata of this repository that held, whichever mirror gave it."""
    newest = TrustedRootFetch.objects.filter(anchor=mirror.anchor_digest).order_by("-pk").first()
    return {role: str(text) for role, text in newest.metadata.items()} if newest else {}
