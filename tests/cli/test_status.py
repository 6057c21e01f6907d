"""`mtlbench status`: what it counts is what the folders hold, and nothing in them stops it."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from mtlbench.cli.main import main
from mtlbench.spec import Plugin
from mtlbench.store.results import load_results
from mtlbench.store.sealing import write_own
from mtlbench.store.shapes import Failure, FailureKind
from mtlbench.store.store import Store
from tests.support.stores import CHILD, RED, TRIAL, finish, other, result

GRANDCHILD = dataclasses.replace(CHILD, arm="after", parents=(CHILD.key,))


def status(store: Store, *options: str) -> str:
    answer = CliRunner().invoke(main, ["status", "--results", str(store.root), *options])
    assert answer.exit_code == 0, answer.output
    return answer.stdout


def states(store: Store) -> dict[str, tuple[str, str]]:
    return {state.label: (state.state, state.reason) for state in load_results(store.root).states}


# ---------------------------------------------------------------------------------------------------- states
def test_every_state_is_read_off_the_files(store: Store) -> None:
    finish(store, other(0))
    store.plan([other(1), other(2)])
    store.begin(other(2))
    store.fail(other(2), RED, "Traceback\nValueError: too red\n")
    (store.begin(other(4)) / "curve.csv").write_text("half")
    assert states(store) == {
        "one-task colour seed 0": ("done", ""),
        "one-task colour seed 1": ("waiting", ""),
        "one-task colour seed 2": ("failed", "ValueError: too red"),
        "one-task colour seed 4": ("interrupted", ""),
    }


def test_those_behind_a_failed_trial_are_blocked_by_it_however_far(store: Store) -> None:
    store.plan([TRIAL, CHILD, GRANDCHILD])
    assert {state for state, _ in states(store).values()} == {"waiting"}
    store.fail(TRIAL, RED)
    blocked = ("blocked", "one-task colour seed 3")
    assert states(store) == {
        "one-task colour seed 3": ("failed", "ValueError: too red"),
        "stitch seed 3": blocked,
        "after seed 3": blocked,
    }
    failed, *rest = load_results(store.root).failures
    assert failed["status"] == "failed"
    assert {(row["arm"], row["status"]) for row in rest} == {
        ("stitch", "blocked by one-task colour seed 3"),
        ("after", "blocked by one-task colour seed 3"),
    }
    finish(store, TRIAL)
    assert states(store)["after seed 3"] == ("waiting", "")


def test_the_table_has_a_row_for_a_blocked_arm_and_says_by_what(store: Store) -> None:
    store.plan([other(1), CHILD, dataclasses.replace(CHILD, seed=1, net_seed=1, parents=(other(1).key,))])
    scores = [["colour", subset, "acc", "", 50.0] for subset in ("val", "test")]
    finish(store, TRIAL, scores=scores)
    store.fail(other(1), RED)
    answer = CliRunner().invoke(main, ["table", "--results", str(store.root)])
    assert answer.exit_code == 0, answer.output
    assert answer.stdout.splitlines()[-2:] == [
        "failed: one-task, seed 1, colour: ValueError: too red",
        "blocked by one-task colour seed 1: stitch, seed 1",
    ]
    assert [line.split()[:3] for line in answer.stdout.splitlines() if line.startswith("stitch ")] == [
        ["stitch", "0", "-"]
    ]
    answer = CliRunner().invoke(main, ["table", "--format", "csv", "--results", str(store.root)])
    assert "seed 1 blocked by one-task colour seed 1" in answer.stdout
    (store.folder(TRIAL) / "result.json").unlink()
    answer = CliRunner().invoke(main, ["table", "--results", str(store.root)])
    assert answer.exit_code == 2 and "1 trials failed; the first, one-task seed 1: ValueError" in answer.stderr


def test_running_is_what_a_living_run_says_is_running(store: Store) -> None:
    store.plan([TRIAL, other(1)])
    with store.open("p", "d") as board:
        assert states(store)["one-task colour seed 3"] == ("waiting", "")
        store.begin(TRIAL)
        board.note({TRIAL.key: 0.42}, 300.0)
        assert states(store) == {TRIAL.label: ("running", "42 %"), other(1).label: ("waiting", "")}
        said = status(store)
        assert f"a run is working on p, d: process {os.getpid()} on " in said and ", about 5 min left" in said
        assert "running: one-task colour seed 3: 42 %" in said
        left_over = board.path.read_text()
    assert not board.path.exists()
    board.path.write_text(left_over)  # as a killed run leaves it
    assert states(store)["one-task colour seed 3"] == ("waiting", "")
    assert "a run is working" not in status(store)


def test_a_done_trial_without_what_its_children_need_says_so(store: Store) -> None:
    folder = finish(store, files={"weights.pt": [4, "seal"]})
    (folder / "weights.pt").write_text("123")
    assert states(store)[TRIAL.label] == ("done", "weights.pt damaged: the next run trains it anew")
    assert f"damaged: {TRIAL.label}: weights.pt damaged" in status(store)


def test_older_formats_are_told_apart_with_and_without_a_result(store: Store) -> None:
    finish(store, format=1)
    folder = store.begin(other(1))
    store.fail(other(1), RED)
    up_to_3 = {**other(1).to_json(), "tasks": ["colour"], "task_versions": {"colour": 1}}
    (folder / "trial.json").write_text(json.dumps(up_to_3))
    folder.rename(folder.with_name("0123456789ab"))  # another format makes another key of the same trial
    assert {state for state, _ in states(store).values()} == {"outdated"}
    loaded = load_results(store.root)
    assert loaded.frame.empty and not loaded.failures
    (problem,) = loaded.problems
    assert problem == "1 trial of an older format; this mtlbench trains them anew; mtlbench clean removes them"


# ---------------------------------------------------------------------------------------------------- what is shown
def test_the_table_counts_by_arm_and_leaves_out_states_that_no_trial_is_in(store: Store) -> None:
    weights = b"x" * 1500
    for seed in (0, 1):
        (finish(store, other(seed)) / "weights.pt").write_bytes(weights)
    store.plan([CHILD])
    (store.folder(other(1)) / "resume.pt").write_bytes(weights)
    head, one_task, stitch, space = status(store).splitlines()
    assert head.split() == ["pair", "data", "set", "recipe", "arm", "trials", "done", "waiting", "space"]
    assert one_task.split()[:6] == ["p", "d", "smoke", "one-task", "2", "2"]
    assert stitch.split()[:6] == ["p", "d", "smoke", "stitch", "1", "1"]
    bytes_ = sum(path.stat().st_size for path in store.root.glob("p/d/*/*"))
    assert f"{bytes_ / 1000:.1f} kB, of it weights 3.0 kB and resume files 1.5 kB; " in space
    assert space.endswith("free on that disk")


def test_failures_are_named_and_told_in_full(store: Store) -> None:
    store.plan([TRIAL, CHILD])
    failure = Failure(FailureKind.ERROR, "ValueError", "[red] \x1b[31m")
    store.fail(TRIAL, failure, "Traceback\n  [bold]line 3\nValueError: [red] \x1b[31m\n")
    said = status(store)
    assert "failed: one-task colour seed 3: ValueError: [red] ?[31m" in said
    assert "blocked: stitch seed 3 waits for one-task colour seed 3, which failed" in said
    whole = status(store, "--failed")
    assert str(store.folder(TRIAL)) in whole and "Traceback\n  [bold]line 3\nValueError: [red] ?[31m" in whole
    finish(store, TRIAL)
    assert status(store, "--failed") == "no trial failed\n"


def test_an_empty_store_says_how_to_begin(tmp_path: Path) -> None:
    for _ in range(2):
        answer = CliRunner().invoke(main, ["status", "--results", str(tmp_path / "none")])
        assert answer.exit_code == 0 and "no trials in" in answer.stdout and "mtlbench run" in answer.stdout
    assert not (tmp_path / "none").exists()


def test_status_imports_neither_torch_nor_ray_nor_pandas(store: Store) -> None:
    finish(store)
    code = (
        f"import sys; from mtlbench.cli.main import main; main(['status', '--results', {str(store.root)!r}],"
        " standalone_mode=False)"
    )
    tail = "\nfinally: print([m for m in ('torch', 'ray', 'pandas') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", f"try:\n {code}{tail}"], capture_output=True, text=True, check=True)
    assert out.stdout.strip().endswith("[]")


# ---------------------------------------------------------------------------------------------------- hostile folders
HOSTILE = ["", "{", "[]", "3", "null", "\x00", "[" * 100_000, '{"a": NaN}', '"\\ud800"', '{"pair": 3}', "9" * 5000]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("name", ["trial.json", "result.json", "names.json", "failure.json", "error.txt"])
def test_no_content_of_a_file_stops_load_or_status(store: Store, name: str, text: str) -> None:
    finish(store, other(1))
    failed = name in ("failure.json", "error.txt")
    folder = store.begin(TRIAL) if failed else finish(store)
    if name == "error.txt":
        store.fail(TRIAL, RED, "Traceback")
    (folder / name).write_text(text)
    loaded = load_results(store.root)
    assert set(loaded.frame["seed"]) >= {1} and len(loaded.failures) == failed
    status(store)


FIELDS = [
    ("arm", {"x": 1}),
    ("seed", "one"),
    ("tasks", []),
    ("tasks", [[1]]),
    ("parents", [3]),
    ("recipe_name", None),
    ("backbone", {"name": "b", "options": 3}),
    ("dataset", {"name": ["d"]}),
    ("arm", "\ud800\x1b[2J"),
]


@pytest.mark.parametrize(("field", "value"), FIELDS)
def test_no_wrong_type_in_trial_json_stops_load_or_status(store: Store, field: str, value: object) -> None:
    folder = finish(store)
    write_own(folder / "trial.json", TRIAL.key, {**TRIAL.to_json(), field: value})
    loaded = load_results(store.root)
    assert loaded.frame.empty or field == "arm"
    assert "\x1b" not in status(store)


RESULTS = [
    {"scores": [1]},
    {"scores": [["colour", "val", "acc", "", "x"]]},
    {"cost": {"seconds": []}},
    {"scores": [["none", "val", "acc", "", 1]]},
    {"cost": {"seconds": None}},
    {"metrics": {"colour": 3}},
    {"files": {"../x": [1, ""]}},
    {"files": {"w": [1]}},
    {"files": ["weights.pt"]},
    {"scores": [["colour", "val", "acc", [], 1]]},
    {"scores": [["colour", "val", "acc", "", 10**400]]},
]


@pytest.mark.parametrize("changes", RESULTS, ids=str)
def test_no_wrong_type_in_result_json_stops_load_or_status(store: Store, changes: dict[str, object]) -> None:
    finish(store, other(1))
    folder = finish(store)
    write_own(folder / "result.json", TRIAL.key, result(**changes))
    loaded = load_results(store.root)
    assert set(loaded.frame["seed"]) == {1}
    assert loaded.problems == [f"{folder / 'result.json'} is damaged; run the same command again to train it anew"]
    status(store)


def test_only_real_folders_named_by_a_key_count(store: Store, tmp_path: Path) -> None:
    real = finish(store)
    elsewhere = Store(tmp_path / "elsewhere", create=True)
    finish(elsewhere, other(7))
    (store.root / "link").symlink_to(elsewhere.root / "p")
    (store.root / "p" / "link").symlink_to(elsewhere.root / "p" / "d")
    (real.parent / "aaaaaaaaaaaa").symlink_to(elsewhere.folder(other(7)))
    for name in ("notes", "ABCDEFABCDEF", ".lock.d", "0123456789abc"):
        (real.parent / name).mkdir()
        (real.parent / name / "result.json").write_text("{}")
    (real.parent / "bbbbbbbbbbbb").write_text("a file")
    loaded = load_results(store.root)
    assert [state.folder for state in loaded.states] == [real]
    assert set(loaded.frame["seed"]) == {3} and not loaded.problems


def test_odd_kinds_of_files_and_a_trial_that_is_its_own_ancestor_stop_nothing(store: Store) -> None:
    folder = store.begin(TRIAL)
    (folder / "result.json").mkdir()
    store.fail(TRIAL, RED, "Traceback")
    (folder / "error.txt").unlink()
    os.mkfifo(folder / "error.txt")
    loop = store.begin(other(1))
    write_own(loop / "trial.json", loop.name, {**other(1).to_json(), "parents": [loop.name]})
    store.plan([dataclasses.replace(CHILD, parents=(loop.name,))])
    (store.root / "p" / "d" / ".running.json").write_text("[]")
    (store.root / "p" / "d" / ".lock").write_bytes(b"\xff")
    status(store)
    status(store, "--failed")
    with store.open("p", "d") as board:
        for text in ("{", '{"running": 3}', '{"running": {"x": "y"}, "seconds_left": "soon"}', '{"started": 1e99}'):
            board.path.write_text(text)
            assert "a run is working on p, d: process" in status(store)
    assert not store.done(dataclasses.replace(TRIAL, dataset=Plugin("none")))
