"""VOC 2008 + aPascal: what `verify` counts and finds wrong in the files, and what becomes of broken ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from mtlbench.contracts import Sample
from mtlbench.datasets._voc_files import read_annotations
from mtlbench.datasets._voc_folders import Folders
from mtlbench.datasets.voc2008 import Voc2008
from mtlbench.errors import UserError
from tests.support.voc import REAL, TEST, TRAIN, add_xml, image_file, line, ready, survey, write

pytestmark = pytest.mark.usefixtures("voc_cache")


def read_all(data: Voc2008, subset: str) -> list[Sample]:
    return [data.subset(subset)[index] for index in range(len(data.subset(subset)))]


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_sound_files_have_no_problems_and_are_counted(tmp_path: Path) -> None:
    write(tmp_path)
    add_xml(tmp_path)
    found = survey(tmp_path)
    counts = {count.what: (count.found, count.published) for count in found.counts}
    assert found.problems == ()
    assert counts["images, VOC's train (train and val)"] == (5, 2113)
    assert counts["images, VOC's val (test)"] == (2, 2227)
    assert counts["images of train that are carved out as val"] == (1, None)
    assert counts["attribute lines, train"] == (10, 6340) and counts["attribute lines, test"] == (4, 6355)
    assert counts["classes that occur"] == (3, 20) and counts["attributes"] == (64, 64)
    assert counts["attributes never positive in train"] == (61, None)  # the dogs' lines match no XML object
    assert counts["attribute lines that match no object in XML"] == (7, None)
    assert (counts["objects in XML, train"], counts["difficult objects in XML"]) == ((15, None), (7, None))
    assert not (tmp_path / "cache").exists()  # it only looks


def break_ten_ways(root: Path) -> list[str]:
    """Ten wrongs in a copy with XML; what each one's line must say."""
    voc, lines = root / "VOCdevkit" / "VOC2008", root / "attribute_data"
    truncated = image_file(root, TRAIN[0])
    truncated.write_bytes(truncated.read_bytes()[:700])
    image_file(root, TRAIN[1]).unlink()
    (voc / "Annotations" / f"{TRAIN[2]}.xml").write_text("<annotation><folder>VOC2008</folder></annotation>")
    (voc / "Annotations" / f"{TRAIN[3]}.xml").write_text("<annotation><object>")
    xml = voc / "Annotations" / f"{TRAIN[4]}.xml"
    change(xml, "<xmax>80</xmax>", "<xmax>81</xmax>")  # the image is 80 wide
    change(xml, "<ymin>30</ymin>", "<ymin>51</ymin>")  # to 50
    change(xml, "<name>cat</name>", "<name>yak</name>")
    test = lines / "apascal_test.txt"
    change(test, f"{TEST[0]}.jpg dog 1 1 1 1 0", f"{TEST[0]}.jpg dog 1 1 1 1")
    change(test, f"{TEST[1]}.jpg person 11 6 80 60 0", f"{TEST[1]}.jpg person 11 6 80 60 7")
    with open(lines / "apascal_train.txt", "a") as file:
        file.write(line("2008_000099", "dog", 1, 1, 5, 5) + "\n")
    return [
        f"{TRAIN[0]}.jpg is truncated",
        f"{TRAIN[1]}.jpg is listed in ImageSets/Main but missing",
        f"{TRAIN[2]}.xml: no objects",
        f"{TRAIN[3]}.xml: not XML",
        f"{TRAIN[4]}.xml, object 1: box 10 6 81 60 is outside the 80 x 60 image",
        f"{TRAIN[4]}.xml, object 2: box 30 51 50 50 is empty",
        f"{TRAIN[4]}.xml, object 3: 'yak' is none of",
        "apascal_test.txt:1: 69 fields",
        "apascal_test.txt:4: attribute value '7'",
        "apascal_train.txt:11: 2008_000099 is in no list",
    ]


def test_ten_wrongs_are_ten_lines(tmp_path: Path) -> None:
    add_xml(write(tmp_path))
    wrongs = break_ten_ways(tmp_path)
    problems = survey(tmp_path).problems
    assert len(problems) == 10 and all("\n" not in problem for problem in problems)
    for wrong in wrongs:
        assert sum(wrong in problem for problem in problems) == 1, wrong


