"""The rooms data set: annotations against an independent slow ray marcher, long tails, seeds, cache."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mtlbench.datasets import rooms
from mtlbench.datasets._rooms.objects import (
    ATTRIBUTES,
    BOX,
    CAN,
    CLASSES,
    FACTORIES,
    ROOM,
    STRIPES,
    Dice,
    Material,
    Part,
)
from mtlbench.datasets._rooms.render import Rendered, _meet_box, _meet_can, render
from mtlbench.datasets._rooms.scene import HALF_VIEW, LABELS, SURFACES, Placed, Scene, Thing, make_scene
from mtlbench.datasets._rooms.shade import to_camera
from mtlbench.datasets._rooms.windows import _covers, choose_windows
from mtlbench.datasets.rooms import Rooms, render_scenes
from mtlbench.errors import UserError
from mtlbench.system.cache import build_once, cache_root
from tests.support.places import ROOT

pytestmark = pytest.mark.slow

PLAIN_GREY = Material(0, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.fixture(scope="module")
def some() -> list[Rendered]:
    return list(render_scenes("train", 0, 40, 64))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MTLBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def same(one: Rendered, other: Rendered) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


# ------------------------------------------------------------------------------------------------ geometry
def march(scene: Scene, across: float, down: float) -> tuple[int, float]:
    """Label and depth where a ray (camera x and y per metre of depth) ends: small steps until it is inside a part."""
    depth = np.arange(0.05, 9.0, 0.004)
    # the camera's axes, by sending unit steps through the world-to-camera map
    steps = np.array([to_camera(scene, tuple(np.array(scene.camera) + axis)) for axis in np.eye(3)])
    ray = steps @ np.array([across, down, -1.0])  # the map is a rotation, so its transpose leads back
    points = np.array(scene.camera) + depth[:, None] * ray
    first, label = math.inf, 255
    for thing, part, centre, yaw in scene.parts:
        x, y, z = (points - centre).T
        x, z = math.cos(yaw) * x - math.sin(yaw) * z, math.sin(yaw) * x + math.cos(yaw) * z
        if part.lying:
            x, y = y, x
        x, y, z = x / part.half[0], y / part.half[1], z / part.half[2]
        if part.shape == ROOM:
            face = (np.abs(y) > np.maximum(np.abs(x), np.abs(z))) * np.where(y < 0, 1, 2)  # wall 0, floor 1, ceiling 2
            inside = ((np.abs(x) > 1) | (np.abs(y) > 1) | (np.abs(z) > 1)) & (face == thing)
        elif part.shape == BOX:
            inside = (np.abs(x) < 1) & (np.abs(y) < 1) & (np.abs(z) < 1)
        elif part.shape == CAN:
            radius = 1 + (part.taper - 1) * (y + 1) / 2
            inside = (np.abs(y) < 1) & (x * x + z * z < radius * radius)
        else:
            inside = x * x + y * y + z * z < 1
        if inside.any() and depth[np.argmax(inside)] < first:
            first, label = float(depth[np.argmax(inside)]), scene.things[thing].label
    return label, first


def test_labels_and_depth_equal_a_slow_ray_marcher() -> None:
    size, chooser, agree, compared = 64, np.random.default_rng(0), 0, 0
    for seed in range(5):
        scene = make_scene(seed)
        rendered = render([scene], [0], size)[0]
        for row, column in chooser.integers(0, size, (25, 2)):
            ends = []
            for dy in (0.25, 0.75):
                for dx in (0.25, 0.75):
                    scale = math.tan(HALF_VIEW) / (size / 2)
                    ends.append(march(scene, -(column + dx - size / 2) * scale, -(row + dy - size / 2) * scale))
            label, votes = Counter(label for label, _ in ends).most_common(1)[0]
            found = rendered.semseg[row, column]
            compared += 1
            agree += found == label if votes >= 3 else found == 255
            if found == label and votes == 4:
                expected = np.mean([depth for _, depth in ends])
                spread = max(depth for _, depth in ends) - min(depth for _, depth in ends)
                assert abs(rendered.depth[row, column] - expected) < 0.02 + 0.3 * spread
    assert agree >= 0.97 * compared


def test_normals_are_unit_and_follow_from_depth(some: list[Rendered]) -> None:
    scale = math.tan(HALF_VIEW) / 32
    side = (np.arange(64) + 0.5 - 32) * -scale
    off = []
    for rendered in some:
        valid = rendered.semseg != 255
        length = np.linalg.norm(rendered.normals, axis=-1)
        assert np.abs(length[valid] - 1).max() < 1e-5 and not length[~valid].any()
        assert (rendered.depth[valid] > 0).all() and not rendered.depth[~valid].any()
        point = np.stack([side * rendered.depth, side[:, None] * rendered.depth, -rendered.depth], -1)
        view = point / np.maximum(np.linalg.norm(point, axis=-1, keepdims=True), 1e-9)
        assert ((view * rendered.normals).sum(-1)[valid] < 0.15).all()  # surfaces face the camera
        tangents = point[1:-1, 2:] - point[1:-1, :-2], point[2:, 1:-1] - point[:-2, 1:-1]
        cross = np.cross(tangents[1], tangents[0])  # x left: a left-handed frame
        cross /= np.maximum(np.linalg.norm(cross, axis=-1, keepdims=True), 1e-9)
        label = rendered.semseg
        flat = label[1:-1, 1:-1] < 3
        for shifted in (label[1:-1, 2:], label[1:-1, :-2], label[2:, 1:-1], label[:-2, 1:-1]):
            flat &= shifted == label[1:-1, 1:-1]
        cosine = np.abs((cross * rendered.normals[1:-1, 1:-1]).sum(-1))[flat]
        off.append(np.degrees(np.arccos(np.clip(cosine, 0, 1))))
        floor = rendered.normals[label == 1]
        assert (floor[:, 1] > 0.85).all() and (rendered.normals[label == 2][:, 1] < -0.85).all()
    assert np.median(np.concatenate(off)) < 0.1 and np.percentile(np.concatenate(off), 95) < 3


def test_boxes_hold_the_pixels_of_their_class(some: list[Rendered]) -> None:
    for rendered in some:
        covered = np.zeros((64, 64), bool)
        for box, kind in zip(rendered.boxes, rendered.classes, strict=True):
            x1, y1, x2, y2 = math.floor(box[0]), math.floor(box[1]), math.ceil(box[2]), math.ceil(box[3])
            assert 0 <= x1 < x2 <= 64 and 0 <= y1 < y2 <= 64
            inside = rendered.semseg[y1:y2, x1:x2] == len(SURFACES) + kind
            assert inside.any()
            covered[y1:y2, x1:x2] |= inside
        bare = (rendered.semseg >= len(SURFACES)) & (rendered.semseg != 255) & ~covered
        assert bare.sum() <= 0.003 * 64 * 64 * 3  # objects too small for a box


def by_hand(*objects: tuple[str, tuple[float, float, float], float]) -> Rendered:
    """A render of cubes (class, centre, half size) in a plain room, seen along -z from z = 2.5 at height 1."""
    scene = Scene((0, 1, 2.5), 0.0, 0.0, (0, 2.2, 2), 0.4, 0.8, 1.0)
    room = Part(ROOM, (0, 1.25, 0), (3, 1.25, 3), PLAIN_GREY)
    for label in range(3):
        scene.things.append(Thing(label))
        scene.parts.append(Placed(label, room, room.centre, 0.0))
    for name, centre, half in objects:
        scene.things.append(Thing(LABELS.index(name)))
        cube = Part(BOX, (0, 0, 0), (half, half, half), PLAIN_GREY)
        scene.parts.append(Placed(len(scene.things) - 1, cube, centre, 0.0))
    return render([scene], [1], 64)[0]


def words(rendered: Rendered, name: str) -> set[str]:
    row = rendered.attributes[list(rendered.classes).index(CLASSES.index(name))]
    return {word for word, there in zip(ATTRIBUTES, row, strict=True) if there}


def test_a_cube_has_the_box_of_the_pinhole_camera() -> None:
    rendered = by_hand(("box", (0.5, 1.0, 0.0), 0.25))
    per_metre = 32 / math.tan(HALF_VIEW) / 2.25  # at the front face
    expected = [32 - 0.75 * per_metre, 32 - 0.25 * per_metre, 32 - 0.25 * per_metre, 32 + 0.25 * per_metre]
    expected[2] = max(expected[2], 32 - 0.25 * 32 / math.tan(HALF_VIEW) / 2.75)  # the right face is seen from the right
    assert np.abs(rendered.boxes[0] - expected).max() <= 0.5
    assert words(rendered, "box") == set()
    centre = rendered.normals[32, int(32 - 0.5 * per_metre)]
    assert np.allclose(centre, [0, 0, 1], atol=1e-5)  # its front looks at the camera


def test_a_tapered_can_is_narrow_at_its_top_and_shaded_as_a_slope() -> None:
    scene = Scene((0, 1, 2.5), 0.0, 0.0, (0, 2.2, 2), 0.4, 0.8, 1.0)
    room = Part(ROOM, (0, 1.25, 0), (3, 1.25, 3), PLAIN_GREY)
    cone = Part(CAN, (0, 0, 0), (0.8, 0.6, 0.8), PLAIN_GREY, taper=0.25)
    for label, (part, centre) in enumerate([(room, room.centre)] * 3 + [(cone, (0.0, 1.0, 0.0))]):
        scene.things.append(Thing(LABELS.index("lamp") if label == 3 else label))
        scene.parts.append(Placed(label, part, centre, 0.0))
    rendered = render([scene], [0], 64)[0]
    for row in (20, 28, 36, 42):  # the outline of a cone, seen from the side, by solving for the tangent
        found = np.count_nonzero(rendered.semseg[row] == LABELS.index("lamp"))
        slope = -(row + 0.5 - 32) * math.tan(HALF_VIEW) / 32

        def outside(x: float, slope: float = slope) -> bool:
            depth = np.linspace(1, 4, 4000)
            height = slope * depth
            radius = 0.8 * (1 - 0.75 * (height + 0.6) / 1.2)
            return not ((np.abs(height) < 0.6) & ((x * depth) ** 2 + (depth - 2.5) ** 2 < radius**2)).any()

        edge = next(x for x in np.arange(0, 1, 0.002) if outside(x))
        assert abs(found - 2 * edge * 32 / math.tan(HALF_VIEW)) <= 2
    middle = rendered.normals[34, 32]  # on the side that looks at the camera: normal to a flank of run 0.6, rise 1.2
    assert abs(middle[1] - 0.6 / math.hypot(0.6, 1.2)) < 0.02 and middle[2] > 0


@pytest.mark.parametrize(("subset", "index", "row", "column"), [("train", 7045, 52, 17), ("test", 1905, 63, 57)])
def test_a_ray_that_is_parallel_to_a_wall_meets_another(subset: str, index: int, row: int, column: int) -> None:
    """The scenes in which one did, to float32's last bit: such a pixel was black and its depth no number."""
    (rendered,) = render_scenes(subset, index, index + 1, 64)  # warnings are errors
    beside = slice(column - 1, column + 2)
    assert np.ptp(rendered.depth[row, beside]) < 0.01 and np.ptp(rendered.semseg[row, beside]) == 0
    assert rendered.image[row, column].min() > 20 and np.isfinite(rendered.normals).all()


