"""The objects of `rooms`, built from parts: shapes, materials and the attribute words that follow from them ("Ours").

Lengths are metres. All chance comes from `random.Random.random`, whose values Python promises to keep.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

SURFACES = ("wall", "floor", "ceiling", "window", "door", "picture", "rug")
CLASSES = ("chair", "table", "box", "cabinet", "ball", "lamp", "plant", "bed", "cart", "stool")
ATTRIBUTES = (  # parts
    "has legs",
    "round",
    "has back",
    "has arms",
    "has wheels",
    "has drawers",
    "has handle",
    "has pillow",
    # looks
    "red",
    "blue",
    "green",
    "white",
    "dark",
    "wooden",
    "striped",
    "checked",
    "spotted",
    "shiny",
    "glowing",
    # situation
    "occluded",
    "truncated",
    "large",
    "against a wall",
    "on top",
)
CLASS_WEIGHTS = (0.30, 0.165, 0.125, 0.105, 0.08, 0.055, 0.045, 0.045, 0.04, 0.04)
BOX, ELLIPSOID, CAN, ROOM = range(4)  # shapes of parts; CAN is a cylinder or a cone cut off
PLAIN, STRIPES, CHECKS, WOOD, SPOTS = range(5)  # patterns of materials
PATTERN_WORDS = {STRIPES: "striped", CHECKS: "checked", WOOD: "wooden", SPOTS: "spotted"}
PALETTE = {
    "red": (0.78, 0.13, 0.11),
    "blue": (0.14, 0.27, 0.74),
    "green": (0.14, 0.50, 0.20),
    "white": (0.90, 0.89, 0.86),
    "dark": (0.11, 0.11, 0.13),
    "yellow": (0.86, 0.72, 0.16),
    "grey": (0.50, 0.51, 0.53),
    "tan": (0.70, 0.56, 0.38),
    "orange": (0.85, 0.45, 0.12),
    "purple": (0.45, 0.22, 0.55),
}


class Material(NamedTuple):
    """What a surface looks like: two colours (0-1), a pattern that mixes them, gloss and own light."""

    pattern: int
    first: tuple[float, float, float]
    second: tuple[float, float, float]
    period: float = 0.2  # of the pattern, metres
    gloss: float = 0.0
    glow: float = 0.0


class Part(NamedTuple):
    """One primitive in its model's frame (x right, y up, z to the front), centre and half sizes."""

    shape: int
    centre: tuple[float, float, float]
    half: tuple[float, float, float]
    material: Material
    taper: float = 1.0  # of a CAN: radius at its top over radius at its bottom
    lying: bool = False  # a CAN whose axis is x instead of y; `half` is (radius, half length, radius)


@dataclass
class Model:
    """An object before it has a place: parts, half footprint, height of a free top (0 = none), attribute words."""

    parts: list[Part]
    half_x: float
    half_z: float
    words: set[str]
    top: float = 0.0


class Dice:
    """Draws on top of `random.Random.random` alone."""

    def __init__(self, seed: int) -> None:
        self.draw = Random(seed).random

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.draw()

    def chance(self, share: float) -> bool:
        return self.draw() < share

    def pick(self, weights: tuple[float, ...]) -> int:
        """An index, likely in proportion to its weight."""
        left = self.draw() * sum(weights)
        for index, weight in enumerate(weights):
            left -= weight
            if left < 0:
                return index
        return len(weights) - 1

    def colour(self, name: str) -> tuple[float, float, float]:
        """The named colour with a little variation in brightness and tone."""
        red, green, blue = PALETTE[name]
        bright = self.between(0.88, 1.1)
        tone = 0.02
        return (
            min(1.0, red * bright + self.between(-tone, tone)),
            min(1.0, green * bright + self.between(-tone, tone)),
            min(1.0, blue * bright + self.between(-tone, tone)),
        )


