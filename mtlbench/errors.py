"""The one exception that a user can cause, and text of files as it may be shown."""

import re

# Control characters but line ends and tabs, lone surrogates, and marks that turn the direction of writing.
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class UserError(Exception):
    """A mistake in what was asked for; shown as one line, exit status 2, no traceback."""


def printable(text: str) -> str:
    """Text of a file, without what would steer a terminal."""
    return STEERING.sub("?", text)
