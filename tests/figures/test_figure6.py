"""Figure 6: the classes of semantic segmentation, sorted by pixels; the rest is Figure 5's."""

from __future__ import annotations

import pytest

from mtlbench.datasets._nyu_classes import CLASSES
from mtlbench.figures.figure6 import Figure6
from tests.support.categories import constant, drawn, make_up, measure


def test_figure6_is_iou_by_pixel_labels() -> None:
    values = constant(["wall", "bag"], (0, 1, 2), lambda place, seed: 3.0 * place + 0.5)
    data = Figure6().data(measure(values, {"wall": 9_000_000, "bag": 800}, task="semseg"))
    assert dict(zip(data.bars["category"], data.bars["mean"], strict=True)) == pytest.approx({"bag": 3.5, "wall": 0.5})
    asked = data.question
    assert (asked.task, asked.metric, asked.labelled, data.place) == ("semseg", "IoU", "labelled pixels", 1)
    text = data.caption
    assert text.startswith("Change in IoU of cross-stitch over one-task") and "semseg_sn on rooms" in text


def test_the_paper_prints_no_numbers_for_figure6() -> None:
    results = make_up(CLASSES, task="semseg", dataset="nyuv2", recipe="paper")
    data = Figure6().data(results, paper=True)
    assert data.published.empty and data.caption.endswith("no mean gains for semseg.")
    axes = drawn(data).axes
    assert [label.get_text() for label in axes[0].get_xticklabels()] == list(CLASSES)
    assert axes[0].get_ylabel() == "change (points, up is better)"
    assert {axis.get_ylabel() for axis in axes} >= {"labelled pixels in train (line)"}