def _cloth(dice: Dice, words: set[str], patterned: float = 0.34) -> Material:
    """The main material of an object; adds its words (colours, patterns, shiny) to `words`."""
    names = tuple(PALETTE)
    name = names[dice.pick((0.11, 0.14, 0.08, 0.12, 0.12, 0.08, 0.12, 0.10, 0.05, 0.05))]
    if name in ATTRIBUTES:
        words.add(name)
    first = dice.colour(name)
    pattern = (STRIPES, CHECKS, SPOTS)[dice.pick((0.5, 0.3, 0.2))] if dice.chance(patterned) else PLAIN
    shiny = pattern == PLAIN and dice.chance(0.16)
    second = dice.colour("white" if name in ("dark", "red", "blue", "green", "purple") else "dark")
    if pattern != PLAIN:
        words.add(PATTERN_WORDS[pattern])
    if shiny:
        words.add("shiny")
    return Material(pattern, first, second, dice.between(0.16, 0.26), 0.9 if shiny else 0.0)


def _wood(dice: Dice, words: set[str]) -> Material:
    words.add("wooden")
    red, green, blue = ((0.62, 0.40, 0.20), (0.45, 0.26, 0.12), (0.76, 0.58, 0.36))[dice.pick((1, 1, 1))]
    return Material(WOOD, (red, green, blue), (red * 0.62, green * 0.58, blue * 0.55), dice.between(0.09, 0.15))


def _metal(dice: Dice) -> Material:
    level = dice.between(0.2, 0.65)
    return Material(PLAIN, (level, level, level * 1.04), (level, level, level), gloss=0.7)


def _box(x: float, y: float, z: float, hx: float, hy: float, hz: float, material: Material) -> Part:
    return Part(BOX, (x, y, z), (hx, hy, hz), material)


def _can(x: float, y: float, z: float, radius: float, hy: float, material: Material, taper: float = 1.0) -> Part:
    return Part(CAN, (x, y, z), (radius, hy, radius), material, taper)


def _legs(hx: float, hz: float, height: float, thick: float, material: Material) -> list[Part]:
    x, z, half = hx - thick, hz - thick, height / 2
    return [_box(sx * x, half, sz * z, thick, half, thick, material) for sx in (-1, 1) for sz in (-1, 1)]


def _wheels(hx: float, hz: float, radius: float, material: Material) -> list[Part]:
    return [
        Part(CAN, (sx * hx, radius, sz * (hz - radius)), (radius, 0.04, radius), material, lying=True)
        for sx in (-1, 1)
        for sz in (-1, 1)
    ]


def _chair(dice: Dice) -> Model:
    words = {"has back"}
    frame = _wood(dice, set()) if dice.chance(0.5) else _metal(dice)
    cloth = _wood(dice, words) if dice.chance(0.25) else _cloth(dice, words)
    hx, hz, seat = dice.between(0.26, 0.32), dice.between(0.26, 0.31), dice.between(0.42, 0.52)
    back = dice.between(0.28, 0.36)
    parts = [
        _box(0, seat, 0, hx, 0.06, hz, cloth),
        _box(0, seat + back + 0.05, -hz + 0.06, hx, back, 0.06, cloth),
    ]
    if dice.chance(0.14):  # an office chair on wheels
        words.add("has wheels")
        parts += [_can(0, seat / 2, 0, 0.06, seat / 2, frame), _box(0, 0.13, 0, hx, 0.04, hz, frame)]
        parts += _wheels(hx - 0.04, hz, 0.09, Material(PLAIN, (0.06, 0.06, 0.07), (0.06, 0.06, 0.07)))
    else:
        words.add("has legs")
        parts += _legs(hx, hz, seat, 0.045, frame)
    if dice.chance(0.22):
        words.add("has arms")
        for side in (-1, 1):
            parts.append(_box(side * (hx + 0.04), seat + 0.18, 0.0, 0.05, 0.17, hz * 0.9, cloth))
    return Model(parts, hx + 0.06, hz, words)


