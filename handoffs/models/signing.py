"""Attempts at signing, signatures, and what was logged, downgraded or trusted on the way."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from audit.models import ErasableText, LogEntry, Principal
from handoffs.models.handoff import Handoff
from handoffs.models.keys import SigningKey


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
    justification = models.ForeignKey(ErasableText, models.PROTECT, related_name="+")
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

    @property
    def standing(self) -> Signature | SignatureRenewal:
        """The one that counts: this one while it is trusted, else the newest that replaced it and is; else this one.

        Shape: one more query, only of a signature that fell.
        """
        if self.is_trusted:
            return self
        renewals = self.renewals.select_related("key").defer("key__secret_key").order_by("-pk")
        return next((renewal for renewal in renewals if renewal.is_trusted), self)


class SignatureRenewal(models.Model):
    """The enforcer's signature and statement once more, with another key: the first one's is not trusted any more.

    Append-only, once for each key. The signature it replaces stays what it is: fallen.
    """

    renewed = models.ForeignKey(Signature, models.PROTECT, related_name="renewals")
    key = models.ForeignKey(SigningKey, models.PROTECT, related_name="renewals")
    signature = models.TextField(db_comment="ASCII-armoured detached OpenPGP signature of artifact.tar.gz")
    envelope = models.BinaryField(db_comment="DSSE envelope around the portal's own in-toto Statement v1")
    signed_at = models.DateTimeField(db_comment="the portal's own clock: when the signature was received")
    log_entry = models.OneToOneField(LogEntry, models.PROTECT)

    class Meta:
        db_table = "leo_signature_renewal"
        constraints = [models.UniqueConstraint(fields=["renewed", "key"], name="signaturerenewal_once_per_key")]

    def __str__(self) -> str:
        return f"signature of {self.renewed.handoff_id} by {self.key_id}"

    @property
    def is_trusted(self) -> bool:
        """Whether its key still vouches for it."""
        return self.key.vouches_for(self.signed_at)


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


class TrustedRootFetch(models.Model):
    """A Sigstore trusted root that an operator fetched over TUF, with the metadata that vouches for it. Append-only.

    Fetched is not used: a root whose digest differs is used once an operator named that digest.
    """

    digest = models.CharField(max_length=64, db_comment="SHA-256 of the root's file")
    raw = models.BinaryField(db_comment="the root's file as it came")
    newest_at = models.DateTimeField(db_comment="latest start of any key's window in it")
    mirror = models.CharField(max_length=300)
    anchor = models.CharField(max_length=64, db_comment="SHA-256 of the TUF root that trust started from")
    versions = models.JSONField(db_comment="TUF versions by role")
    metadata = models.JSONField(db_comment="TUF metadata by role, as it came: nothing older is taken afterwards")
    created_at = models.DateTimeField()
    log_entry = models.OneToOneField(LogEntry, models.PROTECT)

    class Meta:
        db_table = "leo_trusted_root_fetch"

    def __str__(self) -> str:
        return f"trusted root {self.digest[:12]} from {self.mirror}"


class TrustedRootUse(models.Model):
    """A Sigstore trusted root that this portal took into use; the newest row is the one last seen. Append-only."""

    fetch = models.ForeignKey(
        TrustedRootFetch, models.PROTECT, null=True, related_name="+", db_comment="of a root that an operator chose"
    )
    digest = models.CharField(max_length=64, db_comment="SHA-256 of the root's file")
    newest_at = models.DateTimeField(db_comment="latest start of any key's window in it: what says which root is older")
    created_at = models.DateTimeField(auto_now_add=True)
    log_entry = models.OneToOneField(LogEntry, models.PROTECT)

    class Meta:
        db_table = "leo_trusted_root"

    def __str__(self) -> str:
        return f"trusted root {self.digest[:12]}"
