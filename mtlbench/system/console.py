"""The width of what is printed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

NO_PIPE_WIDTH = 200  # of tables that are written to a file


def wide_console() -> Console:
    """The terminal, or a file with room for wide tables."""
    from rich.console import Console

    return Console(width=None if Console().is_terminal else NO_PIPE_WIDTH)
