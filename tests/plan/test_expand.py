"""Arms, seeds, identity: which trials there are and when two are the same."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from mtlbench.errors import UserError
from mtlbench.plan import spaces
from mtlbench.plan.arms import check_arms, cross_stitch, make_custom, select
from mtlbench.plan.chosen import choose_recipe, start_from
from mtlbench.plan.expand import DataSource, Pretrained, apply_init, expand, starts_with_weights
from mtlbench.plan.options import RunOptions, parse_seeds, parse_start
from mtlbench.plugins import make_plugin
from mtlbench.spec import Arm, Family, Plugin, Recipe, Trial, derive_seed

SPACE = spaces.load("det_attr")


def trials_of(recipe: str = "quick", seeds: tuple[int, ...] = (0,), **changes: Any) -> list[Trial]:
    chosen = dataclasses.replace(start_from(spaces.recipe_of(SPACE, recipe), "scratch"), **changes)
    backbone = make_plugin("backbone", chosen.backbone, chosen.backbone_options)
    return expand(SPACE.pair, SPACE.arms, seeds, DataSource(Plugin("rooms"), "", "abc"), backbone, chosen)


def test_every_arm_of_the_paper_and_the_controls() -> None:
    """Sections 1.1 and 6.1; seven Splits, conv2 .. fc8."""
    assert [arm.name for arm in SPACE.arms] == [
        "one-task",
        "ensemble-member",
        "ensemble",
        "one-task-longer",
        "mtl-shared",
        "split-conv2",
        "split-conv3",
        "split-conv4",
        "split-conv5",
        "split-fc6",
        "split-fc7",
        "split-fc8",
        "cross-stitch",
    ]
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


def test_units_have_the_networks_own_rate_under_adam_where_the_arm_names_none() -> None:
    """SGD's steps are as large as gradients, which are small there (Section 5.2); Adam's are as large as the rate."""

    def rate(optimiser: str, arm: Arm) -> float:
        recipe = dataclasses.replace(start_from(spaces.recipe_of(SPACE, "quick"), "scratch"), optimiser=optimiser)
        backbone = make_plugin("backbone", recipe.backbone, recipe.backbone_options)
        data = DataSource(Plugin("rooms"), "", "abc")
        *_, trial = expand(SPACE.pair, (SPACE.arms[0], arm), (0,), data, backbone, recipe)
        return float(trial.scheme.options["lr"])

    plain, named = cross_stitch(False), cross_stitch(False, "cross-stitch-rate-10", lr=10.0)
    assert [rate(name, plain) for name in ("sgd", "adam", "adamw")] == [100.0, 1.0, 1.0]
    assert rate("sgd", named) == rate("adamw", named) == 10.0


def test_options_of_a_scheme_are_the_arms_then_the_recipes_then_its_own() -> None:
    """A recipe's rate of units is that of every arm of the scheme that names none, and no part of other trials."""
    recipe = start_from(spaces.recipe_of(SPACE, "quick"), "scratch")
    backbone = make_plugin("backbone", recipe.backbone, recipe.backbone_options)

    def trials(recipe: Recipe) -> list[Trial]:
        arms = (SPACE.arms[0], cross_stitch(False), cross_stitch(False, "cross-stitch-rate-10", lr=10.0))
        return expand(SPACE.pair, arms, (0,), DataSource(Plugin("rooms"), "", "abc"), backbone, recipe)

    told = dataclasses.replace(recipe, scheme_options={"cross_stitch": {"lr": 30.0}})
    assert [trial.scheme.options["lr"] for trial in trials(told)[-2:]] == [30.0, 10.0]
    assert [a.key == b.key for a, b in zip(trials(recipe), trials(told), strict=True)] == [True, True, False, True]
    with pytest.raises(UserError, match="recipe quick.*'cross-stitch'.*mean 'cross_stitch'"):
        trials(dataclasses.replace(recipe, scheme_options={"cross-stitch": {"lr": 30.0}}))


def test_keys_are_golden() -> None:
    """A change here re-trains everything that anyone has: raise a version on purpose, never by accident."""
    trial = trials_of("smoke")[0]
    assert Trial.from_json(json.loads(json.dumps(trial.to_json()))) == trial
    again = dataclasses.replace(trial, arm="other", recipe_name="x", data_root="/y", seed=9, setting="z", pair="p")
    assert again.key == trial.key
    for change in (
        {"fingerprint": "other"},
        {"iterations": 9},
        {"net_seed": 1},
        {"parents": ("k",)},
        {"first": 1},
        {"tasks": tuple(dataclasses.replace(task, version=99) for task in trial.tasks)},
        {"tasks": tuple(dataclasses.replace(task, options={"gain": 3}) for task in trial.tasks)},
        {"recipe": dataclasses.replace(trial.recipe, lr=1.0)},
        {"recipe": dataclasses.replace(trial.recipe, threads=2)},
        {"scheme": dataclasses.replace(trial.scheme, version=99)},
        {"backbone": dataclasses.replace(trial.backbone, options={})},
    ):
        assert dataclasses.replace(trial, **change).key != trial.key, change
    elsewhere = dataclasses.replace(trial, scheme=dataclasses.replace(trial.scheme, source="/tmp/mine.py:Mine"))
    assert elsewhere.key == trial.key
    assert derive_seed(0, "init", "conv1") == 634836133


