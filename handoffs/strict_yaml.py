"""YAML as far as two readers cannot disagree on it: the one reader of lock files, workflows and policies.

Refused: anchors, aliases and merge keys (and with them every bomb made of them), tags, directives, several documents,
duplicate keys, keys that are not text, the line breaks that only YAML 1.1 knows, nesting, size and count beyond need.
Nothing is constructed but mappings, lists and what a scalar becomes.

Not checked: what the document means to its owner.
Source: YAML 1.2.2, chapters 3, 6 and 10.3; the events of libyaml.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import yaml

from audit.canonical import MAX_DEPTH, MAX_VALUES
from audit.coded import CodedError

type Tree[Leaf] = Leaf | list[Tree[Leaf]] | dict[str, Tree[Leaf]]

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BREAK_OF_1_1: Final = re.compile("[\x85\u2028\u2029]")
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,14})")
_NUMBER_OF_1_2: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|0o[0-7]+|0x[0-9a-fA-F]+")
_WORDS: Final[dict[str, bool | None]] = {"": None, "~": None, "null": None, "true": True, "false": False}


class YamlError(CodedError):
    """A document that is refused. `code` is stable, `detail` says got and expected. Units: `line` counts from 1."""

    def __init__(self, code: str, detail: str, line: int = 1) -> None:
        super().__init__(code, detail)
        self.line = line


class Scalar(str):
    """The text of a scalar that knows where it stands: at `line`, or, of a block kept as it is, from the line below on.

    Units: `line` counts from 1.
    """

    __slots__ = ("is_block", "line")

    line: int
    is_block: bool


def parse_yaml_text(
    raw: bytes, *, max_bytes: int, max_depth: int = MAX_DEPTH, max_values: int = MAX_VALUES
) -> Tree[str]:
    """Read one document whose scalars are all text: whether `1.0` is a number is nobody's business there.

    Raises: YamlError.
    """
    return _compose(_events(raw, max_bytes), key=_told, leaf=_told, max_depth=max_depth, max_values=max_values)


def parse_yaml_lines(
    raw: bytes, *, max_bytes: int, max_depth: int = MAX_DEPTH, max_values: int = MAX_VALUES
) -> Tree[Scalar]:
    """Read one document whose scalars, keys too, are text that knows its line.

    Raises: YamlError.
    """
    return _compose(_events(raw, max_bytes), key=_placed, leaf=_placed, max_depth=max_depth, max_values=max_values)


def parse_yaml_values(
    raw: bytes, *, max_bytes: int, max_depth: int = MAX_DEPTH, max_values: int = MAX_VALUES
) -> Tree[str | int | bool | None]:
    """Read one document of text, integers, true, false and null.

    A fraction is refused, and so is what versions of YAML take for different things: `yes`, `0x1F`, `1_000`, a date.
    Raises: YamlError.
    """
    return _compose(_events(raw, max_bytes), key=_named, leaf=_resolved, max_depth=max_depth, max_values=max_values)


def _events(raw: bytes, max_bytes: int) -> Iterator[yaml.Event]:
    """The events of one document."""
    if len(raw) > max_bytes:
        raise YamlError("yaml.too_long", f"got {len(raw)} bytes, expected at most {max_bytes}")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise YamlError(
            "yaml.not_utf8", f"byte {error.start} is not UTF-8", raw.count(10, 0, error.start) + 1
        ) from None
    if found := _BREAK_OF_1_1.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise YamlError(
            "yaml.line_break", f"got U+{ord(found[0]):04X}, which only some readers take for a line's end", line
        )
    documents = 0
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if event.version or event.tags:
                    raise YamlError("yaml.directive", "got a directive, expected none", _line(event))
                if documents > 1:
                    raise YamlError("yaml.documents", "got a second document, expected one", _line(event))
            yield event
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError("yaml.syntax", (error.problem or "not YAML")[:200], mark.line + 1 if mark else 1) from None
    except yaml.YAMLError as error:
        raise YamlError("yaml.syntax", " ".join(str(error).split())[:200]) from None
    if documents == 0:
        raise YamlError("yaml.empty", "got no document, expected one")


@dataclass(slots=True)
class _Open[Leaf]:
    """A mapping or list that is not closed yet. `key` is one that waits for its value."""

    is_mapping: bool
    mapping: dict[str, Tree[Leaf]] = field(default_factory=dict)
    items: list[Tree[Leaf]] = field(default_factory=list)
    key: str | None = None

    @property
    def wants_key(self) -> bool:
        """Whether what comes next is a key."""
        return self.is_mapping and self.key is None

    def add(self, value: Tree[Leaf]) -> None:
        """Take the next item, or the value of the key that waits."""
        if self.key is None:
            self.items.append(value)
        else:
            self.mapping[self.key] = value
            self.key = None


def _compose[Leaf](
    events: Iterator[yaml.Event],
    *,
    key: Callable[[yaml.ScalarEvent], str],
    leaf: Callable[[yaml.ScalarEvent], Leaf],
    max_depth: int,
    max_values: int,
) -> Tree[Leaf]:
    top = _Open[Leaf](is_mapping=False)
    stack = [top]
    values = 0
    for event in events:
        if isinstance(event, yaml.NodeEvent):
            values += 1
            _refuse_indirection(event)
            if values > max_values:
                raise YamlError("yaml.too_many", f"got more than {max_values} values", _line(event))
        if isinstance(event, yaml.ScalarEvent):
            if stack[-1].wants_key:
                stack[-1].key = _fresh_key(key(event), stack[-1].mapping, event)
            else:
                stack[-1].add(leaf(event))
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            if stack[-1].wants_key:
                raise YamlError("yaml.key", "got a mapping or a list as a key, expected text", _line(event))
            if len(stack) > max_depth:
                raise YamlError("yaml.too_deep", f"got more than {max_depth} levels", _line(event))
            stack.append(_Open(is_mapping=isinstance(event, yaml.MappingStartEvent)))
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            closed = stack.pop()
            stack[-1].add(closed.mapping if closed.is_mapping else closed.items)
    return top.items[0]


def _refuse_indirection(event: yaml.NodeEvent) -> None:
    if event.anchor is not None:  # an alias names one, too
        raise YamlError("yaml.anchor", f"got the anchor or alias {event.anchor[:60]!r}, expected none", _line(event))
    tag = getattr(event, "tag", None)
    if tag is not None:
        raise YamlError("yaml.tag", f"got the tag {tag[:60]!r}, expected none", _line(event))


def _fresh_key[Value](name: str, mapping: dict[str, Value], event: yaml.ScalarEvent) -> str:
    if name == "<<":
        raise YamlError("yaml.merge_key", "got a merge key, expected none", _line(event))
    if name in mapping:
        raise YamlError("yaml.duplicate_key", f"got the key {name[:60]!r} twice, expected once", _line(event))
    return name


def _told(event: yaml.ScalarEvent) -> str:
    return str(event.value)


def _placed(event: yaml.ScalarEvent) -> Scalar:
    scalar = Scalar(event.value)
    scalar.line = _line(event)
    scalar.is_block = event.style == "|"
    return scalar


def _named(event: yaml.ScalarEvent) -> str:
    name = _told(event) if event.value == "<<" else _resolved(event)
    if not isinstance(name, str):
        raise YamlError("yaml.key", f"got {event.value[:60]!r} as a key, expected text", _line(event))
    return name


def _resolved(event: yaml.ScalarEvent) -> str | int | bool | None:
    """A scalar by the core schema of YAML 1.2, where that and YAML 1.1 agree."""
    text = str(event.value)
    if event.style:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    patterns = yaml.SafeLoader.yaml_implicit_resolvers.get(text[0], ())
    if _NUMBER_OF_1_2.fullmatch(text) or any(pattern.match(text) for _, pattern in patterns):
        raise YamlError(
            "yaml.ambiguous", f"got {text[:60]!r} without quotes, expected quotes around it, or true, false, null or "
            "an integer", _line(event))  # fmt: skip
    return text


def _line(event: yaml.Event) -> int:
    return int(event.start_mark.line) + 1 if event.start_mark else 1