def test_a_ray_that_is_parallel_to_a_face_of_a_box_meets_the_front() -> None:
    """By hand: a cube from -1 to 1, three before the ray's start, which lies above, on and below its middle; beside it
    there is nothing to meet. A pixel of val 634 had such a hole."""
    start, towards = np.array([0.5, 0, -0.5, 1.5, -1.5], np.float32), np.zeros(5, np.float32)
    ahead, middle = np.full(5, -1, np.float32), np.zeros(5, np.float32)
    for axis in (0, 1):
        speed, origin = [towards.copy(), towards.copy(), ahead.copy()], [middle, middle, middle + 4]
        origin[axis] = start
        found, distance = _meet_box(speed, origin)
        assert found.tolist() == [0, 1, 2] and distance[found].tolist() == [3, 3, 3]


def test_a_ray_that_is_parallel_to_the_slope_of_a_cone_meets_its_other_side() -> None:
    """By hand: radius 1 at y = -1, 0 at y = 1, so 0.5 - y / 2; the ray (-1.2 + t / 2, 0.5 - t) meets it where
    1.2 - t / 2 = 0.25 + t / 2."""
    speed = [np.array([value], np.float32) for value in (0.5, -1, 0)]
    origin = [np.array([value], np.float32) for value in (-1.2, 0.5, 0)]
    with np.errstate(all="ignore"):
        found, distance = _meet_can(speed, origin, np.zeros(1, np.float32))
    assert found.tolist() == [0] and distance == pytest.approx([0.95])


