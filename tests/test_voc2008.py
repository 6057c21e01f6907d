"""VOC 2008 + aPascal: official formats, boxes, subsets, and proposals that see pixels alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtlbench.data import _selective_search as selective_search
from mtlbench.data.voc2008 import ATTRIBUTES, CLASSES, Voc2008
from mtlbench.errors import UserError

REAL = Path(os.environ.get("MTLBENCH_TEST_DATA", Path(__file__).parents[1] / ".." / "shared" / "data")) / "voc2008"
TRAIN, TEST = [f"2008_{n:06d}" for n in (2, 3, 7, 8, 9)], ["2008_000021", "2008_000023"]
BITS = {"dog": [5, 9], "person": [5, 17, 63]}  # positive attributes


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTLBENCH_CACHE", str(tmp_path / "cache"))


def picture(seed: int, height: int = 60, width: int = 80) -> np.ndarray:
    """Coloured rectangles with noise."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), rng.integers(0, 256, 3))
    for _ in range(4):
        y, x = rng.integers(0, height - 24), rng.integers(0, width - 24)
        image[y : y + rng.integers(12, 24), x : x + rng.integers(12, 24)] = rng.integers(0, 256, 3)
    return np.clip(image + rng.integers(-4, 5, image.shape), 0, 255).astype(np.uint8)


def line(name: str, category: str, *box: int) -> str:
    bits = ["1" if number in BITS[category] else "0" for number in range(ATTRIBUTES)]
    return " ".join([f"{name}.jpg", category, *map(str, box), *bits])


def write(root: Path) -> Path:
    """A small copy without XML: a dog and a person on every image."""
    voc, lines = root / "VOCdevkit" / "VOC2008", root / "attribute_data"
    for folder in (voc / "ImageSets" / "Main", voc / "JPEGImages", lines):
        folder.mkdir(parents=True)
    for seed, name in enumerate(TRAIN + TEST):
        Image.fromarray(picture(seed)).save(voc / "JPEGImages" / f"{name}.jpg")
    for official, theirs, names in (("train", "train", TRAIN), ("val", "test", TEST)):
        (voc / "ImageSets" / "Main" / f"{official}.txt").write_text("\n".join(names) + "\n")
        text = "".join(line(n, "dog", 1, 1, 1, 1) + "\n" + line(n, "person", 11, 6, 80, 60) + "\n" for n in names)
        (lines / f"apascal_{theirs}.txt").write_text(text)
    (lines / "attribute_names.txt").write_text("".join(f"Furn. Seat/Leg {n}\n" for n in range(ATTRIBUTES)))
    return root


def add_xml(root: Path) -> None:
    """XML boxes: the person (a pixel off), a difficult dog that no line knows, a cat where a line has a dog."""
    folder = root / "VOCdevkit" / "VOC2008" / "Annotations"
    folder.mkdir()
    entries = [("person", 0, (10, 6, 80, 60)), ("dog", 1, (30, 30, 50, 50)), ("cat", 0, (1, 1, 1, 1))]
    text = "<annotation>"
    for category, difficult, box in entries:
        corners = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
        part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
        text += f"<object><name>{category}</name><difficult>{difficult}</difficult><occluded>1</occluded>{part}"
        text += f"<bndbox>{corners}</bndbox></object>"
    for name in TRAIN + TEST:
        (folder / f"{name}.xml").write_text(text + "</annotation>")


def ready(root: Path, **options: float) -> Voc2008:
    data = Voc2008(root, **options)  # type: ignore[arg-type]
    data.prepare(lambda text: None)
    return data


def test_attribute_lines_give_boxes_with_continuous_edges(tmp_path: Path) -> None:
    sample = ready(write(tmp_path)).subset("test")[0]
    assert sample.image.shape == (60, 80, 3) and sample.image.dtype == np.uint8
    assert sample.boxes is not None and sample.difficult is not None
    assert sample.boxes.tolist() == [[0, 0, 1, 1], [10, 5, 80, 60]]  # pixel 1 alone; columns 11-80, rows 6-60
    assert sample.labels["detection"].tolist() == [CLASSES.index("dog"), CLASSES.index("person")]
    assert [np.flatnonzero(row).tolist() for row in sample.labels["attributes"]] == [BITS["dog"], BITS["person"]]
    assert sample.labels["attributes"].dtype == np.uint8 and not sample.difficult.any()


