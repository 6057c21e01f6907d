"""VOC 2008 + aPascal: official formats, boxes, subsets, and proposals that see pixels alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtlbench.data import _per_image
from mtlbench.data import _selective_search as selective_search
from mtlbench.data._voc_files import ATTRIBUTES, CLASSES, Folders, read_annotations
from mtlbench.data.voc2008 import Voc2008
from mtlbench.errors import UserError
from mtlbench.plugins import Sample, Survey

REAL = Path(os.environ.get("MTLBENCH_TEST_DATA", Path(__file__).parents[1] / ".." / "shared" / "data")) / "voc2008"
TRAIN, TEST = [f"2008_{n:06d}" for n in (2, 3, 7, 8, 9)], ["2008_000021", "2008_000023"]
BITS = {"dog": [5, 9], "person": [5, 17, 63]}  # positive attributes


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTLBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(_per_image, "FEW", len(TRAIN + TEST))  # starting processes takes two seconds


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


def ready(root: Path, **options: float | str) -> Voc2008:
    data = Voc2008(root, **options)  # type: ignore[arg-type]
    data.prepare(lambda text: None)
    return data


def everything(data: Voc2008, subset: str) -> list[Sample]:
    return [data.subset(subset)[index] for index in range(len(data.subset(subset)))]


def image_file(root: Path, name: str) -> Path:
    return root / "VOCdevkit" / "VOC2008" / "JPEGImages" / f"{name}.jpg"


def prepared_folder(tmp_path: Path, of: str = "") -> Path:
    """The newest one of the default options."""
    folders = (tmp_path / "cache").glob("voc2008-v2-200-*")
    return max(folders, key=lambda folder: (folder / "about.json").stat().st_mtime_ns)


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
    assert len(ready(tmp_path / "VOCdevkit").subset("test")) == 2


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


def test_recall_of_hand_worked_boxes() -> None:
    wanted = np.array([[0, 0, 10, 10], [20, 20, 30, 30]], np.float32)
    offered = np.array([[0, 0, 10, 5], [20, 20, 30, 24]], np.float32)  # IoU 0.5 and 0.4
    nothing = np.zeros((0, 4), np.float32)
    found = selective_search.recall([(wanted, offered), (nothing, offered), (wanted[:1], nothing)])
    assert found == (1, 3, 4 / 3) and found.share == pytest.approx(1 / 3)


# ---------------------------------------------------------------------------------------------------- prepared folders
def test_proposals_are_made_once_on_several_processes_and_a_stop_loses_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_per_image, "FEW", 0)
    write(tmp_path)
    said: list[str] = []
    data = Voc2008(tmp_path)
    data.prepare(said.append)
    assert any("7 images" in text for text in said)
    files = sorted((tmp_path / "cache").rglob("*.npy"))
    stamps, first = [path.stat().st_mtime_ns for path in files], data.fingerprint()
    files[0].unlink()
    shutil.rmtree(prepared_folder(tmp_path))
    assert ready(tmp_path).fingerprint() == first
    assert len(files) == 7 and [path.stat().st_mtime_ns for path in files][1:] == stamps[1:]


def test_damaged_proposals_are_named(tmp_path: Path) -> None:
    ready(write(tmp_path))
    stored = next((tmp_path / "cache").rglob("*.npy"))
    shutil.rmtree(prepared_folder(tmp_path))
    stored.write_bytes(stored.read_bytes()[:-9])
    with pytest.raises(UserError, match=stored.name):
        ready(tmp_path)
    np.save(stored, np.zeros((3, 5), np.float32))
    with pytest.raises(UserError, match=stored.name):
        ready(tmp_path)


def test_proposals_are_not_kept_for_an_image_that_changed_meanwhile(tmp_path: Path) -> None:
    path = image_file(write(tmp_path), TRAIN[0])
    key = selective_search.digest(path.read_bytes())
    Image.fromarray(picture(77)).save(path)
    with pytest.raises(UserError, match=f"{TRAIN[0]}.jpg was changed while"):
        selective_search.make_proposals({key: path}, tmp_path / "made", 200, lambda text: None)
    assert not list((tmp_path / "made").glob("*.npy"))


def test_a_second_opening_reads_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ready(write(tmp_path)).fingerprint()
    read: list[Path] = []
    whole = Path.read_bytes

    def noted(path: Path) -> bytes:
        read.append(path)
        return whole(path)

    monkeypatch.setattr(Path, "read_bytes", noted)
    again = ready(tmp_path)
    assert again.fingerprint() == first and again.subset("test")[1].image.shape == (60, 80, 3) and not read
    image_file(tmp_path, TRAIN[0]).touch()
    assert ready(tmp_path).fingerprint() == first  # the same content
    assert len(read) >= 7


def test_val_fraction_and_number_of_proposals_need_no_new_preparation(tmp_path: Path) -> None:
    whole = ready(write(tmp_path)).subset("test")[0].proposals
    made = (prepared_folder(tmp_path) / "about.json").stat().st_mtime_ns
    fewer = ready(tmp_path, proposals=3, val_fraction=0.6)
    assert (prepared_folder(tmp_path) / "about.json").stat().st_mtime_ns == made
    first = fewer.subset("test")[0].proposals
    assert whole is not None and first is not None and len(whole) > 3 and (first == whole[:3]).all()
    assert len(fewer.subset("val")) == 3


def test_what_was_not_prepared_says_so(tmp_path: Path) -> None:
    data = Voc2008(write(tmp_path))
    for call in (data.fingerprint, lambda: data.subset("train"), lambda: data.counts("detection")):
        with pytest.raises(UserError, match="mtlbench data prepare voc2008 --data-root"):
            call()


def test_fingerprint_follows_what_training_sees(tmp_path: Path) -> None:
    write(tmp_path)
    first = ready(tmp_path).fingerprint()
    assert ready(tmp_path).fingerprint() == first
    assert ready(tmp_path, broken="leave-out").fingerprint() == first  # nothing is broken
    for options in ({"val_fraction": 0.4}, {"proposals": 3}, {"proposal_size": 64}):
        assert ready(tmp_path, **options).fingerprint() != first
    lines = tmp_path / "attribute_data" / "apascal_train.txt"
    lines.write_text(lines.read_text().replace(" 11 6 ", " 12 6 "))
    assert ready(tmp_path).fingerprint() != first


def test_fingerprint_is_of_contents_not_of_places_and_times(tmp_path: Path) -> None:
    first = ready(write(tmp_path / "here")).fingerprint()
    shutil.copytree(tmp_path / "here", tmp_path / "there", copy_function=shutil.copyfile)
    assert ready(tmp_path / "there").fingerprint() == first
    # other pixels in a file of the same size and time: invisible to the stamp, seen when all is made anew
    path = image_file(tmp_path / "there", TRAIN[1])
    before, content = path.stat(), bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert ready(tmp_path / "there").fingerprint() == first
    shutil.rmtree(prepared_folder(tmp_path, "there"))
    assert ready(tmp_path / "there").fingerprint() != first


def test_fingerprint_follows_the_proposals(tmp_path: Path) -> None:
    first = ready(write(tmp_path)).fingerprint()
    stored = next((tmp_path / "cache").rglob("*.npy"))
    np.save(stored, np.load(stored) + 1)
    shutil.rmtree(prepared_folder(tmp_path))
    assert ready(tmp_path).fingerprint() != first


# ---------------------------------------------------------------------------------------------------- broken files
def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def survey(root: Path) -> Survey:
    return Voc2008(root).verify(lambda text: None)


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
        f"{TRAIN[0]}.jpg is truncated", f"{TRAIN[1]}.jpg is listed in ImageSets/Main but missing",
        f"{TRAIN[2]}.xml: no objects", f"{TRAIN[3]}.xml: not XML",
        f"{TRAIN[4]}.xml, object 1: box 10 6 81 60 is outside the 80 x 60 image",
        f"{TRAIN[4]}.xml, object 2: box 30 51 50 50 is empty", f"{TRAIN[4]}.xml, object 3: 'yak' is none of",
        "apascal_test.txt:1: 69 fields", "apascal_test.txt:4: attribute value '7'",
        "apascal_train.txt:11: 2008_000099 is in no list",
    ]  # fmt: skip


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
    assert [sample.image.tobytes() for sample in everything(data, "train")] == [image.tobytes() for image in kept]
    assert [sample.image.tobytes() for sample in everything(data, "test")] == [whole.subset("test")[1].image.tobytes()]
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


def test_wrong_options_are_refused(tmp_path: Path) -> None:
    for options in ({"root": None}, {"val_fraction": 1.0}, {"proposals": 0}, {"broken": "ignore"}):
        with pytest.raises(UserError):
            Voc2008(**({"root": tmp_path} | options))  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------------- real files
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


@pytest.mark.skipif(not REAL.is_dir(), reason="no real images here")
def test_proposals_find_real_objects() -> None:
    found, folders = read_annotations(Folders(REAL.resolve())), Folders(REAL.resolve())
    pairs = []
    for name in found.lists["val"][::18]:
        image = selective_search.decode(folders.image(name).read_bytes())
        boxes = np.array([thing.box for thing in found.things[name]])
        pairs.append((boxes, selective_search.propose(image, 200, 0)[:256]))
    assert selective_search.recall(pairs).share >= 0.75
