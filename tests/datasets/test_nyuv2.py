"""NYU-v2: official formats, ignored pixels, axes and the check that they are right, subsets."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from mtlbench.contracts import Sample, Subset
from mtlbench.datasets import _nyu_files, nyuv2
from mtlbench.datasets._nyu_classes import CLASSES
from mtlbench.datasets._nyu_normals import AXIS, list_conventions, normals_from_depth, turn
from mtlbench.datasets._prepared import Writer
from mtlbench.datasets.nyuv2 import FLOOR, Nyuv2, carve
from mtlbench.errors import UserError
from mtlbench.system import parallel
from mtlbench.system.cache import cache_root
from tests.support.nyu import HEIGHT, WIDTH, mat, silent
from tests.support.places import REAL_DATA

pytestmark = pytest.mark.usefixtures("own_cache")

REAL = REAL_DATA / "nyuv2_small"
TRAIN, TEST = [3, 4, 5, 19, 1300, 1301, 1303, 1310], [30, 76]
STANDARD = "left-up-towards"


def room() -> tuple[np.ndarray, np.ndarray]:
    """A corridor with a left and a right wall and a floor: normals (x left, y up, z towards the camera), classes."""
    normals, classes = np.zeros((HEIGHT, WIDTH, 3)), np.ones((HEIGHT, WIDTH), np.uint8)
    normals[:, :20] = [-1, 0, 0]  # the left wall looks right
    normals[:, 20:44] = [0, 0, 1]
    normals[:, 44:] = [1, 0, 0]
    normals[30:, 10:54] = [0, 1, 0]
    classes[30:, 10:54] = FLOOR + 1
    classes[0], normals[1] = 0, 0  # a row without a class, one without normals
    return normals, classes


def encode(normals: np.ndarray, axes: str) -> np.ndarray:
    """uint8 pixels of a normal file with the given axes; invalid = (127, 127, 127)."""
    channels = [sign * normals[..., axis] for axis, sign in (AXIS[word] for word in axes.split("-"))]
    pixels = np.rint(127.5 + 127.5 * np.stack(channels, axis=-1)).astype(np.uint8)
    pixels[~normals.any(axis=-1)] = 127
    return pixels


def write(root: Path, axes: str = "left-up-towards") -> Path:
    normals, classes = room()
    rng = np.random.default_rng(0)
    for name, frames in (("train", TRAIN), ("test", TEST)):
        for folder in ("image", "seg40", "normal"):
            (root / folder / name).mkdir(parents=True)
        (root / f"{name}.txt").write_text("".join(f"{frame:05d}\n" for frame in frames))
        for frame in frames:
            pixels = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
            Image.fromarray(pixels).save(root / "image" / name / f"{frame:05d}.jpg")
            Image.fromarray(classes).save(root / "seg40" / name / f"{frame:05d}.png")
            Image.fromarray(encode(normals, axes)).save(root / "normal" / name / f"{frame:05d}.png")
    return root


def test_labels_of_a_known_room(tmp_path: Path) -> None:
    sample = Nyuv2(write(tmp_path)).subset("test")[0]
    normals, classes = room()
    assert sample.image.shape == (HEIGHT, WIDTH, 3) and sample.image.dtype == np.uint8
    found = sample.labels["semseg"]
    assert found.dtype == np.uint8 and (found[0] == 255).all() and (found[1:] == classes[1:] - 1).all()
    assert found[40, 30] == FLOOR
    found = sample.labels["normals"]
    assert found.dtype == np.float32 and not found[1].any()
    length = np.linalg.norm(found, axis=2)
    assert length[normals.any(axis=2)] == pytest.approx(1, abs=1e-6)
    assert (found * normals).sum(axis=2)[normals.any(axis=2)].min() > np.cos(np.radians(0.5))  # 8 bits


@pytest.mark.parametrize("axes", ["left-up-towards", "right-in-up", "right-down-in"])
def test_every_convention_gives_the_same_normals(tmp_path: Path, axes: str) -> None:
    data = Nyuv2(write(tmp_path, axes), axes=axes)
    data.prepare(silent)
    expected = room()[0]
    assert np.abs(data.subset("train")[0].labels["normals"] - expected).max() < 0.01


@pytest.mark.parametrize("wrong", ["right-in-up", "right-up-towards", "left-down-towards", "left-up-in"])
def test_wrong_axes_are_noticed_and_the_right_ones_named(tmp_path: Path, wrong: str) -> None:
    write(tmp_path)
    with pytest.raises(UserError, match="axes=left-up-towards"):
        Nyuv2(tmp_path, axes=wrong).prepare(silent)


def test_conventions_are_the_48_signed_permutations() -> None:
    pictures = {turn(np.eye(3), axes).tobytes() for axes in list_conventions()}
    assert len(list_conventions()) == len(pictures) == 48
    # x right, y into the scene, z up: a wall ahead is (0, -1, 0), a floor (0, 0, 1)
    assert turn(np.array([[0.0, -1, 0], [0, 0, 1], [1, 0, 0]]), "right-in-up").tolist() == [
        [0, 0, 1],
        [0, 1, 0],
        [-1, 0, 0],
    ]


def test_noise_instead_of_normals_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    rng = np.random.default_rng(0)
    for path in (tmp_path / "normal").rglob("*.png"):
        Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)).save(path)
    with pytest.raises(UserError, match="under no order of axes"):
        Nyuv2(tmp_path).prepare(silent)


def test_val_takes_whole_runs_of_neighbouring_frames() -> None:
    official = {1, 2, 3, 10, 11, 20, 30, 31, 32, 33}
    train = sorted(official - {2})
    for fraction in (0.0, 0.2, 0.4, 0.7):
        val = carve(train, official, fraction)
        assert len(val) <= round(fraction * len(train))
        for run in ({1, 3}, {10, 11}, {20}, {30, 31, 32, 33}):  # 2 is not here, yet joins 1 and 3
            assert run <= val or not run & val
    assert not carve(train, official, 0.0) and carve(train, official, 0.4)


def test_subsets_are_disjoint_and_counts_are_trains(tmp_path: Path) -> None:
    data = Nyuv2(write(tmp_path), val_fraction=0.25)
    assert [len(data.subset(name)) for name in ("train", "val", "test")] == [6, 2, 2]
    images = {
        name: {sample.image.tobytes() for sample in all_of(data.subset(name))} for name in ("train", "val", "test")
    }
    assert len(set.union(*images.values())) == 10  # each frame is noise of its own
    where = [tmp_path / "image" / "test" / f"{frame:05d}.jpg" for frame in TEST]
    assert images["test"] == {np.asarray(Image.open(path)).tobytes() for path in where}
    classes = room()[1]
    counts = data.counts("semseg")
    assert counts[FLOOR] == 6 * (classes == FLOOR + 1).sum() and sum(counts) == 6 * (classes > 0).sum()
    assert data.counts("normals") == () and data.categories("normals") == ()


def test_class_names_come_from_the_official_file(tmp_path: Path) -> None:
    write(tmp_path)
    assert Nyuv2(tmp_path).categories("semseg") == CLASSES and len(set(CLASSES)) == 40
    names = np.array([[f"class {n}" for n in range(40)]], dtype=object)
    scipy.io.savemat(tmp_path / "classMapping40.mat", {"className": names})
    assert Nyuv2(tmp_path).categories("semseg")[39] == "class 39"
    scipy.io.savemat(tmp_path / "classMapping40.mat", {"className": names[:, :13]})
    (problem,) = Nyuv2(tmp_path).verify(silent).problems
    assert "13 class names" in problem


def test_lists_must_agree_with_the_official_split(tmp_path: Path) -> None:
    write(tmp_path)
    official = {"trainNdxs": np.array(TRAIN + [6])[:, None], "testNdxs": np.array(TEST)[:, None]}
    scipy.io.savemat(tmp_path / "splits.mat", official)
    Nyuv2(tmp_path).prepare(silent)
    scipy.io.savemat(tmp_path / "splits.mat", {**official, "trainNdxs": np.array(TRAIN[1:])[:, None]})
    with pytest.raises(UserError, match="00003 is not an official train frame"):
        Nyuv2(tmp_path).prepare(silent)


def test_fingerprint_follows_options_and_content(tmp_path: Path) -> None:
    first = Nyuv2(write(tmp_path)).fingerprint()
    assert Nyuv2(tmp_path).fingerprint() == Nyuv2(tmp_path, broken="leave-out").fingerprint() == first
    assert Nyuv2(tmp_path, val_fraction=0.5).fingerprint() != first
    path, prints = tmp_path / "seg40" / "test" / "00030.png", set()
    for value in (7, 8):  # uncompressed, so of one size
        Image.fromarray(np.full((HEIGHT, WIDTH), value, np.uint8)).save(path, format="BMP")
        prints.add((path.stat().st_size, Nyuv2(tmp_path).fingerprint()))
    assert len({size for size, _ in prints}) == 1 and len(prints) == 2
    (tmp_path / "train.txt").write_text("00003\n00004\n")
    assert len({first, *(found for _, found in prints), Nyuv2(tmp_path).fingerprint()}) == 4


def test_fingerprint_is_of_the_files_not_of_their_place_or_time(tmp_path: Path) -> None:
    write(tmp_path / "a")
    first = Nyuv2(tmp_path / "a").fingerprint()
    (tmp_path / "a").rename(tmp_path / "b")
    for path in (tmp_path / "b").rglob("*.png"):
        os.utime(path, ns=(1, 1))
    assert Nyuv2(tmp_path / "b").fingerprint() == first


def test_user_errors_name_the_file(tmp_path: Path) -> None:
    write(tmp_path)
    cases = {"root": None, "axes": "left-left-up", "val_fraction": 1.0, "broken": "keep"}
    for option, value in cases.items():
        with pytest.raises(UserError):
            Nyuv2(**{"root": tmp_path, option: value})
    wrong = tmp_path / "seg40" / "test" / "00030.png"
    Image.fromarray(np.full((HEIGHT, WIDTH), 41, np.uint8)).save(wrong)
    with pytest.raises(UserError, match="test/00030.png"):
        Nyuv2(tmp_path).subset("test")[0]
    wrong.unlink()
    with pytest.raises(UserError, match="test/00030.png is listed in test.txt"):
        Nyuv2(tmp_path).prepare(silent)
    (tmp_path / "test.txt").write_text("00076\n1450\n")
    with pytest.raises(UserError, match="test.txt:2: '1450'"):
        Nyuv2(tmp_path).subset("test")
    (tmp_path / "normal").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="no normals"):
        Nyuv2(tmp_path)


# ---------------------------------------------------------------------------------------------------- preparing
def all_of(subset: Subset) -> list[Sample]:
    return [subset[index] for index in range(len(subset))]


def same(one: Nyuv2, other: Nyuv2) -> bool:
    """Whether all samples of both are equal."""
    for name in ("train", "val", "test"):
        samples = all_of(one.subset(name)), all_of(other.subset(name))
        if len(samples[0]) != len(samples[1]):
            return False
        for a, b in zip(*samples, strict=True):
            if a.image.tobytes() != b.image.tobytes() or any(
                a.labels[task].tobytes() != b.labels[task].tobytes() for task in ("semseg", "normals")
            ):
                return False
    return True


def test_prepared_once_and_anew_when_a_file_was_written(tmp_path: Path) -> None:
    data = Nyuv2(write(tmp_path))
    data.prepare(silent)
    for path in [path for folder in ("image", "seg40", "normal") for path in (tmp_path / folder).rglob("*.*")]:
        before = path.stat()
        path.write_bytes(b"x" * before.st_size)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    for options in ({}, {"val_fraction": 0.5}, {"broken": "leave-out"}):  # none of them needs another pass
        again = Nyuv2(tmp_path, **options)
        again.prepare(silent)
        assert again.subset("test")[0].image.tobytes() == data.subset("test")[0].image.tobytes()
    os.utime(path)
    with pytest.raises(UserError, match="not a readable image"):
        Nyuv2(tmp_path).prepare(silent)


def test_killed_half_way_leaves_nothing_and_the_next_is_whole(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path)
    seen: list[str] = []

    def dies(self: Writer, name: str, array: np.ndarray) -> None:
        seen.append(name)
        if len(seen) == 9:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Writer, "add", dies)
        Nyuv2(tmp_path).prepare(silent)
    assert not [path for path in own_cache.rglob("*") if path.is_file() and not path.name.endswith(".lock")]
    Nyuv2(tmp_path).prepare(silent)
    assert Nyuv2(tmp_path).verify(silent).problems == ()


def test_verify_notices_a_damaged_prepared_file(tmp_path: Path, own_cache: Path) -> None:
    data = Nyuv2(write(tmp_path))
    data.prepare(silent)
    (path,) = own_cache.rglob("semseg.bin")
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    (problem,) = Nyuv2(tmp_path).verify(silent).problems
    assert problem.startswith(str(path))


# ---------------------------------------------------------------------------------------------------- what is broken
def list_twice(root: Path) -> None:
    (root / "test.txt").write_text((root / "test.txt").read_text() + "00019\n")


def test_a_folder_broken_in_ten_ways_gives_ten_lines(tmp_path: Path) -> None:
    write(tmp_path)
    official = {"trainNdxs": np.array([frame for frame in TRAIN if frame != 1310]), "testNdxs": np.array(TEST)}
    scipy.io.savemat(tmp_path / "splits.mat", official)  # 1: frame 1310 is not official
    image = tmp_path / "image" / "train"
    (image / "00003.jpg").unlink()  # 2
    (image / "00004.jpg").write_bytes((image / "00004.jpg").read_bytes()[:-300])  # 3: truncated
    (tmp_path / "normal" / "train" / "00005.png").write_bytes(b"no picture")  # 4
    list_twice(tmp_path)  # 5
    Image.new("L", (WIDTH, HEIGHT // 2)).save(tmp_path / "seg40" / "train" / "01300.png")  # 6: another size
    Image.new("L", (WIDTH, HEIGHT), 41).save(tmp_path / "seg40" / "train" / "01301.png")  # 7: label out of range
    Image.new("RGB", (WIDTH, HEIGHT), (127, 127, 127)).save(tmp_path / "normal" / "test" / "00030.png")  # 8
    (tmp_path / "train.txt").write_text((tmp_path / "train.txt").read_text() + "chair\n")  # 9
    survey = Nyuv2(tmp_path, axes="right-in-up").verify(silent)  # 10
    assert len(survey.problems) == len(set(survey.problems)) == 10, survey.problems
    for words in (
        ("train.txt", "01310", "official"),
        ("00003.jpg", "missing"),
        ("00004.jpg", "readable"),
        ("00005.png", "readable"),
        ("00019", "both"),
        ("01300", "sizes"),
        ("01301.png", "1..40"),
        ("00030.png", "not one valid normal"),
        ("train.txt:9", "'chair'"),
        ("axes=left-up-towards",),
    ):
        assert sum(all(word in problem for word in words) for problem in survey.problems) == 1, words
    assert all("\n" not in problem for problem in survey.problems)
    counts = {count.what: count for count in survey.counts}
    assert counts["frames"][1:] == (2, 1449) and counts["official train frames"][1:] == (1, 795)
    with pytest.raises(UserError, match=r"axes=left-up-towards \(and 9 more\)") as refused:
        Nyuv2(tmp_path, axes="right-in-up", broken="leave-out").prepare(silent)  # no frame's fault
    assert "leave-out" not in str(refused.value)
    assert not list(cache_root().rglob("about.json"))


def test_images_are_found_under_other_endings_and_label_maps_are_not_taken_from_jpeg(tmp_path: Path) -> None:
    write(tmp_path)
    sound = Nyuv2(tmp_path).verify(silent)
    for path in [*(tmp_path / "image").rglob("*.jpg"), *(tmp_path / "image").rglob("*.png")]:
        path.rename(path.with_suffix(path.suffix.upper()))
    assert Nyuv2(tmp_path).verify(silent) == sound
    path = next(iter(sorted((tmp_path / "seg40" / "train").glob("*.png"))))
    path.rename(path.with_suffix(".jpg"))
    (problem,) = Nyuv2(tmp_path).verify(silent).problems
    assert f"{path} is listed in train.txt but missing from seg40" in problem
    assert f"({path.stem}.jpg there is not taken for it)" in problem


def test_broken_frames_are_refused_or_left_out(tmp_path: Path) -> None:
    data = Nyuv2(write(tmp_path), val_fraction=0.25)
    data.prepare(silent)
    train = [sample.image.tobytes() for sample in all_of(data.subset("train"))]
    val = [sample.image.tobytes() for sample in all_of(data.subset("val"))]
    order = [np.asarray(Image.open(tmp_path / "image" / "train" / f"{n:05d}.jpg")).tobytes() for n in TRAIN]
    broken = [TRAIN[order.index(train[0])], TRAIN[order.index(val[0])]]
    for frame in broken:
        (tmp_path / "seg40" / "train" / f"{frame:05d}.png").unlink()
    with pytest.raises(UserError, match=r"missing.*\(and 1 more\); mtlbench data verify nyuv2 .*broken=leave-out"):
        Nyuv2(tmp_path).prepare(silent)
    said: list[str] = []
    left = Nyuv2(tmp_path, val_fraction=0.25, broken="leave-out")
    left.prepare(said.append)
    assert "2 of 10 frames are left out" in said[-1]
    # the frames that stay keep their subset
    assert [sample.image.tobytes() for sample in all_of(left.subset("train"))] == train[1:]
    assert [sample.image.tobytes() for sample in all_of(left.subset("val"))] == val[1:]
    with pytest.raises(UserError, match="and 1 more"):  # prepared already, yet refused
        Nyuv2(tmp_path).prepare(silent)
    for path in (tmp_path / "normal" / "test").iterdir():
        path.unlink()
    with pytest.raises(UserError, match="no whole frame of test is left"):
        Nyuv2(tmp_path, broken="leave-out").prepare(silent)


def as_folders(root: Path, arrays: dict[str, np.ndarray]) -> None:
    for name, frames in (("train", [1, 2, 4]), ("test", [3])):
        (root / f"{name}.txt").parent.mkdir(exist_ok=True)
        (root / f"{name}.txt").write_text("".join(f"{frame:05d}\n" for frame in frames))
        for folder in ("image", "seg40", "depth"):
            (root / folder / name).mkdir(parents=True)
        for frame in frames:
            labels = arrays["labels"][frame - 1].astype(int)
            parts = {
                "image": arrays["images"][frame - 1],
                "seg40": np.where(labels > 0, (labels - 1) % 40 + 1, 0).astype(np.uint8),
                "depth": np.rint(arrays["depths"][frame - 1] * 1000).astype(np.uint16),
            }
            for folder, pixels in parts.items():
                Image.fromarray(pixels).save(root / folder / name / f"{frame:05d}.png")


def test_official_files_and_folders_give_the_same(tmp_path: Path) -> None:
    arrays = mat(tmp_path / "mat")
    as_folders(tmp_path / "folders", arrays)
    official, folders = Nyuv2(tmp_path / "mat"), Nyuv2(tmp_path / "folders")
    assert [len(official.subset(name)) for name in ("train", "val", "test")] == [3, 0, 1]
    assert same(official, folders) and official.counts("semseg") == folders.counts("semseg")
    assert official.subset("test")[0].labels["normals"].any() and official.verify(silent).problems == ()
    view = _nyu_files.read_camera(tmp_path, HEIGHT, WIDTH)
    for frame, sample in ((0, official.subset("train")[0]), (3, official.subset("train")[2])):
        derived = normals_from_depth(_nyu_files.cut_to_camera(arrays["depths"][frame]), *view)
        assert derived.any() and np.abs(sample.labels["normals"] - derived).max() < 0.01
        assert (sample.image == arrays["images"][frame]).all()
    files = sorted((cache_root() / "nyuv2-normals").glob("*.png"))
    assert len(files) == 4  # by the depth's content: both used the same
    for place, nested in (("mat", False), ("folders", True)):  # given normals win over depth
        for frame, name in ((1, "train"), (2, "train"), (4, "train"), (3, "test")):
            folder = tmp_path / place / "normal" / (name if nested else "")
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(encode(room()[0], STANDARD)).save(folder / f"{frame:05d}.png")
    official, folders = Nyuv2(tmp_path / "mat"), Nyuv2(tmp_path / "folders")
    assert same(official, folders)
    assert np.abs(official.subset("test")[0].labels["normals"] - room()[0]).max() < 0.01


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": lambda a: None}, "has no variable labels"),
        ({"depths": lambda a: None}, "has no variable depths"),
        ({"labels": lambda a: a[:3]}, "arrays do not fit each other"),
        ({"depths": lambda a: a[:, :-1]}, "arrays do not fit each other"),
        ({"labels": lambda a: np.where(np.arange(4)[:, None, None] == 1, 895, a)}, "frame 00002: label 895"),
        ({"depths": lambda a: np.where(a == a[2].max(), np.nan, a)}, "NaN"),
        ({"depths": lambda a: a * (np.arange(4) != 3).astype(np.float32)[:, None, None]}, "no depth is measured"),
        ({name: lambda a: a[:3] for name in ("images", "labels", "depths")}, "00004 is not among the 3"),
    ],
)
def test_official_files_broken_in_one_way_give_one_kind_of_line(
    tmp_path: Path, change: dict[str, Callable[[np.ndarray], np.ndarray | None]], words: str
) -> None:
    mat(tmp_path, **change)
    problems = Nyuv2(tmp_path).verify(silent).problems
    assert problems and len(set(problems)) == len(problems) and all(words in problem for problem in problems), problems
    assert words == "NaN" or len(problems) == 1
    with pytest.raises(UserError, match="data verify nyuv2"):
        Nyuv2(tmp_path).prepare(silent)


@pytest.mark.parametrize("name", ["nyu_depth_v2_labeled.mat", "splits.mat", "classMapping40.mat", "intrinsics.txt"])
def test_unreadable_official_files_are_problems_not_crashes(tmp_path: Path, name: str) -> None:
    mat(tmp_path)
    (tmp_path / name).write_bytes(b"MATLAB 5.0 MAT-file, cut short")
    problems = Nyuv2(tmp_path).verify(silent).problems
    assert len(problems) == 1 and name in problems[0], problems
    with pytest.raises(UserError, match=name):
        Nyuv2(tmp_path, broken="leave-out").prepare(silent)
    (tmp_path / name).unlink()
    if name in ("splits.mat", "classMapping40.mat"):
        (problem,) = Nyuv2(tmp_path).verify(silent).problems
        assert name in problem and "missing" in problem


def test_a_killed_derivation_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mat(tmp_path)
    make, made = nyuv2._write_normals, list[Path]()

    def dies(job: tuple[_nyu_files.Official, _nyu_files.Frame, _nyu_files.Camera], path: Path) -> None:
        made.append(path)
        if len(made) == 3:
            raise KeyboardInterrupt
        make(job, path)

    monkeypatch.setattr(nyuv2, "_write_normals", dies)
    with pytest.raises(KeyboardInterrupt):
        Nyuv2(tmp_path).prepare(silent)
    Nyuv2(tmp_path).prepare(silent)
    assert len(made) == 3 + 2


def note_threads(name: str, path: Path) -> None:
    path.write_text(os.environ["OMP_NUM_THREADS"])


def test_many_are_made_in_processes_of_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    names, said = [str(number) for number in range(6)], list[str]()
    parallel.make_missing({name: name for name in names}, tmp_path / "made", note_threads, "noting", said.append)
    assert {(tmp_path / "made" / name).read_text() for name in names} == {"1"} and os.environ["OMP_NUM_THREADS"] == "7"
    assert said[0].startswith("noting: 6 images on ") and said[-1].startswith("noting: done")
    lines = len(said)
    parallel.make_missing({name: name for name in names}, tmp_path / "made", note_threads, "noting", said.append)
    assert len(said) == lines  # nothing was missing


def test_depth_folders_derive_and_a_depth_without_content_is_a_problem(tmp_path: Path) -> None:
    as_folders(tmp_path, mat(tmp_path / "mat"))
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint16)).save(tmp_path / "depth" / "train" / "00001.png")
    Image.new("L", (WIDTH, HEIGHT), 9).save(tmp_path / "depth" / "train" / "00002.png")
    noise = np.random.default_rng(0).integers(500, 9000, (HEIGHT, WIDTH)).astype(np.uint16)
    Image.fromarray(noise).save(tmp_path / "depth" / "train" / "00004.png")
    problems = Nyuv2(tmp_path).verify(silent).problems
    found = ("no depth is measured", "16 bits", "no plane fits")
    assert [words in problem for words, problem in zip(found, problems, strict=True)] == [True] * 3


def test_the_camera_is_the_files_or_the_toolboxs_scaled(tmp_path: Path) -> None:
    focal, centre = _nyu_files.read_camera(tmp_path, 480, 640)
    assert focal == (518.858, 519.470) and centre == pytest.approx((324.582, 252.736))
    focal, centre = _nyu_files.read_camera(tmp_path, 240, 320)  # pixel 0 now covers what 0 and 1 covered
    assert focal == (259.429, 259.735) and centre == pytest.approx(((324.582 - 0.5) / 2, (252.736 - 0.5) / 2))
    (tmp_path / "intrinsics.txt").write_text("# a camera\nfx 500\nfy 501\ncx 11\ncy 12\n")
    assert _nyu_files.read_camera(tmp_path, 480, 640) == ((500, 501), (10, 11))


# ---------------------------------------------------------------------------------------------------- depth as labels
@pytest.mark.parametrize("given", [False, True])
def test_depth_labels_are_the_measured_metres_of_both_layouts(tmp_path: Path, given: bool) -> None:
    """With normals from files and with normals from the depth."""
    arrays = mat(tmp_path / "mat")
    as_folders(tmp_path / "folders", arrays)
    for frame, name in ((1, "train"), (2, "train"), (4, "train"), (3, "test")) if given else ():
        for place in ("mat", "folders"):
            folder = tmp_path / place / "normal" / name
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(encode(room()[0], STANDARD)).save(folder / f"{frame:05d}.png")
    official, folders = Nyuv2(tmp_path / "mat", depth=True), Nyuv2(tmp_path / "folders", depth=True)
    assert same(official, folders) and official.tasks == ("semseg", "normals", "depth")
    assert not official.categories("depth") and not official.counts("depth")
    for data in (official, folders):
        for index, frame in enumerate((1, 2, 4)):
            expected = _nyu_files.cut_to_camera(arrays["depths"][frame - 1])
            label = data.subset("train")[index].labels["depth"]
            assert label.dtype == np.float32 and np.abs(label - expected).max() < 0.00051
            assert not label[0].any() and (label > 0).any()  # the first rows lie outside the camera's picture
        counts = {count.what: count.found for count in data.verify(silent).counts}
        assert counts["measured depth (%)"] == round(100 * float((expected > 0).mean()))


def test_without_the_option_nothing_of_the_data_changes(tmp_path: Path) -> None:
    """Fingerprint, samples and what is prepared are those of a folder that has no depth at all."""
    with_depth, without = write(tmp_path / "a"), write(tmp_path / "b")
    for name, frames in (("train", TRAIN), ("test", TEST)):
        (with_depth / "depth" / name).mkdir(parents=True)
        for frame in frames:
            depth = np.full((HEIGHT, WIDTH), 2000 + frame, np.uint16)
            Image.fromarray(depth).save(with_depth / "depth" / name / f"{frame:05d}.png")
    plain, other, labelled = Nyuv2(with_depth), Nyuv2(without), Nyuv2(with_depth, depth=True)
    assert plain.fingerprint() == other.fingerprint() != labelled.fingerprint() and same(plain, other)
    assert "depth" not in plain.subset("train")[0].labels and plain.tasks == ("semseg", "normals")
    assert float(labelled.subset("test")[1].labels["depth"].max()) == pytest.approx(2.076)
    before = labelled.fingerprint()
    Image.fromarray(np.full((HEIGHT, WIDTH), 1999, np.uint16)).save(with_depth / "depth" / "test" / "00076.png")
    assert (
        Nyuv2(with_depth, depth=True).fingerprint() != before and Nyuv2(with_depth).fingerprint() == other.fingerprint()
    )
    with pytest.raises(UserError, match="depth=True asks for it"):
        Nyuv2(without, depth=True)


def test_a_listed_frame_without_depth_is_a_line(tmp_path: Path) -> None:
    as_folders(tmp_path, mat(tmp_path / "mat"))
    (tmp_path / "depth" / "train" / "00002.png").unlink()
    (problem,) = Nyuv2(tmp_path, depth=True).verify(silent).problems
    assert "missing from depth" in problem


# ---------------------------------------------------------------------------------------------------- real files
@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="no real images here")
def test_real_files_are_read(tmp_path: Path) -> None:
    data = Nyuv2(REAL)
    data.prepare(silent)
    assert [len(data.subset(name)) for name in ("train", "val", "test")] == [49, 5, 27]
    assert data.categories("semseg") == CLASSES
    sample = data.subset("test")[0]
    assert sample.image.shape == (480, 640, 3) and sample.labels["normals"].shape == (480, 640, 3)
    depth = Nyuv2(REAL, depth=True).subset("test")[0].labels["depth"]
    assert depth.shape == (480, 640) and 0.7 <= depth[depth > 0].min() < depth.max() <= 10
    for name in ("image", "seg40", "normal"):
        (tmp_path / name).symlink_to((REAL / name).resolve())
    for name, count in (("train", 12), ("test", 1)):
        (tmp_path / f"{name}.txt").write_text("\n".join((REAL / f"{name}.txt").read_text().split()[:count]))
    with pytest.raises(UserError, match="axes=left-up-towards"):
        Nyuv2(tmp_path, axes="right-up-towards").prepare(silent)


@pytest.mark.skipif(not (REAL.parent / "nyuv2_published").is_dir(), reason="no published maps here")
def test_published_axes_show_floors_that_point_up() -> None:
    folder = REAL.parent / "nyuv2_published"
    pixels = np.asarray(Image.open(folder / "drsleep_00433_normal.png").convert("RGB")).astype(float)
    floor = np.asarray(Image.open(folder / "drsleep_00433_seg40.png")) == FLOOR
    up = turn((pixels - 127.5) / 127.5, "right-in-up")[floor & (pixels != 127).all(axis=2)][:, 1]
    assert up.mean() > 0.9