def test_xml_counts_for_detection_and_unmatched_objects_have_no_attributes(tmp_path: Path) -> None:
    add_xml(write(tmp_path))
    data = ready(tmp_path, val_fraction=0.0)
    sample = data.subset("train")[0]
    assert sample.boxes is not None and sample.difficult is not None
    assert sample.boxes.tolist() == [[9, 5, 80, 60], [29, 29, 50, 50], [0, 0, 1, 1]]
    assert [CLASSES[c] for c in sample.labels["detection"]] == ["person", "dog", "cat"]
    assert sample.difficult.tolist() == [False, True, False]
    rows = sample.labels["attributes"]
    assert np.flatnonzero(rows[0]).tolist() == BITS["person"] and (rows[1:] == 255).all()
    detection, attributes = data.counts("detection"), data.counts("attributes")
    assert {CLASSES[c]: n for c, n in enumerate(detection) if n} == {"person": 5, "cat": 5}  # the dog is difficult
    assert {a: n for a, n in enumerate(attributes) if n} == dict.fromkeys(BITS["person"], 5)


def test_one_attribute_line_serves_one_object(tmp_path: Path) -> None:
    add_xml(write(tmp_path))
    path = tmp_path / "VOCdevkit" / "VOC2008" / "Annotations" / f"{TEST[0]}.xml"
    box = "<xmin>11</xmin><ymin>6</ymin><xmax>80</xmax><ymax>59</ymax>"
    near = f"<object><name>person</name><bndbox>{box}</bndbox></object>"
    path.write_text(path.read_text().replace("<annotation>", f"<annotation>{near}"))
    rows = ready(tmp_path).subset("test")[0].labels["attributes"]
    # IoU with the line's box (70 x 55): 54/55 for the added person, 70/71 for the other, which gets the attributes
    assert (rows[0] == 255).all() and np.flatnonzero(rows[1]).tolist() == BITS["person"]


def test_subsets_are_disjoint_and_test_is_the_list_called_val(tmp_path: Path) -> None:
    data = ready(write(tmp_path), val_fraction=0.4)
    assert [len(data.subset(name)) for name in ("train", "val", "test")] == [3, 2, 2]
    everything = [data.subset(name)[i].image.tobytes() for name in ("train", "val", "test") for i in range(2)]
    assert len(set(everything)) == 6
    voc = tmp_path / "VOCdevkit" / "VOC2008" / "JPEGImages"
    assert (data.subset("test")[0].image == selective_search.decode((voc / f"{TEST[0]}.jpg").read_bytes())).all()
    assert len(ready(tmp_path, val_fraction=0.0).subset("val")) == 0


def test_root_may_be_the_devkit(tmp_path: Path) -> None:
    write(tmp_path)
    assert len(Voc2008(tmp_path / "VOCdevkit").subset("test")) == 2


def test_proposals_do_not_depend_on_annotations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    before = ready(tmp_path).subset("test")[0].proposals
    add_xml(tmp_path)
    lines = tmp_path / "attribute_data" / "apascal_test.txt"
    lines.write_text(lines.read_text().replace(" 11 6 80 60 ", " 20 20 40 40 "))
    monkeypatch.setenv("MTLBENCH_CACHE", str(tmp_path / "second"))
    after = ready(tmp_path).subset("test")[0].proposals
    assert before is not None and after is not None and (before == after).all()
    assert before.dtype == np.float32 and (before[:, 2:] > before[:, :2]).all()
    assert before.min() >= 0 and (before <= [80, 60, 80, 60]).all()


def test_proposals_are_equal_in_two_processes_whatever_ran_before() -> None:
    code = (
        "import sys, numpy as np; sys.path.insert(0, sys.argv[1]); import test_voc2008 as t\n"
        "for warm in range(int(sys.argv[2])): t.selective_search.propose(t.picture(warm), 60, 1)\n"
        "print(t.selective_search.propose(t.picture(50), 60, 7).tolist())"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code, str(Path(__file__).parent), warm], check=True, capture_output=True, text=True
        ).stdout
        for warm in ("0", "3")
    ]
    assert outputs[0] == outputs[1]
    here = selective_search.propose(picture(50), 60, 7)
    assert outputs[0].strip() == str(here.tolist()) and len(here) > 5
    assert sorted(here.tolist()) == sorted(selective_search.propose(picture(50), 60, 8).tolist())


def test_near_duplicates_come_last() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30], [0, 0, 5, 10]], float)
    assert selective_search.diverse_first(boxes).tolist() == boxes[[0, 2, 3, 1]].tolist()


def test_overlap_of_hand_worked_boxes() -> None:
    found = selective_search.overlap(np.array([[0.0, 0, 4, 2]]), np.array([[2.0, 0, 6, 2], [4, 0, 6, 2], [0, 0, 4, 2]]))
    assert found[0] == pytest.approx([4 / 12, 0, 1])


