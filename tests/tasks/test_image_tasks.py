"""Tasks about whole images: scores by scikit-learn and by hand, losses by definition, missing labels, words."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from sklearn.metrics import balanced_accuracy_score, log_loss, mean_absolute_error, r2_score
from torch import Tensor
from torchmetrics.functional.classification import multilabel_average_precision, multilabel_f1_score

from mtlbench.contracts import Batch, Sample, Score
from mtlbench.errors import UserError
from mtlbench.tasks._words import CROSS, INK, RIGHT, WRONG
from mtlbench.tasks.classification import Classification
from mtlbench.tasks.multilabel import Multilabel
from mtlbench.tasks.regression import Regression

CLASSES = Classification(("cat", "dog", "cow"), {"counts": [6, 3, 0]})
TAGS = Multilabel(("old", "red", "far"), {})
NUMBER = Regression((), {"mean": 10.0, "std": 4.0})


def batch_of(task: str, labels: Tensor, masks: list[bool] | None = None) -> Batch:
    mask = torch.tensor([True] * len(labels) if masks is None else masks)
    return Batch(torch.zeros(len(labels), 3, 8, 8), {task: labels}, {task: mask})


def values(scores: list[Score]) -> dict[Any, float]:
    return {(score.metric, score.category) if score.category else score.metric: score.value for score in scores}


def score(task: Any, name: str, output: Tensor, labels: Tensor, masks: list[bool]) -> tuple[Any, Any]:
    """Scores and chance."""
    meter = task.meter()
    for i in range(len(labels)):  # one by one
        batch = batch_of(name, labels[i : i + 1], masks[i : i + 1])
        meter.add(task.predict(output[i : i + 1], batch), batch)
    names = {score.metric for score in [*meter.scores(), *meter.chance()]}
    assert names == set(task.metrics) and task.headline in names
    return values(meter.scores()), values(meter.chance())


# ---------------------------------------------------------------------------------------------------- classification
def test_classification_by_hand_and_by_scikit_learn() -> None:
    """Of three cats two are found, the dog is not; a cow, a missing label and an unlabelled image do not count."""
    output = torch.tensor([[2.0, 0, 0], [2, 0, 1], [0, 1, 0], [3, 0, 0], [0, 0, 9], [5, 0, 0]])
    labels, masks = torch.tensor([0, 0, 0, 1, -1, 1]), [True] * 5 + [False]
    found, chance = score(CLASSES, "classification", output, labels, masks)
    truth, guess = np.array([0, 0, 0, 1]), output[:4].argmax(1).numpy()
    assert found["accuracy"] == 50 and found["recall", "cat"] == pytest.approx(200 / 3) and found["recall", "dog"] == 0
    assert found["balanced_accuracy"] == pytest.approx(100 * balanced_accuracy_score(truth, guess))
    assert found["balanced_accuracy"] == pytest.approx(100 / 3) and ("recall", "cow") not in found
    assert found["log_loss"] == pytest.approx(log_loss(truth, output[:4].double().softmax(1), labels=[0, 1, 2]))
    assert (chance["accuracy"], chance["balanced_accuracy"]) == (75, 50)
    assert chance["log_loss"] == pytest.approx(-(3 * math.log(7 / 12) + math.log(4 / 12)) / 4)


def test_fit_counts_the_classes_of_train() -> None:
    labels = [{"classification": np.array(c)} for c in (0, 0, 2, -1, 255)] + [{}]
    samples = [Sample(np.zeros((4, 4, 3), np.uint8), label) for label in labels]
    assert Classification.fit(("a", "b", "c"), samples) == {"counts": [2, 0, 1]}


# ---------------------------------------------------------------------------------------------------- multilabel
def test_multilabel_by_hand() -> None:
    """old: yes no yes, ranked 1 2 3: AP (1 + 2/3) / 2. red: known of two, the yes last: 1/2. far: no yes: left out."""
    labels = torch.tensor([[1, 255, 0], [0, 0, 0], [1, 1, 0], [1, 1, 1]], dtype=torch.uint8)
    output = torch.tensor([[3.0, 0, 0], [2, 5, 0], [-1, -1, 0], [0, 0, 0]])
    found, chance = score(TAGS, "multilabel", output, labels, [True, True, True, False])
    assert found["AP", "old"] == pytest.approx(100 * (1 + 2 / 3) / 2) and found["AP", "red"] == pytest.approx(50)
    assert found["mAP"] == pytest.approx((500 / 6 + 50) / 2) and found["categories"] == 2
    assert found["F1"] == pytest.approx((50 + 0) / 2)  # old: one of two found, one found wrongly
    assert chance["base_rate"] == pytest.approx((200 / 3 + 50) / 2)
    assert chance["F1"] == pytest.approx((100 * 4 / 5 + 100 * 2 / 3) / 2)


def test_multilabel_scores_are_those_of_torchmetrics() -> None:
    generator = torch.Generator().manual_seed(0)
    output = torch.randn(60, 3, generator=generator)
    labels = torch.randint(0, 2, (60, 3), generator=generator, dtype=torch.uint8)
    found, _ = score(TAGS, "multilabel", output, labels, [True] * 60)
    probability, truth = output.sigmoid(), labels.long()
    assert found["mAP"] == pytest.approx(100 * float(multilabel_average_precision(probability, truth, 3)), rel=1e-5)
    assert found["F1"] == pytest.approx(100 * float(multilabel_f1_score(probability, truth, 3)), rel=1e-5)


# ---------------------------------------------------------------------------------------------------- regression
def test_regression_by_hand_and_by_scikit_learn() -> None:
    """Predictions 10 + 4 x output: 14, 6, 10 of 12, 8, 10."""
    labels = torch.tensor([12.0, 8.0, 10.0, float("nan"), 5.0])
    found, chance = score(
        NUMBER, "regression", torch.tensor([[1.0], [-1], [0], [7], [7]]), labels, [True] * 4 + [False]
    )
    truth, guess = np.array([12.0, 8, 10]), np.array([14.0, 6, 10])
    assert found["MAE"] == pytest.approx(mean_absolute_error(truth, guess)) == pytest.approx(4 / 3)
    assert found["RMSE"] == pytest.approx(math.sqrt(8 / 3)) and found["nRMSE"] == pytest.approx(25 * math.sqrt(8 / 3))
    assert found["R2"] == pytest.approx(100 * r2_score(truth, guess)) == pytest.approx(0)
    assert chance["MAE"] == pytest.approx(4 / 3) and chance["R2"] == pytest.approx(0)


def test_regression_fits_mean_and_deviation_and_refuses_another_loss() -> None:
    samples = [Sample(np.zeros((4, 4, 3), np.uint8), {"regression": np.array(v)}) for v in (1.0, 3.0, math.nan)]
    assert Regression.fit((), samples) == {"mean": 2.0, "std": 1.0}
    assert Regression.fit((), samples[:1])["std"] == 1.0  # one value: nothing to divide by
    with pytest.raises(UserError, match=r"no loss of regression called 'cubic'"):
        Regression((), {"mean": 0, "std": 1}, loss="cubic")


# ---------------------------------------------------------------------------------------------------- losses
CASES: dict[str, tuple[Any, Tensor, Tensor]] = {
    "classification": (CLASSES, torch.tensor([0, 2, -1, 1]), torch.tensor([-1, -1, -1, 0])),
    "multilabel": (
        TAGS,
        torch.tensor([[1, 0, 255], [255, 255, 255], [0, 1, 1], [1, 1, 1]], dtype=torch.uint8),
        torch.tensor([[255] * 3] * 3 + [[1] * 3], dtype=torch.uint8),
    ),
    "regression": (NUMBER, torch.tensor([3.0, math.nan, 11.0, 5.0]), torch.tensor([math.nan] * 3 + [1.0])),
    "huber": (
        Regression((), {"mean": 10.0, "std": 4.0}, loss="huber"),
        torch.tensor([3.0, math.nan, 11.0, 5.0]),
        torch.tensor([math.nan] * 3 + [1.0]),
    ),
}


def terms(case: str, output: Tensor, labels: Tensor) -> list[float]:
    """What the loss is the mean of, over the first three images."""
    found = []
    for row, label in zip(output[:3].tolist(), labels[:3].tolist(), strict=True):
        if case == "classification" and label >= 0:
            found.append(math.log(sum(map(math.exp, row))) - row[label])
        elif case == "multilabel":
            found += [math.log1p(math.exp(x if y == 0 else -x)) for x, y in zip(row, label, strict=True) if y != 255]
        elif case in ("regression", "huber") and math.isfinite(label):
            error = abs(row[0] - (label - 10) / 4)
            found.append(error**2 if case == "regression" else error**2 / 2 if error < 1 else error - 0.5)
    return found


@pytest.mark.parametrize("case", CASES)
def test_the_loss_is_the_mean_over_what_is_labelled_and_exactly_0_where_nothing_is(case: str) -> None:
    task, labels, none = CASES[case]
    name, masks = case if case != "huber" else "regression", [True, True, True, False]
    width = task.head(5)(torch.zeros(1, 5)).shape[1]
    output = torch.randn(4, width, generator=torch.Generator().manual_seed(0)).requires_grad_()
    batch, expected = batch_of(name, labels, masks), terms(case, output.detach(), labels)
    assert float(task.loss(output, batch).detach()) == pytest.approx(np.mean(expected), rel=1e-5)
    assert int(task.count(batch)) == len(expected)
    loss = task.loss(output, batch_of(name, none, masks))
    loss.backward()
    assert output.grad is not None
    assert float(loss.detach()) == 0.0 and not output.grad.any() and not int(task.count(batch_of(name, none, masks)))


def test_nothing_seen_is_no_error() -> None:
    for task in (CLASSES, TAGS, NUMBER):
        meter = task.meter()
        assert all(math.isnan(s.value) or s.metric == "categories" for s in [*meter.scores(), *meter.chance()])


# ---------------------------------------------------------------------------------------------------- pictures
def words(task: Any, label: dict[str, Any], kept: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What stands under the image; it is also drawn."""
    found: list[tuple[str, str]] = []
    module = __import__(type(task).__module__, fromlist=["draw_under"])
    draw = module.draw_under

    def note(axes: Any, image: np.ndarray, own: list[tuple[str, str]]) -> None:
        found.extend(own)
        draw(axes, image, own)

    with monkeypatch.context() as patched:
        patched.setattr(module, "draw_under", note)
        canvas = Figure()
        task.draw(canvas.subplots(), Sample(np.zeros((8, 12, 3), np.uint8), label), kept)
        canvas.savefig(io.BytesIO())
    return found


