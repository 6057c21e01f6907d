"""The first sentence of a report."""

from __future__ import annotations

import pytest

from mtlbench.analysis.comparison import PAIR, Difference
from mtlbench.report.short_answer import short_answer
from mtlbench.report.verdict import Answer, ChosenSplit, Comparison


def difference(mean: float, half: float = 1.0, wide: float = 1.5) -> Difference:
    return Difference(mean, mean - half, mean + half, mean - wide, mean + wide, 3, 42)


@pytest.mark.parametrize(
    "mean, words",
    [
        (
            2.0,
            "Share all layers before conv4: Split conv4, which val chooses of 7 Splits, is better than a network for",
        ),
        (-2.0, "Share nothing: even Split conv4, which val chooses of 7 Splits, is worse than a network for each task"),
        (0.5, "It makes no difference that these seeds can show: Split conv4"),
        (1.2, "It makes no difference that these seeds can show where 42 contrasts are allowed for: Split conv4"),
    ],
)
def test_how_much_to_share(mean: float, words: str) -> None:
    """An interval that excludes 0 by itself is never called noise without what it lacks."""
    chosen = ChosenSplit(PAIR, "split-conv4", 7, 1.0, difference(mean))
    assert short_answer(Answer((chosen,))).startswith(words)


def test_a_task_that_is_unlike_the_mean_is_named() -> None:
    """Only where its own interval, with all contrasts allowed for, excludes 0, and the mean says something else."""
    pair = ChosenSplit(PAIR, "split-fc8", 7, 1.0, difference(-0.5))
    loses = ChosenSplit("warm", "split-fc6", 7, -40.0, difference(-43.8))
    gains, open_one = (ChosenSplit(task, "split-conv2", 7, 1.0, difference(x)) for task, x in (("a", 2.0), ("b", 1.2)))
    said = short_answer(Answer((pair, gains, loses, open_one)))
    assert "For warm by itself, Split fc6 is worse than a network of its own, at -43.8 % [-44.8, -42.8]." in said
    assert "For a by itself, Split conv2 is better" in said and "For b" not in said
    alike = ChosenSplit(PAIR, "split-fc8", 7, -9.0, difference(-9.0))
    assert "by itself" not in short_answer(Answer((alike, loses)))


@pytest.mark.parametrize(
    "mean, words",
    [
        (2.0, "+2.0 % [+1.0, +3.0]: better."),
        (0.5, "+0.5 % [-0.5, +1.5]: within noise."),
        (1.2, "+1.2 % [+0.2, +2.2]: within noise where 42 contrasts are allowed for."),
    ],
)
def test_what_cross_stitch_adds(mean: float, words: str) -> None:
    chosen = ChosenSplit(PAIR, "split-conv4", 7, 1.0, difference(0.0))
    stitched = Comparison(PAIR, "cross-stitch", {"one-task": difference(mean)})
    assert short_answer(Answer((chosen,), comparisons=(stitched,))).endswith(words)
