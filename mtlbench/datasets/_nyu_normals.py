"""Surface normals: from depth by robust plane fits, as bytes in files, and what their axes mean."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

VERSION = 1  # raised whenever the normals change
# All ours: the best angles to the published maps of NYU-v2's frames 433 and 1 among values around these. Nine pixels is
# also how far the windows of the NYU toolbox reach.
RADIUS, STEP = 9, 2  # a window reaches so many pixels each way and takes every second of them
NEAR = 0.04  # 1/m: points whose inverse depth differs so much from the centre's do not count in the first fit
CLOSE = 0.015  # 1/m: nor do those in the second fit that are so far from the first
ENOUGH = 0.5  # share of a window's weight below which there is no plane
ROWS = 8  # worked on together, so that what is summed stays in the processor's cache
SHORTEST = 0.5  # length of a decoded vector below which it is no normal: (127, 127, 127) marks invalid pixels
NOTHING = 1e4  # inverse depth where there is none: further from everything than NEAR
AXIS = {"left": (0, 1), "right": (0, -1), "up": (1, 1), "down": (1, -1), "towards": (2, 1), "in": (2, -1)}
FOCAL = 518.86 / 640  # focal length over image width, from the toolbox's camera_params.m
CHECKED_STEP = 4  # every fourth row and column tells of the axes
ENOUGH_FLOOR = 100  # such pixels from which the floor's direction counts
FACING, CLEARLY = 0.9, 0.02  # share of normals that must face the camera; the lead of another convention that matters


def normals_from_depth(depth: np.ndarray, focal: tuple[float, float], centre: tuple[float, float]) -> np.ndarray:
    """Unit normals `H W 3` float32 (x left, y up, z towards the camera) of a depth map `H W` in metres.

    Zero where the depth is missing (0, NaN, infinite) or no plane fits. `focal` (x, y) and `centre` (column, row;
    0 = centre of pixel 0) are in pixels. Over a plane, inverse depth is linear in column and row, and a depth camera
    has the same error everywhere in inverse depth (that of depth grows with depth^2: Khoshelham and Elberink
    2012). So a fit is a weighted linear regression of inverse depth; Tukey's biweight of the difference to the centre,
    then of the distance to the first fit, leaves out other surfaces in the window. Method and constants: ours.
    """
    height, width = depth.shape
    good = np.isfinite(depth) & (depth > 0)
    inverse = np.full((height + 2 * RADIUS, width + 2 * RADIUS), NOTHING, np.float32)
    inverse[RADIUS : RADIUS + height, RADIUS : RADIUS + width][good] = 1 / depth[good]
    offsets = np.arange(-RADIUS, RADIUS + 1, STEP, dtype=np.float32)
    down, right = (grid.ravel() for grid in np.meshgrid(offsets, offsets, indexing="ij"))
    powers = np.stack([np.ones_like(down), right, down, right * right, right * down, down * down])
    side = 2 * RADIUS + 1
    result = np.zeros((height, width, 3), np.float32)
    for top in range(0, height, ROWS):
        rows = slice(top, min(top + ROWS, height))
        strip = inverse[top : rows.stop + 2 * RADIUS]
        windows = np.lib.stride_tricks.sliding_window_view(strip, (side, side))[:, :, ::STEP, ::STEP]
        own = strip[RADIUS:-RADIUS, RADIUS:-RADIUS].ravel()
        around = windows.transpose(2, 3, 0, 1).reshape(len(down), -1) - own  # K P
        first, _ = _fit_planes(around, around, NEAR, powers)
        (to_right, downwards, level), share = _fit_planes(around, around - powers[[1, 2, 0]].T @ first, CLOSE, powers)
        row, column = np.mgrid[rows, :width].reshape(2, -1)
        towards = own + level + to_right * (centre[0] - column) + downwards * (centre[1] - row)
        normals = np.stack([to_right * focal[0], downwards * focal[1], towards], axis=1)
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        normals[(share < ENOUGH) | ~good[rows].ravel() | (np.abs(level) > CLOSE)] = 0
        result[rows] = normals.reshape(-1, width, 3)
    return result


def has_normals(depth: np.ndarray, focal: tuple[float, float], centre: tuple[float, float]) -> bool:
    """Whether `normals_from_depth` finds any; quick where there are some in the middle."""
    height, width = depth.shape
    top, left = height * 7 // 16, width * 7 // 16
    middle = depth[top : height - top, left : width - left]
    return bool(
        normals_from_depth(middle, focal, (centre[0] - left, centre[1] - top)).any()
        or normals_from_depth(depth, focal, centre).any()
    )


def decode(codes: np.ndarray) -> np.ndarray:
    """`H W 3` uint8, v = 127.5 + 127.5 n, as unit vectors float32; zero where invalid."""
    vectors = codes.astype(np.float32)
    vectors -= 127.5
    length = np.sqrt(np.einsum("hwc,hwc->hw", vectors, vectors))
    vectors *= np.where(length > 127.5 * SHORTEST, 1 / np.maximum(length, SHORTEST), 0)[..., None]
    return vectors


def encode(normals: np.ndarray) -> np.ndarray:
    """Unit or zero vectors `H W 3` as uint8, (127, 127, 127) where zero."""
    codes = np.rint(127.5 + 127.5 * normals).astype(np.uint8)
    codes[~normals.any(axis=2)] = 127
    return codes


def find_valid(codes: np.ndarray) -> np.ndarray:
    """Which pixels `H W` of coded normals `decode` does not make zero."""
    return np.asarray(decode(codes).any(axis=2))


def list_conventions() -> list[str]:
    """All 48 meanings that three channels can have, such as `left-up-towards`."""
    pairs = (("left", "right"), ("up", "down"), ("towards", "in"))
    return ["-".join(words) for order in itertools.permutations(pairs) for words in itertools.product(*order)]


def turn(vectors: np.ndarray, axes: str) -> np.ndarray:
    """Vectors `... 3` in the convention `axes`, brought to x left, y up, z towards the camera."""
    result = np.empty_like(vectors)
    for channel, word in enumerate(axes.split("-")):
        axis, sign = AXIS[word]
        result[..., axis] = sign * vectors[..., channel]
    return result


def turn_codes(codes: np.ndarray, axes: str) -> np.ndarray:
    """Coded normals `H W 3` uint8 in the convention `axes`, brought to x left, y up, z towards the camera."""
    invalid = ~find_valid(codes)
    result = np.empty_like(codes)
    for channel, word in enumerate(axes.split("-")):
        axis, sign = AXIS[word]
        result[..., axis] = codes[..., channel] if sign > 0 else 255 - codes[..., channel]
    result[invalid] = 127
    return result


def evidence_of_axes(codes: np.ndarray, floor: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every few valid pixels of coded normals: the vector `N 3` as stored, view ray `N 3`, whether floor `N`."""
    vectors, floor = decode(codes[::CHECKED_STEP, ::CHECKED_STEP]), floor[::CHECKED_STEP, ::CHECKED_STEP]
    known = vectors.any(axis=2)
    return vectors[known], view_rays(*known.shape)[known], floor[known]


