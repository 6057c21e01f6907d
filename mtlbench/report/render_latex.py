"""A table as LaTeX with booktabs."""

from __future__ import annotations

from mtlbench.report.table import Cell, Column, Mark, Row, Table
from mtlbench.text import DAGGER

SIGNS = {Mark.CHOSEN: " *", Mark.CHOSEN_FOR_PAIR: " +", Mark.PAIRED: DAGGER}  # and the best are bold
ESCAPES = {letter: f"\\{letter}" for letter in "&%$#_{}"} | {
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "|": "\\textbar{}",
    "[": "{[}",
    "±": "$\\pm$",
    DAGGER: "\\textdagger{}",
}


def render_latex(table: Table) -> str:
    """A `table` environment: the title as caption, a booktabs tabular, the notes beneath; the best are bold."""
    labels = table.shown_labels
    columns = [column for group in table.shown_groups for column in group.shown]
    heads = []
    for place in range(table.head_lines):
        spans = []
        for group in table.shown_groups:
            word = group.words[place] if place < len(group.words) else ""
            spans.append(f"\\multicolumn{{{len(group.shown)}}}{{c}}{{{latex_text(word)}}}")
        heads.append(" & ".join([""] * len(labels) + spans).strip())
    heads.append(" & ".join(latex_text(column.heading) for column in (*labels, *columns)))
    body: list[str] = []
    for row, before in zip(table.rows, [None, *table.rows], strict=False):
        cells = [("\\quad " if row.beneath and not place else "") + _cell(c, row) for place, c in enumerate(labels)]
        if row.span:
            cells.append(f"\\multicolumn{{{len(columns)}}}{{l}}{{{latex_text(row.span)}}}")
        else:
            cells += [_cell(column, row) for column in columns]
        body += [*(["\\midrule"] if row.apart and not (before and before.apart) else []), " & ".join(cells) + " \\\\"]
    kinds = ["l" if column.is_text else "r" for column in (*labels, *columns)]
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{latex_text(table.title)}}}",
        f"\\begin{{tabular}}{{{''.join(kinds)}}}",
        "\\toprule",
        *(f"{head} \\\\" for head in heads),
        "\\midrule",
        *body,
        "\\bottomrule",
        "\\end{tabular}",
        "",
        "\\footnotesize\\raggedright",
        "\n\n".join(latex_text(str(note)) for note in table.notes),
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _cell(column: Column, row: Row) -> str:
    cell: Cell = row.cell(column)
    text = latex_text(column.text(cell))
    if Mark.BEST in cell.marks:
        text = f"\\textbf{{{text}}}"
    return text + "".join(_sign(sign) for mark, sign in SIGNS.items() if mark in cell.marks)


def _sign(sign: str) -> str:
    return "".join(ESCAPES.get(letter, letter) for letter in sign)


def latex_text(text: str) -> str:
    """Text that LaTeX prints as it is: specials escaped, what usual fonts lack as `?`."""
    letters = " ".join(text.split())
    return "".join(ESCAPES.get(letter) or letter.encode("latin-1", "replace").decode("latin-1") for letter in letters)
