"""Curves: where arms begin, what is averaged, what is said; every sensible set of results can be drawn."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from mtlbench.analysis.selection import Selection
from mtlbench.errors import UserError
from mtlbench.figures._looks import OWN_COLOURS, choose_looks
from mtlbench.figures.curves import Curves, _far_off, begins_of
from mtlbench.store.frames import NAMING
from tests.support.arms import arms_of
from tests.support.synthetic_results import ARMS, TASKS, FakeResults, results_frame

pytestmark = pytest.mark.slow

CHILDREN = ("cross-stitch", "one-task-longer")
ABLATIONS = (
    "one-task",
    *(f"cross-stitch-alpha-{own}-{1 - own:.1f}" for own in (0.1, 0.5, 0.7, 0.9)),
    *(f"cross-stitch-rate-{10**k}" for k in range(5)),
    "cross-stitch-from-one-task",
    "cross-stitch-from-scratch",
    "cross-stitch-after-convolutions",
    "cross-stitch-per-layer",
    "cross-stitch-per-channel",
    "mtl-shared-1-16",
    "mtl-shared-1-4",
    "mtl-shared-1-1",
)
LENGTHS = {"normals": 800, "semseg": 1200}  # of one-task; children go on for 400


@dataclass
class WithCurves(FakeResults):
    curves: pd.DataFrame = field(default_factory=pd.DataFrame)

    def provenance_of(self, frame: pd.DataFrame) -> list[dict[str, Any]]:
        found = []
        for key in frame["key"].unique():
            arm, tasks, seed = key.split("/")
            parents = [f"one-task/{task}/{seed}" for task in tasks.split("+")] if arm in CHILDREN else []
            found.append({"key": key, "arm": arm, "parents": parents, "recipe": {"curve_images": 16}})
        return found


def make(pair: str = "semseg_sn", arms: Sequence[str] = ARMS, seeds: Sequence[int] = (0, 1, 2)) -> WithCurves:
    """Curves of 4 points a trial: val = the test headline * fraction of the points, loss = 2 / point."""
    frame = results_frame(pair, arms=arms, seeds=seeds)
    chosen = frame[(frame["subset"] == "test") & frame["headline"] & (frame["arm"] != "ensemble")]
    found = []
    for _, row in chosen.iterrows():
        longest = max(LENGTHS.values()) if "+" in row["key"] else LENGTHS.get(row["task"], 1200)
        last = 400 if row["arm"] in CHILDREN else longest
        head = [row[name] for name in NAMING]
        found += [(*head, last * k // 4, row["task"], 2 / k, row["value"] * k / 4) for k in range(1, 5)]
    columns = [*NAMING, "iteration", "task", "train_loss", "val_headline"]
    return WithCurves(frame, {}, curves=pd.DataFrame(found, columns=columns))


def test_children_begin_where_their_longest_parent_ends() -> None:
    points = Curves().data(make()).points.groupby(["arm", "task"])["x"].agg(["min", "max"])
    assert points.loc["one-task"].to_numpy().tolist() == [[200, 800], [300, 1200]]
    assert points.loc["one-task-longer"].to_numpy().tolist() == [[900, 1200], [1300, 1600]]  # its own task's parent
    assert points.loc["cross-stitch"].to_numpy().tolist() == [[1300, 1600], [1300, 1600]]  # the longer of two
    assert points.loc["split-conv4"].to_numpy().tolist() == [[300, 1200], [300, 1200]]


def test_grandparents_count_and_lost_parents_are_named() -> None:
    provenance = [
        {"key": key, "parents": parents}
        for key, parents in (("a", []), ("b", ["a"]), ("c", ["b", "a"]), ("d", ["gone"]))
    ]
    assert begins_of(provenance, {"a": 10, "b": 5, "c": 1, "d": 1}) == ({"a": 0, "b": 10, "c": 15, "d": 0}, {"d"})
    results = make()
    results.curves = results.curves[results.curves["arm"] != "one-task"]
    text = Curves().data(results).caption
    assert "Parents of one-task-longer, cross-stitch are not in the results: drawn from 0." in text


def test_means_and_range_over_seeds() -> None:
    results = make(arms=("one-task", "cross-stitch"), seeds=(0, 1))
    data = Curves().data(results)
    own = results.curves.query("arm == 'cross-stitch' and task == 'semseg' and iteration == 200")["val_headline"]
    found = data.means.query("arm == 'cross-stitch' and task == 'semseg' and x == 1400").set_index("quantity")
    shown = found.loc["val_headline", ["mean", "low", "high", "n"]].tolist()
    assert shown == pytest.approx([own.mean(), own.min(), own.max(), 2])
    loss = data.means.query("arm == 'one-task' and task == 'semseg' and quantity == 'train_loss'")
    assert loss["mean"].tolist() == pytest.approx([2.0, 1.0, 2 / 3, 0.5])


def test_only_the_chosen_trials_are_drawn() -> None:
    results, other = make(arms=("one-task",)), make("det_attr", arms=("one-task",))
    results.frame = pd.concat([results.frame, other.frame], ignore_index=True)
    results.curves = pd.concat([results.curves, other.curves], ignore_index=True)
    assert set(Curves().data(results, selection=Selection("det_attr")).points["task"]) == {"detection", "attributes"}
    assert "ensemble-member" not in set(Curves().data(make()).points["arm"])


def test_tasks_say_metric_direction_and_chance() -> None:
    tasks = Curves().data(make()).tasks.set_index("task")
    assert tasks.loc["normals", ["metric", "unit", "chance"]].tolist() == ["mean", "degrees", 48.0]
    assert not tasks.loc["normals", "higher_is_better"] and tasks.loc["semseg", "higher_is_better"]


def test_splits_are_one_ramp_and_every_arm_has_its_own_look() -> None:
    table = choose_looks(ARMS, arms_of(ARMS)).set_index("arm")
    splits = [sum(to_rgb(colour)) for arm, colour in table["colour"].items() if str(arm).startswith("split-")]
    assert splits == sorted(splits, reverse=True) and len(set(splits)) == 7  # to dark = fully shared
    for arms in (ARMS, ABLATIONS):
        own = choose_looks(arms, arms_of(arms))
        assert not own.duplicated(["colour", "dashes"]).any()
    assert table.loc["one-task-longer", "dashes"] == "--" and table.loc["one-task", "dashes"] == "-"


def test_trees_are_a_ramp_of_their_own() -> None:
    trees = ("tree-conv2:nor+sem-fc7", "tree-conv3:nor+sem-fc8")
    table = choose_looks((*ARMS, *trees), arms_of((*ARMS, *trees))).set_index("arm")
    shades = [to_rgb(str(table.loc[tree, "colour"])) for tree in trees]
    assert sum(shades[0]) > sum(shades[1]) and all(green == max(shade) for shade in shades for green in shade[1:2])


def test_the_caption_says_what_was_drawn_and_what_is_missing() -> None:
    results = make()
    results.curves = results.curves[(results.curves["arm"] != "split-conv4") | (results.curves["seed"] == 0)]
    results.failures = [{"pair": "semseg_sn", "arm": "tree", "seed": 0, "task": "", "status": "failed", "reason": ""}]
    text = Curves().data(results, paper=True).caption
    for part in (
        "at most the first 16 images of val",
        "mean over 3 seeds (0, 1, 2)",
        "Fewer seeds: split-conv4 (1).",
        "longest parent ends (vertical dashes): one-task-longer, cross-stitch.",
        "no curve: ensemble.",
        "Failed or blocked: tree.",
        "semseg_sn on rooms",
        "The paper publishes no curves.",
    ):
        assert part in text


def test_without_curves_the_error_says_what_to_type() -> None:
    results = make(arms=("one-task",))
    for empty in (results.curves.head(0), results.curves.assign(setting="another")):
        results.curves = empty
        with pytest.raises(UserError, match="type: mtlbench run --pair semseg_sn") as error:
            Curves().data(results)
        assert "\n" not in str(error.value)


CASES: dict[str, dict[str, Any]] = {
    "all": {},
    "one seed": {"seeds": (0,)},
    "few": {"arms": ("one-task", "cross-stitch")},
    "ablations": {"arms": ABLATIONS},
    "no val": {},
    "diverging": {},
    "three tasks": {"pair": "trio"},
}


@pytest.mark.parametrize("case", CASES)
def test_nothing_overlaps_and_nothing_leaves_the_page(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "trio", ("semseg", "normals", "attributes"))
    results = make(**CASES[case])
    if case == "no val":
        results.curves["val_headline"] = np.nan
    if case == "diverging":
        results.curves.loc[results.curves["arm"] == "cross-stitch", "train_loss"] = 9e3
    data = Curves().data(results)
    canvas = Figure()
    agg = FigureCanvasAgg(canvas)
    Curves().draw(data, canvas)
    agg.draw()
    tasks = 3 if case == "three tasks" else 2
    assert len(canvas.axes) == tasks * (1 if case == "no val" else 2)
    assert ("No val headline was taken." in data.caption) == (case == "no val")
    assert (canvas.axes[1].get_yscale() == "log") == (case == "diverging")
    labelled = {text.get_text() for text in canvas.axes[0].texts}
    assert labelled == set(data.arms["arm"])
    texts = [text for axes in canvas.axes for text in [*axes.texts, axes._left_title, axes.yaxis.label]]  # type: ignore[attr-defined]
    texts += [axes.xaxis.label for axes in canvas.axes] + canvas.texts
    # the words' own extent, without the leader of an annotation
    boxes = [(t.get_text(), Text.get_window_extent(t, agg.get_renderer())) for t in texts if t.get_text()]
    for text, box in boxes:
        assert canvas.bbox.x0 <= box.x0 and box.x1 <= canvas.bbox.x1, text
        assert canvas.bbox.y0 <= box.y0 and box.y1 <= canvas.bbox.y1, text
    for (one, first), (two, second) in itertools.combinations(boxes, 2):
        wide = min(first.x1, second.x1) - max(first.x0, second.x0)
        tall = min(first.y1, second.y1) - max(first.y0, second.y0)
        assert wide <= 1 or tall <= 1.5, f"{one!r} covers {two!r}"


def test_a_collapsed_arm_leaves_the_axes_to_the_others() -> None:
    ends = pd.DataFrame(
        {
            "arm": [f"split-conv{place}" for place in range(2, 9)] + ["cross-stitch-rate-1000"],
            "task": "semseg",
            "x": 10,
            "quantity": "val_headline",
            "mean": [*range(30, 37), 2.0],
            "low": np.nan,
            "high": np.nan,
        }
    )
    far = _far_off(pd.concat([ends.assign(x=5, mean=2.0), ends]))  # the last value counts
    assert far.to_dict("records") == [{"task": "semseg", "arm": "cross-stitch-rate-1000", "value": 2.0}]
    others = _far_off(ends.iloc[:-1])
    assert others.empty and others.columns.tolist() == ["task", "arm", "value"]


def test_a_wider_split_is_no_part_of_the_ramp_and_many_arms_stay_apart() -> None:
    names = ["split-conv4", "split-fc8-wide", *(f"own{letter}" for letter in "abcdefghij")]
    table = choose_looks(names, arms_of(names)).set_index("arm")
    assert not table.duplicated().any()
    assert table.loc["split-fc8-wide", "colour"] in OWN_COLOURS
