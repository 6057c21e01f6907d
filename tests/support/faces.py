"""Small copies of CelebA's official files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

NAMES = ("5_o_Clock_Shadow", "Male", "Smiling", "Young")
COUNTS = {"train": 12, "val": 4, "test": 6}


def values() -> dict[str, list[int]]:
    """{image: -1 or 1 for each of NAMES}."""
    rng = np.random.default_rng(0)
    return {f"{number:06}.jpg": rng.choice([-1, 1], len(NAMES)).tolist() for number in range(1, 23)}


def write_faces(root: Path, published: bool = False) -> Path:
    """All files beside each other, or in the folders in which they are published; they come in any order of subsets."""
    places = {"Anno": root, "Eval": root, "Img": root}
    if published:
        places = {name: root / name for name in places}
    (places["Img"] / "img_align_celeba").mkdir(parents=True)
    lines, parts = ["22", " ".join(NAMES) + " "], []
    subsets = [number for number, count in enumerate(COUNTS.values()) for _ in range(count)]
    for place, (name, row) in enumerate(values().items()):
        lines.append(f"{name} {' '.join(f'{one:2}' for one in row)}")
        parts.append(f"{name} {subsets[place]}")
        pixels = np.full((218, 178, 3), 10 * place, np.uint8)
        pixels[:100] = (place, 255 - place, 128 + 60 * row[2])
        Image.fromarray(pixels).save(places["Img"] / "img_align_celeba" / name)
    for folder, file, text in (
        ("Anno", "list_attr_celeba.txt", lines),
        ("Eval", "list_eval_partition.txt", parts),
    ):
        places[folder].mkdir(parents=True, exist_ok=True)
        (places[folder] / file).write_text("\n".join(text) + "\n")
    return root