def test_situation_attributes_are_measured() -> None:
    rendered = by_hand(("table", (0.0, 1.0, 0.0), 0.3), ("ball", (0.25, 1.0, -1.5), 0.4))
    assert "occluded" in words(rendered, "ball") and "occluded" not in words(rendered, "table")
    assert "truncated" in words(by_hand(("bed", (1.4, 1.0, 0.0), 0.3)), "bed")
    assert "truncated" not in words(by_hand(("bed", (0.9, 1.0, 0.0), 0.3)), "bed")
    assert "large" in words(by_hand(("bed", (0.0, 1.0, 0.8), 0.5)), "bed")
    assert "large" not in words(by_hand(("bed", (0.0, 1.0, -2.0), 0.3)), "bed")


def test_hidden_objects_get_no_box_and_nearly_hidden_ones_are_difficult() -> None:
    rendered = by_hand(("table", (0.0, 1.0, 0.5), 0.5), ("ball", (0.0, 1.0, -1.5), 0.3))
    assert list(rendered.classes) == [CLASSES.index("table")] and not rendered.difficult.any()
    rendered = by_hand(("table", (0.0, 1.0, 0.5), 0.5), ("ball", (0.85, 1.0, -1.5), 0.5))
    assert list(rendered.difficult) == [False, True]


