"""What trunks for rooms are pretrained on: scenes of their own, labels of their own."""

from __future__ import annotations

import hashlib
import importlib.util
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from mtlbench.backbones.caffenet import Caffenet
from mtlbench.datasets import rooms
from mtlbench.datasets._rooms import solids
from mtlbench.datasets._rooms.objects import ATTRIBUTES, BOX, CAN, CLASSES, ELLIPSOID, PALETTE, Material, Part
from mtlbench.datasets._rooms.render import render
from mtlbench.datasets._rooms.scene import LABELS, Placed, Scene, Thing, make_scene
from mtlbench.datasets._rooms.whole import FLOORS
from mtlbench.datasets.rooms import Rooms, described_scenes, render_scenes
from mtlbench.errors import UserError
from mtlbench.execution.preflight import find_pretrained
from mtlbench.plan.spaces import load, recipe_of
from mtlbench.plugins import make_plugin
from tests.support.places import ROOT

TAN = Material(0, PALETTE["tan"], PALETTE["tan"])
WHITE = Material(0, (0.9, 0.9, 0.9), (0.9, 0.9, 0.9))


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pretraining_rooms", ROOT / "pretraining" / "rooms.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def seed_of(subset: str, index: int) -> int:
    """As `rooms.render_scenes` documents it: of the version, the subset's name and the index alone."""
    return int.from_bytes(hashlib.sha256(f"rooms/{rooms.VERSION}/{subset}/{index}".encode()).digest()[:8], "little")


def test_no_scene_of_the_data_set_is_among_those_of_pretraining(script: ModuleType) -> None:
    """By name, and by seed for as many scenes as recipes use; the seed is what a scene depends on."""
    assert script.SUBSET not in rooms.SUBSETS
    most = max(setting.scenes + setting.val for setting in script.SETTINGS.values())
    pretraining = {seed_of(script.SUBSET, index) for index in range(most)}
    used = {seed_of(name, index) for name in rooms.SUBSETS for index in range(12_000)}
    assert len(pretraining) == most and not pretraining & used
    (scene, rendered), *_ = described_scenes(script.SUBSET, 7, 8, 64)
    assert scene == make_scene(seed_of(script.SUBSET, 7))
    assert not any(
        np.array_equal(rendered.image, other.image) for name in rooms.SUBSETS for other in render_scenes(name, 7, 8, 64)
    )


def test_no_label_of_a_task_is_among_those_of_pretraining(script: ModuleType) -> None:
    """Nor a word of one: `red`, `round` or `wall` is in no name."""
    ours = {name for categories in script.CATEGORIES.values() for names in categories.values() for name in names}
    assert ours == {*solids.FORMS, *solids.QUALITIES, *solids.PLACES}
    theirs = {name for task in Rooms.tasks for name in Rooms().categories(task)}
    assert theirs == {*CLASSES, *ATTRIBUTES, *LABELS, *FLOORS.values()}
    words = {word.strip(",") for name in ours for word in name.split()}
    assert not words & theirs and not ours & theirs
    assert solids.PAINTS == ("yellow", "grey", "tan", "orange", "purple")


def put(*parts: Part, yaw: float = 0.0) -> Scene:
    """A room with one object of a made-up category, seen from the front; the words must not matter."""
    scene = Scene((0.0, 1.0, 3.0), 0.0, 0.1, (0.0, 2.4, 0.0), 0.4, 0.8, 1.0)
    hull = Part(3, (0, 1.3, 0), (3.2, 1.3, 3.4), WHITE)
    for label in range(3):
        scene.things.append(Thing(label))
        scene.parts.append(Placed(label, hull, hull.centre, 0.0))
    scene.things.append(Thing(LABELS.index("chair"), frozenset({"red", "round"})))
    scene.parts += [Placed(3, part, part.centre, yaw) for part in parts]
    return scene


def describe(scene: Scene) -> tuple[str, set[str]]:
    (rendered,) = render([scene], [0], 64)
    forms, qualities = solids.describe_objects(scene, rendered)
    assert len(forms) == 1
    return solids.FORMS[forms[0]], {solids.QUALITIES[q] for q in np.flatnonzero(qualities[0])}