@pytest.mark.parametrize("text,seeds", [("0-2", (0, 1, 2)), ("3", (3,)), ("0,2,5", (0, 2, 5)), ("0-1,7", (0, 1, 7))])
def test_seed_lists(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "2-0", "0,0", "-1", "1-"])
def test_bad_seed_lists_are_one_line(text: str) -> None:
    with pytest.raises(UserError, match="is not a list of different seeds") as error:
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
    file.write_text("class HalfAndHalf:\n    version = 3\n    groups = unit = None\n")
    arm = make_custom(f"{file}:HalfAndHalf")
    assert arm.name == "half-and-half"
    assert make_plugin("scheme", arm.scheme, {}) == Plugin("HalfAndHalf", {}, 3, f"{file}:HalfAndHalf")
    with pytest.raises(UserError, match="no class in mine.py called 'Half'"):
        make_custom(f"{file}:Half")
    file.write_text("class Half:\n    version = 3\n    def groups(self, stage, tasks): ...\n")
    with pytest.raises(UserError, match="the class has no unit; type: mtlbench check .*mine.py:Half"):
        make_custom(f"{file}:Half")
    with pytest.raises(UserError, match="no such file"):
        make_custom(f"{tmp_path}/other.py:Half")


# ------------------------------------------------------------------------------------------------ starts
WEIGHTS = Pretrained("/somewhere/net.npz", "0123456789ab")


def from_starts(*starts: str, recipe: str = "quick", file: Pretrained = WEIGHTS) -> dict[str, Trial]:
    arms, chosen = apply_init(SPACE.arms, spaces.recipe_of(SPACE, recipe), list(map(parse_start, starts)))
    backbone = make_plugin("backbone", chosen.backbone, chosen.backbone_options)
    weights = dict.fromkeys(starts_with_weights(arms, chosen), file)
    found = expand(SPACE.pair, arms, (0,), DataSource(Plugin("rooms"), "", "abc"), backbone, chosen, weights)
    return {trial.label: trial for trial in found}


def test_weights_are_identity_their_path_is_not_and_children_share_their_parents_input_scaling() -> None:
    plain, pretrained = from_starts("scratch"), from_starts("imagenet")
    assert not any(trial.weights_file or trial.backbone.options.get("weights") for trial in plain.values())
    for label, trial in pretrained.items():
        assert trial.backbone.options["weights"] == WEIGHTS.digest and trial.key != plain[label].key
        assert trial.weights_file == ("" if trial.parents else WEIGHTS.file)
        assert trial.setting != plain[label].setting
    elsewhere = from_starts("imagenet", file=Pretrained("/other.npz", WEIGHTS.digest))
    assert {t.key for t in elsewhere.values()} == {t.key for t in pretrained.values()}
    other = from_starts("imagenet", file=Pretrained(WEIGHTS.file, "ba9876543210"))
    assert not {t.key for t in other.values()} & {t.key for t in pretrained.values()}
    assert not {t.setting for t in other.values()} & {t.setting for t in pretrained.values()}
    assert from_starts("scratch").keys() == plain.keys() and not starts_with_weights(
        *apply_init(SPACE.arms, spaces.recipe_of(SPACE, "paper"), [parse_start("scratch")])
    )


@pytest.mark.parametrize(
    ("pair", "first", "setting", "last"),
    [
        ("det_attr", "018887b13119", "dec623947255", "049740c8ba87"),
        ("semseg_sn", "0b98803bef6b", "ef953e21a673", "1c9ed30b4b55"),
    ],
)
def test_quick_from_scratch_is_what_it_was_before_trunks_came_with_rooms(
    pair: str, first: str, setting: str, last: str
) -> None:
    """Keys and the setting of 0.1.0's default study; the default's own are others, since it starts from a trunk."""
    space = spaces.load(pair)

    def trials(*starts: str) -> list[Trial]:
        arms, recipe = apply_init(space.arms, spaces.recipe_of(space, "quick"), list(map(parse_start, starts)))
        backbone = make_plugin("backbone", recipe.backbone, recipe.backbone_options)
        weights = dict.fromkeys(starts_with_weights(arms, recipe), WEIGHTS)
        return expand(space.pair, arms, (0,), DataSource(Plugin("rooms"), "", "abc"), backbone, recipe, weights)

    scratch, usual = trials("scratch"), trials()
    assert (scratch[0].key, scratch[0].setting) == (first, setting)
    assert (scratch[-1].label, scratch[-1].key) == ("cross-stitch seed 0", last)
    assert trials() == trials("pretrained") and not {t.key for t in usual} & {t.key for t in scratch}
    assert all(trial.weights_file == ("" if trial.parents else WEIGHTS.file) for trial in usual)
    assert {trial.setting for trial in usual}.isdisjoint({setting})


