"""`mtlbench check` of tasks: every built-in one and the template hold, and each breach is said in its own words."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtlbench import plugins
from mtlbench.authoring.check_task import QUESTIONS, check
from mtlbench.plugins import find
from tests.support.samples import change_template

pytestmark = pytest.mark.slow


def wrong(cls: Any, **options: Any) -> list[str]:
    return [text for ok, text in check(cls, options) if not ok]


@pytest.mark.parametrize("name", plugins.list_names("task"))
def test_contract_of_every_task(name: str) -> None:
    found = list(check(find("task", name)))
    assert [text for ok, text in found if not ok] == []
    assert len(found) == 2 + len(QUESTIONS)


def test_options_are_used_and_wrong_ones_named() -> None:
    normals = find("task", "normals")
    assert wrong(normals, decoding="nearest", labels="soft") == []
    assert "decoding of normals called 'best'" in wrong(normals, decoding="best")[0]
    assert wrong(normals, decodin="nearest") == ["there is no option decodin; there are: decoding, labels, batches"]


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        (np.zeros((3, 5), np.float32), "boxes must return an array `n 6`"),
        ([[0, 0.5, 1, 2, 3, 4]], "boxes must return an array `n 6`"),
        (np.array([[0, 0.5, 1, 2, 3, 4], [0, 0.6, 1, 2, 3, 4]]), "boxes must stand in the order of their scores"),
    ],
)
def test_boxes_that_predict_cannot_use_are_named(boxes: Any, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    detection = find("task", "detection")
    monkeypatch.setattr(detection, "boxes", lambda task, prediction, batch: boxes)
    assert [text for text in wrong(detection) if message in text]


template = partial(change_template, "task", "height")


def test_the_template_works(tmp_path: Path) -> None:
    assert wrong(template(tmp_path)) == []


def test_the_template_scores_by_hand(tmp_path: Path) -> None:
    import torch

    from mtlbench.contracts import Batch

    meter = template(tmp_path)((), {"mean": 0, "std": 1}).meter()
    labels = torch.tensor([[[2.0, 4.0], [0.0, 8.0]]])  # one is not labelled
    guess = torch.tensor([[[2.0, 6.0], [9.0, 7.0]]])
    batch = Batch(torch.zeros(1, 3, 2, 2), {"height": labels}, {"height": torch.tensor([True])})
    meter.add({"number": guess}, batch)
    assert {s.metric: s.value for s in meter.scores()} == {"error": 1.0, "within_25": pytest.approx(200 / 3)}
    # always 4: errors 2, 0, 4; no constant is within a quarter of two of them
    assert {s.metric: s.value for s in meter.chance()} == {"error": 2.0, "within_25": pytest.approx(100 / 3)}


LOSS = "return ((output[:, 0] - goal).abs() * find_labelled(batch)).sum() / self.count(batch).clamp(min=1)"
BROKEN = {
    "no loss": (("def loss", "def lose"), "the class has no method loss"),
    "no headline": (('headline = "error"', 'headline = "mae"'), "headline is 'mae', which is not in metrics"),
    "form": (('form = "fcn"', 'form = "dense"'), "form is 'dense'; it must be"),
    "fit needs a task": (("@staticmethod\n    def fit(", "def fit(self, "), r"height.py:\d+: fit must be a @static"),
    "fit of arrays": (("float(values.mean())", "values.mean(keepdims=True)"), "fit is no plain JSON data"),
    "fit by chance": (("float(values.mean())", "float(np.random.rand())"), "fit gives something else"),
    "flat mirror": (("label[:, ::-1])", "label[:, ::-1]).ravel()"), r"mirror turns a label \(24, 32\) float32 into"),
    "no mirror": (("label[:, ::-1]", "np.roll(label, 1, axis=1)"), "mirror twice is not the label again"),
    "small head": (
        ("nn.Conv2d(channels, 1, 1)", "nn.Conv2d(channels, 1, 3)"),
        r"head turns \(1, 8, 5, 4\) into \(1, 1, 3, 2\)",
    ),
    "head by chance": (
        (
            "return nn.Conv2d(channels, 1, 1)",
            "head = nn.Conv2d(channels, 1, 1)\n        "
            "nn.init.constant_(head.bias, np.random.rand())\n        return head",
        ),
        "head starts differently for the same seed",
    ),
    "loss a pixel": ((LOSS, "return (output[:, 0] - goal).abs()"), r"loss returns a tensor \(3, 24, 32\)"),
    "loss is a float": ((LOSS, LOSS.replace("return ", "return 1.5; return ")), "loss returns a float"),
    "no gradient": ((LOSS, LOSS.replace("output[:", "output.detach()[:")), "loss does not depend on the output"),
    "loss NaN": ((LOSS, LOSS.replace(".abs()", ".log()")), "loss is nan on random outputs"),
    "a sum": ((" / self.count(batch).clamp(min=1)", ""), "it must be the mean over what count counts"),
    "padding": ((LOSS, "return (output[:, 0] - goal).abs().mean()"), "padding .* must count as not labelled"),
    "nothing labelled": ((".clamp(min=1)", ""), "loss is nan where nothing is labelled"),
    "predict a tensor": (
        ('{"number": self.mean + self.std * output[:, 0]}', "output"),
        "predict must return a dictionary of tensors",
    ),
    "integers": (("self.mean + self.std * output[:, 0]", "output[:, 0].long()"), "must be floats"),
    "unknown metric": (('Score("error"', 'Score("mae"'), "'mae', which is not in metrics"),
    "last batch": (("self.error += ", "self.error = "), "for four images at once and"),
    "wrong way": (("Metric(UNIT, False)", "Metric(UNIT, True)"), "or higher_is_better is wrong"),
    "other numbers": (("self.mean + self.std * output", "output"), "loss, predict and meter do not fit together"),
    "no draw": (("def draw", "def paint"), "keep and draw go together"),
    "keeps all": (("[0, ::2, ::2].numpy()", "[0].numpy().repeat(40, 0).repeat(40, 1)"), "leave out pixels"),
    "unused layer": (
        (
            "return nn.Conv2d(channels, 1, 1)",
            "head = nn.Conv2d(channels, 1, 1)\n        head.unused = nn.Parameter(torch.zeros(2))\n        return head",
        ),
        "parameter height.1.unused of the head gets no gradient",
    ),
    "another name": (('NAME = "height"', 'NAME = "distance"'), "here the task is called 'height'"),
    "own mistake": (("goal = (batch", "goal = (bach"), r"height.py:\d+ \(in loss\): NameError: name 'bach' is not"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_breach_is_said_in_its_own_words(tmp_path: Path, name: str) -> None:
    change, says = BROKEN[name]
    found = wrong(template(tmp_path, change))
    assert any(re.search(says, text) for text in found), found
    assert all("\n" not in text for text in found)