def _table(dice: Dice) -> Model:
    words = {"has legs"}
    top = _wood(dice, words) if dice.chance(0.6) else _cloth(dice, words, 0.15)
    height = dice.between(0.62, 0.78)
    if dice.chance(0.3):
        words.add("round")
        radius = dice.between(0.42, 0.6)
        hx = hz = radius * 0.75
        parts = [_can(0, height, 0, radius, 0.05, top)]
    else:
        radius = hx = dice.between(0.45, 0.75)
        hz = dice.between(0.36, 0.5)
        parts = [_box(0, height, 0, hx, 0.05, hz, top)]
    leg = top if dice.chance(0.6) else _metal(dice)
    return Model(parts + _legs(hx, hz, height, 0.05, leg), radius, max(hz, radius * 0.6), words, height + 0.05)


def _parcel(dice: Dice) -> Model:
    words: set[str] = set()
    if dice.chance(0.45):  # cardboard
        tan = dice.colour("tan")
        cloth = Material(PLAIN, tan, tan)
    else:
        cloth = _cloth(dice, words)
    hx, hy, hz = dice.between(0.2, 0.36), dice.between(0.15, 0.32), dice.between(0.18, 0.32)
    tape = Material(PLAIN, dice.colour("orange" if dice.chance(0.5) else "white"), (0, 0, 0))
    parts = [_box(0, hy, 0, hx, hy, hz, cloth), _box(0, hy, 0, 0.05, hy + 0.008, hz + 0.008, tape)]
    return Model(parts, hx, hz, words, 2 * hy)


def _cabinet(dice: Dice) -> Model:
    words: set[str] = set()
    body = _wood(dice, words) if dice.chance(0.55) else _cloth(dice, words, 0.1)
    hx, hz, height = dice.between(0.34, 0.55), dice.between(0.24, 0.32), dice.between(0.8, 1.7)
    foot = 0.0
    parts: list[Part] = []
    if dice.chance(0.35):
        words.add("has legs")
        foot = 0.2
        parts += _legs(hx, hz, foot, 0.06, body)
    half = (height - foot) / 2
    parts.append(_box(0, foot + half, 0, hx, half, hz, body))
    bright = tuple(min(1.0, level * 1.3 + 0.06) for level in body.first)
    front = body._replace(first=(bright[0], bright[1], bright[2]))
    knob = _metal(dice)
    if dice.chance(0.6):
        words |= {"has drawers", "has handle"}
        rows = 3 if height > 1.0 else 2
        for row in range(rows):
            y = foot + 2 * half * (row + 0.5) / rows
            parts.append(_box(0, y, hz, hx * 0.88, half / rows * 0.8, 0.03, front))
            parts.append(_box(0, y, hz + 0.05, hx * 0.3, 0.03, 0.03, knob))
    else:
        for side in (-1, 1):
            parts.append(_box(side * hx * 0.48, foot + half, hz, hx * 0.42, half * 0.9, 0.02, front))
            parts.append(Part(ELLIPSOID, (side * 0.08, foot + half, hz + 0.04), (0.04, 0.04, 0.04), knob))
    return Model(parts, hx, hz + 0.03, words, height if height < 1.2 else 0.0)


def _ball(dice: Dice) -> Model:
    words = {"round"}
    cloth = _cloth(dice, words, 0.5)
    radius = dice.between(0.2, 0.36)
    return Model([Part(ELLIPSOID, (0, radius, 0), (radius, radius, radius), cloth)], radius, radius, words)


def _lamp(dice: Dice) -> Model:
    words = {"round"}
    shade = _cloth(dice, words, 0.2)._replace(gloss=0.0)
    words.discard("shiny")
    if dice.chance(0.33):
        words.add("glowing")
        shade = shade._replace(glow=1.0)
    metal = _metal(dice)
    height, radius = dice.between(1.2, 1.6), dice.between(0.22, 0.3)
    parts = [
        _can(0, 0.04, 0, 0.2, 0.04, metal),
        _can(0, height / 2, 0, 0.04, height / 2, metal),
        _can(0, height, 0, radius, 0.2, shade, dice.between(0.4, 0.65)),
    ]
    return Model(parts, radius, radius, words)


