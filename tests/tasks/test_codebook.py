"""The codebook of normals: k-means, triangles, coding and decoding against slow loops and hand-worked cases."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.spatial import ConvexHull

from mtlbench.contracts import Sample
from mtlbench.errors import UserError
from mtlbench.tasks import _codebook
from mtlbench.tasks._codebook import Codebook, normalise, spherical_kmeans, spherical_median, triangulate
from mtlbench.tasks.normals import Normals
from mtlbench.vision.metrics import angular_errors
from tests.support.normals import facing

IMAGE = np.zeros((40, 40, 3), dtype=np.uint8)


def codebook_of(seed: int) -> Codebook:
    """Seed 0: what `fit` finds in normals of all directions; others: 20 random codes."""
    if seed:
        return Codebook(facing(np.random.default_rng(seed), 20))
    train = [Sample(IMAGE, {"normals": facing(np.random.default_rng(i), 40, 40)}) for i in range(8)]
    return Codebook(np.array(Normals.fit((), train)["codebook"]))


def along(codes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The direction of a mix of codes."""
    return normalise(weights @ codes).astype(np.float32)


def test_codebook_is_plain_repeatable_and_unit_length() -> None:
    codebook = codebook_of(0)
    assert np.allclose(np.linalg.norm(codebook.codes.numpy(), axis=1), 1)
    train = [Sample(IMAGE, {"normals": facing(np.random.default_rng(i), 40, 40)}) for i in range(8)]
    facts = Normals.fit((), train)
    assert json.loads(json.dumps(facts)) == facts
    assert np.array_equal(Normals((), facts).codebook.codes, codebook.codes)
    # 20 codes over the hemisphere: no normal is far from its code
    nearest = (facing(np.random.default_rng(99), 5000) @ codebook.codes.numpy().T).max(axis=1)
    assert np.degrees(np.arccos(nearest.min())) < 35
    assert np.degrees(np.arccos(np.minimum(nearest, 1))).mean() < 15


def test_kmeans_finds_separate_bundles() -> None:
    rng = np.random.default_rng(0)
    # 5 bundles of very different sizes, 40 degrees and more apart
    centres = normalise(np.array([[0, 0, 1], [1, 0, 0.2], [-1, 0, 0.2], [0, 1, 0.2], [0, -1, 0.2]], dtype=float))
    sizes = [1000, 500, 100, 50, 20]
    vectors = normalise(np.repeat(centres, sizes, axis=0) + rng.normal(0, 0.02, (sum(sizes), 3)))
    codes = spherical_kmeans(vectors, 5, rng)
    assert np.degrees(np.arccos(np.minimum((centres @ codes.T).max(axis=1), 1))).max() < 1


def test_codebook_ignores_invalid_pixels_and_asks_for_enough_normals() -> None:
    label = np.zeros((30, 30, 3), dtype=np.float32)
    with pytest.raises(UserError, match="0 different normals"):
        Normals.fit((), [Sample(IMAGE, {"normals": label}), Sample(IMAGE, {})])
    label[0, :25] = facing(np.random.default_rng(0), 25)
    codes = np.array(Normals.fit((), [Sample(IMAGE, {"normals": label})])["codebook"])
    assert (np.linalg.norm(codes, axis=1) > 0.99).all()


@pytest.mark.parametrize("seed", range(10))
def test_triangles_are_the_convex_hull_of_the_codes_less_those_that_face_away(seed: int) -> None:
    codes = facing(np.random.default_rng(seed), 20).astype(np.float64)
    hull = ConvexHull(codes)
    # a facet is seen from (0, 0, -1) when that point is on its outer side
    facing_camera = hull.equations @ np.array([0, 0, -1, 1.0]) < 0
    expected = {frozenset(facet.tolist()) for facet in hull.simplices[facing_camera]}
    assert {frozenset(triangle.tolist()) for triangle in triangulate(codes)} == expected
    assert len(expected) > 20


def test_codes_on_one_arc_are_a_user_error() -> None:
    angle = np.linspace(-1, 1, 20)
    with pytest.raises(UserError, match="arc"):
        triangulate(np.stack([np.sin(angle), 0 * angle, np.cos(angle)], axis=1))


