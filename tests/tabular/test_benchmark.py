"""Tables: what a study's numbers become, and what a question to them gives."""

from __future__ import annotations

import itertools
import json
import math
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import mtlbench
from mtlbench.analysis.frame import mean_over_tasks, relative_change
from mtlbench.errors import UserError
from mtlbench.tabular.benchmark import TABLES, Benchmark, list_tables
from mtlbench.tabular.content import ABOUT, SCORES
from mtlbench.tabular.export import tabulate, write_table
from tests.support.benchmarks import make_content
from tests.support.places import ROOT
from tests.support.synthetic_results import results_frame
from tests.support.worlds import World

ARMS = ("one-task", "split-conv4", "split-fc8", "ensemble", "cross-stitch")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(make_content(), tmp_path_factory.mktemp("t") / "table")


@pytest.fixture(scope="module")
def world() -> World:
    return World(results_frame("semseg_sn", (0, 1), ARMS))  # of normals less is better


# ------------------------------------------------------------------------------------------------ what a study becomes
def test_changes_are_those_of_tables_and_figures(world: World) -> None:
    benchmark = Benchmark.of(tabulate(world))
    for subset in ("val", "test"):
        means = mean_over_tasks(relative_change(world.frame, subset=subset), "pair")
        assert len(means) == len(ARMS) * 2
        for row in means.to_dict("records"):
            assert benchmark.query(row["arm"], seed=row["seed"], subset=subset) == pytest.approx(row["change"])
        over_seeds = means.groupby("arm")["change"].mean()
        assert benchmark.query("split-fc8", subset=subset) == pytest.approx(over_seeds["split-fc8"])


def test_metrics_costs_and_architectures_are_the_studys(world: World) -> None:
    benchmark = Benchmark.of(tabulate(world))
    rows = world.frame[(world.frame["arm"] == "split-conv4") & (world.frame["seed"] == 1)]
    pixacc = rows[(rows["subset"] == "test") & (rows["metric"] == "pixacc")]["value"].item()
    assert benchmark.query("split-conv4", seed=1, metric="semseg pixacc") == pixacc
    assert benchmark.query("one-task", seed=0, metric="parameters") == 3e6  # two networks of 1.5e6
    # Two networks of 3 x 2.5e8 x 2.4e4 each, and cross-stitch's of twice the size.
    assert benchmark.query("one-task", metric="training_flops") == 2 * 3 * 2.5e8 * 2.4e4
    assert benchmark.query("cross-stitch", metric="training_flops_with_parents") == 2 * 2 * 3 * 2.5e8 * 2.4e4
    assert benchmark.architectures["cross-stitch"].parents == ["one-task"]
    assert "ensemble-member" not in benchmark.arms and benchmark.tasks == ["normals", "semseg"]
    assert benchmark.about.recipe == "quick" and "CVPR" in benchmark.about.citation[1]


def test_a_study_without_one_task_makes_no_table() -> None:
    frame = results_frame(seeds=(0,), arms=("split-conv4",))
    with pytest.raises(UserError, match="changes against one-task, which was not trained"):
        tabulate(World(frame[frame["arm"] != "one-task"]))


# ------------------------------------------------------------------------------------------------ files
def test_files_say_what_the_table_in_memory_says(table: Path) -> None:
    read, made = mtlbench.Benchmark(table), Benchmark.of(make_content())
    assert read.architectures == made.architectures and read.metrics == made.metrics and read._values == made._values
    assert {path.suffix for path in table.iterdir()} == {".json", ".parquet"}
    assert json.loads((table / ABOUT).read_text())["licence"] == "CC0-1.0"


def test_a_table_is_not_replaced_unasked(table: Path) -> None:
    with pytest.raises(UserError, match="type --force to replace it"):
        write_table(make_content(), table)
    assert write_table(make_content(), table, force=True) == table


def test_what_was_changed_cut_off_or_is_newer_is_refused_in_one_line(table: Path, tmp_path: Path) -> None:
    def broken(name: str, content: bytes) -> Path:
        folder = write_table(make_content(), tmp_path / f"{name}{len(content)}")
        (folder / name).write_bytes(content)
        return folder

    about = json.loads((table / ABOUT).read_text())
    for folder, words in (
        (broken(SCORES, (table / SCORES).read_bytes()[:-1]), "is not the file that the table was written with"),
        (broken(ABOUT, b"{}"), "cannot be read as a table"),
        (broken(ABOUT, json.dumps({**about, "format": 99}).encode()), "upgrade mtlbench"),
        (tmp_path / "nothing", "is no table; type: mtlbench export"),
    ):
        with pytest.raises(UserError, match=words):
            Benchmark(folder)