def test_a_trunk_is_for_its_data_set_and_backbone_and_others_start_from_scratch() -> None:
    quick = spaces.recipe_of(SPACE, "quick")

    def on(dataset: str, backbone: str = "") -> Recipe:
        return choose_recipe(SPACE, dataset, RunOptions("det_attr", recipe="quick", backbone=backbone))

    assert on("rooms").init == "pretrained"
    scratch = start_from(quick, "scratch")
    assert scratch.init == "scratch" and scratch.lr == 0.06 and scratch.loss_weight == {} == scratch.from_scratch
    assert on("voc2008") == scratch
    assert on("rooms", "alexnet").init == "scratch"
    assert start_from(quick, "imagenet") == dataclasses.replace(scratch, init="imagenet")


def test_cross_stitch_without_parents_trains_as_long_as_with_them() -> None:
    """Table 3: total iterations matched, parents included; it stands beside the one from one-task, same setting."""
    both = from_starts("cross-stitch=imagenet")
    assert "cross-stitch seed 0" not in both
    alone, usual = both["cross-stitch-from-imagenet seed 0"], from_starts()["cross-stitch seed 0"]
    assert alone.parents == () and alone.weights_file == WEIGHTS.file and alone.first == 0
    assert alone.iterations == usual.first + usual.iterations
    assert alone.backbone.label == usual.backbone.label  # they stand in one table
    assert alone.setting == usual.setting and both["one-task detection seed 0"].key == usual.parents[0]
    assert alone.recipe.lr == both["one-task detection seed 0"].recipe.lr


def test_starts_that_an_arm_does_not_allow_are_refused() -> None:
    for text in ("one-task=imagenet", "ensemble=scratch", "split-conv2=one-task", "nowhere", "cross=scratch"):
        with pytest.raises(UserError):
            from_starts(text)
    assert from_starts("one-task", "cross-stitch=one-task") == from_starts()
    assert from_starts("split-*=scratch")["split-fc8-from-scratch seed 0"].parents == ()


def test_a_trial_over_one_task_does_not_know_the_options_of_the_other() -> None:
    by_label = {t.label: t for t in trials_of("quick", loss_weight={"attributes": 2.0})}
    plain = {t.label: t for t in trials_of("quick")}
    assert by_label["one-task detection seed 0"].key == plain["one-task detection seed 0"].key
    assert by_label["one-task attributes seed 0"].key != plain["one-task attributes seed 0"].key
    assert by_label["split-fc8 seed 0"].key != plain["split-fc8 seed 0"].key


@pytest.mark.parametrize(
    ("cls", "arm"),
    [
        ("Gated", "gated"),
        ("MTAN2", "mtan2"),
        ("MTAN", "mtan"),
        ("SplitTree", "split-tree"),
        ("Split", "split"),
        ("CrossStitchGated", "cross-stitch-gated"),
        ("MtlSharedX", "mtl-shared-x"),
        ("EnsembleOfTwo", "ensemble-of-two"),
        ("OneTask", "one-task"),
        ("Splitter", "splitter"),
        ("HTTPMix", "http-mix"),
    ],
)
def test_a_users_class_is_never_taken_for_one_of_our_arms(tmp_path: Path, cls: str, arm: str) -> None:
    """Else it is drawn among the Splits, may be val's best Split, or is hidden as an ablation."""
    file = tmp_path / "mine.py"
    file.write_text(
        f"class {cls}:\n    version = 1\n    def groups(self, stage, tasks): return [tasks]\n"
        "    def unit(self, stage, tasks): return None\n"
    )
    made = make_custom(f"{file}:{cls}")
    assert (made.name, made.family, made.variant_of) == (arm, Family.OWN, "")
    recipe = spaces.recipe_of(SPACE, "smoke")
    backbone = make_plugin("backbone", recipe.backbone, recipe.backbone_options)
    (trial,) = expand(SPACE.pair, [made], (0,), DataSource(Plugin("rooms"), "", "abc"), backbone, recipe)
    assert (trial.scheme.name, trial.family, trial.variant_of) == (cls, Family.OWN, "")
