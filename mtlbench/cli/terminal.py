"""Tables on the terminal: as wide as it is, long texts folded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mtlbench.text import strip_control

if TYPE_CHECKING:
    from rich.console import Console

    from mtlbench.report.table import Table


def print_table(table: Table, console: Console) -> None:
    """Print a table with one line of heads and no marks; long texts are folded, but of the first column."""
    import rich.table  # when a command prints, not when its help is shown
    from rich.text import Text

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
        shown.add_row(*(Text(strip_control(column.text(row.cell(column)))) for column in columns))
    console.print(shown)
