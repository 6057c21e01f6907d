"""Panels of figures on an Axes of one's own, from plain columns; the look that figures share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import seaborn
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mtlbench import figures
from mtlbench.contracts import FigureData
from mtlbench.figures import _style as style
from mtlbench.plugins import create
from tests.support.synthetic_results import fake_results

NAN = float("nan")
MEANS = {"arm": ["split-fc8", "one-task"], "x": [0.0, 1.0], "mean": [2.0, 0.0], "low": [1.0, NAN], "high": [3.0, NAN]}
CURVE = {"arm": ["one-task"] * 3, "x": [0, 10, 20], "mean": [1.0, 3.0, 4.0]}
LOOK = {"arm": ["one-task"], "colour": ["black"], "dashes": ["-"]}
ALPHAS = {
    "alpha_s": 0.9,
    "alpha_s_low": 0.8,
    "alpha_s_high": 1.0,
    "alpha_d": 0.1,
    "alpha_d_low": 0.0,
    "alpha_d_high": 0.2,
}
SORTED = {"quantity": ["alpha_s"] * 2 + ["alpha_d"] * 2, "rank": [0, 1] * 2, "mean": [0.8, 1.0, 0.0, 0.2]}
BOXES = {"arm": ["a"] * 2, "x": [0.0] * 2, "stage": ["conv1"] * 2, "row": [0] * 2, "task": ["s", "n"], "place": [0, 1]}
COSTS = {**MEANS, "x": [1e6, 2e6], "front": [True, False], "label": ["fc8", "one-task"]}
DRAWN: dict[str, Callable[[Axes], Any]] = {
    "draw_affinity": lambda axes: figures.draw_affinity(
        axes,
        {"task": ["s", "n"], "partner": ["n", "s"], "mean": [1.5, -9.0], "low": [NAN, -9.5], "high": [NAN, -8.5]}
        | {"own": [False, True], "shown": [False, True]},
        ["s", "n"],
        10.0,
        {"s": "27.1 %"},
    ),
    "draw_groupings": lambda axes: figures.draw_groupings(
        axes,
        {"label": ["s + n", "s | n"], "mean": [2.0, 0.0], "low": [1.0, NAN], "high": [3.0, NAN]}
        | {"suggested": [True, False], "differs": [True, False]},
        {"grouping": [0], "at": ["conv2"], "change": [2.5], "marker": ["H"]},
        {"conv2": "C0"},
    ),
    "draw_changes": lambda axes: figures.draw_changes(
        axes,
        {"arm": ["split-fc8"] * 2, "seed": [0, 1], "x": [0.0, 0.0], "change": [1.5, 2.5]},
        {**MEANS, "n": [2, 2]},
        "C0",
    ),
    "draw_architectures": lambda axes: figures.draw_architectures(
        axes, {**BOXES, "slot": [0, 1], "group": ["s", "n"], "unit": [True] * 2, "copies": [1, 1]}, ["s", "n"]
    ),
    "draw_exchange": lambda axes: figures.draw_exchange(
        axes, {"receiver": ["a", "a", "b"], "giver": ["a", "b", "a"], "mean": [0.9, 0.1, -0.2]}, ["a", "b"], 0.2
    ),
    "draw_category_gains": lambda axes: figures.draw_category_gains(
        axes,
        {"category": ["a", "b"], "x": [0, 1], "count": [3, 90], **{k: MEANS[k] for k in ("mean", "low", "high")}},
        "C0",
    ),
    "mark_least_labelled": lambda axes: figures.mark_least_labelled(axes, [10, 20], 0.1),
    "draw_group_gains": lambda axes: figures.draw_group_gains(
        axes,
        {"group": ["few", "many"], "mean": [2.0, 0.0], "low": [1.0, NAN], "high": [3.0, NAN]},
        {"group": ["few"] * 2, "seed": [0, 1], "gain": [1.5, 2.5]},
        "C0",
        {"group": ["few"], "value": [4.6]},
    ),
    "draw_sorted_alphas": lambda axes: figures.draw_sorted_alphas(
        axes, {**SORTED, "low": SORTED["mean"], "high": SORTED["mean"]}, {**ALPHAS, "units": 2}, "C0"
    ),
    "draw_layer_alphas": lambda axes: figures.draw_layer_alphas(
        axes, {"stage": ["pool1"], **{name: [value] for name, value in ALPHAS.items()}}, ["pool1", "fc7"], "C0"
    ),
    "draw_alpha_training": lambda axes: figures.draw_alpha_training(
        axes,
        {
            "stage": ["pool1"] * 2,
            "quantity": ["alpha_s"] * 2,
            "iteration": [0, 10],
            **{name: [0.9, 1.0] for name in ("mean", "low", "high")},
            "start": [0.9] * 2,
        },
        {"pool1": "C0"},
    ),
    "draw_curves": lambda axes: figures.draw_curves(
        axes, LOOK, CURVE, {"arm": ["one-task"] * 4, "seed": [0, 0, 1, 1], "x": [0, 20] * 2, "value": [1, 3, 1, 5]}
    ),
    "label_curves": lambda axes: figures.label_curves(axes, LOOK, CURVE, {"one-task": "4"}),
    "draw_trade_off": lambda axes: figures.draw_trade_off(
        axes,
        {"arm": ["split-fc8"] * 2, "x": [-1.0, 2.0], "y": [1.0, -2.0], "front": [True, True]},
        {"arm": ["split-fc8"] * 2, "seed": [0, 1], "x": [-1.5, 2.5], "y": [1.0, -2.0]},
    ),
    "draw_volumes": lambda axes: figures.draw_volumes(
        axes,
        {"arm": ["split-fc8"], "mean": [2.0], "low": [1.0], "high": [3.0]},
        {"arm": ["split-fc8"] * 2, "seed": [0, 1], "volume": [1.5, 2.5]},
        1.8,
    ),
    "limit_costs": lambda axes: figures.limit_costs(axes, COSTS["x"], COSTS),
    "draw_costs": lambda axes: figures.draw_costs(axes, COSTS, "C0"),
    "label_costs": lambda axes: (figures.limit_costs(axes, COSTS["x"], COSTS), figures.label_costs(axes, COSTS)),
}


def panel(name: str) -> Axes:
    """A panel drawn on the second of two axes of a figure of one's own, outside the theme."""
    canvas = Figure()
    agg = FigureCanvasAgg(canvas)
    other, axes = canvas.subplots(1, 2)
    DRAWN[name](axes)
    agg.draw()
    assert not other.has_data()
    return axes


