"""What is said of weightings: what val chooses, against the plain sum, tuned fixed weights, other architectures."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mtlbench.analysis.comparison import BEATS, NOISE
from mtlbench.report.sentences import write_sentences
from mtlbench.report.verdict import reach_verdict
from mtlbench.report.weighed import Trials, Weighed, weigh
from tests.support.weighed_studies import weighed_study
from tests.support.worlds import World


def test_what_val_chooses_is_held_against_the_plain_sum_and_the_best_architecture() -> None:
    found = reach_verdict(World(weighed_study(range(4)).frame))
    conv4, fc8 = found.weighed
    assert (conv4.arm, conv4.weighting, conv4.tried) == ("split-conv4", "upgrad", 2)
    assert conv4.cost == pytest.approx(1.5)
    assert conv4.best == "split-conv4" and conv4.other is None and conv4.levels == 0
    assert fc8.other is not None and fc8.other.mean == pytest.approx(
        (2 + 4) * 0.3 / 2, abs=0.3
    )  # detection turns round
    assert fc8.gain.relation == BEATS and fc8.gain.comparisons == 2 * 2 + 2 * 1
    line = next(
        line for line in write_sentences(found) if line.startswith("Of weightings of the tasks under Split fc8")
    )
    assert (
        "val chooses upgrad of 2 (a step costs 1.5 times as much CPU time): on test (mean over tasks) it beats" in line
    )
    assert "at the plain sum Split conv4, which val chooses, " in line
    assert any("type: mtlbench run" in one and "--loss-weight-grid" in one for one in write_sentences(found))
    assert found.says_difference


@pytest.mark.parametrize("lacking", ["weightings", "one-task"])
def test_there_is_nothing_without_weightings_or_what_they_are_held_against(lacking: str) -> None:
    frame = weighed_study(weighings={} if lacking == "weightings" else None).frame
    found = reach_verdict(World(frame if lacking == "weightings" else frame[frame["arm"] != "one-task"]))
    assert found.weighed == () and not any("eightings of the tasks" in line for line in write_sentences(found))


def draw_study(rng: np.random.Generator, seeds: int, common: float, **gains: float) -> tuple[Weighed, ...]:
    """Two architectures under eight weightings and at four more fixed weights; noise of 2 % but of one-task's runs,
    of which val and test have `common` in common; gains: {arm: %}."""
    arms = [f"split-{at}{name}" for at in ("conv4", "fc8") for name in ("", *(f"@w{k}" for k in range(8)), *"abcd")]
    tried = {base: [arm for arm in arms if arm.startswith(f"{base}@")] for base in ("split-conv4", "split-fc8")}
    fixed = {base: [base, *(f"{base}{letter}" for letter in "abcd")] for base in tried}
    base, noise = rng.normal(size=(2, seeds)), rng.normal(size=(3, len(arms), seeds))
    shown = noise[0] - base[0]
    other = common * noise[0] + np.sqrt(1 - common**2) * noise[1] - base[1]
    extra = np.array([gains.get(arm.replace("-", "_").replace("@", "_"), 0.0) for arm in arms])[:, None]
    cells = pd.MultiIndex.from_product([arms, range(seeds)], names=["arm", "seed"])
    val, test = (pd.DataFrame({"change": (2 * x + extra).ravel()}, index=cells).reset_index() for x in (other, shown))
    one = pd.DataFrame({"arm": "one-task", "seed": range(seeds), "change": 0.0})
    return weigh(Trials(tried, fixed, *(pd.concat([one, x], ignore_index=True) for x in (val, test))), {})


@pytest.mark.parametrize(("seeds", "common"), [(3, 0.7), (3, 0.95), (5, 0.9)])
def test_of_equal_weightings_at_most_five_percent_of_studies_say_anything(seeds: int, common: float) -> None:
    rng, studies = np.random.default_rng(seeds), 120
    said = [[d.relation for one in draw_study(rng, seeds, common) for d in one.differences] for _ in range(studies)]
    assert all(len(relations) == 5 for relations in said)
    assert sum(set(relations) != {NOISE} for relations in said) <= 0.05 * studies


def test_a_gain_of_twelve_percent_is_found_against_plain_and_tuned_weights() -> None:
    rng = np.random.default_rng(1)
    found = [draw_study(rng, 5, 0.7, split_fc8_w3=12.0)[1] for _ in range(20)]
    assert sum(one.weighting == "w3" and one.gain.relation == BEATS for one in found) >= 15
    assert sum(one.over_fixed is not None and one.over_fixed.relation == BEATS for one in found) >= 15