def test_words_follow_from_parts() -> None:
    for kind, factory in enumerate(FACTORIES):
        for seed in range(60):
            model = factory(Dice(seed))
            assert model.words <= set(ATTRIBUTES)
            low_wheels = any(part.lying and part.centre[1] < 0.2 for part in model.parts)
            assert ("has wheels" in model.words) == low_wheels, CLASSES[kind]
            assert ("glowing" in model.words) == any(part.material.glow > 0 for part in model.parts)
            if "striped" in model.words:
                assert any(part.material.pattern == STRIPES for part in model.parts)
            assert min(part.centre[1] - part.half[1] for part in model.parts) > -0.03  # nothing sinks into the floor


# ------------------------------------------------------------------------------------------------ categories
@pytest.fixture(scope="module")
def test_subset() -> list[Rendered]:
    """The test scenes of the default data set, at a quarter of its pixels: the same scenes."""
    return list(render_scenes("test", 0, 600, 32))


def test_every_category_has_30_test_positives_and_a_long_tail(test_subset: list[Rendered]) -> None:
    counted = np.concatenate([~rendered.difficult for rendered in test_subset])
    classes = np.concatenate([rendered.classes for rendered in test_subset])[counted]
    attributes = np.concatenate([rendered.attributes for rendered in test_subset])[counted]
    objects, positives = np.bincount(classes, minlength=len(CLASSES)), attributes.sum(0, dtype=int)
    images = [sum((rendered.semseg == label).any() for rendered in test_subset) for label in range(len(LABELS))]
    assert min(objects) >= 30 and min(positives) >= 30 and min(images) >= 30
    assert 0.02 < min(objects) / len(classes) < 0.05 and 0.25 < max(objects) / len(classes) < 0.38
    assert min(positives) / len(classes) < 0.02 and max(positives) / len(classes) > 0.5
    assert len(LABELS) >= 12 and len(CLASSES) >= 8 and len(ATTRIBUTES) >= 16


def test_a_constant_normal_is_far_off(test_subset: list[Rendered]) -> None:
    normals = np.concatenate([rendered.normals[rendered.semseg != 255] for rendered in test_subset])
    mean = normals.mean(0)
    angle = np.degrees(np.arccos(np.clip(normals @ (mean / np.linalg.norm(mean)), -1, 1)))
    assert 40 < angle.mean() < 65


