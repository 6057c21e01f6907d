"""What is said of who helps whom, its table, and its section of the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mtlbench.analysis.affinity import affinities
from mtlbench.analysis.selection import NEWEST
from mtlbench.errors import UserError
from mtlbench.report.affinity_table import affinity_table
from mtlbench.report.render import render
from mtlbench.report.report import report
from mtlbench.report.sentences import affinity_sentences, write_sentences
from mtlbench.report.verdict import reach_verdict
from mtlbench.use.results import make_table
from tests.support.twos import THREE, architectures, twos, twos_frame
from tests.support.worlds import World

DET, ATT, SEM = THREE
EFFECTS = {(DET, ATT): 14.0, (ATT, DET): 11.0, (SEM, ATT): -12.0}
NETWORKS = {"split-fc8": 2.0, "split-fc6": 1.0, "tree-conv2:det+att-fc8": 5.0, "tree-fc6:det+att-fc8": 4.0}


class TwosWorld(World):
    """A made-up study with networks of two tasks."""

    def architectures_of(self, frame: Any) -> dict[str, Any]:
        return architectures(list(frame["arm"].unique()))


def said(**options: Any) -> list[str]:
    return affinity_sentences(affinities(twos(**options)))


def test_who_gains_and_who_loses_is_said_with_intervals_and_the_grouping_that_follows() -> None:
    first, second = said(effects=EFFECTS, noise=0.5, seeds=range(6))
    begin = "In networks of two tasks (Split fc8), detection gains 1"
    assert first.startswith(begin) and "] by attributes, attributes gains 1" in first
    assert " and semseg loses 1" in first and "; not shown: 3 of 6 (the largest: " in first
    begin = "Of 5 groupings of the tasks, val chooses detection + attributes | semseg (+"
    assert second.startswith(begin) and "measured in these networks); on test it beats one-task by " in second


def test_nothing_is_said_to_differ_within_noise_or_without_intervals() -> None:
    first, second = said(noise=3.0)
    assert first.startswith(
        "In networks of two tasks (Split fc8), no task is shown to gain or lose by another; the largest of 6"
    )
    assert "is within noise of one-task" in second or "stays alone" in second
    first, second = said(effects=EFFECTS, seeds=(0,))
    assert first.endswith(
        "nothing is shown without an interval (from 3 seeds on); the largest change: detection by attributes, +14.0 %."
    )
    assert second.endswith("on test it stands at +8.3 % against one-task (no interval).")


def test_a_study_in_which_every_task_harms_every_other_suggests_none_together() -> None:
    cells = {(one, other): -9.0 for one in THREE for other in THREE if one != other}
    assert said(effects=cells)[1] == "Of 5 groupings of the tasks, val chooses that every task stays alone."


def test_a_larger_grouping_is_said_to_be_predicted() -> None:
    cells = {(one, other): 9.0 for one in THREE for other in THREE if one != other}
    (line,) = [line for line in said(effects=cells, noise=0.2, seeds=range(4)) if line.startswith("Of 5")]
    assert "detection + attributes + semseg" in line and "predicted from these networks" in line


def test_the_table_has_a_row_an_effect_and_a_row_a_grouping() -> None:
    results = twos(EFFECTS, noise=0.5, networks=NETWORKS)
    table = affinity_table(results)
    assert [row.apart for row in table.rows] == [False] * 6 + [True] * 5
    lines = render(table).splitlines()
    (best,) = [line for line in lines if "detection + attributes | semseg" in line]
    assert "+ measured" in " ".join(best.split()) and best.split()[-1] == "(2)"
    assert "allows for all 6" in render(table)
    (row,) = [line for line in render(table, "csv").splitlines() if "detection + attributes | semseg" in line]
    assert "tree-conv2:det+att-fc8 +" in row and "(2)" not in row
    assert render(make_table(results, "affinity", False, NEWEST)) == render(table)
    with pytest.raises(UserError, match="--paper: published values stand beside a table of the paper|no table"):
        make_table(results, "affinity", True, NEWEST)


@pytest.mark.slow
def test_the_page_has_a_section_and_the_command_and_the_trees_have_theirs(tmp_path: Path) -> None:
    results = TwosWorld(twos_frame(EFFECTS, noise=0.5, seeds=range(6), networks=NETWORKS))
    results.frame["pair"] = "dense3"
    found = reach_verdict(results)
    assert found.says_difference and any("gains" in line for line in write_sentences(found))
    text = report(results, tmp_path / "report.html").read_text()
    section = text.partition('<details id="affinity">')[2].partition("</details>")[0]
    assert "detection gains 1" in section and 'id="affinity-figure_1"' in section and "measured" in section
    assert text.count('id="affinity-figure_1"') == 1
    run = "mtlbench run --pair dense3 --dataset rooms --recipe quick --seeds 0,1,2,3,4,5"
    assert f"\n{run} --arm split-fc8 --affinity split-fc8\nmtlbench report " in text
    assert f"\n{run} --arm tree-conv2:det+att-fc8 --arm tree-fc6:det+att-fc8\n" in text
    assert "FILE.py:Class" not in text
