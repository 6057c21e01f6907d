"""Labels near their markers in a crowded panel, that cover neither each other nor markers."""

from __future__ import annotations

import numpy as np

RINGS = (0.0, 4.0, 9.0, 15.0, 22.0, 30.0, 40.0, 52.0, 66.0)  # points between a marker's surroundings and its label


def sample_line(line: np.ndarray) -> np.ndarray:
    """Points along a line, at most 3 points (1/24 inch) apart."""
    lengths = np.hypot(*np.diff(line, axis=0).T)
    travelled = np.concatenate([[0.0], np.cumsum(lengths)])
    stops = np.linspace(0, travelled[-1], int(travelled[-1] / 3) + 2)
    return np.column_stack([np.interp(stops, travelled, line[:, axis]) for axis in (0, 1)])


def place_labels(
    anchors: np.ndarray, sizes: np.ndarray, markers: np.ndarray, lines: np.ndarray, page: np.ndarray
) -> np.ndarray:
    """Centres for labels (N x 2, points) near their anchors, on the page, that cover neither each other nor markers.

    Greedy: each label in turn takes the place that covers least, near ones first, given the places of the others, four
    times over. `lines` are points along drawn lines, better not covered. Ours.
    """
    marker = np.full(markers.shape, 3.5)
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    directions = np.column_stack([np.cos(angles), np.sin(angles)])
    far = np.repeat(RINGS, len(directions))
    options, fixed = [], []  # places of each label, and what each costs whatever the others do
    for anchor, half in zip(anchors, sizes / 2, strict=True):
        choices = np.concatenate([anchor + directions * (half + 4.0 + ring) for ring in RINGS])
        outside = np.maximum(half - choices, 0) + np.maximum(choices + half - page, 0)
        across, up = (np.abs(choices[:, axis, None] - lines[None, :, axis]) < half[axis] for axis in (0, 1))
        crossed = (across & up).sum(axis=1)
        options.append(choices)
        fixed.append(
            far + 3 * crossed + 10 * _measure_cover(choices, half, markers, marker) + 1000 * outside.sum(axis=1)
        )
    places = np.full(anchors.shape, np.inf)  # not placed yet
    for _ in range(4):
        for i in range(len(anchors)):
            others = np.isfinite(places[:, 0]) & (np.arange(len(anchors)) != i)
            covered = _measure_cover(options[i], sizes[i] / 2, places[others], sizes[others] / 2)
            places[i] = options[i][np.argmin(fixed[i] + 10 * covered)]
    return places


def _measure_cover(centres: np.ndarray, half: np.ndarray, others: np.ndarray, halves: np.ndarray) -> np.ndarray:
    """Area that a rectangle around each centre shares with other rectangles, summed over those."""
    reach = half + halves[None] - np.abs(centres[:, None] - others[None])
    shared = np.minimum(np.maximum(reach, 0), 2 * np.minimum(half, halves)[None])
    area: np.ndarray = shared.prod(axis=2).sum(axis=1)
    return area
