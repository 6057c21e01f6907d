"""The one exception that a user can cause, and text of files as it may be shown."""

from __future__ import annotations


class UserError(Exception):
    """A mistake in what was asked for; shown as one line, exit status 2, no traceback."""
