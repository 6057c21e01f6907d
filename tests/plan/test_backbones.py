"""Splits follow the stages of a backbone that lacks those which a space names."""

from __future__ import annotations

import dataclasses

import pytest

from mtlbench.arm_names import arm_order
from mtlbench.errors import UserError
from mtlbench.plan import spaces
from mtlbench.plan.backbones import on_backbone, parse_backbone, pin
from mtlbench.plan.chosen import choose_recipe
from mtlbench.plan.options import RunOptions
from mtlbench.plan.spaces import without_twins
from mtlbench.plan.trees import every_tree
from mtlbench.plugins import make_plugin
from mtlbench.spec import Family, Pair, Plugin, SearchSpace

SPACE = spaces.load("semseg_sn")
RECIPE = spaces.recipe_of(SPACE, "smoke")


def of_timm(model: str, **options: object) -> Plugin:
    return make_plugin("backbone", "timm", pin("timm", {"model": model, **options}))


def splits(space: SearchSpace) -> list[str]:
    return [arm.name for arm in space.arms if arm.family == Family.SPLIT]


def test_splits_are_at_the_stages_of_the_backbone_from_the_second_on() -> None:
    space, _ = on_backbone(SPACE, of_timm("test_vit"), RECIPE)
    assert splits(space) == ["split-stage2", "split-stage3", "split-stage4", "split-fc8"]
    assert [a.name for a in space.arms if a.family != Family.SPLIT] == [
        a.name for a in SPACE.arms if a.family != Family.SPLIT
    ]
    # conv3 is the second of seven layers, fc6 the fifth: a sixth and four sixths of the way.
    assert space.short_list == ("one-task", "split-stage2", "split-stage4", "split-fc8", "cross-stitch")
    assert not any(arm.wide for arm in space.more)


def test_a_backbone_with_the_named_stages_changes_nothing() -> None:
    for name in ("caffenet", "alexnet"):
        assert on_backbone(SPACE, make_plugin("backbone", name, {}), RECIPE) == (SPACE, RECIPE)


def test_stages_are_frozen_where_there_are_any() -> None:
    frozen = dataclasses.replace(RECIPE, frozen=("conv1", "stage1"))
    assert on_backbone(SPACE, of_timm("test_vit"), frozen)[1].frozen == ("stage1",)
    assert on_backbone(SPACE, make_plugin("backbone", "caffenet", {}), frozen)[1].frozen == ("conv1",)


def test_forms_part_where_the_backbone_says() -> None:
    mixed = dataclasses.replace(SPACE, pair=Pair("p", ("semseg", "detection"), "mixed"))
    space, _ = on_backbone(mixed, of_timm("test_efficientnet"), RECIPE)
    assert space.parts_at == "stage5"
    assert splits(without_twins(space)) == ["split-stage2", "split-stage3", "split-stage4", "split-stage5"]
    forms, layers = {"semseg": "fcn", "detection": "roi"}, ("stage4", "stage5", "fc8")
    names = [arm.name for arm in every_tree(("semseg", "detection"), layers, forms, "stage5")]
    assert names == ["split-stage4", "split-stage5"]


def test_what_the_command_line_says_of_a_backbone() -> None:
    assert parse_backbone("timm:resnet18(output_stride=16)") == ("timm", {"model": "resnet18", "output_stride": 16})
    assert parse_backbone("caffenet") == ("caffenet", {})
    with pytest.raises(UserError, match="--backbone 'timm:x.1.': write"):
        parse_backbone("timm:x(1)")
    recipe = choose_recipe(SPACE, "rooms", RunOptions(pair="semseg_sn", backbone="timm:test_vit", batch_norm="frozen"))
    assert recipe.backbone == "timm" and recipe.backbone_options == {"model": "test_vit", "batch_norm": "frozen"}
    assert recipe.init == "scratch"  # the trunk of rooms is CaffeNet's


def test_timms_version_is_part_of_what_a_backbone_is_and_not_of_its_label() -> None:
    found = of_timm("test_vit")
    assert set(found.options) == {"model", "release"} and found.label == "timm(model=test_vit)"


def test_the_heads_are_the_last_place_to_split_whatever_stages_are_called() -> None:
    names = ["split-fc8", "split-stage10", "split-stage2", "cross-stitch", "one-task"]
    assert arm_order(names) == ["one-task", "split-stage2", "split-stage10", "split-fc8", "cross-stitch"]


@pytest.mark.parametrize(("pair", "dataset"), [("semseg_sn", "nyuv2"), ("det_attr", "voc2008")])
def test_recipe_pretrained_splits_at_every_stage_and_starts_from_imagenet(pair: str, dataset: str) -> None:
    space = spaces.load(pair)
    recipe = choose_recipe(space, dataset, RunOptions(pair=pair, recipe="pretrained"))
    space, kept = on_backbone(space, of_timm(**recipe.backbone_options), recipe)
    assert splits(space) == ["split-stage2", "split-stage3", "split-stage4", "split-stage5", "split-fc8"]
    assert recipe.init == "imagenet" and kept.frozen == recipe.frozen != ()
    assert (recipe.short_side % 16, recipe.long_side % 16) == (0, 0)  # of maps, with TensorFlow's padding
