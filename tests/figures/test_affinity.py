"""The figure of affinity: what its frames say, and that every sensible set of results can be drawn without overlaps."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from mtlbench.figures.affinity import Affinity
from tests.support.drawings import draw
from tests.support.twos import FIVE, THREE, twos

DET, ATT, SEM = THREE
drawn = partial(draw, Affinity())
EFFECTS = {(DET, ATT): 14.0, (ATT, DET): 11.0, (SEM, ATT): -12.0}
NETWORKS = {"split-fc8": 2.0, "split-fc6": 1.0, "tree-conv2:det+att-fc8": 5.0, "tree-fc6:det+att-fc8": 4.0}


def test_marks_say_what_excludes_zero_alone_and_with_all_effects_allowed_for() -> None:
    data = Affinity().data(twos(EFFECTS, noise=1.0, seeds=range(6), networks=NETWORKS))
    marks = data.effects.set_index(["task", "partner"])[["own", "shown"]]
    assert set(marks.index[marks["shown"]]) == set(EFFECTS)
    assert (marks["own"] | ~marks["shown"]).all()
    chosen = data.groupings[data.groupings["suggested"]]
    assert chosen["grouping"].tolist() == ["detection + attributes | semseg"] and chosen["differs"].all()
    assert data.networks[["name", "at"]].to_numpy().tolist() == [
        ["tree-conv2:det+att-fc8", "conv2"],
        ["tree-fc6:det+att-fc8", "fc6"],
        ["split-fc8", "the arm itself"],
        ["split-fc6", "fc6"],
    ]
    assert data.tasks["task"].tolist() == list(THREE) and data.tasks["mean"].iloc[0] == pytest.approx(42.0, rel=0.05)


def test_the_caption_says_what_was_compared() -> None:
    text = Affinity().data(twos(EFFECTS, noise=1.0, networks=NETWORKS)).caption
    for part in ("3 seeds (0, 1, 2)", "many on rooms, backbone caffenet", "allows for all 6 effects"):
        assert part in text
    assert "rank correlation with the prediction" in text and "Star: best predicted on val" in text
    single = Affinity().data(twos(EFFECTS, seeds=(5,)), paper=True).caption
    assert "No intervals below 3 seeds" in single and "rank correlation" not in single
    assert "The paper has two tasks." in single


def test_of_many_groupings_the_best_are_drawn_with_the_ends() -> None:
    effects = {cell: float(place) for place, cell in enumerate(itertools.permutations(FIVE, 2))}
    data = Affinity().data(twos(effects, tasks=FIVE))
    assert len(data.groupings) == 12
    assert {" + ".join(FIVE), " | ".join(FIVE)} <= set(data.groupings["grouping"])
    assert data.groupings["mean"].is_monotonic_decreasing and data.groupings["suggested"].sum() == 1
    assert data.groupings["label"].str.contains("sem + nor + dep", regex=False).any()


@pytest.mark.parametrize("case", ["usual", "one seed", "five tasks", "eight tasks", "two arms", "lacks one"])
def test_nothing_overlaps_and_nothing_leaves_the_page(case: str) -> None:
    eight = tuple(f"task{letter}" for letter in "abcdefgh")
    options: dict[str, Any] = {
        "one seed": {"seeds": (0,)},
        "five tasks": {"tasks": FIVE},
        "eight tasks": {"tasks": eight, "seeds": (0,)},
    }.get(case, {"networks": NETWORKS})
    results = twos(EFFECTS, noise=4.0, **options)
    if case == "two arms":
        other = twos(EFFECTS, noise=4.0, arm="cross-stitch").frame.query("arm != 'one-task'")
        results.frame = pd.concat([results.frame, other], ignore_index=True)
    if case == "lacks one":
        results.frame = results.frame[results.frame["arm"] != "split-fc8:att+sem"]
    canvas = drawn(Affinity().data(results))
    assert isinstance(canvas.canvas, FigureCanvasAgg)
    renderer = canvas.canvas.get_renderer()
    texts = [text for axes in canvas.axes for text in [*axes.texts, *axes.get_yticklabels()]]
    for axes in canvas.axes:
        low, high = axes.get_xlim()  # ticks outside are not drawn
        texts += [text for text in axes.get_xticklabels() if low <= text.get_position()[0] <= high]
    texts += [label for axes in canvas.axes for label in (axes.xaxis.label, axes.yaxis.label)]
    texts += [*canvas.texts, *(canvas.legends[0].get_texts() if canvas.legends else [])]
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts if text.get_text()]
    for text, box in boxes:
        assert canvas.bbox.x0 <= box.x0 and box.x1 <= canvas.bbox.x1, text
        assert canvas.bbox.y0 <= box.y0 and box.y1 <= canvas.bbox.y1, text
    for (one, first), (two, second) in itertools.combinations(boxes, 2):
        wide = min(first.x1, second.x1) - max(first.x0, second.x0)
        tall = min(first.y1, second.y1) - max(first.y0, second.y0)
        assert wide <= 1 or tall <= 1, f"{one!r} covers {two!r}"
