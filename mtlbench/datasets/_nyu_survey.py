"""Whether labels, depths, lists and camera of NYU-v2 are in the conventions that the reader takes them to be in.

Each wrong one is a line that names the convention that would make it right. Thresholds are ours: on some 60 frames of
four copies of the data (two at half size) floors lie at .83 of the height on average, ceilings at .09 to .14, the class
before and the one after floor at .32 to .59; a frame's median depth is 1.4 to 5.1 m, all depth .7 to 10 m.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

FLOOR, CEILING = 2, 22  # as stored: 1..40, 0 unlabelled
LOW, HIGH = 0.7, 0.35  # floors lie below the one, ceilings above the other, in heights of the image from its top
SHIFTS = {-1: "0..39 with void 40 or 255: add 1, and make void 0", 1: "2..41 with void 1: take away 1"}
FEWEST = 8  # frames from which there is anything to tell
NEAREST, FURTHEST = 0.3, 11.0  # metres
USUAL = (1.0, 6.0)  # metres: the median over frames of their median depth
# Other units, and what turns the reader's metres into real ones: it takes images for millimetres, a .mat for metres.
IMAGE_UNITS = {"centimetres": 10.0, "1/5000 m": 0.2}
MAT_UNITS = {"millimetres": 0.001, "centimetres": 0.01}
OFFICIAL_FRAMES = 1449
# Which frames are of the official test list, a bit each, frame 1 first (splits.mat of Gupta et al. 2013).
OFFICIAL_TEST = (
    "1810f903fffcc037c003c3fc000001c1f790001c0077e3fffff87e03800000080020707f003f80e701ffc00067fe00003f87"
    "00078000fc1fe000f9ff00000003f7ff871c01c7fffc07c07807c31f001f830c3863f3f0f99c0ff183e78060007ffffffc00"
    "3e0f81c01fff8e1f81c00000000e01c0e3c01c0079cff0007c1e0e01c038c033180007fe3fefef01c7fc603fff8fcce7e03e"
    "1ffe3e0f9c0078fff007e1ffdcfe0c001e7e071e0330003fcff07f81e0f01ff"
)


@dataclass
class Heights:
    """Where the pixels of one stored label lie: their number, and the sum of their heights, 0 at the top to 1."""

    pixels: int = 0
    total: float = 0.0
    frames: int = 0

    def add(self, mask: np.ndarray) -> None:
        """The pixels `H W` of one frame."""
        rows = mask.sum(axis=1)
        self.pixels += int(rows.sum())
        self.total += float((rows * (np.arange(len(rows)) + 0.5)).sum()) / len(rows)
        self.frames += bool(rows.any())

    @property
    def mean(self) -> float:
        """NaN where there are no such pixels."""
        return self.total / self.pixels if self.pixels else float("nan")


@dataclass
class LabelSurvey:
    """The heights at which floors and ceilings lie, for the right numbering of classes and those beside it."""

    floors: dict[int, Heights] = field(default_factory=lambda: {shift: Heights() for shift in (0, *SHIFTS)})
    ceilings: dict[int, Heights] = field(default_factory=lambda: {shift: Heights() for shift in (0, *SHIFTS)})
    frames: int = 0
    largest: int = 0  # label as stored in a .mat, before the 894 become 40

    def add(self, classes: np.ndarray, largest: int = 0) -> None:
        """The classes `H W` of a frame, 0..39 and 255 unlabelled; `largest` label of a .mat."""
        stored = classes + np.uint8(1)  # 255 wraps round to 0
        for shift in self.floors:
            self.floors[shift].add(stored == FLOOR + shift)
            self.ceilings[shift].add(stored == CEILING + shift)
        self.frames += 1
        self.largest = max(self.largest, largest)

    def wrong(self) -> str:
        """What is wrong with the numbering, and what would make it right; empty where floors lie low."""
        if self.frames >= FEWEST and 0 < self.largest <= 40:
            return (
                f"labels are 0..{self.largest}, so that they hold 40 classes already; take the original file, whose "
                "labels are 0..894"
            )
        if (self.floors[0].frames < FEWEST and not any(self._fits(shift) for shift in SHIFTS)) or self._fits(0):
            return ""
        for shift, convention in SHIFTS.items():
            if self._fits(shift):
                return f"labels look like {convention} (now floors lie at {self.floors[0].mean:.0%} of the height)"
        if self.floors[0].mean < LOW - 0.1:
            return (
                f"floors lie at {self.floors[0].mean:.0%} of the height from the top, where 83 % is usual; labels must "
                "be 0 for unlabelled and 1..40 in the order of classMapping40.mat (wall, floor, cabinet ...)"
            )
        return ""

    def _fits(self, shift: int) -> bool:
        floor, ceiling = self.floors[shift], self.ceilings[shift]
        return floor.frames >= FEWEST and floor.mean > LOW and not ceiling.mean > HIGH


@dataclass
class DepthSurvey:
    """The measured depths of some frames, as the reader takes them, in metres."""

    medians: list[float] = field(default_factory=list)
    sample: list[np.ndarray] = field(default_factory=list)  # of pixels

    def add(self, depth: np.ndarray) -> None:
        """The depth `H W` of a frame in metres, 0 where not measured."""
        measured = depth[depth > 0]
        if measured.size:
            self.medians.append(float(np.median(measured)))
            self.sample.append(measured[:: max(1, measured.size // 1000)])

    def wrong(self, of_images: bool) -> str:
        """What is wrong with the unit, and what would make it right; empty where depths are a room's."""
        if len(self.medians) < FEWEST:
            return ""
        depth, unit = np.concatenate(self.sample), "millimetres" if of_images else "metres"
        if _is_plausible(depth, self.medians):
            return ""
        low, high = np.percentile(depth, (1, 99))
        seen = f"depth is {low:.3g} to {high:.3g} m if it is in {unit}"
        for other, times in (IMAGE_UNITS if of_images else MAT_UNITS).items():
            if _is_plausible(depth * times, [median * times for median in self.medians]):
                return f"{seen}; it looks like {other}: multiply it by {times:g}"
        swapped = np.round(depth * 1000).astype(np.uint16).byteswap() / 1000
        if of_images and _is_plausible(swapped, [float(np.median(swapped))]):
            return f"{seen}; it looks as if the two bytes of each pixel are swapped: write the images anew"
        return f"{seen}, where 0.7 to 10 m is usual; write it in {unit}"


