"""Rows of the builder and enforcer lanes: repositories, handoffs, checks, signatures, pull requests."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Self

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from audit.models import LogEntry, Principal
from handoffs.evidence import NOT_CHECKED, Outcome
from handoffs.key_rules import Algorithm
from handoffs.secrets import redact

HEX_COMMIT = r"^([0-9a-f]{40}|[0-9a-f]{64})$"
HEX_SHA256 = r"^[0-9a-f]{64}$"
MAX_ATTEMPTS = 5


class HandoffError(Exception):
    """A refusal in the builder or enforcer lane. `code` is stable."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class StaleStatusError(Exception):
    """A compare-and-set found another status than it expected: somebody else moved the row."""


class WorkQuerySet[M: models.Model](models.QuerySet[M]):
    """Rows that are their own queue: due, claimed under a lease, released."""

    def claim(self, pk: int, *, lease: timedelta) -> int | None:
        """Take the lease if nobody holds it. Returns the attempt number that fences this run, or None."""
        free = Q(lease_until=None) | Q(lease_until__lt=Now())
        due = Q(next_try_at=None) | Q(next_try_at__lte=Now())
        taken = (
            self.open().filter(free, due, pk=pk).update(lease_until=Now() + lease, attempts=models.F("attempts") + 1)
        )
        return self.values_list("attempts", flat=True).get(pk=pk) if taken else None

    def release(
        self, pk: int, attempt: int, *, error: str = "", retry_in: timedelta | None = None, is_waiting: bool = False
    ) -> None:
        """Give the lease back; after a failure say when to try again. A fenced-off run changes nothing.

        Waiting for somebody else is not failing: it uses no attempt up.
        """
        moment = Now() + retry_in if retry_in else None
        row = self.filter(pk=pk, attempts=attempt)
        if is_waiting:
            row.update(lease_until=None, next_try_at=moment, error=redact(error)[:2000], attempts=0)
        elif error:
            row.update(lease_until=None, next_try_at=moment, error=redact(error)[:2000])
        else:
            row.update(lease_until=None, next_try_at=None, error="", attempts=0)

    def due(self) -> Self:
        """Open rows that nobody works on."""
        free = Q(lease_until=None) | Q(lease_until__lt=Now())
        return self.open().filter(free, Q(next_try_at=None) | Q(next_try_at__lte=Now()), attempts__lt=MAX_ATTEMPTS)

    def stuck(self) -> Self:
        """Open rows that failed too often: they wait for a person."""
        return self.open().filter(attempts__gte=MAX_ATTEMPTS)

    def abandoned(self) -> Self:
        """Stuck rows that nobody works on any more."""
        return self.stuck().filter(Q(lease_until=None) | Q(lease_until__lt=Now()))

    def open(self) -> Self:
        """Rows that still have work. Each kind of row says which."""
        raise NotImplementedError


class Repository(models.Model):
    """A repository under the portal's protection."""

    class Forge(models.TextChoices):
        LOCAL_GIT = "localgit"

    full_name = models.CharField(max_length=200, unique=True, db_comment="owner/name")
    forge = models.CharField(max_length=10, choices=Forge, default=Forge.LOCAL_GIT)
    path = models.CharField(max_length=500, unique=True, db_comment="of the bare repository on disk")
    protected_branch = models.CharField(max_length=200, default="main")
    next_number = models.PositiveIntegerField(default=1, db_comment="of the next pull request")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.full_name


class Status(models.TextChoices):
    """Where a handoff stands in the enforcer lane."""

    RECEIVED = "received"
    VERIFIED = "verified"
    WAITING_SIGNER = "waiting-signer"
    SIGNED = "signed"
    APPLIED = "applied"
    OPENED = "opened"
    TRIGGERED = "triggered"
    REFUSED = "refused"
    QUARANTINED = "quarantined"
    SUPERSEDED = "superseded"


