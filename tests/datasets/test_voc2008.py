"""VOC 2008 + aPascal: boxes and attributes of the official formats, subsets, and what is prepared once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtlbench.datasets._voc_words import CLASSES
from mtlbench.datasets.voc2008 import Voc2008
from mtlbench.errors import UserError
from mtlbench.system import parallel
from mtlbench.vision import proposals as selective_search
from tests.support.voc import BITS, TEST, TRAIN, add_xml, image_file, picture, ready, write

pytestmark = pytest.mark.usefixtures("voc_cache")


def find_prepared(tmp_path: Path, of: str = "") -> Path:
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


# ---------------------------------------------------------------------------------------------------- prepared folders
def test_proposals_are_made_once_on_several_processes_and_a_stop_loses_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "FEW", 0)
    write(tmp_path)
    said: list[str] = []
    data = Voc2008(tmp_path)
    data.prepare(said.append)
    assert any("7 images" in text for text in said)
    files = sorted((tmp_path / "cache").rglob("*.npy"))
    stamps, first = [path.stat().st_mtime_ns for path in files], data.fingerprint()
    files[0].unlink()
    shutil.rmtree(find_prepared(tmp_path))
    assert ready(tmp_path).fingerprint() == first
    assert len(files) == 7 and [path.stat().st_mtime_ns for path in files][1:] == stamps[1:]


def test_damaged_proposals_are_named(tmp_path: Path) -> None:
    ready(write(tmp_path))
    stored = next((tmp_path / "cache").rglob("*.npy"))
    shutil.rmtree(find_prepared(tmp_path))
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
    assert (
        again.fingerprint() == first
        and again.subset("test")[1].image.shape == (60, 80, 3)
        and not [path for path in read if path.suffix == ".jpg"]
    )
    image_file(tmp_path, TRAIN[0]).touch()
    assert ready(tmp_path).fingerprint() == first  # the same content
    assert len(read) >= 7


def test_val_fraction_and_number_of_proposals_need_no_new_preparation(tmp_path: Path) -> None:
    whole = ready(write(tmp_path)).subset("test")[0].proposals
    made = (find_prepared(tmp_path) / "about.json").stat().st_mtime_ns
    fewer = ready(tmp_path, proposals=3, val_fraction=0.6)
    assert (find_prepared(tmp_path) / "about.json").stat().st_mtime_ns == made
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
    shutil.rmtree(find_prepared(tmp_path, "there"))
    assert ready(tmp_path / "there").fingerprint() != first


def test_fingerprint_follows_the_proposals(tmp_path: Path) -> None:
    first = ready(write(tmp_path)).fingerprint()
    stored = next((tmp_path / "cache").rglob("*.npy"))
    np.save(stored, np.load(stored) + 1)
    shutil.rmtree(find_prepared(tmp_path))
    assert ready(tmp_path).fingerprint() != first


def test_wrong_options_are_refused(tmp_path: Path) -> None:
    for options in ({"root": None}, {"val_fraction": 1.0}, {"proposals": 0}, {"broken": "ignore"}):
        with pytest.raises(UserError):
            Voc2008(**({"root": tmp_path} | options))