def _plant(dice: Dice) -> Model:
    words = {"green"}
    pot = _cloth(dice, set(), 0.2)
    leaf = Material(SPOTS, dice.colour("green"), (0.30, 0.62, 0.22), 0.14)
    height = dice.between(0.5, 0.95)
    trunk = Material(PLAIN, (0.34, 0.22, 0.12), (0.3, 0.2, 0.1))
    parts = [_can(0, 0.17, 0, 0.15, 0.17, pot, 1.45), _can(0, 0.3 + height / 4, 0, 0.035, height / 4, trunk)]
    for _ in range(4):
        x, y, z = dice.between(-0.2, 0.2), 0.35 + height * dice.between(0.35, 0.95), dice.between(-0.2, 0.2)
        parts.append(Part(ELLIPSOID, (x, y, z), (dice.between(0.14, 0.24), 0.16, dice.between(0.14, 0.24)), leaf))
    return Model(parts, 0.3, 0.3, words)


def _bed(dice: Dice) -> Model:
    words = {"has back"}
    frame = _wood(dice, words)
    words.discard("wooden")  # its looks are those of the blanket
    cloth = _cloth(dice, words, 0.45)
    hx, hz = dice.between(0.5, 0.75), dice.between(0.9, 1.0)
    parts = [
        _box(0, 0.16, 0, hx, 0.12, hz, frame),
        _box(0, 0.38, 0.02, hx * 0.97, 0.12, hz * 0.97, cloth),
        _box(0, 0.45, -hz + 0.05, hx, 0.45, 0.06, frame),
    ]
    if dice.chance(0.7):
        words.add("has pillow")
        white = Material(PLAIN, dice.colour("white"), (1, 1, 1))
        for x in (-0.5, 0.5):
            parts.append(Part(ELLIPSOID, (x * hx, 0.53, -hz + 0.33), (hx * 0.42, 0.11, 0.2), white))
    return Model(parts, hx, hz, words)


def _cart(dice: Dice) -> Model:
    words = {"has wheels", "has handle"}
    tray = _cloth(dice, words, 0.15)
    frame = _metal(dice)
    hx, hz, height = dice.between(0.28, 0.36), dice.between(0.4, 0.55), dice.between(0.55, 0.75)
    rubber = Material(PLAIN, (0.06, 0.06, 0.07), (0.06, 0.06, 0.07))
    parts = [_box(0, 0.24, 0, hx, 0.05, hz, tray), _box(0, height, 0, hx, 0.05, hz, tray)]
    parts += [
        part._replace(centre=(part.centre[0], height / 2 + 0.1, part.centre[2]))
        for part in _legs(hx, hz, height - 0.2, 0.035, frame)
    ]
    parts += _wheels(hx - 0.02, hz, 0.12, rubber)
    parts += [_box(side * hx * 0.8, height + 0.2, -hz, 0.035, 0.2, 0.035, frame) for side in (-1, 1)]
    parts.append(Part(CAN, (0, height + 0.4, -hz), (0.045, hx, 0.045), frame, lying=True))
    return Model(parts, hx, hz, words)


def _stool(dice: Dice) -> Model:
    words = {"has legs", "round"}
    seat = _wood(dice, words) if dice.chance(0.4) else _cloth(dice, words, 0.2)
    radius, height = dice.between(0.2, 0.26), dice.between(0.5, 0.7)
    frame = _metal(dice)
    parts = [_can(0, height, 0, radius, 0.06, seat), _can(0, 0.2, 0, radius * 0.8, 0.025, frame)]
    return Model(parts + _legs(radius * 0.8, radius * 0.8, height, 0.035, frame), radius, radius, words)


FACTORIES: tuple[Callable[[Dice], Model], ...] = (
    _chair,
    _table,
    _parcel,
    _cabinet,
    _ball,
    _lamp,
    _plant,
    _bed,
    _cart,
    _stool,
)