# QUARANTINED: a credential was found, or bytes are no longer what was verified. Nobody is given the bundle any more.
TRANSITIONS: dict[str, frozenset[str]] = {
    Status.RECEIVED: frozenset({Status.VERIFIED, Status.REFUSED, Status.QUARANTINED, Status.SUPERSEDED}),
    Status.VERIFIED: frozenset({Status.SIGNED, Status.WAITING_SIGNER, Status.QUARANTINED, Status.SUPERSEDED}),
    Status.WAITING_SIGNER: frozenset({Status.SIGNED, Status.REFUSED, Status.QUARANTINED, Status.SUPERSEDED}),
    Status.SIGNED: frozenset({Status.APPLIED, Status.REFUSED, Status.QUARANTINED, Status.SUPERSEDED}),
    Status.APPLIED: frozenset({Status.OPENED, Status.REFUSED, Status.QUARANTINED, Status.SUPERSEDED}),
    Status.OPENED: frozenset({Status.TRIGGERED, Status.SUPERSEDED}),
    Status.TRIGGERED: frozenset({Status.SUPERSEDED}),
    Status.REFUSED: frozenset(),
    Status.QUARANTINED: frozenset(),
    Status.SUPERSEDED: frozenset(),
}
ENDED = (Status.REFUSED, Status.QUARANTINED, Status.SUPERSEDED)
SIGNING = (Status.VERIFIED, Status.WAITING_SIGNER)
WORKING = (Status.RECEIVED, Status.VERIFIED, Status.WAITING_SIGNER, Status.SIGNED, Status.APPLIED)


class HandoffQuerySet(WorkQuerySet["Handoff"]):
    """Reads of handoffs, and the one way to move their status."""

    def open(self) -> Self:
        """Handoffs with a step to do."""
        return self.filter(status__in=WORKING)

    def move(self, pk: int, *, old: Status, new: Status, **changes: object) -> None:
        """Compare-and-set. Raises StaleStatusError unless exactly this row still had `old`."""
        if new not in TRANSITIONS[old]:
            raise ValueError(f"no transition from {old} to {new}")
        if self.filter(pk=pk, status=old).update(status=new, moved_at=Now(), **changes) != 1:
            raise StaleStatusError(f"handoff {pk} is no longer {old}")

    def for_list(self) -> Self:
        """Everything a list shows, newest first; templates cannot query further."""
        rows = self.select_related("repository", "builder", "sponsor", "pull_request").order_by("-pk")
        rows = rows.defer("component_delta")
        return rows.fetch_mode(models.FETCH_RAISE)


