"""Theme, colours, markers and sizes that figures share: seaborn's ticks style and its colour-blind palette.

Seaborn takes about a second to import, so nothing here imports it before something is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import matplotlib
import pandas as pd

from mtlbench.spec import Family

Table = pd.DataFrame | Mapping[str, Any]  # columns by name
INK = "#1A1A1A"
FAINT = "#8A8A8A"
DOTS = "#5A5A5A"
GRID = "#DDDDDD"
SHARED = "#D9D9D9"  # weights that several tasks share
BAND = "#ECECEC"
EDGE: dict[str, Any] = {"edgecolor": INK, "linewidth": 0.8}  # of markers
TASK_PLACES = (0, 1, 2, 4, 5, 9)  # in the palette: blue, orange, green, purple (dark to light in grey), brown, sky
SMALL = 6.5  # points
NORMAL = 7.5
LARGE = 8.5
MARKERS: dict[str, str] = {  # by family
    Family.SPLIT: "o",
    Family.TREE: "H",
    Family.BASELINE: "s",
    Family.LONGER: "P",
    Family.ENSEMBLE: "^",
    Family.SHARED: "v",
    Family.CROSS_STITCH: "X",
    Family.WIDE: ">",
}
OTHER_MARKERS = {  # by scheme
    "nddr": "h",
    "sluice": "p",
    "mtan": "8",
    "soft_sharing": "d",
    "branching": "<",
    "mmoe": "$M$",
    "ple": "$P$",
    "dselect_k": "$K$",
    "adapters": "$A$",
    "distillation": "$D$",
    "task_arithmetic": "$+$",
    "ties": "$T$",
}
CUSTOM_MARKER = "D"


@contextmanager
def theme() -> Iterator[None]:
    """The look of the axes that are made inside: seaborn's ticks style in our ink and sizes, with a thin grid."""
    import seaborn

    ink = ("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color")
    look = {
        **dict.fromkeys(ink, INK),
        "grid.color": GRID,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "patch.force_edgecolor": False,
    }
    sizes = {
        "axes.linewidth": 0.8,
        "grid.linewidth": 0.4,
        "axes.labelsize": NORMAL,
        "axes.titlesize": LARGE,
        "legend.fontsize": SMALL,
        **{f"{axis}tick.major.width": 0.8 for axis in "xy"},
        **{f"{axis}tick.labelsize": NORMAL for axis in "xy"},
    }
    fonts = {
        "font.family": matplotlib.rcParams["font.family"],
        "font.sans-serif": matplotlib.rcParams["font.sans-serif"],
    }
    style = {**seaborn.axes_style("ticks", look), **seaborn.plotting_context("paper", rc=sizes), **fonts}
    with matplotlib.rc_context(style):
        yield


@cache
def _palette() -> tuple[str, ...]:
    import seaborn

    return tuple(seaborn.color_palette("colorblind").as_hex())


def task_colour(place: int) -> str:
    """The colour of the task at a place of its pair."""
    return _palette()[TASK_PLACES[place % len(TASK_PLACES)]]


def arm_colour(place: int) -> str:
    """The colour of the arm at a place of those shown, in figures where tasks have none; ten, then again."""
    return _palette()[place % len(_palette())]


def choose_marker(family: str, scheme: str = "") -> str:
    """The marker of the means of a family of arms (`spec.Family`), in the family of others by their scheme."""
    if family == Family.OTHER:
        return OTHER_MARKERS.get(scheme, CUSTOM_MARKER)
    return MARKERS.get(family, CUSTOM_MARKER)
