"""Labels of whole images of `rooms`, from the scene alone: what the floor is of, and where the lamp is ("Ours")."""

from __future__ import annotations

import math

from mtlbench.datasets._rooms.objects import CHECKS, PLAIN, WOOD
from mtlbench.datasets._rooms.scene import FLOOR, Scene

FLOORS = {WOOD: "wood", CHECKS: "tiles", PLAIN: "plain"}
FLOOR_SEEN = 0.01  # of the pixels: where less of it is seen, its kind is not labelled


def floor_of(scene: Scene) -> int:
    """Index into FLOORS."""
    return list(FLOORS).index(scene.parts[FLOOR].part.material.pattern)


def light_of(scene: Scene) -> float:
    """Metres that the lamp is ahead of the camera, along the floor in the direction of view; below 0 it is behind.

    A mirrored image has the same light, which an angle to the left or right would not have.
    """
    dx, _, dz = (a - b for a, b in zip(scene.light, scene.camera, strict=True))
    return -(math.sin(scene.yaw) * dx + math.cos(scene.yaw) * dz)