class Handoff(models.Model):
    """One bundle's way through the enforcer lane. Its row is the queue of its steps."""

    repository = models.ForeignKey(Repository, models.PROTECT, related_name="handoffs")
    status = models.CharField(max_length=20, choices=Status, default=Status.RECEIVED)
    staging_branch = models.CharField(max_length=200)
    staging_commit = models.CharField(max_length=64)
    artifact_blob = models.CharField(
        max_length=64, blank=True, db_comment="object id of the bundle in the staging commit: same id, same bytes"
    )
    marker_digest = models.CharField(max_length=64, blank=True, db_comment="as the marker claims; proof is digest")
    digest = models.CharField(max_length=64, blank=True, db_comment="SHA-256 of artifact.tar.gz as read")
    size_bytes = models.PositiveIntegerField(default=0)
    title = models.CharField(max_length=200, blank=True)
    prd_id = models.CharField(max_length=100, blank=True)
    merge_base = models.CharField(max_length=64, blank=True)
    result_tree = models.CharField(max_length=64, blank=True)
    patch_digest = models.CharField(max_length=64, blank=True, db_comment="SHA-256 of changes.patch")
    change_digest = models.CharField(
        max_length=64, blank=True, db_index=True, db_comment="of the added and removed lines, whatever their place"
    )
    raised = models.JSONField(default=list, db_comment="what raises the approvals: objects of kind, path, why")
    component_delta = models.JSONField(default=dict, db_comment="added, removed, changed components with licences")
    slsa = models.JSONField(default=list, db_comment="SLSA properties: name, met|claimed|not met, why")
    applied_commit = models.CharField(max_length=64, blank=True)
    feature_branch = models.CharField(max_length=200, blank=True)
    refusal_code = models.CharField(max_length=60, blank=True)
    builder = models.ForeignKey(Principal, models.PROTECT, null=True, related_name="+")
    sponsor = models.ForeignKey(Principal, models.PROTECT, null=True, related_name="+")
    unknown_contributors = models.JSONField(default=list, db_comment="names that resolve to no principal")
    previous = models.OneToOneField("self", models.PROTECT, null=True, related_name="next")
    chain = models.CharField(max_length=200, db_comment="subject of participation; shared by resubmissions")
    received_at = models.DateTimeField(auto_now_add=True)
    moved_at = models.DateTimeField(auto_now_add=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    lease_until = models.DateTimeField(null=True)
    next_try_at = models.DateTimeField(null=True)
    error = models.TextField(blank=True, db_comment="of the last failed attempt; empty when none")

    objects = HandoffQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["repository", "staging_commit"], name="handoff_one_per_commit"),
            models.UniqueConstraint(
                fields=["repository", "digest"],
                name="handoff_one_per_digest",
                condition=~Q(digest="") & ~Q(status__in=ENDED),
            ),
            models.CheckConstraint(name="handoff_status_known", condition=Q(status__in=Status.values)),
            models.CheckConstraint(name="handoff_digest_hex", condition=Q(digest="") | Q(digest__regex=HEX_SHA256)),
            models.CheckConstraint(
                name="handoff_beyond_received_has_digest",
                condition=Q(status__in=[Status.RECEIVED, *ENDED]) | ~Q(digest=""),
            ),
            models.CheckConstraint(
                name="handoff_applied_has_commit",
                condition=~Q(status__in=[Status.APPLIED, Status.OPENED, Status.TRIGGERED]) | ~Q(applied_commit=""),
            ),
        ]
        indexes = [
            models.Index(fields=["received_at"], name="handoff_open", condition=Q(status__in=WORKING)),
            models.Index(fields=["repository", "patch_digest"], name="handoff_by_patch"),
            models.Index(fields=["repository", "artifact_blob"], name="handoff_by_artifact"),
            models.Index(fields=["repository", "received_at"], name="handoff_by_hour"),
        ]

    def __str__(self) -> str:
        return f"H-{self.pk}"


class HandoffEvent(models.Model):
    """SOP 7.2: handoff events. Append-only; one row for every step, with who did it in which role."""

    handoff = models.ForeignKey(Handoff, models.PROTECT, related_name="events")
    event = models.CharField(max_length=60)
    actor = models.CharField(max_length=100)
    role = models.CharField(max_length=10)
    marker = models.CharField(max_length=100, blank=True)
    detail = models.JSONField(default=dict)
    created_at = models.DateTimeField()
    log_entry = models.OneToOneField(LogEntry, models.PROTECT)

    class Meta:
        db_table = "leo_handoff_tracking"
        indexes = [models.Index(fields=["handoff", "id"], name="handoffevent_by_handoff")]

    def __str__(self) -> str:
        return f"{self.event} on {self.handoff_id}"