def test_broken_files_are_refused_or_left_out(tmp_path: Path) -> None:
    add_xml(write(tmp_path))
    whole = ready(tmp_path, val_fraction=0.0)
    image_file(tmp_path, TRAIN[1]).write_bytes(b"GIF?")
    folder = tmp_path / "VOCdevkit" / "VOC2008" / "Annotations"
    change(folder / f"{TEST[0]}.xml", "<xmin>10<", "<xmin>0<")
    change(folder / f"{TRAIN[4]}.xml", "<ymax>60<", "<ymax>61<")  # outside: seen when the image is decoded
    with pytest.raises(UserError, match=r"^[^\n]+$") as caught:
        ready(tmp_path)
    assert f"{TEST[0]}.xml, object 1: box 0 6 80 60" in str(caught.value)
    root = tmp_path.resolve()
    assert f"`mtlbench data verify voc2008 --data-root {root}` lists them" in str(caught.value)
    assert "--data-option broken=leave-out goes on without" in str(caught.value)
    said: list[str] = []
    data = Voc2008(tmp_path, val_fraction=0.0, broken="leave-out")
    data.prepare(said.append)
    assert any("3 images with problems are left out" in text for text in said)
    kept = [whole.subset("train")[index].image for index in (0, 2, 3)]
    assert [sample.image.tobytes() for sample in read_all(data, "train")] == [image.tobytes() for image in kept]
    assert [sample.image.tobytes() for sample in read_all(data, "test")] == [whole.subset("test")[1].image.tobytes()]
    with pytest.raises(UserError, match="and 2 more"):  # what leave-out has prepared is no way round
        ready(tmp_path)
    (folder / f"{TEST[1]}.xml").unlink()
    with pytest.raises(UserError, match="no sound image is left"):
        ready(tmp_path, broken="leave-out")


def test_a_wrong_image_stops_a_preparation_and_leaves_nothing(tmp_path: Path) -> None:
    write(tmp_path)
    image_file(tmp_path, TEST[1]).write_bytes(b"")
    with pytest.raises(UserError, match=f"{TEST[1]}.jpg is not a readable image"):
        ready(tmp_path)
    assert [path for path in (tmp_path / "cache").rglob("*") if not path.name.endswith(".lock")] == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (" dog ", " donkey ", "apascal_train.txt:1: 'donkey'"),
        (" dog 1 1 1 1 ", " dog 1 1 1 ", "apascal_train.txt:1: 69 fields"),
        (" dog 1 1 1 1 ", " dog 1 1 1 1 0 ", "apascal_train.txt:1: 71 fields"),
        (" dog 1 1 1 1 ", " dog 5 1 1 1 ", "apascal_train.txt:1: box 5 1 1 1 is empty"),
        (" dog 1 1 1 1 ", " dog 0 1 1 1 ", "apascal_train.txt:1: box 0 1 1 1 is empty or starts below 1"),
        (" 11 6 80 60 0 ", " 11 6 80 60 2 ", "apascal_train.txt:2: attribute value '2'"),
        (" 11 6 80 60 ", " 81 6 90 60 ", "apascal_train.txt:2: box 81 6 90 60 is outside the 80 x 60 image"),
        (" 11 6 80 60 ", " 11 6 80 61 ", "apascal_train.txt:2: box 11 6 80 61 is outside the 80 x 60 image"),
        (" 11 6 80 60 ", " 11 six 80 60 ", "apascal_train.txt:2: box '11 six 80 60'"),
        (" 11 6 80 60 ", " 11 6 nan 60 ", "apascal_train.txt:2: box '11 6 nan 60' is not four numbers"),
        (" 11 6 80 60 ", " 11 6 80 inf ", "apascal_train.txt:2: box '11 6 80 inf' is not four numbers"),
    ],
)
def test_a_wrong_line_is_named_once(tmp_path: Path, old: str, new: str, message: str) -> None:
    write(tmp_path)
    change(tmp_path / "attribute_data" / "apascal_train.txt", old, new)
    problems = survey(tmp_path).problems
    assert len(problems) == 1 and message in problems[0]
    with pytest.raises(UserError, match=r"^[^\n]+$") as caught:
        ready(tmp_path)
    assert message in str(caught.value) and "more)" not in str(caught.value)


def test_an_image_without_any_annotation_is_named(tmp_path: Path) -> None:
    lines = write(tmp_path) / "attribute_data" / "apascal_test.txt"
    lines.write_text("".join(text + "\n" for text in lines.read_text().splitlines() if TEST[1] not in text))
    problems = survey(tmp_path).problems
    assert len(problems) == 1 and f"{TEST[1]} is listed in ImageSets/Main but has no attribute line" in problems[0]
    add_xml(tmp_path)  # official: aPascal need not know every image
    found = survey(tmp_path)
    assert not found.problems and ("images without attribute lines", 1, None) in found.counts


def test_a_wrong_line_that_may_mean_any_image_cannot_be_left_out(tmp_path: Path) -> None:
    lines = write(tmp_path) / "attribute_data" / "apascal_train.txt"
    change(lines, f"{TRAIN[0]}.jpg dog 1", "dog 1")
    with pytest.raises(UserError, match="apascal_train.txt:1: 69 fields") as caught:
        ready(tmp_path, broken="leave-out")
    assert "leave-out" not in str(caught.value)


