"""Object detection on given regions (Section 6; Fast R-CNN, Girshick 2015)."""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlbench.contracts import Batch, Metric, Sample, Score, Subset
from mtlbench.vision import drawing, metrics, regions

if TYPE_CHECKING:
    from matplotlib.axes import Axes


FEW = 50  # regions; a deviation from fewer is off by more than some 10 % (ours)
SMALLEST_DEVIATION = 0.01  # ours, so that targets stay finite where all regions are annotated boxes
WITHOUT_FOREGROUND = (np.zeros(4), np.array([0.1, 0.1, 0.2, 0.2]))  # mean, deviation: Faster R-CNN's constants
KEPT = 20  # detections of an image
COLUMNS = 60  # letters along the longer side of an image


class Detection:
    """Class scores (background first) and class-specific box offsets for every region.

    The output `R K` holds C + 1 scores, then 4 normalised offsets for each of the C object classes.
    """

    version = 2
    form = "roi"
    weight = 1.0
    metrics = {"mAP": Metric("%", True), "AP": Metric("%", True), "classes": Metric("count", True)}
    headline = "mAP"

    def __init__(self, categories: tuple[str, ...], facts: dict[str, Any]) -> None:
        self.categories = categories
        each = (len(categories), 4)  # four numbers alone are those of all classes
        self.offset_mean = torch.tensor(facts["offset_mean"], dtype=torch.float32).expand(each)
        self.offset_std = torch.tensor(facts["offset_std"], dtype=torch.float32).expand(each)

    @staticmethod
    def fit(categories: tuple[str, ...], train: Subset) -> dict[str, Any]:
        """`offset_mean` and `offset_std` `C 4`: of the offsets of each class's foreground in all of train.

        As in the released Fast R-CNN (`roidb.py`, `train_net.py`): over proposals and annotated boxes with IoU >= .5,
        and over mirrored images, too, so that the mean of dx is 0. Ours: a class with fewer than 50 of them in train
        takes the values of all classes together (if these are too few, constants); no deviation is below .01.
        """
        found, classes = [np.zeros((0, 4), dtype=np.float32)], [np.zeros(0, dtype=np.int64)]
        for index in range(len(train)):
            sample = train[index]
            if "detection" not in sample.labels or sample.boxes is None:
                continue
            box, best, _, is_object = regions.match_candidates(sample)
            found.append(regions.encode(box[is_object], sample.boxes[best[is_object]]))
            classes.append(sample.labels["detection"][best[is_object]].astype(np.int64))
        offsets, category = np.concatenate(found).astype(np.float64), np.concatenate(classes)
        pooled = _mean_and_deviation(offsets, WITHOUT_FOREGROUND)
        each = [_mean_and_deviation(offsets[category == c], pooled) for c in range(len(categories))]
        return {
            "offset_mean": [mean.round(6).tolist() for mean, _ in each],
            "offset_std": [deviation.round(6).tolist() for _, deviation in each],
        }

    @staticmethod
    def mirror(label: np.ndarray) -> np.ndarray:
        """Classes do not change."""
        return label

    def head(self, channels: int) -> nn.Module:
        """`R C` -> `R K`: class scores start N(0, .01), offsets N(0, .001), biases 0."""
        return DetectionHead(channels, len(self.categories))

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy of the class plus smooth L1 of the true class's offsets on foreground (Fast R-CNN, equation 1).

        Both are averaged over all labelled regions, as in the released code.
        """
        assert batch.foreground is not None and batch.targets is not None
        scores, offsets = self._parts(output)
        labelled = batch.masks["detection"]
        foreground = batch.foreground & labelled
        label = batch.labels["detection"].long()
        rows = labelled.sum().clamp(min=1)
        by_region = F.cross_entropy(scores, torch.where(foreground, label + 1, 0), reduction="none")
        own = offsets[torch.arange(len(label), device=label.device), label]
        mean, deviation = self._normalisation(output.device)
        goal = (batch.targets - mean[label]) / deviation[label]
        distance = F.smooth_l1_loss(own, goal, reduction="none").sum(dim=1)
        return ((by_region * labelled).sum() + (distance * foreground).sum()) / rows

    def count(self, batch: Batch) -> Tensor:
        """The labelled regions."""
        return batch.masks["detection"].sum()

    def predict(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`probability` `R C+1` (background first) and `offsets` `R C 4` (dx dy dw dh of each object class)."""
        scores, offsets = self._parts(output)
        mean, deviation = self._normalisation(output.device)
        return {"probability": scores.softmax(dim=1), "offsets": offsets * deviation + mean}

    def meter(self) -> DetectionMeter:
        """An empty meter."""
        return DetectionMeter(self.categories)

    def boxes(self, prediction: dict[str, Tensor], batch: Batch) -> np.ndarray:
        """The 20 best detections `n 6` float32 of one image, after suppression: class index, score, x1 y1 x2 y2.

        Boxes are in pixels of the batch's sample.
        """
        (sample,) = batch.samples
        assert batch.regions is not None and sample.proposals is not None
        own = slice(len(sample.proposals))
        probability, offsets = prediction["probability"][own, 1:], prediction["offsets"][own]
        boxes = batch.regions[own, 1:].cpu().numpy()
        found = find_detections(0, probability.cpu().numpy(), offsets.cpu().numpy(), boxes, sample.image.shape)
        kept = regions.per_class_nms(found, images=1)
        best = np.argsort(-kept.score, kind="stable")[:KEPT]
        return np.column_stack([kept.category, kept.score, kept.box])[best].astype(np.float32)

    def keep(self, prediction: dict[str, Tensor], batch: Batch) -> np.ndarray:
        """The boxes that are found."""
        return self.boxes(prediction, batch)

    def draw(self, axes: Axes, sample: Sample, kept: np.ndarray | None) -> None:
        """The image with its best detections and their scores, or with the annotated boxes (difficult ones dashed).

        Of the detections at most 6, none weaker than a fifth of the best (ours).
        """
        drawing.show_image(axes, sample.image)
        things: list[tuple[int, str, np.ndarray, str]] = []  # class, its name, box, style
        if kept is not None:
            for category, score, *box in kept[: drawing.count_shown(kept[:, 1])]:
                name = f"{self.categories[int(category)]} {score:.2f}"
                things.append((int(category), name, np.array(box), "-"))
        elif "detection" in sample.labels and sample.boxes is not None:
            difficult = np.zeros(len(sample.boxes), bool) if sample.difficult is None else sample.difficult
            for category, box, hard in zip(sample.labels["detection"], sample.boxes, difficult, strict=True):
                things.append((int(category), self.categories[int(category)], box, "--" if hard else "-"))
        size = max(sample.image.shape[:2]) / COLUMNS / drawing.LETTER
        taken: list[np.ndarray] = []
        for category, name, box, style in things:
            colour = class_colour(category)
            axes.plot(*drawing.make_outline(box), color=colour, linestyle=style, linewidth=1.4)
            place = label_place(name, box, sample.image.shape, size, taken)
            if place is not None:
                taken.append(place)
                axes.fill(*drawing.make_outline(place), color=colour, alpha=0.85, linewidth=0, zorder=3)
                drawing.write(axes, place[0] + 0.2 * size, place[3] - 0.3 * size, name, size, "black")

    def _normalisation(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Mean and deviation `C 4` of the offsets; they stay on the device where they were asked for last."""
        if self.offset_mean.device != device:
            self.offset_mean, self.offset_std = self.offset_mean.to(device), self.offset_std.to(device)
        return self.offset_mean, self.offset_std

    def _parts(self, output: Tensor) -> tuple[Tensor, Tensor]:
        classes = len(self.categories)
        scores, offsets = output.float().split([classes + 1, 4 * classes], dim=1)
        return scores, offsets.reshape(-1, classes, 4)


def _mean_and_deviation(offsets: np.ndarray, otherwise: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Of offsets `N 4` and those of the mirrored regions, 4 each; `otherwise` where they are too few."""
    if len(offsets) < FEW:
        return otherwise
    both = np.concatenate([offsets, offsets * [-1, 1, 1, 1]])
    return both.mean(axis=0), np.maximum(both.std(axis=0), SMALLEST_DEVIATION)


def find_detections(
    image: int, scores: np.ndarray, offsets: np.ndarray, boxes: np.ndarray, shape: tuple[int, ...]
) -> regions.Detections:
    """The strongest boxes of one image (number `image`, of that `shape`) before suppression.

    From scores `P C` and offsets `P C 4` of its proposals `P 4`.
    """
    row, category = regions.select_strongest(scores)
    decoded = regions.clip(regions.decode(boxes[row], offsets[row, category]), shape[0], shape[1])
    return regions.Detections(np.full(len(row), image), category, scores[row, category], decoded)


def class_colour(category: int) -> tuple[float, float, float]:
    """A bright colour that is the class's own in all images; 20 classes have 20 hues, neighbours' far apart."""
    return colorsys.hsv_to_rgb(category * 7 % 20 / 20, 0.75 if category % 2 else 0.55, 1.0)


def label_place(
    name: str, box: np.ndarray, shape: tuple[int, ...], size: float, taken: list[np.ndarray]
) -> np.ndarray | None:
    """Where a box's name stands in an image of that `shape`, as a box `4`: in its upper left corner, or the next free
    place on its left side, above or under it.

    None where other names (`taken`) leave no room: the colour has to do. `size` of the letters in pixels.
    """
    width, height = (drawing.LETTER * len(name) + 0.4) * size, 1.2 * size
    x = float(np.clip(box[0], 0, max(shape[1] - width, 0)))
    inside = np.arange(box[1], box[3] - height, height / 4)
    for y in (*inside, box[1] - height, box[3]):
        place = np.array([x, y, x + width, y + height])
        if 0 <= y <= shape[0] - height and not any(regions.iou(place[None], other[None])[0, 0] > 0 for other in taken):
            return place
    return None


class DetectionHead(nn.Module):
    """Two linear layers side by side, one output."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.scores = nn.Linear(channels, classes + 1)
        self.offsets = nn.Linear(channels, 4 * classes)
        nn.init.normal_(self.scores.weight, std=0.01)
        nn.init.normal_(self.offsets.weight, std=0.001)
        nn.init.zeros_(self.scores.bias)
        nn.init.zeros_(self.offsets.bias)

    def forward(self, x: Tensor) -> Tensor:
        """`R C` -> `R (C+1 + 4C)`."""
        return torch.cat([self.scores(x), self.offsets(x)], dim=1)


class _Ranked(NamedTuple):
    """The detections of one class."""

    category: str
    scores: np.ndarray
    claimed: np.ndarray  # objects, as metrics.claims gives them
    objects: int  # how many there are to find


class DetectionMeter:
    """Collects the strongest boxes of every image; suppression and matching follow when the subset is complete.

    mAP is over the classes with an object in the subset that is not difficult; their number is the score `classes`.
    """

    def __init__(self, categories: tuple[str, ...]) -> None:
        self.categories = categories
        self.found: list[regions.Detections] = []
        self.truth_boxes: list[np.ndarray] = []
        self.truth_groups: list[np.ndarray] = []
        self.truth_difficult: list[np.ndarray] = []
        self.ranked: list[_Ranked] | None = None

    def add(self, prediction: dict[str, Tensor], batch: Batch) -> None:
        """Add a batch; of an image's regions (proposals, then annotated boxes) the proposals alone are detections."""
        assert batch.regions is not None
        probability = prediction["probability"].cpu().numpy()
        offsets = prediction["offsets"].cpu().numpy()
        boxes = batch.regions[:, 1:].cpu().numpy()
        first = 0
        for sample in batch.samples:
            assert sample.proposals is not None and sample.boxes is not None
            rows = slice(first, first + len(sample.proposals))
            first += len(sample.proposals) + len(sample.boxes)
            if "detection" in sample.labels:
                self._add_truth(sample.boxes, sample.labels["detection"], sample.difficult)
                image, shape = len(self.found), sample.image.shape
                self.found.append(find_detections(image, probability[rows, 1:], offsets[rows], boxes[rows], shape))
        assert first == len(boxes), "an evaluation has the regions of every image: proposals, then annotated boxes"
        self.ranked = None

    def _add_truth(self, boxes: np.ndarray, labels: np.ndarray, difficult: np.ndarray | None) -> None:
        image = len(self.found)
        self.truth_boxes.append(boxes)
        self.truth_groups.append(image * len(self.categories) + labels.astype(np.int64))
        self.truth_difficult.append(np.zeros(len(boxes), dtype=bool) if difficult is None else difficult)

    def scores(self) -> list[Score]:
        """mAP, the number of classes that it is over, and the AP of each of them."""
        values = [metrics.detection_average_precision(r.scores, r.claimed, r.objects) for r in self._rank()]
        return [
            Score("mAP", "", metrics.mean_over(values)),
            Score("classes", "", float(len(values))),
            *(Score("AP", r.category, value) for r, value in zip(self._rank(), values, strict=True)),
        ]

    def chance(self) -> list[Score]:
        """95th percentile of mAP and of each AP when the scores of the remaining boxes are permuted within a class."""
        rng = np.random.default_rng(0)
        shuffled = [metrics.shuffled_average_precision(r.claimed, r.objects, rng) for r in self._rank()]
        mean, each = metrics.chance_level(shuffled)
        named = zip(self._rank(), each, strict=True)
        return [Score("mAP", "", mean), *(Score("AP", r.category, float(value)) for r, value in named)]

    def _rank(self) -> list[_Ranked]:
        """The detections of every class that has objects, matched to them."""
        if self.ranked is None:
            images, classes = len(self.found), len(self.categories)
            kept = regions.per_class_nms(regions.join(self.found), images)
            truth = np.concatenate([np.zeros((0, 4), np.float32), *self.truth_boxes])
            groups = np.concatenate([np.zeros(0, np.int64), *self.truth_groups])
            difficult = np.concatenate([np.zeros(0, bool), *self.truth_difficult])
            best, overlap = regions.best_in_group(kept.box, kept.image * classes + kept.category, truth, groups)
            claimed = metrics.assign_claims(best, overlap, difficult)
            objects = np.bincount(groups[~difficult] % classes, minlength=classes)
            self.ranked = [
                _Ranked(name, kept.score[kept.category == c], claimed[kept.category == c], int(objects[c]))
                for c, name in enumerate(self.categories)
                if objects[c]
            ]
        return self.ranked
