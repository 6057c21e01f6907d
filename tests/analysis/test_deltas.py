"""The deltas: the paper's own numbers recomputed, and by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mtlbench.analysis import deltas
from mtlbench.analysis.frame import mean_over_tasks, relative_change
from mtlbench.analysis.inference import compute_intervals
from mtlbench.analysis.paper import read_published
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
    assert paper.groupby("source")["arm"].nunique().to_dict() == {"Navon et al. 2022": 10, "Table 5": 5, "Table 6": 6}
    words = paper.drop_duplicates(["pair", "delta"]).set_index(["pair", "delta"])["metrics"]
    assert words["semseg_sn", deltas.FLAT] == words["semseg_sn", deltas.BY_TASK] == NYU
    assert words["semseg_sn", deltas.HEADLINES] == "normals: mean (lower is better); semseg: mIoU"
    assert set(words["det_attr"]) == {"detection: mAP; attributes: mAP"}


@pytest.mark.parametrize(
    ("arm", "drop"), [("mtan", 5.59), ("mtan@nash-mtl", -4.04), ("mtan@cagrad", 0.20), ("mtan@pcgrad", 3.97)]
)
def test_the_drops_that_navon_et_al_print_come_out_of_their_metrics(paper: pd.DataFrame, arm: str, drop: float) -> None:
    """Their Table 2: delta m of LS, Nash-MTL, CAGrad and PCGrad, where a drop is positive."""
    found = paper.set_index(["pair", "arm", "delta"])["change"]
    assert -found["dense3", arm, deltas.PROTOCOL] == pytest.approx(drop, abs=0.011)
    assert found["dense3", arm, deltas.PROTOCOL] == found["dense3", arm, deltas.FLAT]  # nothing else is published


def test_the_delta_of_the_protocol_leaves_other_metrics_and_other_pairs_out() -> None:
    published = read_published()
    navon = published[published["source"] == "Navon et al. 2022"].assign(seed=0)
    more = navon[navon["metric"] == "absolute"].assign(metric="rmse", headline=False, value=1.0)
    found = deltas.deltas_of_seeds(pd.concat([navon, more])).set_index(["delta", "arm"])["change"]
    assert -found[deltas.PROTOCOL, "mtan"] == pytest.approx(5.59, abs=0.011)
    assert -found[deltas.FLAT, "mtan"] == pytest.approx(0.9 * 5.59, abs=0.011)
    assert deltas.PROTOCOL not in set(deltas.deltas_of_seeds(results_frame("semseg_sn"))["delta"])
    street = navon[navon["task"].isin(["semseg", "depth"])].replace({"task": {"depth": "disparity"}})
    change = deltas.deltas_of_seeds(street).set_index(["delta", "arm"])["change"]
    by_hand = [100 * (39.29 / 38.3 - 1), 100 * (65.33 / 63.76 - 1), 100 * (1 - 54.93 / 67.54), 100 * (1 - 22.63 / 27.8)]
    assert change[deltas.PROTOCOL, "mtan"] == pytest.approx(np.mean(by_hand))


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