def test_a_missing_file_of_lines_is_one_problem(tmp_path: Path) -> None:
    (write(tmp_path) / "attribute_data" / "apascal_train.txt").unlink()
    assert ["apascal_train.txt is missing" in problem for problem in survey(tmp_path).problems] == [True]


def test_a_name_in_two_lists_is_named_and_in_neither_subset(tmp_path: Path) -> None:
    write(tmp_path)
    with open(tmp_path / "VOCdevkit" / "VOC2008" / "ImageSets" / "Main" / "val.txt", "a") as file:
        file.write(f"{TRAIN[2]}\n")
    problems = survey(tmp_path).problems
    assert len(problems) == 1 and f"train.txt and val.txt: {TRAIN[2]} is in both" in problems[0]
    data = ready(tmp_path, val_fraction=0.0, broken="leave-out")
    assert (len(data.subset("train")), len(data.subset("test"))) == (4, 2)


def test_lines_of_images_that_are_there_but_in_no_list_are_counted(tmp_path: Path) -> None:
    """VOC 2009-2012 list 4332 of the 4340 images that aPascal's lines are of."""
    write(tmp_path)
    lists = tmp_path / "VOCdevkit" / "VOC2008" / "ImageSets" / "Main"
    change(lists / "train.txt", f"{TRAIN[3]}\n", "")
    found = survey(tmp_path)
    assert not found.problems and ("images with attribute lines but in no list", 1, None) in found.counts
    assert len(ready(tmp_path, val_fraction=0.0).subset("train")) == 4


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
    assert len([problem for problem in survey(tmp_path).problems if Path(gone).name in problem]) == 1
    with pytest.raises(UserError, match=Path(gone).name):
        ready(tmp_path)
    if gone.endswith(".txt"):
        with pytest.raises(UserError, match=f"{Path(gone).name} is missing"):  # of no single image
            ready(tmp_path, broken="leave-out")


@pytest.mark.parametrize(("folder", "what"), [("JPEGImages", "none of the 7 listed"), ("Annotations", "no XML of a")])
def test_a_missing_folder_is_one_line(tmp_path: Path, folder: str, what: str) -> None:
    add_xml(write(tmp_path))
    shutil.rmtree(tmp_path / "VOCdevkit" / "VOC2008" / folder)
    (tmp_path / "VOCdevkit" / "VOC2008" / folder).mkdir()
    problems = survey(tmp_path).problems
    assert len(problems) == 1 and folder in problems[0] and what in problems[0]


def test_a_wrong_file_of_names_is_refused(tmp_path: Path) -> None:
    names = write(tmp_path) / "attribute_data" / "attribute_names.txt"
    whole = names.read_text()
    for text, message in ((whole + "Wing\n", "65 names, must be 64"), (whole.replace("Leg 1\n", "Leg 0\n"), "twice")):
        names.write_text(text)
        assert [message in problem for problem in survey(tmp_path).problems] == [True]
        with pytest.raises(UserError, match="attribute_names.txt"):
            ready(tmp_path, broken="leave-out")


def test_noise_in_place_of_any_file_is_no_crash(tmp_path: Path) -> None:
    add_xml(write(tmp_path))
    noise = np.random.default_rng(0).bytes(3000)
    for path in sorted(path for path in tmp_path.rglob("*.*") if path.is_file()):
        if path.stem in (TRAIN[0], TEST[0]) or path.suffix == ".txt":
            whole = path.read_bytes()
            for content in (noise, b"", whole[: len(whole) // 2 - 5], b"<a/>", b"\xff\xd8\xff"):
                path.write_bytes(content)
                problems = survey(tmp_path).problems
                assert problems and all(len(problem.splitlines()) == 1 for problem in problems), path
            path.write_bytes(whole)
    assert not survey(tmp_path).problems


@pytest.mark.skipif(not REAL.is_dir(), reason="no real images here")
def test_real_files_have_the_documented_numbers() -> None:
    found = survey(REAL)
    counts = {count.what: count.found for count in found.counts}
    assert found.problems == ()
    assert (counts["images, VOC's train (train and val)"], counts["images, VOC's val (test)"]) == (260, 180)
    assert counts["images of train that are carved out as val"] == 52
    assert (counts["attribute lines, train"], counts["attribute lines, test"]) == (619, 390)
    names = read_annotations(Folders(REAL.resolve())).attribute_names
    assert len(set(names)) == 64 and names[0] == "2D Boxy" and "Furn. Leg" in names
