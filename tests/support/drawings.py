"""A figure of ours on a canvas."""

from __future__ import annotations

from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def draw(figure: Any, data: Any) -> Figure:
    """What `mtlbench plot` draws of the data."""
    canvas = Figure()
    agg = FigureCanvasAgg(canvas)
    figure.draw(data, canvas)
    agg.draw()
    return canvas
