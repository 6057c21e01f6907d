"""Small folders of .npy files as MTAN's preprocessing leaves them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

HEIGHT, WIDTH = 32, 48
COUNTS = {"train": 12, "val": 5}


def write_mtan(root: Path, rooms: bool = True, labels: str = "label", counts: dict[str, int] = COUNTS) -> Path:
    """NYUv2 with three maps, or Cityscapes with two: upper half void or invalid in frame 0 of each folder."""
    rng = np.random.default_rng(0)
    for folder, count in counts.items():
        for number in range(count):
            maps = make_maps(rng, rooms)
            if number == 0:
                maps["label"][:16], maps["depth"][:16] = -1, 0
                maps.get("normal", np.zeros((16, 1, 3)))[:16] = 0
            for what, values in maps.items():
                place = root / folder / (labels if what == "label" else what)
                place.mkdir(parents=True, exist_ok=True)
                np.save(place / f"{number}.npy", values)
    return root


def make_maps(rng: np.random.Generator, rooms: bool) -> dict[str, np.ndarray]:
    """One frame: labels as float, as some copies have them; depth of the left part is near."""
    blocks = rng.integers(0, 13 if rooms else 7, (HEIGHT // 8, WIDTH // 8))
    classes = blocks.repeat(8, axis=0).repeat(8, axis=1)
    image = np.stack([classes / 12, classes % 3 / 2, rng.random(classes.shape)], axis=2)
    depth = 1.0 + classes[..., None] / 4 if rooms else 0.01 + classes[..., None] / 20
    maps: dict[str, np.ndarray] = {
        "image": image,
        "label": classes.astype(np.float32),
        "depth": depth.astype(np.float32),
    }
    if rooms:
        vectors = np.stack([np.sin(classes), np.cos(classes), 1 + rng.random(classes.shape)], axis=2)
        maps["normal"] = vectors / np.linalg.norm(vectors, axis=2, keepdims=True)
    return maps
