"""A table as plain text: aligned, and broken into blocks of groups where it is wider than asked for."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Sequence

from mtlbench.report.table import Cell, Column, Group, Mark, Note, Row, Table
from mtlbench.text import DAGGER

SIGNS = {Mark.BEST: " *", Mark.CHOSEN: " *", Mark.CHOSEN_FOR_PAIR: " +", Mark.PAIRED: DAGGER}
GAP = "  "  # between columns
INDENT = "  "  # of rows that belong to the row above


def render_text(table: Table, width: int = 150) -> str:
    """A table as text of about `width` characters: the title, the table in as few blocks as fit, the notes."""
    title = "\n".join(textwrap.wrap(table.title, width, break_on_hyphens=False))
    blocks = ["\n".join(_lines(table, groups)) for groups in _blocks(table, width)]
    notes = "\n".join(line for note in table.notes for line in _wrap(note, width))
    return "\n\n".join(part for part in (title, *blocks, notes) if part) + "\n"


def _wrap(note: Note, width: int) -> list[str]:
    """The lines of a note; a command stays in one piece, for copying."""
    lines = textwrap.wrap(note.text, width, subsequent_indent="  ", break_on_hyphens=False)
    return [*lines, *([f"    {note.command}"] if note.command else [])]


def _blocks(table: Table, width: int) -> list[list[Group]]:
    """The groups of each block."""
    blocks: list[list[Group]] = []
    for group in table.shown_groups:
        if blocks and len(_rule(table, [*blocks[-1], group])) <= width:
            blocks[-1].append(group)
        else:
            blocks.append([group])
    return blocks


def _rule(table: Table, groups: Sequence[Group]) -> str:
    """A line as wide as these groups and the labels."""
    parts = [_align(group, table.rows, 0) for group in (Group(table.shown_labels), *groups)]
    return "-" * len(GAP.join(lines[0] for lines in parts))


def _lines(table: Table, groups: Sequence[Group]) -> list[str]:
    """The lines of a block: words over groups, heads, a rule, rows. Rows apart are left out where they say nothing."""
    columns = [column for group in groups for column in group.shown]
    rows = [row for row in table.rows if not row.apart or any(not row.cell(column).is_empty for column in columns)]
    head_lines = max(len(group.words) for group in groups)
    labels = _align(Group(table.shown_labels), [_indent(row, table.shown_labels[0]) for row in rows], head_lines)
    parts = [labels, *(_align(group, rows, head_lines) for group in groups)]
    lines = [GAP.join(cells) for cells in zip(*parts, strict=True)]
    rule = "-" * len(lines[0])
    found = [*lines[: head_lines + 1], rule]
    before = [False, *(row.apart for row in rows)]
    for row, label, line, follows in zip(rows, labels[head_lines + 1 :], lines[head_lines + 1 :], before, strict=False):
        found += [rule] if row.apart and not follows else []
        found.append(f"{label}{GAP} {row.span}" if row.span and groups[0] is table.shown_groups[0] else line)
    return [line.rstrip() for line in found]


def _indent(row: Row, label: Column) -> Row:
    return (
        dataclasses.replace(row, cells={**row.cells, label.name: Cell(INDENT + label.text(row.cell(label)))})
        if row.beneath
        else row
    )


def _align(group: Group, rows: Sequence[Row], head_lines: int) -> list[str]:
    """Lines of one length: the words over a group, its heads, its cells. The words end where the last numbers end."""
    lines = [GAP.join(cells) for cells in zip(*(_cells(column, rows) for column in group.shown), strict=True)]
    behind = _mark_size(group.shown[-1], rows)
    room = len(lines[0]) - behind
    missing = max(0, max(map(len, group.words), default=0) - room)
    words = [*group.words, *[""] * (head_lines - len(group.words))]
    heads = [word.rjust(room + missing) + " " * behind for word in words]
    return [*heads, *(" " * missing + line for line in lines)]


def _cells(column: Column, rows: Sequence[Row]) -> list[str]:
    """The head and the cells of a column in one length; numbers end at one place, with their marks behind it."""
    marks = [_marks(row.cell(column)) for row in rows]
    texts = [column.text(row.cell(column)) for row in rows]
    if column.is_text:
        texts = [column.heading, *(text + mark for text, mark in zip(texts, marks, strict=True))]
        return [text.ljust(max(map(len, texts))) for text in texts]
    size, behind = max(map(len, [column.heading, *texts])), _mark_size(column, rows)
    pairs = zip([column.heading, *texts], ["", *marks], strict=True)
    return [text.rjust(size) + mark.ljust(behind) for text, mark in pairs]


def _mark_size(column: Column, rows: Sequence[Row]) -> int:
    """How many characters the marks behind numbers take."""
    return 0 if column.is_text else max((len(_marks(row.cell(column))) for row in rows), default=0)


def _marks(cell: Cell) -> str:
    return "".join(sign for mark, sign in SIGNS.items() if mark in cell.marks)
