"""Cells of a matrix: their colours, and words in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mtlbench.figures import _style as style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = "RdBu"  # red loses, blue gains; told apart by the colour-blind
DARK = 0.62  # of the reach: words on more than that are white


def choose_ink(value: float, reach: float) -> str:
    """What words on the colour of a value are written in, where colours end at -+ `reach`."""
    return "white" if abs(value) > DARK * reach else style.INK


def write_in_cell(
    axes: Axes, place: tuple[int, int], text: str, size: float, ink: str, weight: str = "normal", up: float = 0
) -> None:
    """Words in the middle of a cell, or so many points above it."""
    axes.annotate(
        text,
        place,
        (0, up),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=size,
        color=ink,
        fontweight=weight,
    )
