"""Colours of `rooms`: textures, a point light with ambient light, soft contact shadows, gloss ("Ours")."""

from __future__ import annotations

import math

import numpy as np

from mtlbench.datasets._rooms.objects import CAN, CHECKS, ELLIPSOID, ROOM, SPOTS, STRIPES, WOOD
from mtlbench.datasets._rooms.scene import FLOOR, RUG, Scene
from mtlbench.datasets._rooms.table import Table, pick

Array = np.ndarray


def shade(
    table: Table, scenes: list[Scene], part: Array, depth: Array, slope: Array, label: Array
) -> tuple[Array, list[Array]]:
    """Colour (3 B G G, 0-1 and above) and camera normal (x, y, z) of every ray."""
    side = len(slope)
    shape = part.shape
    x, y = (depth * slope).reshape(-1), (depth * slope[:, None]).reshape(-1)
    depth, part = depth.reshape(-1), part.reshape(-1)
    unit = []
    for axis in range(3):
        right, up, ahead = (pick(row, part) for row in table.direction[axis])
        right *= x
        right += pick(table.origin[axis], part)
        up *= y
        right += up
        ahead *= depth
        right -= ahead
        unit.append(right)
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
    bright += pick(table.surface[8], part) * (np.float32(1.25) - bright)
    colour *= bright
    _add_gloss(table, part, colour, [axis.reshape(-1) for axis in (*normal, *beam, *place)])
    return colour.reshape(3, len(scenes), side, side) * lit[2], normal


def to_camera(scene: Scene, place: tuple[float, float, float]) -> tuple[float, float, float]:
    """A place in the world, in camera axes."""
    dx, dy, dz = (a - b for a, b in zip(place, scene.camera, strict=True))
    flat = math.sin(scene.yaw) * dx + math.cos(scene.yaw) * dz
    cos, sin = math.cos(scene.pitch), math.sin(scene.pitch)
    return math.cos(scene.yaw) * dx - math.sin(scene.yaw) * dz, cos * dy - sin * flat, sin * dy + cos * flat


def _normals(table: Table, part: Array, unit: list[Array]) -> tuple[Array, list[Array]]:
    """The axis (0, 1, 2) of the box face that each ray meets, and its normal in camera axes."""
    ax, ay, az = (np.abs(axis) for axis in unit)
    face = np.where(ay > np.maximum(ax, az), 1, np.where(az > ax, 2, 0))
    sign = np.copysign(np.float32(1), np.where(face == 0, unit[0], np.where(face == 1, unit[1], unit[2])))
    shape = pick(table.shape.astype(np.int8), part)
    sign[shape == ROOM] *= np.float32(-1)  # a room is seen from inside
    count = len(table.shape)
    row = face * (3 * count) + part
    flat = table.axes.reshape(-1)
    normal = [pick(flat, row + axis * count) for axis in range(3)]
    for component in normal:
        component *= sign
    round_ones = np.flatnonzero((shape == ELLIPSOID) | (shape == CAN))
    which = pick(part, round_ones)
    own = [pick(axis, round_ones) for axis in unit]
    can = pick(shape, round_ones) == CAN
    taper = pick(table.taper, which)
    widen = (taper - np.float32(1)) * np.float32(0.5)
    radius = (taper + np.float32(1)) * np.float32(0.5) + widen * own[1]
    cap = can & (np.abs(own[1]) > np.float32(0.9995))
    own[1] = np.where(cap, np.copysign(np.float32(1), own[1]), np.where(can, -widen * radius, own[1]))
    own[0], own[2] = np.where(cap, np.float32(0), own[0]), np.where(cap, np.float32(0), own[2])
    own = [own[axis] / pick(table.half[axis], which) for axis in range(3)]
    length = np.sqrt(own[0] * own[0] + own[1] * own[1] + own[2] * own[2])
    for axis in range(3):
        turned = sum(pick(table.axes[own_axis, axis], which) * own[own_axis] for own_axis in range(3))
        normal[axis][round_ones] = turned / length
    return face, normal


def _texture(table: Table, part: Array, unit: list[Array], face: Array) -> Array:
    """The surface's own colour (3 N)."""
    first, second = table.surface[0:3], table.surface[3:6]
    colour = pick(first, part)
    pattern = pick(table.surface[9].astype(np.int8), part)
    for kind in (STRIPES, CHECKS, WOOD, SPOTS):
        rays = np.flatnonzero(pattern == kind)
        which = pick(part, rays)
        x, y, z = (pick(unit[axis], rays) * pick(table.half[axis] / table.surface[6], which) for axis in range(3))
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
                square += np.where(pick(face, rays) == axis, np.float32(0), offset * offset)
            mix = (square < np.float32(0.11)).astype(np.float32)
        for channel in range(3):
            base = pick(first[channel], which)
            colour[channel][rays] = base + mix * (pick(second[channel], which) - base)
    return colour


def _drop_shadows(scene: Scene, bright: Array, label: Array, place: list[Array]) -> None:
    """Darkens floor and rug softly around the foot of every object."""
    rays = np.flatnonzero((label == FLOOR) | (label == RUG))
    if not len(rays):
        return
    here = [pick(axis.reshape(-1), rays) for axis in place]
    shadow = np.ones(len(rays), np.float32)
    for x, z, radius in scene.shadows:
        foot = to_camera(scene, (x, 0.0, z))
        square = sum((here[axis] - np.float32(foot[axis])) ** 2 for axis in range(3))
        shadow = np.minimum(shadow, np.float32(0.45) + square * np.float32(0.5 / radius**2))
    bright.reshape(-1)[rays] *= shadow


def _add_gloss(table: Table, part: Array, colour: Array, vectors: list[Array]) -> None:
    """Adds the light's reflection on shiny surfaces (Blinn's half vector, power 32)."""
    gloss = pick(table.surface[7], part)
    rays = np.flatnonzero(gloss)
    normal, beam, place = (np.stack([pick(axis, rays) for axis in vectors[start : start + 3]]) for start in (0, 3, 6))
    half = beam / np.sqrt((beam * beam).sum(0)) - place / np.sqrt((place * place).sum(0))
    shine = np.maximum((normal * half).sum(0), 0) / np.sqrt((half * half).sum(0))
    for _ in range(5):
        shine *= shine
    shine *= pick(gloss, rays)
    for channel in range(3):
        colour[channel][rays] += shine
