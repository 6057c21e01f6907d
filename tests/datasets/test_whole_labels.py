"""Labels of whole images of rooms: they follow from what the picture shows, and change nothing that was there."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from mtlbench.authoring.check_dataset import _form
from mtlbench.datasets import rooms
from mtlbench.datasets._rooms.objects import CHECKS, PLAIN, WOOD
from mtlbench.datasets._rooms.scene import FLOOR, Scene, make_scene
from mtlbench.datasets._rooms.shade import to_camera
from mtlbench.datasets._rooms.whole import FLOORS, floor_of, light_of
from mtlbench.datasets.rooms import Rooms, described_scenes, render_scenes
from mtlbench.plan import spaces

pytestmark = pytest.mark.slow

FEW = {"size": 32, "train": 24, "val": 4, "test": 6, "proposals": 16}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rooms:
    monkeypatch.setenv("MTLBENCH_CACHE", str(tmp_path))
    return Rooms(**FEW)


def seen_from(yaw: float, lamp: tuple[float, float]) -> Scene:
    """A camera in the middle of an empty scene; the lamp's place is x, z."""
    return Scene((0, 1.5, 0), yaw, 0.3, (lamp[0], 2.2, lamp[1]), 0.4, 0.8, 1.0)


def test_the_light_is_as_far_ahead_as_the_lamp_is_along_the_view() -> None:
    """By hand: at yaw 0 a camera looks along -z, at a quarter turn along -x."""
    assert light_of(seen_from(0, (0.7, -2))) == 2 and light_of(seen_from(0, (0.7, 1))) == -1
    assert light_of(seen_from(math.pi / 2, (-2, 0.7))) == pytest.approx(2)
    for seed in range(10):  # of a level camera, what the renderer's z is
        scene = dataclasses.replace(make_scene(seed), pitch=0.0)
        assert light_of(scene) == pytest.approx(-to_camera(scene, scene.light)[2])


def test_a_mirrored_scene_has_the_same_light() -> None:
    """As the built-in task `regression` takes it to have. Mirrored: x and the yaw change sign."""
    for seed in range(10):
        scene = make_scene(seed)
        camera, light = ((-place[0], *place[1:]) for place in (scene.camera, scene.light))
        other = dataclasses.replace(scene, camera=camera, light=light, yaw=-scene.yaw)
        assert light_of(other) == pytest.approx(light_of(scene))


def test_what_the_floor_is_of_can_be_seen() -> None:
    """Wood is brown, tiles and plain floors are grey: by the pixels alone, by a rule that
    knows nothing of the scene."""
    right, brown = [], []
    for scene, rendered in described_scenes("train", 0, 40, 64):
        pixels = rendered.image[rendered.semseg == FLOOR].astype(float)
        if len(pixels) < 200:
            continue
        ratio = np.median(pixels[:, 0] / np.maximum(pixels[:, 2], 1))
        brown.append((list(FLOORS)[floor_of(scene)], ratio))
        right.append((ratio > 2) == (scene.parts[FLOOR].part.material.pattern == WOOD))
    assert len(right) >= 30 and all(right), brown


def test_tiles_have_two_tones_and_a_plain_floor_one() -> None:
    """Between neighbours to the left and right on a floor that is lit alike, tiles jump by the 22 % between their
    tones; plain floors differ by noise."""
    jumps: dict[int, list[float]] = {CHECKS: [], PLAIN: []}
    for scene, rendered in described_scenes("train", 0, 80, 64):
        pattern = scene.parts[FLOOR].part.material.pattern
        floor = rendered.semseg == FLOOR
        both = floor[:, 1:] & floor[:, :-1]
        if pattern in jumps and both.sum() > 200:
            grey = rendered.image.astype(float).mean(axis=2)
            step = np.abs(np.diff(np.log(np.maximum(grey, 1)), axis=1))[both]
            jumps[pattern].append(float(np.percentile(step, 95)))
    assert min(map(len, jumps.values())) >= 8
    assert np.median(jumps[CHECKS]) > 1.5 * np.median(jumps[PLAIN])


def test_labels_are_those_of_the_scene_that_the_image_shows(data: Rooms) -> None:
    test = data.subset("test")
    for index, (scene, rendered) in enumerate(described_scenes("test", 0, 6, 32)):
        sample = test[index]
        assert np.array_equal(sample.image, rendered.image)
        assert float(sample.labels["objects"]) == len(rendered.boxes)
        assert sample.labels["light"].dtype == np.float32
        assert float(sample.labels["light"]) == pytest.approx(light_of(scene), abs=1e-6)
        assert int(sample.labels["floor"]) == floor_of(scene)
        assert all(sample.labels[task].shape == () for task in ("objects", "light", "floor"))
        assert all(_form(task, sample) == "image" for task in ("objects", "light", "floor"))
        assert not sample.labels["light"].flags.writeable
    assert data.categories("floor") == ("wood", "tiles", "plain") and data.categories("light") == ()
    found = np.bincount([int(data.subset("train")[index].labels["floor"]) for index in range(24)])
    assert data.counts("floor") == tuple(found) and sum(found) == 24


def test_a_floor_that_is_hardly_seen_has_no_label(data: Rooms, monkeypatch: pytest.MonkeyPatch) -> None:
    shares = [float((rendered.semseg == FLOOR).mean()) for rendered in render_scenes("train", 0, 24, 32)]
    monkeypatch.setattr(rooms, "FLOOR_SEEN", limit := sorted(shares)[5])
    train = data.subset("train")
    assert ["floor" in train[index].labels for index in range(24)] == [share >= limit for share in shares]
    assert sum(data.counts("floor")) == 19


def test_what_was_there_is_as_it_was(data: Rooms) -> None:
    """The fingerprint is that of main before rooms had labels of whole images: keys of trials stay."""
    assert data.fingerprint() == "3e9c8fa395ca0f61"


def test_broken_labels_are_noticed_and_made_anew(data: Rooms) -> None:
    data.prepare()
    path = data.whole_folder / "train-light.npy"
    good, images = path.read_bytes(), (data.folder / "files.json").stat().st_mtime_ns
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    (problem,) = data.verify(print).problems
    assert str(path) in problem and path.read_bytes() == good and not data.verify(print).problems
    assert (data.folder / "files.json").stat().st_mtime_ns == images  # nothing else was made again


def test_the_space_of_whole_images_has_built_in_tasks_under_names_of_their_own() -> None:
    space = spaces.load("image3")
    assert space.pair.form == "image" and set(space.pair.tasks) <= set(Rooms.tasks)
    assert space.pair.files == {"floor": "classification", "objects": "regression", "light": "regression"}
    assert all(set(recipe.iterations) == set(space.pair.tasks) for recipe in space.recipes)