def test_words_under_images(monkeypatch: pytest.MonkeyPatch) -> None:
    cat, unknown = {"classification": np.array(0)}, dict[str, Any]()
    sure, wrong = np.array([0.8, 0.15, 0.05]), np.array([0.1, 0.7, 0.2])
    rest = [("dog 15 %", INK), ("cow 5 %", INK)]
    assert words(CLASSES, cat, None, monkeypatch) == [("cat", INK)]
    assert words(CLASSES, cat, sure, monkeypatch) == [("cat 80 %", RIGHT), *rest]
    assert words(CLASSES, cat, wrong, monkeypatch)[0] == (f"{CROSS}dog 70 %", WRONG)
    assert words(CLASSES, unknown, sure, monkeypatch) == [("cat 80 %", INK), *rest]
    assert words(CLASSES, unknown, None, monkeypatch) == [("not labelled", INK)]
    tags = {"multilabel": np.array([1, 0, 255], np.uint8)}
    assert words(TAGS, tags, None, monkeypatch) == [("old", INK)]
    assert words(TAGS, tags, sure, monkeypatch) == [("old", RIGHT), (f"{CROSS}red", WRONG), ("far", INK)]
    assert words(TAGS, {"multilabel": np.zeros(3, np.uint8)}, None, monkeypatch) == [("none", INK)]
    assert words(NUMBER, {"regression": np.array(3.5)}, None, monkeypatch) == [("3.5", INK)]
    assert words(NUMBER, {"regression": np.array(3.5)}, np.array([4.25]), monkeypatch) == [("4.25 (truth 3.5)", INK)]
    assert words(NUMBER, unknown, np.array([4.25]), monkeypatch) == [("4.25", INK)]
