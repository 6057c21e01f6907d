"""How well measures order architectures: rank correlations by hand, and which measures a study has."""

from __future__ import annotations

import itertools
import math

import pandas as pd
import pytest

from mtlbench.report.proxies_table import proxies_table
from mtlbench.report.render import render
from mtlbench.store.frames import NAMING
from mtlbench.tabular.proxies import _correlate, find_proxies
from tests.support.synthetic_results import results_frame
from tests.support.worlds import World

TRUTHS = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}
ARMS = ("one-task", "split-conv2", "split-conv4", "split-fc8", "cross-stitch")
EFFECTS = {"split-conv2": 3.0, "split-conv4": 6.0, "split-fc8": -6.0}


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
