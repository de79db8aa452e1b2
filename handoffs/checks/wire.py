"""Values as JSON and back, by their types alone: how a child tells its parent what it found.

Only what a type says is built, nothing the bytes name: no pickle, no class of the sender's choice. Text may hold lone
surrogates (paths that are not UTF-8), which JSON escapes carry. A type this module does not know is a TypeError.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Mapping
from enum import Enum
from typing import Any, Union

from pydantic import BaseModel

_PLAIN = (str, int, float, bool, type(None))


class WireError(Exception):
    """Bytes that are not a value of the expected type."""


def pack(value: object) -> bytes:
    """A value as ASCII JSON.

    Raises: TypeError for a type that has no form here.
    """
    return json.dumps(_lower(value), separators=(",", ":"), allow_nan=False).encode("ascii")


def unpack[T](kind: type[T], raw: bytes) -> T:
    """The value of a given type.

    Raises: WireError.
    """
    try:
        return typing.cast("T", _raise(kind, json.loads(raw)))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise WireError(f"got no {kind.__name__}: {str(error)[:200]}") from None


def _lower(value: object) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, BaseModel):
        return value.model_dump(mode="python", by_alias=True)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _lower(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [_lower(item) for item in value]
    if isinstance(value, frozenset):
        return sorted(_lower(item) for item in value)
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("got a mapping with other keys than text")
        return {key: _lower(item) for key, item in value.items()}
    raise TypeError(f"got {type(value).__name__}, which has no form on the wire")


def _raise(kind: Any, value: Any) -> Any:
    kind = getattr(kind, "__value__", kind)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any or origin in {Union, types.UnionType}:
        return _raise_union(arguments, value)
    if origin is typing.Literal:
        return _checked(value, holds=value in arguments)
    if origin in {tuple, list, frozenset}:
        return _raise_items(origin, arguments, _checked(value, holds=isinstance(value, list)))
    if origin in {dict, Mapping}:
        return {key: _raise(arguments[1], item) for key, item in _checked(value, holds=isinstance(value, dict)).items()}
    if kind in _PLAIN:
        return _checked(value, holds=type(value) is kind)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = _hints_of(kind)
        _checked(value, holds=isinstance(value, dict) and value.keys() == hints.keys())
        return kind(**{name: _raise(hint, value[name]) for name, hint in hints.items()})
    if issubclass(kind, Enum):
        return kind(value)
    if issubclass(kind, BaseModel):
        return kind.model_validate(value)
    raise TypeError(f"got {kind}, which has no form on the wire")


def _raise_union(arguments: tuple[Any, ...], value: Any) -> Any:
    for kind in arguments:
        try:
            return _raise(kind, value)
        except (TypeError, ValueError):
            continue
    raise TypeError(f"got {type(value).__name__}, expected one of {len(arguments)} types")


def _raise_items(origin: Any, arguments: tuple[Any, ...], items: list[Any]) -> Any:
    if origin is not tuple or arguments[-1] is Ellipsis:
        return origin(_raise(arguments[0], item) for item in items)
    _checked(items, holds=len(items) == len(arguments))
    return tuple(_raise(kind, item) for kind, item in zip(arguments, items, strict=True))


def _checked(value: Any, *, holds: bool) -> Any:
    if not holds:
        raise TypeError(f"got {type(value).__name__}")
    return value


@functools.cache
def _hints_of(kind: type) -> dict[str, Any]:
    known = typing.get_type_hints(kind)
    return {field.name: known[field.name] for field in dataclasses.fields(kind)}
