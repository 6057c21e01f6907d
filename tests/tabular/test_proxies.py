"""How well measures order architectures: rank correlations by hand, and which measures a study has."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pandas as pd
import pytest

from mtlbench.report.proxies_table import proxies_table
from mtlbench.report.render import render
from mtlbench.store.frames import NAMING
from mtlbench.tabular.benchmark import WORK
from mtlbench.tabular.proxies import _correlate, find_proxies
from tests.support.synthetic_results import STAGES, results_frame
from tests.support.twos import THREE, architectures, twos_frame
from tests.support.worlds import World

TRUTHS = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}
ARMS = ("one-task", "split-conv2", "split-conv4", "split-fc8", "cross-stitch")
EFFECTS = {"split-conv2": 3.0, "split-conv4": 6.0, "split-fc8": -6.0}


NETWORKS = {"split-fc8": -3.0, "split-fc6": -2.0, "split-conv2": 0.0, "tree-conv2:det+att-fc8": 4.0}


class OfThree(World):
    """Networks of two and of all three tasks, with what they cost."""

    def __post_init__(self) -> None:
        heads = self.frame.drop_duplicates("key")
        costs = heads.assign(subset="cost", metric=WORK, task="", headline=False, unit="", value=1e9)
        self.frame = pd.concat([self.frame, costs], ignore_index=True)
        super().__post_init__()

    def architectures_of(self, frame: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
        alone = [{"stage": stage, "groups": [[task] for task in THREE], "unit": False} for stage in STAGES]
        return {"one-task": alone, **architectures(list(frame["arm"].unique()))}


class WithConflicts(World):
    """Gradients agree the more, the better an arm is."""

    @property
    def conflicts(self) -> pd.DataFrame:
        joint = self.trials[self.trials["arm"].isin(EFFECTS)].to_dict("records")
        return pd.DataFrame(
            [
                (*(row[name] for name in NAMING), i, *row["task"], EFFECTS[row["arm"]] / 10, 1.0, 1.0)
                for row, i in itertools.product(joint, (100, 200))
            ],
            columns=[*NAMING, "iteration", "task", "other", "cosine", "norm", "other_norm"],
        )


def test_spearman_by_hand() -> None:
    """Ranks 2 1 3 4 against 1 2 3 4: 1 - 6 * 2 / (4 * 15) = 0.8; the other seed's order is the opposite."""
    found = _correlate("x", {0: {"a": 7, "b": 5, "c": 8, "d": 9}, 1: {"a": 4, "b": 3, "c": 2, "d": 1}}, TRUTHS)
    assert found is not None and found.rho == pytest.approx((0.8 - 1) / 2) and (found.n, found.arms) == (2, 4)
    assert math.isnan(found.low)  # below three seeds
    assert _correlate("x", {0: {"a": 1, "b": 2}}, TRUTHS) is None
    assert _correlate("x", {0: dict.fromkeys(TRUTHS, 1.0)}, TRUTHS) is None


def test_measures_of_a_study_and_their_table() -> None:
    world = WithConflicts(results_frame(arms=ARMS, effects=EFFECTS, noise=0.05))
    # Attributes gain the effect, detection loses 0.7 of it: what is good for the mean is what the effect says.
    found = find_proxies(world)
    assert found.arms == 4 and found.early[-1].name == "val after 100 % of training"
    assert found.early[-1].rho == pytest.approx(1.0)
    cosine = next(one for one in found.others if "cosine" in one.name)
    assert cosine.rho == pytest.approx(1.0) and (cosine.arms, cosine.n) == (3, 3)
    assert any(one.name == "alphas of cross-stitch" for one in found.others)
    text = render(proxies_table(world), "text")
    assert "+1.00 [+1.00, +1.00]" in text and "over 4 architectures" in text


def test_affinity_orders_networks_of_all_tasks_from_networks_of_two() -> None:
    """Detection and attributes gain 3 by each other, semseg loses 6 by each: all together -1, the two together +2."""
    det, att, sem = THREE
    effects = {(det, att): 3.0, (att, det): 3.0, (sem, det): -6.0, (sem, att): -6.0}
    frame = twos_frame(effects, networks=NETWORKS)
    measured = next(one for one in find_proxies(OfThree(frame)).others if "affinity" in one.name)
    # Predicted: -1 (fc8), -0.8 (fc6), -0.2 (conv2), +1.4 (the tree) and 0 of one-task; true: -3, -2, 0, +4 and 0.
    assert measured.name == "affinity: split-fc8 of every two tasks" and (measured.arms, measured.n) == (5, 3)
    assert measured.rho == pytest.approx(0.9746794)  # one-task and conv2 are equal in truth: ranks 1 2 3.5 5 3.5
    nothing = find_proxies(OfThree(frame[~frame["arm"].str.contains(":det+att", regex=False)]))
    assert not any("affinity" in one.name for one in nothing.others)