class BundleCheck(models.Model):
    """One check's result on a handoff, as it was judged. Append-only."""

    handoff = models.ForeignKey(Handoff, models.PROTECT, related_name="checks")
    position = models.PositiveSmallIntegerField()
    code = models.CharField(max_length=80)
    group = models.CharField(max_length=20)
    sentence = models.CharField(max_length=300)
    outcome = models.CharField(max_length=10)
    got = models.TextField(blank=True)
    expected = models.TextField(blank=True)
    tool = models.CharField(max_length=200, blank=True, db_comment="name and version of what judged it")

    class Meta:
        db_table = "leo_bundle_check"
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["handoff", "position"], name="bundlecheck_one_per_place")]
        indexes = [models.Index(fields=["handoff"], name="bundlecheck_failed", condition=Q(outcome="FAILED"))]

    def __str__(self) -> str:
        return f"{self.code} {self.outcome}"

    @property
    def is_unchecked(self) -> bool:
        """A failure for want of something to look at, not for what was found."""
        return self.outcome == Outcome.FAILED.value and self.got.startswith(NOT_CHECKED)


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
    revocation_reason = models.CharField(max_length=300, blank=True)
    replaces = models.OneToOneField("self", models.PROTECT, null=True, blank=True, related_name="replaced_by")
    transition = models.BinaryField(
        null=True, blank=True, db_comment="DSSE envelope by the replaced key that names this one"
    )

    class Meta:
        constraints = [
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


class KeyRotationQuerySet(WorkQuerySet["KeyRotation"]):
    """Reads of rotations."""

    def open(self) -> Self:
        """Rotations with a step to do."""
        return self.exclude(step__in=[RotationStep.DONE, RotationStep.CANCELLED])

    def for_list(self) -> Self:
        """Newest first, with both keys; templates cannot query further."""
        return self.select_related("old_key", "new_key").order_by("-pk").fetch_mode(models.FETCH_RAISE)


class KeyRotation(models.Model):
    """One replacement of a lane's key. Its row is the queue of its steps."""

    lane = models.CharField(max_length=10, choices=Lane)
    step = models.CharField(max_length=20, choices=RotationStep, default=RotationStep.REQUESTED)
    old_key = models.ForeignKey(SigningKey, models.PROTECT, null=True, related_name="+")
    new_key = models.ForeignKey(SigningKey, models.PROTECT, null=True, related_name="+")
    draft = models.JSONField(default=dict, db_comment="the new key before it is stored: public half, encrypted secret")
    requested_by = models.CharField(max_length=100)
    reason = models.CharField(max_length=200)
    requested_at = models.DateTimeField()
    moved_at = models.DateTimeField(auto_now_add=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    lease_until = models.DateTimeField(null=True)
    next_try_at = models.DateTimeField(null=True)
    error = models.TextField(blank=True)

    objects = KeyRotationQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["lane"],
                name="keyrotation_one_at_a_time",
                condition=~Q(step__in=[RotationStep.DONE, RotationStep.CANCELLED]),
            ),
            models.CheckConstraint(name="keyrotation_step_known", condition=Q(step__in=RotationStep.values)),
        ]

    def __str__(self) -> str:
        return f"rotation of {self.lane}, {self.step}"


class Method(models.TextChoices):
    """How the enforcer signed."""

    SIGSTORE = "sigstore"
    OPENPGP = "openpgp"


