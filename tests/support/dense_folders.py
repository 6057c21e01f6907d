"""Small copies of archives with several maps an image: NYUD-MT, PASCAL-MT, Cityscapes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

HEIGHT, WIDTH = 24, 32
COUNTS = {"train": 12, "val": 4}


def save(path: Path, values: np.ndarray) -> None:
    """An .npy, or an image file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        Image.fromarray(values).save(path)


def make_blocks(rng: np.random.Generator, low: int, high: int, shape: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    """`H W` uint8 of 8 x 8 blocks."""
    found: np.ndarray = (
        rng.integers(low, high, (shape[0] // 8, shape[1] // 8)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
    )
    return found


def make_normals(rng: np.random.Generator) -> np.ndarray:
    """`H W 3` unit vectors, the first row invalid."""
    vectors = rng.normal(size=(HEIGHT, WIDTH, 3)) * [1, 1, 0.5] + [0, 0, 1]
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    vectors[0] = 0
    found: np.ndarray = vectors.astype(np.float32)
    return found


def as_bytes(normals: np.ndarray) -> np.ndarray:
    """127.5 + 127.5 n."""
    codes: np.ndarray = np.rint(127.5 + 127.5 * normals).astype(np.uint8)
    return codes


def write_nyud(root: Path, png: bool = False) -> Path:
    """Either archive: images and normals as .jpg and .npy, or as .png; classes 0 to 40."""
    rng, number = np.random.default_rng(0), 0
    for name, count in COUNTS.items():
        names = [f"{number + i:04}" for i in range(count)]
        number += count
        (root / "gt_sets").mkdir(parents=True, exist_ok=True)
        (root / "gt_sets" / f"{name}.txt").write_text("\n".join(names) + "\n")
        for one in names:
            save(root / "images" / f"{one}.{'png' if png else 'jpg'}", make_blocks(rng, 0, 256)[..., None].repeat(3, 2))
            save(root / "segmentation" / f"{one}.png", make_blocks(rng, 0, 41))
            depth = rng.uniform(0.7, 9, (HEIGHT, WIDTH)).astype(np.float32)
            depth[:2] = 0
            save(root / "depth" / f"{one}.npy", depth)
            normals = make_normals(rng)
            save(root / "normals" / f"{one}.{'png' if png else 'npy'}", as_bytes(normals) if png else normals)
    return root


def write_pascal(root: Path) -> Path:
    """Every second image has a person with a head and hands; class 5 of the context is one of NYU's, too."""
    rng = np.random.default_rng(0)
    for name, count in COUNTS.items():
        names = [f"2008_{name}{i:04}" for i in range(count)]
        lists = root / "ImageSets" / "Context"
        lists.mkdir(parents=True, exist_ok=True)
        (lists / f"{name}.txt").write_text("\n".join(names) + "\n")
        for place, one in enumerate(names):
            save(root / "JPEGImages" / f"{one}.jpg", make_blocks(rng, 0, 256)[..., None].repeat(3, 2))
            classes = make_blocks(rng, 0, 21)
            classes[0] = 255
            save(root / "semseg" / ("VOC12" if place % 3 else "pascal-context") / f"{one}.png", classes)
            save(root / "sal_distill" / f"{one}.png", make_blocks(rng, 0, 256))
            save(root / "normals_distill" / f"{one}.png", as_bytes(make_normals(rng)))
            context = root / "pascal-context" / "trainval"
            context.mkdir(parents=True, exist_ok=True)
            scipy.io.savemat(context / f"{one}.mat", {"LabelMap": make_blocks(rng, 4, 7).astype(np.uint16)})
            write_parts(root / "human_parts" / f"{one}.mat", person=place % 2 == 0)
    (root / "db_info").mkdir()
    (root / "db_info" / "nyu_classes.json").write_text(json.dumps(["unknown", "wall", "sink"]))
    context_classes = {"unknown": 4, "wall": 5, "tree": 6, "tvmonitor": 427}
    (root / "db_info" / "context_classes.json").write_text(json.dumps(context_classes))
    return root


def write_parts(path: Path, person: bool) -> None:
    """Objects as PASCAL-Part has them: a cat with a head, and a person with a head in the first rows and a hand."""
    path.parent.mkdir(parents=True, exist_ok=True)

    def mask(*rows: int) -> np.ndarray:
        found = np.zeros((HEIGHT, WIDTH), np.uint8)
        found[list(rows)] = 1
        return found

    things = [("cat", 8, mask(9), [("head", mask(9))])]
    things += [("person", 15, mask(1, 2), [("head", mask(1)), ("lhand", mask(2))])] if person else []
    objects = np.zeros((1, len(things)), [(name, object) for name in ("class", "class_ind", "mask", "parts")])
    for place, (name, number, whole, parts) in enumerate(things):
        inner = np.zeros((1, len(parts)), [("part_name", object), ("mask", object)])
        for which, part in enumerate(parts):
            inner[0, which] = part
        objects[0, place] = (name, number, whole, inner)
    scipy.io.savemat(path, {"anno": {"imname": path.stem, "objects": objects}})


def write_cityscapes(root: Path) -> Path:
    """Two cities a subset, images of 64 x 128; the first column has no disparity."""
    rng = np.random.default_rng(0)
    for folder, count in COUNTS.items():
        for number in range(count):
            city = ("aachen", "bochum")[number % 2]
            stem = f"{city}_{folder}_{number:06}_000019"
            image = make_blocks(rng, 0, 256, (64, 128))[..., None].repeat(3, 2)
            save(root / "leftImg8bit" / folder / city / f"{stem}_leftImg8bit.png", image)
            save(root / "gtFine" / folder / city / f"{stem}_gtFine_labelIds.png", make_blocks(rng, 0, 34, (64, 128)))
            disparity = rng.integers(257, 20_000, (64, 128)).astype(np.uint16)
            disparity[:, 0] = 0
            save(root / "disparity" / folder / city / f"{stem}_disparity.png", disparity)
    return root