def test_an_object_is_what_its_solids_are() -> None:
    """A block 1 m wide and .4 m high, 3 m away; then a white ball on a tapered pole, turned to the left."""
    block = Part(BOX, (0, 0.2, 0), (0.5, 0.2, 0.3), TAN)
    away = math.dist((0, 1, 3), block.centre)
    assert 2.9 < away < 3.2
    assert describe(put(block)) == (
        "flat block",
        {
            "some block",
            "parts below 2",
            "height below 0.55",
            "width from 0.5",
            "width from 0.75",
            "distance from 1.6",
            "distance from 2.2",
            "distance from 2.9",
            "front seen",
            "tan paint",
        },
    )
    pole = Part(CAN, (0, 0.5, 1), (0.1, 0.5, 0.1), TAN, 0.5)
    ball = Part(ELLIPSOID, (0, 1.2, 1), (0.3, 0.3, 0.3), WHITE)
    form, qualities = describe(put(pole, ball, yaw=math.pi / 2))
    assert form == "tall ellipsoid"
    assert {"some ellipsoid", "some drum", "some cone", "parts from 2", "height from 1.25", "left seen"} <= qualities
    assert not {"some block", "parts from 5", "width from 0.75", "front seen", "tan paint"} & qualities


def test_a_pixel_is_its_solid_and_how_far_it_is() -> None:
    block = Part(BOX, (0, 0.9, 1), (0.5, 0.5, 0.5), TAN)
    (rendered,) = render([scene := put(block)], [0], 64)
    labels = solids.places(scene, rendered)
    assert labels.shape == (64, 64) and labels.dtype == np.uint8
    assert solids.PLACES[labels[32, 32]] == "block, distance from 1.2"  # its front is 1.5 m away
    assert rendered.depth[32, 32] == pytest.approx(1.5, abs=0.1)
    assert solids.PLACES[labels[2, 2]].startswith("hull, ")
    assert ((labels == 255) == (rendered.depth == 0)).all()


def test_boxes_and_parts_are_of_the_things_that_they_name() -> None:
    for scene, rendered in described_scenes("train", 0, 4, 64):
        assert [scene.things[thing].label - 7 for thing in rendered.things] == rendered.classes.tolist()
        own = np.array([scene.things[placed.thing].label for placed in scene.parts])[rendered.parts]
        valid = rendered.semseg != 255
        assert (own == rendered.semseg)[valid].mean() > 0.98  # one ray of four, the label has three of them


@pytest.mark.parametrize("pair", ["det_attr", "semseg_sn"])
def test_the_trunk_fits_the_networks_of_quick_and_is_what_its_page_says(pair: str) -> None:
    space = load(pair)
    recipe = recipe_of(space, "quick")
    assert recipe.init == "pretrained"
    backbone = make_plugin("backbone", recipe.backbone, recipe.backbone_options)
    (found,) = find_pretrained({"pretrained"}, backbone, space.pair.form, "rooms", None).values()
    assert found.options == {"scaled": True} and Path(found.file).stat().st_size < 1.5e6
    assert found.digest in (Path(found.file).parent / "PROVENANCE.md").read_text()
    with np.load(found.file, allow_pickle=False) as arrays:
        assert {array.dtype for array in arrays.values()} == {np.dtype(np.float16)}


def test_a_trunk_that_is_not_there_is_said_in_a_line() -> None:
    for dataset, backbone in (("rooms", "alexnet"), ("voc2008", "caffenet")):
        words = f"{dataset} has no pretrained trunk for {backbone} in form roi; type --init scratch"
        with pytest.raises(UserError, match=words):
            find_pretrained({"pretrained"}, make_plugin("backbone", backbone, {}), "roi", dataset, None)
    with pytest.raises(UserError, match="does not fit .*; type --init scratch") as error:
        find_pretrained({"pretrained"}, make_plugin("backbone", "caffenet", {"small": True}), "roi", "rooms", None)
    assert "\n" not in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["roi", "fcn"])
def test_a_trunk_is_made_again_to_the_last_bit(script: ModuleType, form: str) -> None:
    """On one machine; all of it is float16, finite, and what the backbone takes."""
    short = script.SETTINGS[form]._replace(steps=2, scenes=24, val=4, images=2)
    lines: list[str] = []
    first, second = (script.trunk(form, short, lines.append) for _ in range(2))
    assert first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)
    assert all(array.dtype == np.float16 and np.isfinite(array).all() for array in first.values())
    backbone = Caffenet(form, small=True, width=short.width, fc=256, dropout=0.0)
    stages = backbone.adapted({name: torch.from_numpy(array).float() for name, array in first.items()})
    assert [stage for stage, state in stages.items() if state] == [s.name for s in backbone.stages if s.has_parameters]
    assert lines[0] == f"{form}: 28 scenes rendered" and "2 of 2 steps" in lines[-1]
