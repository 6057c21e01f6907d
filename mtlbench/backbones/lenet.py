"""LeNet as Sener and Koltun 2018 changed it for MultiMNIST, for images of about 28 pixels: one vector an image."""

from __future__ import annotations

from torch import Tensor, nn

from mtlbench.backbones._alexnets import fit_state, start_he
from mtlbench.contracts import Geometry, Stage
from mtlbench.nets.layers import ImagePool, SeededDropout

CHANNELS = {"conv1": 10, "pool1": 10, "conv2": 20, "pool2": 20, "fc3": 50, "fc4": 50}
IN_FILES = {stage: stage for stage in CHANNELS if not stage.startswith("pool")}


class Lenet:
    """Two convolutions of 5 x 5 with max pooling and two fully connected layers; fc4 is the first layer of their heads.

    Ours: three channels of input; paddings of 2, so that an image of any size fits, and `cells` x `cells` maxima of the
    whole map in place of the second pooling (of 28 pixels theirs leaves 4 x 4, too); dropout of single values, which
    opens fc3 and the heads, in place of whole channels after conv2. `width` scales the channels of the convolutions,
    `fc` sets those of fc3 and fc4 (0 = 50 x width), `widen` scales all of these. He start, or `weights` (the digest of
    a file); inputs have mean and deviation of MNIST, as theirs.
    """

    version = 1
    forms: tuple[str, ...] = ("image",)
    mean = (33.3, 33.3, 33.3)  # .1307 of 255
    std = (78.6, 78.6, 78.6)  # .3081 of 255
    bgr = False
    geometry = Geometry(stride=2, centre=0, hold=True)  # of form `fcn`, which it does not have
    torchvision_weights = ""

    def __init__(
        self,
        form: str,
        width: float = 1.0,
        fc: int = 0,
        cells: int = 4,
        dropout: float = 0.5,
        weights: str = "",
        widen: float = 1.0,
    ) -> None:
        self.form, self.cells, self.dropout, self.weights = form, cells, dropout, weights
        usual = {s: fc if fc and s.startswith("fc") else count * width for s, count in CHANNELS.items()}
        self.channels = {stage: max(2, round(count * widen)) for stage, count in usual.items()}
        self.stages = tuple(
            Stage(stage, channels, not stage.startswith("pool"), not stage.startswith("conv"))
            for stage, channels in self.channels.items()
        )

    def build(self, stage: str) -> nn.Module:
        """A fresh module, He start from torch's global generator."""
        width = self.channels
        match stage:
            case "conv1":
                return self._conv(3, width["conv1"])
            case "pool1":
                return nn.MaxPool2d(2, ceil_mode=True)
            case "conv2":
                return self._conv(width["pool1"], width["conv2"])
            case "pool2":
                return ImagePool(self.cells, 2)
            case "fc3":
                return nn.Sequential(
                    nn.Flatten(), SeededDropout(self.dropout), *self._fc(width["pool2"] * self.cells**2, width["fc3"])
                )
        return nn.Sequential(*self._fc(width["fc3"], width["fc4"]))

    def adapted(self, state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """{stage: its module's state} from `conv1.weight` .. `fc4.bias`; `fc8` is ignored.

        Raises UserError with the names and shapes that differ.
        """
        what = f"lenet, {self.channels['conv1']} and {self.channels['fc3']} wide"
        return fit_state(what, self.build, IN_FILES, ("fc8.",), state)

    @staticmethod
    def _conv(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(start_he(nn.Conv2d(inputs, outputs, 5, padding=2)), nn.ReLU(inplace=True))

    @staticmethod
    def _fc(inputs: int, outputs: int) -> tuple[nn.Module, nn.Module]:
        return start_he(nn.Linear(inputs, outputs)), nn.ReLU(inplace=True)
