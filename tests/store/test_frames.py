"""The long frame is what a slow reading of the same files gives, row by row; nonsense in a result leaves it out."""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import random
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mtlbench.spec import Options
from mtlbench.store import frames
from mtlbench.store.frames import COLUMNS, UNITS, roots_of
from mtlbench.store.results import load_results
from mtlbench.store.store import Store
from tests.support.stores import JOINT, TRIAL, finish, result


def read_slowly(root: Path) -> pd.DataFrame:
    """Every result under each of its names, one row after the other, joint trials first."""
    rows: list[dict[str, Any]] = []
    folders = sorted(root.glob("*/*/*"))
    for folder in sorted(folders, key=lambda one: -len(json.loads((one / "trial.json").read_text())["tasks"])):
        trial, made = (json.loads((folder / f"{file}.json").read_text()) for file in ("trial", "result"))
        kept = ("arm", "seed", "setting", "variant_of", "rate", "weighting", "tuned", "purpose")
        own = {name: trial[name] for name in kept}
        names = [own | {"recipe": trial["recipe_name"]}]
        if (folder / "names.json").exists():
            names += [name for name in json.loads((folder / "names.json").read_text())["names"] if name != names[0]]
        for name in names:
            factors = name["weighting"].items()
            name["weighting"] = ", ".join(f"{task} {factor:g}" for task, factor in factors)
            shared = {
                "pair": trial["pair"],
                "dataset": trial["dataset"]["name"],
                "backbone": made["backbone"],
                "scheme": trial["scheme"]["name"],
                "method": (trial["method"] or {"name": ""})["name"],
                "family": trial["family"],
                "key": folder.name,
                "roots": folder.name,
                "finished": made["finished"],
                **name,
            }
            for task, subset, metric, category, value in made["scores"]:
                about = made["metrics"][task][metric]
                rows.append(
                    shared
                    | {
                        "task": task,
                        "subset": subset,
                        "metric": metric,
                        "category": category,
                        "value": value,
                        "unit": about["unit"],
                        "headline": about["headline"],
                        "higher_is_better": about["higher_is_better"],
                    }
                )
            for metric, value in made["cost"].items():
                own = trial["tasks"][0]["name"] if len(trial["tasks"]) == 1 else ""
                rows.append(
                    shared
                    | {
                        "task": own,
                        "subset": "cost",
                        "metric": metric,
                        "category": "",
                        "value": float(value),
                        "unit": UNITS.get(metric, ""),
                        "headline": False,
                        "higher_is_better": False,
                    }
                )
    return pd.DataFrame(rows)[COLUMNS]


def vary(draw: random.Random) -> Options:
    """A result of some metrics, categories and costs, so that trials are of several kinds."""
    scores = [
        [task, subset, metric, category, draw.random()]
        for task in ("colour", "size")
        for subset in ("val", "test")
        for metric, category in (("acc", ""), ("acc", "red"), ("err", ""))
        if draw.random() < 0.8
    ]
    about = {
        metric: {"unit": draw.choice("%°"), "higher_is_better": metric == "acc", "headline": metric == "acc"}
        for metric in ("acc", "err")
    }
    cost = {"seconds": draw.random(), "seconds_with_parents": 1.0, "flops": draw.randrange(10**9)}
    return result(
        scores=scores,
        metrics={"colour": about, "size": about},
        cost=cost,
        finished=f"2026-01-02T03:04:0{draw.randrange(10)}",
    )


def test_the_frame_is_that_of_a_slow_reading(store: Store) -> None:
    draw = random.Random(5)
    for seed in range(40):
        trial = dataclasses.replace(draw.choice((TRIAL, JOINT)), net_seed=seed, seed=seed)
        finish(store, trial, **vary(draw))
        if draw.random() < 0.3:
            store.name(dataclasses.replace(trial, arm="twin", seed=seed + 100))
    pd.testing.assert_frame_equal(load_results(store.root).frame, read_slowly(store.root))


def test_roots_are_the_ancestors_without_parents() -> None:
    parents = {"a": [], "b": [], "c": ["a"], "d": ["c", "b"], "e": ["gone"], "f": ["f"]}
    found = {"a": "a", "b": "b", "c": "a", "d": "a b", "e": "gone", "f": ""}
    assert roots_of(parents) == found
    chain = {str(place): [str(place + 1)] for place in range(1200)}  # deeper than Python's stack
    assert roots_of(chain)["0"] == "1200"


def test_kinds_that_differ_in_a_unit_or_a_direction_are_kept_apart(store: Store) -> None:
    for seed, (unit, higher) in enumerate((("%", True), ("m", True), ("%", False))):
        metrics = {"colour": {"acc": {"unit": unit, "higher_is_better": higher, "headline": True}}}
        finish(store, dataclasses.replace(TRIAL, net_seed=seed, seed=seed), metrics=metrics)
    frame = load_results(store.root).frame
    scores = frame.query("subset != 'cost'").groupby("seed")[["unit", "higher_is_better"]].agg(set)
    assert scores["unit"].tolist() == [{"%"}, {"m"}, {"%"}]
    assert scores["higher_is_better"].tolist() == [{True}, {True}, {False}]


