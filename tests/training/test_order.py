"""Which images a batch has, where tasks are labelled on different ones: shares, epochs, and what is without bias."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from mtlbench.contracts import Sample
from mtlbench.training.order import BLOCK, Order, order_of

TASKS = ("a", "b")


def subset(numbers: dict[tuple[str, ...], int]) -> list[Sample]:
    """So many images that these tasks are labelled on."""
    blank = np.zeros((4, 4, 3), np.uint8)
    return [
        Sample(blank, {task: np.array(0) for task in tasks}) for tasks, count in numbers.items() for _ in range(count)
    ]


def drawn(order: Order, steps: int, images: int = 4, seed: int = 0) -> list[int]:
    return [number for step in range(steps) for number in order.images(seed, step, images)]


def test_without_balance_every_image_comes_once_an_epoch() -> None:
    order = order_of(subset({("a",): 7, ("b",): 3}), TASKS, 0.0)
    assert order == Order(10)
    assert sorted(drawn(order, 5)) == sorted([*range(10)] * 2)


@pytest.mark.parametrize(("balance", "share"), [(1.0, 0.5), (0.5, 3 / 4), (0.25, 9**0.75 / (9**0.75 + 1))])
def test_images_of_each_task_come_as_often_as_their_share_says(balance: float, share: float) -> None:
    """9 : 1 images: equal sampling, and that of a temperature of 2 (3 : 1); within a task all images equally often."""
    order = order_of(subset({("a",): 90, ("b",): 10}), TASKS, balance)
    steps = 400
    numbers = drawn(order, steps)
    of_a = [number for number in numbers if number < 90]
    assert abs(len(of_a) - share * 4 * steps) <= 1
    assert max(Counter(of_a).values()) - min(Counter(of_a).values()) <= 1
    for step in range(0, steps, 7):  # no step is far from it either
        assert abs(sum(n < 90 for n in numbers[4 * step : 4 * step + 4]) - 4 * share) <= 1


def test_an_order_is_a_function_of_seed_and_step_whatever_was_asked_before() -> None:
    samples = subset({("a",): 30, ("b",): 8, ("a", "b"): 5})
    order, again = order_of(samples, TASKS, 1.0), order_of(samples, TASKS, 1.0)
    late = BLOCK // 4 + 3  # beyond the first block of positions
    assert order.images(3, late, 4) == again.images(3, late, 4)
    assert drawn(order, 9, seed=3) == drawn(again, 9, seed=3) != drawn(again, 9, seed=4)
    numbers = Counter("a" if n < 30 else "b" if n < 38 else "both" for n in drawn(order, 300))
    assert max(numbers.values()) - min(numbers.values()) <= 1


def test_images_without_any_label_are_not_drawn() -> None:
    order = order_of(subset({(): 5, ("a",): 2, ("c",): 4, ("b",): 2}), TASKS, 1.0)
    assert set(drawn(order, 20)) == {5, 6, 11, 12}


def test_the_mean_over_a_task_s_images_is_without_bias() -> None:
    """Over whole epochs of its images the mean of what the batches show of a task is the mean of all of them."""
    order = order_of(subset({("a",): 12, ("b",): 4}), TASKS, 1.0)
    values = np.random.default_rng(0).normal(size=16)
    seen = [number for number in drawn(order, 24) if number < 12]
    assert len(seen) == 48 and np.mean(values[seen]) == pytest.approx(values[:12].mean())
