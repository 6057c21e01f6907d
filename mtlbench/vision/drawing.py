"""Pictures of images with their annotations, as panels of one figure."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mtlbench.contracts import Sample

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas


LETTER = 0.602  # width of a letter of the monospaced font over its size


def make_outline(box: np.ndarray) -> tuple[list[float], list[float]]:
    """The closed path around a box `4`: x and y of its corners."""
    x1, y1, x2, y2 = (float(edge) for edge in box)
    return [x1, x2, x2, x1, x1], [y1, y1, y2, y2, y1]


def show_image(axes: Axes, image: np.ndarray, below: float = 0.0) -> None:
    """Show an image `H W 3` alone, with `below` pixels of blank space under it; a pixel is a unit of the axes."""
    height, width = image.shape[:2]
    axes.imshow(image, extent=(0, width, height, 0))
    axes.set(xlim=(0, width), ylim=(height + below, 0))
    axes.set_axis_off()


def write(axes: Axes, x: float, y: float, text: str, size: float, colour: str) -> None:
    """Write in letters `LETTER` x `size` pixels wide on a base line y, as a shape: it keeps its place at any scale."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path
    from matplotlib.textpath import TextPath

    shape = TextPath((0, 0), text, size=size, prop=FontProperties(family="monospace"))
    axes.add_patch(PathPatch(Path(shape.vertices * [1, -1] + [x, y], shape.codes), color=colour, linewidth=0, zorder=4))


# layout in inches and points
PANEL, GAP, LINE = 3.2, 0.08, 0.17
LETTERS = 13.0  # of the title in an inch
TITLE_SIZE, HEADING_SIZE, LABEL_SIZE = 10, 9, 7
DPI = 150
Drawer = Callable[["Axes", int, Sample], None]  # of one column: axes, number of the image, image


def draw_picture(title: str, columns: Sequence[tuple[str, Drawer]], samples: Sequence[Sample]) -> Canvas:
    """A row an image, a column a drawer under its heading; pictures are equally wide and as tall as the image asks.

    What a drawer puts below the image or beside its picture (a list, a legend) gets room in its row and column.
    """
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(1, 1), dpi=DPI)
    grid = [
        [canvas.add_axes((0, 0, 1, 1), label=f"{row} {place}") for place in range(len(columns))]
        for row in range(len(samples))
    ]
    tall = np.zeros((len(samples), len(columns)))
    outside = np.zeros((*tall.shape, 4))  # left, below, right, above
    for number, (sample, row) in enumerate(zip(samples, grid, strict=True)):
        for place, ((heading, draw), axes) in enumerate(zip(columns, row, strict=True)):
            axes.set_position((0, 0, PANEL, PANEL * sample.image.shape[0] / sample.image.shape[1]))
            draw(axes, number, sample)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
            axes.set_title(heading if number == 0 else "", fontsize=HEADING_SIZE, pad=3)
            axes.set_ylabel(f"test {number}" if place == 0 else "", fontsize=LABEL_SIZE, labelpad=2)
            tall[number, place] = _height(axes, sample)
            axes.set_position((0, 0, PANEL, tall[number, place]))
            outside[number, place] = _outside(axes)
    left, right = outside[..., 0].max(axis=0), outside[..., 2].max(axis=0)
    above, down = outside[..., 3].max(axis=1), (tall + outside[..., 1]).max(axis=1)
    width = float((left + PANEL + right + GAP).sum()) + GAP
    lines = [piece for line in title.splitlines() for piece in textwrap.wrap(line, int(width * LETTERS))]
    head = LINE * len(lines) + 2 * GAP
    height = head + float((above + down + GAP).sum())
    canvas.set_size_inches(width, height)
    y = head + above + np.cumsum(above + down + GAP) - (above + down + GAP)
    x = GAP + left + np.cumsum(left + PANEL + right + GAP) - (left + PANEL + right + GAP)
    for number, row in enumerate(grid):
        for place, axes in enumerate(row):
            own = tall[number, place]
            axes.set_position((x[place] / width, 1 - (y[number] + own) / height, PANEL / width, own / height))
    canvas.text(GAP / width, 1 - GAP / height, "\n".join(lines), va="top", fontsize=TITLE_SIZE)
    return canvas


def _height(axes: Axes, sample: Sample) -> float:
    """Inches for what was drawn at full width: the image's, and at most a panel more for what stands below it."""
    image: float = PANEL * sample.image.shape[0] / sample.image.shape[1]
    if axes.get_aspect() == "auto":
        return image
    (x0, x1), (y0, y1) = axes.get_xlim(), axes.get_ylim()
    return float(min(PANEL * abs((y1 - y0) / (x1 - x0)), image + PANEL))


def _outside(axes: Axes) -> list[float]:
    """Inches that the drawing takes to the left of, below, to the right of and above its axes; at most a panel each."""
    drawn, box = axes.get_tightbbox(), axes.get_window_extent()
    if drawn is None:
        return [0.0] * 4
    pixels = (box.x0 - drawn.x0, box.y0 - drawn.y0, drawn.x1 - box.x1, drawn.y1 - box.y1)
    return [min(max(one / DPI, 0.0), PANEL) for one in pixels]


SHOWN = 6  # of them, at most (ours: more cannot be told apart)
WEAK = 0.2  # of the best score: what is weaker is not shown (ours)


def count_shown(scores: np.ndarray) -> int:
    """How many of the best boxes are shown, from their scores `n`, best first: those that are not weak, at most 6."""
    return min(SHOWN, int((scores >= WEAK * scores[:1]).sum()))


# Ours: each the furthest in CIELAB from black and all before it, of chroma up to 72 and lightness 30 to 94
PALETTE = (
    "aabbdd bbaa00 cc1144 00ffbb 772299 005500 ffaa88 0088ff ff88cc 664400 99bb88 773355 006666 bbff77 "
    "00eeff 335588 cc6611 11aa44 cc88ff bb0077 887766 ffee99 aa5544 eeddcc 11bb99 00bbff 668800 9977bb "
    "dd99aa 991100 2244aa ffbb55 ff7788 998844 44aabb aaffbb eebbff aaeedd 557744 88aaff"
).split()
