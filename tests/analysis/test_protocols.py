"""results/protocols.csv equals the published tables; they stand beside our numbers where all agrees, else a line why.

Typed from LibMTL's examples/nyu/results/resnet_results.pdf (Tables 2 and 5) and segnet_results.pdf (Table 2, the first
line of each method: what Navon et al. and others before them report), one-task from nash-mtl, experiments/nyuv2.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from mtlbench.analysis.paper import read_published, select_comparable
from mtlbench.analysis.selection import Selection
from mtlbench.errors import UserError
from mtlbench.report.paper_layouts import PROTOCOLS
from mtlbench.report.paper_tables import paper_table
from mtlbench.report.render import render

TABLES = {
    "LibMTL, Table 2": """
        split-fc8                54.10 75.78 0.3771 0.1596 23.53 17.20 34.55 60.75 72.06
        split-fc8@gradnorm       53.57 75.21 0.3853 0.1623 23.32 16.62 35.81 61.85 72.73
        split-fc8@uncertainty    54.02 75.66 0.3838 0.1573 23.45 16.86 35.43 61.32 72.33
        split-fc8@mgda           50.15 73.44 0.3839 0.1563 22.78 16.05 37.04 63.07 73.65
        split-fc8@dwa            53.55 75.42 0.3811 0.1589 23.63 17.15 34.78 60.71 71.87
        split-fc8@geometric-mean 54.46 76.01 0.3793 0.1566 22.73 16.16 36.76 62.94 73.68
        split-fc8@pcgrad         54.03 75.66 0.3814 0.1570 23.62 17.01 35.10 60.96 71.97
        split-fc8@graddrop       53.90 75.62 0.3851 0.1580 23.67 17.04 34.99 60.88 71.91
        split-fc8@cagrad         53.77 75.80 0.3836 0.1584 22.53 15.86 37.40 63.58 74.20
        split-fc8@nash-mtl       53.38 75.01 0.3814 0.1570 22.61 15.87 37.30 63.68 74.28
        split-fc8@rlw            54.52 75.78 0.3890 0.1566 23.34 16.83 35.45 61.43 72.45""",
    "LibMTL, Table 5": """
        mtan                     54.38 75.84 0.3764 0.1561 22.98 16.36 36.35 62.44 73.27""",
    "Navon et al. 2022": """
        one-task                 38.30 63.76 0.6754 0.2780 25.01 19.21 30.14 57.20 69.15
        mtan                     39.29 65.33 0.5493 0.2263 28.15 23.96 22.09 47.50 61.08
        mtan@dwa                 39.11 65.31 0.5510 0.2285 27.61 23.18 24.17 50.18 62.39
        mtan@uncertainty         36.87 63.17 0.5446 0.2260 27.04 22.61 23.54 49.05 63.65
        mtan@mgda                30.47 59.90 0.6070 0.2555 24.88 19.45 29.18 56.88 69.36
        mtan@pcgrad              38.06 64.64 0.5550 0.2325 27.41 22.80 23.86 49.83 63.14
        mtan@graddrop            39.39 65.12 0.5455 0.2279 27.48 22.96 23.38 49.44 62.87
        mtan@cagrad              39.79 65.49 0.5486 0.2250 26.31 21.58 25.61 52.36 65.58
        mtan@nash-mtl            40.13 65.93 0.5261 0.2171 25.26 20.08 28.40 55.47 68.15
        mtan@rlw                 37.17 63.77 0.5759 0.2410 28.27 24.18 22.26 47.05 60.62""",
}
COLUMNS = [
    *(("semseg", name, 1) for name in ("mIoU", "pixacc")),
    *(("depth", name, 100) for name in ("absolute", "relative")),  # theirs are metres and shares
    *(("normals", name, 1) for name in ("mean", "median", "within_11.25", "within_22.5", "within_30")),
]


@pytest.fixture(scope="module")
def published() -> pd.DataFrame:
    found = read_published()
    return found[found["recipe"] != "paper"]


def test_every_number_is_the_published_one_and_no_number_is_missing(published: pd.DataFrame) -> None:
    expected = {}
    for source, text in TABLES.items():
        for line in text.strip().splitlines():
            arm, *values = line.split()
            for (task, metric, times), value in zip(COLUMNS, values, strict=True):
                expected[source, arm, task, metric] = pytest.approx(times * float(value))
    cells = zip(published["source"], published["arm"], published["task"], published["metric"], strict=True)
    assert dict(zip(cells, published["value"], strict=True)) == expected


ONE_TASK = {"key": "k", "recipe": {}}


def ours(published: pd.DataFrame, by: str, classes: int = 13, sides: int = 0, **changes: str) -> Any:
    """Results that are the ones published by a recipe, all as it asks but for `changes`."""
    frame = published[published["recipe"] == by].assign(seed=0, finished="2026-01-02", setting="a", **changes)
    trial = {**ONE_TASK, "recipe": {"short_side": sides, "long_side": sides}}
    return SimpleNamespace(
        frame=frame,
        failures=[],
        states=[],
        counts_of=lambda _: {"semseg": dict.fromkeys(map(str, range(classes)), 1)},
        provenance_of=lambda _: [trial],
    )


def test_they_stand_beneath_our_rows_where_all_agrees(published: pd.DataFrame) -> None:
    results = ours(published, "libmtl")
    rows, remark = select_comparable(results.frame, results)
    assert len(rows) == 12 * 9 and not remark and set(rows["recipe"]) == {"libmtl"}
    text = render(paper_table("libmtl", results, Selection(), paper=True), "text", 200)
    assert text.count("  published ") == 12 and "Published: LibMTL, Table 2 and LibMTL, Table 5." in text
    (line,) = [line for line in text.splitlines() if line.startswith("split-fc8@mgda ")]
    assert line.split()[2:] == ["50.1", "73.4", "38.4", "15.6", "22.8", "16.1", "37.0", "63.1", "73.7"], line


@pytest.mark.parametrize(
    ("recipe", "changes", "why"),
    [
        ("libmtl", {"dataset": "nyuv2"}, "dataset nyuv2, not mtan"),
        ("libmtl", {"recipe": "short"}, "recipe short, not libmtl"),
        (
            "libmtl",
            {"backbone": "timm(model=resnet50)"},
            "backbone timm(model=resnet50), not timm(model=resnet50.tv_in1k",
        ),
        ("libmtl", {"classes": 40}, "40 categories of semseg, not 13"),
        ("libmtl", {"sides": 120}, "images with sides of 120 to 120 pixels, not images in full size"),
        ("nash", {"backbone": "timm(model=vgg16_bn)"}, "backbone timm(model=vgg16_bn), not segnet"),
    ],
)
def test_a_line_says_why_they_are_not_shown(
    published: pd.DataFrame, recipe: str, changes: dict[str, Any], why: str
) -> None:
    results = ours(published, recipe, **changes)
    rows, remark = select_comparable(results.frame, results)
    assert rows.empty and remark.startswith(f"Published values are not shown, they do not compare: {why}")
    text = render(paper_table(recipe, results, Selection(), paper=True), "text", 200)
    assert "  published " not in text and remark in " ".join(text.split())


def test_rows_and_columns_of_a_protocol_are_what_is_published(published: pd.DataFrame) -> None:
    for name, layout in PROTOCOLS.items():
        own = published[published["source"].isin(layout.sources)]
        assert set(own["recipe"]) == {name}
        assert {row.arm for row in layout.rows if row} >= set(own["arm"])
        assert layout.scores == [row[:2] for row in COLUMNS]
    with pytest.raises(UserError, match="table nash is about dense3, not semseg_sn; leave out --pair"):
        paper_table("nash", ours(published, "nash"), Selection(pair="semseg_sn"))
    other = ours(published, "nash", pair="semseg_sn")
    with pytest.raises(UserError, match="run --pair dense3 --dataset mtan --data-root DIR --recipe nash --arm mtan"):
        paper_table("nash", other, Selection())
