"""Figures, one a file, and their panels: functions that draw plain tables on an Axes of one's own figure.

Every panel takes frames, or dicts of columns, that its docstring names. Draw inside `theme()`, on axes made there, for
the look of the figures; elsewhere they have the look of one's own.

>>> import matplotlib.pyplot as plt
>>> from mtlbench.figures import draw_costs, limit_costs
>>> points = {"arm": ["split-fc8", "one-task"], "x": [1e6, 2e6], "mean": [1.5, 0.0], "low": [0.5, 0.0],
...           "high": [2.5, 0.0], "front": [True, False]}
>>> axes = plt.figure().add_subplot()
>>> limit_costs(axes, points["x"], points)
>>> draw_costs(axes, points, "tab:blue")
"""

from mtlbench.figures._affinities import draw_affinity, draw_groupings
from mtlbench.figures._alpha_panels import draw_alpha_training, draw_layer_alphas, draw_sorted_alphas
from mtlbench.figures._changes import draw_changes
from mtlbench.figures._costs import draw_costs, label_costs, limit_costs
from mtlbench.figures._curves import draw_curves, label_curves
from mtlbench.figures._exchanges import draw_exchange
from mtlbench.figures._gains import draw_category_gains, draw_group_gains, mark_least_labelled
from mtlbench.figures._schematic import draw_architectures
from mtlbench.figures._style import theme
from mtlbench.figures._trade_offs import draw_trade_off, draw_volumes

__all__ = [
    "draw_affinity",
    "draw_alpha_training",
    "draw_architectures",
    "draw_category_gains",
    "draw_changes",
    "draw_costs",
    "draw_curves",
    "draw_exchange",
    "draw_group_gains",
    "draw_groupings",
    "draw_layer_alphas",
    "draw_sorted_alphas",
    "draw_trade_off",
    "draw_volumes",
    "label_costs",
    "label_curves",
    "limit_costs",
    "mark_least_labelled",
    "theme",
]
