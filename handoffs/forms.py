"""What LEAD fills in on a handoff. Whether the act is allowed is decided by the action."""

from __future__ import annotations

from django import forms

from handoffs.fallback import MAX_TEXT, MIN_VISIBLE, visible_length


class DowngradeForm(forms.Form):
    """Why one handoff may be signed with OpenPGP although the policy says Sigstore."""

    justification = forms.CharField(
        max_length=MAX_TEXT,
        widget=forms.Textarea,
        error_messages={"required": "Write the justification: it is kept with the signature."},
    )

    def clean_justification(self) -> str:
        """Enough of it can be seen."""
        text = str(self.cleaned_data["justification"])
        if visible_length(text) < MIN_VISIBLE:
            raise forms.ValidationError(
                f"The justification needs at least {MIN_VISIBLE} visible characters; it has {visible_length(text)}."
            )
        return text
