"""A codebook of directions for surface normals: k-means, triangles, coding, decoding (Ladicky et al. 2014)."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial import Delaunay, QhullError
from torch import Tensor

from mtlbench.errors import UserError

KMEANS_ROUNDS = 100  # ours, at most
FLAT = 1e-6  # determinant below which three corners span no solid angle
ON_EDGE = -1e-5  # the smallest weight that rounding leaves of 0
ON_ONE_ARC = "normals: the codebook's directions lie on one arc; use more or more varied images"
CPU_CHUNK, GPU_CHUNK = 1 << 13, 1 << 18  # pixels at a time: tables stay near a core's cache, or fill a GPU


class Codebook:
    """Unit vectors (codes) `K 3` and the triangles over them; a normal is a mix of the corners of its triangle.

    Raises UserError for codes on one arc.
    """

    def __init__(self, codes: np.ndarray) -> None:
        codes = normalise(codes.astype(np.float64))
        self.triangles = triangulate(codes)
        self.codes = torch.from_numpy(codes.astype(np.float32))
        self._corner_of = torch.zeros(len(codes), len(self.triangles))
        self._corner_of.scatter_(0, torch.from_numpy(self.triangles).T, 1.0)
        corners = codes[self.triangles]
        solid = np.abs(np.linalg.det(corners)) > FLAT
        if not solid.any():
            raise UserError(ON_ONE_ARC)
        self._solid = torch.from_numpy(self.triangles[solid])
        # a normal times these columns: the weights of every triangle's first, then second, then third corner
        inverse = np.linalg.inv(corners[solid].transpose(0, 2, 1))
        self._to_weights = torch.from_numpy(inverse.transpose(2, 1, 0).reshape(3, -1).astype(np.float32))
        border = _find_border(self.triangles)
        self._border = torch.from_numpy(border)
        self._to_border_weights = torch.from_numpy(np.linalg.pinv(codes[border].transpose(0, 2, 1)).astype(np.float32))

    def nearest(self, normals: Tensor) -> Tensor:
        """`...` index of the code nearest to each normal `... 3`."""
        return (normals @ self.codes.to(normals).T).max(dim=-1).indices

    def mix(self, normals: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Corners `N 3`, their weights `N 3`, and whether triangles cover it `N` bool, of unit normals `N 3`.

        Weights are not negative, have sum 1, and the weighted codes add up to a vector along the normal; outside the
        cover (ours) along the nearest direction on its border, an edge or a code alone.
        """
        parts = [self._inside(part) for part in normals.split(_chunk(normals))]
        corners, weights, covered = (torch.cat(columns) for columns in zip(*parts, strict=True))
        for rows in (~covered).nonzero().squeeze(1).split(_chunk(normals)):
            corners[rows], weights[rows] = self._on_border(normals[rows])
        weights = weights.clamp(min=0)
        return corners, weights / weights.sum(dim=1, keepdim=True), covered

    def _inside(self, normals: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Corners, weights (negative outside), covered: the triangle whose smallest weight is the largest."""
        each = (normals @ self._to_weights.to(normals)).view(len(normals), 3, len(self._solid))
        smallest, best = torch.minimum(torch.minimum(each[:, 0], each[:, 1]), each[:, 2]).max(dim=1)
        weights = each.gather(2, best[:, None, None].expand(-1, 3, 1)).squeeze(2)
        return self._solid.to(normals.device)[best], weights, smallest >= ON_EDGE

    def _on_border(self, normals: Tensor) -> tuple[Tensor, Tensor]:
        """Corners and weights of the border's direction that is nearest: on an edge, or a code alone."""
        border, codes = self._border.to(normals.device), self.codes.to(normals)
        feet = (self._to_border_weights.to(normals) @ normals.T).permute(2, 0, 1)  # N E 2
        to_codes = normals @ codes.T
        # a foot's squared length is its cosine with the normal, squared
        cosine = (feet * to_codes[:, border]).sum(dim=2).clamp(min=0).sqrt()
        cosine = cosine.masked_fill((feet < 0).any(dim=2), -1)
        (on_edge, edge), (at_code, code) = cosine.max(dim=1), to_codes.max(dim=1)
        alone = (at_code >= on_edge)[:, None]
        two = feet.gather(1, edge[:, None, None].expand(-1, 1, 2)).squeeze(1)
        two = torch.where(alone, torch.ones_like(two), two)
        corners = torch.where(alone, code[:, None], border[edge])
        return F.pad(corners, (0, 1)), F.pad(two, (0, 1))

    def encode(self, normals: Tensor) -> Tensor:
        """Weights of all codes `N K` for unit normals `N 3`, see `mix`; `decode` gives covered normals back."""
        corners, weights, _ = self.mix(normals)
        return normals.new_zeros(len(normals), len(self.codes)).scatter_add_(1, corners, weights)

    def decode(self, probability: Tensor) -> Tensor:
        """Unit normals `N 3` from code probabilities `N K`.

        The corners of the triangle with the highest total probability, mixed by their probabilities (Ladicky et al.).
        """
        return torch.cat([self._mix(part) for part in probability.split(_chunk(probability))])

    def _mix(self, probability: Tensor) -> Tensor:
        best = (probability @ self._corner_of.to(probability)).max(dim=1).indices
        corners = torch.from_numpy(self.triangles).to(probability.device)[best]
        mixed = (probability.gather(1, corners)[..., None] * self.codes.to(probability)[corners]).sum(dim=1)
        return F.normalize(mixed, dim=1)

    def decode_nearest(self, probability: Tensor) -> Tensor:
        """The code `N 3` with the highest probability of `N K`."""
        return self.codes.to(probability)[probability.max(dim=1).indices]


def normalise(vectors: np.ndarray) -> np.ndarray:
    """Vectors `... 3` scaled to length 1."""
    scaled: np.ndarray = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return scaled


def spherical_kmeans(vectors: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count 3` unit vectors that are the mean directions of the clusters of unit vectors `N 3` (k-means++ start)."""
    codes: np.ndarray = vectors[rng.integers(len(vectors))][None]
    for _ in range(1, count):
        distance = np.maximum(1 - (vectors @ codes.T).max(axis=1), 0)
        codes = np.concatenate([codes, vectors[rng.choice(len(vectors), p=distance / distance.sum())][None]])
    nearest = np.full(len(vectors), -1)
    for _ in range(KMEANS_ROUNDS):
        similarity = vectors @ codes.T
        previous, nearest = nearest, similarity.argmax(axis=1)
        if (nearest == previous).all():
            break
        sums = np.stack([np.bincount(nearest, weights=axis, minlength=count) for axis in vectors.T], axis=1)
        empty = np.linalg.norm(sums, axis=1) < 1e-9
        if empty.any():  # an empty cluster starts again at the vectors that are represented worst
            sums[empty] = vectors[np.argsort(similarity.max(axis=1), kind="stable")[: int(empty.sum())]]
        codes = normalise(sums)
    return codes


def triangulate(codes: np.ndarray) -> np.ndarray:
    """Delaunay triangles `T 3` (indices) over unit vectors `N 3` on the sphere.

    Ours: planar Delaunay after the stereographic projection from (0, 0, -1). The projection keeps circles, so these are
    the spherical Delaunay triangles, less those around the direction that points away from the camera.
    """
    plane = codes[:, :2] / np.maximum(1 + codes[:, 2:], 1e-6)
    try:
        triangles: np.ndarray = Delaunay(plane).simplices.astype(np.int64)
    except QhullError as error:
        raise UserError(ON_ONE_ARC) from error
    return triangles


def spherical_median(vectors: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The direction `3` with the lowest mean angle to unit vectors `N 3` (Weiszfeld's iteration on the sphere)."""
    direction = start.astype(np.float64)
    for _ in range(30):
        cosine = np.clip(vectors @ direction, -1, 1)
        angle = np.maximum(np.arccos(cosine), 1e-3)
        tangent = (vectors - cosine[:, None] * direction) / np.maximum(np.sin(angle), 1e-3)[:, None]
        direction = normalise(direction + tangent.sum(axis=0) / (1 / angle).sum())
    return direction


def _find_border(triangles: np.ndarray) -> np.ndarray:
    """The edges `E 2` that belong to one triangle only."""
    edges = np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    distinct, times = np.unique(edges, axis=0, return_counts=True)
    once: np.ndarray = distinct[times == 1]
    return once


def _chunk(pixels: Tensor) -> int:
    return GPU_CHUNK if pixels.is_cuda else CPU_CHUNK
