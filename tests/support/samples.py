"""Small random samples, and tasks and views that fit them; trials of the smoke recipe."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from mtlbench.authoring.new import new
from mtlbench.contracts import Sample
from mtlbench.plan import spaces
from mtlbench.plan.arms import select
from mtlbench.plan.data import open_dataset
from mtlbench.plan.expand import DataSource, expand
from mtlbench.plugins import from_file, make_plugin
from mtlbench.spec import Trial
from mtlbench.tasks.attributes import Attributes
from mtlbench.tasks.classification import Classification
from mtlbench.tasks.detection import Detection
from mtlbench.tasks.multilabel import Multilabel
from mtlbench.tasks.normals import Normals
from mtlbench.tasks.regression import Regression
from mtlbench.tasks.semseg import Semseg
from mtlbench.training.samples import View

CODES = [[0.0, 0.0, 1.0], [0.7, 0.0, 0.714], [0.0, 0.7, 0.714], [-0.7, 0.0, 0.714]]


def dense_sample(seed: int, height: int = 32, width: int = 40) -> Sample:
    rng = np.random.default_rng(seed)
    normals = rng.normal(size=(height, width, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    return Sample(
        rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
        {"semseg": rng.integers(0, 3, (height, width)).astype(np.uint8), "normals": normals},
    )


def box_sample(seed: int, size: int = 64) -> Sample:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 30, (3, 2)).astype(np.float32)
    proposals = rng.uniform(0, 30, (40, 2)).astype(np.float32)
    return Sample(
        rng.integers(0, 256, (size, size, 3), dtype=np.uint8),
        {"detection": rng.integers(0, 2, 3), "attributes": rng.integers(0, 2, (3, 4)).astype(np.uint8)},
        np.concatenate([corner, corner + 24], axis=1),
        np.zeros(3, dtype=bool),
        np.concatenate([proposals, proposals + rng.uniform(15, 30, (40, 2)).astype(np.float32)], axis=1),
    )


def dense_tasks() -> dict[str, Any]:
    return {"semseg": Semseg(("x", "y", "z"), {}), "normals": Normals((), {"codebook": CODES})}


def box_tasks() -> dict[str, Any]:
    facts = {"offset_mean": [0.0] * 4, "offset_std": [0.1, 0.1, 0.2, 0.2]}
    return {"detection": Detection(("x", "y"), facts), "attributes": Attributes(tuple("pqrs"), {})}


def image_sample(seed: int, height: int = 64, width: int = 64) -> Sample:
    rng = np.random.default_rng(seed)
    return Sample(
        rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
        {
            "classification": np.array(rng.integers(0, 3)),
            "multilabel": rng.integers(0, 2, 4).astype(np.uint8),
            "regression": np.array(rng.normal(), dtype=np.float32),
        },
    )


def image_tasks() -> dict[str, Any]:
    return {
        "classification": Classification(("x", "y", "z"), {"counts": [3, 2, 1]}),
        "multilabel": Multilabel(tuple("pqrs"), {}),
        "regression": Regression((), {"mean": 0.5, "std": 2.0}),
    }


def view(form: str, tasks: dict[str, Any], **changes: Any) -> View:
    forms = {task: its.form if form == "mixed" else form for task, its in tasks.items()}
    plain = View(forms, 0, 0, True, 0.0, 16, True, 0, (100.0, 110.0, 120.0), (60.0, 60.0, 60.0), True)
    return dataclasses.replace(plain, **changes)


def smoke(pair: str, arms: tuple[str, ...], **changes: Any) -> list[Trial]:
    """Trials of seed 0 on rooms, with a changed recipe."""
    space = spaces.load(pair)
    recipe = dataclasses.replace(spaces.recipe_of(space, "smoke"), **changes)
    data = make_plugin("dataset", "rooms", recipe.dataset_options["rooms"])
    dataset = open_dataset(data, "")
    dataset.prepare(lambda line: None)
    backbone = make_plugin("backbone", recipe.backbone, recipe.backbone_options)
    return expand(
        space.pair, select(space.arms, arms), (0,), DataSource(data, "", dataset.fingerprint()), backbone, recipe
    )


def change_template(kind: str, name: str, folder: Path, *changes: tuple[str, str]) -> Any:
    """The class of what `mtlbench new KIND NAME` writes into the folder, after some changes of its text."""
    path, _ = new(kind, name, folder)
    text = path.read_text()
    for old, now in changes:
        assert old in text, old
        text = text.replace(old, now)
    path.write_text(text)
    return from_file(str(path))
