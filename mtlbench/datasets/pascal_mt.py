"""PASCAL-MT: PASCAL-Context with parts of people, saliency and normals (Maninis et al. 2019), without edges."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from mtlbench.datasets._dense_files import (
    REPLACE,
    Wrong,
    as_classes,
    as_image,
    explain,
    from_bytes,
    read_bytes,
    read_list,
    read_pixels,
)
from mtlbench.datasets._dense_reader import DenseReader, Frame
from mtlbench.datasets._problems import Problem
from mtlbench.datasets._voc_words import CLASSES
from mtlbench.errors import UserError
from mtlbench.system.files import UNSOUND

LISTS = {"train": "train", "test": "val"}  # {subset: their list}: what they call val everyone tests on
PARTS = ("background", "head", "torso", "upper arms", "lower arms and hands", "upper legs", "lower legs and feet")
PERSON = 15  # the number of people among the 20 classes of VOC
NAMES = ("nyu_classes.json", "context_classes.json")  # which classes of PASCAL-Context NYU-v2 has, too
SALIENT = 127  # bytes above are salient


class PascalMt(DenseReader):
    """Images of `ImageSets/Context/{train,val}.txt` for the tasks `semseg` (21 classes with background), `parts`
    (background and six parts of people, of kind semseg), `saliency` and `normals`; edges are not read.

    Files: `JPEGImages/*.jpg`; `semseg/VOC12/*.png`, else `semseg/pascal-context/*.png` (255 void);
    `human_parts/*.mat`; `sal_distill/*.png`; `normals_distill/*.png` (2 v / 255 - 1). Normals come from a network and
    count where `pascal-context/trainval/*.mat` has a class that NYU-v2 has, too, which `db_info/nyu_classes.json` and
    `context_classes.json` say (of the authors' code); `normals=False` reads none, and needs neither. An image without
    parts of people is not labelled for `parts`. Their val, on which the field tests, is our test; `val` is carved out
    of train, about `val_fraction` of its images (ours; 0 trains on all), in blocks of ten neighbours of the list.
    `broken` says what becomes of images with missing or broken files: `refuse` stops, `leave-out` goes on without them.
    Raises UserError for missing folders and wrong options.
    """

    name = "pascal_mt"
    version = 1
    published = {"train": 4998, "test": 5105}

    def __init__(
        self,
        root: str | Path | None = None,
        val_fraction: float = 0.1,
        normals: bool = True,
        broken: str = "refuse",
    ) -> None:
        super().__init__(root, val_fraction, broken, "JPEGImages, ImageSets, semseg, human_parts and sal_distill")
        if not (self.root / "ImageSets" / "Context").is_dir():
            where = self.root / "ImageSets" / "Context"
            raise UserError(f"pascal_mt: no {where}; give --data-root the folder PASCAL_MT that holds it")
        if normals and (missing := [self.root / "db_info" / name for name in NAMES if not self._at(name).is_file()]):
            raise UserError(
                f"pascal_mt: no {missing[0]}, which says where normals count; copy it from the authors' code"
                " (docs/data.md), or give --data-option normals=False"
            )
        self.options = (normals,)
        self.classes: Mapping[str, tuple[str, ...]] = {
            "semseg": ("background", *CLASSES),
            "parts": PARTS,
            "saliency": ("other", "salient"),
            **({"normals": ()} if normals else {}),
        }

    def _at(self, name: str) -> Path:
        return self.root / "db_info" / name

    def find(self) -> tuple[list[Frame], list[Problem]]:
        """The images of both lists in their order."""
        frames, problems = list[Frame](), list[Problem]()
        for subset, name in LISTS.items():
            listed, wrong = read_list(self.root / "ImageSets" / "Context" / f"{name}.txt")
            problems += wrong
            frames += [Frame(subset, one, self._paths(one)) for one in listed]
        return frames, problems

    def _paths(self, name: str) -> dict[str, Path]:
        """The files of an image."""
        voc, context = (self.root / "semseg" / folder / f"{name}.png" for folder in ("VOC12", "pascal-context"))
        paths = {
            "image": self.root / "JPEGImages" / f"{name}.jpg",
            "semseg": voc if voc.is_file() else context,
            "parts": self.root / "human_parts" / f"{name}.mat",
            "saliency": self.root / "sal_distill" / f"{name}.png",
        }
        if "normals" in self.classes:
            paths["normals"] = self.root / "normals_distill" / f"{name}.png"
            paths["context"] = self.root / "pascal-context" / "trainval" / f"{name}.mat"
            paths |= {name: self._at(name) for name in NAMES}  # they change what is read
        return paths

    def read(self, frame: Frame) -> dict[str, np.ndarray]:
        """`image` and the labels that it has. Raises Wrong."""
        paths = frame.paths
        image = as_image(paths["image"], read_pixels(paths["image"], "RGB"))
        found = {
            "image": image,
            "semseg": as_classes(paths["semseg"], read_pixels(paths["semseg"]), len(self.classes["semseg"]), void=255),
            "saliency": (read_pixels(paths["saliency"], "L") > SALIENT).astype(np.uint8),
        }
        parts = read_parts(paths["parts"], image.shape[:2])
        found |= {"parts": parts} if parts is not None else {}
        if "normals" in self.classes:
            vectors = from_bytes(paths["normals"], read_pixels(paths["normals"], "RGB"))
            context = read_mat(paths["context"], "LabelMap")
            if context.shape != vectors.shape[:2]:
                raise Wrong(paths["context"], f"has the shape {context.shape}, normals {vectors.shape[:2]}; {REPLACE}")
            found["normals"] = np.where(np.isin(context, self.shared)[..., None], vectors, np.float32(0))
        return found

    @cached_property
    def shared(self) -> list[int]:
        """The numbers of the classes of PASCAL-Context that NYU-v2 has, too, and of tvmonitor. Raises Wrong."""
        nyu, context = (_read_json(self._at(name)) for name in NAMES)
        try:
            names = [name for name in nyu if name in context and name != "unknown"]
            return [int(context[name]) for name in (*names, "tvmonitor")]
        except UNSOUND as error:
            raise Wrong(self._at(NAMES[1]), f"has no number for every name ({explain(error)}); {REPLACE}") from error


def read_mat(path: Path, variable: str) -> np.ndarray:
    """A variable of a .mat file. Raises Wrong."""
    content = read_bytes(path)
    try:
        found: np.ndarray = np.asarray(scipy.io.loadmat(io.BytesIO(content), variable_names=[variable])[variable])
    except Exception as error:  # scipy raises whatever it stumbles over in a broken file
        raise Wrong(path, f"cannot be read or has no {variable} ({explain(error)}); {REPLACE}") from error
    return found


def read_parts(path: Path, size: tuple[int, ...]) -> np.ndarray | None:
    """`H W` uint8, numbers of PARTS, from an annotation of PASCAL-Part (Chen et al. 2014); None where no person has
    parts. Raises Wrong."""
    anno = read_mat(path, "anno")
    try:
        target = np.zeros(size, np.uint8)
        for thing in anno[0, 0][1].ravel():  # its fields: class, its number, mask, parts (name, mask)
            if int(thing[1].item()) == PERSON:
                for part in thing[3].ravel():
                    target[part[1].astype(bool)] = number_of(str(part[0].item()))
    except UNSOUND as error:
        raise Wrong(path, f"is no annotation of parts ({explain(error)}); {REPLACE}") from error
    return target if target.any() else None


def number_of(part: str) -> int:
    """Which of PARTS a part of PASCAL-Part is (those at the sides begin with l or r). Raises KeyError.

    >>> [PARTS[number_of(part)] for part in ("lebrow", "neck", "ruarm", "lhand", "luleg", "rfoot")]
    ['head', 'torso', 'upper arms', 'lower arms and hands', 'upper legs', 'lower legs and feet']
    """
    sided = {"ear": 1, "ebrow": 1, "eye": 1, "uarm": 3, "larm": 4, "hand": 4, "uleg": 5, "lleg": 6, "foot": 6}
    single = {"head": 1, "hair": 1, "mouth": 1, "nose": 1, "torso": 2, "neck": 2}
    return single[part] if part in single else sided[part[1:]]


def _read_json(path: Path) -> Any:
    try:
        return json.loads(read_bytes(path))
    except ValueError as error:
        raise Wrong(path, f"is no JSON ({explain(error)}); {REPLACE}") from error
