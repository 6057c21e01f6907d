"""Make the trunks that networks on `rooms` start from, on scenes and labels of their own: `make pretrained`.

    python pretraining/rooms.py [--form roi] [--folder FOLDER]

Scenes of a subset that the data set does not have are labelled with the solids that they are built of, their builds,
sizes, distances, views and paints (mtlbench/datasets/_rooms/solids.py). Form `roi` learns to find objects, by the form
of their largest solid, and 25 qualities of each; form `fcn` which kind of solid each pixel shows, and how far away.
What is kept is the trunk, in float16, under the names of docs/weights.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from mtlbench.contracts import Batch, Sample
from mtlbench.datasets import rooms
from mtlbench.datasets._rooms.solids import FORMS, PLACES, QUALITIES, describe_objects, places
from mtlbench.datasets._rooms.windows import choose_windows
from mtlbench.nets import pretrained
from mtlbench.nets.network import MultiTaskNet, place_on_device
from mtlbench.plugins import create, find
from mtlbench.spec import Recipe
from mtlbench.system.machine import keep_memory
from mtlbench.training.batches import training_batch
from mtlbench.training.evaluation import evaluate, finish
from mtlbench.training.loop import Training
from mtlbench.training.samples import Scaled, View

SUBSET = "pretraining"  # a scene depends on its subset's name: none of train, val and test is among these
SIZE = 64
WINDOWS = 128
FITTED = 2400  # scenes that facts of tasks are taken from
CATEGORIES = {"roi": {"detection": FORMS, "attributes": QUALITIES}, "fcn": {"semseg": PLACES}}
SEED = 0


class Setting(NamedTuple):
    """How a trunk is made; val is for the lines of progress alone."""

    width: float
    steps: int
    scenes: int = 12_000
    val: int = 200
    images: int = 8
    lr: float = 0.06
    regions: int = 32
    weight: dict[str, float] = {}  # of losses
    colour: float = 0.2


SETTINGS = {
    "roi": Setting(width=0.125, steps=12_000, weight={"attributes": 3.0}),
    "fcn": Setting(width=0.25, steps=6_000),
}


class Scenes:
    """Scenes `start` .. `stop` - 1 of SUBSET, rendered and labelled for pretraining in one form."""

    def __init__(self, form: str, start: int, stop: int) -> None:
        self.images = np.empty((stop - start, SIZE, SIZE, 3), np.uint8)
        self.labels: list[dict[str, np.ndarray]] = []
        self.boxes: list[np.ndarray | None] = []
        self.difficult: list[np.ndarray | None] = []
        self.windows: np.ndarray | None = None
        for index, (scene, rendered) in enumerate(rooms.described_scenes(SUBSET, start, stop, SIZE)):
            self.images[index] = rendered.image
            if form == "roi":
                self.labels.append(dict(zip(CATEGORIES["roi"], describe_objects(scene, rendered), strict=True)))
            else:
                self.labels.append({"semseg": places(scene, rendered)})
            self.boxes.append(rendered.boxes if form == "roi" else None)
            self.difficult.append(rendered.difficult if form == "roi" else None)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        return Sample(
            self.images[index], self.labels[index], self.boxes[index], self.difficult[index], proposals=self.windows
        )

    def windows_of_boxes(self) -> np.ndarray:
        """WINDOWS proposals `P 4`, chosen as those of the data set are."""
        boxes = np.concatenate([boxes for boxes in self.boxes if boxes is not None])
        return choose_windows(boxes[: rooms.BOXES_FOR_WINDOWS], SIZE, WINDOWS)


class Beginning:
    """As many scenes as facts are taken from."""

    def __init__(self, scenes: Scenes) -> None:
        self.scenes = scenes

    def __len__(self) -> int:
        return min(FITTED, len(self.scenes))

    def __getitem__(self, index: int) -> Sample:
        return self.scenes[index]


def trunk(form: str, setting: Setting, say: Callable[[str], None]) -> dict[str, np.ndarray]:
    """{name as in docs/weights.md: float16 array} of a network that was trained on SUBSET from scratch."""
    train = Scenes(form, 0, setting.scenes)
    val = Scenes(form, setting.scenes, setting.scenes + setting.val)
    if form == "roi":
        train.windows = val.windows = train.windows_of_boxes()
    say(f"{form}: {len(train) + len(val)} scenes rendered")
    tasks = {
        name: create("task", name, categories=names, facts=find("task", name).fit(names, Beginning(train)))
        for name, names in CATEGORIES[form].items()
    }
    backbone = create("backbone", "caffenet", form=form, small=True, width=setting.width, fc=256, dropout=0.0)
    split = create("scheme", "split", at="fc8")
    net = place_on_device(MultiTaskNet(tasks, backbone, split, form, SEED), torch.device("cpu"))
    view = View(
        forms=dict.fromkeys(tasks, form),
        short_side=0,
        long_side=0,
        mirror=True,
        colour=setting.colour,
        regions=setting.regions,
        fill_background=True,
        chunk=0,
        mean=backbone.mean,
        std=backbone.std,
        bgr=backbone.bgr,
    )
    training = Training(net, tasks, recipe_of(setting), setting.steps)
    samples, held_out, begun = Scaled(train, 0, 0), Scaled(val, 0, 0), time.monotonic()

    def batches(first: int) -> Generator[Batch]:
        for i in range(first, setting.steps):
            yield training_batch(samples, tasks, view, SEED, i, setting.images)

    def curve() -> dict[str, float]:
        meters = finish(evaluate([net], tasks, held_out, view, len(val)))
        found = {
            name: next(score.value for score in meter.scores() if score.metric == tasks[name].headline)
            for name, meter in meters.items()
        }
        scores = ", ".join(f"{name} {value:.1f}" for name, value in found.items())
        say(f"{form}: {training.done} of {setting.steps} steps, {scores}, {time.monotonic() - begun:.0f} s")
        return found

    for _ in training.run(batches, 0, curve):
        pass
    return pack(net)


def recipe_of(setting: Setting) -> Recipe:
    """How the trunk is trained; with SGD, decayed along a cosine."""
    return Recipe(
        "pretraining",
        {},
        0,
        images=setting.images,
        lr=setting.lr,
        warmup=20,
        clip=5.0,
        loss_weight=setting.weight,
        curve_points=10,
    )


def pack(net: MultiTaskNet) -> dict[str, np.ndarray]:
    """The trunk's float16 arrays; a fully connected layer has C H W in one dimension, a convolution too."""
    found: dict[str, Any] = {}
    for name, value in net.trunk.state_dict().items():
        stage, kind = name.split(".")[0], name.rpartition(".")[2]
        flat = stage.startswith("fc") and value.dim() > 1
        found[f"{stage}.{kind}"] = (value.flatten(1) if flat else value).contiguous().numpy().astype(np.float16)
    return found


def main() -> None:
    """Make the files; prints progress and digests."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--form", choices=SETTINGS, help="default: both")
    parser.add_argument("--folder", type=Path, default=Path(rooms.__file__).parent / "_rooms" / "pretrained")
    chosen = parser.parse_args()
    keep_memory()
    torch.set_num_threads(1)  # more would add up in another order
    for form, setting in SETTINGS.items():
        if chosen.form in (None, form):
            path = chosen.folder / f"caffenet-{form}.npz"
            with open(path, "wb") as file:
                np.savez(file, allow_pickle=False, **trunk(form, setting, lambda line: print(line, flush=True)))
            print(f"{path}: {path.stat().st_size} bytes, digest {pretrained.digest(path)}")


if __name__ == "__main__":
    main()