def wrong_axes(evidence: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], chosen: str) -> list[str]:
    """What is wrong with reading normals as `chosen`, in at most one line; `evidence` is from `evidence_of_axes`.

    A surface that is seen faces the camera along its own ray, which also tells left from right; floors point up.
    """
    vectors, rays, floor = (np.concatenate(parts) for parts in zip(*evidence, strict=True))
    if not len(vectors):
        return []
    scores = {}
    for axes in list_conventions():
        scores[axes] = float(((turn(vectors, axes) * rays).sum(axis=1) < 0).mean())
        if floor.sum() >= ENOUGH_FLOOR and turn(vectors[floor], axes)[:, 1].mean() < 0.5:
            scores[axes] = 0.0
    best = max(scores, key=lambda axes: scores[axes])
    if scores[best] < FACING:
        return [
            "nyuv2: under no order of axes do the normals face the camera and floors point up; store them as "
            "v = 127.5 + 127.5 n"
        ]
    if scores[chosen] < max(FACING, scores[best] - CLEARLY):
        return [
            f"nyuv2: the normals are not {chosen} ({scores[chosen]:.0%} face the camera with floors up, "
            f"{scores[best]:.0%} under another reading); try --data-option axes={best}"
        ]
    return []


def view_rays(height: int, width: int) -> np.ndarray:
    """Directions `H W 3` in which NYU's camera looks through the pixels (x left, y up, z towards the camera)."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    return np.stack([width / 2 - columns, height / 2 - rows, np.full_like(rows, -FOCAL * width)], axis=2)


def _fit_planes(
    around: np.ndarray, distance: np.ndarray, scale: float, powers: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted planes through `around` `K P`: slope to the right, slope downwards and level at the centres, `3 P`; and
    the share of weight `P` that each rests on. `distance` `K P` over `scale` says what counts; `powers` `6 K` are
    1 r d rr rd dd of the K offsets."""
    weights = distance * np.float32(1 / scale)
    weights *= weights
    np.subtract(1, weights, out=weights)
    np.maximum(weights, 0, out=weights)
    weights *= weights
    w, wr, wd, wrr, wrd, wdd = powers @ weights
    wz, wrz, wdz = powers[:3] @ (weights * around)
    total = np.maximum(w, np.float32(1e-6))
    r, d, z = wr / total, wd / total, wz / total
    rr, rd, dd = wrr / total - r * r, wrd / total - r * d, wdd / total - d * d
    rz, dz = wrz / total - r * z, wdz / total - d * z
    determinant = np.maximum(rr * dd - rd * rd, np.float32(1e-3))
    to_right, downwards = (rz * dd - dz * rd) / determinant, (dz * rr - rz * rd) / determinant
    return np.stack([to_right, downwards, z - to_right * r - downwards * d]), w / powers.shape[1]
