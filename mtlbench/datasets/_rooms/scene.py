"""Random indoor scenes of `rooms`: a room, what covers its walls and floor, objects in view, a camera, a lamp ("Ours").

Lengths are metres. The world has y up and its origin in the middle of the floor; a camera at yaw 0 and pitch 0 has the
world's x to its left and z towards itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from mtlbench.datasets._rooms.objects import (
    BOX,
    CAN,
    CHECKS,
    CLASS_WEIGHTS,
    CLASSES,
    ELLIPSOID,
    FACTORIES,
    PLAIN,
    ROOM,
    SPOTS,
    STRIPES,
    WOOD,
    Dice,
    Material,
    Model,
    Part,
)

SURFACES = ("wall", "floor", "ceiling", "window", "door", "picture", "rug")
WALL, FLOOR, CEILING, WINDOW, DOOR, PICTURE, RUG = range(7)
LABELS = SURFACES + CLASSES
HALF_VIEW = math.radians(31.0)  # half the camera's horizontal (and vertical) field of view
STACKABLE = {"box": 0.25, "ball": 0.16, "plant": 0.3}  # how often such an object is put on top of another, if it can be
AT_WALL = {"cabinet": 0.8, "bed": 0.7, "table": 0.15, "plant": 0.3, "lamp": 0.3, "chair": 0.12}


class Thing(NamedTuple):
    """Something with a label of its own: a surface or an object (`words` are its attributes)."""

    label: int  # index into LABELS
    words: frozenset[str] = frozenset()


class Placed(NamedTuple):
    """A part in the world; things 0, 1, 2 are the room's wall, floor and ceiling."""

    thing: int
    part: Part
    centre: tuple[float, float, float]
    yaw: float


@dataclass
class Scene:
    """All that the renderer needs; angles in radians, pitch > 0 looks down."""

    camera: tuple[float, float, float]
    yaw: float
    pitch: float
    light: tuple[float, float, float]
    ambient: float
    diffuse: float
    exposure: float
    things: list[Thing] = field(default_factory=list)
    parts: list[Placed] = field(default_factory=list)
    shadows: list[tuple[float, float, float]] = field(default_factory=list)  # x, z, radius on the floor


class Wall(NamedTuple):
    """A wall as seen from inside: its middle, the yaw of what faces the room from it, half its length."""

    x: float
    z: float
    yaw: float
    half: float


class _Floor:
    """Where objects stand, as circles."""

    def __init__(self, half_x: float, half_z: float, keep_clear: tuple[float, float]) -> None:
        self.half_x, self.half_z = half_x, half_z
        self.circles: list[tuple[float, float, float]] = [(*keep_clear, 0.55)]

    def free(self, x: float, z: float, radius: float) -> bool:
        """Whether a circle lies inside of the room and touches no other."""
        if abs(x) > self.half_x - radius or abs(z) > self.half_z - radius:
            return False
        return all((x - a) ** 2 + (z - b) ** 2 > (radius + r) ** 2 for a, b, r in self.circles)


def make_scene(seed: int) -> Scene:
    """The scene of a seed."""
    dice = Dice(seed)
    half_x, half_z, height = dice.between(1.9, 3.1), dice.between(1.9, 3.1), dice.between(2.4, 2.9)
    around = dice.between(0, 2 * math.pi)
    x = (half_x - 0.35) * max(-1.0, min(1.0, 1.25 * math.sin(around)))
    z = (half_z - 0.35) * max(-1.0, min(1.0, 1.25 * math.cos(around)))
    target_x, target_z = dice.between(-0.45, 0.45) * half_x, dice.between(-0.45, 0.45) * half_z
    scene = Scene(
        camera=(x, dice.between(1.15, 1.8), z),
        yaw=math.atan2(x - target_x, z - target_z),
        pitch=math.radians(dice.between(2, 26)),
        light=(dice.between(-0.7, 0.7) * half_x, height - 0.25, dice.between(-0.7, 0.7) * half_z),
        ambient=dice.between(0.36, 0.52),
        diffuse=dice.between(0.75, 1.0),
        exposure=dice.between(0.85, 1.12),
    )
    _add_room(scene, dice, half_x, half_z, height)
    walls = (
        Wall(0, -half_z, 0.0, half_x),
        Wall(-half_x, 0, math.pi / 2, half_z),
        Wall(0, half_z, math.pi, half_x),
        Wall(half_x, 0, -math.pi / 2, half_z),
    )
    for wall in walls:
        _cover_wall(scene, dice, wall, height)
    if dice.chance(0.45):
        _add_rug(scene, dice, target_x, target_z)
    _furnish(scene, dice, walls, _Floor(half_x, half_z, (x, z)))
    return scene


