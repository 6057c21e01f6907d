"""A table as HTML: an element for a page, without style."""

from __future__ import annotations

from markupsafe import Markup

from mtlbench.report.table import Column, Mark, Note, Row, Table
from mtlbench.text import DAGGER

SIGNS = {Mark.CHOSEN: " *", Mark.CHOSEN_FOR_PAIR: " +", Mark.PAIRED: DAGGER}  # and the best are bold


def render_html(table: Table) -> Markup:
    """A `figure`: the title as caption, the table, the notes; all texts are escaped."""
    rows = Markup("\n").join(_row(row, table) for row in table.rows)
    notes = Markup("").join(_note(note) for note in table.notes)
    return Markup(
        '<figure class="grid">\n<figcaption>{}</figcaption>\n<div class="scroll"><table>\n'
        "<thead>\n{}\n</thead>\n<tbody>\n{}\n</tbody></table></div>\n{}</figure>\n"
    ).format(table.title, _heads(table), rows, notes)


def _note(note: Note) -> Markup:
    command = Markup(" <code>{}</code>").format(note.command) if note.command else ""
    return Markup('<p class="note">{}{}</p>\n').format(note.text, command)


def _heads(table: Table) -> Markup:
    """Lines of words over the groups, then a head over every column."""
    lines = []
    for place in range(table.head_lines):
        spans = Markup("").join(
            Markup('<th scope="colgroup" colspan="{}">{}</th>').format(
                len(group.shown), group.words[place] if place < len(group.words) else ""
            )
            for group in table.shown_groups
        )
        lines.append(Markup('<tr class="groups"><td colspan="{}"></td>{}</tr>').format(len(table.shown_labels), spans))
    columns = [*table.shown_labels, *(column for group in table.shown_groups for column in group.shown)]
    heads = [Markup('<th{} scope="col">{}</th>').format(_side(column), column.heading) for column in columns]
    return Markup("\n").join([*lines, Markup("<tr>{}</tr>").format(Markup("").join(heads))])


def _row(row: Row, table: Table) -> Markup:
    first, *others = table.shown_labels
    cells = [Markup('<th{} scope="row">{}</th>').format(_side(first), _cell(first, row))]
    cells += [_data(column, row) for column in others]
    columns = [column for group in table.shown_groups for column in group.shown]
    if row.span:
        cells.append(Markup('<td class="text" colspan="{}">{}</td>').format(len(columns), row.span))
    else:
        cells += [_data(column, row) for column in columns]
    kind = "apart" if row.apart else "beneath" if row.beneath else ""
    return Markup("<tr{}>{}</tr>").format(_class(kind), Markup("").join(cells))


def _data(column: Column, row: Row) -> Markup:
    """A cell with its number, by which the report's tables are sorted."""
    value = row.cell(column).value
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and not row.cell(column).is_empty
    number = Markup(' data-value="{}"').format(f"{value:.6g}") if is_number else Markup()
    return Markup("<td{}{}>{}</td>").format(_side(column), number, _cell(column, row))


def _cell(column: Column, row: Row) -> Markup:
    cell = row.cell(column)
    text = Markup("<strong>{}</strong>" if Mark.BEST in cell.marks else "{}").format(column.text(cell))
    return text + "".join(sign for mark, sign in SIGNS.items() if mark in cell.marks)


def _side(column: Column) -> Markup:
    return _class("text" if column.is_text else "")


def _class(name: str) -> Markup:
    return Markup(' class="{}"').format(name) if name else Markup()
