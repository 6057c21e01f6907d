"""AlexNet as torchvision has it, with weights of ImageNet (Krizhevsky 2014, "One weird trick")."""

from __future__ import annotations

import copy
from collections.abc import Callable

from torch import Tensor, nn

from mtlbench.backbones._alexnets import fc6, fc7, fit_state, geometry_of, make_pool, stages_of, start_he

CHANNELS = {
    "conv1": 64,
    "pool1": 64,
    "conv2": 192,
    "pool2": 192,
    "conv3": 384,
    "conv4": 256,
    "conv5": 256,
    "pool5": 256,
    "fc6": 4096,
    "fc7": 4096,
}
IN_FILES = {
    "conv1": "features.0",
    "conv2": "features.3",
    "conv3": "features.6",
    "conv4": "features.8",
    "conv5": "features.10",
    "fc6": "classifier.1",
    "fc7": "classifier.4",
}
CELLS = 6  # a side, that fc6 looks at


class Alexnet:
    """conv1 .. fc7 without LRN and groups, narrower than the paper's CaffeNet; dropout opens fc7 and the heads.

    Ours, as the literature has both forms for CaffeNet only. Form `fcn`: as FCN-32s (Long et al. 2015), conv1 padded
    by 100, fc6 and fc7 as convolutions. Form `roi`: as Fast R-CNN (Girshick 2015), RoI pooling 6 x 6 at stride 16 in
    place of pool5, conv1 padded by 5 and pool1 and pool2 by 1, so that cell i is centred on pixel 16 i, where RoI
    pooling looks for it; torchvision's paddings (2, 0, 0) would put it 15 pixels further. Pooled sizes are rounded up,
    as Caffe's, so that the last cells reach the image's edge; at 224 x 224 torchvision's rounding down does the same.
    Form `image`: as form `roi` with one region, the whole image. `width` scales the channels of the convolutions, `fc`
    sets those of fc6 and fc7 (0 = 4096 x width), `widen` scales all of these. He start, or `weights`
    (the digest of a file); input scaling is torchvision's in both cases. Form `mixed`: as form `roi`, also for maps:
    those of form `fcn` leave at pool5, and fc6 is padded by 3 so that every pixel has a score.
    """

    version = 2
    forms: tuple[str, ...] = ("fcn", "roi", "image", "mixed")
    mean = (123.675, 116.28, 103.53)  # torchvision's 0.485, 0.456, 0.406 in the range 0-255
    std = (58.395, 57.12, 57.375)  # torchvision's 0.229, 0.224, 0.225
    bgr = False
    torchvision_weights = "AlexNet_Weights.IMAGENET1K_V1"

    def __init__(
        self, form: str, width: float = 1.0, fc: int = 0, dropout: float = 0.5, weights: str = "", widen: float = 1.0
    ) -> None:
        self.form, self.dropout, self.weights = form, dropout, weights
        self.trunk_form = form  # whose geometry conv1 .. conv5 have
        self.stages = stages_of(CHANNELS, width, fc, widen)
        self.channels = {stage.name: stage.channels for stage in self.stages}
        padded = form == "mixed"  # elsewhere only form `fcn` reads it
        pool = (3, 2, 1 if padded else 0)
        conv1, fc6_layer = (11, 4, 5 if padded else 100), (CELLS, 1, CELLS // 2 if padded else 0)
        self.geometry = geometry_of([conv1, pool, pool, pool, fc6_layer], hold=padded)

    def of_form(self, form: str) -> Alexnet:
        """In form `mixed`: what makes the modules of tasks of this form."""
        twin = copy.copy(self)
        twin.form = form
        return twin

    def build(self, stage: str) -> nn.Module:
        """A fresh module, He start from torch's global generator."""
        width, fcn = self.channels, self.form == "fcn"
        make: dict[str, Callable[[], nn.Module]] = {
            "conv1": lambda: _conv(3, width["conv1"], 11, 4, 100 if self.trunk_form == "fcn" else 5),
            "pool1": self._pool,
            "conv2": lambda: _conv(width["pool1"], width["conv2"], 5, 1, 2),
            "pool2": self._pool,
            "conv3": lambda: _conv(width["pool2"], width["conv3"], 3, 1, 1),
            "conv4": lambda: _conv(width["conv3"], width["conv4"], 3, 1, 1),
            "conv5": lambda: _conv(width["conv4"], width["conv5"], 3, 1, 1),
            "pool5": lambda: self._pool() if fcn else make_pool(self.form, CELLS, 16),
            "fc6": lambda: fc6(
                self.form, width["pool5"], width["fc6"], CELLS, 0 if self.trunk_form == "fcn" else CELLS // 2
            ),
            "fc7": lambda: fc7(self.form, width["fc6"], width["fc7"], self.dropout),
        }
        return make[stage]()

    def adapted(self, state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """{stage: its module's state} from names and shapes of torchvision's alexnet; `classifier.6` is ignored.

        Raises UserError with the names and shapes that differ.
        """
        what = f"alexnet in form {self.form}, {self.channels['conv1']} and {self.channels['fc6']} wide"
        return fit_state(what, self.build, IN_FILES, ("classifier.6.",), state)

    def _pool(self) -> nn.Module:
        return nn.MaxPool2d(3, 2, padding=0 if self.trunk_form == "fcn" else 1, ceil_mode=True)


def _conv(inputs: int, outputs: int, kernel: int, stride: int, padding: int) -> nn.Module:
    return nn.Sequential(start_he(nn.Conv2d(inputs, outputs, kernel, stride, padding)), nn.ReLU(inplace=True))