# ------------------------------------------------------------------------------------------------ seeds
def test_a_scene_depends_on_subset_and_index_alone(some: list[Rendered]) -> None:
    for index in (0, 7, 39):
        assert same(next(render_scenes("train", index, index + 1, 64)), some[index])
    assert not same(next(render_scenes("val", 0, 1, 64)), some[0])
    assert len({rendered.image.tobytes() for rendered in some}) == len(some)


def test_number_of_processes_changes_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, lines, prints = Rooms(size=16, train=300, val=20, test=20, proposals=4), list[str](), []
    monkeypatch.setattr(subprocess, "Popen", counting := CountingPopen())
    for cores in (1, 2):
        monkeypatch.setattr(rooms, "cores", lambda cores=cores: cores)
        monkeypatch.setenv("MTLBENCH_CACHE", str(cache / str(cores)))
        data.prepare(lines.append)
        prints.append(data.fingerprint())
        assert counting.calls == cores - 1  # children beside this process
    assert prints[0] == prints[1]


class CountingPopen:
    """Starts the real process and counts."""

    def __init__(self) -> None:
        self.calls, self.real = 0, subprocess.Popen

    def __call__(self, *arguments: object, **options: object) -> object:
        self.calls += 1
        return self.real(*arguments, **options)


# ------------------------------------------------------------------------------------------------ contract, proposals
def small(val: int = 4, test: int = 6) -> Rooms:
    return Rooms(size=32, train=24, val=val, test=test, proposals=16)


def test_samples_keep_the_contract(cache: Path) -> None:
    data = small()
    assert [len(data.subset(name)) for name in ("train", "val", "test")] == [24, 4, 6]
    test = data.subset("test")
    for index, rendered in enumerate(render_scenes("test", 0, 6, 32)):
        sample = test[index]
        assert sample.image.shape == (32, 32, 3) and sample.image.dtype == np.uint8
        assert np.array_equal(sample.image, rendered.image)
        assert np.array_equal(sample.labels["semseg"], rendered.semseg)
        assert sample.labels["normals"].dtype == np.float32
        assert np.abs(sample.labels["normals"] - rendered.normals).max() < 1e-3
        count = len(rendered.boxes)
        assert sample.boxes is not None and sample.boxes.shape == (count, 4) and sample.boxes.dtype == np.float32
        assert sample.labels["detection"].shape == (count,) and sample.labels["detection"].dtype == np.int64
        assert sample.labels["attributes"].shape == (count, len(ATTRIBUTES))
        assert sample.difficult is not None and sample.difficult.shape == (count,)
        assert sample.proposals is not None and sample.proposals.shape == (16, 4)
        assert np.abs(test[index].labels["depth"] - rendered.depth).max() < 0.01
    with pytest.raises(IndexError):
        test[6]
    with pytest.raises(ValueError, match="read-only"):
        test[0].image[:] = 0  # a change would be seen by all who read the subset, or written into the cache
    read_only = (test[0].image, test[0].labels["semseg"], test[0].labels["detection"], test[0].labels["attributes"])
    for array in (*read_only, test[0].boxes, test[0].difficult, test[0].proposals):
        assert array is not None and not array.flags.writeable
    train = data.subset("train")
    for task in data.tasks:
        assert len(data.counts(task)) == len(data.categories(task))
    assert sum(data.counts("detection")) == sum(
        len(sample.labels["detection"]) for sample in map(train.__getitem__, range(24))
    )
    assert sum(data.counts("semseg")) == sum(
        int((sample.labels["semseg"] != 255).sum()) for sample in map(train.__getitem__, range(24))
    )


def test_proposals_never_see_test(cache: Path) -> None:
    first, second = small(), small(test=9, val=7)
    windows = first.subset("test")[0].proposals
    assert windows is not None and len(np.unique(windows, axis=0)) == 16
    for data, name in ((first, "test"), (first, "train"), (second, "test")):
        subset = data.subset(name)
        for index in range(len(subset)):
            proposals = subset[index].proposals
            assert proposals is not None and np.array_equal(proposals, windows)


