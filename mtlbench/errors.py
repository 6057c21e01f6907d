"""The one exception that a user can cause."""


class UserError(Exception):
    """A mistake in what was asked for; shown as one line, exit status 2, no traceback."""
