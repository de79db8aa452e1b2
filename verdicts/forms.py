"""What PLAN and LEAD fill in. A form says what is missing; whether an act is allowed is decided by the action."""

from __future__ import annotations

from datetime import UTC, datetime, time

from django import forms
from django.utils import timezone

from handoffs.revocations import MAX_REASON, MIN_REASON
from verdicts.break_glass import MIN_TEXT, BreakGlassRequest
from verdicts.deciding import MAX_OVERRIDE, MAX_TEXT, MIN_JUSTIFICATION, REASON_CLASSES, DecisionRequest, VerdictRequest
from verdicts.decision import Verdict as VerdictKind
from verdicts.models import VERDICT_CHOICES, DecisionKind

HEAD = r"^([0-9a-f]{40}|[0-9a-f]{64})$"
LAST_EXPIRY_DAYS = MAX_OVERRIDE.days - 1


class VerdictForm(forms.Form):
    """PLAN's verdict on the head that was looked at."""

    verdict = forms.ChoiceField(choices=VERDICT_CHOICES, error_messages={"required": "Choose a verdict."})
    justification = forms.CharField(
        max_length=MAX_TEXT,
        widget=forms.Textarea,
        error_messages={"required": "Write the reason: it is kept with the verdict."},
    )
    question = forms.CharField(max_length=300, required=False)
    head_sha = forms.RegexField(HEAD, error_messages={"required": "The form lost its head commit; open it again."})

    def clean(self) -> dict[str, object]:
        """An escalation asks something."""
        values: dict[str, object] = super().clean() or {}
        question = str(values.get("question") or "").strip()
        if values.get("verdict") == VerdictKind.ESCALATE.value and len(question) < 10:
            self.add_error("question", "Ask LEAD one question, in at least 10 characters.")
        return values

    def request(self, tree: str) -> VerdictRequest:
        """The values of a valid form, and the tree that the head really holds."""
        values = self.cleaned_data
        return VerdictRequest(
            verdict=VerdictKind(values["verdict"]),
            justification=values["justification"],
            head_sha=values["head_sha"],
            tree=tree,
            question=values["question"],
        )


class DecisionForm(forms.Form):
    """LEAD's decision on the head that was looked at."""

    decision = forms.ChoiceField(choices=DecisionKind, error_messages={"required": "Choose a decision."})
    justification = forms.CharField(
        max_length=MAX_TEXT,
        min_length=MIN_JUSTIFICATION,
        widget=forms.Textarea,
        error_messages={
            "required": "Write the justification: it is kept with the decision.",
            "min_length": f"The justification needs at least {MIN_JUSTIFICATION} characters.",
        },
    )
    head_sha = forms.RegexField(HEAD, error_messages={"required": "The form lost its head commit; open it again."})
    evidence = forms.RegexField(
        r"^[0-9a-f]{64}$", error_messages={"required": "The form lost what it was about; open it again."}
    )
    reason_class = forms.ChoiceField(
        choices=[("", "Choose why"), *((name, name.replace("-", " ").capitalize()) for name in REASON_CLASSES)],
        required=False,
    )
    reference = forms.CharField(max_length=200, required=False)
    expires_on = forms.DateField(required=False, error_messages={"invalid": "Write the day as 2026-01-31."})

    def __init__(self, *args: object, is_override: bool = False, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.is_override = is_override

    def clean(self) -> dict[str, object]:
        """Approving against what was computed needs why, where it is written down, and until when."""
        values: dict[str, object] = super().clean() or {}
        if self.is_override and values.get("decision") == DecisionKind.APPROVE.value:
            needed = {
                "reason_class": "Choose why the override is right.",
                "reference": "Name the ticket or document behind the override.",
                "expires_on": f"Choose the last day of the override, at most {LAST_EXPIRY_DAYS} days from today.",
            }
            for name, sentence in needed.items():
                if not values.get(name) and name not in self.errors:
                    self.add_error(name, sentence)
        return values

    def request(self) -> DecisionRequest:
        """The values of a valid form; an override lasts until the end of its day, UTC."""
        values = self.cleaned_data
        day = values["expires_on"]
        return DecisionRequest(
            decision=DecisionKind(values["decision"]),
            justification=values["justification"],
            head_sha=values["head_sha"],
            evidence_digest=values["evidence"],
            reason_class=values["reason_class"],
            reference=values["reference"],
            expires_at=datetime.combine(day, time(23, 59, 59), UTC) if day else None,
        )


class RevocationForm(forms.Form):
    """Since when a key is not trusted, and why."""

    since = forms.DateTimeField(
        label="Not trusted since (UTC)",
        help_text="What the portal received from this moment on will not hold. For example 2026-01-31 12:00.",
        error_messages={
            "required": "Say since when the key is not trusted.",
            "invalid": "Write the moment as 2026-01-31 12:00, in UTC.",
        },
    )
    reason = forms.CharField(
        label="Reason",
        help_text="Kept in the trail and shown on this page. No names: a sentence such as laptop lost on the train.",
        min_length=MIN_REASON,
        max_length=MAX_REASON,
        error_messages={
            "required": "Write why: it is kept with the key.",
            "min_length": f"The reason needs at least {MIN_REASON} characters.",
        },
    )

    def clean_since(self) -> datetime:
        """A moment that has passed."""
        since: datetime = self.cleaned_data["since"]
        if since > timezone.now():
            raise forms.ValidationError("That moment has not come yet. A revocation says since when, not from when on.")
        return since


class BreakGlassForm(forms.Form):
    """LEAD's request to release one head past the gates."""

    justification = forms.CharField(
        min_length=MIN_TEXT,
        max_length=MAX_TEXT,
        label="Why this cannot wait",
        help_text=f"What is down, and why this change mends it. At least {MIN_TEXT} characters.",
        widget=forms.Textarea(attrs={"rows": 5}),
        error_messages={
            "required": "Write why it cannot wait.",
            "min_length": f"Write at least {MIN_TEXT} characters.",
        },
    )
    reference = forms.CharField(
        max_length=200, label="Incident or ticket", error_messages={"required": "Name the incident or ticket."}
    )
    head_sha = forms.RegexField(
        HEAD, widget=forms.HiddenInput, error_messages={"required": "The form lost its head commit; open it again."}
    )

    def request(self) -> BreakGlassRequest:
        """The values of a valid form."""
        values = self.cleaned_data
        return BreakGlassRequest(values["justification"], values["reference"], values["head_sha"])


class BreakGlassReviewForm(forms.Form):
    """What the third person found."""

    review = forms.CharField(
        min_length=MIN_TEXT,
        max_length=MAX_TEXT,
        label="What you found",
        help_text=f"Was it needed? Does the change do what was said? At least {MIN_TEXT} characters.",
        widget=forms.Textarea(attrs={"rows": 4}),
        error_messages={"required": "Write what you found.", "min_length": f"Write at least {MIN_TEXT} characters."},
    )
