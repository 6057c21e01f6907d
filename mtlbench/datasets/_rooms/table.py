"""The parts of many scenes as one table of columns in camera axes, and their rectangles on the screen ("Ours")."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from mtlbench.datasets._rooms.scene import HALF_VIEW, Scene

RAYS = 2  # per pixel and direction
MARGIN = 1  # pixels rendered around the image, to see what extends outside
NEAR = np.float32(0.05)
Array = np.ndarray


class Table(NamedTuple):
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


def compute_focal(size: int) -> float:
    """Focal length in pixels."""
    return size / 2 / math.tan(HALF_VIEW)


def pick(values: Array, which: Array) -> Array:
    """`values[..., which]`; `take` is up to six times as fast where it need not look for indices out of range."""
    return values.take(which, axis=-1, mode="clip")


def tabulate(scenes: list[Scene], first_thing: Array, size: int) -> Table:
    """All parts of the scenes; `first_thing` is where each scene's things start in the batch, `size` in pixels."""
    data, scene_of, thing_of, shape = _rows_of_parts(scenes, first_thing)
    centre, axes = _in_camera(data)
    half = data[9:12]
    widest = np.maximum(data[12], 1.0)  # a CAN may be wider at its top
    span = np.stack([half[0] * widest, half[1], half[2] * widest])
    reach = span[:, None] * axes  # 3 3 P: from the centre along each own axis
    corners = np.stack([centre + a * reach[0] + b * reach[1] + c * reach[2] for a, b, c in _CORNERS])
    direction = axes / half[:, None]
    origin = -(direction * centre).sum(1)
    return Table(
        scene=scene_of,
        thing=thing_of,
        shape=shape,
        axes=axes.astype(np.float32),
        half=half.astype(np.float32),
        direction=direction.astype(np.float32),
        origin=origin.astype(np.float32),
        taper=data[12].astype(np.float32),
        surface=data[14:].astype(np.float32),
        rect=_cut_rectangles(corners, size),
    )


def _rows_of_parts(scenes: list[Scene], first_thing: Array) -> tuple[Array, Array, Array, Array]:
    """Numbers `24 P` of all parts (place from the camera 3, cosine and sine of the camera's yaw, its pitch and the
    part's turn 6, half size 3, taper, lying, surface 10), and the scene, thing and shape of each `P`."""
    rows, owners = [], []
    for index, scene in enumerate(scenes):
        view = (math.cos(scene.yaw), math.sin(scene.yaw), math.cos(scene.pitch), math.sin(scene.pitch))
        for thing, part, place, yaw in scene.parts:
            mat, turn = part.material, yaw - scene.yaw
            away = [at - camera for at, camera in zip(place, scene.camera, strict=True)]
            surface = (*mat.first, *mat.second, mat.period, mat.gloss, mat.glow, mat.pattern)
            rows.append((*away, *view, math.cos(turn), math.sin(turn), *part.half, part.taper, part.lying, *surface))
            owners.append((index, thing + first_thing[index], part.shape))
    scene_of, thing_of, shape = np.array(owners, np.int64).T
    return np.array(rows).T, scene_of, thing_of, shape


def _in_camera(data: Array) -> tuple[Array, Array]:
    """Centres `3 P` and own axes `3 3 P` (own axis, camera axis) of the parts in camera axes."""
    dx, dy, dz, cos_y, sin_y, cos_p, sin_p, cos, sin, *_ = data
    flat = sin_y * dx + cos_y * dz  # along the camera's z before it is pitched
    centre = np.stack([cos_y * dx - sin_y * dz, cos_p * dy - sin_p * flat, sin_p * dy + cos_p * flat])
    zero = np.zeros_like(cos)
    axes = np.stack(
        [
            np.stack([cos, sin_p * sin, -cos_p * sin]),
            np.stack([zero, cos_p, sin_p]),
            np.stack([sin, -sin_p * cos, cos_p * cos]),
        ]
    )
    lying = data[13] > 0
    axes[:2, :, lying] = axes[1::-1][:, :, lying]
    return centre, axes


_CORNERS = [(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]
_EDGES = np.array([(a, b) for a in range(8) for b in range(a) if (a ^ b) in (1, 2, 4)])


def _cut_rectangles(corners: Array, size: int) -> Array:
    """First and last ray column, first and last ray row of boxes (8 3 P), cut off where they come too near."""
    start, end = corners[_EDGES[:, 0]], corners[_EDGES[:, 1]]
    away_start, away_end = -start[:, 2] - float(NEAR), -end[:, 2] - float(NEAR)
    crossing = away_start * away_end < 0
    share = np.where(crossing, away_start / np.where(crossing, away_start - away_end, 1), 0)
    points = np.concatenate([corners, start + share[:, None] * (end - start)])  # 20 3 P
    seen = np.concatenate([-corners[:, 2] > float(NEAR), crossing])
    scale = compute_focal(size) / np.maximum(-points[:, 2], float(NEAR))
    across = (size / 2 + MARGIN - points[:, 0] * scale) * RAYS
    down = (size / 2 + MARGIN - points[:, 1] * scale) * RAYS
    ends = [
        np.where(seen, across, np.inf).min(0),
        np.where(seen, across, -np.inf).max(0),
        np.where(seen, down, np.inf).min(0),
        np.where(seen, down, -np.inf).max(0),
    ]
    grid = (size + 2 * MARGIN) * RAYS
    rect: Array = np.clip(np.floor(np.stack(ends)), -1, grid).astype(np.int64)
    outside = (rect[1] < 0) | (rect[0] >= grid) | (rect[3] < 0) | (rect[2] >= grid)
    rect = np.clip(rect, 0, grid - 1)
    rect[:, outside] = np.array([[0], [-1], [0], [-1]])
    return rect
