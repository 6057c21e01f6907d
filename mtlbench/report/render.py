"""A table in the format that is asked for; Markdown and CSV."""

from __future__ import annotations

import csv
import io

from mtlbench.plugins import make_unknown
from mtlbench.report.render_html import render_html
from mtlbench.report.render_latex import render_latex
from mtlbench.report.render_text import render_text
from mtlbench.report.table import Cell, Column, Mark, Row, Table
from mtlbench.text import DAGGER, NOTHING, strip_control

FORMATS = ("text", "csv", "markdown", "latex", "html")
SIGNS = {Mark.CHOSEN: " \\*", Mark.CHOSEN_FOR_PAIR: " +", Mark.PAIRED: DAGGER}  # and the best are bold


def render(table: Table, format: str = "text", width: int = 150) -> str:
    """A table in one of FORMATS; text has about `width` characters a line. Raises UserError for another format."""
    if format == "text":
        return render_text(table, width)
    if format == "csv":
        return render_csv(table)
    if format == "markdown":
        return render_markdown(table)
    if format == "latex":
        return render_latex(table)
    if format == "html":  # references in place of letters that a page without a declared encoding would show wrongly
        return strip_control(render_html(table)).encode("ascii", "xmlcharrefreplace").decode()
    raise make_unknown("table format", format, FORMATS)


def render_csv(table: Table) -> str:
    """One line a row, six digits a number, nothing where a cell is empty; no title and no notes."""
    columns = [column for column in table.columns if column.in_csv]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([column.name for column in columns])
    writer.writerows([_csv_value(row.cell(column)) for column in columns] for row in table.rows)
    return out.getvalue()


def _csv_value(cell: Cell) -> str:
    if cell.is_empty:
        return ""
    return f"{cell.value:.6g}" if isinstance(cell.value, float) else str(cell.value)


def render_markdown(table: Table) -> str:
    """The title, one table, the notes as a list; the best are bold. Columns under words have their full names."""
    labels = table.shown_labels
    columns = [column for group in table.shown_groups for column in group.shown]
    heads = [column.heading for column in labels]
    for group in table.shown_groups:
        heads += [column.name if group.words else column.heading for column in group.shown]
    sides = [
        ":---" if column.is_text and place else "---" if not place else "---:"
        for place, column in enumerate((*labels, *columns))
    ]
    lines = [[_escape_cell(head) for head in heads], sides]
    for row in table.rows:
        cells = [_markdown_cell(column, row) for column in labels]
        if row.span:
            cells += [_escape_cell(row.span), *[NOTHING] * (len(columns) - 1)]
        else:
            cells += [_markdown_cell(column, row) for column in columns]
        lines.append(cells)
    grid = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    notes = "\n".join(f"- {_escape(str(note))}" for note in table.notes)
    return "\n\n".join(part for part in (_escape(table.title), grid, notes) if part) + "\n"


def _markdown_cell(column: Column, row: Row) -> str:
    cell = row.cell(column)
    text = _escape_cell(column.text(cell))
    if Mark.BEST in cell.marks:
        text = f"**{text}**"
    return text + "".join(sign for mark, sign in SIGNS.items() if mark in cell.marks)


def _escape(text: str) -> str:
    """Text in one line that is neither HTML nor a link."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("<", "\\<").replace("](", "]\\(")


def _escape_cell(text: str) -> str:
    return _escape(text).replace("|", "\\|").replace("*", "\\*")
