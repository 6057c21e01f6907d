"""The deltas: the paper's own numbers recomputed, and by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mtlbench.analysis import deltas
from mtlbench.analysis.frame import mean_over_tasks, relative_change
from mtlbench.analysis.inference import compute_intervals
from tests.support.synthetic_results import METRICS, results_frame

NYU = (
    "normals: mean (lower is better), median (lower is better), within_11.25, within_22.5, within_30;"
    " semseg: pixacc, mIoU, fwIoU"
)


@pytest.fixture(scope="module")
def paper() -> pd.DataFrame:
    return deltas.read_published_deltas()


@pytest.mark.parametrize(
    ("pair", "arm", "delta", "expected"),
    [
        ("semseg_sn", "cross-stitch", deltas.BY_TASK, 2.63),
        ("semseg_sn", "cross-stitch", deltas.FLAT, 2.54),
        ("semseg_sn", "cross-stitch", deltas.HEADLINES, 3.45),
        ("semseg_sn", "mtl-shared", deltas.BY_TASK, -3.53),
        ("semseg_sn", "mtl-shared", deltas.FLAT, -2.72),
        ("semseg_sn", "mtl-shared", deltas.HEADLINES, -4.75),
        *(("det_attr", "cross-stitch", delta, 2.06) for delta in deltas.DELTAS),
        *(("det_attr", "mtl-shared", delta, -8.03) for delta in deltas.DELTAS),
    ],
)
def test_the_papers_deltas_come_out_of_its_tables(
    paper: pd.DataFrame, pair: str, arm: str, delta: str, expected: float
) -> None:
    found = paper.set_index(["pair", "arm", "delta"])["change"]
    assert found[pair, arm, delta] == pytest.approx(expected, abs=0.005)


def test_published_deltas_say_what_enters(paper: pd.DataFrame) -> None:
    assert paper.groupby("source")["arm"].nunique().to_dict() == {"Table 5": 5, "Table 6": 6}
    words = paper.drop_duplicates(["pair", "delta"]).set_index(["pair", "delta"])["metrics"]
    assert words["semseg_sn", deltas.FLAT] == words["semseg_sn", deltas.BY_TASK] == NYU
    assert words["semseg_sn", deltas.HEADLINES] == "normals: mean (lower is better); semseg: mIoU"
    assert set(words["det_attr"]) == {"detection: mAP; attributes: mAP"}


def test_deltas_of_a_seed_are_means_over_hand_picked_changes() -> None:
    frame = results_frame("semseg_sn")
    found = deltas.deltas_of_seeds(frame).set_index(["delta", "arm", "seed"])["change"]
    cells = frame[(frame["subset"] == "test") & (frame["category"] == "")].set_index(["arm", "seed", "task", "metric"])
    change = {
        task: {
            name: (1 if higher else -1)
            * 100
            * (cells["value"]["cross-stitch", 1, task, name] - cells["value"]["one-task", 1, task, name])
            / cells["value"]["one-task"].xs((task, name), level=("task", "metric")).mean()
            for name, _, _, higher in METRICS[task]
        }
        for task in ("normals", "semseg")
    }
    normals, semseg = (list(change[task].values()) for task in ("normals", "semseg"))
    assert found[deltas.FLAT, "cross-stitch", 1] == pytest.approx(np.mean(normals + semseg))
    assert found[deltas.BY_TASK, "cross-stitch", 1] == pytest.approx((np.mean(normals) + np.mean(semseg)) / 2)
    headlines = [change["normals"]["mean"], change["semseg"]["mIoU"]]
    assert found[deltas.HEADLINES, "cross-stitch", 1] == pytest.approx(np.mean(headlines))


def test_bare_counts_never_enter() -> None:
    found = deltas.compute_deltas(results_frame("det_attr"))
    assert set(found["metrics"]) == {"detection: mAP; attributes: mAP"}
    changed = results_frame("det_attr")
    changed.loc[(changed["unit"] == "") & (changed["subset"] == "test"), "value"] += 5
    assert deltas.compute_deltas(changed).equals(found)


def test_intervals_are_those_of_the_seeds_deltas() -> None:
    frame = results_frame("semseg_sn")
    found = deltas.compute_deltas(frame).set_index(["delta", "arm"])
    headlines = mean_over_tasks(relative_change(frame), "")
    reference = compute_intervals(headlines).set_index("arm").loc["split-conv4"]
    row = found.loc[(deltas.HEADLINES, "split-conv4")]
    assert row[["mean", "low", "high", "n"]].tolist() == pytest.approx(reference[["mean", "low", "high", "n"]].tolist())
    assert deltas.compute_deltas(results_frame("semseg_sn", seeds=(0, 1)))[["low", "high"]].isna().all(axis=None)


def test_kin_are_kin_in_their_deltas() -> None:
    frame = results_frame("semseg_sn")
    kin = frame["arm"].isin(["cross-stitch", "one-task"])
    roots = frame["key"].where(~kin, "root" + frame["seed"].astype(str))
    paired = deltas.compute_deltas(frame.assign(roots=roots)).set_index(["delta", "arm"])["paired"]
    assert paired.xs("cross-stitch", level="arm").all() and not paired.xs("split-conv4", level="arm").any()


def test_an_arm_or_seed_that_lacks_a_metric_has_no_delta() -> None:
    frame = results_frame("semseg_sn")
    gone = (frame["arm"] == "cross-stitch") & (frame["seed"] == 2) & (frame["metric"] == "fwIoU")
    found = deltas.compute_deltas(frame[~gone]).set_index(["delta", "arm"])["n"]
    assert found[deltas.HEADLINES, "cross-stitch"] == 3
    assert found[deltas.FLAT, "cross-stitch"] == found[deltas.BY_TASK, "cross-stitch"] == 2
    no_base = frame[~((frame["arm"] == "one-task") & (frame["task"] == "semseg"))]
    assert deltas.compute_deltas(no_base).empty
    assert deltas.compute_deltas(frame[frame["arm"] == "cross-stitch"]).empty
    assert deltas.compute_deltas(frame[frame["subset"] == "cost"]).empty


def test_three_tasks_work() -> None:
    frame = pd.concat([results_frame("semseg_sn"), results_frame("det_attr").query("task == 'detection'")])
    found = deltas.compute_deltas(frame.assign(pair="three"))
    assert found["metrics"].str.count(":").unique().tolist() == [3]
