"""The results table: golden text, costs, and what happens to missing and failed arms."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from mtlbench.analysis.costs import pair_costs
from mtlbench.errors import UserError
from mtlbench.report.render import render
from mtlbench.report.render_latex import latex_text
from mtlbench.report.results_table import results_table
from mtlbench.report.table import Cell, change
from mtlbench.text import shorten
from tests.support.arms import make_failure
from tests.support.synthetic_results import results_frame

FAILED = make_failure(
    "tree",
    pair="det_attr",
    dataset="rooms",
    recipe="quick",
    seed=1,
    task="",
    status="failed",
    reason="FloatingPointError: loss is nan",
)

GOLDEN = """\
det_attr on rooms, backbone caffenet, recipe quick, untuned (the newest results).

arm            n  detection mAP       vs one-task, %  classes  attributes mAP       vs one-task, %  attributes
--------------------------------------------------------------------------------------------------------------
one-task       3           42.2                    -       10            51.0                    -          17
split-conv4 +  3           41.3    -2.0 [-4.2, +0.1]       10            52.7 *  +3.2 [+1.0, +5.5]          17
split-fc8      3           43.1 *  +2.2 [+1.1, +3.2]       10            49.2    -3.5 [-5.7, -1.3]          17
cross-stitch   3           41.0    -2.8 [-4.2, -1.4]       10            52.8    +3.5 [+1.8, +5.2]          17
tree           0              -                    -        -               -                    -           -
--------------------------------------------------------------------------------------------------------------
chance         -           10.5                    -      2.5            12.8                    -        4.25

arm            n  parameters  FLOPs  iterations  image visits  seconds  with parents
------------------------------------------------------------------------------------
one-task       3      3.00 M  500 M      3.00 k        48.0 k       42            82
split-conv4 +  3      3.00 M  500 M      1.50 k        24.0 k       21            41
split-fc8      3      3.00 M  500 M      1.50 k        24.0 k       21            41
cross-stitch   3      3.00 M  500 M      1.50 k        24.0 k       21            41
tree           0           -      -           -             -        -             -

Means on test over n seeds. vs one-task: change of the headline metric in %, up is better, paired by seed, with the
  95 % interval: each arm for itself, on its own noise and one-task's about the mean of the arms that share no
  weights (Welch; 2 to 4 degrees of freedom). Costs are per pair: the sum over an arm's networks; seconds without
  and with parents.
Split chosen on val, * per task and + for the pair: detection split-fc8 (val +2.9 %, test +2.2 %), attributes
  split-conv4 (val +2.5 %, test +3.2 %), the pair split-conv4 (val +0.2 %, test +0.6 %).
