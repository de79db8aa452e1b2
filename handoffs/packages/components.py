"""What a change does to the packages of a repository, for people: added, removed, changed, with licences.

The difference is the portal's own reading of the changed files; the licences are those the builder's SBOM names.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote

from audit.canonical import JsonValue
from handoffs.bundles.paths import escape_text
from handoffs.checks.evidence import Unreadable
from handoffs.packages.lockfiles import LockDelta
from handoffs.packages.pins import Pin, version_of
from handoffs.packages.sbom import Component, Sbom

MAX_TOLD: Final = 200  # of each kind, on pages and in the database
_MAX_SAID: Final = 160
_COUNTS: Final = ("added", "removed", "changed", "unknown_licences")


@dataclass(frozen=True, slots=True)
class ComponentChange:
    """One package that is added, removed or changed.

    `before` and `after` are the versions named on each side, empty where only a range is. `licence` is empty where
    nobody named one, which is unknown, not fine. `said` is what the changed files say now, or said last.
    """

    ecosystem: str
    name: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    licence: str
    said: tuple[str, ...]


@dataclass(frozen=True)
class ComponentDelta:
    """All of them. `is_known` is false where the change could not be applied, so that nothing is known of it.

    `counts` counts all, of each kind and without a licence, also where only the first rows of each kind were made.
    `settings` are statements about no package from outside; `unread` and `malformed` are paths. All text is safe to
    print and to store, whatever the changed files hold.
    """

    is_known: bool = False
    counts: Mapping[str, int] = field(default_factory=lambda: MappingProxyType(dict.fromkeys(_COUNTS, 0)))
    added: tuple[ComponentChange, ...] = ()
    removed: tuple[ComponentChange, ...] = ()
    changed: tuple[ComponentChange, ...] = ()
    settings_added: tuple[str, ...] = ()
    settings_removed: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    malformed: tuple[str, ...] = ()

    def as_json(self, *, at_most: int | None = None) -> dict[str, JsonValue]:
        """The whole, or the first rows of each kind and shortened text; `counts` always count all."""
        rows = {"added": self.added, "removed": self.removed, "changed": self.changed}
        texts = {
            "settings_added": self.settings_added,
            "settings_removed": self.settings_removed,
            "files": self.files,
            "unread": self.unread,
            "malformed": self.malformed,
        }
        counts: dict[str, JsonValue] = {**self.counts, **{name: len(found) for name, found in texts.items()}}
        told: dict[str, JsonValue] = {"is_known": self.is_known, "counts": counts}
        for name, found in rows.items():
            told[name] = [_row(row, is_short=at_most is not None) for row in found[:at_most]]
        for name, lines in texts.items():
            told[name] = [_short(line) if at_most is not None else line for line in lines[:at_most]]
        return told


def component_delta(delta: LockDelta | None, sbom: Sbom | Unreadable, *, at_most: int | None = None) -> ComponentDelta:
    """The changed packages, by name, or the first of each kind; None where the change could not be applied."""
    if delta is None:
        return ComponentDelta()
    licensed = _licensed(sbom) if isinstance(sbom, Sbom) else {}
    old, new = _packages(delta.removed), _packages(delta.added)
    old_names, new_names = _names(old), _names(new)
    before, after = set(old_names), set(new_names)
    known = {name for name, pin in zip(new_names, new, strict=True) if pin.purl in licensed}
    added, removed, changed = (_first(names, at_most) for names in (after - before, before - after, before & after))
    told = {*added, *removed, *changed}
    gone_from, come_to = _grouped(old_names, old, told), _grouped(new_names, new, told)

    def change(key: str) -> ComponentChange:
        gone, new = gone_from.get(key, ()), come_to.get(key, ())
        ecosystem, _, name = key.partition("/")
        found = {_licence(licensed[pin.purl]) for pin in new if pin.purl in licensed}
        return ComponentChange(
            ecosystem.removeprefix("pkg:"),
            escape_text(unquote(name) if "%" in name else name),
            _versions(gone) if gone else (),
            _versions(new) if new else (),
            escape_text(" / ".join(sorted(found))) if found else "",
            tuple([escape_text(pin.said) for pin in _in_order(new or gone)]),
        )

    numbers = (len(after - before), len(before - after), len(before & after), len(after) - len(known))
    return ComponentDelta(
        is_known=True,
        counts=MappingProxyType(dict(zip(_COUNTS, numbers, strict=True))),
        added=tuple(map(change, added)),
        removed=tuple(map(change, removed)),
        changed=tuple(map(change, changed)),
        settings_added=_settings(delta.added) if len(new) < len(delta.added) else (),
        settings_removed=_settings(delta.removed) if len(old) < len(delta.removed) else (),
        files=tuple(map(escape_text, sorted(delta.files))),
        unread=tuple(map(escape_text, sorted(delta.unread))),
        malformed=tuple(escape_text(path) for path, _ in delta.malformed),
    )


def _packages(pins: Iterable[Pin]) -> list[Pin]:
    """The statements about packages."""
    return [pin for pin in pins if pin.purl]


def _names(pins: Iterable[Pin]) -> list[str]:
    """The ecosystem and name of each, as its purl begins."""
    return [pin.purl.partition("@")[0] for pin in pins]


def _settings(pins: Iterable[Pin]) -> tuple[str, ...]:
    return tuple(sorted([escape_text(pin.said) for pin in pins if not pin.purl]))


def _first(names: set[str], at_most: int | None) -> list[str]:
    return sorted(names) if at_most is None else heapq.nsmallest(at_most, names)


def _grouped(names: list[str], pins: list[Pin], told: set[str]) -> dict[str, list[Pin]]:
    found: dict[str, list[Pin]] = {name: [] for name in told}
    for name, pin in zip(names, pins, strict=True):
        if name in found:
            found[name].append(pin)
    return found


def _in_order(pins: Sequence[Pin]) -> Sequence[Pin]:
    return sorted(pins) if len(pins) > 1 else pins


def _versions(pins: Sequence[Pin]) -> tuple[str, ...]:
    return tuple(sorted({escape_text(version_of(pin.purl)) for pin in pins} - {""}))


def _licensed(sbom: Sbom) -> dict[str, Component]:
    return {component.purl: component for component in sbom.components if component.choices}


def _licence(component: Component) -> str:
    said = [text for _, text in component.licences]
    return said[0] if len(said) == 1 else " AND ".join(f"({text})" for text in said)


def _row(row: ComponentChange, *, is_short: bool) -> JsonValue:
    said: list[JsonValue] = [_short(line) if is_short else line for line in row.said[: 3 if is_short else None]]
    return {
        "ecosystem": row.ecosystem,
        "name": _short(row.name) if is_short else row.name,
        "before": [*row.before],
        "after": [*row.after],
        "licence": (_short(row.licence) if is_short else row.licence) or None,
        "said": said,
    }


def _short(line: str) -> str:
    return line if len(line) <= _MAX_SAID else f"{line[:_MAX_SAID]}…"
