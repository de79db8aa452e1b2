"""Signing keys, their life cycle and their rotation."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Self

from django.db import models
from django.db.models import Q

from audit.models import ErasableText, end_is_named, named_entry
from handoffs.models.work import WorkQuerySet
from handoffs.signatures.key_rules import Algorithm


class Lane(models.TextChoices):
    """Who signs with a key. No key serves two lanes."""

    ENFORCER = "enforcer"
    GATE = "gate"


class KeyState(models.TextChoices):
    """What a key may do now. Derived from its times; never stored."""

    ACTIVE = "active"
    VERIFY_ONLY = "verify-only"
    EXPIRED = "expired"
    REVOKED = "revoked"


class SigningKeyManager(models.Manager["SigningKey"]):
    """Keys without their secret half: that is fetched when it is asked for, and only by lanes that may."""

    def get_queryset(self) -> models.QuerySet[SigningKey]:
        """Every way to a key begins here, but for `select_related`, which has to defer it itself."""
        return super().get_queryset().defer("secret_key")


class SigningKey(models.Model):
    """An OpenPGP key of one lane. The secret half is encrypted at rest (Fernet, key from settings).

    Triggers hold what a constraint cannot: a key is never deleted, changes neither fingerprint nor lane, is never
    made valid again, and signs for its own lane only while it is active.
    """

    fingerprint = models.CharField(max_length=64, unique=True, db_comment="full primary fingerprint, upper-case hex")
    lane = models.CharField(max_length=10, choices=Lane, default=Lane.ENFORCER)
    algorithm = models.CharField(
        max_length=10, choices=[(kind.value, kind.value) for kind in Algorithm], default=Algorithm.RSA_4096.value
    )
    user_id = models.CharField(max_length=200)
    public_key = models.TextField(db_comment="ASCII-armoured certificate")
    secret_key = models.BinaryField(db_comment="encrypted; never exported; empty once the key has retired")
    revocation = models.BinaryField(
        default=bytes, db_comment="OpenPGP revocation made with the key; encrypted until it is needed"
    )
    revoked_public_key = models.TextField(
        blank=True, db_comment="of a revoked key: its certificate with the revocation in it"
    )
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    retired_at = models.DateTimeField(null=True, blank=True, db_comment="verify-only from then on")
    revoked_at = models.DateTimeField(null=True, blank=True)
    distrusted_since = models.DateTimeField(
        null=True, blank=True, db_comment="of a revoked key: signatures received from then on do not hold"
    )
    revocation_reason = models.ForeignKey(ErasableText, models.PROTECT, null=True, blank=True, related_name="+")
    replaces = models.OneToOneField("self", models.PROTECT, null=True, blank=True, related_name="replaced_by")
    transition = models.BinaryField(
        null=True, blank=True, db_comment="DSSE envelope by the replaced key that names this one"
    )

    log_entry = named_entry("that it was made")
    retire_entry = named_entry("that it was replaced, or expired", null=True)
    revoke_entry = named_entry("that it was revoked; of the newest revocation", null=True)

    objects = SigningKeyManager()

    class Meta:
        base_manager_name = "objects"
        constraints = [
            end_is_named("signingkey_retirement_is_named", "retired_at", "retire_entry"),
            end_is_named("signingkey_revocation_is_named", "revoked_at", "revoke_entry"),
            models.CheckConstraint(
                name="signingkey_at_most_30_days",
                condition=Q(expires_at__lte=models.F("created_at") + timedelta(days=30)),
            ),
            models.CheckConstraint(name="signingkey_lane_known", condition=Q(lane__in=Lane.values)),
            models.CheckConstraint(
                name="signingkey_revoked_says_since",
                condition=Q(revoked_at=None, distrusted_since=None)
                | Q(revoked_at__isnull=False, distrusted_since__isnull=False),
            ),
            models.CheckConstraint(
                name="signingkey_strong", condition=Q(algorithm__in=[kind.value for kind in Algorithm])
            ),
            models.CheckConstraint(
                name="signingkey_distrusted_until_revoked",
                condition=Q(distrusted_since=None) | Q(distrusted_since__lte=models.F("revoked_at")),
            ),
            models.UniqueConstraint(
                fields=["lane"], name="signingkey_one_active", condition=Q(retired_at=None, revoked_at=None)
            ),
        ]

    def __str__(self) -> str:
        return self.fingerprint

    def state_at(self, moment: datetime) -> KeyState:
        """What the key may do at a moment."""
        if self.revoked_at is not None and self.revoked_at <= moment:
            return KeyState.REVOKED
        if moment >= self.expires_at:
            return KeyState.EXPIRED
        if self.retired_at is not None and self.retired_at <= moment:
            return KeyState.VERIFY_ONLY
        return KeyState.ACTIVE

    def is_active_at(self, moment: datetime) -> bool:
        """Whether a new signature may be made with this key."""
        return self.created_at <= moment and self.state_at(moment) is KeyState.ACTIVE

    def vouches_for(self, received_at: datetime) -> bool:
        """Whether a signature that the portal received at that moment holds: inside the key's window, and trusted."""
        is_trusted = self.distrusted_since is None or received_at < self.distrusted_since
        return is_trusted and self.created_at <= received_at < min(self.expires_at, self.retired_at or self.expires_at)


