"""Pareto fronts and hypervolumes against hand-worked cases and a slow count of cells."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from mtlbench.analysis.front import compute_advantages, compute_hypervolumes, find_front, measure_hypervolume


def test_a_front_by_hand() -> None:
    points = np.array([[1, 3], [2, 2], [3, 1], [1, 1], [2, 2], [3, 0.5]])
    assert find_front(points).tolist() == [True, True, True, False, True, False]  # equal points do not beat each other


@pytest.mark.parametrize("seed", range(20))
def test_the_front_is_what_nothing_beats(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cost, gain = rng.integers(1, 8, 15).astype(float), rng.integers(-3, 4, 15).astype(float)  # with ties
    slow = []
    for x, y in zip(cost, gain, strict=True):
        beaten = False
        for other_x, other_y in zip(cost, gain, strict=True):
            if other_x <= x and other_y >= y and (other_x < x or other_y > y):
                beaten = True
        slow.append(not beaten)
    assert find_front(np.column_stack([-cost, gain])).tolist() == slow
    assert any(slow)


def test_equal_twins_stay_and_the_same_gain_for_more_is_beaten() -> None:
    """Equal twins stay both; the same gain for more, or less gain for the same, is beaten."""
    cost = np.array([1.0, 2.0, 2.0, 2.0, 3.0, 4.0])
    gain = np.array([-2.0, 0.0, 0.0, -1.0, 0.0, 5.0])
    assert find_front(np.column_stack([-cost, gain])).tolist() == [True, True, True, False, False, True]


def test_a_hypervolume_by_hand_in_two_and_three_dimensions() -> None:
    assert measure_hypervolume(np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]]), (0, 0)) == 6
    assert (
        measure_hypervolume(np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]]), (1, 0)) == 3
    )  # the first lies on the edge
    assert measure_hypervolume(np.array([[1.0, 1.0, 2.0], [2.0, 2.0, 1.0]]), (0, 0, 0)) == 5
    assert measure_hypervolume(np.array([[-1.0, 5.0]]), (0, 0)) == 0


@pytest.mark.parametrize("tasks", [2, 3, 4])
def test_a_hypervolume_is_the_number_of_unit_cells_below_the_front(tasks: int) -> None:
    rng = np.random.default_rng(tasks)
    points = rng.integers(-1, 5, (12, tasks)).astype(float)
    cells = itertools.product(range(5), repeat=tasks)
    below = sum(any((point >= np.array(cell) + 1).all() for point in points) for cell in cells)
    assert below > 0 and measure_hypervolume(points, [0] * tasks) == below


def test_every_seed_of_an_arm_is_measured_from_the_worst_change_of_all() -> None:
    table = [
        ("one", "1:9", 0, 1.0, 3.0),
        ("one", "9:1", 0, 3.0, 1.0),
        ("one", "1:9", 1, 2.0, 3.0),
        ("one", "9:1", 1, 3.0, 2.0),
        ("one", "9:1", 2, 9.0, 9.0),  # the seed lacks a weighting
        ("other", "5:5", 0, 0.0, 0.0),
    ]
    rows = [
        {"arm": arm, "weighting": weighting, "seed": seed, "task": task, "change": change}
        for arm, weighting, seed, *changes in table
        for task, change in zip(("a", "b"), changes, strict=True)
    ]
    found = compute_hypervolumes(pd.DataFrame(rows)).set_index(["arm", "seed"])
    assert found["volume"].to_dict() == {("one", 0): 5.0, ("one", 1): 8.0, ("other", 0): 0.0}
    assert found["points"].to_dict() == {("one", 0): 2, ("one", 1): 2, ("other", 0): 1}


def changes_of(points: dict[tuple[str, str], tuple[float, float]], seeds: int = 2, noise: float = 0.0) -> pd.DataFrame:
    """Rows of two tasks, with normal noise of a seed."""
    rng = np.random.default_rng(0)
    rows = [
        {"arm": arm, "weighting": weighting, "seed": seed, "task": task, "change": gain + rng.normal(0, noise)}
        for (arm, weighting), gains in points.items()
        for seed in range(seeds)
        for task, gain in zip(("a", "b"), gains, strict=True)
    ]
    return pd.DataFrame(rows)


def test_an_arm_beyond_the_rivals_front_is_ahead_by_what_the_directions_say() -> None:
    """Rivals reach (4, 0) and (0, 4): 3.6, 2.8, 2, 2.8, 3.6 in the five directions; (3, 3) reaches 3 in each."""
    rivals = {("split-conv2", "1:9"): (4.0, 0.0), ("split-fc8", "9:1"): (0.0, 4.0)}
    changes = changes_of({**rivals, ("own", ""): (3.0, 3.0)})
    found = compute_advantages(changes, changes, ["own"], ["split-conv2", "split-fc8"])
    assert found["seed"].tolist() == [0, 1]
    assert found["advantage"].tolist() == pytest.approx([3 - (3.6 + 2.8 + 2 + 2.8 + 3.6) / 5] * 2)


def test_the_choice_is_made_on_val() -> None:
    """On val the first weighting is better, on test the second: the first counts."""
    val = changes_of({("own", "1:9"): (2.0, 2.0), ("own", "9:1"): (1.0, 1.0), ("split-fc8", ""): (0.0, 0.0)})
    test = changes_of({("own", "1:9"): (1.0, 1.0), ("own", "9:1"): (5.0, 5.0), ("split-fc8", ""): (0.0, 0.0)})
    assert compute_advantages(val, test, ["own"], ["split-fc8"])["advantage"].tolist() == [1.0, 1.0]