failed: tree, seed 1: FloatingPointError: loss is nan
"""


def write(
    frame: pd.DataFrame, format: str = "text", failures: Sequence[Mapping[str, Any]] = (), width: int = 150
) -> str:
    """The table as `mtlbench table` prints it."""
    return render(results_table(frame, failures=failures), format, width)


def parse(text: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text))


def test_text_table_is_the_golden_one() -> None:
    frame = results_frame(arms=("one-task", "split-conv4", "split-fc8", "cross-stitch"), noise=0.5)
    text = write(frame, failures=[FAILED, {**FAILED, "pair": "semseg_sn"}], width=115)
    assert text == GOLDEN
    assert max(map(len, text.splitlines())) <= 115


def test_costs_are_sums_over_the_trials_of_an_arm() -> None:
    costs = pair_costs(results_frame())
    assert costs.loc["one-task", "parameters"] == costs.loc["split-fc8", "parameters"] == 3.0e6
    assert costs.loc["ensemble", "parameters"] == 6.0e6  # four networks per pair
    assert costs.loc["one-task", "seconds"] == pytest.approx(2 * np.mean([20, 21, 22]))
    assert "ensemble-member" not in costs.index


def test_a_seed_with_a_missing_trial_does_not_lower_the_costs() -> None:
    frame = results_frame()
    lost = (frame["arm"] == "one-task") & (frame["seed"] == 2) & frame["key"].str.contains("attributes")
    assert pair_costs(frame[~lost]).loc["one-task", "parameters"] == 3.0e6


def test_tables_break_between_tasks_to_fit_the_width() -> None:
    def headers(width: int) -> list[str]:
        text = write(results_frame("semseg_sn"), width=width)
        return [line for line in text.splitlines() if line.startswith("arm ")]

    assert len(headers(300)) == 1 and len(headers(150)) == 2 and len(headers(100)) == 3
    assert ["mIoU" in line for line in headers(100)] == [False, True, False]


def test_one_seed_shows_changes_without_intervals() -> None:
    text = write(results_frame(seeds=(0,)))
    assert "[" not in text and "split-conv4" in text


def test_kin_are_marked_and_have_the_paired_interval() -> None:
    frame = results_frame("det_attr")
    kin = (frame["arm"] == "split-fc6") & (frame["task"] == "detection")
    frame["roots"] = frame["key"].where(~kin, "one-task/detection/" + frame["seed"].astype(str))
    text, latex = (write(frame, format, width=300) for format in ("text", "latex"))
    row = parse(write(frame, "csv")).set_index("arm").filter(like="detection mAP change").loc["split-fc6"]
    values = frame[(frame["subset"] == "test") & frame["headline"] & (frame["task"] == "detection")]
    cells = values.set_index(["arm", "seed"])["value"].unstack()
    by_hand = scipy.stats.ttest_rel(cells.loc["split-fc6"], cells.loc["one-task"]).confidence_interval()
    expected = [100 * bound / cells.loc["one-task"].mean() for bound in by_hand]
    bounds = row[["detection mAP change low %", "detection mAP change high %"]].tolist()
    assert bounds == pytest.approx(expected, rel=1e-4)
    shown = "{:+.1f} [{:+.1f}, {:+.1f}]†".format(*row.iloc[:3])
    lines = text.splitlines()
    assert shown in next(line for line in lines if line.startswith("split-fc6")) and text.count("†") == 2
    assert "; † for split-fc6 the paired t interval" in " ".join(text.split())
    ends = {line.rindex("]", 0, line.index("]") + 1) for line in lines if line.startswith(("split-fc6", "split-fc7"))}
    assert len(ends) == 1
    assert latex.count("\\textdagger{}") == 2 and shown in write(frame, "markdown")
    assert "†" not in write(results_frame())


def test_a_bound_that_is_not_0_does_not_read_0() -> None:
    assert change(Cell(13.9, -0.04, 27.84)) == "+13.90 [-0.04, +27.84]"
    assert change(Cell(-0.01)) == "+0.0"


def test_second_names_of_a_network_are_said() -> None:
    frame = results_frame()
    again = frame[frame["arm"] == "cross-stitch"].assign(arm="cross-stitch-rate-100")
    text = write(pd.concat([frame, again]), width=300)
    assert "counted once, under several names: cross-stitch = cross-stitch-rate-100.\n" in text
    assert "several names" not in write(frame)
    changes = [line.split("[")[1:] for line in text.splitlines() if line.startswith("split-conv4 ")]
    assert changes == [
        line.split("[")[1:] for line in write(frame, width=300).splitlines() if line.startswith("split-conv4 ")
    ]


def test_without_one_task_the_table_still_stands() -> None:
    text = write(results_frame(arms=("split-conv4",)))
    assert "No changes: the results hold no one-task" in text and "No Split is chosen" in text


def test_a_headline_that_is_missing_everywhere_drops_the_task_only() -> None:
    frame = results_frame()
    diverged = (frame["task"] == "detection") & frame["headline"]
    text = write(frame[~diverged])
    assert "attributes mAP" in text and "detection mAP" not in text


def test_csv_has_numbers_of_full_precision() -> None:
    frame = results_frame()
    table = pd.read_csv(io.StringIO(write(frame, "csv", failures=[FAILED]))).set_index("arm")
    expected = frame.query("arm == 'split-conv4' and task == 'detection' and subset == 'test' and headline")
    assert table.loc["split-conv4", "detection mAP"] == pytest.approx(expected["value"].mean(), rel=1e-5)
    low, high = table.loc["split-conv4", ["detection mAP change low %", "detection mAP change high %"]]
    assert low < table.loc["split-conv4", "detection mAP change %"] < high
    assert table.loc["tree", "failures"] == "failed seed 1"
    assert table.loc["chance", "attributes mAP"] == 12.75
    assert table["pair chosen on val"].eq("True").sum() + table["pair chosen on val"].eq(True).sum() == 1


def test_markdown_is_one_table_with_as_many_cells_in_every_row() -> None:
    lines = [line for line in write(results_frame(), "markdown").splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 12 + 1
    assert len({line.count("|") for line in lines}) == 1


def test_latex_has_the_cells_of_markdown() -> None:
    frame = results_frame()
    failures = [{**FAILED, "reason": "ValueError: 5 % of a_b & {c}"}]
    text = write(frame, "latex", failures=failures)
    body = text.partition("\\toprule\n")[2].partition("\\bottomrule")[0].replace("\\midrule\n", "")
    rows = [line.removesuffix(" \\\\").split(" & ") for line in body.splitlines()]
    marked = [line for line in write(frame, "markdown", failures=failures).splitlines() if line.startswith("|")]
    expected = [[cell.strip() for cell in line.strip("|").split("|")] for line in (marked[0], *marked[2:])]
    assert [[plain(cell) for cell in row] for row in rows] == [[plain(cell) for cell in row] for row in expected]
    assert f"\\begin{{tabular}}{{l{'r' * (len(rows[0]) - 1)}}}" in text and "det\\_attr on rooms" in text
    assert text.count("{") - 2 * text.count("\\{") == text.count("}") - 2 * text.count("\\}")
    assert "tree, seed 1: ValueError: 5 \\% of a\\_b \\& \\{c\\}\n" in text


def plain(cell: str) -> str:
    """A cell without what LaTeX and Markdown escape."""
    return re.sub(r"\\(.)", r"\1", cell.replace("{[}", "["))


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("a\\b", "a\\textbackslash{}b"),
        ("x^2 ~ y", "x\\textasciicircum{}2 \\textasciitilde{} y"),
        ("1\n 2", "1 2"),
        ("±", "$\\pm$"),
        ("a → b", "a ? b"),
        ("$5 & 6%", "\\$5 \\& 6\\%"),
        ("é", "é"),
        ("[1]", "{[}1]"),
    ],
)
def test_latex_prints_any_text_as_it_is(text: str, latex: str) -> None:
    assert latex_text(text) == latex


def test_a_task_that_an_arm_hardly_learns_is_named() -> None:
    """Chance is a quarter of one-task: 70 % below it is 7 % of the way from chance, 68 % below it 9 %, 60 % is 20 %."""
    effects = {"split-fc8": -70.0, "split-fc7": -68.0, "split-fc6": -60.0}
    frame = results_frame(arms=("one-task", *effects), effects=effects, noise=0.0)
    notes = [note.text for note in results_table(frame).notes]
    (found,) = [note for note in notes if "chance" in note]
    assert "of one-task's way from it): attributes: split-fc7, split-fc8. The other" in found
    assert found.endswith("try --tune 6, or --loss-weight attributes=3.")
    assert not any("Hardly" in note.text for note in results_table(results_frame()).notes)


def test_one_task_alone_makes_a_table() -> None:
    assert "No Split is chosen" in write(results_frame(arms=("one-task",)))


def test_an_unknown_format_names_the_known_ones() -> None:
    with pytest.raises(UserError, match="text, csv, markdown, latex"):
        write(results_frame(), "markdwn")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (999.0, "999"),
        (1234567.0, "1.23 M"),
        (56.8e6, "56.8 M"),
        (999.9e3, "1.00 M"),
        (7.2e11, "720 G"),
        (float("nan"), "-"),
        (0.0, "0"),
    ],
)
def test_large_numbers_have_three_digits(value: float, text: str) -> None:
    assert shorten(value) == text
