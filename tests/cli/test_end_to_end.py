"""The command line from end to end on the smoke recipe: what it makes, what it refuses, what it survives."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

import click
import pandas as pd
import pytest

from mtlbench import load_results
from mtlbench.cli import run
from mtlbench.cli.main import COMMANDS, main
from mtlbench.spec import FORMAT
from mtlbench.store.store import Store
from tests.support.commands import LOCAL, SMOKE, cli, folders, get_refusal, numbers, start, works
from tests.support.processes import process_ids

pytestmark = pytest.mark.slow

SHORT = ("--arm", "one-task", "--arm", "cross-stitch")  # 3 trials, one with parents

SCHEMES = '''
class Trunk:
    """All stages in common."""
    version = 1
    def groups(self, stage, tasks):
        return [tasks]
    def unit(self, stage, tasks):
        return None

class Broken(Trunk):
    def groups(self, stage, tasks):
        raise RuntimeError("no such plan")

class Versionless:
    def groups(self, stage, tasks):
        return [tasks]
'''
OPTIONS = [
    "--address",
    "--affinity",
    "--all-schemes",
    "--all-splits",
    "--all-trees",
    "--arm",
    "--backbone",
    "--balance",
    "--batch-norm",
    "--column",
    "--csv",
    "--data-option",
    "--data-root",
    "--dataset",
    "--decoder",
    "--dry-run",
    "--executor",
    "--force",
    "--gpus-per-trial",
    "--group",
    "--images",
    "--init",
    "--keep-weights",
    "--loss-weight",
    "--loss-weight-grid",
    "--lr-grid",
    "--max-arms",
    "--pair",
    "--precision",
    "--recipe",
    "--results",
    "--resume-every",
    "--scheme",
    "--seeds",
    "--space",
    "--task-option",
    "--track",
    "--tune",
    "--val-fraction",
    "--weighting",
    "--weights",
]


def snapshot(results: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of every file."""
    return {
        str(path.relative_to(results)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(results.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a short study; never to be changed."""
    results = tmp_path_factory.mktemp("study") / "results"
    works(*LOCAL, *SHORT, "--results", results)
    return results


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    """A copy of the short study."""
    return Path(shutil.copytree(finished, tmp_path / "results"))


@pytest.fixture(scope="module")
def schemes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("schemes") / "mine.py"
    path.write_text(SCHEMES)
    return path


# ---------------------------------------------------------------------------------------------------- running
def test_a_run_makes_every_trial_and_the_next_one_trains_nothing(study: Path) -> None:
    assert set(folders(study)) == {"one-task detection", "one-task attributes", "cross-stitch detection attributes"}
    before = snapshot(study)
    said = works(*LOCAL, *SHORT, "--results", study)
    assert "3 trials, 3 of them done" in said and "nothing to do" in said
    assert snapshot(study) == before


def test_only_what_is_missing_is_trained(study: Path) -> None:
    before = snapshot(study)
    missing = folders(study)["cross-stitch detection attributes"]
    shutil.rmtree(missing)
    assert "3 trials, 2 of them done" in works(*LOCAL, *SHORT, "--results", study)
    after = snapshot(study)
    assert after.keys() == before.keys()
    assert all(before[name] == after[name] for name in before if missing.name not in name)


def test_force_trains_the_named_arms_again_with_the_same_numbers(study: Path) -> None:
    before, values = snapshot(study), numbers(study)
    assert "3 trials, 2 of them done" in works(*LOCAL, *SHORT, "--results", study, "--force", "cross*")
    after = snapshot(study)
    again = folders(study)["cross-stitch detection attributes"].name
    assert {name for name in before if before[name] != after[name]} == {n for n in before if again in n}
    pd.testing.assert_frame_equal(values, numbers(study))


def test_a_second_run_on_the_same_store_is_refused_while_the_first_works(study: Path) -> None:
    with Store(study).open("det_attr", "rooms"):
        result = cli(*LOCAL, "--arm", "split-conv2", "--results", study)
    assert result.exit_code == 2 and f"another run (process {os.getpid()})" in result.stderr
    with Store(study).open("det_attr", "rooms"):
        pass


def test_dry_run_lists_trials_and_writes_nothing(study: Path, tmp_path: Path) -> None:
    said = works(*LOCAL, *SHORT, "--results", tmp_path / "none", "--dry-run")
    head, *rows = [line.split() for line in said.splitlines()[:-1]]
    assert re.fullmatch(r"3 trials to run, which write about [3-9]\.\d MB", said.splitlines()[-1])
    assert head == ["arm", "task", "seed", "key", "iterations", "parameters", "FLOPs", "state"]
    assert [row[:3] for row in rows] == [
        ["one-task", "detection", "0"],
        ["one-task", "attributes", "0"],
        ["cross-stitch", "all", "0"],
    ]
    assert [" ".join(row[9:]) for row in rows] == [
        "ready",
        "ready",
        "waits for one-task detection seed 0 and one-task attributes seed 0",
    ]
    assert not (tmp_path / "none").exists()
    before = snapshot(study)
    said = works(*LOCAL, *SHORT, "--results", study, "--dry-run")
    assert [line.split()[-1] for line in said.splitlines()[1:-1]] == ["cached"] * 3
    assert said.splitlines()[-1] == "0 trials to run, which write about 0 B"
    assert snapshot(study) == before
    keys = {folder.name for folder in folders(study).values()}
    assert {row[3] for row in rows} == keys


def test_a_run_that_the_disk_cannot_hold_is_refused_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    result = cli(*LOCAL, *SHORT, "--results", tmp_path / "results")
    (line,) = result.stderr.splitlines()
    assert result.exit_code == 2 and re.search(r"3 trials write about [3-9]\.\d MB", line)
    assert f"1.0 MB are free on the disk of {tmp_path / 'results'}; make room" in line
    assert not list(tmp_path.rglob("trial.json"))


def test_seeds_can_be_added_later(study: Path) -> None:
    before = snapshot(study)
    said = works(*SMOKE, "--executor", "local", "--seeds", "0,3", "--arm", "one-task", "--results", study)
    assert "4 trials, 2 of them done" in said
    after = snapshot(study)
    assert all(after[name] == before[name] for name in before)
    frame = load_results(study).frame
    assert set(frame.loc[frame["arm"] == "one-task", "seed"]) == {0, 3}
    assert set(frame.loc[frame["arm"] == "cross-stitch", "seed"]) == {0}


def test_arms_are_chosen_by_glob_and_bring_their_parents(tmp_path: Path) -> None:
    def listed(*options: str) -> list[str]:
        said = works(*LOCAL, *options, "--results", tmp_path / "none", "--dry-run")
        return list(dict.fromkeys(line.split()[0] for line in said.splitlines()[1:-1]))

    assert listed("--arm", "split-fc*") == ["split-fc6", "split-fc7", "split-fc8"]
    assert listed("--arm", "cross*") == ["one-task", "cross-stitch"]
    assert listed("--arm", "*-wide") == ["one-task-wide", "split-fc8-wide"]
    assert listed() == ["one-task", "split-conv3", "split-fc6", "split-fc8", "cross-stitch"]
    every = listed("--all-splits")
    assert len(every) == 13 and [arm for arm in every if arm.startswith("split-")] == [
        f"split-{stage}" for stage in ("conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
    ]


# ---------------------------------------------------------------------------------------------------- showing
def test_the_table_comes_in_three_formats(finished: Path) -> None:
    text, csv, markdown = (
        works("table", "--results", finished, "--format", name) for name in ("text", "csv", "markdown")
    )
    for arm in ("one-task", "cross-stitch"):
        assert arm in text and arm in csv and arm in markdown
    assert "det_attr on rooms" in text and "recipe smoke" in text
    frame = pd.read_csv(StringIO(csv), comment="#")
    assert {"one-task", "cross-stitch"} <= set(frame["arm"])
    assert any(line.startswith("|") and set(line) <= set("|-: ") for line in markdown.splitlines())
    assert works("table", "--results", finished) == text


def test_figure2_is_drawn_as_png_and_svg(study: Path) -> None:
    said = works("plot", "figure2", "--results", study)
    assert (study / "figure2.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert "<svg" in (study / "figure2.svg").read_text()[:2000]
    assert "det_attr on rooms" in said and "1 seed" in said
    works("plot", "figure2", "--results", study, "--out", study / "own.pdf")
    assert (study / "own.pdf").read_bytes()[:4] == b"%PDF"


# ---------------------------------------------------------------------------------------------------- schemes, failures
def test_an_own_scheme_is_an_arm(schemes: Path, study: Path) -> None:
    said = works(*LOCAL, "--arm", "one-task", "--scheme", f"{schemes}:Trunk", "--results", study)
    assert "2 arms, 1 seeds, 3 trials, 2 of them done" in said
    assert "trunk" in works("table", "--results", study)
    (shared,) = load_results(study).architectures_of(load_results(study).frame.query("arm == 'trunk'")).values()
    assert all(stage["groups"] == [["detection", "attributes"]] and not stage["unit"] for stage in shared)


def test_a_scheme_that_raises_is_a_named_failure_and_the_others_go_on(schemes: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    result = cli(*LOCAL, "--arm", "one-task", "--scheme", f"{schemes}:Broken", "--results", results)
    assert result.exit_code == 1 and result.stderr == ""
    assert "failed: broken seed 0: RuntimeError: no such plan" in result.stdout
    assert "Traceback" not in result.stdout
    assert "2 of 3 trials done" in result.stdout
    error = (folders(results)["broken detection attributes"] / "error.txt").read_text()
    assert error.startswith("Traceback") and 'raise RuntimeError("no such plan")' in error
    table = works("table", "--results", results)
    assert "broken" in table and "RuntimeError: no such plan" in table
    alone = Path(shutil.copytree(results, tmp_path / "alone"))
    for folder in folders(alone).values():
        (folder / "result.json").unlink(missing_ok=True)
    assert "1 trials failed; the first, broken seed 0: RuntimeError" in get_refusal("table", "--results", alone)
    schemes_fixed = schemes.with_name("fixed.py")
    schemes_fixed.write_text(SCHEMES.replace('raise RuntimeError("no such plan")', "return [tasks]"))
    said = works(*LOCAL, "--arm", "one-task", "--scheme", f"{schemes_fixed}:Broken", "--results", results)
    assert "3 trials, 2 of them done" in said  # what failed is tried again, and nothing else
    assert not load_results(results).failures


def test_children_of_a_failed_trial_are_blocked_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mtlbench.training import trial as module

    def half(trial, *rest, **more):  # type: ignore[no-untyped-def]
        if trial.task_names == ("detection",) and not trial.parents:
            raise FloatingPointError("the loss is nan")
        yield from run(trial, *rest, **more)

    run = module.run_trial
    monkeypatch.setattr(module, "run_trial", half)
    results = tmp_path / "results"
    result = cli(*LOCAL, *SHORT, "--arm", "split-fc8", "--results", results)
    assert result.exit_code == 1
    assert "failed: one-task detection seed 0: FloatingPointError: the loss is nan" in result.stdout
    assert "blocked: cross-stitch seed 0 waits for one-task detection seed 0, which failed" in result.stdout
    assert "2 of 4 trials done" in result.stdout
    assert set(load_results(results).frame["arm"]) == {"one-task", "split-fc8"}
    monkeypatch.undo()
    assert "4 trials, 2 of them done" in works(*LOCAL, *SHORT, "--arm", "split-fc8", "--results", results)


# ---------------------------------------------------------------------------------------------------- mistakes
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--space", "semseg_sn"), "--pair and --space mean the same"),
        (("--seeds", "0-x"), "'--seeds': '0-x' is not a list"),
        (("--seeds", "2-0"), "'--seeds': '2-0' is not a list"),
        (("--seeds", "1,1"), "'--seeds': '1,1' is not a list"),
        (("--seeds", "-1"), "'--seeds': '-1' is not a list"),
        (("--lr-grid", "1,fast"), "'--lr-grid': 'fast' is not a number above 0"),
        (("--loss-weight-grid", "1"), "'--loss-weight-grid': 1 is not in the range x>=2"),
        (("--init", "imagenett"), "'--init': no start called 'imagenett'. Did you mean 'imagenet'?"),
        (("--loss-weight", "more"), "'--loss-weight': 'more': write equal"),
        (("--data-option", "size"), "'--data-option': 'size': write NAME=VALUE"),
        (("--task-option", "size=3"), "'--task-option': 'size=3': write TASK.NAME=VALUE"),
    ],
)
def test_words_that_are_no_value_are_a_usage_error(options: tuple[str, ...], message: str, tmp_path: Path) -> None:
    result = cli(*LOCAL, "--results", tmp_path / "results", *options)
    assert result.exit_code == 2 and result.stdout == "" and not (tmp_path / "results").exists()
    assert result.stderr.startswith("Usage: main run [OPTIONS]") and message in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--pair", "det_att"), "no pair called 'det_att'. Did you mean 'det_attr'? There are: ablations"),
        (("--pair", "nothing.py"), "no such file"),
        (("--recipe", "smok"), "no recipe called 'smok'. Did you mean 'smoke'?"),
        (("--dataset", "room"), "Did you mean 'rooms'? There are: rooms, voc2008"),
        (("--dataset", "nyuv2"), "no data set for det_attr called 'nyuv2'"),
        (("--arm", "spilt-fc6"), "no arm called 'spilt-fc6'. Did you mean 'split-fc6'?"),
        (("--arm", "ensemble-membre"), "no arm called 'ensemble-membre'"),
        (("--scheme", "nothing.py:Own"), "no such file"),
        (("--scheme", "{mine}:Trunc"), "no class in mine.py called 'Trunc'. Did you mean 'Trunk'?"),
        (("--scheme", "{mine}:Versionless"), "the class has no version and no unit"),
        (("--scheme", "split(at='conv9')"), "no layer to split at called 'conv9'"),
        (("--loss-weight", "det=1"), "no task of det_attr (--loss-weight TASK=WEIGHT) called 'det'"),
        (("--keep-weights", "nothing"), "no arm called 'nothing'"),
        (("--dataset", "voc2008"), "voc2008 needs its files: --data-root DIR"),
        (("--dataset", "voc2008", "--data-root", "{tmp}/nothing"), "--data-root"),
        (("--dataset", "voc2008", "--data-root", "{mine}"), "--data-root"),
        (("--dataset", "nothing.py:Own"), "no such file"),
        (("--results", "{mine}/results"), "cannot be used as a results folder"),
        (("--results", "{mine}"), "cannot be used as a results folder"),
    ],
)
def test_a_mistake_is_answered_in_one_line(
    options: tuple[str, ...], message: str, schemes: Path, tmp_path: Path
) -> None:
    places = {"tmp": tmp_path, "mine": schemes}
    filled = [option.format(**places) for option in options]
    before = schemes.read_text()
    assert message in get_refusal(*LOCAL, "--arm", "one-task", "--results", tmp_path / "results", *filled)
    assert schemes.read_text() == before
    assert not [path for path in tmp_path.rglob("*") if path.name not in ("results", "format.json")]


def test_a_missing_pair_and_wrong_things_to_show_are_answered_in_one_line(finished: Path, tmp_path: Path) -> None:
    assert "for example --pair det_attr" in get_refusal("run")
    assert "no figure called 'figur2'. Did you mean 'figure2'?" in get_refusal("plot", "figur2", "--results", finished)
    out = tmp_path / "none" / "a.png"
    assert f"cannot write {out}" in get_refusal("plot", "figure2", "--results", finished, "--out", out)
    assert "cannot write" in get_refusal("plot", "figure2", "--results", finished, "--out", tmp_path / "a.xyz")
    for command in (("table",), ("plot", "figure2")):
        assert "there are no results yet" in get_refusal(*command, "--results", tmp_path / "none")
        assert "no recipe with results called 'quick'" in get_refusal(
            *command, "--results", finished, "--recipe", "quick"
        )
        assert "no pair with results called" in get_refusal(*command, "--results", finished, "--pair", "semseg_sn")
    assert os.listdir(tmp_path) == []


def test_a_results_folder_of_a_newer_format_is_not_touched(study: Path) -> None:
    (study / "format.json").write_text('{"format": 99}')
    before = snapshot(study)
    for command in ((*LOCAL, *SHORT), (*LOCAL, *SHORT, "--dry-run"), ("table",), ("plot", "figure2")):
        assert "was written in format 99" in get_refusal(*command, "--results", study)
    assert snapshot(study) == before


def test_a_result_of_a_newer_format_is_not_overwritten(study: Path) -> None:
    path = folders(study)["one-task detection"] / "result.json"
    path.write_text(path.read_text().replace(f'"format": {FORMAT}', '"format": 99'))
    before = snapshot(study)
    assert "was written in format 99: upgrade mtlbench" in get_refusal(*LOCAL, *SHORT, "--results", study)
    assert snapshot(study) == before


def test_an_unwritable_results_folder_is_refused_before_training(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # root may write anywhere
    before = snapshot(study)
    assert "cannot be written; use another folder with --results" in get_refusal(*LOCAL, *SHORT, "--results", study)
    assert snapshot(study) == before


def test_damage_is_named_in_one_line_and_mended_by_the_same_command(finished: Path, study: Path) -> None:
    path = folders(study)["one-task detection"] / "result.json"
    path.write_text(path.read_text()[:100])
    half = folders(study)["one-task attributes"]
    for name in ("result.json", "predictions.npz"):  # as if killed in the middle
        (half / name).unlink()
    (half / ".weights.pt.half").write_bytes(b"123")
    result = cli("table", "--results", study)  # cross-stitch is still there
    assert result.exit_code == 0 and "cross-stitch" in result.stdout
    assert result.stderr == f"mtlbench: skipped: {path} is damaged; run the same command again to train it anew\n"
    kept = folders(study)["cross-stitch detection attributes"] / "result.json"
    before = kept.stat().st_mtime_ns
    assert "3 trials, 1 of them done" in works(*LOCAL, *SHORT, "--results", study)
    assert kept.stat().st_mtime_ns == before
    assert set(os.listdir(half)) == {"trial.json", "result.json", "predictions.npz", "curve.csv", "weights.pt"}
    pd.testing.assert_frame_equal(numbers(study), numbers(finished))


# ---------------------------------------------------------------------------------------------------- help
def test_help_is_quick_and_loads_neither_torch_nor_ray() -> None:
    code = (
        "import sys; from mtlbench.cli.main import main; main(['--help'], standalone_mode=False);"
        "print(sorted({'torch', 'ray', 'pandas', 'numpy', 'rich'} & set(sys.modules)))"
    )
    seconds = []
    for _ in range(3):
        start = time.monotonic()
        done = subprocess.run([sys.executable, "-m", "mtlbench", "--help"], capture_output=True, text=True, check=True)
        seconds.append(time.monotonic() - start)
    assert min(seconds) < 0.5
    assert "mtlbench run --pair det_attr --all-splits" in done.stdout
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.splitlines()[-1] == "[]"


def test_the_list_of_commands_says_what_each_of_them_says() -> None:
    """It is written in main.py, so that `--help` imports no command."""
    context = click.Context(main)
    for name, summary in COMMANDS.items():
        command = main.get_command(context, name)
        assert command is not None and command.help
        told = command.help.split()
        assert summary.split()[0] == told[0] and set(re.findall(r"[a-z]{5,}", summary)) <= set(
            re.findall(r"[a-z]{5,}", command.help)
        ), name
    assert main.get_command(context, "fly") is None


def test_the_options_of_run_are_frozen() -> None:
    assert sorted(name for parameter in run.command.params for name in parameter.opts) == OPTIONS
    assert sorted(COMMANDS) == [
        "check",
        "clean",
        "data",
        "export",
        "export-weights",
        "list",
        "new",
        "plot",
        "predict",
        "report",
        "run",
        "search",
        "show",
        "status",
        "table",
        "track",
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_ray_gives_the_numbers_of_local_without_noise_and_leaves_nothing_running(
    finished: Path, tmp_path: Path, mark: str
) -> None:
    results = tmp_path / "results"
    driver = start(mark, *SMOKE, "--seeds", "0", *SHORT, "--results", results)
    out, err = driver.communicate(timeout=120)
    assert driver.returncode == 0, err
    assert err == ""
    first, *between, last = out.splitlines()
    assert first.startswith("det_attr on rooms, recipe smoke") and last.startswith("3 of 3 trials done")
    assert all(re.fullmatch(r"\d of 3 trials done, \d running, \d waiting.*", line) for line in between)
    pd.testing.assert_frame_equal(numbers(results), numbers(finished), check_exact=True)
    for name, folder in folders(results).items():
        twin = folders(finished)[name]
        assert set(os.listdir(folder)) == set(os.listdir(twin))
        for file in {"curve.csv", "alphas.csv"} & set(os.listdir(folder)):
            assert (folder / file).read_bytes() == (twin / file).read_bytes()
    until = time.monotonic() + 5
    while process_ids(mark, driver.pid) and time.monotonic() < until:
        time.sleep(0.1)
    assert process_ids(mark, driver.pid) == []


@pytest.mark.skipif(sys.platform != "linux", reason="kills by session")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_is_completed_by_the_same_command(
    finished: Path, tmp_path: Path, mark: str, how: signal.Signals
) -> None:
    for attempt in range(5):  # on a busy machine the run may end before it is looked at
        results = tmp_path / str(attempt)
        driver = start(mark, *LOCAL, *SHORT, "--results", results)
        while driver.poll() is None:
            if list(results.glob("*/*/*/result.json")):
                os.killpg(driver.pid, how)
                break
            time.sleep(0.002)
        said = driver.communicate()[1]
        if driver.returncode != 0:
            break
    if how == signal.SIGTERM:  # batch systems: as Ctrl-C
        assert driver.returncode == 130 and said.splitlines()[-1].startswith("mtlbench: interrupted; finished trials")
    else:
        assert driver.returncode == -how
    done = {path: path.stat().st_mtime_ns for path in results.glob("*/*/*/result.json")}
    assert 1 <= len(done) < 3
    said = works(*LOCAL, *SHORT, "--results", results)
    assert f"3 trials, {len(done)} of them done" in said
    assert all(path.stat().st_mtime_ns == time_ for path, time_ in done.items())
    pd.testing.assert_frame_equal(numbers(results), numbers(finished), check_exact=True)
    assert sorted(p.name for f in folders(results).values() for p in f.iterdir()) == sorted(
        p.name for f in folders(finished).values() for p in f.iterdir()
    )


def test_tables_of_the_paper_all_figures_and_the_report_of_a_study(finished: Path, tmp_path: Path) -> None:
    assert "cross-stitch" in works("table", "6", "--results", finished)
    assert "\\begin{tabular}" in works("table", "--format", "latex", "--results", finished)
    assert "mtlbench plot alphas" in get_refusal("table", "4", "--results", finished)
    assert "table 5 --paper" in get_refusal("table", "--paper", "--results", finished)
    drawn = cli("plot", "all", "--results", finished, "--out", tmp_path / "figures")
    assert drawn.exit_code == 0
    assert {"figure2.png", "alphas.png", "curves.png"} <= set(os.listdir(tmp_path / "figures"))
    assert "figure6 is left out: " in drawn.output
    page = tmp_path / "report.html"
    assert works("report", "--results", finished, "--out", page).strip() == str(page)
    assert page.read_text().startswith("<!DOCTYPE html>") and "cross-stitch" in page.read_text()
    works("plot", "table4", "--results", finished, "--out", tmp_path / "alphas.png")
    assert (tmp_path / "alphas.png").exists()
