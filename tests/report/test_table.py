"""One table, written in every format: what each keeps, what stands where, and that no text breaks out of it."""

from __future__ import annotations

import csv
import io
import math
from html.parser import HTMLParser

import pytest

from mtlbench.errors import UserError
from mtlbench.report.render import FORMATS, render
from mtlbench.report.table import (
    Cell,
    Column,
    Group,
    Mark,
    Note,
    Row,
    Table,
    count_seeds,
    decimals,
    large,
    plus_minus,
    simple_table,
    three_digits,
)

EVIL = "<b>|*](x)& \\<i"
SMALL = Table(
    "A title",
    (Column("arm", is_text=True), Column("n", in_csv=False)),
    (
        Group((Column("a mean", "mean", plus_minus), Column("a n", shown=False)), ("Task a", "%")),
        Group((Column("b", write=decimals(0)), Column("c", write=large)), ("Task b",)),
        Group((Column("failures", shown=False),)),
    ),
    (
        Row(
            {
                "arm": Cell("one", marks=frozenset({Mark.CHOSEN_FOR_PAIR})),
                "n": Cell(3),
                "a mean": Cell(1 / 3, 0.25, 0.5, marks=frozenset({Mark.BEST})),
                "a n": Cell(3),
                "b": Cell(2.0, marks=frozenset({Mark.PAIRED})),
                "c": Cell(1.5e6, ratio=0.5),
            }
        ),
        Row({"arm": Cell("published"), "a mean": Cell(12.0)}, beneath=True),
        Row({"arm": Cell("two"), "n": Cell(0), "failures": Cell("no, memory")}, span="failed: no memory"),
        Row({"arm": Cell("chance"), "b": Cell(math.nan), "a mean": Cell(0.0)}, apart=True),
    ),
    (Note("Type:", "mtlbench run --pair det_attr --all-splits"), Note("A " + "long " * 20 + "note.")),
)


GOLDEN = """\
A title

                   Task a                 Task b
                        %
arm          n       mean    b                 c
------------------------------------------------
one +        3  0.3 ± 0.1 *  2†  1.50 M (0.50 x)
  published  -       12.0    -                 -
two          0   failed: no memory
------------------------------------------------
chance       -        0.0    -                 -

Type:
    mtlbench run --pair det_attr --all-splits
A long long long long long long long long long long long
  long long long long long long long long long note.
"""


def test_text_has_marks_out_of_the_alignment_and_words_over_the_last_numbers() -> None:
    assert render(SMALL, width=60) == GOLDEN


def test_narrow_text_has_a_block_a_group_each_with_the_labels_and_says_once_why_a_row_is_empty() -> None:
    lines = render(SMALL, width=30).splitlines()
    heads = [line.split() for line in lines if line.startswith("arm ")]
    assert heads == [["arm", "n", "mean"], ["arm", "n", "b", "c"]]
    assert sum("failed: no memory" in line for line in lines) == 1
    assert sum(line.startswith("chance") for line in lines) == 1  # nothing to say in the second block


def test_csv_has_all_columns_of_the_data_unrounded_and_no_words() -> None:
    first, published, two, chance = csv.DictReader(io.StringIO(render(SMALL, "csv")))
    assert list(first) == ["arm", "a mean", "a n", "b", "c", "failures"]
    assert first == {"arm": "one", "a mean": "0.333333", "a n": "3", "b": "2", "c": "1.5e+06", "failures": ""}
    assert (published["a mean"], two["failures"], chance["b"]) == ("12", "no, memory", "")


def test_markdown_has_full_names_in_place_of_words_over_groups() -> None:
    lines = render(SMALL, "markdown").splitlines()
    assert lines[2:7] == [
        "| arm | n | a mean | b | c |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| one + | 3 | **0.3 ± 0.1** | 2† | 1.50 M (0.50 x) |",
        "| published | - | 12.0 | - | - |",
        "| two | 0 | failed: no memory | - | - |",
    ]
    assert "- Type: mtlbench run --pair det_attr --all-splits" in lines


