"""The results store: whole files or none, a status that is read off the files, and nothing lost by damage."""

from __future__ import annotations

import dataclasses
import datetime
import errno
import hashlib
import json
import os
import pickle
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import mtlbench
from mtlbench.errors import UserError
from mtlbench.spec import FORMAT, Plugin
from mtlbench.store.folders import check_file, check_trial, read_trial
from mtlbench.store.frames import COLUMNS
from mtlbench.store.results import load_results
from mtlbench.store.sealing import Damaged, Outdated, read_result, write_own
from mtlbench.store.store import Store
from mtlbench.system.files import StoreBroken, blame_disk, replace_file, seal, write, write_csv
from tests.support.stores import ARCHITECTURE, JOINT, RED, TRIAL, finish, result, write_made


# ---------------------------------------------------------------------------------------------------- writing
def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write(path, "old")
    with pytest.raises(RuntimeError), replace_file(path) as temporary:
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
    write_own(folder / "result.json", TRIAL.key, result(files={"weights.pt": [3, "seal"]}))
    assert not store.done(TRIAL)
    (folder / "weights.pt").write_text("ab")
    assert not store.done(TRIAL)  # truncated
    (folder / "weights.pt").write_text("abc")
    assert store.done(TRIAL)


def test_a_half_written_folder_is_not_done_not_a_failure_and_cleaned_at_the_next_start(store: Store) -> None:
    folder = store.begin(TRIAL)
    for name in ("curve.csv", ".result.json.x7", "weights.pt"):
        (folder / name).write_text("half")
    assert not store.done(TRIAL)
    loaded = load_results(store.root)
    assert loaded.frame.empty and not loaded.failures and not loaded.problems
    assert os.listdir(store.begin(TRIAL)) == ["trial.json"]


def test_a_failure_is_kept_with_its_last_line_until_the_next_attempt(store: Store) -> None:
    store.begin(JOINT)
    store.fail(JOINT, RED, "Traceback\n  somewhere\nValueError: too red\n")
    (failure,) = load_results(store.root).failures
    assert datetime.datetime.fromisoformat(failure.pop("failed")).tzinfo
    assert (failure.pop("setting"), failure.pop("key")) == (JOINT.setting, JOINT.key)
    assert failure == {
        "pair": "p",
        "purpose": "",
        "dataset": "d",
        "recipe": "smoke",
        "backbone": "b(width=0.5)",
        "arm": "split",
        "scheme": "split",
        "family": "split",
        "variant_of": "",
        "seed": 3,
        "task": "",
        "status": "failed",
        "kind": "error",
        "reason": "ValueError: too red",
    }
    finish(store, JOINT)
    assert not load_results(store.root).failures and store.done(JOINT)


def test_the_next_attempt_keeps_the_resume_file_unless_it_starts_again(store: Store) -> None:
    def left_over(again: bool = False) -> set[str]:
        for name in ("resume.pt", ".resume.pt.half0123", "curve.csv"):
            (store.folder(TRIAL) / name).write_text("half")
        return set(os.listdir(store.begin(TRIAL, again)))

    store.begin(TRIAL)
    assert left_over() == {"trial.json", "resume.pt"}
    assert left_over(again=True) == {"trial.json"}
    store.fail(TRIAL, RED)
    assert left_over() == {"trial.json", "resume.pt"}
    finish(store)
    assert left_over() == {"trial.json"}


def test_a_plan_notes_what_is_not_noted_yet(store: Store) -> None:
    before = (finish(store) / "trial.json").stat().st_mtime_ns
    write(store.begin(JOINT) / "trial.json", "{")
    third = dataclasses.replace(TRIAL, net_seed=9)
    store.plan([TRIAL, JOINT, third])
    assert (store.folder(TRIAL) / "trial.json").stat().st_mtime_ns == before and store.done(TRIAL)
    for trial in (JOINT, third):
        assert read_trial(store.folder(trial)) == trial


# ---------------------------------------------------------------------------------------------------- seals
def test_a_seal_is_the_size_and_the_hash(tmp_path: Path) -> None:
    content = os.urandom((1 << 20) + 17)
    (tmp_path / "w").write_bytes(content)
    assert seal(tmp_path / "w") == (len(content), hashlib.sha256(content).hexdigest())