def test_windows_are_chosen_by_what_they_newly_cover() -> None:
    boxes = np.array([[0, 0, 8, 8]] * 3 + [[0.5, 0, 8.5, 8]] + [[40, 40, 60, 60]] * 2 + [[0, 32, 64, 64]], np.float32)
    windows = choose_windows(boxes, 64, 3)

    def iou(a: np.ndarray, b: np.ndarray) -> float:
        wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        common = max(wide, 0) * max(high, 0)
        return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)

    covered = [[iou(window, box) >= 0.5 for box in boxes] for window in windows]
    assert np.array_equal(covered, [[1, 1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0, 1]])


def test_windows_equal_a_slow_greedy_choice() -> None:
    chooser = np.random.default_rng(3)
    corner, span = chooser.uniform(0, 24, (300, 2)), chooser.uniform(16, 40, (300, 2))
    boxes = np.concatenate([corner, corner + span], 1).astype(np.float32)
    windows = choose_windows(boxes, 64, 20)
    everything = choose_windows(boxes, 64, 100_000)  # every window of the grid
    covers = _covers(boxes, everything)
    uncovered = np.ones(300, bool)
    for window in windows:
        mine = _covers(boxes, window[None])[:, 0]
        assert (mine & uncovered).sum() == (covers & uncovered[:, None]).sum(0).max()
        uncovered &= ~mine


def test_user_errors_are_one_line(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in (lambda: Rooms(size=0), lambda: small().subset("valid"), lambda: small().categories("flow")):
        with pytest.raises(UserError) as caught:
            wrong()
        assert "\n" not in str(caught.value)
    (blocked := cache.parent / "file").write_text("")
    monkeypatch.setenv("MTLBENCH_CACHE", str(blocked))
    with pytest.raises(UserError, match="MTLBENCH_CACHE=FOLDER"):
        small().prepare()


# ------------------------------------------------------------------------------------------------ cache
def test_a_broken_cache_is_noticed_and_made_anew(cache: Path) -> None:
    data = small()
    data.prepare()
    before, image = data.fingerprint(), data.folder / "test-image.npy"
    good = image.read_bytes()
    image.write_bytes(good[:-10])  # cut off: seen when opened
    assert data.subset("test")[0].image.shape == (32, 32, 3) and image.read_bytes() == good
    image.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))  # one bit: seen by `verify`
    (problem,) = data.verify(print).problems
    assert str(image) in problem and image.read_bytes() == good and not data.verify(print).problems
    (data.folder / "files.json").write_text("{")
    assert data.fingerprint() == before
    assert json.loads((data.folder / "files.json").read_text())
    assert small(test=7).fingerprint() != before
    assert {path.name for path in cache.iterdir() if path.name.startswith(".") and "whole" not in path.name} == {
        f".{small(test=count).folder.name}.lock" for count in (6, 7)
    }  # no scratch folder stays


BUILDER = """
import sys, time, os
from pathlib import Path
from mtlbench.system.cache import build_once
folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
def build(target):
    with open(folder.parent / "log", "a") as log: log.write(f"{os.getpid()}\\n")
    time.sleep(seconds)
    (target / "made").write_text("whole")
build_once(folder, build)
assert (folder / "made").read_text() == "whole"
"""


def start_builder(folder: Path, seconds: float) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", BUILDER, str(folder), str(seconds)], env=environment)


def test_processes_that_start_together_build_once(tmp_path: Path) -> None:
    builders = [start_builder(tmp_path / "made", 0.3) for _ in range(4)]
    assert [builder.wait() for builder in builders] == [0] * 4
    assert len((tmp_path / "log").read_text().splitlines()) == 1


def test_a_killed_builder_blocks_nobody(tmp_path: Path) -> None:
    builder = start_builder(tmp_path / "made", 60)
    while not (tmp_path / "log").exists():
        time.sleep(0.02)
    builder.send_signal(signal.SIGKILL)
    builder.wait()
    build_once(tmp_path / "made", lambda target: (target / "made").mkdir())
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["made"]


def test_a_failing_build_leaves_nothing(tmp_path: Path) -> None:
    def fail(target: Path) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        build_once(tmp_path / "made", fail)
    assert not any(path.is_dir() for path in tmp_path.iterdir())


def test_the_cache_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MTLBENCH_CACHE", str(tmp_path))
    assert cache_root() == tmp_path
    monkeypatch.delenv("MTLBENCH_CACHE")
    assert cache_root().name == "mtlbench"
