"""The strict part of YAML that lock files are written in: mappings, lists and text, nothing two readers disagree on.

Refused: anchors, aliases, tags, several documents, duplicate or merge keys, keys that are not text, nesting beyond 64.
Every scalar is text; whether `1.0` is a number is nobody's business here.
Source: YAML 1.2.2, chapters 3 and 6; the events of libyaml.
"""

from __future__ import annotations

from typing import Final

import yaml

_MAX_DEPTH: Final = 64
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parse_yaml(content: bytes) -> dict[str, object]:
    """Read one document whose top is a mapping.

    Raises: ValueError.
    """
    text = content.decode("utf-8")
    try:
        return _build(text)
    except yaml.YAMLError as error:
        raise ValueError(type(error).__name__) from None


class _Open:
    """A mapping or list that is not closed yet."""

    def __init__(self, *, is_mapping: bool) -> None:
        self.is_mapping = is_mapping
        self.mapping: dict[str, object] = {}
        self.items: list[object] = []
        self.key: str | None = None

    @property
    def value(self) -> object:
        """What was read of it."""
        return self.mapping if self.is_mapping else self.items

    def add(self, value: object) -> None:
        """Take the next node: a key, its value, or an item."""
        if not self.is_mapping:
            self.items.append(value)
        elif self.key is None:
            if not isinstance(value, str) or value in self.mapping or value == "<<":
                raise ValueError("a duplicate key, one that is not text, or one that merges")
            self.key = value
        else:
            self.mapping[self.key] = value
            self.key = None


def _build(text: str) -> dict[str, object]:
    top = _Open(is_mapping=False)
    stack = [top]
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) or getattr(event, "tag", None):
            raise ValueError("an anchor, alias or tag")
        if isinstance(event, yaml.ScalarEvent):
            stack[-1].add(event.value)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            if len(stack) > _MAX_DEPTH or (stack[-1].is_mapping and stack[-1].key is None):
                raise ValueError("nested too deep, or a key that is not text")
            stack.append(_Open(is_mapping=isinstance(event, yaml.MappingStartEvent)))
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            closed = stack.pop()
            stack[-1].add(closed.value)
    if len(top.items) != 1 or not isinstance(top.items[0], dict):
        raise ValueError("not one mapping")
    return top.items[0]
