"""Tags and filters of every page: state chips, times in UTC, digests, percentages. Nothing here marks text as safe."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from django import template
from django.urls import reverse
from django.utils import timezone

from leoportal.words import EVENTS, PARTIES, percent_of, span_of, word_of

register = template.Library()


@register.inclusion_tag("components/chip.html")
def chip(value: object, subject: str = "") -> dict[str, object]:
    """A state as glyph and word. `subject` is said before it by screen readers: `Database: Warned`."""
    return {"word": word_of(str(value)), "subject": subject}


@register.inclusion_tag("components/mark.html")
def mark(value: object, subject: str) -> dict[str, object]:
    """A state as its glyph alone, with its name for screen readers and as a tooltip."""
    return {"word": word_of(str(value)), "subject": subject}


@register.inclusion_tag("components/when.html")
def ago(moment: datetime | None) -> dict[str, object]:
    """How long ago, with the exact UTC time."""
    return {"moment": moment, "text": f"{span_of(timezone.now() - moment)} ago" if moment else "never"}


@register.inclusion_tag("components/when.html")
def waiting(moment: datetime | None) -> dict[str, object]:
    """How long something has waited since, with the exact UTC time."""
    return {"moment": moment, "text": span_of(timezone.now() - moment) if moment else "–"}


@register.inclusion_tag("components/when.html")
def until(moment: datetime | None) -> dict[str, object]:
    """How much time is left, with the exact UTC time."""
    if moment is None:
        return {"moment": None, "text": "no deadline yet"}
    left = moment - timezone.now()
    text = f"{span_of(left)} left" if left.total_seconds() > 0 else f"passed {span_of(-left)} ago"
    return {"moment": moment, "text": text}


@register.inclusion_tag("components/when.html")
def utc(moment: datetime | None) -> dict[str, object]:
    """The exact time in UTC."""
    return {"moment": moment, "text": moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if moment else "–"}


@register.simple_tag
def pull_url(name: str, full_name: str, number: int) -> str:
    """The address of one of a pull request's pages: `{% pull_url "verdicts:pull" "acme/payments" 3 %}`."""
    owner, _, repo = full_name.partition("/")
    return reverse(name, args=[owner, repo, number])


@register.filter
def short(digest: str) -> str:
    """The first twelve characters of a digest or commit."""
    return str(digest)[:12]


@register.filter
def percent(value: Decimal | str) -> str:
    """A confidence with one decimal, rounded down."""
    return percent_of(value)


@register.filter
def word(value: object) -> str:
    """A state's word."""
    return word_of(str(value)).text


@register.filter
def party(value: object) -> str:
    """Who can clear something, in words."""
    return PARTIES.get(str(value), str(value))


@register.filter
def act(kind: str) -> str:
    """What an event of this kind says that somebody did."""
    return EVENTS.get(kind, kind)


@register.filter
def hexadecimal(value: bytes | memoryview) -> str:
    """Bytes as lower-case hex."""
    return bytes(value).hex()
