"""Files of a trial that lie in another trial's folder, or are no longer what was written, change no table: what they
touch is as before, or is left out with one line."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mtlbench.spec import Plugin, Trial
from mtlbench.store.folders import check_file
from mtlbench.store.results import load_results
from mtlbench.store.sealing import Damaged
from mtlbench.store.store import Store
from tests.support.stores import JOINT, TRIAL, result, write_made

pytestmark = pytest.mark.slow

OTHER = dataclasses.replace(TRIAL, arm="other", seed=4, net_seed=4, setting="def")
ELSEWHERE = [dataclasses.replace(TRIAL, pair="q"), dataclasses.replace(TRIAL, dataset=Plugin("e"))]


def train(store: Store, trial: Trial, value: float) -> Path:
    """A finished trial, with all the files that tables are made of."""
    folder = store.begin(trial)
    (folder / "curve.csv").write_text(f"iteration,task,train_loss,val_headline\n5,colour,{value},2.0\n")
    (folder / "alphas.csv").write_text(f"iteration,stage,receiver,giver,channel,alpha\n0,pool1,a,b,-1,{value}\n")
    (folder / "predictions.npz").write_text(f"{value}")
    scores = [["colour", subset, "acc", "", value] for subset in ("val", "test")]
    write_made(folder, trial.key, result(scores=scores))
    store.name(dataclasses.replace(trial, arm=f"{trial.arm}-twin"))
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "results", create=True)
    for place, trial in enumerate((TRIAL, OTHER, JOINT, *ELSEWHERE)):
        train(store, trial, 40.0 + place * (trial.key != TRIAL.key))  # the same network gives the same numbers
    return store


def tables(store: Store) -> tuple[list[set[tuple[Any, ...]]], list[str]]:
    """The rows of each table, no two of which are equal, and what is said of the store."""
    loaded = load_results(store.root)
    return [rows(frame) for frame in (loaded.frame, loaded.curves, loaded.alphas)], loaded.problems


def rows(frame: pd.DataFrame) -> set[tuple[Any, ...]]:
    found = set(frame.itertuples(index=False, name=None))
    assert len(found) == len(frame)
    return found


def is_wrong(before: list[set[tuple[Any, ...]]], store: Store) -> bool:
    """Whether tables have rows that were not there, or lack some without exactly one line."""
    now, problems = tables(store)
    if any(new - old for new, old in zip(now, before, strict=True)):
        return True
    lost = any(len(new) != len(old) for new, old in zip(now, before, strict=True))
    return len(problems) != lost


def change_values(data: Any) -> Iterator[Any]:
    """The data with each field dropped, each text and number changed, one after the other."""
    if isinstance(data, dict):
        for name, value in data.items():
            yield {key: one for key, one in data.items() if key != name}
            yield from ({**data, name: one} for one in change_values(value))
        yield {**data, "more": 1}
    elif isinstance(data, list):
        yield from ([*data[:i], one, *data[i + 1 :]] for i, value in enumerate(data) for one in change_values(value))
        yield []
    elif isinstance(data, str):
        yield chr(ord(data[0]) ^ 1) + data[1:] if data else "x"
    elif isinstance(data, bool):
        yield not data
    elif isinstance(data, (int, float)):
        yield data + 1
        yield 1e-320


def test_no_changed_letter_number_or_field_of_a_file_changes_a_table(store: Store) -> None:
    before, folder, count, wrong = tables(store)[0], store.folder(TRIAL), 0, []
    for name in ("result.json", "trial.json", "names.json"):
        text = (folder / name).read_text()
        data = json.loads(text)
        for mutant in change_values(data):
            if mutant == data or not mutant:
                continue
            (folder / name).write_text(json.dumps(mutant, indent=1) + "\n")
            count += 1
            if is_wrong(before, store):
                wrong.append((name, mutant))
        (folder / name).write_text(text)
    assert count > 100 and not wrong, (len(wrong), count, wrong[:3])
    assert not tables(store)[1]


FILES = ("trial.json", "result.json", "names.json", "curve.csv", "alphas.csv")


@pytest.mark.parametrize("names", [*((name,) for name in FILES), FILES[:2], FILES[1:4], FILES], ids=str)
@pytest.mark.parametrize("whose", [OTHER, JOINT, *ELSEWHERE], ids=lambda t: f"{t.pair}-{t.dataset.name}-{t.arm}")
def test_no_file_of_another_trial_changes_a_table(store: Store, names: tuple[str, ...], whose: Trial) -> None:
    before, folder = tables(store)[0], store.folder(TRIAL)
    for name in names:
        shutil.copy(store.folder(whose) / name, folder / name)
    now, problems = tables(store)
    assert not any(new - old for new, old in zip(now, before, strict=True))
    lost = any(len(new) != len(old) for new, old in zip(now, before, strict=True))
    assert bool(problems) == lost
    if "result.json" in names and whose.key != TRIAL.key:
        (state,) = [state for state in load_results(store.root).states if state.folder == folder]
        assert not store.done(TRIAL) and state.state == "interrupted" and "another trial's" in state.reason
        assert len(problems) == 1 and "another trial's" in problems[0]
        with pytest.raises(Damaged, match="another trial's"):
            check_file(folder, "predictions.npz")


MOVES: dict[str, Callable[[Store, Path], object]] = {
    "renamed": lambda store, folder: folder.rename(folder.with_name("0123456789ab")),
    "to another pair": lambda store, folder: folder.rename(folder.parents[2] / "q" / "d" / folder.name),
    "over another": lambda store, folder: folder.rename(store.folder(OTHER)),
}


@pytest.mark.parametrize("move", MOVES)
def test_a_folder_that_was_moved_is_no_trial(store: Store, move: str) -> None:
    for gone in (store.folder(OTHER), store.folder(ELSEWHERE[0])):
        shutil.rmtree(gone)
    before = tables(store)[0]
    MOVES[move](store, store.folder(TRIAL))
    assert not is_wrong(before, store) and "another trial's" in tables(store)[1][0]


def test_the_next_run_puts_names_and_trial_right_without_training(store: Store) -> None:
    before, folder = tables(store)[0], store.folder(TRIAL)
    for name in ("trial.json", "names.json"):
        shutil.copy(store.folder(OTHER) / name, folder / name)
    assert store.done(TRIAL)
    for arm in (TRIAL.arm, "one-task-twin"):
        store.name(dataclasses.replace(TRIAL, arm=arm))
    now, problems = tables(store)
    assert not problems and now == before
