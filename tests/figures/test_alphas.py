"""Alphas: sorted means, numbers and claims worked by hand; every sensible set of results can be drawn."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import stats

from mtlbench.analysis.alphas import claims_of
from mtlbench.errors import UserError
from mtlbench.figures import _panels as panels
from mtlbench.figures.alphas import Alphas
from mtlbench.store.frames import NAMING
from tests.support.synthetic_results import TASKS, FakeResults, architecture, results_frame

pytestmark = pytest.mark.slow

WIDTHS = {"pool1": 5, "pool5": 7, "fc7": 40}
Matrix = Mapping[tuple[str, str], Sequence[float]]


@dataclass
class WithAlphas(FakeResults):
    alphas: pd.DataFrame = field(default_factory=pd.DataFrame)


def rows(frame: pd.DataFrame, arm: str, seed: int, stage: str, end: Matrix, own: float, last: int = 400) -> list[Any]:
    """A trial's rows of one layer: {(receiver, giver): values of the units at the end}, from the start `own`."""
    trial = frame[(frame["arm"] == arm) & (frame["seed"] == seed)].iloc[0]
    head = [trial[name] for name in NAMING]
    found = []
    for (receiver, giver), values in end.items():
        givers = len({pair[1] for pair in end})
        start = own if receiver == giver else (1 - own) / (givers - 1)
        for i in (0, last // 2, last):
            found.append((*head, i, stage, receiver, giver, -1, start + (np.mean(values) - start) * i / last))
        found += [(*head, last, stage, receiver, giver, channel, value) for channel, value in enumerate(values)]
    return found


def make(frame: pd.DataFrame, found: list[Any]) -> WithAlphas:
    columns = [*NAMING, "iteration", "stage", "receiver", "giver", "channel", "alpha"]
    return WithAlphas(frame, {}, alphas=pd.DataFrame(found, columns=columns))


def random_results(
    starts: Mapping[str, float],
    pair: str = "semseg_sn",
    seeds: Sequence[int] = (0, 1, 2),
    widths: Mapping[str, int] = WIDTHS,
) -> WithAlphas:
    frame = results_frame(pair, arms=("one-task", *starts), seeds=seeds)
    found = []
    for (arm, own), seed, (stage, width) in itertools.product(starts.items(), seeds, widths.items()):
        rng = np.random.default_rng([seed, *map(ord, arm + stage)])
        others = (1 - own) / (len(TASKS[pair]) - 1)
        end = {
            (receiver, giver): rng.normal(own if receiver == giver else others, 0.05, width)
            for receiver, giver in itertools.product(TASKS[pair], repeat=2)
        }
        found += rows(frame, arm, seed, stage, end, own)
    return make(frame, found)


def level(own: tuple[float, float], other: tuple[float, float]) -> Matrix:
    """One unit: alpha_s and alpha_d of normals, then of semseg."""
    return {
        ("normals", "normals"): [own[0]],
        ("normals", "semseg"): [other[0]],
        ("semseg", "semseg"): [own[1]],
        ("semseg", "normals"): [other[1]],
    }


def three_seeds() -> WithAlphas:
    """alpha_s - alpha_d of normals: pool1 .5, pool5 .6 .7 .8, fc7 .3; of semseg always .8."""
    frame = results_frame("semseg_sn", arms=("one-task", "cross-stitch"))
    found = []
    for seed, own in enumerate((0.7, 0.8, 0.9)):
        found += rows(frame, "cross-stitch", seed, "pool1", level((0.7, 0.9), (0.2, 0.1)), 0.9)
        found += rows(frame, "cross-stitch", seed, "pool5", level((own, 0.9), (0.1, 0.1)), 0.9)
        found += rows(frame, "cross-stitch", seed, "fc7", level((0.6, 0.9), (0.3, 0.1)), 0.9)
    return make(frame, found)


def test_values_are_sorted_per_seed_and_averaged_by_rank() -> None:
    frame = results_frame("semseg_sn", arms=("one-task", "cross-stitch"), seeds=(0, 1))
    found = []
    for seed, own, other in ((0, [3.0, 1.0, 2.0], [0.1, 0.3, 0.2]), (1, [5.0, 6.0, 1.0], [0.5, 0.4, 0.6])):
        end = {
            ("normals", "normals"): own,
            ("normals", "semseg"): other,
            ("semseg", "semseg"): [1.0] * 3,
            ("semseg", "normals"): [0.0] * 3,
        }
        found += rows(frame, "cross-stitch", seed, "pool5", end, 0.9)
    table = Alphas().data(make(frame, found)).sorted.query("task == 'normals'")
    own_line = table[table["quantity"] == "alpha_s"]
    assert own_line["rank"].tolist() == [0, 1, 2]
    assert own_line["mean"].tolist() == [1.0, 3.5, 4.5]  # 1 2 3 and 1 5 6
    assert own_line["low"].tolist() == [1.0, 2.0, 3.0] and own_line["high"].tolist() == [1.0, 5.0, 6.0]
    assert table.loc[table["quantity"] == "alpha_d", "mean"].tolist() == pytest.approx([0.25, 0.35, 0.45])


def test_numbers_have_t_intervals_over_seeds() -> None:
    numbers = Alphas().data(three_seeds()).numbers.set_index(["stage", "task"])
    row = numbers.loc["pool5", "normals"]
    interval = stats.t.interval(0.95, 2, loc=0.8, scale=0.1 / np.sqrt(3))
    assert (row["alpha_s_low"], row["alpha_s_high"]) == pytest.approx(interval)
    assert (row["alpha_d"], row["difference"], row["n"], row["units"]) == pytest.approx((0.1, 0.7, 3, 1))
    assert row["difference_high"] - row["difference"] == pytest.approx(interval[1] - 0.8)


def test_the_papers_claims_are_contrasts_paired_by_seed() -> None:
    claims = Alphas().data(three_seeds()).claims.set_index(["claim", "task"])
    pool5 = claims.loc["pool5 is more task-specific than the other layers"]
    low, high = stats.t.interval(0.95, 2, loc=0.3, scale=0.1 / np.sqrt(3))  # .6 .7 .8 minus the mean of .5 and .3
    assert pool5.loc["normals", ["difference", "low", "high"]].tolist() == pytest.approx([0.3, low, high])
    assert low > 0 and pool5.loc["normals", "holds"] == "open"  # alone it would hold, allowed for all rows it does not
    assert pool5.loc["semseg", "difference"] == pytest.approx(0) and pool5.loc["semseg", "holds"] == "open"
    shares = claims.loc["normals shares more than the other tasks", "normals"]
    per_seed = [(0.5 + own - 0.1 + 0.3) / 3 - 0.8 for own in (0.7, 0.8, 0.9)]
    assert shares["difference"] == pytest.approx(np.mean(per_seed)) and shares["holds"] == "open"
    assert shares["low"] == pytest.approx(stats.t.interval(0.95, 2, np.mean(per_seed), stats.sem(per_seed))[0])


@pytest.mark.parametrize(("pool5", "holds"), [(0.9, "yes"), (0.5, "open"), (0.1, "no")])
def test_a_claim_holds_where_the_interval_that_allows_for_all_rows_is_on_its_side(pool5: float, holds: str) -> None:
    noise = np.random.default_rng(0).normal(0, 0.002, (5, 2, 3))
    cells = [
        ("cross-stitch", seed, stage, task, (pool5 if stage == "pool5" else 0.5) + noise[seed, row, column])
        for seed in range(5)
        for row, task in enumerate(("normals", "semseg"))
        for column, stage in enumerate(("pool1", "pool5", "fc7"))
    ]
    differences = pd.DataFrame(cells, columns=["arm", "seed", "stage", "task", "difference"])
    claims = claims_of(differences).set_index(["claim", "task"])
    assert claims.loc[("pool5 is more task-specific than the other layers", "normals"), "holds"] == holds


def test_the_caption_names_the_most_and_the_least_task_specific_layer() -> None:
    text = Alphas().data(three_seeds()).caption
    assert "normals most at pool5 +0.70 [+0.45, +0.95], least at fc7 +0.30 [+0.30, +0.30]" in text
    assert "normals +0.30 [+0.05, +0.55] (open)" in text and "3 seeds (0, 1, 2)" in text
    other = random_results({"cross-stitch": 0.9}, "det_attr")
    assert "(made of SemSeg + SN)" in Alphas().data(other).caption


def test_starts_come_cross_stitch_first_and_the_same_trials_once() -> None:
    results = random_results(
        {
            "cross-stitch-alpha-0.5-0.5": 0.5,
            "cross-stitch-alpha-0.1-0.9": 0.1,
            "cross-stitch": 0.9,
            "cross-stitch-rate-1": 0.9,
        }
    )
    for name in ("frame", "alphas"):  # the same trials by another name
        table = getattr(results, name)
        again = table[table["arm"] == "cross-stitch"].assign(arm="cross-stitch-alpha-0.9-0.1")
        setattr(results, name, pd.concat([table, again], ignore_index=True))
    data = Alphas().data(results)
    names = ["cross-stitch", "cross-stitch-alpha-0.5-0.5", "cross-stitch-alpha-0.1-0.9"]
    assert data.starts["arm"].tolist() == names
    assert data.starts["own"].tolist() == pytest.approx([0.9, 0.5, 0.1])
    assert data.starts["other"].tolist() == pytest.approx([0.1, 0.5, 0.9])
    assert set(data.training["start"].round(6)) == {0.9, 0.5, 0.1}


def test_arms_with_alphas_are_shown_where_cross_stitch_is_missing() -> None:
    data = Alphas().data(random_results({"cross-stitch-rate-1": 0.9, "my-own": 0.6}))
    assert set(data.starts["arm"]) == {"cross-stitch-rate-1", "my-own"}


def test_without_alphas_the_error_says_what_to_type() -> None:
    for alphas in (make(results_frame(), []), random_results({"cross-stitch": 0.9}, "semseg_sn")):
        with pytest.raises(UserError, match=r"type: mtlbench run --pair \w+ --arm cross-stitch$") as error:
            Alphas().data(WithAlphas(results_frame(), {}, alphas=alphas.alphas))  # of another pair: not its own
        assert "\n" not in str(error.value)


def test_three_tasks_give_the_mean_over_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    trio = ("semseg", "normals", "attributes")
    monkeypatch.setitem(TASKS, "trio", trio)
    frame = results_frame("trio", arms=("one-task", "cross-stitch"), seeds=(0,))
    values = {("semseg", "normals"): [0.1, 0.5], ("semseg", "attributes"): [0.3, 0.0]}
    end = {cell: values.get(cell, [0.8, 0.9]) for cell in itertools.product(trio, repeat=2)}
    data = Alphas().data(make(frame, rows(frame, "cross-stitch", 0, "pool5", end, 0.8)))
    line = data.sorted.query("task == 'semseg' and quantity == 'alpha_d'")
    assert line["mean"].tolist() == pytest.approx([0.2, 0.25])  # per unit first, then sorted
    assert "mean over the others" in data.caption
    assert data.starts["other"].item() == pytest.approx(0.1)


@pytest.mark.parametrize(("seeds", "said"), [((4,), "1 seed (4)"), ((4, 5), "mean and range over 2 seeds (4, 5)")])
def test_below_three_seeds_there_are_no_intervals(seeds: tuple[int, ...], said: str) -> None:
    data = Alphas().data(random_results({"cross-stitch": 0.9}, seeds=seeds))
    assert data.numbers[["alpha_s_low", "alpha_d_high", "difference_low"]].isna().all(axis=None)
    assert set(data.claims["holds"]) == {"open"}
    text = data.caption
    assert said in text and "No intervals below 3 seeds" in text and "95 %" not in text


def test_labels_are_kept_apart_and_near() -> None:
    placed = panels.apart([0.5, 0.5, 0.1, 0.52], 0.1, (0.0, 1.0))
    assert placed.tolist() == pytest.approx([0.407, 0.507, 0.1, 0.607], abs=1e-3)
    assert panels.apart([0.99, 0.98], 0.1, (0.0, 1.0)).tolist() == pytest.approx([1.0, 0.9])
    assert panels.apart([5.0, 5.0, 5.0], 1.0, (0.0, 1.0)).tolist() == pytest.approx([0.0, 0.5, 1.0])  # no room


STARTS = {"cross-stitch": 0.9, "cross-stitch-alpha-0.5-0.5": 0.5}


@pytest.mark.parametrize("case", ["per channel", "per layer", "one seed", "mixed", "five layers"])
def test_nothing_overlaps_and_nothing_leaves_the_page(case: str) -> None:
    five = {"pool1": 24, "pool2": 64, "pool5": 64, "fc6": 256, "fc7": 256}
    options: dict[str, Any] = {
        "per layer": {"widths": dict.fromkeys(five, 1)},
        "one seed": {"seeds": (0,)},
        "mixed": {"widths": {"a": 1, "b": 9}},
        "five layers": {"widths": five},
    }.get(case, {})
    data = Alphas().data(random_results(STARTS, **options))
    canvas = Figure()
    agg = FigureCanvasAgg(canvas)
    Alphas().draw(data, canvas)
    agg.draw()
    renderer = agg.get_renderer()
    texts = [text for axes in canvas.axes for text in [*axes.texts, axes.title, axes.yaxis.label, axes.xaxis.label]]
    texts += [*canvas.texts, *canvas.legends[0].get_texts()]
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts if text.get_text()]
    for text, box in boxes:
        assert canvas.bbox.x0 <= box.x0 and box.x1 <= canvas.bbox.x1, text
        assert canvas.bbox.y0 <= box.y0 and box.y1 <= canvas.bbox.y1, text
    for (one, first), (two, second) in itertools.combinations(boxes, 2):
        wide = min(first.x1, second.x1) - max(first.x0, second.x0)
        tall = min(first.y1, second.y1) - max(first.y0, second.y0)
        assert wide <= 1 or tall <= 1, f"{one!r} covers {two!r}"
    across = [line.get_ydata()[0] for line in canvas.axes[0].lines if list(line.get_xdata()) == [0, 1]]
    assert sorted(across) == pytest.approx([0.1, 0.9])  # the start


