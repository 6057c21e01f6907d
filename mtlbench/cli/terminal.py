"""Tables on the terminal: as wide as it is, long texts folded."""

from __future__ import annotations

import rich.table
from rich.text import Text

from mtlbench.report.table import Table
from mtlbench.text import printable


def terminal_table(table: Table) -> rich.table.Table:
    """A table for rich's console: the title bold, one line of heads, no marks; the first column is never folded."""
    shown = rich.table.Table(
        title=Text(table.title, style="bold") if table.title else None,
        title_justify="left",
        box=None,
        header_style="bold",
        pad_edge=False,
    )
    columns = [*table.shown_labels, *(column for group in table.shown_groups for column in group.shown)]
    for place, column in enumerate(columns):
        side = "left" if column.is_text else "right"
        shown.add_column(Text(column.heading), justify=side, no_wrap=place == 0, overflow="fold")  # type: ignore[arg-type]
    for row in table.rows:  # Text: brackets mean nothing in it
        shown.add_row(*(Text(printable(column.text(row.cell(column)))) for column in columns))
    return shown
