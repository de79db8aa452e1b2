"""Tags and filters of every page: state chips, times in UTC, digests, percentages. Nothing here marks text as safe."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache, lru_cache

from django import template
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join

from audit.names import Names
from handoffs.models import Repository
from leoportal.words import CHECK_GROUPS, EVENTS, PARTIES, percent_of, span_of, word_of
from verdicts.protection import Standing, current_label

register = template.Library()


@register.simple_tag
def chip(value: object, subject: str = "") -> str:
    """A state as glyph and word. `subject` is said before it by screen readers: `Database: Warned`."""
    return _chip(str(value), str(subject))


@lru_cache(maxsize=1024)
def _chip(value: str, subject: str) -> str:
    word = word_of(value)
    said = format_html('<span class="unseen">{}: </span>', subject) if subject else ""
    glyph = format_html('<span aria-hidden="true">{}</span>', word.glyph)
    return format_html('<span class="chip chip-{}">{}{} {}</span>', word.style, said, glyph, word.text)


@register.simple_tag
def mark(value: object, subject: str) -> str:
    """A state as its glyph alone, with its name for screen readers and as a tooltip."""
    return _mark(str(value), str(subject))


@lru_cache(maxsize=1024)
def _mark(value: str, subject: str) -> str:
    word = word_of(value)
    name = f"{subject}: {word.text}"
    glyph = format_html('<span aria-hidden="true">{}</span><span class="unseen">{}. </span>', word.glyph, name)
    return format_html('<span class="mark mark-{}" title="{}">{}</span>', word.style, name, glyph)


@register.simple_tag
def protection(repository: Repository, standing: Standing | None = None) -> str:
    """That nothing blocks in this repository, or nobody knows; nothing while its gates are enforced.

    Where the page knows how it stands, nobody is asked again.
    """
    label = standing.label if standing else current_label(repository)
    if not label:
        return ""
    owner, _, name = repository.full_name.partition("/")
    address = reverse("verdicts:repository", args=[owner, name])
    return format_html('<a href="{}">{}</a>', address, chip(label, "Protection"))


@register.simple_tag
def ago(moment: datetime | None) -> str:
    """How long ago, with the exact UTC time."""
    return _time(moment, f"{span_of(timezone.now() - moment)} ago") if moment else "never"


@register.simple_tag
def waiting(moment: datetime | None) -> str:
    """How long something has waited since, with the exact UTC time."""
    return _time(moment, span_of(timezone.now() - moment)) if moment else "–"


@register.simple_tag
def until(moment: datetime | None) -> str:
    """How much time is left, with the exact UTC time."""
    if moment is None:
        return "no deadline yet"
    left = moment - timezone.now()
    return _time(moment, f"{span_of(left)} left" if left > timedelta(0) else f"passed {span_of(-left)} ago")


@register.simple_tag
def utc(moment: datetime | None) -> str:
    """The exact time in UTC."""
    return _time(moment, moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")) if moment else "–"


def _time(moment: datetime, text: str) -> str:
    exact = moment.astimezone(UTC)
    title = exact.strftime("%Y-%m-%d %H:%M:%S UTC")
    return format_html('<time datetime="{}" title="{}">{}</time>', exact.isoformat(), title, text)


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
def check_group(name: str) -> str:
    """The heading of a group of checks."""
    return CHECK_GROUPS.get(name, name)


@register.simple_tag
def act_options(chosen: object) -> str:
    """The options of a choice of events: each kind, and what it says that somebody did."""
    return _act_options(str(chosen) if chosen in EVENTS else "")


@cache
def _act_options(chosen: str) -> str:
    plain, selected = '<option value="{}">{}: {}</option>', '<option value="{}" selected>{}: {}</option>'
    options = (format_html(selected if kind == chosen else plain, kind, kind, said) for kind, said in EVENTS.items())
    return format_html_join("", "{}", ((option,) for option in options))


@register.filter
def act(kind: str) -> str:
    """What an event of this kind says that somebody did."""
    return EVENTS.get(kind, kind)


@register.filter
def called(number: int, names: Names) -> str:
    """The name that the principal of this number has now."""
    return names.of(number)


@register.filter
def named(text: str, names: Names) -> str:
    """A sentence with names in place of `principal 7`."""
    return names.within(text)


@register.filter
def coded(text: str) -> str:
    """A sentence with what stands between backticks as code."""
    parts = enumerate(str(text).split("`"))
    return format_html_join("", "{}", ((format_html("<code>{}</code>", part) if n % 2 else part,) for n, part in parts))


@register.filter
def hexadecimal(value: bytes | memoryview) -> str:
    """Bytes as lower-case hex."""
    return bytes(value).hex()
