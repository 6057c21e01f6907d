"""The windows of `rooms` in which objects are looked for, the same in all images ("Ours")."""

from __future__ import annotations

import numpy as np


def choose_windows(boxes: np.ndarray, size: int, count: int) -> np.ndarray:
    """`count` windows `P 4` that together cover most boxes (`N 4`) at IoU >= 0.5: greedy choice from a dense grid.

    The grid has 8 widths x 8 heights from an eighth of the image to all of it, a quarter of a window apart ("Ours").
    Windows that cover nothing new are chosen by how many boxes they cover at all.
    """
    spans = []
    for extent in size * np.geomspace(0.125, 1.0, 8):
        steps = int(round((size - extent) / (extent / 4))) + 1
        spans += [(start, start + extent) for start in np.linspace(0, size - extent, steps)]
    low, high = np.array(spans, np.float32).T
    column, row = (index.reshape(-1) for index in np.meshgrid(np.arange(len(low)), np.arange(len(low))))
    windows = np.stack([low[column], low[row], high[column], high[row]], axis=1)
    covers = np.concatenate([_covers(boxes[at : at + 250], windows) for at in range(0, max(len(boxes), 1), 250)])
    whole = covers.sum(0)
    gain, open_boxes = whole.copy(), np.ones(len(boxes), bool)
    chosen: list[int] = []
    for _ in range(min(count, len(windows))):
        best = int(np.argmax(gain * (len(boxes) + 1) + whole))
        chosen.append(best)
        new = open_boxes & covers[:, best]
        gain -= covers[new].sum(0)
        open_boxes &= ~new
        gain[best] = whole[best] = -1
    return windows[chosen]


def _covers(boxes: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Which windows have IoU >= 0.5 with which boxes (`N W` bool)."""
    boxes = boxes[:, None]
    wide = np.minimum(boxes[..., 2], windows[:, 2]) - np.maximum(boxes[..., 0], windows[:, 0])
    high = np.minimum(boxes[..., 3], windows[:, 3]) - np.maximum(boxes[..., 1], windows[:, 1])
    common = np.maximum(wide, 0) * np.maximum(high, 0)
    area = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    near: np.ndarray = 3 * common >= area + (windows[:, 2] - windows[:, 0]) * (windows[:, 3] - windows[:, 1])
    return near
