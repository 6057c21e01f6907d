"""Two tasks of one kind: each sees its own labels, and its trials are told apart by what they are."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mtlbench.contracts import Batch, Sample
from mtlbench.errors import UserError
from mtlbench.plan import spaces
from mtlbench.spec import Pair, Plugin, Trial
from mtlbench.tasks.classification import Classification
from mtlbench.tasks.regression import Regression
from mtlbench.training.batches import evaluation_batch
from mtlbench.training.named import NamedSubset, rename_task
from tests.support.samples import image_sample, view
from tests.support.stores import TRIAL

NAMES = {"age": "regression", "weight": "regression"}


def samples() -> list[Sample]:
    """Two numbers an image; the second image has no age."""
    found = []
    for seed in range(3):
        labels = {"age": np.array(10.0 * seed, np.float32), "weight": np.array(60.0 + seed, np.float32)}
        if seed == 1:
            del labels["age"]
        found.append(dataclasses.replace(image_sample(seed), labels=labels))
    return found


def tasks() -> dict[str, Any]:
    subset = samples()
    facts = {name: Regression.fit((), NamedSubset(subset, name, "regression")) for name in NAMES}
    assert facts["age"] == {"mean": 10.0, "std": 10.0} and facts["weight"]["mean"] == 61
    return {name: rename_task(Regression((), facts[name]), name, "regression") for name in NAMES}


def test_each_task_sees_its_own_labels() -> None:
    own = tasks()
    batch: Batch = evaluation_batch(samples(), view("image", own))
    output = torch.zeros(3, 1, requires_grad=True)
    assert int(own["age"].count(batch)) == 2 and int(own["weight"].count(batch)) == 3
    assert float(own["age"].loss(output, batch).detach()) == pytest.approx(1.0)
    for name, task in own.items():
        meter = task.meter()
        meter.add(task.predict(output.detach(), batch), batch)
        found = {score.metric: score.value for score in meter.scores()}
        assert found["MAE"] == pytest.approx({"age": 10.0, "weight": 2 / 3}[name])
        assert {score.metric: score.value for score in meter.chance()}["MAE"] == pytest.approx(found["MAE"])
        assert hasattr(task, "keep") and not hasattr(task, "boxes") and task.headline == "nRMSE"


def test_a_batch_without_a_label_of_the_task_is_not_in_its_way() -> None:
    own = tasks()
    batch = evaluation_batch(samples()[1:2], view("image", own))
    assert "age" not in batch.labels and float(own["weight"].count(batch)) == 1


def test_the_kind_is_part_of_what_a_trial_is_and_nothing_is_without_one() -> None:
    plain = dataclasses.replace(TRIAL, tasks=(Plugin("age"),))
    kinds = [
        dataclasses.replace(plain, tasks=(Plugin("age", {}, 1, kind),)) for kind in ("", "regression", "classification")
    ]
    assert len({trial.key for trial in kinds}) == 3
    assert "task_kinds" not in kinds[0].identity() and kinds[1].identity()["task_kinds"] == {"age": "regression"}
    file = dataclasses.replace(plain, tasks=(Plugin("age", {}, 1, "/here/age.py:Age"),))
    assert file.key == plain.key and file.tasks[0].kind == ""
    assert Trial.from_json(kinds[1].to_json()) == kinds[1]


def test_a_pair_may_have_built_in_tasks_under_other_names(tmp_path: Path) -> None:
    path = tmp_path / "my_pair.py"
    text = (
        "from mtlbench.authoring import Pair, like\n"
        "SPACE = like('semseg_sn', Pair('parts', ('semseg', 'parts'), 'fcn', {'parts': 'KIND'}))\n"
    )
    path.write_text(text.replace("KIND", "semseg"))
    assert spaces.load(str(path)).pair == Pair("parts", ("semseg", "parts"), "fcn", {"parts": "semseg"})
    path.write_text(text.replace("KIND", "regression"))
    with pytest.raises(UserError, match="parts: task parts is of form image, the pair of form fcn"):
        spaces.check_forms(spaces.load(str(path)).pair)  # as `run` does; listings import no kind


def test_names_of_kinds_are_those_of_the_package() -> None:
    assert Classification.form == Regression.form == "image"
