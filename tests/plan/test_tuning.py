"""What is drawn for every arm, what goes on, which weightings a sweep has."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from mtlbench.plan.tuning import (
    RATES,
    RATIOS,
    Setting,
    choose_best,
    count_survivors,
    draw_settings,
    first_round_iterations,
    weight_lattice,
)

PAIR = ("detection", "attributes")


def test_a_larger_budget_keeps_the_settings_of_a_smaller_one() -> None:
    assert draw_settings(PAIR, 20)[:6] == draw_settings(PAIR, 6) and len(set(map(repr, draw_settings(PAIR, 20)))) == 20
    assert draw_settings(PAIR, 1) == (Setting(),)  # the recipe's own is always among them


def test_settings_are_log_uniform_and_their_weights_add_up() -> None:
    drawn = draw_settings(PAIR, 400)[1:]
    rates = np.log([setting.rate for setting in drawn]) / math.log(RATES[1])
    assert rates.min() >= -1 and rates.max() <= 1
    counts, _ = np.histogram(rates, 4, (-1, 1))
    assert counts.min() > 90  # of 100 each
    for setting in drawn:
        assert sum(setting.loss_weight.values()) == pytest.approx(2, rel=1e-3)
    ratios = [setting.loss_weight["detection"] / setting.loss_weight["attributes"] for setting in drawn]
    assert max(ratios) <= (RATIOS[1] / RATIOS[0]) * 1.01 and sum(ratio > 1 for ratio in ratios) in range(180, 220)


def test_a_task_alone_has_as_many_settings_and_a_rate_only() -> None:
    alone = draw_settings(("detection",), 6)
    assert len({setting.rate for setting in alone}) == 6 and not any(setting.loss_weight for setting in alone)


def test_a_third_goes_on_and_what_failed_does_not() -> None:
    assert [count_survivors(n) for n in (1, 2, 3, 4, 6, 12)] == [1, 1, 1, 2, 2, 4]
    assert choose_best([0.1, math.nan, 3.0, 0.1, 2.0], 3) == [2, 4, 0]
    assert choose_best([math.nan, math.nan, -5.0], 2) == [2, 0]
    assert [first_round_iterations(n) for n in (1, 8, 850)] == [1, 3, 283]


def test_a_lattice_for_three_tasks_by_hand() -> None:
    found = weight_lattice(("a", "b", "c"), 3)
    assert len(found) == 6
    shares = Counter(round(weight, 6) for point in found for weight in point.values())
    assert set(shares) == {round(3 * k / 7, 6) for k in (1, 3, 5)}
    assert all(sum(point.values()) == pytest.approx(3) for point in found)
