"""`mtlbench check` of data sets, and docs/own_data.md and own_task.md followed word for word."""

from __future__ import annotations

import codecs
import dataclasses
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from mtlbench.authoring.check_dataset import FIRST, LAST, OF_IMAGES, check
from mtlbench.cli.main import main
from mtlbench.contracts import Sample, Survey
from mtlbench.datasets.rooms import Rooms, RoomsSubset
from mtlbench.errors import UserError
from tests.support.places import ROOT
from tests.support.samples import change_template

pytestmark = pytest.mark.slow

DOCS = ROOT / "docs"
FEW = {"size": 32, "train": 6, "val": 2, "test": 2, "proposals": 16}


def own_folders(root: Path, count: int = 10, height: int = 32, width: int = 40) -> Path:
    """`images` and a folder of each label with as many files, the first image without depth and height."""
    rng = np.random.default_rng(0)
    for folder in ("images", "semseg", "normals", "depth", "height"):
        (root / folder).mkdir(parents=True)
    for number in range(count):
        name = f"room_{number}"
        classes = np.zeros((height, width), np.uint8)
        classes[height // 2 :, number % 7 :] = 1 + number % 2
        classes[:2] = 255
        normals = rng.normal(size=(height, width, 3)) + [0, 0, 2]
        normals[:, :3] = 0
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(root / "images" / f"{name}.jpg")
        Image.fromarray(classes).save(root / "semseg" / f"{name}.png")
        np.save(root / "normals" / f"{name}.npy", normals)
        if number:
            depth = rng.integers(500, 4000, (height, width)).astype(np.uint16)
            for folder in ("depth", "height"):
                Image.fromarray(depth).save(root / folder / f"{name}.png")
    return root


template = partial(change_template, "dataset", "my_data")


def wrong(cls: Any, **options: Any) -> list[str]:
    return [text for ok, text in check(cls, options) if not ok]


# ---------------------------------------------------------------------------------------------------- sound ones
def test_rooms_hold() -> None:
    found = list(check(Rooms, {"root": None, **FEW}))
    assert [text for ok, text in found if not ok] == []
    assert len(found) == len(FIRST) + len(OF_IMAGES) + len(LAST)


def test_the_template_reads_plain_folders(tmp_path: Path) -> None:
    root = own_folders(tmp_path / "data")
    cls = template(tmp_path)
    assert wrong(cls, root=root) == []
    data = cls(root)
    assert data.tasks == ("semseg", "normals", "depth", "height", "border")
    assert [len(data.subset(name)) for name in ("train", "val", "test")] == [6, 2, 2]
    assert data.categories("semseg") == ("class 0", "class 1", "class 2")
    sample = data.sample("room_3")
    assert sample.labels["semseg"][0, 0] == 255 and sample.labels["semseg"][-1, -1] == 2
    assert np.abs(np.linalg.norm(sample.labels["normals"][:, 3:], axis=2) - 1).max() < 1e-5
    assert not sample.labels["normals"][:, :3].any()
    stored = np.array(Image.open(root / "depth" / "room_3.png"))
    assert (sample.labels["height"] == stored).all() and "height" not in data.sample("room_0").labels
    np.testing.assert_allclose(sample.labels["depth"], stored / 1000, rtol=1e-6)  # metres of millimetres
    # classes change between rows 15 and 16 (from column 3 on): row 16 is the border, row 20 is 4 pixels from it
    assert sample.labels["border"][[16, 20], 20].tolist() == [1, 5] and not sample.labels["border"][0].any()


def test_subsets_of_the_template_are_drawn_once_or_listed(tmp_path: Path) -> None:
    root = own_folders(tmp_path / "data")
    cls = template(tmp_path)
    before = cls(root).names
    prints = {cls(root).fingerprint()}
    for name, lines in (("train", "room_1\nroom_2.jpg\n"), ("val", "room_3"), ("test", "room_4\n")):
        (root / f"{name}.txt").write_text(lines)
    listed = cls(root)
    assert listed.names == {"train": ["room_1", "room_2"], "val": ["room_3"], "test": ["room_4"]} != before
    (root / "train.txt").write_bytes(codecs.BOM_UTF8 + (root / "train.txt").read_bytes())
    assert cls(root).names == listed.names
    prints.add(listed.fingerprint())
    Image.new("L", (40, 32)).save(root / "semseg" / "room_4.png")
    prints.add(cls(root).fingerprint())
    assert len(prints) == 3  # other subsets, other files: other data


def test_the_template_names_what_is_broken(tmp_path: Path) -> None:
    root = own_folders(tmp_path / "data")
    cls = template(tmp_path, ("CLASSES: tuple[str, ...] = ()", 'CLASSES: tuple[str, ...] = ("wall", "floor")'))
    Image.new("L", (40, 30)).save(root / "semseg" / "room_2.png")
    Image.new("RGB", (40, 32)).save(root / "semseg" / "room_4.png")
    (root / "images" / "room_6.jpg").write_bytes(b"no picture")
    Image.new("L", (40, 32)).save(root / "depth" / "room_77.png")
    problems = cls(root).verify(lambda line: None).problems
    for says in (
        r"room_1\.png: class 2, but CLASSES has 2 names: 0 to 1",
        r"room_2\.png is \(30, 40\), its image \(32, 40\)",
        r"room_4\.png: not one number from 0 to 255",
        "cannot identify image file .*room_6.jpg",
        "depth/room_77.png has no image of that name",
    ):
        assert [text for text in problems if re.search(says, text)], says
    with pytest.raises(UserError, match="must be the folder that images/ is in"):
        cls(tmp_path)


# ---------------------------------------------------------------------------------------------------- broken ones
MAP = "return found.astype(np.uint8)"
BROKEN = {
    "no method": (("def verify", "def look"), "the class has no method verify"),
    "no root": (("self, root: Path | None = None", "self, folder: Path"), r"my_data.py:\d+: __init__ takes no `root`"),
    "version": (("    version = 1", '    version = "1"'), "version is '1'; it must be a whole number"),
    "print by chance": (("seen.hexdigest()[:16]", "seen.hexdigest()[:8] + str(id(self))"), "after opening again; hash"),
    "no val": (('{"val": shuffled[:val]', '{"val": []'), "val is empty"),
    "shared image": (('{"val": shuffled[:val]', '{"val": shuffled[-val:]'), "subsets must not share images"),
    "counts": (
        ('self._count_categories("train")', 'self._count_categories("val")'),
        "counts says .* of class 0 .*; train has",
    ),
    "too few counts": ((": len(self.categories(task))]", ": 1]"), "counts of semseg are 1 numbers for 3 categories"),
    "grey image": (('.convert("RGB"))\n        labels', '.convert("L"))\n        labels'), "it must be H W 3 uint8"),
    "too many classes": (
        (MAP, "return (found + np.uint8(7) * (found < 255)).astype(np.uint8)"),
        "has the class 9, but there are 3",
    ),
    "whole numbers": ((MAP, "return found.astype(np.int64)"), "classes are H W uint8"),
    "long normals": (("return np.divide(found, length,", "return np.divide(found * 2, length,"), "vectors of length 2"),
    "infinite": (("return np.nan_to_num(found, posinf=0, neginf=0)", "return (found * np.inf)"), "NaN or infinity"),
    "other size": (("Sample(image, labels)", "Sample(image[1:], labels)"), "its image 31 40: a label for every pixel"),
    "augmented": (("Sample(image, labels)", "Sample(np.random.permutation(image), labels)"), "not the same the second"),
    "own mistake": (("image = np.array", "image = np.aray"), r"be read: my_data.py:\d+ \(in sample\): AttributeError"),
    "no labels": (
        ("self.files[folder].get(name)", "self.files[folder].get(name * (task != 'depth'))"),
        "no image of train has a label of depth",
    ),
    "no survey": (("return Survey(", "return ("), "return Survey"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_breach_is_said_in_its_own_words(tmp_path: Path, name: str) -> None:
    change, says = BROKEN[name]
    found = wrong(template(tmp_path, change), root=own_folders(tmp_path / "data"))
    assert any(re.search(says, text) for text in found), found
    assert all("\n" not in text for text in found)


def rooms_with(change: Callable[[Sample], Sample]) -> Any:
    """Rooms whose samples are changed."""

    class Changed(RoomsSubset):
        def __getitem__(self, index: int) -> Sample:
            return change(super().__getitem__(index))

    class OtherRooms(Rooms):
        tasks = ("detection", "attributes")

        def __init__(self, root: Path | None = None) -> None:
            super().__init__(root, **FEW)

        def subset(self, name: str) -> RoomsSubset:
            return Changed(self.folder, self.whole_folder, name)

        def verify(self, say: Callable[[str], None]) -> Survey:
            return Survey((), ("a.jpg: truncated", "b.jpg: gone"))

    return OtherRooms


def alter(**changes: Any) -> Callable[[Sample], Sample]:
    def change(sample: Sample) -> Sample:
        only = {task: sample.labels[task] for task in ("detection", "attributes")}
        made = {name: value(sample) if callable(value) else value for name, value in changes.items()}
        return dataclasses.replace(sample, **{"labels": only, **made})

    return change


def set_label(task: str, value: Callable[[np.ndarray], np.ndarray]) -> Callable[[Sample], Sample]:
    return alter(
        labels=lambda sample: {
            **{t: sample.labels[t] for t in ("detection", "attributes")},
            task: value(sample.labels[task]),
        }
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (alter(), "a.jpg: truncated .and 1 more: mtlbench data verify lists them"),
        (alter(boxes=lambda s: s.boxes + 40), r"boxes have \[.*\]; .* must lie in the image of 32 x 32"),
        (alter(boxes=lambda s: s.boxes[:, [2, 1, 0, 3]]), "x1 < x2 and y1 < y2"),
        (alter(proposals=None), "has no proposals, which detection needs"),
        (alter(proposals=lambda s: s.proposals.astype(np.float64)), "proposals are 16 4 float64; they must be"),
        (alter(difficult=lambda s: s.difficult[1:]), r"has \d+ boxes and \d+ rows of difficult"),
        (alter(labels=lambda s: s.labels), "labels of semseg, which is not in tasks: detection, attributes"),
        (set_label("detection", lambda label: label[1:]), "rows of detection; there must be one a box"),
        (set_label("detection", lambda label: label + 100), "but there are .* categories: 0 to"),
        (set_label("attributes", lambda label: label[:, 1:]), "it must be a row of .* numbers 0 or 1 for each box"),
    ],
)
def test_each_breach_of_boxes_is_said_in_its_own_words(change: Callable[[Sample], Sample], says: str) -> None:
    found = wrong(rooms_with(change))
    assert any(re.search(says, text) for text in found), found


# ---------------------------------------------------------------------------------------------------- the documents
QUICK = ("--recipe", "smoke", "--executor", "local", "--seeds", "0", "--arm", "cross-stitch", "--arm", "split-fc6")


def follow(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Save what the page says to save, type what it says to type (runs with QUICK); {command: what it printed}."""
    monkeypatch.chdir(folder)
    printed = {}
    blocks = re.findall(r"([^\n]*)\n\n((?:    [^\n]*\n|\n)+)", (DOCS / page).read_text())
    for before, block in blocks:
        text = re.sub(r"^    ", "", block, flags=re.M).strip() + "\n"
        if saved := re.search(r"Save this as `(\S+)`", before):
            Path(saved[1]).write_text(text)
            continue
        for line in text.splitlines():
            command, *words = line.split("#")[0].split()
            assert command == "mtlbench", line
            answer = CliRunner().invoke(main, [*words, *(QUICK if words[0] == "run" else ())])
            assert answer.exit_code == 0, (line, answer.output, answer.exception)
            printed[line] = answer.output
    return printed


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("page", ["own_data.md", "own_task.md"])
def test_the_documents_word_for_word(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_folders(tmp_path / "DIR")
    printed = follow(page, tmp_path, monkeypatch)
    assert (tmp_path / "results" / "figure2.png").stat().st_size > 10_000
    runs = [text for line, text in printed.items() if line.startswith("mtlbench run")]
    assert runs and all("4 of 4 trials done" in text for text in runs)
    assert all("checks hold" in text for line, text in printed.items() if line.startswith("mtlbench check"))
    if page == "own_data.md":
        tables = printed["mtlbench table"]
        assert "border error" in tables and "MyData" in tables