def _is_plausible(depth: np.ndarray, medians: Sequence[float]) -> bool:
    inside = ((depth >= NEAREST) & (depth <= FURTHEST)).mean()
    return bool(inside > 0.97 and USUAL[0] <= np.median(medians) <= USUAL[1])


def wrong_camera(centre: tuple[float, float], height: int, width: int) -> str:
    """What is wrong with a camera whose centre (column, row) does not lie near the middle of frames of this size."""
    across, down = (centre[0] + 0.5) / width, (centre[1] + 0.5) / height
    if 0.35 < across < 0.65 and 0.35 < down < 0.65:
        return ""
    times = round(2 * across, 1) if across >= 0.75 else round(1 / max(2 * across, 1e-9), 1)
    of = f"{width * 2 * across:.0f} x {height * 2 * down:.0f}"
    way = f"divide its numbers by {times:g}" if across >= 0.75 else f"multiply its numbers by {times:g}"
    return (
        f"is of frames of about {of} pixels and these have {width} x {height}; {way}, or delete it (then the toolbox's "
        "camera is taken, scaled to the frames)"
    )


def is_counted_from_zero(frames: Mapping[str, Iterable[int]]) -> bool:
    """Whether lists of train and test frames are the official ones, or part of them, with every number one too low."""
    official = f"{int(OFFICIAL_TEST, 16):0{OFFICIAL_FRAMES}b}"

    def agreement(shift: int) -> float:
        right = [
            1 <= number + shift <= OFFICIAL_FRAMES and (official[number + shift - 1] == "1") == (name == "test")
            for name, numbers in frames.items()
            for number in numbers
        ]
        return float(np.mean(right)) if len(right) >= FEWEST else 0.0

    return agreement(1) == 1.0 and agreement(0) < 1.0
