"""The table of trade-offs: golden text, and every format."""

from __future__ import annotations

import csv
import io

import pytest

from mtlbench.analysis.selection import NEWEST
from mtlbench.analysis.trade_offs import trade_offs
from mtlbench.errors import UserError
from mtlbench.report.front_table import front_table, table_of
from mtlbench.report.render import FORMATS, render
from mtlbench.use.results import make_table
from tests.support.grids import THREE, grid_frame
from tests.support.synthetic_results import FakeResults, results_frame
from tests.support.worlds import World

GOLDEN = """\
det_attr on rooms, backbone caffenet, recipe quick, untuned (the newest results).

arm        weights of detection : attributes  n   detection mAP, %  attributes mAP, %  on the front  hypervolume, %^2
---------------------------------------------------------------------------------------------------------------------
one-task   -                                  3                  -                  -  yes                          -
split-fc8  0.5 : 1.5                          3  -4.2 [-6.8, -1.6]  +0.4 [-1.6, +2.4]  yes                          -
split-fc8  1 : 1                              3  -2.1 [-5.3, +1.0]  -1.4 [-4.2, +1.3]  no                           -
split-fc8  1.5 : 0.5                          3  +0.2 [-0.9, +1.3]  -2.9 [-5.3, -0.4]  yes                          -
---------------------------------------------------------------------------------------------------------------------
one-task   -                                  3                  -                  -  -                         16.3
split-fc8  all 3                              3                  -                  -  -             8.8 [-9.3, 26.9]
"""


def test_golden_text() -> None:
    shown = render(table_of(trade_offs(grid_frame({"split-fc8": (1.0, 2.0)}, levels=2, noise=1.0))))
    assert shown.startswith(GOLDEN), shown
    assert "On the front: no other row's means are as good in both tasks and better in one." in shown


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_has_every_weighting_and_the_hypervolumes(format: str) -> None:
    found = trade_offs(grid_frame({"split-fc8": 1.0, "cross-stitch": 2.0}, THREE, levels=3, noise=0.5))
    text = render(table_of(found), format)
    for weights in ("2.14 : 0.429 : 0.429", "1 : 1 : 1", "all 7"):
        assert text.count(weights) >= 2, weights


def test_csv_has_numbers_with_their_bounds_and_no_title() -> None:
    found = trade_offs(grid_frame({"split-fc8": (1.0, 2.0)}, noise=1.0))
    rows = list(csv.DictReader(io.StringIO(render(table_of(found), "csv"))))
    points = found.points.query("task == 'detection' and arm == 'split-fc8'").set_index("weights")
    for row in rows[1:6]:
        known = points.loc[row["weighting"]]
        assert float(row["detection mAP change %"]) == pytest.approx(known["mean"], rel=1e-5)
        assert float(row["detection mAP change % low"]) == pytest.approx(known["low"], rel=1e-5)
    volume = found.mean_volumes.set_index("arm").loc["split-fc8"]
    assert float(rows[-1]["hypervolume"]) == pytest.approx(volume["mean"], rel=1e-5)
    assert float(rows[-1]["hypervolume high"]) == pytest.approx(volume["high"], rel=1e-5)


def test_rules_stand_before_the_first_row_apart_alone() -> None:
    table = table_of(trade_offs(grid_frame({"split-fc8": 1.0, "cross-stitch": 2.0})))
    assert render(table, "latex").count("\\midrule") == 2
    lines = render(table).splitlines()
    assert sum(set(line) == {"-"} for line in lines) == 2


def test_the_name_front_gives_it_and_without_a_grid_one_line_says_what_to_type() -> None:
    results = World(grid_frame({"split-fc8": 1.0}))
    results.frame = grid_frame({"split-fc8": 1.0})
    assert render(make_table(results, "front", False, NEWEST)) == render(front_table(results))
    with pytest.raises(UserError, match="--paper: published values stand beside a table of the paper"):
        make_table(results, "front", True, NEWEST)
    with pytest.raises(UserError, match="type: mtlbench run --pair det_attr --loss-weight-grid 5$"):
        front_table(FakeResults(results_frame(arms=("one-task", "split-fc8")), {}))
