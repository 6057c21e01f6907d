"""Normals from depth: exact on planes, sharp at edges, zero where nothing is known; close to published maps."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mtlbench.datasets._nyu_files import cut_to_camera, read_camera
from mtlbench.datasets._nyu_normals import decode, encode, find_valid, has_normals, normals_from_depth, turn, turn_codes
from tests.support.places import REAL_DATA

HEIGHT, WIDTH, FOCAL, CENTRE = 120, 160, (130.0, 131.0), (81.0, 62.0)
WALL, FLOOR = np.array([0.0, 0, 1]), np.array([0.0, 1, 0])


def plane(normal: np.ndarray, distance: float) -> np.ndarray:
    """Depth `H W` of the plane at `distance` metres whose normal (x left, y up, z towards) is `normal`."""
    row, column = np.mgrid[:HEIGHT, :WIDTH]
    right, down = (column - CENTRE[0]) / FOCAL[0], (row - CENTRE[1]) / FOCAL[1]
    away = -normal[0] * right - normal[1] * down - normal[2]  # along the ray of depth 1
    return np.where(away < -1e-3, -distance / np.minimum(away, -1e-3), 0).astype(np.float32)


def angles(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Degrees between vectors, where both are known."""
    both = found.any(axis=-1) & truth.any(axis=-1)
    return np.degrees(np.arccos(np.clip((found * truth).sum(axis=-1)[both], -1, 1)))


@pytest.mark.parametrize("normal", [(0, 0, 1), (0.6, 0, 0.8), (0, -0.4, 0.9), (0.5, 0.5, 0.7)])
def test_tilted_planes_are_exact(normal: tuple[float, float, float]) -> None:
    truth = np.array(normal) / np.linalg.norm(normal)
    found = normals_from_depth(plane(truth, 2), FOCAL, CENTRE)
    assert found.dtype == np.float32 and found[12:-12, 12:-12].any(axis=2).mean() > 0.95
    assert angles(found, np.broadcast_to(truth, found.shape)).max() < 0.5
    assert np.linalg.norm(found, axis=2)[found.any(axis=2)] == pytest.approx(1, abs=1e-5)


def test_floors_point_up_walls_face_the_camera_and_noise_is_borne() -> None:
    floor, wall = plane(FLOOR, 0.8), plane(WALL, 3)
    depth = np.where((floor > 0) & (floor < 3), floor, wall)
    depth += np.random.default_rng(0).normal(0, 1e-3, depth.shape).astype(np.float32) * depth**2
    found = normals_from_depth(depth, FOCAL, CENTRE)
    edge = int(np.argmax((floor < 3)[:, 80] & (floor > 0)[:, 80]))
    assert np.median(angles(found[: edge - 3], np.broadcast_to(WALL, found[: edge - 3].shape))) < 3
    assert np.median(angles(found[edge + 3 : -5], np.broadcast_to(FLOOR, found[edge + 3 : -5].shape))) < 3


def test_a_step_in_depth_does_not_smear() -> None:
    tilted = np.array([0.6, 0, 0.8])
    depth = plane(WALL, 4)
    depth[:, 80:] = plane(tilted, 1.2)[:, 80:]
    found = normals_from_depth(depth, FOCAL, CENTRE)
    inside = slice(12, -12)
    assert found[inside, 12:-12].any(axis=2).mean() > 0.9  # up to the edge
    assert angles(found[:, :77], np.broadcast_to(WALL, (HEIGHT, 77, 3))).max() < 1
    assert angles(found[:, 83:], np.broadcast_to(tilted, (HEIGHT, WIDTH - 83, 3))).max() < 1


@pytest.mark.parametrize("nothing", [0.0, np.nan, np.inf, -1.0])
def test_missing_depth_gives_zero_and_harms_no_neighbour(nothing: float) -> None:
    depth = plane(WALL, 2)
    depth[40:60, 50:90] = nothing
    found = normals_from_depth(depth, FOCAL, CENTRE)
    assert not found[40:60, 50:90].any() and np.isfinite(found).all()
    assert found[20:36, 20:140].any(axis=2).all() and angles(found, np.broadcast_to(WALL, found.shape)).max() < 0.1


def test_no_plane_no_normal() -> None:
    noise = np.random.default_rng(0).uniform(0.5, 5, (HEIGHT, WIDTH)).astype(np.float32)
    assert not has_normals(noise, FOCAL, CENTRE) and not has_normals(np.zeros_like(noise), FOCAL, CENTRE)
    hidden = noise.copy()
    hidden[:40] = plane(WALL, 2)[:40]  # away from the middle, where it is looked for first
    assert has_normals(hidden, FOCAL, CENTRE) and has_normals(plane(WALL, 2), FOCAL, CENTRE)


def test_the_camera_matters_as_a_rotation_by_its_ray() -> None:
    """Moving the centre of projection turns a plane's normal: what is flat to one camera is a slant to the other."""
    depth = plane(np.array([0.6, 0, 0.8]), 2)
    found = normals_from_depth(depth, FOCAL, (CENTRE[0] + 20, CENTRE[1]))
    expected = np.array([0.3, 0, 0.4 + 0.3 * 20 / FOCAL[0]])  # since 1/depth = (0.6 right + 0.8) / 2
    assert angles(found, np.broadcast_to(expected / np.linalg.norm(expected), found.shape)).max() < 0.5


def test_bytes_keep_normals_and_what_is_invalid() -> None:
    vectors = np.random.default_rng(0).normal(size=(20, 30, 3))
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    vectors[:5] = 0
    codes = encode(vectors)
    assert (codes[:5] == 127).all() and not decode(codes)[:5].any() and (find_valid(codes)[5:]).all()
    assert angles(decode(codes), vectors).max() < 0.5 and len(angles(decode(codes), vectors)) == 15 * 30
    for axes in ("right-in-up", "right-down-in", "left-up-towards"):
        assert np.array_equal(decode(turn_codes(codes, axes)), turn(decode(codes), axes))
        assert (turn_codes(codes, axes)[:5] == 127).all()


@pytest.mark.skipif(not (REAL_DATA / "nyuv2_published").is_dir(), reason="no published maps here")
def test_close_to_a_published_map() -> None:
    """Frame 433 with the depth that came with the map; its axes are x right, y into the scene, z up."""
    folder = REAL_DATA / "nyuv2_published"
    depth = np.asarray(Image.open(folder / "drsleep_00433_depth.png")).astype(np.float32) / 5000
    codes = np.asarray(Image.open(folder / "drsleep_00433_normal.png").convert("RGB"))
    found = normals_from_depth(cut_to_camera(depth), *read_camera(REAL_DATA / "nyuv2", *depth.shape))
    apart = angles(found, turn(decode(codes), "right-in-up"))
    assert apart.mean() < 4.2 and np.median(apart) < 2.4 and len(apart) > 0.6 * depth.size
