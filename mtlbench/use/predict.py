"""`mtlbench predict`: what a finished trial says of images from anywhere, as pictures and as numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from mtlbench.contracts import Sample, Task
from mtlbench.errors import UserError
from mtlbench.nets.network import place_on_device
from mtlbench.spec import Options
from mtlbench.store.lookup import Finished, find_trials
from mtlbench.store.store import Store
from mtlbench.system.files import claim, replace_file, write, write_picture
from mtlbench.system.images import open_image
from mtlbench.text import Say
from mtlbench.training.batches import evaluation_batch
from mtlbench.training.samples import scale
from mtlbench.use.trained import Trained, open_trained
from mtlbench.vision import proposals as selective_search
from mtlbench.vision.drawing import DPI, PALETTE, Drawer, count_shown, draw_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes


# Of selective search, where the data set's options do not say (voc2008's defaults).
PROPOSALS, PROPOSAL_SIZE = 256, 200
BOXES = "boxes"  # the optional method of a task that finds objects
SHOWN_SIDE = 1000  # pixels, at most, of the image in a picture


def predict(
    results: Path,
    text: str,
    pair: str,
    images: Sequence[Path],
    out: Path | None,
    say: Say,
    warn: Say,
    files: Sequence[Path] = (),
) -> int:
    """Predict on images with the trial that `text` means (in `find_trials`, with `pair`); write into the folder `out`.

    Of an image x.jpg: x-prediction.png (the image and each task's prediction, drawn by the task), x-prediction.json,
    and what the JSON names: x-TASK.png (class indices), x-TASK.npy (vectors) or x-TASK.npz, all in the image's size.
    The networks of an arm that has one a task predict together. `say` takes each picture's path, `warn` a line of each
    image that is left out; the exit status is 1 where one is. `files` are as `open_trained` takes them. Raises
    UserError.
    """
    found = find_trials(results, text, pair)
    trained = [open_trained(one, warn, files) for one in found]
    folder = out or claim(Store(results).root / f"predict-{found[0].name.arm}-{found[0].folder.name}")
    if any(image.resolve().parent == folder.resolve() for image in images):
        raise UserError(f"--out {folder} has images to predict on: give another, so that none there is overwritten")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {folder}: {error.strerror}; give another with --out FOLDER") from error
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    for one in trained:
        for net in one.nets:
            place_on_device(net, device)
        for name, task in one.tasks.items():
            if not (hasattr(task, "keep") and hasattr(task, "draw")):
                warn(f"{name} is in no picture: the task has no keep and draw; see Task in contracts.py")
    status = 0
    for image, stem in zip(images, name_files(images), strict=True):
        try:
            say(str(_predict_one(found, trained, image, folder, stem)))
        except Exception as error:  # whatever is wrong with one image, the others go on
            told = " ".join(str(error).split())[:300]
            warn(told if isinstance(error, UserError) else f"{image}: {type(error).__name__}: {told}")
            status = 1
    return status


def name_files(images: Sequence[Path]) -> list[str]:
    """What the files of each image are called after: its name without suffix, numbered where that is taken."""
    names: list[str] = []
    for image in images:
        name, number = image.stem, 2
        while name in names:
            name, number = f"{image.stem}-{number}", number + 1
        names.append(name)
    return names


def read_image(path: Path) -> tuple[np.ndarray, int]:
    """An image file's pixels `H W 3` uint8 RGB, as viewers turn them, and a number from its bytes. Raises UserError."""
    if not path.is_file():
        raise UserError(f"{path} is a folder; name its files" if path.is_dir() else f"no such file: {path}")
    try:
        content = path.read_bytes()
        with open_image(content) as image:
            deep = image.mode.startswith(("I", "F"))
            pixels = np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except Exception as error:  # decoders raise what they like
        told = error.strerror if isinstance(error, OSError) and error.strerror else "no image, or a damaged one"
        raise UserError(f"{path} cannot be read: {told}") from error
    if deep:
        raise UserError(f"{path} has more than 8 bits a channel; save it with 8")
    return pixels, int(hashlib.sha256(content).hexdigest()[:32], 16)


@dataclass
class Predicted:
    """One image in the networks' scale, and what was predicted on it.

    With tasks of form `roi` the sample's boxes are those that a task with `boxes` found, the best first, with
    `categories` and `scores` (none where no task finds any: the only box is then the whole image); their predictions
    have rows for proposals, then boxes.
    """

    sample: Sample
    predictions: dict[str, dict[str, Tensor]]
    categories: list[str]
    scores: np.ndarray

    @property
    def proposals(self) -> int:
        """How many."""
        return 0 if self.sample.proposals is None else len(self.sample.proposals)


def predict_image(trained: Sequence[Trained], image: np.ndarray, number: int) -> Predicted:
    """What the networks predict on an image `H W 3` uint8 RGB; `number` orders the boxes of its selective search."""
    first = trained[0]
    plain = Sample(image, {})
    of_regions = [one for one in trained if one.view.tasks_of("roi")]
    if of_regions:
        plain = replace(
            plain, boxes=np.zeros((0, 4), np.float32), proposals=make_proposals(of_regions[0], image, number)
        )
    sample = scale(plain, first.view.short_side, first.view.long_side)
    categories, scores = list[str](), np.zeros(0, np.float32)
    if of_regions:
        found = np.array([[0, 1, 0, 0, *sample.image.shape[1::-1]]], np.float32)
        for one, name in list_finders(trained)[:1]:
            batch = evaluation_batch([sample], one.view)
            find: Callable[..., np.ndarray] = getattr(one.tasks[name], BOXES)
            found = find(one.predict(batch)[name], batch)
            found = found[(found[:, 4:] > found[:, 2:4]).all(axis=1)]  # a box may be decoded beyond the image
            categories, scores = [one.categories(name)[int(c)] for c in found[:, 0]], found[:, 1]
        sample = replace(sample, boxes=found[:, 2:])
    predictions: dict[str, dict[str, Tensor]] = {}
    for one in trained:
        predictions |= one.predict(evaluation_batch([sample], one.view))
    return Predicted(sample, predictions, categories, scores)


def list_finders(trained: Sequence[Trained]) -> list[tuple[Trained, str]]:
    """The tasks that find objects, each with its network."""
    return [(one, name) for one in trained for name, task in one.tasks.items() if hasattr(task, BOXES)]


def make_proposals(trained: Trained, image: np.ndarray, number: int) -> np.ndarray:
    """Boxes `P 4` in an image: the windows of the data set where all its images have the same, else selective search
    as for voc2008 (on its own images with its own numbers: the same boxes)."""
    if trained.model.windows is not None:
        windows = np.array(trained.model.windows, np.float64)
        boxes: np.ndarray = (windows * np.tile(image.shape[1::-1], 2)).astype(np.float32)
        return boxes
    options = trained.trial.dataset.options
    found = selective_search.propose(image, options.get("proposal_size", PROPOSAL_SIZE), seed=number)
    return found[: options.get("proposals", PROPOSALS)]


def _predict_one(found: Sequence[Finished], trained: Sequence[Trained], path: Path, folder: Path, stem: str) -> Path:
    """Write an image's files; the picture's path. Raises UserError."""
    image, number = read_image(path)
    result = predict_image(trained, image, number)
    size, name = image.shape[:2], found[0].name
    about: Options = {
        "image": str(path),
        "width": size[1],
        "height": size[0],
        "arm": name.arm,
        "seed": name.seed,
        "trials": [one.folder.name for one in found],
        "predicted_at": list(result.sample.image.shape[1::-1]),
    }
    whole = [(one, task) for one in trained for task, its in one.tasks.items() if its.form != "roi"]
    if whole:
        about["tasks"] = {
            task: write_dense(one, task, result.predictions[task], size, folder, stem) for one, task in whole
        }
    if result.sample.boxes is not None:
        about["boxes"] = describe_boxes(trained, result, size)
    write(folder / f"{stem}-prediction.json", json.dumps(about, indent=1) + "\n")
    title = f"{path.name}: {name.arm}, seed {name.seed}; {found[0].trial.pair}, recipe {name.recipe} on "
    target = folder / f"{stem}-prediction.png"
    draw(title + found[0].trial.dataset.label, image, trained, result, target)
    return target


def write_dense(
    trained: Trained, name: str, prediction: dict[str, Tensor], size: tuple[int, int], folder: Path, stem: str
) -> Options:
    """Write a task's prediction on an image of that size (height, width); what the JSON says of it.

    Class probabilities become the likeliest class of every pixel (interpolated first); what a task has `decode` for,
    unit vectors `H W 3` float32; what is said of a whole image stands in the JSON itself; anything else stays what
    `Task.predict` gave, maps interpolated.
    """
    task, categories = trained.tasks[name], trained.categories(name)
    if task.form == "image":
        return {"prediction": row_of(trained, name, prediction, 0)}
    stem = f"{stem}-{name}"
    probability = prediction.get("probability")
    if probability is not None and hasattr(task, "decode"):
        vectors = task.decode(probability[0].flatten(1).T).T.reshape(1, 3, *probability.shape[2:])
        resized = F.normalize(F.interpolate(vectors, size, mode="bilinear"), dim=1)[0].permute(1, 2, 0)
        with replace_file(folder / f"{stem}.npy") as temporary, open(temporary, "wb") as file:
            np.save(file, resized.numpy().astype(np.float32), allow_pickle=False)
        return {"vectors": f"{stem}.npy"}
    if probability is not None and probability.dim() == 4 and probability.shape[1] == len(categories) < 256:
        classes = find_likeliest(probability, size)
        with replace_file(folder / f"{stem}.png") as temporary:
            class_map(classes).save(temporary, format="PNG")
        pixels = np.bincount(classes.ravel(), minlength=len(categories))
        return {
            "classes": f"{stem}.png",
            "categories": list(categories),
            "pixels": {c: int(count) for c, count in zip(categories, pixels, strict=True) if count},
        }
    with replace_file(folder / f"{stem}.npz") as temporary, open(temporary, "wb") as file:
        arrays = {part: resize(value[0], size).numpy() for part, value in prediction.items()}
        np.savez_compressed(file, allow_pickle=False, **arrays)
    return {"arrays": f"{stem}.npz"}


def resize(value: Tensor, size: tuple[int, int]) -> Tensor:
    """A map `... h w` in that size, bilinear; anything without two sides is left as it is."""
    if value.dim() < 2:
        return value
    flat = value.float().reshape(1, -1, *value.shape[-2:])
    return F.interpolate(flat, size, mode="bilinear").reshape(*value.shape[:-2], *size)


def find_likeliest(probability: Tensor, size: tuple[int, int]) -> np.ndarray:
    """`H W` uint8: the class of `1 K h w` that is likeliest at every pixel, the first of equals; interpolated one class
    at a time, so that large images need little memory."""
    best = torch.full(size, -1.0)
    classes = np.zeros(size, np.uint8)
    for number in range(probability.shape[1]):
        own = F.interpolate(probability[:, number : number + 1], size, mode="bilinear")[0, 0]
        higher = own > best
        best = torch.where(higher, own, best)
        classes[higher.numpy()] = number
    return classes


def describe_boxes(trained: Sequence[Trained], result: Predicted, size: tuple[int, int]) -> list[Options]:
    """What the JSON says of each box, in pixels of an image of that size (height, width)."""
    sample = result.sample
    assert sample.boxes is not None
    height, width = sample.image.shape[:2]
    own = sample.boxes * np.array([size[1] / width, size[0] / height] * 2)
    rows: list[Options] = []
    for number, box in enumerate(own):
        row: Options = {"box": [round(float(edge), 2) for edge in box]}
        if result.categories:
            row = {"category": result.categories[number], "score": round(float(result.scores[number]), 5), **row}
        for one in trained:
            for name in [name for name, task in one.tasks.items() if task.form == "roi"]:
                if not hasattr(one.tasks[name], BOXES):
                    row[name] = row_of(one, name, result.predictions[name], result.proposals + number)
        rows.append(row)
    return rows


def row_of(trained: Trained, name: str, prediction: dict[str, Tensor], row: int) -> Options:
    """{category: probability} of one region or image, or what else the task predicts of it."""
    categories = trained.categories(name)
    probability = prediction.get("probability")
    if probability is not None and probability.dim() == 2 and probability.shape[1] == len(categories):
        return {c: round(float(p), 4) for c, p in zip(categories, probability[row], strict=True)}
    return {part: value[row].tolist() for part, value in prediction.items()}


def class_map(classes: np.ndarray) -> Image.Image:
    """A picture whose pixels are the class indices `H W`, shown in the colours of `Semseg.draw`."""
    image = Image.frombytes("P", classes.shape[::-1], classes.tobytes())
    colours = [bytes.fromhex(PALETTE[number % len(PALETTE)]) for number in range(256)]
    image.putpalette(b"".join(colours))
    return image


def draw(title: str, image: np.ndarray, trained: Sequence[Trained], result: Predicted, path: Path) -> None:
    """The image `H W 3` and, beside it, what each task predicts, drawn by the task; the best of the boxes found."""
    sample, rows = result.sample, None
    if sample.boxes is not None:
        shown = count_shown(result.scores) if result.categories else len(sample.boxes)
        sample, rows = replace(sample, boxes=sample.boxes[:shown]), result.proposals + shown
    step = -(-max(image.shape) // SHOWN_SIDE)
    columns: list[tuple[str, Drawer]] = [("image", partial(_image, image[::step, ::step]))]
    for one in trained:
        batch = evaluation_batch([sample], one.view)
        for name, task in one.tasks.items():
            if hasattr(task, "keep") and hasattr(task, "draw"):
                wanted = rows if task.form == "roi" else None
                kept = task.keep({part: value[:wanted] for part, value in result.predictions[name].items()}, batch)
                columns.append((name, partial(_draw, task, kept)))
    canvas = draw_picture(title.replace("$", r"\$"), columns, [sample])
    canvas.axes[0].set_ylabel("")  # that numbers test images
    write_picture(path, canvas, DPI)


def _image(image: np.ndarray, axes: Axes, number: int, sample: Sample) -> None:
    axes.imshow(image, aspect="auto")


def _draw(task: Task, kept: np.ndarray, axes: Axes, number: int, sample: Sample) -> None:
    task.draw(axes, sample, kept)
