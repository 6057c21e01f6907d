"""Pareto fronts and hypervolumes against hand-worked cases and a slow count of cells."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from mtlbench.analysis.front import find_front, hypervolumes, measure_hypervolume


def test_a_front_by_hand() -> None:
    points = np.array([[1, 3], [2, 2], [3, 1], [1, 1], [2, 2], [3, 0.5]])
    assert find_front(points).tolist() == [True, True, True, False, True, False]  # equal points do not beat each other


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
    found = hypervolumes(pd.DataFrame(rows)).set_index(["arm", "seed"])
    assert found["volume"].to_dict() == {("one", 0): 5.0, ("one", 1): 8.0, ("other", 0): 0.0}
    assert found["points"].to_dict() == {("one", 0): 2, ("one", 1): 2, ("other", 0): 1}