def dots(axes: Axes) -> list[list[float]]:
    """Places of all markers that are drawn as collections."""
    return [
        list(map(float, place))
        for drawn in axes.collections
        if isinstance(drawn, PathCollection)
        for place in drawn.get_offsets()
    ]


@pytest.mark.parametrize("name", [name for name in figures.__all__ if name != "theme"])
def test_every_panel_is_drawn_from_plain_columns_and_says_what_they_are(name: str) -> None:
    panel(name)
    assert inspect.getdoc(getattr(figures, name))


def test_seeds_stand_beside_their_mean_at_their_change() -> None:
    places = dots(panel("draw_changes"))
    assert [place[1] for place in places] == [1.5, 2.5, 2.0, 0.0]  # seeds, then means
    assert places[0][0] < places[1][0] < 0 and [place[0] for place in places[2:]] == [0.0, 1.0]


def test_who_helps_whom_is_written_in_the_cells_and_what_is_shown_is_framed() -> None:
    axes = panel("draw_affinity")
    texts = {text.get_text(): (text.xy, text.get_fontweight()) for text in axes.texts if text.get_text()}  # type: ignore[attr-defined]
    assert texts == {
        "+1.5": ((1, 0), "normal"),
        "\N{MINUS SIGN}9.0": ((0, 1), "bold"),
        "[\N{MINUS SIGN}9.5, \N{MINUS SIGN}8.5]": ((0, 1), "bold"),
        "27.1 %": ((0, 0), "normal"),
    }
    frames = [box.get_xy() for box in axes.patches if isinstance(box, Rectangle) and box.get_linewidth() > 1]
    assert frames == [pytest.approx((-0.46, 0.54))]


def test_groupings_stand_in_rows_from_the_top_with_networks_below_their_prediction() -> None:
    axes = panel("draw_groupings")
    assert dots(axes) == [[2.0, 0.0], [0.0, 1.0], [2.5, pytest.approx(0.27)]]
    assert axes.get_ylim() == (1.5, -0.5)


def test_groups_have_seeds_mean_interval_published_value_and_numbers() -> None:
    axes = panel("draw_group_gains")
    assert sorted(place[0] for place in dots(axes)) == [0.0, 1.5, 2.0, 2.5, 4.6]
    assert [1.0, 3.0] in [list(line.get_xdata()) for line in axes.lines]
    assert [text.get_text() for text in axes.texts] == ["+2.0 [+1.0, +3.0]", "+0.0"]


def test_costs_are_drawn_where_they_are_and_named() -> None:
    assert dots(panel("draw_costs")) == [[1e6, 2.0], [2e6, 0.0]]
    assert [text.get_text() for text in panel("label_costs").texts] == ["fc8", "one-task"]


def test_curves_have_a_line_a_seed_and_one_for_the_mean() -> None:
    axes = panel("draw_curves")
    (seeds,) = axes.collections
    assert isinstance(seeds, LineCollection)
    heights = [segment[:, 1].tolist() for segment in seeds.get_segments()]
    heights += [list(line.get_ydata()) for line in axes.lines]
    assert heights == [[1, 3], [1, 5], [1.0, 3.0, 4.0]]
    assert [text.get_text() for text in panel("label_curves").texts] == ["one-task (4)"]


def test_tasks_have_the_colour_blind_palette_and_the_theme_ends_where_it_ends() -> None:
    palette = seaborn.color_palette("colorblind").as_hex()
    colours = [style.task_colour(place) for place in range(4)]
    assert set(colours) <= set(palette) and len(set(colours)) == 4
    with figures.theme():
        inside = Figure().add_subplot()
    outside = Figure().add_subplot()
    assert not inside.spines["top"].get_visible() and outside.spines["top"].get_visible()
    assert to_hex(inside.spines["left"].get_edgecolor()).upper() == style.INK


@pytest.mark.parametrize("name", ["figure2", "cost"])
def test_what_a_figure_shows_cannot_be_changed_and_has_a_caption(name: str) -> None:
    data: FigureData = create("figure", name).data(fake_results())
    assert isinstance(data.caption, str) and len(data.caption) > 80
    with pytest.raises(AttributeError):
        data.caption = ""