def test_decoding_is_exact_inside_the_cover() -> None:
    """A normal's three barycentric weights as probabilities give the normal back (Ladicky et al.)."""
    codebook = codebook_of(0)
    codes = codebook.codes.numpy().astype(np.float64)
    checked = 0
    for normal in facing(np.random.default_rng(5), 300).astype(np.float64):
        for triangle in codebook.triangles:
            weights = np.linalg.solve(codes[triangle].T, normal)
            if (weights > 1e-6).all():
                probability = np.zeros((1, 20), dtype=np.float32)
                probability[0, triangle] = weights / weights.sum()
                np.testing.assert_allclose(codebook.decode(torch.from_numpy(probability))[0], normal, atol=1e-5)
                checked += 1
    assert 100 < checked <= 300  # each normal lies in one triangle at most


def test_decoding_agrees_with_a_loop_over_triangles() -> None:
    codebook = codebook_of(0)
    probability = torch.randn(50, 20, generator=torch.Generator().manual_seed(0)).softmax(dim=1)
    for row, decoded in zip(probability.numpy(), codebook.decode(probability).numpy(), strict=True):
        best = max(codebook.triangles, key=lambda t: row[t].sum())
        mixed = sum(row[k] * codebook.codes[k].numpy() for k in best)
        np.testing.assert_allclose(decoded, mixed / np.linalg.norm(mixed), atol=1e-5)


def test_spherical_median_beats_a_fine_grid_of_constants() -> None:
    rng = np.random.default_rng(3)
    vectors = normalise(rng.normal(size=(500, 3)) * [1, 0.5, 0.3] + [0.3, 0.2, 1.0])
    grid = facing(rng, 20_000)
    median = spherical_median(vectors, np.array([1.0, 0, 0]))
    best = np.arccos(np.clip(grid @ vectors.T, -1, 1)).mean(axis=1).min()
    assert np.arccos(np.clip(vectors @ median, -1, 1)).mean() <= best


def slow_weights(codebook: Codebook, normal: np.ndarray) -> np.ndarray | None:
    """`K` weights by solving a 3 x 3 system a triangle in double precision; None outside all triangles."""
    codes = normalise(codebook.codes.numpy().astype(np.float64))
    for triangle in codebook.triangles:
        weights = np.linalg.solve(codes[triangle].T, normal.astype(np.float64))
        if (weights >= 0).all():
            found = np.zeros(len(codes))
            found[triangle] = weights / weights.sum()
            return found
    return None


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_coding_agrees_with_solving_every_triangle(seed: int) -> None:
    """The weights are not negative, sum to 1, and belong to the corners of the triangle around the normal."""
    codebook = codebook_of(seed)
    normals = facing(np.random.default_rng(7), 400)
    encoded = codebook.encode(torch.from_numpy(normals)).numpy()
    covered = codebook.mix(torch.from_numpy(normals))[2].numpy()
    assert encoded.shape == (400, 20) and (encoded >= 0).all() and ((encoded > 0).sum(axis=1) <= 3).all()
    np.testing.assert_allclose(encoded.sum(axis=1), 1, atol=1e-6)
    for normal, row, inside in zip(normals, encoded, covered, strict=True):
        expected = slow_weights(codebook, normal)
        assert inside == (expected is not None)
        if expected is not None:
            np.testing.assert_allclose(row, expected, atol=2e-5)
    assert 150 < covered.sum() < 400


@pytest.mark.parametrize("seed", range(6))
def test_coding_is_exact_to_a_hundredth_of_a_degree_inside_the_cover(seed: int) -> None:
    codebook = codebook_of(seed)
    normals = facing(np.random.default_rng(100 + seed), 100_000)
    decoded = codebook.decode(codebook.encode(torch.from_numpy(normals))).numpy()
    covered = codebook.mix(torch.from_numpy(normals))[2].numpy()
    errors = angular_errors(decoded.astype(np.float64), normalise(normals.astype(np.float64)))
    assert errors[covered].max() < 0.01
    assert 0.4 < covered.mean() < 1 and errors[~covered].max() > 0.01


