"""Networks of tasks about boxes and pixels: trained, shown, and asked about an image from anywhere."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtlbench.spec import Trial
from mtlbench.store.store import Store
from mtlbench.training.context import Context
from tests.support.commands import cli
from tests.support.samples import smoke
from tests.support.trials import finish

pytestmark = pytest.mark.slow

ARMS = ("one-task", "cross-stitch")
BOXES, DENSE = ("detection", "attributes"), ("semseg", "normals", "depth")


@pytest.fixture(scope="module")
def trials() -> list[Trial]:
    return [dataclasses.replace(trial, keep_weights=True) for trial in smoke("all_rooms", ARMS)]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, trials: list[Trial]) -> Store:
    store = Store(tmp_path_factory.mktemp("mixed") / "results", create=True)
    finish(trials, store)
    return store


@pytest.mark.parametrize("arm", ARMS)
def test_a_picture_of_any_size_gets_boxes_and_maps(arm: str, study: Store, trials: list[Trial], tmp_path: Path) -> None:
    pixels = Context(trials[0]).subsets["test"][0].image
    Image.fromarray(pixels).resize((90, 80)).save(tmp_path / "room.png")
    out = tmp_path / "out"
    cli("predict", "--results", str(study.root), arm, str(tmp_path / "room.png"), "--out", str(out))
    about = json.loads((out / "room-prediction.json").read_text())
    assert set(about["tasks"]) == set(DENSE) and about["boxes"]
    assert all(set(row) == {"category", "score", "box", "attributes"} for row in about["boxes"])
    assert np.asarray(Image.open(out / about["tasks"]["semseg"]["classes"])).shape == (80, 90)
    assert np.load(out / about["tasks"]["normals"]["vectors"]).shape == (80, 90, 3)
    assert (out / "room-prediction.png").stat().st_size > 10_000


def test_all_tasks_are_scored_and_drawn(study: Store, tmp_path: Path) -> None:
    text = cli("table", "--results", str(study.root), "--format", "csv").output
    assert all(f"{task} " in text for task in (*BOXES, *DENSE))
    picture = tmp_path / "shown.png"
    cli("show", "--results", str(study.root), "cross-stitch", "--count", "2", "--out", str(picture))
    assert picture.stat().st_size > 10_000
    for figure in ("figure2", "alphas", "conflicts"):
        cli("plot", figure, "--results", str(study.root), "--out", str(tmp_path / f"{figure}.png"))
        assert (tmp_path / f"{figure}.png").stat().st_size > 10_000
