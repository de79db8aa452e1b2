"""Filters of the trail. The same names mean the same in the explorer and in an export."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

from django import forms
from django.db.models import QuerySet

from audit.events import Role
from audit.models import Principal

ROLES = [("", "Any role"), *((role.value, role.value) for role in Role)]

_AS_DAY = {"invalid": "Write the day as 2026-01-31."}


def pull_field() -> forms.RegexField:
    """A pull request, or nothing for all of them."""
    return forms.RegexField(
        r"^[\w.-]+/[\w.-]+#[1-9][0-9]{0,8}$",
        required=False,
        label="Pull request",
        help_text="Empty for all, or owner/name#3.",
        error_messages={"invalid": "Write the pull request as owner/name#3."},
    )


def _day() -> forms.DateInput:
    return forms.DateInput(format="%Y-%m-%d", attrs={"type": "date"})


class PeriodForm(forms.Form):
    """From the start of one day to the end of another, UTC."""

    first = forms.DateField(required=False, label="From", widget=_day(), error_messages=_AS_DAY)
    last = forms.DateField(required=False, label="To", widget=_day(), error_messages=_AS_DAY)

    def clean(self) -> dict[str, Any]:
        """A period does not end before it starts."""
        values: dict[str, Any] = super().clean() or {}
        if values.get("first") and values.get("last") and values["last"] < values["first"]:
            self.add_error("last", "The period ends before it starts.")
        return values

    def within[Rows: QuerySet[Any]](self, rows: Rows) -> Rows:
        """Rows of the period."""
        values = self.cleaned_data
        if values["first"]:
            rows = rows.filter(created_at__gte=datetime.combine(values["first"], time(), UTC))
        if values["last"]:
            rows = rows.filter(created_at__lt=datetime.combine(values["last"] + timedelta(days=1), time(), UTC))
        return rows


class TrailForm(PeriodForm):
    """The explorer's filters. An export takes the same ones, by the same names."""

    actor = forms.CharField(max_length=100, required=False, label="Actor (name or number)")
    role = forms.ChoiceField(choices=ROLES, required=False, label="Role")
    kind = forms.CharField(max_length=60, required=False, label="Action")
    subject = forms.CharField(max_length=200, required=False, label="Subject")

    def clean_actor(self) -> int | None:
        """The number of the principal that was named: rows know no other. 0 is the portal itself."""
        said = self.cleaned_data["actor"].strip()
        if not said or (said.isascii() and said.isdigit() and len(said) < 19):
            return int(said) if said else None
        number = Principal.objects.filter(name=said).values_list("pk", flat=True).first()
        if number is None:
            raise forms.ValidationError("Nobody here has that name. Whoever was erased is found by number.")
        return number

    def matching[Rows: QuerySet[Any]](self, rows: Rows, *, entry: str = "") -> Rows:
        """Rows that fit every filter. `entry` is the lookup of the rows' log entry, for other tables than the log."""
        values = self.cleaned_data
        if values["actor"] is not None:
            rows = rows.filter(**{f"{entry}principal": values["actor"]})
        for name in ("role", "kind", "subject"):
            if values[name]:
                rows = rows.filter(**{f"{entry}{name}": values[name].strip()})
        return self.within(rows)


class ExportForm(TrailForm):
    """What to export. `pull` is `owner/name#3`."""

    table = forms.ChoiceField(label="Table")
    file_format = forms.ChoiceField(
        choices=[
            ("csv", "CSV"),
            ("jsonl", "JSON Lines, with every leaf"),
            ("xlsx", "XLSX (at most a million rows)"),
            ("parquet", "Parquet"),
        ],
        label="Format",
    )
    pull = pull_field()

    def __init__(self, *args: Any, tables: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        table = self.fields["table"]
        if isinstance(table, forms.ChoiceField):
            table.choices = tables

    @property
    def filters(self) -> dict[str, str]:
        """The filters that are set, as texts."""
        values = self.cleaned_data
        names = ("pull", "first", "last", "actor", "role", "kind", "subject")
        return {name: str(values[name]) for name in names if values[name] not in (None, "")}


class PackForm(PeriodForm):
    """What an evidence pack is about: everything, a period, or one pull request."""

    pull = pull_field()
    earlier = forms.CharField(
        required=False,
        max_length=4000,
        strip=False,
        label="Your earlier checkpoint",
        help_text="A checkpoint of this log that you kept, its text and signature lines. "
        "The pack then proves that nothing before it changed.",
        widget=forms.Textarea(attrs={"rows": 5}),
    )

    @property
    def filters(self) -> dict[str, str]:
        """What is set, as texts. Browsers send lines that end in CR LF; a checkpoint has LF."""
        values = self.cleaned_data
        found = {name: str(values[name]) for name in ("pull", "first", "last") if values[name]}
        text = values["earlier"].replace("\r\n", "\n").strip("\n")
        return {**found, "earlier": f"{text}\n"} if text.strip() else found
