"""Arms, seeds, identity: which trials there are and when two are the same."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from mtlbench import spaces
from mtlbench.enumerator import check_arms, custom, expand, parse_seeds, plugin, select
from mtlbench.errors import UserError
from mtlbench.spec import Arm, Plugin, Trial, derive_seed

SPACE = spaces.load("det_attr")


def trials_of(recipe: str = "quick", seeds: tuple[int, ...] = (0,), **changes: Any) -> list[Trial]:
    chosen = dataclasses.replace(spaces.recipe_of(SPACE, recipe), **changes)
    backbone = plugin("backbone", chosen.backbone, chosen.backbone_options)
    return expand(SPACE.pair, SPACE.arms, seeds, Plugin("rooms"), "", "abc", backbone, chosen)


def test_every_arm_of_the_paper_and_the_controls() -> None:
    """Sections 1.1 and 6.1; seven Splits, conv2 .. fc8."""
    assert [arm.name for arm in SPACE.arms] == [
        "one-task", "ensemble-member", "ensemble", "one-task-longer", "mtl-shared", "split-conv2", "split-conv3",
        "split-conv4", "split-conv5", "split-fc6", "split-fc7", "split-fc8", "cross-stitch",
    ]  # fmt: skip
    names = [trial.label for trial in trials_of()]
    assert len(names) == 4 * 2 + 9 and len(set(names)) == len(names)


def test_parents_come_first_and_children_start_from_them() -> None:
    trials = trials_of(seeds=(0, 1))
    seen: set[str] = set()
    for trial in trials:
        assert set(trial.parents) <= seen
        seen.add(trial.key)
    by_label = {trial.label: trial for trial in trials}
    stitched = by_label["cross-stitch seed 1"]
    assert stitched.parents == tuple(by_label[f"one-task {t} seed 1"].key for t in SPACE.pair.tasks)
    longer = by_label["one-task-longer detection seed 1"]
    # The control sees the batches that cross-stitch sees, after its parent's (Ours).
    assert longer.first == stitched.first == by_label["one-task detection seed 1"].iterations
    assert longer.iterations == stitched.iterations
    assert by_label["ensemble detection seed 0"].iterations == 0


def test_ensembles_of_different_seeds_share_nothing() -> None:
    seeds = {t.net_seed for t in trials_of(seeds=(0, 1, 2)) if t.arm in ("one-task", "ensemble-member")}
    assert len(seeds) == 6


def test_joint_arms_train_as_long_as_the_longest_one_task() -> None:
    trials = trials_of("quick", iterations={"detection": 10, "attributes": 30})
    by_label = {trial.label: trial for trial in trials}
    assert by_label["one-task detection seed 0"].iterations == 10
    assert by_label["split-conv4 seed 0"].iterations == by_label["mtl-shared seed 0"].iterations == 30


def test_units_per_layer_for_detection_and_attributes_per_channel_for_the_other_pair() -> None:
    """Sections 5 and 6."""
    pairs = ("det_attr", "semseg_sn")
    options = {pair: {a.name: a for a in spaces.load(pair).arms}["cross-stitch"].options for pair in pairs}
    assert options == {"det_attr": {"per_channel": False}, "semseg_sn": {"per_channel": True}}


def test_keys_are_golden() -> None:
    """A change here re-trains everything that anyone has: raise a version on purpose, never by accident."""
    trial = trials_of("smoke")[0]
    assert Trial.from_json(json.loads(json.dumps(trial.to_json()))) == trial
    again = dataclasses.replace(trial, arm="other", recipe_name="x", data_root="/y", seed=9, setting="z", pair="p")
    assert again.key == trial.key
    for change in (
        {"fingerprint": "other"}, {"iterations": 9}, {"net_seed": 1}, {"parents": ("k",)}, {"first": 1},
        {"task_versions": {"detection": 99}}, {"recipe": {**trial.recipe, "lr": 1.0}},
        {"recipe": {**trial.recipe, "threads": 2}}, {"scheme": dataclasses.replace(trial.scheme, version=99)},
        {"backbone": dataclasses.replace(trial.backbone, options={})},
    ):  # fmt: skip
        assert dataclasses.replace(trial, **change).key != trial.key, change  # type: ignore[arg-type]
    elsewhere = dataclasses.replace(trial, scheme=dataclasses.replace(trial.scheme, source="/tmp/mine.py:Mine"))
    assert elsewhere.key == trial.key
    assert derive_seed(0, "init", "conv1") == 634836133


@pytest.mark.parametrize("text,seeds", [("0-2", (0, 1, 2)), ("3", (3,)), ("0,2,5", (0, 2, 5)), ("0-1,7", (0, 1, 7))])
def test_seed_lists(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "2-0", "0,0", "-1", "1-"])
def test_bad_seed_lists_are_one_line(text: str) -> None:
    with pytest.raises(UserError, match="--seeds") as error:
        parse_seeds(text)
    assert "\n" not in str(error.value)


def test_arms_by_glob_bring_their_parents() -> None:
    assert [a.name for a in select(SPACE.arms, ["cross*"])] == ["one-task", "cross-stitch"]
    assert [a.name for a in select(SPACE.arms, ["ensemble"])] == ["one-task", "ensemble-member", "ensemble"]
    with pytest.raises(UserError, match="Did you mean 'split-conv4'"):
        select(SPACE.arms, ["split-conv44"])


def test_arms_that_cannot_be() -> None:
    with pytest.raises(UserError, match="two arms"):
        check_arms([Arm("a"), Arm("a")])
    with pytest.raises(UserError, match="per-task arm that stands before it"):
        check_arms([Arm("a"), Arm("b", parents=("a",))])


def test_a_scheme_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("class HalfAndHalf:\n    version = 3\n")
    arm = custom(f"{file}:HalfAndHalf")
    assert arm.name == "half-and-half"
    assert plugin("scheme", arm.scheme, {}) == Plugin("HalfAndHalf", {}, 3, f"{file}:HalfAndHalf")
    with pytest.raises(UserError, match="no class in mine.py called 'Half'"):
        custom(f"{file}:Half")
    file.write_text("import nothing_like_this")
    with pytest.raises(UserError, match="ModuleNotFoundError"):
        custom(f"{file}:Half")
    with pytest.raises(UserError, match="no such file"):
        custom(f"{tmp_path}/other.py:Half")