class SigningAttempt(models.Model):
    """One try to sign, noted before anything leaves this machine: what was meant, and how it ended.

    ORPHANED: nobody knows whether its entries are in the log. LOGGED: it logged an OpenPGP signature afterwards.
    """

    class Outcome(models.TextChoices):
        STARTED = "started"
        ACCEPTED = "accepted"
        FAILED = "failed"
        ORPHANED = "orphaned"
        LOGGED = "logged"

    handoff = models.ForeignKey(Handoff, models.PROTECT, related_name="signing_attempts")
    method = models.CharField(max_length=10, choices=Method)
    digest = models.CharField(max_length=64, db_comment="SHA-256 of artifact.tar.gz")
    statement = models.BinaryField(db_comment="the in-toto Statement, exactly as it is to be signed")
    outcome = models.CharField(max_length=10, choices=Outcome, default=Outcome.STARTED)
    detail = models.CharField(max_length=500, blank=True)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "leo_signing_attempt"
        constraints = [
            models.UniqueConstraint(
                fields=["handoff"], name="signingattempt_one_accepted", condition=Q(outcome="accepted")
            ),
            models.CheckConstraint(
                name="signingattempt_outcome_known",
                condition=Q(outcome__in=["started", "accepted", "failed", "orphaned", "logged"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.method} for {self.handoff_id}: {self.outcome}"


class SigningDowngrade(models.Model):
    """LEAD's acknowledgement that a bundle is signed with OpenPGP because Sigstore is down. Append-only."""

    handoff = models.OneToOneField(Handoff, models.PROTECT, related_name="signing_downgrade")
    lead = models.ForeignKey(Principal, models.PROTECT)
    justification = models.TextField()
    created_at = models.DateTimeField()
    log_entry = models.OneToOneField(LogEntry, models.PROTECT)

    class Meta:
        db_table = "leo_signing_downgrade"

    def __str__(self) -> str:
        return f"downgrade of {self.handoff_id}"


class Signature(models.Model):
    """The enforcer's signature over artifact.tar.gz and its statement of what it verified. Append-only, one each.

    OpenPGP: `key` and `signature` are set. Sigstore: `artifact_bundle`, `statement_bundle`, identity and issuer are.
    """

    class Transparency(models.TextChoices):
        PENDING = "pending-transparency"
        LOGGED = "logged"

    handoff = models.OneToOneField(Handoff, models.PROTECT, related_name="signature")
    method = models.CharField(max_length=10, choices=Method, default=Method.OPENPGP)
    key = models.ForeignKey(SigningKey, models.PROTECT, null=True, related_name="signatures")
    digest = models.CharField(max_length=64, db_comment="SHA-256 of what was signed")
    signature = models.TextField(blank=True, db_comment="ASCII-armoured detached OpenPGP signature of artifact.tar.gz")
    envelope = models.BinaryField(db_comment="DSSE envelope around the portal's own in-toto Statement v1")
    artifact_bundle = models.TextField(blank=True, db_comment="Sigstore bundle v0.3 over artifact.tar.gz")
    statement_bundle = models.TextField(blank=True, db_comment="Sigstore bundle v0.3 with the envelope")
    identity = models.CharField(max_length=300, blank=True, db_comment="certificate SAN, as pinned by policy")
    issuer = models.CharField(max_length=300, blank=True, db_comment="OIDC issuer, as pinned by policy")
    log_index = models.BigIntegerField(null=True, db_comment="of the artifact's entry, from its inclusion proof")
    trusted_root_digest = models.CharField(
        max_length=64, blank=True, db_comment="SHA-256 of the root it was made under"
    )
    transparency = models.CharField(max_length=20, choices=Transparency, default=Transparency.PENDING)
    signed_at = models.DateTimeField(db_comment="the portal's own clock: when the signature was received")

    class Meta:
        db_table = "leo_signature"
        constraints = [
            models.CheckConstraint(
                name="signature_method_complete",
                condition=Q(method=Method.OPENPGP, key__isnull=False, artifact_bundle="", statement_bundle="")
                & ~Q(signature="")
                | Q(method=Method.SIGSTORE, key=None, signature="", transparency="logged")
                & ~Q(artifact_bundle="")
                & ~Q(statement_bundle="")
                & ~Q(identity="")
                & ~Q(issuer=""),
            )
        ]

    def __str__(self) -> str:
        return f"signature of {self.handoff_id}"

    @property
    def signer(self) -> str:
        """Who signed: the OpenPGP fingerprint, or the Sigstore identity."""
        return self.key.fingerprint if self.key else self.identity

    @property
    def is_logged(self) -> bool:
        """Whether it stands in a transparency log: from the start, or since somebody logged it afterwards."""
        return self.transparency == Signature.Transparency.LOGGED or hasattr(self, "logged_later")

    @property
    def is_trusted(self) -> bool:
        """Whether its key still vouches for it. Of Sigstore, the log and the certificate decide: the gate looks."""
        return self.key is None or self.key.vouches_for(self.signed_at)


class TransparencyRecord(models.Model):
    """A pending signature that was logged later: the Sigstore bundle over the same bytes. Append-only."""

    signature = models.OneToOneField(Signature, models.PROTECT, related_name="logged_later")
    artifact_bundle = models.TextField(db_comment="Sigstore bundle v0.3 over artifact.tar.gz")
    log_index = models.BigIntegerField(null=True)
    created_at = models.DateTimeField()
    log_entry = models.OneToOneField(LogEntry, models.PROTECT)

    class Meta:
        db_table = "leo_transparency_record"

    def __str__(self) -> str:
        return f"log entry of {self.signature_id}"


class EnforcerRules(models.Model):
    """What the enforcer lane reads of a policy, stored in the transaction that enacts it. The newest row is in force.

    Append-only.
    """

    policy_digest = models.CharField(max_length=64, db_comment="SHA-256 of the policy document's text")
    document = models.JSONField(db_comment="handoffs.rules.LaneRules as JSON")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "leo_enforcer_rules"

    def __str__(self) -> str:
        return f"enforcer rules of policy {self.policy_digest[:12]}"


class TrustedRootUse(models.Model):
    """A Sigstore trusted root that this portal took into use; the newest row is the one last seen. Append-only."""

    digest = models.CharField(max_length=64, db_comment="SHA-256 of the root's file")
    newest_at = models.DateTimeField(db_comment="latest start of any key's window in it: what says which root is older")
    created_at = models.DateTimeField(auto_now_add=True)
    log_entry = models.OneToOneField(LogEntry, models.PROTECT)

    class Meta:
        db_table = "leo_trusted_root"

    def __str__(self) -> str:
        return f"trusted root {self.digest[:12]}"


class RefIntent(models.Model):
    """A ref update the portal means to make: the forge's hook lets exactly this one through. Append-only."""

    repository = models.ForeignKey(Repository, models.PROTECT)
    ref = models.CharField(max_length=300)
    old = models.CharField(max_length=64, db_comment="all zeros to create")
    new = models.CharField(max_length=64)
    created_at = models.DateTimeField(auto_now_add=True)
    log_entry = models.ForeignKey(LogEntry, models.PROTECT)

    class Meta:
        db_table = "leo_ref_intent"
        constraints = [models.UniqueConstraint(fields=["repository", "ref", "old", "new"], name="refintent_once")]

    def __str__(self) -> str:
        return f"{self.ref} to {self.new}"


class PullStatus(models.TextChoices):
    """Where a pull request stands; the label of product section 5 follows from it."""

    GATES_PASSING = "gates-passing"
    READY_TO_MERGE = "ready-to-merge"
    NEEDS_REVISION = "needs-revision"
    LEAD_REVIEW = "lead-review"
    MERGED = "merged"
    SUPERSEDED = "superseded"


# A merge that landed is a fact: whatever happened to the row while it was pushed, the row becomes MERGED.
PULL_TRANSITIONS: dict[str, frozenset[str]] = {
    PullStatus.GATES_PASSING: frozenset(
        {
            PullStatus.READY_TO_MERGE,
            PullStatus.NEEDS_REVISION,
            PullStatus.LEAD_REVIEW,
            PullStatus.SUPERSEDED,
            PullStatus.MERGED,
        }
    ),
    PullStatus.READY_TO_MERGE: frozenset(
        {
            PullStatus.MERGED,
            PullStatus.GATES_PASSING,
            PullStatus.NEEDS_REVISION,
            PullStatus.LEAD_REVIEW,
            PullStatus.SUPERSEDED,
        }
    ),
    PullStatus.NEEDS_REVISION: frozenset(
        {PullStatus.SUPERSEDED, PullStatus.GATES_PASSING, PullStatus.LEAD_REVIEW, PullStatus.MERGED}
    ),
    PullStatus.LEAD_REVIEW: frozenset(
        {
            PullStatus.READY_TO_MERGE,
            PullStatus.NEEDS_REVISION,
            PullStatus.GATES_PASSING,
            PullStatus.SUPERSEDED,
            PullStatus.MERGED,
        }
    ),
    PullStatus.MERGED: frozenset(),
    PullStatus.SUPERSEDED: frozenset(),
}
PULL_OPEN = (
    PullStatus.GATES_PASSING,
    PullStatus.READY_TO_MERGE,
    PullStatus.NEEDS_REVISION,
    PullStatus.LEAD_REVIEW,
)


class PullRequestQuerySet(models.QuerySet["PullRequest"]):
    """Reads of pull requests, and the one way to move their status."""

    def move(self, pk: int, *, old: PullStatus, new: PullStatus, **changes: object) -> None:
        """Compare-and-set. Raises StaleStatusError unless exactly this row still had `old`."""
        if new not in PULL_TRANSITIONS[old]:
            raise ValueError(f"no transition from {old} to {new}")
        if self.filter(pk=pk, status=old).update(status=new, moved_at=Now(), **changes) != 1:
            raise StaleStatusError(f"pull request {pk} is no longer {old}")

    def is_open(self) -> Self:
        """Not merged and not superseded."""
        return self.filter(status__in=PULL_OPEN)

    def waiting_for_plan(self) -> Self:
        """What needs PLAN: no verdict for this head yet. Nearest deadline first, then the oldest."""
        return self.filter(status=PullStatus.GATES_PASSING).order_by("deadline_at", "pk")

    def waiting_for_lead(self) -> Self:
        """What PLAN escalated, oldest first."""
        return self.filter(status=PullStatus.LEAD_REVIEW).order_by("moved_at", "pk")

    def for_list(self) -> Self:
        """Everything a list shows; templates cannot query further."""
        rows = self.select_related("repository", "handoff", "handoff__builder").defer("handoff__component_delta")
        return rows.fetch_mode(models.FETCH_RAISE)


class PullRequest(models.Model):
    """A pull request the enforcer opened for a handoff."""

    repository = models.ForeignKey(Repository, models.PROTECT, related_name="pull_requests")
    number = models.PositiveIntegerField()
    handoff = models.OneToOneField(Handoff, models.PROTECT, related_name="pull_request")
    title = models.CharField(max_length=200)
    body = models.TextField()
    base_ref = models.CharField(max_length=200)
    base_sha = models.CharField(max_length=64, db_comment="of the protected branch when the head was last judged")
    head_ref = models.CharField(max_length=200)
    head_sha = models.CharField(max_length=64)
    merge_tree = models.CharField(max_length=64, db_comment="tree of head merged into base; what a verdict binds to")
    status = models.CharField(max_length=14, choices=PullStatus, default=PullStatus.GATES_PASSING)
    round = models.PositiveSmallIntegerField(default=1, db_comment="of verification on this head, at most 3")
    opened_at = models.DateTimeField()
    moved_at = models.DateTimeField()
    triggered_at = models.DateTimeField(null=True)
    deadline_at = models.DateTimeField(
        null=True, db_comment="gates are due; SOP 6.2: 4 hours after they were triggered"
    )
    timed_out_at = models.DateTimeField(null=True)
    merge_sha = models.CharField(max_length=64, blank=True)
    merged_at = models.DateTimeField(null=True)

    objects = PullRequestQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["repository", "number"], name="pullrequest_number_once"),
            models.CheckConstraint(name="pullrequest_status_known", condition=Q(status__in=PullStatus.values)),
            models.CheckConstraint(name="pullrequest_head_hex", condition=Q(head_sha__regex=HEX_COMMIT)),
            models.CheckConstraint(
                name="pullrequest_merged_has_commit", condition=~Q(status=PullStatus.MERGED) | ~Q(merge_sha="")
            ),
        ]
        indexes = [
            models.Index(fields=["deadline_at"], name="pull_open", condition=Q(status__in=PULL_OPEN)),
            models.Index(fields=["repository", "head_ref"], name="pull_by_head_ref"),
            models.Index(fields=["status", "-id"], name="pull_by_status"),
        ]

    def __str__(self) -> str:
        return f"PR-{self.number}"

    @property
    def label(self) -> str:
        """The one state label of this pull request. Source: SOP section 3, product section 5."""
        return self.status if self.triggered_at else "claude-enforcing"


class PushRefusal(models.Model):
    """A push that the forge's hook refused and reported, written by the hook's own login; the sweep logs it."""

    repository_path = models.CharField(max_length=500)
    ref = models.CharField(max_length=300)
    old = models.CharField(max_length=64)
    new = models.CharField(max_length=64)
    code = models.CharField(max_length=60)
    created_at = models.DateTimeField(db_default=Now())
    log_entry = models.OneToOneField(LogEntry, models.PROTECT, null=True)

    class Meta:
        db_table = "leo_push_refusal"
        indexes = [models.Index(fields=["id"], name="pushrefusal_unlogged", condition=Q(log_entry=None))]

    def __str__(self) -> str:
        return f"{self.code} {self.ref}"