@pytest.mark.slow
def test_a_table_is_read_in_a_second_without_torch_and_asked_in_microseconds(tmp_path: Path) -> None:
    gains = {**{f"split-{place}": float(place) for place in range(150)}, "one-task": 0.0}
    folder = write_table(make_content(gains=gains), tmp_path / "table")  # 453 trials of joint networks
    code = f"""
import sys, time
import mtlbench
begin = time.process_time()
benchmark = mtlbench.Benchmark({str(folder)!r})
loaded = time.process_time()
for _ in range(10_000): benchmark.query("split-7", seed=1)
print(loaded - begin, (time.process_time() - loaded) / 10_000)
print([name for name in ("torch", "pandas", "ray", "matplotlib") if name in sys.modules])
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    load, query = map(float, out[0].split())
    assert load < 1.0 and query < 20e-6 and out[1] == "[]", out


# ------------------------------------------------------------------------------------------------ questions
def test_a_question_gives_the_number(table: Path) -> None:
    benchmark = Benchmark(table)
    assert benchmark.query("split-fc", seed=0) == pytest.approx(100 * (3.0 / 50.5 + 0.6 / 10.1) / 2)
    assert benchmark.query("split-fc", seed=2, metric="a") == 53 + 1
    assert benchmark.query("split-fc", metric="b error") == pytest.approx(9.4 + 0.1)
    assert benchmark.query("split-fc", seed=0, metric="a", subset="val", iteration=20) == 51.5
    assert benchmark.iterations["split-fc"] == [10, 20, 40, 80]


def test_an_architecture_is_found_by_its_groups_or_stages(table: Path) -> None:
    benchmark = Benchmark(table)
    shared = [["b", "a"]]
    apart = [["a"], ["b"]]
    assert benchmark.find([shared, shared, apart, apart]) == "split-conv2"
    assert benchmark.query(architecture=[shared] * 4) == benchmark.query("split-fc8")
    assert benchmark.find(benchmark.architectures["cross-stitch"].stages) == "cross-stitch"  # by its unit
    with pytest.raises(UserError, match="no arm of the table has this architecture"):
        benchmark.find([shared] * 3)
    with pytest.raises(UserError, match="stage 0: give its groups"):
        benchmark.find([7])


def test_what_the_table_does_not_have_is_named(table: Path) -> None:
    benchmark = Benchmark(table)
    for question, words in (
        ({"arm": "split"}, "no arm called 'split'"),
        ({"arm": "split-fc", "metric": "mAP"}, "no metric called 'mAP'"),
        ({"arm": "split-fc", "seed": 9}, "9 is no seed of the table: 0, 1, 2"),
        ({"arm": "split-fc", "iteration": 20}, "at iteration 10, 20, 40, 80"),
        ({"arm": "split-fc", "subset": "train"}, "the table has no change on train of split-fc"),
        ({}, "name an arm, or give an architecture"),
    ):
        with pytest.raises(UserError, match=words):
            benchmark.query(**question)


def test_the_page_on_tables_runs_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arms = ("one-task", "split-fc6", "cross-stitch")
    write_table(tabulate(World(results_frame("det_attr", (0, 1), arms))), tmp_path / "det_attr_table")
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "table.md").read_text(), flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(block, "docs/table.md", "exec"), names)
    assert names["benchmark"].query(architecture=[one.groups for one in names["stages"]]) == names["benchmark"].query(
        "split-fc6"
    )


def test_networks_of_one_task_that_train_differently_long_stand_at_one_point() -> None:
    content = make_content()
    scores = content.scores
    for place, (arm, task, subset) in enumerate(zip(scores["arm"], scores["task"], scores["subset"], strict=True)):
        if (arm, task, subset) == ("one-task", "b", "curve"):
            scores["iteration"][place] //= 2
    benchmark = Benchmark.of(content)
    assert benchmark.iterations["one-task"] == [10, 20, 40, 80]
    assert benchmark.query("one-task", seed=0, subset="val", iteration=20) == 0.0


def test_tables_of_the_package_are_whole_small_and_asked_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All 71 ways in which three tasks may part and never meet again; a folder of the same name comes first."""
    assert sum(file.stat().st_size for name in list_tables() for file in (TABLES / name).iterdir()) < 5e6
    for name in list_tables():
        benchmark = Benchmark(name)
        assert benchmark.query("one-task") == 0.0 and len(benchmark.seeds) == 3
        for arm, seed in itertools.product(benchmark.arms, benchmark.seeds):
            assert math.isfinite(benchmark.query(arm, seed=seed))
            assert benchmark.query(arm, seed=seed, metric="training_flops_with_parents") > 0
    families = Counter(one.family for one in Benchmark("dense3_trees").architectures.values())
    assert families == {"baseline": 1, "split": 7, "tree": 63, "cross-stitch": 1}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "det_attr").mkdir()
    with pytest.raises(UserError, match="is no table"):
        Benchmark("det_attr")