def test_an_image_of_one_colour_has_itself_as_proposal() -> None:
    assert [0, 0, 30, 20] in selective_search.propose(np.full((20, 30, 3), 7, np.uint8), 200, 0).tolist()


def test_prepare_works_once_on_several_processes_and_goes_on_after_a_stop(tmp_path: Path) -> None:
    write(tmp_path)
    said: list[str] = []
    data = Voc2008(tmp_path)
    data.prepare(said.append)
    assert any("7 images" in text for text in said)
    files = sorted((tmp_path / "cache").rglob("*.npy"))
    stamps, first = [path.stat().st_mtime_ns for path in files], data.fingerprint()
    files[0].unlink()
    again = Voc2008(tmp_path)
    again.prepare(lambda text: None)
    assert [path.stat().st_mtime_ns for path in files][1:] == stamps[1:] and again.fingerprint() == first


def test_fingerprint_follows_what_training_sees(tmp_path: Path) -> None:
    write(tmp_path)
    first = ready(tmp_path).fingerprint()
    assert ready(tmp_path).fingerprint() == first
    assert ready(tmp_path, val_fraction=0.4).fingerprint() != first
    assert ready(tmp_path, proposals=3).fingerprint() != first
    lines = tmp_path / "attribute_data" / "apascal_train.txt"
    lines.write_text(lines.read_text().replace(" 11 6 ", " 12 6 "))
    changed = ready(tmp_path).fingerprint()
    assert changed != first
    stored = next((tmp_path / "cache").rglob("*.npy"))
    np.save(stored, np.load(stored) + 1)
    assert ready(tmp_path).fingerprint() != changed


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (" dog ", " donkey ", "apascal_train.txt:1: 'donkey'"),
        (" dog 1 1 1 1 ", " dog 1 1 1 ", "apascal_train.txt:1: 69 fields"),
        (" dog 1 1 1 1 ", " dog 5 1 1 1 ", "apascal_train.txt:1: box 5 1 1 1"),
        (" 11 6 80 60 0 ", " 11 6 80 60 2 ", "apascal_train.txt:2: attribute value '2'"),
        (" 11 6 80 60 ", " 81 6 90 60 ", "apascal_train.txt:2: box outside"),
        (" 11 6 80 60 ", " 11 six 80 60 ", "apascal_train.txt:2: box '11 six 80 60'"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = write(tmp_path) / "attribute_data" / "apascal_train.txt"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UserError, match=r"^[^\n]+$") as caught:
        ready(tmp_path)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "gone",
    [
        "attribute_data/apascal_train.txt",
        "attribute_data/attribute_names.txt",
        "VOCdevkit/VOC2008/ImageSets/Main/val.txt",
        f"VOCdevkit/VOC2008/JPEGImages/{TEST[0]}.jpg",
        f"VOCdevkit/VOC2008/Annotations/{TRAIN[0]}.xml",
    ],
)
def test_a_missing_file_is_named(tmp_path: Path, gone: str) -> None:
    add_xml(write(tmp_path))
    (tmp_path / gone).unlink()
    with pytest.raises(UserError, match=Path(gone).name):
        ready(tmp_path)


def test_wrong_options_are_refused(tmp_path: Path) -> None:
    for options in ({"root": None}, {"root": tmp_path, "val_fraction": 1.0}, {"root": tmp_path, "proposals": 0}):
        with pytest.raises(UserError):
            Voc2008(**options)


@pytest.mark.skipif(not REAL.is_dir(), reason="no real images here")
def test_real_files_have_the_documented_numbers() -> None:
    data = Voc2008(REAL, val_fraction=0.0)
    assert (len(data.subset("train")), len(data.subset("test"))) == (260, 180)
    assert sum(data.counts("detection")) == 619
    names = data.categories("attributes")
    assert len(set(names)) == 64 and names[0] == "2D Boxy" and "Furn. Leg" in names
    carved = Voc2008(REAL)
    assert (len(carved.subset("train")), len(carved.subset("val"))) == (208, 52)


@pytest.mark.skipif(not REAL.is_dir(), reason="no real images here")
def test_proposals_find_real_objects() -> None:
    data = Voc2008(REAL)
    found = []
    folder = REAL / "VOCdevkit" / "VOC2008" / "JPEGImages"
    for name in data._names["test"][::12]:
        boxes = np.array([thing.box for thing in data._things[name]])
        proposals = selective_search.propose(selective_search.decode((folder / f"{name}.jpg").read_bytes()), 200, 0)
        found.extend(selective_search.overlap(boxes, proposals[:256]).max(axis=1) >= 0.5)
    assert np.mean(found) >= 0.75
