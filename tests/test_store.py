"""The results store: whole files or none, a status that is read off the files, and nothing lost by damage."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest

import mtlbench
from mtlbench.errors import UserError
from mtlbench.spec import FORMAT, Options, Plugin, Trial
from mtlbench.store import COLUMNS, Store, read_result, replacing, write, write_csv

TRIAL = Trial(
    pair="p", arm="one-task", seed=3, recipe_name="smoke", tasks=("colour",), task_versions={"colour": 1}, form="fcn",
    dataset=Plugin("d"), data_root="", fingerprint="f", backbone=Plugin("b", {"width": 0.5}), scheme=Plugin("s"),
    recipe={}, iterations=8, first=0, net_seed=3, average=False, parents=(), setting="abc",
)  # fmt: skip
JOINT = dataclasses.replace(TRIAL, arm="split", tasks=("colour", "size"), scheme=Plugin("split"))
ARCHITECTURE = [{"stage": "conv1", "groups": [["colour"]], "unit": False}]


def result(**changes: Any) -> Options:
    metrics = {"acc": {"unit": "%", "higher_is_better": True, "headline": True}}
    return {
        "format": FORMAT, "files": [], "backbone": "b(width=0.5)", "architecture": ARCHITECTURE,
        "scores": [["colour", "val", "acc", "", 40.0], ["colour", "test", "acc", "red", 50.0]],
        "metrics": {"colour": metrics}, "cost": {"parameters": 7, "seconds": 2.5, "seconds_with_parents": 4.5},
        "finished": "2026-01-02T03:04:05", **changes,
    }  # fmt: skip


def finish(store: Store, trial: Trial = TRIAL, **changes: Any) -> Path:
    folder = store.begin(trial)
    write(folder / "result.json", json.dumps(result(**changes)))
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results", create=True)


# ---------------------------------------------------------------------------------------------------- writing
def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write(path, "old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        assert path.read_text() == "old"
        raise RuntimeError
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]
    write(path, "new")
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["a.txt"]


def test_csv_rows_come_back_and_no_rows_make_no_file(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", [{"x": 1, "y": 0.5}, {"x": 2, "y": 0.25}])
    write_csv(tmp_path / "b.csv", [])
    assert (tmp_path / "a.csv").read_text().split() == ["x,y", "1,0.5", "2,0.25"]
    assert os.listdir(tmp_path) == ["a.csv"]


# ---------------------------------------------------------------------------------------------------- status
def test_a_trial_is_done_when_its_result_and_the_files_that_it_names_are_there(store: Store) -> None:
    folder = store.begin(TRIAL)
    assert folder == store.root / "p" / "d" / TRIAL.key
    assert not store.done(TRIAL)
    write(folder / "result.json", json.dumps(result(files=["weights.pt"])))
    assert not store.done(TRIAL)
    (folder / "weights.pt").touch()
    assert store.done(TRIAL)


def test_a_half_written_folder_is_not_done_not_a_failure_and_cleaned_at_the_next_start(store: Store) -> None:
    folder = store.begin(TRIAL)
    for name in ("curve.csv", ".result.json.x7", "weights.pt"):
        (folder / name).write_text("half")
    assert not store.done(TRIAL)
    loaded = store.load()
    assert loaded.frame.empty and not loaded.failures and not loaded.problems
    assert os.listdir(store.begin(TRIAL)) == ["trial.json"]


def test_a_failure_is_kept_with_its_last_line_until_the_next_attempt(store: Store) -> None:
    store.begin(JOINT)
    store.fail(JOINT, "Traceback\n  somewhere\nValueError: too red\n")
    (failure,) = store.load().failures
    assert failure == {"pair": "p", "dataset": "d", "recipe": "smoke", "backbone": "b(width=0.5)", "arm": "split",
                       "seed": 3, "task": "", "status": "failed", "reason": "ValueError: too red"}  # fmt: skip
    finish(store, JOINT)
    assert not store.load().failures and store.done(JOINT)


# ---------------------------------------------------------------------------------------------------- damage
@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}", '{"format": 1, "scores": []}', '{"format": "x"}', "\x00"])
def test_a_damaged_result_is_named_and_trained_anew(store: Store, text: str) -> None:
    folder = finish(store)
    (folder / "result.json").write_text(text)
    with pytest.raises(UserError, match="result.json is damaged"):
        read_result(folder / "result.json")
    assert not store.done(TRIAL)
    loaded = store.load()
    assert loaded.frame.empty
    assert loaded.problems == [f"{folder / 'result.json'} is damaged; run the same command again to train it anew"]


def test_a_result_of_a_newer_format_is_left_alone(store: Store) -> None:
    folder = finish(store, format=FORMAT + 1)
    with pytest.raises(UserError, match=f"format {FORMAT + 1}: upgrade mtlbench"):
        store.done(TRIAL)  # not "False", which would have it overwritten
    loaded = store.load()
    assert loaded.frame.empty and "upgrade mtlbench" in loaded.problems[0]
    assert (folder / "result.json").exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pair": "p"}'])
@pytest.mark.parametrize("outcome", ["result.json", "error.txt"])
def test_a_damaged_trial_json_is_named_and_the_other_trials_are_shown(store: Store, text: str, outcome: str) -> None:
    folder = finish(store)
    (folder / "result.json").rename(folder / outcome)
    (folder / "trial.json").write_text(text)
    finish(store, JOINT)
    loaded = store.load()
    assert set(loaded.frame["arm"]) == {"split"} and not loaded.failures
    assert loaded.problems == [f"{folder} has no readable trial.json; run the same command again"]


@pytest.mark.parametrize("text", ["{", "[]", "{}", "3", '[{"arm": "x"}]', "[1]"])
def test_a_damaged_names_json_leaves_the_trial_its_own_name(store: Store, text: str) -> None:
    (finish(store) / "names.json").write_text(text)
    assert set(store.load().frame["arm"]) == {"one-task"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps({"format": FORMAT + 1}), f"format {FORMAT + 1}, this mtlbench reads up to {FORMAT}: upgrade"),
        ("{", "format.json is damaged"),
        ("[]", "format.json is damaged"),
        ('{"format": "one"}', "format.json is damaged"),
        ('{"format": null}', "format.json is damaged"),
    ],
)
@pytest.mark.parametrize("create", [False, True])
def test_a_folder_of_a_newer_or_unknown_format_is_refused(store: Store, text: str, message: str, create: bool) -> None:
    (store.root / "format.json").write_text(text)
    with pytest.raises(UserError, match=message):
        Store(store.root, create)
    assert (store.root / "format.json").read_text() == text


def test_reading_creates_nothing(tmp_path: Path) -> None:
    assert Store(tmp_path / "none").load().frame.empty
    assert not (tmp_path / "none").exists()


def test_a_folder_that_cannot_be_made_or_written_is_refused(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be used as a results folder"):
        Store(tmp_path / "file" / "results", create=True)
    (store.root / "p").touch()  # where the pair's folder should be
    with pytest.raises(UserError, match="cannot write to"):
        store.begin(TRIAL)
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # root may write anywhere
    with pytest.raises(UserError, match="cannot be written"):
        Store(store.root, create=True)
    Store(store.root)


# ---------------------------------------------------------------------------------------------------- loading
def test_the_frame_has_one_row_a_number(store: Store) -> None:
    folder = finish(store)
    frame = mtlbench.load_results(store.root)
    assert list(frame.columns) == COLUMNS
    rows = frame.set_index(["subset", "metric", "category"])
    common = ("p", "d", "b(width=0.5)", "smoke", "one-task", 3, folder.name, "colour")
    for key, value, unit, headline in [
        (("val", "acc", ""), 40.0, "%", True),
        (("test", "acc", "red"), 50.0, "%", True),
        (("cost", "parameters", ""), 7.0, "", False),
        (("cost", "seconds_with_parents", ""), 4.5, "s", False),
    ]:
        row = rows.loc[key]
        assert (row["value"], row["unit"], row["headline"]) == (value, unit, headline)
        assert tuple(row[c] for c in ("pair", "dataset", "backbone", "recipe", "arm", "seed", "key", "task")) == common
        assert (row["finished"], row["setting"]) == ("2026-01-02T03:04:05", "abc")
    assert len(frame) == 5
    assert frame["headline"].dtype == bool and frame["higher_is_better"].dtype == bool
    directions = rows["higher_is_better"]
    assert directions["val", "acc", ""] and not directions["cost", "seconds", ""]


def test_a_net_under_two_names_is_trained_once_and_shown_twice(store: Store) -> None:
    other = dataclasses.replace(TRIAL, arm="plain", recipe_name="own", setting="def")
    assert other.key == TRIAL.key
    folder = finish(store)
    for _ in range(2):
        store.name(other)
        store.name(TRIAL)
    names = store.load().frame.groupby(["arm", "recipe", "setting", "seed"]).size()
    assert names.to_dict() == {("one-task", "smoke", "abc", 3): 5, ("plain", "own", "def", 3): 5}
    assert store.done(other)
    (folder / "result.json").write_text("{")  # trained anew, under the second name: both names stay
    finish(store, other)
    assert store.load().frame.groupby("arm").size().to_dict() == {"one-task": 5, "plain": 5}


def test_architectures_are_those_of_the_arms_in_the_frame(store: Store) -> None:
    finish(store)
    shared = [{"stage": "conv1", "groups": [["colour", "size"]], "unit": False}]
    finish(store, JOINT, architecture=shared)
    loaded = store.load()
    assert loaded.architectures_of(loaded.frame) == {"one-task": ARCHITECTURE, "split": shared}
    assert loaded.architectures_of(loaded.frame[loaded.frame["arm"] == "split"]) == {"split": shared}


def test_rows_of_a_joint_trial_have_their_own_task_and_its_costs_none(store: Store) -> None:
    finish(store, JOINT)
    frame = store.load().frame
    assert set(frame.loc[frame["subset"] != "cost", "task"]) == {"colour"}
    assert set(frame.loc[frame["subset"] == "cost", "task"]) == {""}
