"""CaffeNet, the AlexNet of the paper (Jia et al. 2014, after Krizhevsky et al. 2012), and a small-image variant."""

from __future__ import annotations

import copy
from collections.abc import Callable

from torch import Tensor, nn

from mtlbench.backbones._alexnets import fc6, fc7, fit_state, geometry_of, make_pool, stages_of, start_he
from mtlbench.nets.layers import LocalResponseNorm

CHANNELS = {
    "conv1": 96,
    "pool1": 96,
    "conv2": 256,
    "pool2": 256,
    "conv3": 384,
    "conv4": 384,
    "conv5": 256,
    "pool5": 256,
    "fc6": 4096,
    "fc7": 4096,
}
IN_FILES = {stage: stage for stage in CHANNELS if not stage.startswith("pool")}


class Caffenet:
    """conv1 .. fc7 with LRN and two groups; LRN and dropout open the next stage, so that units mix what precedes them.

    Form `fcn`: FCN-32s (Long et al. 2015): conv1 padded by 100, fc6 and fc7 as convolutions. Form `roi`: Fast R-CNN
    (Girshick 2015): conv1 padded by 5, pool1 and pool2 by 1, RoI pooling 6 x 6 at stride 16 in place of pool5.
    Form `image` (Ours): as form `roi` with one region, the whole image, so that what was learned of regions fits both.
    `width` scales the channels of the convolutions, `fc` sets those of fc6 and fc7 (0 = 4096 x width), `widen` scales
    all of these, `dropout` opens fc7 and the heads. `small` (Ours, for images of about 64 pixels): conv1 5x5 at stride
    2, "same" paddings, fc6 over 3 x 3 cells; the last map has stride 16 (`fcn`), or RoI pooling works at stride 4
    (`roi` and `image`: pool2 at stride 1). He start, or `weights` (the digest of a file), which expect Caffe's
    inputs: BGR, 0-255, minus the mean; with `scaled`, these divided by 64, as a start from scratch does.
    Form `mixed` (Ours): as form `roi`, also for maps: those of form `fcn` leave at pool5, and fc6 is padded so that
    every pixel has a score; the last map has stride 8 where it is `small`, else 32.
    """

    version = 2
    forms: tuple[str, ...] = ("fcn", "roi", "image", "mixed")
    mean = (102.98, 115.95, 122.77)  # Caffe's, in BGR order
    bgr = True
    torchvision_weights = ""

    def __init__(
        self,
        form: str,
        width: float = 1.0,
        fc: int = 0,
        small: bool = False,
        dropout: float = 0.5,
        weights: str = "",
        widen: float = 1.0,
        scaled: bool = False,
    ) -> None:
        self.form, self.small, self.dropout, self.weights = form, small, dropout, weights
        self.trunk_form = form  # whose geometry conv1 .. conv5 have
        # A start from scratch wants inputs near unit size (Ours).
        self.std = (1.0, 1.0, 1.0) if weights and not scaled else (64.0, 64.0, 64.0)
        self.stages = stages_of(CHANNELS, width, fc, widen)
        self.channels = {stage.name: stage.channels for stage in self.stages}
        pool1, pool2 = (3, 2, self._pool_padding), (3, self._pool2_stride, self._pool_padding)
        layers = [self._conv1_shape, pool1, pool2, pool1, (self._cells, 1, self._fc6_padding)]
        self.geometry = geometry_of(layers, hold=small or form == "mixed")  # of form `fcn` alone

    def of_form(self, form: str) -> Caffenet:
        """In form `mixed`: what makes the modules of tasks of this form."""
        twin = copy.copy(self)
        twin.form = form
        return twin

    def build(self, stage: str) -> nn.Module:
        """A fresh module, He start from torch's global generator."""
        make: dict[str, Callable[[], nn.Module]] = {
            "conv1": self._conv1,
            "pool1": self._pool,
            "conv2": lambda: self._conv("pool1", "conv2", 5, 2, norm=True),
            "pool2": self._pool2,
            "conv3": lambda: self._conv("pool2", "conv3", 3, 1, norm=True),
            "conv4": lambda: self._conv("conv3", "conv4", 3, 2),
            "conv5": lambda: self._conv("conv4", "conv5", 3, 2),
            "pool5": self._pool5,
            "fc6": lambda: fc6(self.form, self.channels["pool5"], self.channels["fc6"], self._cells, self._fc6_padding),
            "fc7": lambda: fc7(self.form, self.channels["fc6"], self.channels["fc7"], self.dropout),
        }
        return make[stage]()

    def adapted(self, state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """{stage: its module's state} from `conv1.weight` .. `fc7.bias` in the shapes of Caffe; `fc8` is ignored.

        Raises UserError with the names and shapes that differ.
        """
        small = "small " if self.small else ""
        what = f"{small}caffenet in form {self.form}, {self.channels['conv1']} and {self.channels['fc6']} wide"
        return fit_state(what, self.build, IN_FILES, ("fc8.",), state)

    @property
    def _conv1_shape(self) -> tuple[int, int, int]:
        """Kernel, stride, padding."""
        if self.small:
            return 5, 2, 2
        return 11, 4, 100 if self.trunk_form == "fcn" else 5

    @property
    def _pool_padding(self) -> int:
        return 1 if self.small or self.trunk_form != "fcn" else 0

    @property
    def _pool2_stride(self) -> int:
        # At 64 pixels regions span two or three cells at stride 8, too few to tell where a box ends.
        return 1 if self.small and self.trunk_form != "fcn" else 2

    @property
    def _fc6_padding(self) -> int:
        """Of form `fcn`; beside other forms conv1 is not padded by 100, and fc6 is, instead."""
        return self._cells // 2 if self.small or self.trunk_form != "fcn" else 0

    @property
    def _cells(self) -> int:
        return 3 if self.small else 6

    def _conv1(self) -> nn.Module:
        kernel, stride, padding = self._conv1_shape
        return nn.Sequential(
            start_he(nn.Conv2d(3, self.channels["conv1"], kernel, stride, padding)), nn.ReLU(inplace=True)
        )

    def _conv(self, before: str, name: str, kernel: int, groups: int, norm: bool = False) -> nn.Module:
        conv = nn.Conv2d(self.channels[before], self.channels[name], kernel, 1, kernel // 2, groups=groups)
        return nn.Sequential(*([LocalResponseNorm()] if norm else []), start_he(conv), nn.ReLU(inplace=True))

    def _pool(self) -> nn.Module:
        """Caffe rounds the size of pooled maps up."""
        return nn.MaxPool2d(3, 2, padding=self._pool_padding, ceil_mode=not self.small)

    def _pool2(self) -> nn.Module:
        return nn.MaxPool2d(3, self._pool2_stride, padding=self._pool_padding, ceil_mode=not self.small)

    def _pool5(self) -> nn.Module:
        return self._pool() if self.form == "fcn" else make_pool(self.form, self._cells, 4 if self.small else 16)