def test_latex_has_spans_rules_and_bold() -> None:
    lines = render(SMALL, "latex").splitlines()
    assert lines[lines.index("\\toprule") + 1 : lines.index("\\bottomrule")] == [
        "&  & \\multicolumn{1}{c}{Task a} & \\multicolumn{2}{c}{Task b} \\\\",
        "&  & \\multicolumn{1}{c}{\\%} & \\multicolumn{2}{c}{} \\\\",
        "arm & n & mean & b & c \\\\",
        "\\midrule",
        "one + & 3 & \\textbf{0.3 $\\pm$ 0.1} & 2\\textdagger{} & 1.50 M (0.50 x) \\\\",
        "\\quad published & - & 12.0 & - & - \\\\",
        "two & 0 & \\multicolumn{3}{l}{failed: no memory} \\\\",
        "\\midrule",
        "chance & - & 0.0 & - & - \\\\",
    ]
    assert "\\begin{tabular}{lrrrr}" in lines


class Cells(HTMLParser):
    """Rows of (tag, columns it takes, text); tags are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[tuple[str, int, str]]] = []
        self.tags: set[str] = set()
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append((tag, int(dict(attrs).get("colspan") or 1), ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            tag, span, text = self.rows[-1][-1]
            self.rows[-1][-1] = tag, span, text + data


def test_html_has_as_many_columns_in_every_row_and_is_ascii() -> None:
    text = render(SMALL, "html")
    rows = Cells(text).rows
    assert text.isascii() and {sum(span for _, span, _ in row) for row in rows} == {5}
    assert [[text for *_, text in row] for row in rows[2:5]] == [
        ["arm", "n", "mean", "b", "c"],
        ["one +", "3", "0.3 ± 0.1", "2†", "1.50 M (0.50 x)"],
        ["published", "-", "12.0", "-", "-"],
    ]
    assert rows[5][2] == ("td", 3, "failed: no memory") and "<strong>0.3 &#177; 0.1</strong>" in text


def test_no_text_is_markup_in_any_format() -> None:
    row = Row({EVIL: Cell(EVIL)}, span=EVIL)
    table = Table(
        EVIL, (Column(EVIL),), (Group((Column("x"),), (EVIL,)),), (row, Row({"x": Cell(EVIL)})), (Note(EVIL, EVIL),)
    )
    page = Cells(render(table, "html"))
    assert page.tags <= {"figure", "figcaption", "div", "table", "thead", "tbody", "tr", "td", "th", "p", "code"}
    assert sum(text == EVIL for row in page.rows for *_, text in row) == 5
    for line in render(table, "markdown").splitlines():
        bare = line.replace("\\\\", "")
        assert all(bare[place - 1] == "\\" for place, letter in enumerate(bare) if letter == "<")
        assert "](" not in bare
        assert not line.startswith("|") or bare.replace("\\|", "").count("|") == 3
    assert "<" not in render(table, "latex") and "\\textbackslash{}" in render(table, "latex")


def test_a_table_says_something_where_a_row_has_a_number_or_a_reason() -> None:
    def table(row: Row) -> Table:
        return Table("", (Column("arm"),), (Group((Column("a"), Column("b", shown=False))),), (row,))

    assert not table(Row({"arm": Cell("x"), "a": Cell(math.nan), "b": Cell(1.0)})).says_something
    assert table(Row({"arm": Cell("x")}, span="diverged")).says_something
    assert table(Row({"a": Cell(0.0)})).says_something


def test_seeds_are_one_number_or_one_a_task() -> None:
    assert count_seeds([3, 3]).value == 3 and count_seeds([3, 2]).value == "3/2"


def test_what_a_baseline_is_compared_with_is_itself_and_not_shown() -> None:
    column = Column("change", write=decimals(1))
    assert column.text(Cell(0.0, marks=frozenset({Mark.BASELINE}))) == "-" and column.text(Cell(0.0)) == "0.0"


def test_a_simple_table_takes_values_as_they_are() -> None:
    table = simple_table(("name", Column("count")), [("a", 1), ("bc", None)])
    assert render(table) == "name  count\n-----------\na         1\nbc        -\n"
    assert render(table, "csv") == "name,count\na,1\nbc,\n"


def test_an_unknown_format_names_the_known_ones() -> None:
    with pytest.raises(UserError, match=", ".join(FORMATS)):
        render(SMALL, "markdwn")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.01234, "0.0123"), (1.05, "1.05"), (999.4, "999"), (999.6, "1.00 k"), (12_345.0, "12.3 k"), (-4.567, "-4.57")],
)
def test_numbers_of_an_unknown_unit_have_three_digits_whatever_their_size(value: float, text: str) -> None:
    assert three_digits(Cell(value)) == text