@pytest.mark.parametrize("seed", range(6))
def test_weights_of_normals_on_edges_and_corners_are_never_negative(seed: int) -> None:
    """Rounding leaves a little below 0 there; a probability must not be."""
    codebook = codebook_of(seed)
    codes = codebook.codes[torch.from_numpy(codebook.triangles)]
    normals = torch.cat([codes[:, 0], torch.nn.functional.normalize(codes[:, 0] + codes[:, 1], dim=1)])
    encoded = codebook.encode(normals)
    assert float(encoded.min()) == 0 and codebook.mix(normals)[2].all()
    assert angular_errors(codebook.decode(encoded).double().numpy(), normals.double().numpy()).max() < 0.01


@pytest.mark.parametrize("seed", [0, 3])
def test_a_normal_outside_the_cover_becomes_the_nearest_covered_direction(seed: int) -> None:
    """Against a fine sample of all edges, of which the border is a part and the nearest to normals outside."""
    codebook = codebook_of(seed)
    normals = facing(np.random.default_rng(8), 600)
    outside = normals[~codebook.mix(torch.from_numpy(normals))[2].numpy()]
    decoded = codebook.decode(codebook.encode(torch.from_numpy(outside))).numpy()
    codes = codebook.codes.numpy().astype(np.float64)
    edges = np.concatenate([codebook.triangles[:, pair] for pair in ([0, 1], [1, 2], [2, 0])])
    share = np.linspace(0, 1, 400)[:, None, None]
    sampled = normalise(share * codes[edges[:, 0]] + (1 - share) * codes[edges[:, 1]]).reshape(-1, 3)
    nearest = np.degrees(np.arccos(np.clip((outside @ sampled.T).max(axis=1), -1, 1)))
    found = angular_errors(decoded.astype(np.float64), outside.astype(np.float64))
    np.testing.assert_allclose(found, nearest, atol=0.05)
    hard = np.degrees(np.arccos(np.clip((outside @ codes.T).max(axis=1), -1, 1)))
    assert (found <= hard + 0.01).all() and found.mean() < 0.8 * hard.mean()


def test_coding_by_hand() -> None:
    """Four codes around the view axis (right, up, left, down) make two triangles."""
    codes = normalise(np.array([[1, 0, 1], [0, 1, 1], [-1, 0, 1], [0, -1.5, 1]], dtype=np.float64))
    codebook = Codebook(codes)
    assert len(codebook.triangles) == 2
    towards = np.array([0.0, 0, 1])
    edge, face = along(codes, np.array([1, 3, 0, 0])), along(codes, np.array([1, 1, 0, 0]))
    # beyond the middle of the edge between the first two
    beyond = normalise(face + 0.3 * np.array([1, 1, 0])).astype(np.float32)
    far = normalise(np.array([0, -1, 0.1])).astype(np.float32)  # beyond the last code
    normals = torch.from_numpy(np.stack([codes[0], edge, beyond, far, towards]).astype(np.float32))
    encoded = codebook.encode(normals).numpy()
    expected = [[1, 0, 0, 0], [0.25, 0.75, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose(encoded[:4], expected, atol=1e-5)
    np.testing.assert_allclose(along(codes, encoded[4]), towards, atol=1e-6)
    assert codebook.mix(normals)[2].tolist() == [True, True, False, False, True]


def test_nearest_code_decoding() -> None:
    codebook = codebook_of(0)
    probability = torch.full((3, 20), 0.03)
    probability[[0, 1, 2], [4, 19, 0]] = 0.43
    assert torch.equal(codebook.decode_nearest(probability), codebook.codes[[4, 19, 0]])


def test_pixels_are_coded_alike_however_many_come_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    codebook = codebook_of(0)
    normals = torch.from_numpy(facing(np.random.default_rng(9), 100))
    probability = torch.randn(100, 20, generator=torch.Generator().manual_seed(0)).softmax(dim=1)
    encoded, decoded = codebook.encode(normals), codebook.decode(probability)
    monkeypatch.setattr(_codebook, "CPU_CHUNK", 7)
    torch.testing.assert_close(codebook.encode(normals), encoded)
    torch.testing.assert_close(codebook.decode(probability), decoded)
    assert codebook.encode(normals[:0]).shape == (0, 20) and codebook.decode(probability[:0]).shape == (0, 3)


def test_codes_on_a_great_circle_are_a_user_error() -> None:
    """Seen from the pole they make triangles, but these are flat."""
    angle = np.arange(20) * 2 * np.pi / 20
    with pytest.raises(UserError, match="arc"):
        Codebook(np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1))
