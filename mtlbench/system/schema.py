"""JSON that others may have written, read against the shape that it must have: a typed object, or one error.

A shape is a class with annotated fields: a `msgspec.Struct`, a NamedTuple or a dataclass. Types are strict (no text
where a number is due), text is whole UTF-8, and numbers are finite.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any, TypeVar

import msgspec

from mtlbench.errors import UserError

T = TypeVar("T")


class Misshapen(Exception):
    """Not of the shape that is asked for; the message says where."""


# Numbers that no shape takes, text without an end, lists in lists without an end; fields that their class refuses.
REFUSALS = (msgspec.DecodeError, RecursionError, UserError)


def decode(text: str, shape: type[T]) -> T:
    """The object that a JSON text describes. Raises Misshapen."""
    decoder = _decoder(shape)  # type: ignore[arg-type]  # a class is hashable
    try:
        found: T = decoder.decode(text)
    except REFUSALS as error:
        raise Misshapen(str(error)) from error
    return found


@cache
def _decoder(shape: Any) -> Any:
    return msgspec.json.Decoder(shape)


def convert(data: object, shape: type[T]) -> T:
    """The object that parsed data (dicts, lists, numbers, texts) describe. Raises Misshapen."""
    try:
        return msgspec.convert(data, shape)
    except REFUSALS as error:
        raise Misshapen(str(error)) from error


def as_plain(value: object) -> Any:
    """Dicts, lists, numbers and texts that `convert` makes the object of. Raises TypeError for what JSON has no word
    for."""
    return msgspec.to_builtins(value, enc_hook=_of_own_class, str_keys=True)


def _of_own_class(value: object) -> object:
    """numpy's float64 is a float, too, and torch's version a text."""
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    raise TypeError(f"{value!r} ({type(value).__name__}) cannot be written as JSON")


def encode(value: object) -> str:
    """One line of JSON. Raises ValueError for numbers that are not finite."""
    return json.dumps(as_plain(value), allow_nan=False) + "\n"
