"""Frozen dataclasses to plain JSON values and back, and the canonical bytes that the journal chains.

`encode` leaves out nothing and rounds nothing, so `decode(type(x), encode(x)) == x`. Unknown keys
are refused; keys that are missing take the field's default, which is how an older journal is read.
What is only a summary of something else may be decoded leniently: what another version wrote into
it is then left out.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Hashable, Mapping
from enum import Enum
from typing import Any, TypeVar, cast

from farmd.model.errors import ErrorCode, Refused

T = TypeVar("T")

BAD_RECORD = ErrorCode(
    "bad-record",
    "a stored record does not have the form it should have",
    "run `farmd verify`; restore from a back-up if it finds damage",
)


def encode(value: Any) -> Any:
    """A JSON value (dict, list, str, number, bool, None) for a dataclass or a value inside one."""
    kind = type(value)
    if kind in (str, int, float, bool) or value is None:
        return value
    if dataclasses.is_dataclass(value):
        return {name: encode(getattr(value, name)) for name in _field_names(cast(Hashable, kind))}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [encode(item) for item in value]
    raise TypeError(f"{kind.__name__} has no place in a record")


def canonical(value: Any) -> bytes:
    """The one byte string that stands for a record: sorted keys, no blanks, UTF-8."""
    text = json.dumps(
        encode(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def decode(cls: type[T], data: Any, *, lenient: bool = False) -> T:
    """The inverse of `encode`; raises `Refused(BAD_RECORD)`. `lenient` leaves out unknown keys at any depth."""
    if not isinstance(data, Mapping):
        raise Refused(BAD_RECORD, f"{cls.__name__} is not an object")
    plan = _decoders(cast(Hashable, cls), lenient)
    unknown = data.keys() - plan.keys()
    if unknown and not lenient:
        raise Refused(BAD_RECORD, f"{cls.__name__} has no field {sorted(unknown)[0]!r}")
    try:
        return cls(**{name: plan[name](item) for name, item in data.items() if name in plan})
    except (TypeError, ValueError, KeyError) as error:
        raise Refused(BAD_RECORD, f"{cls.__name__}: {error}") from error


@functools.cache
def _field_names(cls: Hashable) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(cast(Any, cls)))


@functools.cache
def _decoders(cls: Hashable, lenient: bool) -> dict[str, typing.Callable[[Any], Any]]:
    hints = typing.get_type_hints(cast(type[Any], cls))
    return {name: _decoder(hints[name], lenient) for name in _field_names(cls)}


def _decoder(hint: Any, lenient: bool) -> typing.Callable[[Any], Any]:
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        inner = [_decoder(arm, lenient) for arm in typing.get_args(hint) if arm is not types.NoneType]
        (only,) = inner
        return lambda item: None if item is None else only(item)
    if origin is tuple:
        return _tuple_decoder(typing.get_args(hint), lenient)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return lambda item: decode(hint, item, lenient=lenient)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint
    if hint is float:
        return float
    return lambda item: item


def _tuple_decoder(args: tuple[Any, ...], lenient: bool) -> typing.Callable[[Any], Any]:
    if len(args) == 2 and args[1] is Ellipsis:
        each = _decoder(args[0], lenient)
        return lambda items: tuple(each(item) for item in items)
    parts = [_decoder(arg, lenient) for arg in args]
    return lambda items: tuple(part(item) for part, item in zip(parts, items, strict=True))
