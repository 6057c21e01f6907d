"""`mtlbench predict`: numbers and pictures of images from anywhere, without the data set."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mtlbench.contracts import Batch, Sample
from mtlbench.errors import UserError
from mtlbench.spec import Options
from mtlbench.store import predictions
from mtlbench.store.lookup import find_trials
from mtlbench.store.store import Store
from mtlbench.training.batches import evaluation_batch
from mtlbench.training.context import Context
from mtlbench.use import predict as module
from mtlbench.use.predict import find_likeliest, name_files, read_image
from mtlbench.use.trained import Trained, open_trained
from mtlbench.vision import proposals as selective_search
from mtlbench.vision import regions
from tests.support.commands import cli
from tests.support.samples import smoke
from tests.support.trials import finish

pytestmark = pytest.mark.slow

PAIRS = ("det_attr", "semseg_sn")
ARMS = ("one-task", "cross-stitch", "ensemble")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Finished smoke trials of both pairs."""
    store = Store(tmp_path_factory.mktemp("predict") / "results", create=True)
    for pair in PAIRS:
        trials = smoke(pair, ARMS)
        finish([dataclasses.replace(trial, keep_weights=not trial.average) for trial in trials], store)
    return store


def context_of(pair: str) -> Context:
    return Context(next(trial for trial in smoke(pair, ("cross-stitch",)) if len(trial.task_names) == 2))


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory, study: Store) -> Path:
    """The first test images as files room0.png to room2.png."""
    folder = tmp_path_factory.mktemp("rooms")
    for number in range(3):
        Image.fromarray(context_of("semseg_sn").subsets["test"][number].image).save(folder / f"room{number}.png")
    return folder


def works(study: Store, *args: object) -> list[str]:
    """The paths that are said."""
    result = cli("predict", *args, "--results", study.root)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return result.stdout.splitlines()


def about(path: str) -> Options:
    return json.loads(Path(path).with_suffix(".json").read_text())


def pixels_of(path: Path | str) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def read_kept(study: Store, arm: str, pair: str) -> dict[str, list[np.ndarray]]:
    """What the trials of an arm kept of their predictions on the test images."""
    folders = [one.folder for one in find_trials(study.root, arm, pair)]
    return {name: own for folder in folders for name, own in predictions.read(folder / predictions.FILE).items()}


# ---------------------------------------------------------------------------------------------------- dense tasks
@pytest.mark.parametrize("arm", ARMS)
def test_dense_predictions_on_a_test_image_are_those_that_the_trial_kept(
    study: Store, rooms: Path, arm: str, tmp_path: Path
) -> None:
    said = works(study, arm, "--pair", "semseg_sn", rooms / "room0.png", rooms / "room2.png", "--out", tmp_path)
    assert said == [f"{tmp_path}/room0-prediction.png", f"{tmp_path}/room2-prediction.png"]
    expected = read_kept(study, arm, "semseg_sn")
    for number, path in zip((0, 2), said, strict=True):
        content = about(path)
        assert (content["width"], content["height"], content["predicted_at"]) == (64, 64, [64, 64])
        semseg, normals = content["tasks"]["semseg"], content["tasks"]["normals"]
        classes = pixels_of(tmp_path / semseg["classes"])
        assert np.array_equal(classes, expected["semseg"][number])
        assert sum(semseg["pixels"].values()) == 64 * 64
        assert all((classes == semseg["categories"].index(c)).sum() == n for c, n in semseg["pixels"].items())
        vectors = np.load(tmp_path / normals["vectors"])
        assert vectors.dtype == np.float32 and np.allclose(np.linalg.norm(vectors, axis=2), 1, atol=1e-6)
        coded = np.rint(127.5 + 127.5 * vectors)
        assert np.abs(coded - expected["normals"][number].astype(float)).max() <= 1
        assert pixels_of(path).shape[1] > 3 * 400
    assert len(os.listdir(tmp_path)) == 2 * 4