def _add_room(scene: Scene, dice: Dice, half_x: float, half_z: float, height: float) -> None:
    tint = ("white", "tan", "grey", "green", "blue", "yellow")[dice.pick((0.34, 0.2, 0.16, 0.1, 0.1, 0.1))]
    pale = dice.between(0.45, 0.75)
    red, green, blue = (pale * 0.86 + (1 - pale) * level for level in dice.colour(tint))
    wall = Material(
        STRIPES if dice.chance(0.2) else PLAIN, (red, green, blue), (red * 0.86, green * 0.87, blue * 0.9), 0.5
    )
    kind = dice.pick((0.5, 0.2, 0.3))
    base = dice.colour(("tan", "grey", "grey")[kind]) if kind else (0.58, 0.41, 0.25)
    second = (base[0] * 0.78, base[1] * 0.76, base[2] * 0.74)
    floor = Material((WOOD, CHECKS, PLAIN)[kind], base, second, dice.between(0.25, 0.5))
    level = dice.between(0.84, 0.95)
    ceiling = Material(PLAIN, (level, level, level), (level, level, level))
    for label, material in enumerate((wall, floor, ceiling)):
        scene.things.append(Thing(label))
        part = Part(ROOM, (0, height / 2, 0), (half_x, height / 2, half_z), material)
        scene.parts.append(Placed(label, part, part.centre, 0.0))


def _put(scene: Scene, thing: Thing, parts: list[Part], x: float, y: float, z: float, yaw: float) -> None:
    """Stands parts, given in a model's frame, into the world."""
    index = len(scene.things)
    scene.things.append(thing)
    cos, sin = math.cos(yaw), math.sin(yaw)
    for part in parts:
        a, b, c = part.centre
        scene.parts.append(Placed(index, part, (x + cos * a + sin * c, y + b, z - sin * a + cos * c), yaw))


def _cover_wall(scene: Scene, dice: Dice, wall: Wall, height: float) -> None:
    """Hangs up to two of window, door and picture on a wall, side by side."""
    for side in (-1, 1):
        kind = dice.pick((0.24, 0.2, 0.3, 0.26))
        if kind == 3:
            continue
        along = side * wall.half * dice.between(0.42, 0.55)
        most = wall.half * 0.42
        edge = dice.colour(("white", "dark", "tan")[dice.pick((1, 1, 1))])
        frame = Material(PLAIN, edge, edge)
        if kind == 0:
            half_w, half_h, y = min(most, dice.between(0.5, 0.8)), dice.between(0.42, 0.58), height * 0.58
            sky = dice.between(0.75, 1.0)
            glass = Material(PLAIN, (0.62 * sky, 0.80 * sky, 0.98 * sky), (1, 1, 1), glow=0.75)
            parts = [
                Part(BOX, (along, y, 0.02), (half_w, half_h, 0.02), frame),
                Part(BOX, (along - half_w / 2, y, 0.03), (half_w / 2 - 0.07, half_h - 0.08, 0.02), glass),
                Part(BOX, (along + half_w / 2, y, 0.03), (half_w / 2 - 0.07, half_h - 0.08, 0.02), glass),
            ]
        elif kind == 1:
            half_w, half_h = min(most, dice.between(0.4, 0.48)), 1.02
            leaf = dice.colour(("white", "tan", "grey", "blue")[dice.pick((0.3, 0.4, 0.15, 0.15))])
            panel = (leaf[0] * 0.8, leaf[1] * 0.78, leaf[2] * 0.76)
            knob = Material(PLAIN, (0.75, 0.65, 0.3), (0, 0, 0), gloss=0.9)
            parts = [
                Part(BOX, (along, half_h, 0.02), (half_w + 0.07, half_h + 0.06, 0.02), frame),
                Part(BOX, (along, half_h, 0.04), (half_w, half_h, 0.02), Material(PLAIN, leaf, leaf)),
                Part(
                    BOX,
                    (along, half_h * 1.45, 0.05),
                    (half_w * 0.65, half_h * 0.35, 0.02),
                    Material(PLAIN, panel, panel),
                ),
                Part(
                    BOX, (along, half_h * 0.5, 0.05), (half_w * 0.65, half_h * 0.3, 0.02), Material(PLAIN, panel, panel)
                ),
                Part(ELLIPSOID, (along + half_w * 0.82, half_h, 0.1), (0.05, 0.05, 0.05), knob),
            ]
        else:
            half_w, half_h = min(most, dice.between(0.3, 0.6)), dice.between(0.25, 0.45)
            y = dice.between(1.4, 1.75)
            names = ("red", "blue", "green", "orange", "purple", "yellow", "tan", "dark")
            first, second = (dice.colour(names[dice.pick((1,) * 8)]) for _ in range(2))
            art = Material((SPOTS, CHECKS, STRIPES)[dice.pick((1, 1, 1))], first, second, dice.between(0.2, 0.4))
            parts = [
                Part(BOX, (along, y, 0.02), (half_w, half_h, 0.02), frame),
                Part(BOX, (along, y, 0.03), (half_w - 0.07, half_h - 0.07, 0.02), art),
            ]
        _put(scene, Thing((WINDOW, DOOR, PICTURE)[kind]), parts, wall.x, 0.0, wall.z, wall.yaw)