def test_a_child_is_refused_weights_that_are_not_those_that_were_trained(store: Store) -> None:
    weights = store.begin(TRIAL) / "weights.pt"
    weights.write_text("abc")
    write_made(weights.parent, TRIAL.key, result())
    assert check_file(weights.parent, "weights.pt") == weights
    weights.write_text("abd")
    assert store.done(TRIAL)  # the same size: only a child's look finds it
    message = "; type mtlbench run ... --force one-task to train it anew"
    for spoil in (lambda: None, lambda: weights.write_text("ab"), weights.unlink):
        spoil()
        with pytest.raises(Damaged) as caught:
            check_file(weights.parent, "weights.pt")
        what = "damaged" if weights.exists() else "missing"
        assert str(caught.value) == f"{weights} is {what}{message}"
    with pytest.raises(Damaged):
        check_file(weights.parent, "trial.json")  # has no seal
    (weights.parent / "result.json").unlink()
    with pytest.raises(Damaged):
        check_file(weights.parent, "weights.pt")


# ---------------------------------------------------------------------------------------------------- a broken disk
@pytest.mark.parametrize(
    "code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO]
)
def test_want_of_space_or_permission_stops_the_run_and_is_no_fault_of_the_trial(
    store: Store, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    finish(store)
    other = dataclasses.replace(TRIAL, arm="plain")

    def no_more(*arguments: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "replace", no_more)
    for work in (lambda: store.begin(JOINT), lambda: store.name(other), lambda: store.plan([JOINT])):
        with pytest.raises(StoreBroken) as caught:
            work()
        message = str(caught.value)
        assert message.startswith(f"cannot write to {store.root}") and f": {os.strerror(code)}; " in message
        assert "finished trials are kept" in message and "--results" in message and "\n" not in message
    store.fail(JOINT, RED)  # is not hidden by a second one
    assert not [name for _, _, names in os.walk(store.root) for name in names if name.startswith(".t")]


def test_other_errors_pass_a_writing_block(tmp_path: Path) -> None:
    for error in (FileNotFoundError(errno.ENOENT, "no such file"), RuntimeError("shapes"), KeyError("x")):
        with pytest.raises(type(error)) as caught, blame_disk(tmp_path):
            raise error
        assert caught.value is error


def test_a_limit_on_file_sizes_is_found_out_also_by_torch(tmp_path: Path) -> None:
    import torch

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(StoreBroken, match="File too large"), blame_disk(tmp_path):
            with replace_file(tmp_path / "weights.pt") as path, open(path, "wb") as file:
                torch.save(torch.zeros(1 << 20), file)
        with pytest.raises(StoreBroken, match="File too large"), blame_disk(tmp_path):
            write(tmp_path / "trial.json", "x" * 200_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------------------------------------- two runs
HOLD = """
import sys, time
from pathlib import Path
from mtlbench.store.store import Store
with Store(Path(sys.argv[1]), create=True).open("p", "d") as board:
    board.note({"0123456789ab": 0.5}, None)
    print("holds", flush=True)
    time.sleep(60)
"""


def test_two_runs_share_a_store_but_not_a_pair_and_data_set_and_a_dead_run_holds_nothing(store: Store) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(store.root)], stdout=subprocess.PIPE, start_new_session=True
    ) as holder:
        try:
            assert holder.stdout is not None and holder.stdout.readline() == b"holds\n"
            with pytest.raises(UserError) as caught, store.open("p", "d"):
                pass
            message = str(caught.value)
            assert f"another run (process {holder.pid}) is working in {store.root / 'p' / 'd'}, on " in message
            assert " since 2" in message and "--results" in message and "\n" not in message
            with store.open("p", "e"), store.open("q", "d"):
                pass
        finally:
            holder.kill()
    with store.open("p", "d"):
        assert json.loads((store.root / "p" / "d" / ".lock").read_text())["process"] == os.getpid()


def test_the_board_is_written_at_once_for_news_and_else_once_a_second(store: Store) -> None:
    with store.open("p", "d") as board:

        def told(running: dict[str, float], left: float | None = None) -> dict[str, float]:
            board.note(running, left)
            return json.loads(board.path.read_text())["running"]

        assert told({"a": 0.1}) == {"a": 0.1}
        assert told({"a": 0.2}) == {"a": 0.1}  # a moment later
        assert told({"a": 0.3, "b": 0.0}) == {"a": 0.3, "b": 0.0}
        assert told({}) == {}
        board._next = 0.0
        board.note({"c": 0.5}, 60.0)
        news = json.loads(board.path.read_text())
        assert (news["process"], news["running"], news["seconds_left"]) == (os.getpid(), {"c": 0.5}, 60.0)
        board.path.unlink()
        board.path.mkdir()  # cannot be replaced
        board.note({}, None)
        board.path.rmdir()
    assert not board.path.exists()


