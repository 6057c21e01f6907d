"""Whether any arm lies outside the Splits' front: what is said, and that it is hardly ever said of equal arms."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from mtlbench.analysis.comparison import BEATS, Case
from mtlbench.analysis.selection import select_newest
from mtlbench.analysis.trade_offs import trade_offs
from mtlbench.report.beyond import BeyondSplits, beyond_splits
from mtlbench.report.report import report
from mtlbench.report.sentences import front_sentences, write_sentences
from mtlbench.report.verdict import reach_verdict
from tests.support.equal_fronts import GridNoise, equal_fronts
from tests.support.grids import grid_frame
from tests.support.synthetic_results import fake_results
from tests.support.worlds import World

FOUR = ("split-fc8", "split-conv4", "cross-stitch", "mtl-shared")


class GridWorld(World):
    """A made-up grid, whose arms keep their weightings."""

    def __init__(self, frame: pd.DataFrame) -> None:
        super().__init__(frame)
        self.frame = frame

    @property
    def alphas(self) -> pd.DataFrame:
        return pd.DataFrame(columns=["arm", "family", "seed", "key"])


def say(frame: pd.DataFrame) -> tuple[BeyondSplits, list[str]]:
    rows, note = select_newest(frame)
    found = beyond_splits(trade_offs(frame))
    return found, front_sentences(found, Case(rows, (), note))


def test_an_arm_that_is_better_in_both_tasks_at_every_weighting_lies_outside() -> None:
    gains = {"split-fc8": 0.0, "split-conv4": (1.0, -1.0), "cross-stitch": 12.0, "mtl-shared": -6.0}
    found, lines = say(grid_frame(gains, noise=0.3, seeds=range(4)))
    assert found.outside == ["cross-stitch"] and found.splits == ("split-conv4", "split-fc8")
    (line,) = lines
    begin = "Outside the front that Split conv4 and Split fc8 reach with tuned weights lies cross-stitch by 1"
    assert line.startswith(begin) and "; not shown to: MTL-shared (-6" in line and line.endswith("]).")
    assert found.advantages["cross-stitch"].comparisons == 2
    assert found.advantages["cross-stitch"].mean == pytest.approx(11.7, abs=0.7)


def test_an_arm_within_noise_is_not_shown_to_nor_one_that_is_behind() -> None:
    found, lines = say(grid_frame({"split-fc8": 0.0, "cross-stitch": 0.5, "mtl-shared": -9.0}, noise=1.0))
    assert found.outside == []
    (line,) = lines
    assert line.startswith("No arm is shown to lie outside the front that Split fc8 reaches with tuned weights: ")
    assert "MTL-shared (-" in line and "cross-stitch (" in line


def test_what_cannot_be_said_says_what_to_type() -> None:
    _, lines = say(grid_frame({"cross-stitch": 1.0}))
    assert lines == [
        "No Split was trained at several weightings, so that no arm can be held against their front; type: mtlbench run"
        " --pair det_attr --dataset rooms --recipe quick --seeds 0,1,2 --arm 'split-*' --loss-weight-grid 5"
    ]
    _, lines = say(grid_frame({"split-fc8": 1.0}))
    assert lines[0].startswith("No other arm was trained at several weightings to be held against the front that Split")
    _, lines = say(grid_frame({"split-fc8": 1.0, "cross-stitch": 1.0}, seeds=(0,)))
    assert lines[0].startswith(
        "Against the front that Split fc8 reaches with tuned weights without an interval (from 3"
    )
    no_val = grid_frame({"split-fc8": 1.0, "cross-stitch": 1.0})
    _, lines = say(no_val[no_val["subset"] == "test"])
    assert lines[0].startswith("Nothing is held against the front that Split fc8 reaches")


def test_the_verdict_has_it_where_there_is_a_grid_alone() -> None:
    found = reach_verdict(GridWorld(grid_frame({"split-fc8": 0.0, "cross-stitch": 12.0}, noise=0.3)))
    assert found.says_difference and any(line.startswith("Outside the front") for line in write_sentences(found))
    plain = reach_verdict(World(fake_results().frame))
    assert plain.beyond is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("noise", "arms"),
    [
        (GridNoise(3), FOUR),
        (GridNoise(3, alike=0.8, baseline=3.0), FOUR),
        (GridNoise(3, wild=("mtl-shared",)), FOUR),
        (GridNoise(3), ("split-fc8", "nddr", "mtan", "cross-stitch")),
        (GridNoise(10, wild=("mtl-shared",)), FOUR),
    ],
    ids=["plain", "alike", "one wild", "one Split", "ten seeds, one wild"],
)
def test_of_equal_arms_it_is_said_in_at_most_five_percent_of_studies(noise: GridNoise, arms: tuple[str, ...]) -> None:
    studies = list(map(beyond_splits, equal_fronts(arms, noise, 100)))
    assert sum(bool(one.outside) for one in studies) <= 0.05 * len(studies)
    assert sum(found.relation == BEATS for one in studies for found in one.advantages.values()) == sum(
        len(one.outside) for one in studies
    )


@pytest.mark.slow
def test_a_true_advantage_of_five_percent_is_found_in_most_studies_of_five_seeds() -> None:
    found = 0
    for study in equal_fronts(("split-fc8", "cross-stitch"), GridNoise(5, sd=1.0), 40):
        for frame in (study.val, study.test):
            frame.loc[frame["arm"] == "cross-stitch", "change"] += 5.0
        found += beyond_splits(study).outside == ["cross-stitch"]
    assert found >= 30


@pytest.mark.slow
def test_the_page_has_a_section_with_the_figure_the_table_and_the_sentence(tmp_path: Path) -> None:
    results = GridWorld(grid_frame({"split-fc8": 0.0, "cross-stitch": 12.0}, noise=0.3))
    text = report(results, tmp_path / "report.html").read_text()
    section = text.partition('<details id="trades">')[2].partition("</details>")[0]
    assert "Outside the front that Split fc8 reaches" in section
    assert 'id="front-figure_1"' in section and "1.8 : 0.2" in section and "hypervolume" in section
    assert text.count('id="front-figure_1"') == 1
    run = "mtlbench run --pair det_attr --dataset rooms --recipe quick --seeds 0,1,2 --arm split-fc8 --arm cross-stitch"
    assert f"\n{run} --loss-weight-grid 5\nmtlbench report " in text
    plain = report(World(fake_results().frame), tmp_path / "plain.html").read_text()
    assert 'id="trades"' not in plain and "--loss-weight-grid 5" in plain
