"""Ray caster of `rooms`, vectorised over scenes, parts and rays ("Ours").

Four rays a pixel. Every part meets only the rays of its rectangle on the screen, as one flat list of (part, ray) pairs.
All arithmetic on rays is + - * / sqrt and comparisons on float32, which every machine rounds alike, and no ray depends
on another scene, so that neither batch size nor machine changes a bit. Camera axes: x to the left, y up, z towards the
camera (as in the NYU toolbox); a ray is (x, y, -1) times its depth.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from mtlbench.data._rooms_objects import (
    ATTRIBUTES,
    BOX,
    CAN,
    CHECKS,
    ELLIPSOID,
    ROOM,
    SPOTS,
    STRIPES,
    WOOD,
)
from mtlbench.data._rooms_scene import FLOOR, HALF_VIEW, RUG, SURFACES, Scene

IGNORED = 255
RAYS = 2  # per pixel and direction
MARGIN = 1  # pixels rendered around the image, to see what extends outside
NEAR = np.float32(0.05)
NOISE = 0.018  # standard deviation of the sensor's noise, of 1
OCCLUDED_BELOW = 0.8  # visible share of an object's silhouette in the image
DIFFICULT_BELOW = 0.3
LEAST_VISIBLE = 0.003  # of the image, for a box at all
DIFFICULT_SIZE = 0.008
LARGE = 0.12  # share of the image that the box covers
OCCLUDED, TRUNCATED, BIG = (ATTRIBUTES.index(word) for word in ("occluded", "truncated", "large"))
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


class _Table(NamedTuple):
    """The parts of a batch of scenes as columns; local = unit coordinates, in which a part spans -1 .. 1."""

    scene: Array
    thing: Array  # number of the thing in the batch
    shape: Array
    axes: Array  # 3 3 P: camera axes of the part's own axes (own axis, camera axis)
    half: Array  # 3 P
    direction: Array  # 3 3 P: unit coordinates of a camera vector (own axis, camera axis)
    origin: Array  # 3 P: the camera in unit coordinates
    taper: Array
    surface: Array  # 10 P: first colour, second colour, period, gloss, glow, pattern
    rect: Array  # 4 P: first and last ray column and row


def render(scenes: list[Scene], noise_seeds: list[int], size: int) -> list[Rendered]:
    """The images and annotations of scenes; `size` is the side in pixels."""
    grid = (size + 2 * MARGIN) * RAYS
    first_thing = np.cumsum([0] + [len(scene.things) for scene in scenes])
    table = _tabulate(scenes, first_thing, size)
    side = (np.arange(grid, dtype=np.float32) + np.float32(0.5)) / np.float32(RAYS) - np.float32(MARGIN + size / 2)
    slope = -side / np.float32(_focal(size))  # camera x of column, camera y of row
    depth, part = _cast_room(table, slope)
    outline = np.zeros(int(first_thing[-1]) * grid * grid, bool)
    _cast_parts(table, slope, depth, part, outline)
    inner = slice(MARGIN * RAYS, grid - MARGIN * RAYS)
    outline = outline.reshape(-1, grid, grid)
    depth = np.ascontiguousarray(depth.reshape(-1, grid, grid)[:, inner, inner])
    part = np.ascontiguousarray(part.reshape(-1, grid, grid)[:, inner, inner])
    thing = table.thing[part]
    label = np.array([thing.label for scene in scenes for thing in scene.things], np.uint8)[thing]
    colour, normal = _shade(table, scenes, part, depth, slope[inner], label)
    pixels = _to_pixels(label, colour, normal, depth)
    results = []
    for index, scene in enumerate(scenes):
        image = _expose(pixels[0][index], noise_seeds[index])
        objects = _annotate(scene, thing[index] - first_thing[index], outline, int(first_thing[index]), inner)
        results.append(Rendered(image, pixels[1][index], pixels[2][index], pixels[3][index], *objects))
    return results


def _focal(size: int) -> float:
    return size / 2 / math.tan(HALF_VIEW)


def _tabulate(scenes: list[Scene], first_thing: Array, size: int) -> _Table:
    rows, owners = [], []
    for index, scene in enumerate(scenes):
        cos_p, sin_p = math.cos(scene.pitch), math.sin(scene.pitch)
        for thing, part, centre, yaw in scene.parts:
            mat = part.material
            turn = yaw - scene.yaw
            cos, sin = math.cos(turn), math.sin(turn)
            rows.append((
                centre[0] - scene.camera[0], centre[1] - scene.camera[1], centre[2] - scene.camera[2],
                math.cos(scene.yaw), math.sin(scene.yaw), cos_p, sin_p, cos, sin, *part.half, part.taper, part.lying,
                *mat.first, *mat.second, mat.period, mat.gloss, mat.glow, mat.pattern,
            ))  # fmt: skip
            owners.append((index, thing + first_thing[index], part.shape))
    data = np.array(rows).T
    scene_of, thing_of, shape = np.array(owners, np.int64).T
    dx, dy, dz, cos_y, sin_y, cos_p, sin_p, cos, sin, *_ = data
    flat = sin_y * dx + cos_y * dz  # along the camera's z before it is pitched
    centre = np.stack([cos_y * dx - sin_y * dz, cos_p * dy - sin_p * flat, sin_p * dy + cos_p * flat])
    zero = np.zeros_like(cos)
    axes = np.stack([
        np.stack([cos, sin_p * sin, -cos_p * sin]),
        np.stack([zero, cos_p, sin_p]),
        np.stack([sin, -sin_p * cos, cos_p * cos]),
    ])  # fmt: skip
    lying = data[13] > 0
    axes[:2, :, lying] = axes[1::-1][:, :, lying]
    half = data[9:12]
    widest = np.maximum(data[12], 1.0)  # a CAN may be wider at its top
    span = np.stack([half[0] * widest, half[1], half[2] * widest])
    reach = np.stack([sum(sign * span[axis] * axes[axis] for axis, sign in enumerate(corner)) for corner in _CORNERS])
    corners = centre + reach  # 8 3 P
    away = -corners[:, 2]
    scale = _focal(size) / np.maximum(away, 1e-3)
    across = (size / 2 + MARGIN - corners[:, 0] * scale) * RAYS
    down = (size / 2 + MARGIN - corners[:, 1] * scale) * RAYS
    grid = (size + 2 * MARGIN) * RAYS
    around = (away < 0.1).any(0)  # beside or behind the camera: any ray may meet it
    rect = np.stack([across.min(0), across.max(0), down.min(0), down.max(0)])
    rect = np.where(around, np.array([[0], [grid], [0], [grid]]), np.clip(rect, -1, grid + 1))
    rect[:, (away < float(NEAR)).all(0)] = 0
    rect = np.clip(np.floor(rect), 0, grid - 1).astype(np.int64)
    direction = axes / half[:, None]
    origin = -(direction * centre).sum(1)
    return _Table(
        scene_of, thing_of, shape, axes.astype(np.float32), half.astype(np.float32), direction.astype(np.float32),
        origin.astype(np.float32), data[12].astype(np.float32),
        data[14:].astype(np.float32), rect,
    )  # fmt: skip


_CORNERS = [(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]


def _cast_room(table: _Table, slope: Array) -> tuple[Array, Array]:
    """Depth and part of the room's own surfaces for all rays, flat; the room's parts are wall, floor, ceiling."""
    first = np.flatnonzero(table.shape == ROOM)[::3]
    exits = []
    for axis in range(3):
        towards, origin = table.direction[axis][:, first], table.origin[axis][first]
        speed = (towards[0][:, None] * slope)[:, None, :] + (towards[1][:, None] * slope - towards[2][:, None])[:, :, None]
        with np.errstate(divide="ignore"):
            one = np.float32(1) / speed
        exits.append(np.abs(one) - origin[:, None, None] * one)
        if axis == 1:
            rising = speed > 0
    sides = np.minimum(exits[0], exits[2])
    depth = np.minimum(sides, exits[1])
    part = first[:, None, None] + np.where(exits[1] < sides, np.where(rising, 2, 1), 0)
    return depth.reshape(-1), part.reshape(-1)


def _cast_parts(table: _Table, slope: Array, depth: Array, part: Array, outline: Array) -> None:
    """Sets depth and part where a part is nearest, and the outline of every thing as if nothing hid it."""
    grid = len(slope)
    hits = []
    for shape, meet in ((BOX, _meet_box), (ELLIPSOID, _meet_ellipsoid), (CAN, _meet_can)):
        parts = np.flatnonzero(table.shape == shape)
        left, right, top, bottom = table.rect[:, parts]
        rows = bottom - top + 1
        row_part = np.repeat(parts, rows)
        row = np.arange(len(row_part)) - np.repeat(np.cumsum(rows) - rows, rows) + table.rect[2][row_part]
        # per row: what does not change along it
        base = [
            table.direction[axis][1][row_part] * slope[row] - table.direction[axis][2][row_part] for axis in range(3)
        ]
        columns = np.repeat(right - left + 1, rows)
        start = np.cumsum(columns) - columns
        column = np.arange(int(columns.sum())) - np.repeat(start - table.rect[0][row_part], columns)
        x = slope[column]
        speed = [np.repeat(table.direction[axis][0][row_part], columns) * x for axis in range(3)]
        for axis in range(3):
            speed[axis] += np.repeat(base[axis], columns)
        origin = [np.repeat(table.origin[axis][row_part], columns) for axis in range(3)]
        with np.errstate(all="ignore"):
            found, distance = meet(speed, origin, np.repeat(table.taper[row_part], columns) if shape == CAN else None)
        of_row = np.repeat(np.arange(len(row_part)), columns)[found]
        hits.append((row_part[of_row], row[of_row] * grid + column[found], distance[found]))
    which, ray, distance = (np.concatenate(column) for column in zip(*hits, strict=True))
    outline[table.thing[which] * grid * grid + ray] = True
    ray += table.scene[which] * grid * grid
    np.minimum.at(depth, ray, distance)
    nearest = distance == depth[ray]
    part[ray[nearest]] = which[nearest]


def _meet_box(speed: list[Array], origin: list[Array], _: Array | None) -> tuple[Array, Array]:
    enter = leave = None
    for axis in range(3):
        one = np.float32(1) / speed[axis]
        middle = origin[axis] * one
        np.negative(middle, out=middle)
        np.abs(one, out=one)
        enter = middle - one if enter is None else np.maximum(enter, middle - one)
        leave = middle + one if leave is None else np.minimum(leave, middle + one)
    assert enter is not None and leave is not None
    return np.flatnonzero((enter < leave) & (enter > NEAR)), enter


def _meet_ellipsoid(speed: list[Array], origin: list[Array], _: Array | None) -> tuple[Array, Array]:
    a = speed[0] * speed[0] + speed[1] * speed[1] + speed[2] * speed[2]
    b = speed[0] * origin[0] + speed[1] * origin[1] + speed[2] * origin[2]
    c = origin[0] * origin[0] + origin[1] * origin[1] + origin[2] * origin[2] - np.float32(1)
    root = b * b - a * c
    distance = -(b + np.sqrt(root)) / a
    return np.flatnonzero((root > 0) & (distance > NEAR)), distance


def _meet_can(speed: list[Array], origin: list[Array], taper: Array | None) -> tuple[Array, Array]:
    assert taper is not None
    one, far = np.float32(1), np.float32(1e9)
    widen = (taper - one) * np.float32(0.5)  # radius at height y is middle + widen * y
    middle = (taper + one) * np.float32(0.5)
    grow, here = widen * speed[1], middle + widen * origin[1]
    a = speed[0] * speed[0] + speed[2] * speed[2] - grow * grow
    b = speed[0] * origin[0] + speed[2] * origin[2] - grow * here
    c = origin[0] * origin[0] + origin[2] * origin[2] - here * here
    root = b * b - a * c
    side = -(b + np.copysign(np.sqrt(root), a)) / a
    good = (root > 0) & (side > NEAR) & (np.abs(origin[1] + side * speed[1]) < one)
    side = np.where(good, side, far)
    cap = -(origin[1] / speed[1]) - np.abs(one / speed[1])
    x, z = origin[0] + cap * speed[0], origin[2] + cap * speed[2]
    radius = np.where(speed[1] < 0, taper, one)
    cap = np.where((cap > NEAR) & (x * x + z * z < radius * radius), cap, far)
    distance = np.minimum(side, cap)
    return np.flatnonzero(distance < far), distance


def _shade(
    table: _Table, scenes: list[Scene], part: Array, depth: Array, slope: Array, label: Array
) -> tuple[Array, list[Array]]:
    """Colour (3 B G G, 0-1 and above) and camera normal (x, y, z) of every ray."""
    side = len(slope)
    shape = part.shape
    x, y = (depth * slope).reshape(-1), (depth * slope[:, None]).reshape(-1)
    depth, part = depth.reshape(-1), part.reshape(-1)
    unit = []
    for axis in range(3):
        towards = table.direction[axis]
        unit.append(table.origin[axis][part] + towards[0][part] * x + towards[1][part] * y - towards[2][part] * depth)
    face, normal = _normals(table, part, unit)
    colour = _texture(table, part, unit, face)
    light, lit = np.empty((3, len(scenes), 1, 1), np.float32), np.empty((3, len(scenes), 1, 1), np.float32)
    for index, scene in enumerate(scenes):
        light[:, index, 0, 0] = to_camera(scene, scene.light)
        lit[:, index, 0, 0] = scene.ambient, scene.diffuse, scene.exposure
    place = [x.reshape(shape), y.reshape(shape), -depth.reshape(shape)]
    normal = [component.reshape(shape) for component in normal]
    beam = [light[axis] - place[axis] for axis in range(3)]
    square = beam[0] * beam[0] + beam[1] * beam[1] + beam[2] * beam[2]
    facing = normal[0] * beam[0] + normal[1] * beam[1] + normal[2] * beam[2]
    facing /= np.sqrt(square) * (np.float32(1) + np.float32(0.04) * square)
    bright = lit[0] + lit[1] * np.maximum(facing, 0)
    for index, scene in enumerate(scenes):
        _drop_shadows(scene, bright[index], label[index], [axis[index] for axis in place])
    bright = bright.reshape(-1)
    glow = table.surface[8][part]
    bright += glow * (np.float32(1.25) - bright)
    colour *= bright
    _add_gloss(table, part, colour, [axis.reshape(-1) for axis in (*normal, *beam, *place)])
    return colour.reshape(3, len(scenes), side, side) * lit[2], normal


def to_camera(scene: Scene, place: tuple[float, float, float]) -> tuple[float, float, float]:
    """A place in the world, in camera axes."""
    dx, dy, dz = (a - b for a, b in zip(place, scene.camera, strict=True))
    flat = math.sin(scene.yaw) * dx + math.cos(scene.yaw) * dz
    cos, sin = math.cos(scene.pitch), math.sin(scene.pitch)
    return math.cos(scene.yaw) * dx - math.sin(scene.yaw) * dz, cos * dy - sin * flat, sin * dy + cos * flat


def _normals(table: _Table, part: Array, unit: list[Array]) -> tuple[Array, list[Array]]:
    """The axis (0, 1, 2) of the box face that each ray meets, and its normal in camera axes."""
    ax, ay, az = (np.abs(axis) for axis in unit)
    face = np.where(ay > np.maximum(ax, az), 1, np.where(az > ax, 2, 0))
    sign = np.copysign(np.float32(1), np.where(face == 0, unit[0], np.where(face == 1, unit[1], unit[2])))
    shape = table.shape[part]
    sign[shape == ROOM] *= np.float32(-1)  # a room is seen from inside
    count = len(table.shape)
    row = face * (3 * count) + part
    flat = table.axes.reshape(-1)
    normal = [flat[row + axis * count] * sign for axis in range(3)]
    round_ones = np.flatnonzero((shape == ELLIPSOID) | (shape == CAN))
    which = part[round_ones]
    own = [axis[round_ones] for axis in unit]
    can = shape[round_ones] == CAN
    widen = (table.taper[which] - np.float32(1)) * np.float32(0.5)
    radius = (table.taper[which] + np.float32(1)) * np.float32(0.5) + widen * own[1]
    cap = can & (np.abs(own[1]) > np.float32(0.9995))
    own[1] = np.where(cap, np.copysign(np.float32(1), own[1]), np.where(can, -widen * radius, own[1]))
    own[0], own[2] = np.where(cap, np.float32(0), own[0]), np.where(cap, np.float32(0), own[2])
    own = [own[axis] / table.half[axis][which] for axis in range(3)]
    length = np.sqrt(own[0] * own[0] + own[1] * own[1] + own[2] * own[2])
    for axis in range(3):
        turned = sum(table.axes[own_axis, axis][which] * own[own_axis] for own_axis in range(3))
        normal[axis][round_ones] = turned / length
    return face, normal


def _texture(table: _Table, part: Array, unit: list[Array], face: Array) -> Array:
    """The surface's own colour (3 N)."""
    first, second = table.surface[0:3], table.surface[3:6]
    colour = first[:, part]
    pattern = table.surface[9].astype(np.int8)[part]
    for kind in (STRIPES, CHECKS, WOOD, SPOTS):
        rays = np.flatnonzero(pattern == kind)
        which = part[rays]
        x, y, z = (unit[axis][rays] * (table.half[axis] / table.surface[6])[which] for axis in range(3))
        if kind == STRIPES:
            along = x + z
            mix = (along - np.floor(along) < np.float32(0.5)).astype(np.float32)
        elif kind == CHECKS:
            cell = np.floor(x) + np.floor(y) + np.floor(z)
            mix = cell - np.float32(2) * np.floor(cell * np.float32(0.5))
        elif kind == WOOD:  # planks, each of its own tone, with dark seams
            plank = np.floor(y + z)
            tone = plank * np.float32(0.618)
            mix = np.float32(0.6) * (tone - np.floor(tone))
            mix += np.float32(0.4) * (y + z - plank < np.float32(0.15))
        else:
            square = np.zeros_like(x)
            for axis, value in enumerate((x, y, z)):
                offset = value - np.floor(value) - np.float32(0.5)
                square += np.where(face[rays] == axis, np.float32(0), offset * offset)
            mix = (square < np.float32(0.11)).astype(np.float32)
        base = first[:, which]
        colour[:, rays] = base + mix * (second[:, which] - base)
    return colour


