"""What an administrator fills in to propose a change. A form says what is missing; the action decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django import forms

from audit.administration import MAX_REASON, MIN_REASON, Change
from audit.changes import FIELDS
from audit.events import GRANTED
from audit.identities import KINDS
from audit.models import Kind, Principal, ProposalKind

_ROLES: Final = [("", "Choose a role"), *((role.value, role.value) for role in GRANTED)]
_KINDS: Final[Mapping[ProposalKind, list[tuple[str, str]]]] = {
    ProposalKind.ADD: [(Kind.HUMAN.value, "A person"), (Kind.MACHINE.value, "A machine")],
    ProposalKind.LINK: [(kind, kind) for kind in KINDS],
    ProposalKind.UNLINK: [(kind, kind) for kind in KINDS],
}
_HELP: Final = {
    "value": "As the other system says it: GitHub's numeric id, issuer|subject, a whole fingerprint.",
    "sponsor": "Only for a machine: the person who answers for it, for ever.",
    "other": "Both stay in the registry; from then on they count as one person.",
}


class ProposalForm(forms.Form):
    """One kind of change. `people` are the names to choose from.

    It proposes `proposes`: some kinds have a field called kind, which is what a template would find by that name.
    """

    def __init__(self, *args: Any, kind: ProposalKind, people: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.auto_id = f"{kind.value.replace('.', '-')}-%s"
        self.proposes = kind
        names = [("", "Choose somebody"), *((name, name) for name in people)]
        if kind is not ProposalKind.ADD:
            self.fields["about"] = forms.ChoiceField(
                label="Whom it is about", choices=names, error_messages={"required": "Choose whom it is about."}
            )
        for name in FIELDS.get(kind, ()):
            self.fields[name] = self._field(name, names)
        self.fields["reason"] = forms.CharField(
            min_length=MIN_REASON,
            max_length=MAX_REASON,
            label="Why",
            help_text="Kept beside the trail, which holds its digest.",
            error_messages={
                "required": "Write why: the other administrator reads it.",
                "min_length": f"Write at least {MIN_REASON} characters.",
            },
        )

    def _field(self, name: str, people: list[tuple[str, str]]) -> forms.Field:
        text = _HELP.get(name, "")
        label = {"value": "Name there", "other": "The same person as", "kind": "Kind"}.get(name, name.capitalize())
        if name == "role":
            return forms.ChoiceField(label=label, choices=_ROLES, error_messages={"required": "Choose a role."})
        if name == "kind":
            return forms.ChoiceField(label=label, choices=_KINDS[self.proposes])
        if name in {"other", "sponsor"}:
            return forms.ChoiceField(label=label, choices=people, required=name == "other", help_text=text)
        return forms.CharField(label=label, max_length=300 if name == "value" else 100, help_text=text)

    @property
    def title(self) -> str:
        """What the form does."""
        return str(self.proposes.label)

    def change(self) -> Change:
        """The proposal of a valid form."""
        values = {name: str(value) for name, value in self.cleaned_data.items()}
        about = Principal.objects.get(name=values["about"]) if "about" in values else None
        return Change(self.proposes, about, values, values["reason"])
