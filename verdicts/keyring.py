"""Reads: the signing keys as their page shows them. Nothing is written, and looking changes nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Count, F, Q
from django.utils import timezone

from handoffs.models import (
    MAX_ATTEMPTS,
    KeyRotation,
    KeyState,
    Lane,
    RotationStep,
    Signature,
    SignatureRenewal,
    SigningKey,
)
from handoffs.signatures.key_rules import REMIND_AFTER, ROTATE_AFTER, VALIDITY
from verdicts.models import STATEMENTS

LANES: Final = {Lane.ENFORCER: "signs bundles", Lane.GATE: "signs verdicts, decisions and policies"}
STEPS: Final = (
    ("Make new key", RotationStep.REQUESTED),
    ("Store public key", RotationStep.REQUESTED),
    ("Sign transition with old key", RotationStep.MADE),
    ("Switch", RotationStep.TRANSITION_SIGNED),
    ("Retire old", RotationStep.SWITCHED),
)
_ORDER: Final = tuple(RotationStep)


@dataclass(frozen=True)
class KeyRow:
    """One key and what rests on it."""

    key: SigningKey
    state: str
    day: int
    signatures: int
    flagged: int

    @property
    def days(self) -> int:
        """How long a key lives. Units: days."""
        return VALIDITY.days

    @property
    def is_active(self) -> bool:
        """Whether it signs now."""
        return self.state == KeyState.ACTIVE

    @property
    def is_late(self) -> bool:
        """Day 28 or later: the automatic rotation should have happened."""
        return self.is_active and self.day >= ROTATE_AFTER.days

    @property
    def is_due(self) -> bool:
        """Day 25 or later: the reminder is shown."""
        return self.is_active and self.day >= REMIND_AFTER.days

    @property
    def rotates_at(self) -> datetime:
        """When the scheduler replaces it."""
        return self.key.created_at + ROTATE_AFTER

    @property
    def is_unvouched(self) -> bool:
        """It replaced a key that could no longer sign the transition."""
        return self.key.replaces_id is not None and self.key.transition is None


@dataclass(frozen=True)
class Progress:
    """One of the five steps of a rotation."""

    number: int
    name: str
    state: str


@dataclass(frozen=True)
class RotationRow:
    """A rotation that is under way."""

    rotation: KeyRotation
    steps: tuple[Progress, ...]

    @property
    def is_stuck(self) -> bool:
        """It failed too often and waits for a person."""
        return self.rotation.attempts >= MAX_ATTEMPTS

    @property
    def may_cancel(self) -> bool:
        """The switch was not made yet."""
        return self.rotation.step != RotationStep.SWITCHED


@dataclass(frozen=True)
class LaneRow:
    """One lane: its active key if it has one, its rotation if one is under way, and the keys before."""

    lane: Lane
    does: str
    active: KeyRow | None
    rotation: RotationRow | None
    others: tuple[KeyRow, ...]


def read_keyring() -> tuple[LaneRow, ...]:
    """Both lanes with all their keys, newest first. Five queries, however many keys there are."""
    now = timezone.now()
    made, flagged = _counts()
    rows = [
        KeyRow(key, key.state_at(now).value, _day(key, now), made[key.pk], flagged[key.pk])
        for key in SigningKey.objects.select_related("replaces", "revocation_reason")
        .defer("replaces__secret_key")
        .order_by("-created_at", "-pk")
    ]
    rotations = {row.lane: row for row in reversed(KeyRotation.objects.open().for_list())}
    lanes = []
    for lane, does in LANES.items():
        mine = [row for row in rows if row.key.lane == lane]
        active = next((row for row in mine if row.is_active), None)
        rotation = rotations.get(lane)
        progress = RotationRow(rotation, _steps(rotation)) if rotation else None
        lanes.append(LaneRow(lane, does, active, progress, tuple(row for row in mine if row is not active)))
    return tuple(lanes)


def _counts() -> tuple[Counter[int], Counter[int]]:
    """Signatures by key, and those of them that a revocation took back."""
    made: Counter[int] = Counter()
    flagged: Counter[int] = Counter()
    for model in (Signature, SignatureRenewal, *STATEMENTS):
        rows = model.objects.filter(key__isnull=False)
        grouped = rows.values("key").annotate(all=Count("pk"), after=Count("pk", filter=_distrusted()))
        for row in grouped.order_by():
            made[row["key"]] += row["all"]
            flagged[row["key"]] += row["after"]
    return made, flagged


def _distrusted() -> Q:
    return Q(signed_at__gte=F("key__distrusted_since"))


def _day(key: SigningKey, now: datetime) -> int:
    """The day of a key's life, from 0; it ends at 30. Units: whole days, rounded down."""
    return max(0, min(VALIDITY.days, (now - key.created_at) // timedelta(days=1)))


def _steps(rotation: KeyRotation) -> tuple[Progress, ...]:
    at = _ORDER.index(RotationStep(rotation.step))
    running = "stuck" if rotation.attempts >= MAX_ATTEMPTS else "running"
    found, is_next = [], True
    for number, (name, before) in enumerate(STEPS, start=1):
        state = "done" if _ORDER.index(before) < at else running if is_next else "waits"
        is_next = is_next and state == "done"
        found.append(Progress(number, name, state))
    return tuple(found)


@dataclass(frozen=True)
class KeyWarning:
    """What people of the enforcer lane see above every page."""

    lane: str
    text: str


def key_warnings() -> tuple[KeyWarning, ...]:
    """What is late about the keys, for the frame of every page. One query."""
    now = timezone.now()
    newest: dict[str, SigningKey] = {}
    for living in SigningKey.objects.filter(retired_at=None).order_by("created_at"):
        newest[living.lane] = living
    found = []
    for lane in Lane:
        key = newest.get(lane)
        state = key.state_at(now) if key else KeyState.EXPIRED
        if key is None or state is not KeyState.ACTIVE:
            what = "OpenPGP signing of bundles is off" if lane is Lane.ENFORCER else "Nothing judged is being signed"
            found.append(KeyWarning(lane.value, f"{what}: the {lane} lane has no valid key."))
        elif _day(key, now) >= ROTATE_AFTER.days:
            found.append(
                KeyWarning(lane.value, f"The {lane} key is on day {_day(key, now)} of 30 and was not rotated.")
            )
    return tuple(found)