ABOUT = {"unit": "%", "higher_is_better": True, "headline": True}


@pytest.mark.parametrize(
    "change",
    [
        {"scores": [["colour", "val", "acc", "", "forty"]]},
        {"scores": [["colour", "val", "acc", ""]]},
        {"scores": [["colour", "val", "acc", 1, 40.0]]},
        {"scores": [["colour", "val", "acc", None, 40.0]]},
        {"scores": [["colour", ["val"], "acc", "", 40.0]]},
        {"scores": [["colour", "\ud800", "acc", "", 40.0]]},
        {"scores": [["colour", "val", "speed", "", 40.0]]},
        {"scores": [3]},
        {"metrics": {"colour": {"acc": ABOUT | {"unit": 1}}}},
        {"metrics": {"colour": {"acc": {"unit": "%"}}}},
        {"metrics": {"colour": []}},
        {"cost": {"seconds": None}},
        {"cost": {"\ud800": 1.0}},
        {"finished": 3},
    ],
    ids=str,
)
def test_nonsense_in_a_result_is_named_and_the_others_are_shown(store: Store, change: Options) -> None:
    finish(store, JOINT)
    folder = finish(store, TRIAL, **change)
    finish(store, dataclasses.replace(TRIAL, arm="other", net_seed=1))
    loaded = load_results(store.root)
    assert set(loaded.frame["arm"]) == {"split", "other"} and len(loaded.frame) == 10
    assert loaded.problems == [f"{folder / 'result.json'} is damaged; run the same command again to train it anew"]


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(store: Store) -> None:
    folder = finish(store)
    (folder / "result.json").unlink()
    os.mkfifo(folder / "result.json")
    loaded = load_results(store.root)
    assert loaded.frame.empty and "result.json is damaged" in loaded.problems[0]


@pytest.mark.parametrize("enabled", [True, False])
def test_the_search_for_cycles_is_afterwards_as_it_was(store: Store, enabled: bool) -> None:
    finish(store)
    (gc.enable if enabled else gc.disable)()
    try:
        frozen = gc.get_freeze_count()
        assert len(load_results(store.root).frame) == 5
        assert gc.isenabled() == enabled and gc.get_freeze_count() == frozen
    finally:
        gc.enable()


# ---------------------------------------------------------------------------------------------------- CSV
KINDS: dict[str, type] = {"step": int, "task": str, "loss": float}
SOUND = [
    "step,task,loss\n1,a,0.5\n2,b,nan\n",
    "step,task,loss\r\n3,a,0.1\r\n",
    "loss,step,task\n0.25,4,a\n",
    "step,task,loss,more\n5,a,1,9\n",
    'step,task,loss\n6,"a,b",1\n',
    "step,task,loss\n7,a,1e-9",
    "step,task,loss\n",
    "step,task,loss\n8,a,2\n\n9,b,\n",
]
DAMAGED = [
    "step,task,loss\n1,a,high\n",
    "step,task,loss\n,a,1\n",
    "step,task\n1,a\n",
    "",
    "\n",
    "step,task,loss\n1,a,1,1,1\n",
    "step,task,loss\n1.5,a,1\n",
    'step,task,loss\n1,"a,1\n',
]


def one_by_one(path: Path) -> pd.DataFrame | None:
    try:
        return pd.read_csv(path, dtype=KINDS, usecols=list(KINDS))[list(KINDS)]
    except ValueError:
        return None


@pytest.mark.parametrize("batch", [1, 60, 1 << 20])
def test_files_that_are_parsed_together_give_what_they_give_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(frames, "BATCH", batch)
    texts = [*SOUND, *DAMAGED, *SOUND]
    random.Random(batch).shuffle(texts)
    paths = [tmp_path / f"{place}.csv" for place in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_bytes(text.encode())
    alone = [one_by_one(path) for path in paths]
    assert sum(one is None for one in alone) >= 6
    (tmp_path / "binary.csv").write_bytes(b"step,task,loss\n1,\xff,1\n")
    rows, places = frames.read_tables([*map(str, paths), str(tmp_path / "binary.csv"), str(tmp_path / "none")], KINDS)
    assert places[-2:] == [None, None] and [place is None for place in places[:-2]] == [one is None for one in alone]
    pd.testing.assert_frame_equal(rows, pd.concat([one for one in alone if one is not None], ignore_index=True))
    for one, place in zip(alone, places[:-2], strict=True):
        if one is not None and place is not None:
            part = rows.iloc[place.start : place.stop].reset_index(drop=True)
            pd.testing.assert_frame_equal(part, one)


def test_no_files_give_no_rows() -> None:
    rows, places = frames.read_tables([], KINDS)
    assert rows.empty and list(rows.columns) == list(KINDS) and places == []
