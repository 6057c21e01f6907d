"""Files as people hand them in: other encodings, other endings, pointers of git; each is one line that says so."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest
from PIL import Image

from mtlbench.datasets._problems import Problem, lines_of
from mtlbench.datasets._voc_words import CLASSES, guess_class
from mtlbench.errors import UserError
from mtlbench.system.given import find_picture, pointer_in, read_text
from mtlbench.system.images import open_image
from tests.support.voc import TEST, TRAIN, add_xml, image_file, survey, write

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
ANNEX = b"/annex/objects/SHA256E-s12345--4d7a.jpg\n"


def lists(root: Path) -> list[Path]:
    main = root / "VOCdevkit" / "VOC2008" / "ImageSets" / "Main"
    return [main / "train.txt", main / "val.txt"]


def texts(root: Path) -> list[Path]:
    lines = root / "attribute_data"
    return [*lists(root), lines / "attribute_names.txt", lines / "apascal_train.txt", lines / "apascal_test.txt"]


# ---------------------------------------------------------------------------------------------------- text
def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    write(tmp_path)
    sound = survey(tmp_path)
    for path in texts(tmp_path):
        path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    assert survey(tmp_path) == sound and sound.problems == ()
    assert read_text(texts(tmp_path)[2])[0] != "\ufeff"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("place", range(5))
def test_another_encoding_is_named_in_one_line(tmp_path: Path, encoding: str, place: int) -> None:
    path = texts(write(tmp_path))[place]
    path.write_bytes(path.read_text().encode(encoding))
    (problem,) = [line for line in survey(tmp_path).problems if path.name in line and "UTF" in line]
    named = encoding.upper()[:6] if encoding != "utf-16-le" else "UTF-16 or binary"
    assert problem == f"{path} is in {named}; save it as UTF-8"
    assert all(line.isprintable() for line in survey(tmp_path).problems)


def test_a_byte_of_latin_1_is_found_in_its_line(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes("ear\nnez\ncôté\n".encode("latin-1"))
    with pytest.raises(UserError, match=rf"{path}:3: byte 0xf4 is not UTF-8 .*; save the file as UTF-8"):
        read_text(path)


def test_lists_of_file_names_are_one_line_each(tmp_path: Path) -> None:
    write(tmp_path)
    for path, begin in zip(lists(tmp_path), ("JPEGImages/", ""), strict=True):
        path.write_text("".join(f"{begin}{name}.jpg\n" for name in path.read_text().split()))
    problems = survey(tmp_path).problems
    assert len(problems) == 2 and f"'JPEGImages/{TRAIN[0]}.jpg' is the name of a file" in problems[0]
    assert all(
        f"on {n} of {n} lines; write names as {name}" in line
        for line, n, name in zip(problems, (len(TRAIN), len(TEST)), (TRAIN[0], TEST[0]), strict=True)
    )


def test_what_cannot_be_seen_is_spelt_out(tmp_path: Path) -> None:
    write(tmp_path)
    path = lists(tmp_path)[0]
    path.write_text(path.read_text().replace(TRAIN[0], f"\u200b{TRAIN[0]}"))
    problems = survey(tmp_path).problems
    assert problems and all(line.isprintable() for line in problems)
    assert any(r"\u200b" in line for line in problems)


# ---------------------------------------------------------------------------------------------------- pictures
@pytest.mark.parametrize("ending", [".JPG", ".jpeg", ".Jpeg", ".png", ".PNG"])
def test_pictures_are_found_under_other_endings(tmp_path: Path, ending: str) -> None:
    write(tmp_path)
    sound = survey(tmp_path)
    for path in list(image_file(tmp_path, TRAIN[0]).parent.glob("*.jpg")):
        if "png" in ending.lower():
            Image.open(path).save(path.with_suffix(ending), format="PNG")
            path.unlink()
        else:
            path.rename(path.with_suffix(ending))
    assert survey(tmp_path) == sound


def test_a_found_picture_is_of_the_wanted_kind_and_nearest_in_case(tmp_path: Path) -> None:
    for name in ("a.JPG", "A.jpg", "b.txt"):
        (tmp_path / name).touch()
    assert find_picture(tmp_path, "a").name == "a.JPG" and find_picture(tmp_path, "A").name == "A.jpg"
    assert find_picture(tmp_path, "b").name == "b.jpg" and find_picture(tmp_path, "a", (".png",)).name == "a.png"
    (tmp_path / "B.jpeg").touch()  # later: nothing old is remembered
    assert find_picture(tmp_path, "b").name == "B.jpeg"


@pytest.mark.parametrize(("pointer", "to_type"), [(LFS, "git lfs pull"), (ANNEX, "git annex get")])
def test_pointers_of_git_are_called_that(tmp_path: Path, pointer: bytes, to_type: str) -> None:
    add_xml(write(tmp_path))
    image_file(tmp_path, TRAIN[0]).write_bytes(pointer)
    (problem,) = survey(tmp_path).problems
    assert f"{TRAIN[0]}.jpg is a " in problem and to_type in problem
    for name in (*TRAIN, *TEST):
        image_file(tmp_path, name).write_bytes(pointer)
        (tmp_path / "VOCdevkit" / "VOC2008" / "Annotations" / f"{name}.xml").write_bytes(pointer)
    problems = survey(tmp_path).problems
    assert len(problems) == 2 and all(to_type in problem for problem in problems)
    for path in texts(tmp_path):
        path.write_bytes(pointer)
    assert sum(to_type in problem for problem in survey(tmp_path).problems) == 5
    with pytest.raises(OSError, match=to_type):
        open_image(pointer)
    assert pointer_in(b"\xff\xd8\xff") == ""


def test_a_link_of_git_annex_without_its_content_is_called_that(tmp_path: Path) -> None:
    write(tmp_path)
    image = image_file(tmp_path, TRAIN[0])
    image.unlink()
    image.symlink_to("../../.git/annex/objects/x1/y2/SHA256E-s1--ab.jpg")
    (problem,) = survey(tmp_path).problems
    assert "is a git-annex link, not the file; type git annex get" in problem


def test_a_clone_of_git_annex_without_any_content_is_called_that(tmp_path: Path) -> None:
    add_xml(write(tmp_path))
    images, lines = sorted(image_file(tmp_path, TRAIN[0]).parent.iterdir()), texts(tmp_path)[3]
    annotations = sorted((tmp_path / "VOCdevkit" / "VOC2008" / "Annotations").iterdir())
    for path in (*images, *annotations, lines):
        path.unlink()
        path.symlink_to("../../.git/annex/objects/x1/y2/SHA256E-s1--ab")
    problems = survey(tmp_path).problems
    what = f"{len(annotations)} files of Annotations are each a git-annex link, not the file; type git annex get"
    assert sum(what in problem for problem in problems) == 1
    assert f"{lines} is a git-annex link, not the file; type git annex get in its repository" in problems
    assert sum(f"{len(images)} images are each a git-annex link" in problem for problem in problems) == 1


def test_pictures_of_no_kind_that_is_read_are_named(tmp_path: Path) -> None:
    write(tmp_path)
    for path in list(image_file(tmp_path, TRAIN[0]).parent.iterdir()):
        path.rename(path.with_suffix(".bmp"))
    (problem,) = survey(tmp_path).problems
    assert problem.endswith("listed images; copy them there as JPEG or PNG (" + TRAIN[0] + ".bmp there is not taken)")


def test_a_message_names_no_object_of_python(tmp_path: Path) -> None:
    write(tmp_path)
    image_file(tmp_path, TRAIN[0]).write_bytes(b"no image at all")
    (problem,) = survey(tmp_path).problems
    assert "object at 0x" not in problem and "its bytes are those of no image" in problem


# ---------------------------------------------------------------------------------------------------- classes
@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("tv monitor", "tvmonitor"),
        ("motorcycle", "motorbike"),
        ("airplane", "aeroplane"),
        ("Potted_Plant", "pottedplant"),
        ("dining table", "diningtable"),
        ("Car", "car"),
        ("yak", ""),
    ],
)
def test_other_names_of_classes(written: str, meant: str) -> None:
    assert guess_class(written) == meant and (not meant or meant in CLASSES)


def test_a_class_of_another_name_is_answered_with_vocs(tmp_path: Path) -> None:
    add_xml(write(tmp_path))
    xml = tmp_path / "VOCdevkit" / "VOC2008" / "Annotations" / f"{TRAIN[4]}.xml"
    xml.write_text(xml.read_text().replace("<name>cat</name>", "<name>motorcycle</name>"))
    lines = tmp_path / "attribute_data" / "apascal_train.txt"
    first, *rest = lines.read_text().splitlines()
    fields = first.split()
    lines.write_text("\n".join([" ".join([fields[0], "tv", "monitor", *fields[2:]]), *rest]) + "\n")
    problems = survey(tmp_path).problems
    assert sum("'motorcycle' is none of VOC's 20 classes; VOC calls it motorbike" in line for line in problems) == 1
    assert sum("71 fields, must be 70; 'tv monitor' is tvmonitor" in line for line in problems) == 1


def test_many_classes_of_two_words_still_name_the_class_that_is_meant(tmp_path: Path) -> None:
    path = texts(write(tmp_path))[3]
    rows = [line.split() for line in path.read_text().splitlines()]
    path.write_text("".join(" ".join([row[0], "tv", "monitor", *row[2:]]) + "\n" for row in (rows * 5)[:5]))
    (problem,) = [line for line in survey(tmp_path).problems if "number of fields" in line]
    assert problem.startswith(
        "5 lines have a wrong number of fields; 'tv monitor' is tvmonitor; correct or delete them"
    )


# ---------------------------------------------------------------------------------------------------- many of a kind
def test_five_of_a_kind_are_one_line_with_a_count_and_three_examples(tmp_path: Path) -> None:
    write(tmp_path)
    names = sorted((*TRAIN, *TEST))[:6]
    kept = image_file(tmp_path, names[5]).read_bytes()
    for name in names[:5]:
        image_file(tmp_path, name).unlink()
    (problem,) = survey(tmp_path).problems
    assert problem.startswith("5 images are listed in ImageSets/Main but missing; copy them to ")
    assert problem.endswith(f": {', '.join(names[:3])} and 2 more")
    image_file(tmp_path, names[4]).write_bytes(kept)
    assert len(survey(tmp_path).problems) == 4  # below five, each has its line


def test_kinds_stand_where_their_first_one_stands() -> None:
    some = [Problem(f"p{n}", str(n), "pictures are bad", f"n{n}") for n in range(7)]
    mixed = [some[0], Problem("alone"), *some[1:], some[3], Problem("alone")]
    assert lines_of(mixed) == ("7 pictures are bad: n0, n1, n2 and 4 more", "alone")
