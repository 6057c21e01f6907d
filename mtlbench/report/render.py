"""Tables whose columns stand in groups, as text, Markdown and LaTeX; how all tables write LaTeX."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from mtlbench.text import DAGGER, NOTHING

FORMATS = ("text", "csv", "markdown", "latex")
LATEX = {letter: f"\\{letter}" for letter in "&%$#_{}"} | {
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
Column = tuple[str, str]  # task, metric


@dataclass(frozen=True)
class Head:
    """What stands over a table: over the rows' labels, and over the columns, which stand in groups with lines of words
    over each."""

    heading: str
    groups: tuple[tuple[tuple[str, ...], tuple[Column, ...]], ...]

    @property
    def columns(self) -> list[Column]:
        """Task and metric, from left to right."""
        return [column for _, columns in self.groups for column in columns]


@dataclass(frozen=True)
class Line:
    """A line of the table as text; a single cell stands across all columns."""

    label: str
    n: str
    cells: Sequence[str]
    best: Sequence[bool]


def text(head: Head, title: str, lines: Sequence[Line], feet: Sequence[str], width: int) -> str:
    """Plain text of about `width` characters; the best are marked ` *`, which stands out of the alignment."""
    cells = [
        [*line.cells]
        if len(line.cells) == 1
        else [cell + (" *" if best else "  ") for cell, best in zip(line.cells, line.best, strict=True)]
        for line in lines
    ]
    names = [metric.removeprefix("within_") + "  " for _, metric in head.columns]
    sizes = [
        max([7, len(name), *(len(row[place]) for row in cells if len(row) > 1)]) for place, name in enumerate(names)
    ]
    left = max(len(head.heading), *(len(line.label) + 2 * (line.n == NOTHING) for line in lines))
    count = max(len(line.n) for line in lines)
    heads, start = [" " * (left + 2 + count)] * max(len(words) for words, _ in head.groups), 0
    for words, columns in head.groups:
        here = slice(start, start + len(columns))
        room = sum(sizes[here]) + 2 * (len(columns) - 2)  # up to where the last column's marks stand
        sizes[start] += max(0, max(map(len, words)) - room)
        room, start = max(room, max(map(len, words))), here.stop
        heads = [line + "  " + word.rjust(room) + "  " for line, word in zip(heads, words, strict=True)]

    def joined(label: str, n: str, row: Sequence[str]) -> str:
        body = [cell.rjust(size) for cell, size in zip(row, sizes, strict=True)] if len(row) > 1 else [f" {row[0]}"]
        return "  ".join([label.ljust(left), n.rjust(count), *body]).rstrip()

    body = [
        joined(f"  {line.label}" if line.n == NOTHING else line.label, "" if line.n == NOTHING else line.n, row)
        for line, row in zip(lines, cells, strict=True)
    ]
    top = [*(line.rstrip() for line in heads), joined(head.heading, "n", names)]
    wrapped = []
    for foot in feet:
        said, _, command = foot.partition(" mtlbench run ")  # which stays in one piece, for copying
        wrapped.append(textwrap.fill(said, width, subsequent_indent="  ", break_on_hyphens=False))
        wrapped += [f"    mtlbench run {command}"] if command else []
    rule = "-" * (left + 2 + count + sum(sizes) + 2 * len(sizes))
    return "\n".join([*textwrap.wrap(title, width), "", *top, rule, *body, "", *wrapped]) + "\n"


def _spread(line: Line, bold: str) -> list[str]:
    """Label, n and one cell a column; the best as `bold` says, a cell across all columns in the first of them."""
    if len(line.cells) == 1:
        return [line.label, line.n, line.cells[0], *[NOTHING] * (len(line.best) - 1)]
    marked = [bold.format(cell) if best else cell for cell, best in zip(line.cells, line.best, strict=True)]
    return [line.label, line.n, *marked]


def markdown(head: Head, title: str, lines: Sequence[Line], feet: Sequence[str]) -> str:
    """Markdown; the best are bold."""
    heads = [head.heading, "n", *(" ".join(column) for column in head.columns)]
    rows = [heads, ["---"] + ["---:"] * (len(heads) - 1), *(_spread(line, "**{}**") for line in lines)]
    table = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([title, "", *table, "", *(f"- {foot}" for foot in feet)]) + "\n"


def latex(head: Head, title: str, lines: Sequence[Line], feet: Sequence[str]) -> str:
    """LaTeX with booktabs; the best are bold."""
    heads = []
    for place in range(max(len(words) for words, _ in head.groups)):
        spans = [
            f"\\multicolumn{{{len(columns)}}}{{c}}{{{latex_text(words[place])}}}" for words, columns in head.groups
        ]
        heads.append(" & ".join(["", "", *spans]).strip())
    names = [name.removeprefix("within_") for _, name in head.columns]
    heads.append(" & ".join(map(latex_text, [head.heading, "n", *names])))
    body = []
    for line in lines:
        label = ("\\quad " if line.n == NOTHING else "") + latex_text(line.label)
        cells = [
            f"\\textbf{{{latex_text(cell)}}}" if best else latex_text(cell)
            for cell, best in zip(line.cells, line.best, strict=False)
        ]
        if len(cells) == 1:
            cells = [f"\\multicolumn{{{len(head.columns)}}}{{l}}{{{latex_text(line.cells[0])}}}"]
        body.append(" & ".join([label, latex_text(line.n), *cells]))
    return latex_table(title, len(head.columns) + 2, heads, body, feet)


def latex_text(text: str) -> str:
    """Text that LaTeX prints as it is: specials escaped, what usual fonts lack as `?`."""
    letters = " ".join(text.split())
    return "".join(LATEX.get(letter) or letter.encode("latin-1", "replace").decode("latin-1") for letter in letters)


def latex_table(title: str, columns: int, heads: Sequence[str], rows: Sequence[str], feet: Sequence[str]) -> str:
    """A `table` with a booktabs tabular, the title as caption and the feet beneath; `heads` and `rows` are LaTeX."""
    return (
        "\n".join(
            [
                "% needs \\usepackage{booktabs}",
                "\\begin{table}",
                "\\centering",
                f"\\caption{{{latex_text(title)}}}",
                f"\\begin{{tabular}}{{l{'r' * (columns - 1)}}}",
                "\\toprule",
                *(f"{head} \\\\" for head in heads),
                "\\midrule",
                *(f"{row} \\\\" for row in rows),
                "\\bottomrule",
                "\\end{tabular}",
                "",
                "\\footnotesize\\raggedright",
                "\n\n".join(map(latex_text, feet)),
                "\\end{table}",
            ]
        )
        + "\n"
    )
