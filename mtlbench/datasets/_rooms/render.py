"""Ray caster of `rooms`, vectorised over scenes, parts and rays ("Ours").

Four rays a pixel. Every part meets only the rays of its rectangle on the screen, as one flat list of (part, ray) pairs.
All arithmetic on rays is + - * / sqrt and comparisons on float32, which every machine rounds alike, and no ray depends
on another scene, so that neither batch size nor machine changes a bit. Camera axes: x to the left, y up, z towards the
camera (as in the NYU toolbox); a ray is (x, y, -1) times its depth.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mtlbench.datasets._rooms.objects import ATTRIBUTES, BOX, CAN, ELLIPSOID, ROOM
from mtlbench.datasets._rooms.scene import SURFACES, Scene
from mtlbench.datasets._rooms.shade import shade
from mtlbench.datasets._rooms.table import MARGIN, NEAR, RAYS, Table, compute_focal, pick, tabulate

IGNORED = 255
NOISE = 0.018  # standard deviation of the sensor's noise, of 1
OCCLUDED_BELOW = 0.8  # visible share of an object's silhouette in the image
DIFFICULT_BELOW = 0.3
LEAST_VISIBLE = 0.003  # of the image, for a box at all
DIFFICULT_SIZE = 0.008
LARGE = 0.12  # share of the image that the box covers
OCCLUDED, TRUNCATED, BIG = (ATTRIBUTES.index(word) for word in ("occluded", "truncated", "large"))
PARALLEL = np.float32(1e-30)  # the speed towards faces that a ray is parallel to: it meets them beyond all others
Array = np.ndarray


class Rendered(NamedTuple):
    """One image and all its annotations (`Ours`, from the rendered scene alone)."""

    image: Array  # H W 3 uint8
    semseg: Array  # H W uint8
    normals: Array  # H W 3 float32, zero where invalid
    depth: Array  # H W float32 metres along the view axis, zero where invalid
    boxes: Array  # N 4 float32
    classes: Array  # N int64
    attributes: Array  # N A uint8
    difficult: Array  # N bool
    things: Array  # N int64: which of the scene's things each object is
    parts: Array  # H W int64: which of the scene's parts the first ray of each pixel meets


def render(scenes: list[Scene], noise_seeds: list[int], size: int) -> list[Rendered]:
    """The images and annotations of scenes; `size` is the side in pixels."""
    grid = (size + 2 * MARGIN) * RAYS
    first_thing = np.cumsum([0] + [len(scene.things) for scene in scenes])
    table = tabulate(scenes, first_thing, size)
    side = (np.arange(grid, dtype=np.float32) + np.float32(0.5)) / np.float32(RAYS) - np.float32(MARGIN + size / 2)
    slope = -side / np.float32(compute_focal(size))  # camera x of column, camera y of row
    depth, part = _cast_room(table, slope)
    outline = np.zeros((int(first_thing[-1]), grid, grid), bool)
    _cast_parts(table, slope, depth, part, outline.reshape(-1))
    inner = slice(MARGIN * RAYS, grid - MARGIN * RAYS)
    depth = np.ascontiguousarray(depth.reshape(-1, grid, grid)[:, inner, inner])
    part = np.ascontiguousarray(part.reshape(-1, grid, grid)[:, inner, inner])
    thing = pick(table.thing, part)
    label = pick(np.array([thing.label for scene in scenes for thing in scene.things], np.uint8), thing)
    colour, normal = shade(table, scenes, part, depth, slope[inner], label)
    pixels = _to_pixels(label, colour, normal, depth)
    first_part = np.cumsum([0] + [len(scene.parts) for scene in scenes])
    results = []
    for index, scene in enumerate(scenes):
        image = _expose(pixels[0][index], noise_seeds[index])
        objects = _annotate(scene, thing[index] - first_thing[index], outline, int(first_thing[index]), inner)
        parts = part[index, ::RAYS, ::RAYS] - first_part[index]
        results.append(Rendered(image, pixels[1][index], pixels[2][index], pixels[3][index], *objects, parts))
    return results


def _cast_room(table: Table, slope: Array) -> tuple[Array, Array]:
    """Depth and part of the room's own surfaces for all rays, flat; the room's parts are wall, floor, ceiling."""
    first = np.flatnonzero(table.shape == ROOM)[::3]
    exits = []
    for axis in range(3):
        towards, origin = table.direction[axis][:, first], table.origin[axis][first]
        by_column, by_row = towards[0][:, None] * slope, towards[1][:, None] * slope - towards[2][:, None]
        speed = by_column[:, None, :] + by_row[:, :, None]
        one = _inverse(speed)
        exits.append(np.abs(one) - origin[:, None, None] * one)
        if axis == 1:
            rising = speed > 0
    sides = np.minimum(exits[0], exits[2])
    depth = np.minimum(sides, exits[1])
    part = first[:, None, None] + np.where(exits[1] < sides, np.where(rising, 2, 1), 0)
    return depth.reshape(-1), part.reshape(-1)


def _inverse(speed: Array) -> Array:
    """1 / speed. A speed of 0 becomes PARALLEL first, in place: infinities less infinities are no numbers."""
    speed[speed == 0] = PARALLEL
    return np.float32(1) / speed


def _cast_parts(table: Table, slope: Array, depth: Array, part: Array, outline: Array) -> None:
    """Sets depth and part where a part is nearest, and the outline of every thing as if nothing hid it."""
    grid = len(slope)
    hits = [_meet_rectangles(table, shape, slope) for shape in (BOX, ELLIPSOID, CAN)]
    which, ray, distance = (np.concatenate(column) for column in zip(*hits, strict=True))
    outline[pick(table.thing * grid * grid, which) + ray] = True
    ray += pick(table.scene * grid * grid, which)
    np.minimum.at(depth, ray, distance)
    nearest = np.flatnonzero(distance == pick(depth, ray))
    part[pick(ray, nearest)] = pick(which, nearest)


def _meet_rectangles(table: Table, shape: int, slope: Array) -> tuple[Array, Array, Array]:
    """Part, ray and depth wherever a part of one shape is met by a ray of its rectangle."""
    parts = np.flatnonzero(table.shape == shape)
    left, right, top, bottom = table.rect[:, parts]
    rows = bottom - top + 1
    row_part = np.repeat(parts, rows)
    row = np.arange(len(row_part)) - np.repeat(np.cumsum(rows) - rows - top, rows)
    columns = np.repeat(right - left + 1, rows)
    of_row = np.repeat(np.arange(len(row_part)), columns)
    column = np.arange(len(of_row)) - np.repeat(np.cumsum(columns) - columns - np.repeat(left, rows), columns)
    x = pick(slope, column)
    speed, origin = [], []
    for axis in range(3):
        towards = table.direction[axis]
        along = pick(towards[0], row_part).repeat(columns)
        along *= x
        along += (pick(towards[1], row_part) * slope[row] - pick(towards[2], row_part)).repeat(columns)  # of the row
        speed.append(along)
        origin.append(pick(table.origin[axis], row_part).repeat(columns))
    with np.errstate(all="ignore"):
        if shape == BOX:
            found, distance = _meet_box(speed, origin)
        elif shape == ELLIPSOID:
            found, distance = _meet_ellipsoid(speed, origin)
        else:
            found, distance = _meet_can(speed, origin, np.repeat(table.taper[row_part], columns))
    of_row = pick(of_row, found)
    return pick(row_part, of_row), pick(row * len(slope), of_row) + pick(column, found), pick(distance, found)


def _meet_box(speed: list[Array], origin: list[Array]) -> tuple[Array, Array]:
    enter = leave = None
    for axis in range(3):
        one = _inverse(speed[axis])
        middle = origin[axis] * one
        np.negative(middle, out=middle)
        np.abs(one, out=one)
        enter = middle - one if enter is None else np.maximum(enter, middle - one)
        leave = middle + one if leave is None else np.minimum(leave, middle + one)
    assert enter is not None and leave is not None
    return np.flatnonzero((enter < leave) & (enter > NEAR)), enter


def _meet_ellipsoid(speed: list[Array], origin: list[Array]) -> tuple[Array, Array]:
    a = speed[0] * speed[0] + speed[1] * speed[1] + speed[2] * speed[2]
    b = speed[0] * origin[0] + speed[1] * origin[1] + speed[2] * origin[2]
    c = origin[0] * origin[0] + origin[1] * origin[1] + origin[2] * origin[2] - np.float32(1)
    root = b * b - a * c
    distance = -(b + np.sqrt(root)) / a
    return np.flatnonzero((root > 0) & (distance > NEAR)), distance


def _meet_can(speed: list[Array], origin: list[Array], taper: Array) -> tuple[Array, Array]:
    one, far = np.float32(1), np.float32(1e9)
    widen = (taper - one) * np.float32(0.5)  # radius at height y is middle + widen * y
    middle = (taper + one) * np.float32(0.5)
    grow, here = widen * speed[1], middle + widen * origin[1]
    a = speed[0] * speed[0] + speed[2] * speed[2] - grow * grow
    b = speed[0] * origin[0] + speed[2] * origin[2] - grow * here
    c = origin[0] * origin[0] + origin[2] * origin[2] - here * here
    root = b * b - a * c
    side = np.where(a == 0, -c / (b + b), -(b + np.copysign(np.sqrt(root), a)) / a)  # 0: parallel to the slope
    good = (root > 0) & (side > NEAR) & (np.abs(origin[1] + side * speed[1]) < one)
    side = np.where(good, side, far)
    cap = -(origin[1] / speed[1]) - np.abs(one / speed[1])
    x, z = origin[0] + cap * speed[0], origin[2] + cap * speed[2]
    radius = np.where(speed[1] < 0, taper, one)
    cap = np.where((cap > NEAR) & (x * x + z * z < radius * radius), cap, far)
    distance = np.minimum(side, cap)
    return np.flatnonzero(distance < far), distance


def _to_pixels(label: Array, colour: Array, normal: list[Array], depth: Array) -> tuple[Array, Array, Array, Array]:
    """Image (B H W 3), label, normals, depth from four rays a pixel; ignored where no label has three of the four."""

    def rays(values: Array) -> list[Array]:
        return [values[..., row::2, column::2] for row in (0, 1) for column in (0, 1)]

    a, b, c, d = rays(label)
    low_a, high_a, low_b, high_b = np.minimum(a, b), np.maximum(a, b), np.minimum(c, d), np.maximum(c, d)
    lowest, highest = np.minimum(low_a, low_b), np.maximum(high_a, high_b)
    second, third = np.maximum(low_a, low_b), np.minimum(high_a, high_b)
    second, third = np.minimum(second, third), np.maximum(second, third)
    valid = (second == third) & ((lowest == second) | (third == highest))
    share = [(values == second).astype(np.float32) for values in (a, b, c, d)]
    means = [sum(weight * ray for weight, ray in zip(share, rays(values), strict=True)) for values in (*normal, depth)]
    length = np.sqrt(means[0] * means[0] + means[1] * means[1] + means[2] * means[2])
    valid &= length > 2
    length[~valid] = 1
    normals = np.stack([np.where(valid, axis / length, np.float32(0)) for axis in means[:3]], axis=-1)
    deep = np.where(valid, means[3] / np.maximum(sum(share), 1), np.float32(0))
    red, green, blue = (sum(rays(channel)) * np.float32(0.25) for channel in colour)
    return np.stack([red, green, blue], axis=-1), np.where(valid, second, IGNORED).astype(np.uint8), normals, deep


def _expose(colour: Array, seed: int) -> Array:
    """The sensor: noise from sums of three uniform bytes (standard deviation 128), clipped to 8 bits."""
    noise = np.frombuffer(np.random.PCG64(seed).random_raw(3 * colour.size // 8 + 1).tobytes(), np.uint8)
    noise = noise[: 3 * colour.size].reshape(3, *colour.shape).sum(0, dtype=np.int16)
    signal = colour * np.float32(255) + (noise - np.int16(382)).astype(np.float32) * np.float32(NOISE * 255 / 128)
    pixels: Array = np.clip(signal + np.float32(0.5), 0, 255).astype(np.uint8)
    return pixels


def _annotate(
    scene: Scene, thing: Array, outline: Array, first: int, inner: slice
) -> tuple[Array, Array, Array, Array, Array]:
    """Boxes of the visible pixels, classes, attributes, difficulty and things of the objects that can be seen."""
    boxes, classes, attributes, difficult, things = [], [], [], [], []
    side = thing.shape[0]
    for index, owner in enumerate(scene.things):
        if owner.label < len(SURFACES):
            continue
        seen = thing == index
        visible = int(np.count_nonzero(seen))
        if visible < LEAST_VISIBLE * side * side:
            continue
        whole = outline[first + index]
        in_image = int(np.count_nonzero(whole[inner, inner]))
        rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
        box = (columns[0] / RAYS, rows[0] / RAYS, (columns[-1] + 1) / RAYS, (rows[-1] + 1) / RAYS)
        words = np.array([word in owner.words for word in ATTRIBUTES], np.uint8)
        words[OCCLUDED] = visible < OCCLUDED_BELOW * in_image
        words[TRUNCATED] = int(np.count_nonzero(whole)) > in_image
        words[BIG] = (box[2] - box[0]) * (box[3] - box[1]) * RAYS * RAYS > LARGE * side * side
        boxes.append(box)
        classes.append(owner.label - len(SURFACES))
        attributes.append(words)
        difficult.append(visible < DIFFICULT_BELOW * in_image or visible < DIFFICULT_SIZE * side * side)
        things.append(index)
    return (
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(classes, np.int64),
        np.array(attributes, np.uint8).reshape(-1, len(ATTRIBUTES)),
        np.array(difficult, bool),
        np.array(things, np.int64),
    )