def _add_rug(scene: Scene, dice: Dice, x: float, z: float) -> None:
    names = ("red", "blue", "green", "purple", "orange", "dark")
    first, second = dice.colour(names[dice.pick((1,) * 6)]), dice.colour("tan")
    rug = Material((PLAIN, STRIPES, CHECKS)[dice.pick((1, 1, 1))], first, second, dice.between(0.3, 0.5))
    half = (dice.between(0.7, 1.1), 0.012, dice.between(0.7, 1.1))
    shape = CAN if dice.chance(0.35) else BOX
    _put(scene, Thing(RUG), [Part(shape, (0, 0.012, 0), half, rug)], x, 0.0, z, dice.between(0, 3.2))


def _furnish(scene: Scene, dice: Dice, walls: tuple[Wall, ...], floor: _Floor) -> None:
    """Puts 3 to 6 objects where the camera looks, freely, at a wall or on another object."""
    tops: list[tuple[float, float, float]] = []  # free tops: x, height, z
    for _ in range(3 + dice.pick((0.1, 0.25, 0.35, 0.3))):
        kind = dice.pick(CLASS_WEIGHTS)
        name = CLASSES[kind]
        model = FACTORIES[kind](dice)
        label = len(SURFACES) + kind
        if tops and dice.chance(STACKABLE.get(name, 0.0) * 2):
            x, y, z = tops.pop()
            _put(scene, Thing(label, frozenset(model.words | {"on top"})), model.parts, x, y, z, dice.between(0, 6.3))
            continue
        spot = _find_spot(scene, dice, walls, floor, model, dice.chance(AT_WALL.get(name, 0.0)))
        if spot is None:
            continue
        x, z, yaw, at_wall = spot
        words = model.words | {"against a wall"} if at_wall else model.words
        _put(scene, Thing(label, frozenset(words)), model.parts, x, 0.0, z, yaw)
        scene.shadows.append((x, z, 1.15 * max(model.half_x, model.half_z)))
        if model.top:
            tops.append((x, model.top, z))


def _find_spot(
    scene: Scene, dice: Dice, walls: tuple[Wall, ...], floor: _Floor, model: Model, at_wall: bool
) -> tuple[float, float, float, bool] | None:
    """A free place in view: x, z, yaw, whether it stands against a wall; None after 25 tries."""
    radius = 0.9 * max(model.half_x, model.half_z)
    for attempt in range(25):
        away = dice.between(1.35, 3.6)
        angle = scene.yaw + HALF_VIEW * dice.between(-0.9, 0.9)
        x, z = scene.camera[0] - away * math.sin(angle), scene.camera[2] - away * math.cos(angle)
        yaw = scene.yaw + dice.between(-1.5, 1.5)
        if at_wall and attempt < 15:
            wall = min(walls, key=lambda wall: _measure_gap(wall, x, z))
            step = _measure_gap(wall, x, z) - model.half_z - 0.03
            x, z, yaw = x - step * math.sin(wall.yaw), z - step * math.cos(wall.yaw), wall.yaw
            across = abs((x - wall.x) * math.cos(wall.yaw) - (z - wall.z) * math.sin(wall.yaw))
            clear = across < wall.half - model.half_x and all(
                (x - a) ** 2 + (z - b) ** 2 > (radius + r) ** 2 for a, b, r in floor.circles
            )
            if clear:
                floor.circles.append((x, z, radius))
                return x, z, yaw, True
        elif floor.free(x, z, radius * 1.05):
            floor.circles.append((x, z, radius))
            return x, z, yaw, False
    return None


def _measure_gap(wall: Wall, x: float, z: float) -> float:
    """Distance of a place from a wall."""
    return (x - wall.x) * math.sin(wall.yaw) + (z - wall.z) * math.cos(wall.yaw)
