"""Tables on the terminal: long texts are folded, names are whole, nothing is taken for rich's marks."""

from __future__ import annotations

import io

from rich.console import Console

from mtlbench.cli.terminal import print_table
from mtlbench.report.table import Column, simple_table


def print_wide(width: int, *rows: tuple[str, int, str]) -> list[str]:
    console = Console(width=width, file=io.StringIO())
    print_table(simple_table(("name", Column("count"), "words"), rows, "A title"), console)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_numbers_end_at_one_place_and_long_texts_are_folded_but_of_the_first_column() -> None:
    assert print_wide(30, ("a-name-of-length", 7, "one two three"), ("b", 12, "")) == [
        "A title",
        "name              count  words",
        "a-name-of-length      7  one",
        "                         two",
        "                         three",
        "b                    12",
    ]


def test_brackets_are_text_and_nothing_steers_the_terminal() -> None:
    assert print_wide(80, ("[bold]x[/bold]", 1, "\x1b[31m")) == [
        "A title",
        "name            count  words",
        "[bold]x[/bold]      1  ?[31m",
    ]