def test_links_in_the_place_of_folders_are_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (store.root / "p").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is a symbolic link"), store.open("p", "d"):
        pass
    with pytest.raises(UserError, match="is a symbolic link"):
        store.begin(TRIAL)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_the_store_needs_no_pandas_to_be_imported() -> None:
    code = (
        "import sys, mtlbench.store.store; print([m for m in ('pandas', 'numpy', 'torch', 'ray') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out == "[]\n"


# ---------------------------------------------------------------------------------------------------- damage
@pytest.mark.parametrize("kind", [Damaged, Outdated])
def test_an_error_comes_whole_from_another_process(kind: type[Damaged]) -> None:
    error = pickle.loads(pickle.dumps(kind("a/b.json", "is damaged", "train it anew")))
    assert type(error) is kind and str(error) == "a/b.json is damaged; train it anew" and error.fault == "is damaged"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "{}", f'{{"format": {FORMAT}, "scores": []}}', '{"format": "x"}', "\x00"]
)
def test_a_damaged_result_is_named_and_trained_anew(store: Store, text: str) -> None:
    folder = finish(store)
    (folder / "result.json").write_text(text)
    with pytest.raises(UserError, match="result.json is damaged"):
        read_result(folder / "result.json")
    assert not store.done(TRIAL)
    loaded = load_results(store.root)
    assert loaded.frame.empty
    assert loaded.problems == [f"{folder / 'result.json'} is damaged; run the same command again to train it anew"]


def test_a_result_of_a_newer_format_is_left_alone(store: Store) -> None:
    folder = finish(store, format=FORMAT + 1)
    with pytest.raises(UserError, match=f"format {FORMAT + 1}: upgrade mtlbench"):
        store.done(TRIAL)  # not "False", which would have it overwritten
    loaded = load_results(store.root)
    assert loaded.frame.empty and "upgrade mtlbench" in loaded.problems[0]
    assert (folder / "result.json").exists()


def test_results_of_an_older_format_are_counted_in_one_line_and_trained_anew(store: Store) -> None:
    for seed in range(3):
        finish(store, dataclasses.replace(TRIAL, net_seed=seed), format=FORMAT - 1)
    finish(store, JOINT)
    with pytest.raises(Outdated, match=f"format {FORMAT - 1}; this mtlbench trains it anew; mtlbench clean removes it"):
        read_result(store.folder(dataclasses.replace(TRIAL, net_seed=0)) / "result.json")
    assert not store.done(dataclasses.replace(TRIAL, net_seed=0)) and store.done(JOINT)
    loaded = load_results(store.root)
    assert set(loaded.frame["arm"]) == {"split"}
    assert loaded.problems == [
        "3 trials of an older format; this mtlbench trains them anew; mtlbench clean removes them"
    ]


def test_a_folder_of_an_older_format_goes_on_in_this_one(store: Store) -> None:
    stamp = store.root / "format.json"
    stamp.write_text('{"format": 1}')
    Store(store.root)
    assert stamp.read_text() == '{"format": 1}'  # reading changes nothing
    Store(store.root, create=True)
    assert json.loads(stamp.read_text()) == {"format": FORMAT}  # so that an older mtlbench says that it is too old


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pair": "p"}'])
@pytest.mark.parametrize("outcome", ["result.json", "failure.json"])
def test_a_damaged_trial_json_is_named_and_the_other_trials_are_shown(store: Store, text: str, outcome: str) -> None:
    folder = finish(store)
    (folder / "result.json").rename(folder / outcome)
    (folder / "trial.json").write_text(text)
    finish(store, JOINT)
    loaded = load_results(store.root)
    assert set(loaded.frame["arm"]) == {"split"} and not loaded.failures
    assert loaded.problems == [f"{folder / 'trial.json'} is damaged; run the same command again"]


def test_the_frame_says_what_an_arm_is_under_each_of_its_names(store: Store) -> None:
    trial = dataclasses.replace(JOINT, arm="split-fc6", scheme=Plugin("split", {"at": "fc6"}))
    finish(store, trial)
    for name, variant_of, rate in (("mine", "split-fc6", 1.0), ("mine@3", "mine", 3.0)):
        store.name(dataclasses.replace(trial, arm=name, variant_of=variant_of, rate=rate))
    told = load_results(store.root).frame[["arm", "scheme", "family", "variant_of", "rate"]].drop_duplicates()
    assert told.to_numpy().tolist() == [
        ["split-fc6", "split", "split", "", 1.0],
        ["mine", "split", "split", "split-fc6", 1.0],
        ["mine@3", "split", "split", "mine", 3.0],
    ]