def test_maps_come_in_the_size_of_the_image_and_the_network_sees_its_own(
    study: Store, rooms: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    larger = Image.fromarray(pixels_of(rooms / "room1.png")).resize((200, 150))
    larger.save(tmp_path / "in" / "large.png")
    (path,) = works(study, "cross-stitch", "--pair", "semseg_sn", tmp_path / "in" / "large.png", "--out", tmp_path)
    assert about(path)["predicted_at"] == [85, 64]  # the short side of the training images
    assert pixels_of(tmp_path / "large-semseg.png").shape == (150, 200)
    assert np.load(tmp_path / "large-normals.npy").shape == (150, 200, 3)


def test_the_likeliest_class_is_that_of_the_interpolated_probabilities() -> None:
    probability = torch.rand(1, 5, 7, 9, generator=torch.Generator().manual_seed(0)).softmax(dim=1)
    assert np.array_equal(find_likeliest(probability, (7, 9)), probability[0].argmax(dim=0))
    larger = torch.nn.functional.interpolate(probability, (20, 31), mode="bilinear")[0].argmax(dim=0)
    assert np.array_equal(find_likeliest(probability, (20, 31)), larger)


# ---------------------------------------------------------------------------------------------------- tasks on regions
@pytest.mark.parametrize("arm", ARMS)
def test_boxes_on_a_test_image_are_those_that_the_trial_kept(
    study: Store, rooms: Path, arm: str, tmp_path: Path
) -> None:
    (path,) = works(study, arm, "--pair", "det_attr", rooms / "room1.png", "--out", tmp_path)
    rows, (expected,) = about(path)["boxes"], read_kept(study, arm, "det_attr")["detection"][1:2]
    names = context_of("det_attr").dataset.categories("detection")
    assert [row["category"] for row in rows] == [names[int(one[0])] for one in expected]
    assert np.allclose([row["score"] for row in rows], expected[:, 1], atol=1e-5)
    assert np.allclose([row["box"] for row in rows], expected[:, 2:], atol=0.01)
    assert sorted(os.listdir(tmp_path)) == ["room1-prediction.json", "room1-prediction.png"]


@pytest.mark.parametrize("arm", ARMS)
def test_attributes_are_predicted_for_each_detected_box(study: Store, rooms: Path, arm: str, tmp_path: Path) -> None:
    (path,) = works(study, arm, "--pair", "det_attr", rooms / "room1.png", "--out", tmp_path)
    rows = about(path)["boxes"]
    context = context_of("det_attr")
    boxes = torch.tensor([[0.0, *row["box"]] for row in rows])
    batch = evaluation_batch([context.subsets["test"][1]], context.view)
    (one,) = [one for one in find_trials(study.root, arm, "det_attr") if "attributes" in one.trial.task_names]
    with torch.inference_mode():  # straight through the networks, without proposals
        outputs = [net(batch.images, boxes)["attributes"].sigmoid() for net in open_trained(one, print).nets]
    names = context.dataset.categories("attributes")
    assert all(tuple(row["attributes"]) == names for row in rows)
    found = np.array([[row["attributes"][name] for name in names] for row in rows])
    assert np.allclose(found, torch.stack(outputs).mean(dim=0), atol=2e-3)  # boxes were rounded


def test_boxes_come_in_pixels_of_the_image(study: Store, rooms: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    inputs = [tmp_path / "in" / f"{name}.png" for name in ("same", "wide")]
    for path, size in zip(inputs, ((64, 64), (200, 150)), strict=True):
        Image.fromarray(pixels_of(rooms / "room0.png")).resize(size).save(path)
    trained = [open_trained(one, print) for one in find_trials(study.root, "cross-stitch", "det_attr")]
    for path in inputs:
        image, number = read_image(path)
        found = module.predict_image(trained, image, number)
        height, width = found.sample.image.shape[:2]
        for row, box in zip(module.describe_boxes(trained, found, image.shape[:2]), found.sample.boxes, strict=True):
            stretch = np.array([image.shape[1] / width, image.shape[0] / height] * 2)
            assert np.allclose(row["box"], box * stretch, atol=0.01)
            assert min(row["box"]) >= 0 and row["box"][2] <= image.shape[1] and row["box"][3] <= image.shape[0]
    assert (width, height) == (85, 64)  # rounded, so that the two sides are stretched differently


def test_attributes_alone_are_predicted_for_the_whole_image(study: Store, rooms: Path, tmp_path: Path) -> None:
    (key,) = [
        one.folder.name
        for one in find_trials(study.root, "one-task", "det_attr")
        if one.trial.task_names == ("attributes",)
    ]
    (path,) = works(study, key[:6], rooms / "room0.png", "--out", tmp_path)
    (row,) = about(path)["boxes"]
    assert row["box"] == [0, 0, 64, 64] and set(row) == {"box", "attributes"}


def test_no_box_without_an_area_is_told(study: Store, rooms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (one,) = find_trials(study.root, "cross-stitch", "det_attr")
    trained = open_trained(one, print)
    given = np.array([[0, 0.9, 1, 1, 1, 9], [1, 0.8, 2, 3, 9, 9], [1, 0.7, 2, 5, 9, 5]], np.float32)
    monkeypatch.setattr(trained.tasks["detection"], "boxes", lambda prediction, batch: given)
    found = module.predict_image([trained], *read_image(rooms / "room0.png"))
    assert found.sample.boxes is not None and np.array_equal(found.sample.boxes, given[1:2, 2:])
    assert list(found.scores) == [np.float32(0.8)]


def test_a_task_of_any_name_that_finds_boxes_is_asked_for_them(
    study: Store, rooms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user's task: found by its method, not by the name `detection`."""
    (one,) = find_trials(study.root, "cross-stitch", "det_attr")
    trained = open_trained(one, print)
    usual = module.predict_image([trained], *read_image(rooms / "room0.png"))

    class Renamed(Trained):
        def predict(self, batch: Batch) -> dict[str, dict[str, torch.Tensor]]:
            return {{"detection": "lamps"}.get(name, name): one for name, one in trained.predict(batch).items()}

        def categories(self, task: str) -> tuple[str, ...]:
            return trained.categories({"lamps": "detection"}.get(task, task))

    tasks = {{"detection": "lamps"}.get(name, name): task for name, task in trained.tasks.items()}
    renamed = Renamed(trained.trial, trained.model, tasks, trained.nets)
    found = module.predict_image([renamed], *read_image(rooms / "room0.png"))
    assert found.categories == usual.categories and np.array_equal(found.scores, usual.scores) and len(found.scores)
    row = module.describe_boxes([renamed], found, (64, 64))[0]
    assert set(row) == {"category", "score", "box", "attributes"}
    assert row == module.describe_boxes([trained], usual, (64, 64))[0]


# ---------------------------------------------------------------------------------------------------- proposals
def test_fixed_windows_are_scaled_to_the_image(study: Store) -> None:
    (one,) = find_trials(study.root, "cross-stitch", "det_attr")
    trained = open_trained(one, print)
    own = context_of("det_attr").subsets["test"][0].proposals
    assert np.array_equal(module.make_proposals(trained, np.zeros((64, 64, 3), np.uint8), 1), own)
    larger = module.make_proposals(trained, np.zeros((128, 192, 3), np.uint8), 1)
    assert larger.dtype == np.float32 and np.allclose(larger, own * [3, 2, 3, 2])


def test_without_windows_boxes_are_those_of_selective_search_as_the_data_set_has_them() -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8).repeat(5, axis=0).repeat(5, axis=1)
    for options, count, size in (({}, 256, 200), ({"proposals": 7, "proposal_size": 100}, 7, 100)):
        data = SimpleNamespace(options=options)
        stub = SimpleNamespace(model=SimpleNamespace(windows=None), trial=SimpleNamespace(dataset=data))
        expected = selective_search.propose(image, size, seed=5)[:count]
        assert np.array_equal(module.make_proposals(stub, image, 5), expected)


def test_a_number_from_an_image_file_is_that_which_orders_its_proposals_in_voc2008(rooms: Path) -> None:
    pixels, number = read_image(rooms / "room0.png")
    content = (rooms / "room0.png").read_bytes()
    assert number == int(selective_search.digest(content), 16)
    assert np.array_equal(pixels, selective_search.decode(content))


def test_windows_are_kept_only_where_all_images_have_the_same(study: Store) -> None:
    context = context_of("det_attr")
    same = context.model().windows
    assert np.allclose(np.array(same) * 64, context.subsets["train"][0].proposals)

    class Own:
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> Sample:
            sample = context_of("det_attr").subsets["train"][index]
            return dataclasses.replace(sample, proposals=np.full((3, 4), index, np.float32))

    context.subsets = {"train": Own()}  # type: ignore[dict-item]
    assert context.model().windows is None
    dense = context_of("semseg_sn").model()
    assert (dense.windows, dense.short_side) == (None, 64)  # the recipe leaves images as they are


# ---------------------------------------------------------------------------------------------------- pictures
def test_only_strong_boxes_are_in_the_picture_and_all_in_the_numbers(
    study: Store, rooms: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: dict[str, Any] = {}

    def noted(name: str) -> Any:
        return lambda axes, sample, kept: seen.setdefault(name, (sample, kept))

    trained = [open_trained(one, print) for one in find_trials(study.root, "one-task", "det_attr")]
    for one in trained:
        for name, task in one.tasks.items():
            monkeypatch.setattr(task, "draw", noted(name))
    image, number = read_image(rooms / "room0.png")
    found = module.predict_image(trained, image, number)
    found.scores = np.array([0.9, 0.5, 0.2, *[0.1] * (len(found.scores) - 3)], np.float32)
    module.draw("a $title$", image, trained, found, tmp_path / "x.png")
    assert found.sample.boxes is not None and len(found.sample.boxes) > 6
    sample, kept_attributes = seen["attributes"]
    assert np.array_equal(sample.boxes, found.sample.boxes[:3]) and sample.labels == {}
    own = found.predictions["attributes"]["probability"][found.proposals : found.proposals + 3]
    assert np.array_equal(kept_attributes, own.numpy().astype(np.float16))
    assert regions.iou(seen["detection"][1][:1, 2:], found.sample.boxes[:1])[0, 0] == pytest.approx(1)


# ---------------------------------------------------------------------------------------------------- images
def test_bad_images_are_a_line_each_and_the_others_go_on(study: Store, rooms: Path, tmp_path: Path) -> None:
    inputs = tmp_path / "in"
    inputs.mkdir()
    (inputs / "junk.jpg").write_bytes(b"junk")
    (inputs / "cut.png").write_bytes((rooms / "room0.png").read_bytes()[:2000])
    Image.fromarray(np.zeros((9, 9), np.uint16)).save(inputs / "deep.png")
    bad = ["junk.jpg", "cut.png", "deep.png", ".", "none.png"]
    given = [inputs / "junk.jpg", rooms / "room0.png", *(inputs / name for name in bad[1:]), rooms / "room1.png"]
    result = cli(
        "predict", "one-task", "--pair", "semseg_sn", *given, "--out", tmp_path / "out", "--results", study.root
    )
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [f"{tmp_path}/out/room{number}-prediction.png" for number in (0, 1)]
    assert result.stderr.splitlines() == [
        f"mtlbench: {inputs}/junk.jpg cannot be read: no image, or a damaged one",
        f"mtlbench: {inputs}/cut.png cannot be read: no image, or a damaged one",
        f"mtlbench: {inputs}/deep.png has more than 8 bits a channel; save it with 8",
        f"mtlbench: {inputs} is a folder; name its files",
        f"mtlbench: no such file: {inputs}/none.png",
    ]


def test_an_image_that_the_networks_cannot_take_is_a_line(
    study: Store, rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Trained, batch: Any) -> Any:
        raise RuntimeError("out of\nmemory")

    monkeypatch.setattr(Trained, "predict", fails)
    result = cli("predict", "one-task", rooms / "room0.png", "--out", tmp_path, "--results", study.root)
    assert result.exit_code == 1
    assert result.stderr == f"mtlbench: {rooms}/room0.png: RuntimeError: out of memory\n"


def test_images_of_all_kinds_are_read_as_viewers_show_them(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    for number, mode in enumerate(("RGBA", "L", "P", "1", "CMYK")):
        kind = "tiff" if mode == "CMYK" else "png"
        image.convert(mode).save(tmp_path / f"{number}.{kind}")
        assert read_image(tmp_path / f"{number}.{kind}")[0].shape == (5, 8, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise
    image.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "turned.png")[0], np.rot90(pixels, -1))


def test_every_image_has_names_of_its_own() -> None:
    given = ["a/x.jpg", "b/x.jpg", "x-2.png", "y.png", "x.png"]
    assert name_files([Path(one) for one in given]) == ["x", "x-2", "x-2-2", "y", "x-3"]


def test_nothing_beside_the_images_is_overwritten(study: Store, rooms: Path, tmp_path: Path) -> None:
    before = sorted(os.listdir(rooms))
    for out in (rooms, os.path.relpath(rooms)):
        result = cli("predict", "one-task", rooms / "room0.png", "--out", out, "--results", study.root)
        assert result.exit_code == 2 and "has images to predict on" in result.stderr
    assert sorted(os.listdir(rooms)) == before
    (tmp_path / "file").write_text("")
    result = cli("predict", "one-task", rooms / "room0.png", "--out", tmp_path / "file", "--results", study.root)
    assert result.exit_code == 2 and "--out FOLDER" in result.stderr


# ---------------------------------------------------------------------------------------------------- trials
def test_a_trial_is_named_as_for_show_and_the_newest_results_count(study: Store, rooms: Path, tmp_path: Path) -> None:
    (path,) = works(study, "cross-stitch:0", rooms / "room0.png")  # of the pair that ran last
    (one,) = find_trials(study.root, "cross-stitch", "semseg_sn")
    assert path == f"{study.root}/predict-cross-stitch-{one.folder.name}/room0-prediction.png"
    assert about(path)["trials"] == [one.folder.name] and set(about(path)["tasks"]) == {"semseg", "normals"}
    for text in ("cross-stitch:7", "none", "ffff"):
        result = cli("predict", text, rooms / "room0.png", "--results", study.root)
        assert result.exit_code == 2 and "no finished trial" in result.stderr
    with pytest.raises(UserError, match="no finished trial 'cross-stitch' of other in"):
        find_trials(study.root, "cross-stitch", "other")


def test_the_data_are_not_needed(study: Store, rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*arguments: Any) -> Any:
        raise AssertionError("the data were opened")

    monkeypatch.setattr("mtlbench.training.context.open_prepared", gone)
    for number, (pair, arm) in enumerate((pair, arm) for pair in PAIRS for arm in ARMS):
        works(study, arm, "--pair", pair, rooms / "room0.png", "--out", tmp_path / str(number))


def test_a_task_without_drawing_and_of_another_kind_is_kept_as_arrays(
    study: Store, rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mtlbench.tasks.semseg import Semseg

    class Plain(Semseg):
        def predict(self, output: Any, batch: Any) -> Any:
            return {"height": output[:, 0], "depth": output[:, :2], "mean": output.mean(dim=(1, 2, 3))}

    for method in ("keep", "draw"):
        monkeypatch.delattr(Semseg, method)
    monkeypatch.setattr("mtlbench.tasks.semseg.Semseg", Plain)
    (tmp_path / "in").mkdir()
    large = tmp_path / "in" / "room0.png"
    Image.fromarray(pixels_of(rooms / "room0.png")).resize((100, 90)).save(large)
    result = cli("predict", "cross-stitch", "--pair", "semseg_sn", large, "--out", tmp_path, "--results", study.root)
    assert result.exit_code == 0, result.output
    assert (
        result.stderr == "mtlbench: semseg is in no picture: the task has no keep and draw; see Task in contracts.py\n"
    )
    with np.load(tmp_path / "room0-semseg.npz", allow_pickle=False) as arrays:
        assert {name: array.shape for name, array in arrays.items()} == {
            "height": (90, 100),
            "depth": (2, 90, 100),
            "mean": (),
        }
    assert about(str(tmp_path / "room0-prediction.png"))["tasks"]["semseg"] == {"arrays": "room0-semseg.npz"}
