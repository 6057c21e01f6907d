"""A tuned study from beginning to end: chosen on val, trained with other seeds, cached, told in tables."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest

import mtlbench
from mtlbench import Results
from mtlbench.errors import UserError
from mtlbench.plan.rounds import SEED
from mtlbench.plan.spaces import find_packaged

pytestmark = pytest.mark.slow

ASKED: Mapping[str, object] = {"arms": ("one-task", "split-fc8"), "seeds": [0], "executor": "local", "quiet": True}


def study(results: Path, pair: str = "det_attr", **more: object) -> Results:
    return mtlbench.run(pair, **{"recipe": "smoke", "tune": 4, **ASKED, "results": results, **more})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tuned") / "results"
    study(root)
    return root


def on_val(frame: pd.DataFrame, arm: str) -> pd.DataFrame:
    """The headlines of the arm's whole trials with the seed of tuning: rate x task."""
    rows = frame[(frame["purpose"] == "tuning") & (frame["variant_of"] == arm) & (frame["subset"] == "val")]
    rows = rows[rows["headline"].astype(bool) & (rows["category"] == "")].drop_duplicates(["key", "task"])
    iterations = frame[frame["metric"] == "iterations"].set_index("key")["value"]
    iterations = iterations[~iterations.index.duplicated()]
    whole = rows[rows["key"].map(iterations) == rows["key"].map(iterations).max()]
    return whole.pivot(index="rate", columns="task", values="value")


def test_every_arm_is_trained_at_the_setting_that_is_best_on_val(root: Path) -> None:
    frame = mtlbench.load_results(root).frame
    own = frame[(frame["purpose"] == "") & (frame["subset"] == "test") & frame["headline"].astype(bool)]
    assert set(own["seed"]) == {0} and set(own["tuned"]) == {4} and set(own["recipe"]) == {"smoke-tune4"}
    assert set(frame.loc[frame["purpose"] == "tuning", "seed"]) == {SEED}
    shared = on_val(frame, "split-fc8")
    best = (shared / shared.abs().median()).mean(axis=1).idxmax()
    assert len(shared) == 2 and set(own.loc[own["arm"] == "split-fc8", "rate"]) == {best}
    alone = on_val(frame, "one-task")
    rates = own[own["arm"] == "one-task"].set_index("task")["rate"]
    assert dict(rates) == {task: alone[task].dropna().idxmax() for task in alone}


def test_the_same_call_trains_nothing_and_more_settings_only_add(root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("result.json")}
    study(root)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("result.json")} == before
    frame = study(root, tune=5, arms=("one-task",)).frame
    assert all(path.stat().st_mtime_ns == at for path, at in before.items())
    assert set(frame["recipe"]) == {"smoke-tune4", "smoke-tune5"}
    added = frame[frame["recipe"] == "smoke-tune5"]
    assert added.loc[added["purpose"] == "tuning", "arm"].nunique() == 5


def test_the_recipe_of_a_tuned_study_is_typed_as_tables_call_it(root: Path) -> None:
    files = set(root.rglob("result.json"))
    study(root, recipe="smoke-tune4", tune=0)
    assert set(root.rglob("result.json")) == files
    with pytest.raises(UserError, match="no recipe called 'smoke-tuned'"):
        study(root, recipe="smoke-tuned", tune=0)


def test_the_table_says_what_was_chosen_and_what_that_took(root: Path) -> None:
    results = mtlbench.load_results(root)
    table = pd.read_csv(io.StringIO(results.table(format="csv", recipe="smoke-tune4"))).set_index("arm")
    assert re.fullmatch(r"rate [\d.]+(, attributes [\d.]+, detection [\d.]+)?", table.loc["split-fc8", "setting"])
    frame = results.frame
    tried = frame[(frame["purpose"] == "tuning") & (frame["metric"] == "seconds") & (frame["recipe"] == "smoke-tune4")]
    tried = tried[tried["variant_of"] == "split-fc8"]
    assert len(tried) == 4 + 2 and table.loc["split-fc8", "tuning seconds"] == pytest.approx(
        tried["value"].sum(), rel=1e-4
    )


def test_settings_that_diverge_are_not_chosen_not_failures_and_not_tried_again(tmp_path: Path) -> None:
    hot = tmp_path / "hot.py"
    text = (find_packaged("search_spaces") / "det_attr.py").read_text()
    hot.write_text(
        f"{text}\nimport dataclasses\nhot = dataclasses.replace(SPACE.recipes[0], name='hot', lr=100.0, clip=0.0)\n"
        "SPACE = dataclasses.replace(SPACE, recipes=(hot,), datasets={'rooms': 'hot'})\n"
    )
    asked = {"pair": str(hot), "recipe": "hot", "arms": ("split-fc8",)}
    results = study(tmp_path / "results", **asked)
    files = {path: path.stat().st_mtime_ns for path in results.root.rglob("failure.json")}
    tuning = {path for path in files if '"purpose": "tuning"' in (path.parent / "trial.json").read_text()}
    assert tuning and all(failure["arm"] == "split-fc8" for failure in results.failures)
    study(tmp_path / "results", **asked)
    assert all(path.stat().st_mtime_ns == files[path] for path in tuning)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tune": 1}, "tune is 1, must be 2 or more"),
        ({"lr_grid": [3.0]}, "tune chooses learning rates and loss weights itself; leave out lr_grid"),
        ({"recipe": "smoke-tune4", "tune": 0, "lr_grid": [3.0]}, "tune chooses .* itself; leave out lr_grid"),
        ({"loss_weight_grid": 3}, "a grid of loss weights and tuned ones are not trained at once"),
        ({"val_fraction": 0.0}, "rooms keeps none|no option|val_fraction"),
    ],
)
def test_what_cannot_be_tuned_is_one_line(options: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as error:
        study(tmp_path / "results", **options)
    assert "\n" not in str(error.value)