@pytest.mark.parametrize("text", ["{", "[]", "{}", "3", '[{"arm": "x"}]', "[1]"])
def test_a_damaged_names_json_leaves_the_trial_its_own_name(store: Store, text: str) -> None:
    (finish(store) / "names.json").write_text(text)
    assert set(load_results(store.root).frame["arm"]) == {"one-task"}


@pytest.mark.parametrize("weighting", [{"a, b": 1.0}, {"a": 0.0}, {"a": -1.0}, {"": 1.0}])
def test_weights_of_losses_are_factors_above_zero_by_tasks(store: Store, weighting: dict[str, float]) -> None:
    finish(store, JOINT)
    store.name(dataclasses.replace(JOINT, arm="other", weighting=weighting))
    loaded = load_results(store.root)
    assert set(loaded.frame["arm"]) == {JOINT.arm} and "names.json is damaged" in loaded.problems[0]
    with pytest.raises(ValueError, match="no such weights of losses"):
        check_trial(dataclasses.replace(JOINT, weighting=weighting))


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
    assert load_results(tmp_path / "none").frame.empty
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
    frame = mtlbench.load_results(store.root).frame
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
    names = load_results(store.root).frame.groupby(["arm", "recipe", "setting", "seed"]).size()
    assert names.to_dict() == {("one-task", "smoke", "abc", 3): 5, ("plain", "own", "def", 3): 5}
    assert store.done(other)
    (folder / "result.json").write_text("{")  # trained anew, under the second name: both names stay
    finish(store, other)
    assert load_results(store.root).frame.groupby("arm").size().to_dict() == {"one-task": 5, "plain": 5}


def test_architectures_are_those_of_the_arms_in_the_frame(store: Store) -> None:
    finish(store)
    shared = [{"stage": "conv1", "groups": [["colour", "size"]], "unit": False}]
    finish(store, JOINT, architecture=shared)
    loaded = load_results(store.root)
    assert loaded.architectures_of(loaded.frame) == {"one-task": ARCHITECTURE, "split": shared}
    assert loaded.architectures_of(loaded.frame[loaded.frame["arm"] == "split"]) == {"split": shared}


def test_rows_of_a_joint_trial_have_their_own_task_and_its_costs_none(store: Store) -> None:
    finish(store, JOINT)
    frame = load_results(store.root).frame
    assert set(frame.loc[frame["subset"] != "cost", "task"]) == {"colour"}
    assert set(frame.loc[frame["subset"] == "cost", "task"]) == {""}


# ---------------------------------------------------------------------------------------------------- series, counts
def test_curves_and_alphas_of_every_name_of_a_trial(store: Store) -> None:
    folder = finish(store)
    points = "5,detection,1.5,20.0\n9,detection,1.0,nan\n"
    (folder / "curve.csv").write_text(f"iteration,task,train_loss,val_headline\n{points}")
    (folder / "alphas.csv").write_text("iteration,stage,receiver,giver,channel,alpha\n0,pool1,a,b,-1,0.1\n")
    write_made(folder, TRIAL.key, result())
    other = dataclasses.replace(TRIAL, arm="the-same")
    store.name(other)
    results = load_results(store.root)
    assert sorted(set(results.curves["arm"])) == sorted({TRIAL.arm, "the-same"}) and len(results.curves) == 4
    assert results.curves["val_headline"].isna().sum() == 2 and results.curves["iteration"].tolist() == [5, 9, 5, 9]
    assert results.alphas["alpha"].tolist() == [0.1, 0.1] and set(results.alphas["key"]) == {folder.name}
    assert not results.problems
    (folder / "curve.csv").write_text("iteration,task\n5,detection\n")
    again = load_results(store.root)
    assert again.curves.empty and any("curve.csv is damaged" in problem for problem in again.problems)


def test_counts_and_provenance_of_the_trials_shown(store: Store) -> None:
    finish(store, counts={"detection": {"chair": 7}, "attributes": {}})
    results = load_results(store.root)
    assert results.counts_of(results.frame) == {"detection": {"chair": 7}}
    (one,) = results.provenance_of(results.frame)
    assert (
        one["arm"] == TRIAL.arm
        and one["fingerprint"] == TRIAL.fingerprint
        and one["recipe"] == TRIAL.identity()["recipe"]
    )
    assert results.provenance_of(results.frame.iloc[:0]) == []