class RotationStep(models.TextChoices):
    """Where a key rotation stands. Until SWITCHED the old key stays the active one."""

    REQUESTED = "requested"
    MADE = "made"
    TRANSITION_SIGNED = "transition-signed"
    SWITCHED = "switched"
    DONE = "done"
    CANCELLED = "cancelled"


BEFORE_SWITCH = (RotationStep.REQUESTED, RotationStep.MADE, RotationStep.TRANSITION_SIGNED)


class KeyRotationQuerySet(WorkQuerySet["KeyRotation"]):
    """Reads of rotations."""

    def open(self) -> Self:
        """Rotations with a step to do."""
        return self.exclude(step__in=[RotationStep.DONE, RotationStep.CANCELLED])

    def for_list(self) -> Self:
        """Newest first, with both keys and the reason; templates cannot query further."""
        rows = self.select_related("old_key", "new_key", "reason").defer("old_key__secret_key", "new_key__secret_key")
        return rows.order_by("-pk").fetch_mode(models.FETCH_RAISE)


class KeyRotation(models.Model):
    """One replacement of a lane's key. Its row is the queue of its steps."""

    lane = models.CharField(max_length=10, choices=Lane)
    step = models.CharField(max_length=20, choices=RotationStep, default=RotationStep.REQUESTED)
    old_key = models.ForeignKey(SigningKey, models.PROTECT, null=True, related_name="+")
    new_key = models.ForeignKey(SigningKey, models.PROTECT, null=True, related_name="+")
    draft = models.JSONField(default=dict, db_comment="the new key before it is stored: public half, encrypted secret")
    requested_by = models.BigIntegerField(db_comment="number of the principal; 0: the portal itself")
    reason = models.ForeignKey(ErasableText, models.PROTECT, related_name="+")
    requested_at = models.DateTimeField()
    moved_at = models.DateTimeField(auto_now_add=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    lease_until = models.DateTimeField(null=True)
    next_try_at = models.DateTimeField(null=True)
    error = models.TextField(blank=True)
    log_entry = named_entry("that it was requested")
    end_entry = named_entry("that the keys were switched, or it was cancelled", null=True)

    objects = KeyRotationQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["lane"],
                name="keyrotation_one_at_a_time",
                condition=~Q(step__in=[RotationStep.DONE, RotationStep.CANCELLED]),
            ),
            models.CheckConstraint(name="keyrotation_step_known", condition=Q(step__in=RotationStep.values)),
            models.CheckConstraint(
                name="keyrotation_end_is_named",
                condition=Q(step__in=BEFORE_SWITCH, end_entry=None)
                | (~Q(step__in=BEFORE_SWITCH) & Q(end_entry__isnull=False)),
            ),
        ]

    def __str__(self) -> str:
        return f"rotation of {self.lane}, {self.step}"
