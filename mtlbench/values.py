"""`NAME=VALUE` on the command line: values are Python literals or plain words, never executed."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from mtlbench.errors import UserError
from mtlbench.spec import Options


def parse(texts: Sequence[str], option: str) -> Options:
    """{name: value} of texts `NAME=VALUE`; True, 3, 0.5 and (1, 2) are read as such, all else is text. Raises
    UserError."""
    found: Options = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UserError(f"{option} {text!r}: write NAME=VALUE")
        found[name.strip()] = literal(value.strip())
    return found


def parse_nested(texts: Sequence[str], option: str) -> dict[str, Options]:
    """{first: {second: value}} of texts `FIRST.SECOND=VALUE`. Raises UserError."""
    found: dict[str, Options] = {}
    for name, value in parse(texts, option).items():
        first, dot, second = name.partition(".")
        if not dot or not first or not second:
            raise UserError(f"{option} {name}={value}: write TASK.NAME=VALUE")
        found.setdefault(first, {})[second] = value
    return found


def literal(text: str) -> object:
    """The Python literal that a text is, else the text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
