"""Words under an image, as shapes in letters of one width: they keep their place at any scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mtlbench.vision import drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes


COLUMNS = 60  # letters across the list under an image
ACROSS = 32  # the same where it is of the image as a whole
LINE = 1.3  # its line over its letters' size
INK, RIGHT, WRONG = "#1A1A1A", "#00794F", "#C03A00"
CROSS = "\N{MULTIPLICATION SIGN}"  # before what is wrong


class Word(NamedTuple):
    """A word of a list that is set in letters of one width."""

    paragraph: int
    line: int
    column: int
    text: str
    colour: str


def flow(paragraphs: list[list[tuple[str, str]]], indent: int = 3, columns: int = COLUMNS) -> list[Word]:
    """Words and their colours, set line by line with a comma between them; each paragraph starts a line."""
    words, line = [], 0
    for number, paragraph in enumerate(paragraphs):
        column = indent
        for place, (text, colour) in enumerate(paragraph):
            text += "," if place < len(paragraph) - 1 else ""
            if column > indent and column + len(text) > columns:
                line, column = line + 1, indent
            words.append(Word(number, line, column, text, colour))
            column += len(text) + 1
        line += 1
    return words


def draw_under(axes: Axes, image: np.ndarray, words: list[tuple[str, str]]) -> None:
    """Show an image `H W 3` and under it words, each with its colour; longer ones than a line are cut."""
    short = [(text if len(text) < ACROSS else f"{text[: ACROSS - 4]}...", colour) for text, colour in words]
    set_words = flow([short], 0, ACROSS)
    height, width = image.shape[:2]
    letter = width / ACROSS  # in pixels, as all that follows
    size = letter / drawing.LETTER
    line = LINE * size
    drawing.show_image(axes, image, below=(max((w.line for w in set_words), default=-1) + 1.5) * line)
    for word in set_words:
        drawing.write(axes, word.column * letter, height + (word.line + 1) * line, word.text, size, word.colour)
