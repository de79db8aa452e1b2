"""Rows of free text: what people wrote, beside the commitment in the log. A text can be erased, and only that."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from django.db import models
from django.db.models import Q

from audit.canonical import JsonValue
from audit.commitments import commitment, is_committed
from audit.principals import Principal, named_entry

ERASED = "This text was erased."
_DIGITS: Final = 64


class ErasableText(models.Model):
    """One text. The append-only rows and the log hold its digest; erasing leaves that and says when."""

    class Kind(models.TextChoices):
        """What it is; retention goes by it."""

        DECISION = "decision"
        BREAK_GLASS = "break-glass"
        PROPOSAL = "proposal"
        OPERATION = "operation"

    kind = models.CharField(max_length=11, choices=Kind)
    author = models.ForeignKey(Principal, models.PROTECT, null=True, related_name="+", db_comment="who wrote it")
    digest = models.CharField(max_length=64, unique=True, db_comment="HMAC-SHA256(salt, text), lower-case hex")
    salt = models.BinaryField(max_length=32, null=True)
    text = models.TextField(null=True)
    created_at = models.DateTimeField()
    erased_at = models.DateTimeField(null=True)
    erase_entry = named_entry("that it was erased", null=True)

    class Meta:
        db_table = "audit_text"
        constraints = [
            models.CheckConstraint(
                name="text_whole_or_erased",
                condition=Q(erased_at=None, text__isnull=False, salt__isnull=False, erase_entry=None)
                | Q(erased_at__isnull=False, text=None, salt=None, erase_entry__isnull=False),
            ),
            models.CheckConstraint(name="text_digest_hex", condition=Q(digest__regex="^[0-9a-f]{64}$")),
        ]
        indexes = [models.Index(fields=["kind", "created_at"], name="text_to_erase", condition=Q(erased_at=None))]

    def __str__(self) -> str:
        return ERASED if self.text is None else self.text

    @property
    def is_intact(self) -> bool | None:
        """Whether the text is the one that the log committed to; None once it is erased."""
        if self.text is None or self.salt is None:
            return None
        return is_committed(self.digest, bytes(self.salt), self.text)


def texts_of(bodies: Iterable[Mapping[str, JsonValue]]) -> dict[JsonValue, str]:
    """The texts that these bodies of the log hold the digests of, by digest; of an erased one, that it was erased."""
    values = {value for body in bodies for value in body.values() if isinstance(value, str) and len(value) == _DIGITS}
    return {row.digest: str(row) for row in ErasableText.objects.filter(digest__in=values)} if values else {}


def store_text(kind: ErasableText.Kind, text: str, *, author: int, at: datetime) -> ErasableText:
    """Keep a text beside the log, in the caller's transaction. The log gets `digest` only.

    `author` is the number of who wrote it; 0, the portal itself, is nobody whom erasing would concern.
    """
    salt = secrets.token_bytes()
    return ErasableText.objects.create(
        kind=kind, author_id=author or None, digest=commitment(salt, text), salt=salt, text=text, created_at=at
    )
