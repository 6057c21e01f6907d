"""A number at each pixel, such as a depth or a distance; 0 = not labelled."""

import numpy as np
import torch
from torch import nn

from mtlbench.authoring import Metric, Score

NAME = "template"  # of the task: that of its labels, too
UNIT = "units"  # of the numbers


class Template:
    """Regression of one number a pixel; the data set's labels are `H W` float32."""

    version = 1  # raise it when you change what it computes
    form = "fcn"  # a prediction for every pixel; "roi": for every region; "image": for the whole image
    weight = 1.0  # of its loss beside other tasks'
    metrics = {"error": Metric(UNIT, False), "within_25": Metric("%", True)}  # unit, and whether higher is better
    headline = "error"  # the metric in figures

    def __init__(self, categories, facts):
        self.mean, self.std = facts["mean"], facts["std"]

    @staticmethod
    def fit(categories, train):
        """What is to be known of the training images, as numbers and lists: here, where the labels lie."""
        some = [train[i].labels[NAME] for i in range(min(200, len(train))) if NAME in train[i].labels]
        values = np.concatenate([label[label != 0] for label in some] or [np.zeros(0)])
        return {"mean": float(values.mean()), "std": float(values.std())} if len(values) > 1 else {"mean": 0, "std": 1}

    @staticmethod
    def mirror(label):
        """The label of the image mirrored left to right."""
        return np.ascontiguousarray(label[:, ::-1])

    def head(self, channels):
        """The last layer; its scores are enlarged to the size of the image."""
        return nn.Conv2d(channels, 1, 1)

    def loss(self, output, batch):
        """The mean absolute error in deviations of the labels, over the labelled pixels; `output` is `B 1 H W`."""
        goal = (batch.labels[NAME] - self.mean) / self.std
        return ((output[:, 0] - goal).abs() * find_labelled(batch)).sum() / self.count(batch).clamp(min=1)

    def count(self, batch):
        """How many pixels the loss is the mean of."""
        return find_labelled(batch).sum()

    def predict(self, output, batch):
        """What is averaged over the networks of an ensemble, and goes to the meter."""
        return {"number": self.mean + self.std * output[:, 0]}

    def meter(self):
        return TemplateMeter()

    def keep(self, prediction, batch):
        """A small array of what was predicted on one image, for `mtlbench show` (this and `draw` may be left out)."""
        return prediction["number"][0, ::2, ::2].numpy().astype(np.float16)

    def draw(self, axes, sample, kept):
        height, width = sample.image.shape[:2]
        shown = sample.labels[NAME] if kept is None else kept
        axes.imshow(shown, extent=(0, width, height, 0), vmin=0, vmax=self.mean + 2 * self.std)


def find_labelled(batch):
    """Pixels `B H W` with a label, in the images that have labels for this task."""
    return (batch.labels[NAME] != 0) & batch.masks[NAME][:, None, None]


class TemplateMeter:
    """Collects errors over the images of a subset."""

    def __init__(self):
        self.pixels = self.error = self.within = 0
        self.seen = [torch.zeros(0)]

    def add(self, prediction, batch):
        valid = find_labelled(batch)
        truth, guess = batch.labels[NAME][valid], prediction["number"][valid]
        self.pixels += len(truth)
        self.error += float((guess - truth).abs().sum())
        self.within += int(((guess / truth - 1).abs() < 0.25).sum())
        self.seen.append(truth[:: max(1, len(truth) // 2000)])  # some, to say what a constant would score

    def scores(self):
        """Mean absolute error, and the share of the pixels that are less than a quarter off."""
        pixels = self.pixels or float("nan")
        return [Score("error", "", self.error / pixels), Score("within_25", "", 100 * self.within / pixels)]

    def chance(self):
        """The best that one number for all pixels could score: what knows nothing of the images."""
        seen = torch.cat(self.seen)
        if not len(seen):
            return self.scores()
        tried = seen[:: max(1, len(seen) // 200)]
        error = min(float((seen - guess).abs().mean()) for guess in tried)
        within = max(float(((guess / seen - 1).abs() < 0.25).float().mean()) for guess in tried)
        return [Score("error", "", error), Score("within_25", "", 100 * within)]
