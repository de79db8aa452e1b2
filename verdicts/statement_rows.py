"""Rows of what the gate lane signed: of a verdict, a decision, a policy. Append-only."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from audit.models import LogEntry
from handoffs.models import SigningKey


class VerdictStatement(models.Model):
    """The gate lane's signed Verification Summary Attestation of one verdict. Append-only, one each."""

    verdict = models.OneToOneField("verdicts.Verdict", models.PROTECT, related_name="statement")
    key = models.ForeignKey(SigningKey, models.PROTECT, related_name="+")
    envelope = models.BinaryField(db_comment="DSSE envelope around an in-toto Statement v1 with a SLSA VSA v1")
    signed_at = models.DateTimeField()
    log_entry = models.OneToOneField(LogEntry, models.PROTECT)

    class Meta:
        db_table = "leo_verdict_statement"

    def __str__(self) -> str:
        return f"statement of verdict {self.verdict_id}"


class DecisionStatement(models.Model):
    """The gate lane's signed Verification Summary Attestation of one LEAD decision. Append-only, one each."""

    decision = models.OneToOneField("verdicts.Decision", models.PROTECT, related_name="statement")
    key = models.ForeignKey(SigningKey, models.PROTECT, related_name="+")
    envelope = models.BinaryField(db_comment="DSSE envelope around an in-toto Statement v1 with a SLSA VSA v1")
    signed_at = models.DateTimeField()
    log_entry = models.OneToOneField(LogEntry, models.PROTECT)

    class Meta:
        db_table = "leo_decision_statement"

    def __str__(self) -> str:
        return f"statement of decision {self.decision_id}"


class PolicyStatement(models.Model):
    """The gate lane's signature over a policy's text and its signed statement that it was enacted. Append-only.

    Another one if its key is distrusted. Rows from before signatures were kept have none, and count for nothing.
    """

    policy = models.ForeignKey("verdicts.PolicyVersion", models.PROTECT, related_name="statements")
    key = models.ForeignKey(SigningKey, models.PROTECT, related_name="+")
    signature = models.TextField(blank=True, db_comment="ASCII-armoured detached OpenPGP signature of the text")
    envelope = models.BinaryField(db_comment="DSSE envelope around an in-toto Statement v1")
    signed_at = models.DateTimeField()
    log_entry = models.OneToOneField(LogEntry, models.PROTECT)

    class Meta:
        db_table = "leo_policy_statement"
        constraints = [
            models.UniqueConstraint(
                fields=["policy", "key"], name="policystatement_once_per_key", condition=~Q(signature="")
            )
        ]

    def __str__(self) -> str:
        return f"statement of {self.policy_id}"