def _drop_shadows(scene: Scene, bright: Array, label: Array, place: list[Array]) -> None:
    """Darkens floor and rug softly around the foot of every object."""
    rows, columns = np.nonzero((label == FLOOR) | (label == RUG))
    if not len(rows):
        return
    here = [axis[rows, columns] for axis in place]
    shadow = np.ones(len(rows), np.float32)
    for x, z, radius in scene.shadows:
        foot = to_camera(scene, (x, 0.0, z))
        square = sum((here[axis] - np.float32(foot[axis])) ** 2 for axis in range(3))
        shadow = np.minimum(shadow, np.float32(0.45) + square * np.float32(0.5 / radius**2))
    bright[rows, columns] *= shadow


def _add_gloss(table: _Table, part: Array, colour: Array, vectors: list[Array]) -> None:
    """Adds the light's reflection on shiny surfaces (Blinn's half vector, power 32)."""
    rays = np.flatnonzero(table.surface[7][part])
    normal, beam, place = (np.stack([axis[rays] for axis in vectors[start : start + 3]]) for start in (0, 3, 6))
    half = beam / np.sqrt((beam * beam).sum(0)) - place / np.sqrt((place * place).sum(0))
    shine = np.maximum((normal * half).sum(0), 0) / np.sqrt((half * half).sum(0))
    for _ in range(5):
        shine *= shine
    colour[:, rays] += shine * table.surface[7][part[rays]]


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
    means = [
        sum(weight * ray for weight, ray in zip(share, rays(values), strict=True)) for values in (*normal, depth)
    ]
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
    return np.clip(signal + np.float32(0.5), 0, 255).astype(np.uint8)


def _annotate(
    scene: Scene, thing: Array, outline: Array, first: int, inner: slice
) -> tuple[Array, Array, Array, Array]:
    """Boxes of the visible pixels, classes, attributes and difficulty of the objects that can be seen."""
    boxes, classes, attributes, difficult = [], [], [], []
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
    return (
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(classes, np.int64),
        np.array(attributes, np.uint8).reshape(-1, len(ATTRIBUTES)),
        np.array(difficult, bool),
    )
