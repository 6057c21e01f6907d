"""Labels for pretraining on `rooms`: solids, builds, sizes, distances, views and paints of what is seen ("Ours").

None is a label of a task: they are read off the primitives of a scene, without its categories and words.
"""

from __future__ import annotations

import math

import numpy as np

from mtlbench.datasets._rooms.objects import ATTRIBUTES, BOX, CAN, ELLIPSOID, PALETTE, ROOM
from mtlbench.datasets._rooms.render import Rendered
from mtlbench.datasets._rooms.scene import Placed, Scene
from mtlbench.datasets._rooms.shade import to_camera

SOLIDS = {BOX: "block", ELLIPSOID: "ellipsoid", CAN: "drum"}
BUILDS = ("flat", "even", "tall")
FORMS = tuple(f"{build} {solid}" for solid in SOLIDS.values() for build in BUILDS)  # by the largest part
FLAT, TALL = 0.75, 1.35  # height over width
COUNTS = (2, 5, 9)  # parts
HEIGHTS = (0.55, 0.85, 1.25)  # metres, as all that follows
WIDTHS = (0.5, 0.75, 1.1)
DISTANCES = (1.6, 2.2, 2.9)
VIEWS = ("front", "right", "back", "left")
PAINTS = tuple(name for name in PALETTE if name not in ATTRIBUTES)
PAINT_NEAR = 0.16  # Euclidean, of colours in 0-1


def _steps(what: str, limits: tuple[float, ...]) -> tuple[str, ...]:
    return (f"{what} below {limits[0]}", *(f"{what} from {limit}" for limit in limits))


QUALITIES = (
    *(f"some {solid}" for solid in SOLIDS.values()),
    "some cone",
    *_steps("parts", COUNTS),
    *_steps("height", HEIGHTS),
    *_steps("width", WIDTHS),
    *_steps("distance", DISTANCES),
    *(f"{view} seen" for view in VIEWS),
    *(f"{paint} paint" for paint in PAINTS),
)
THIN = 0.07  # half size
SURFACES = ("hull", "plate", "bar", "block", "ellipsoid", "drum", "cone")
DEPTHS = (1.2, 1.8, 2.4, 3.1, 4.0)
PLACES = tuple(f"{surface}, {step}" for surface in SURFACES for step in _steps("distance", DEPTHS))


def describe_objects(scene: Scene, rendered: Rendered) -> tuple[np.ndarray, np.ndarray]:
    """The form (index into FORMS, `N` int64) and the qualities (`N Q` uint8) of every object of an image."""
    owned: dict[int, list[Placed]] = {}
    for placed in scene.parts:
        owned.setdefault(placed.thing, []).append(placed)
    found = [_describe(scene, owned[int(thing)]) for thing in rendered.things]
    forms = np.array([form for form, _ in found], np.int64)
    return forms, np.array([row for _, row in found], np.uint8).reshape(-1, len(QUALITIES))


def places(scene: Scene, rendered: Rendered) -> np.ndarray:
    """Index into PLACES of every pixel `H W` uint8; 255 where depth is not valid."""
    kinds = np.array([_surface(placed) for placed in scene.parts])
    step = np.searchsorted(DEPTHS, rendered.depth, side="right")
    label = kinds[rendered.parts] * (len(DEPTHS) + 1) + step
    return np.where(rendered.depth > 0, label, 255).astype(np.uint8)


def _surface(placed: Placed) -> int:
    part = placed.part
    if part.shape == ROOM:
        return SURFACES.index("hull")
    if part.shape == BOX:
        thin = sum(half < THIN for half in part.half)
        return SURFACES.index(("block", "plate", "bar", "bar")[thin])
    if part.shape == CAN and part.taper != 1:
        return SURFACES.index("cone")
    return SURFACES.index(SOLIDS[part.shape])


def _describe(scene: Scene, parts: list[Placed]) -> tuple[int, list[bool]]:
    largest = max(parts, key=lambda placed: _area(placed.part.half))
    top = max(placed.centre[1] + _upright(placed) for placed in parts)
    bottom = min(placed.centre[1] - _upright(placed) for placed in parts)
    width = max(2 * max(placed.part.half[0], placed.part.half[2]) for placed in parts)
    ratio = (top - bottom) / width
    build = 0 if ratio < FLAT else 2 if ratio > TALL else 1
    form = list(SOLIDS).index(largest.part.shape) * len(BUILDS) + build
    x, y, z = to_camera(scene, largest.centre)
    shapes = {placed.part.shape for placed in parts}
    turn = math.atan2(scene.camera[0] - largest.centre[0], scene.camera[2] - largest.centre[2]) - largest.yaw
    view = round(turn / (math.pi / 2)) % len(VIEWS)
    return form, [
        *(shape in shapes for shape in SOLIDS),
        any(placed.part.taper != 1 for placed in parts),
        *_step(len(parts), COUNTS),
        *_step(top - bottom, HEIGHTS),
        *_step(width, WIDTHS),
        *_step(math.sqrt(x * x + y * y + z * z), DISTANCES),
        *(number == view for number in range(len(VIEWS))),
        *(math.dist(largest.part.material.first, PALETTE[paint]) < PAINT_NEAR for paint in PAINTS),
    ]


def _step(value: float, limits: tuple[float, ...]) -> list[bool]:
    """Below the first limit; from each limit on."""
    return [value < limits[0], *(value >= limit for limit in limits)]


def _area(half: tuple[float, float, float]) -> float:
    return half[0] * half[1] + half[1] * half[2] + half[2] * half[0]


def _upright(placed: Placed) -> float:
    """Half the height of a part; a lying can's is its radius."""
    return placed.part.half[0] if placed.part.lying else placed.part.half[1]
