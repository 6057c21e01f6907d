"""Conflicts: what is averaged, whose, what is said; every sensible set of results can be drawn."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mtlbench.errors import UserError
from mtlbench.figures.conflicts import Conflicts
from mtlbench.store.frames import NAMING
from tests.support.synthetic_results import FakeResults, results_frame

JOINT = ("split-conv2", "split-fc8", "mtl-shared")
TASKS = ("a", "b", "c", "d", "e")


@dataclass
class WithConflicts(FakeResults):
    conflicts: pd.DataFrame = field(default_factory=pd.DataFrame)


def make(seeds: Sequence[int] = (0, 1), tasks: Sequence[str] = ("detection", "attributes")) -> WithConflicts:
    """Cosines of seed - 0.5, norms of 2 to the power 2 * seed against 1, at two points of joint arms."""
    frame = results_frame("det_attr", arms=("one-task", *JOINT), seeds=seeds)
    frame = pd.concat([frame[frame["task"] == "detection"].assign(task=task) for task in tasks], ignore_index=True)
    heads = frame[frame["arm"].isin(JOINT)].drop_duplicates("key")
    found = [
        (*(row[name] for name in NAMING), step, one, other, row["seed"] - 0.5, 4.0 ** row["seed"], 1.0)
        for _, row in heads.iterrows()
        for step in (10, 20)
        for one, other in itertools.combinations(tasks, 2)
    ]
    columns = [*NAMING, "iteration", "task", "other", "cosine", "norm", "other_norm"]
    return WithConflicts(frame, {}, conflicts=pd.DataFrame(found, columns=columns))


def test_cosines_have_plain_and_ratios_geometric_means() -> None:
    data = Conflicts().data(make())
    means = data.means.set_index(["arm", "quantity", "x"])["mean"]
    for arm in JOINT:
        assert means[arm, "cosine", 20] == pytest.approx(0.0)
        assert means[arm, "ratio", 10] == pytest.approx(2.0)  # of 1 and 4
    assert set(data.arms["arm"]) == set(JOINT)
    assert "Nothing is shared, or nothing was noted: one-task." in data.caption
    assert "mean over 2 seeds (0, 1)" in data.caption
    assert set(Conflicts().data(make(), arms=["split-fc8"]).arms["arm"]) == {"split-fc8"}


def test_results_without_any_are_refused_in_a_line() -> None:
    results = make()
    results.conflicts = results.conflicts.iloc[:0]
    with pytest.raises(UserError, match="conflicts needs arms whose tasks share parameters"):
        Conflicts().data(results)


@pytest.mark.parametrize(("seeds", "count"), [((0,), 2), ((0, 1, 2), 3), ((0, 1), 5)])
def test_any_number_of_tasks_and_seeds_can_be_drawn(seeds: Sequence[int], count: int) -> None:
    canvas = Figure()
    FigureCanvasAgg(canvas)
    results = make(seeds, TASKS[:count])
    Conflicts().draw(Conflicts().data(results), canvas)
    canvas.canvas.draw()
    assert len(canvas.axes) == count * (count - 1)  # a cosine and a ratio for each two tasks
    titles = [axes.get_title(loc="left") for axes in canvas.axes if axes.get_title(loc="left")]
    assert titles == [f"{one}, {other}" for one, other in itertools.combinations(TASKS[:count], 2)]