def test_arms_that_are_asked_for_have_their_layers_in_the_networks_order() -> None:
    usual = random_results({"cross-stitch": 0.9, "cross-stitch-alpha-0.5-0.5": 0.5}, widths={"pool1": 3, "fc7": 4})
    placed = random_results({"cross-stitch-after-convolutions": 0.9}, widths={"conv5": 3, "fc7": 4})
    results = WithAlphas(
        pd.concat([usual.frame, placed.frame[placed.frame["arm"] == "cross-stitch-after-convolutions"]]),
        {"one-task": architecture("one-task", ("semseg", "normals"))},
        alphas=pd.concat([usual.alphas, placed.alphas]),
    )
    assert Alphas().data(results).starts["arm"].tolist() == ["cross-stitch", "cross-stitch-alpha-0.5-0.5"]
    asked = Alphas().data(results, arms=["cross-stitch", "*convolutions"])
    assert asked.starts["arm"].tolist() == ["cross-stitch", "cross-stitch-after-convolutions"]
    assert asked.stages == ["pool1", "conv5", "fc7"]
    canvas = Figure()
    Alphas().draw(asked, canvas)
    assert len(canvas.axes) == 2 * 2 * (2 + 1)  # arms x tasks x (own layers + training)
    with pytest.raises(UserError, match="no arm with alphas called 'mtl-shared'"):
        Alphas().data(results, arms=["mtl-shared"])
