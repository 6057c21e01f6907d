"""What stands between a column's maps and the head of a dense task, where a recipe's decoder is not "linear"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from mtlbench.contracts import Geometry
from mtlbench.errors import UserError
from mtlbench.nets.layers import SeededDropout, upsample

FPN_CHANNELS = 128  # of a pyramid's maps (Kirillov et al. 2019, the last ones of their panoptic decoder)
FINEST = 4  # stride in pixels of the finest map that a pyramid takes (theirs)


class DeepLab(nn.Sequential):
    """torchvision's DeepLabHead (Chen et al. 2017: parallel dilated convolutions, rates 12, 24, 36, and the mean of the
    image) up to its last layer; dropout is seeded."""

    channels = 256

    def __init__(self, width: int) -> None:
        from torchvision.models.segmentation.deeplabv3 import DeepLabHead  # takes a second or two

        *layers, _ = DeepLabHead(width, 1).children()
        super().__init__(*layers)
        for path, module in list(self.named_modules()):
            if isinstance(module, nn.Dropout):
                self.set_submodule(path, SeededDropout(module.p))


class Pyramid(nn.Module):
    """A feature pyramid (Lin et al. 2017) over maps of a column, the finest one first, each half as large as the one
    before or smaller: 1x1 convolutions, coarse maps added to finer ones from the top down, one 3x3 convolution.

    Ours: coarse maps are upsampled to where the finer one's cells lie, and heads see the finest map alone.
    """

    channels = FPN_CHANNELS

    def __init__(self, widths: Sequence[int], geometries: Sequence[Geometry]) -> None:
        super().__init__()
        self.geometries = tuple(geometries)
        self.lateral = nn.ModuleList(nn.Conv2d(width, self.channels, 1) for width in widths)
        self.smooth = nn.Sequential(nn.Conv2d(self.channels, self.channels, 3, padding=1), nn.ReLU(inplace=True))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """`B C H W` each -> `B 128 H W` of the finest."""
        below: Tensor | None = None
        for number in reversed(range(len(maps))):
            here: Tensor = self.lateral[number](maps[number])
            if below is not None:
                between = _locate(self.geometries[number], self.geometries[number + 1])
                here = here + upsample(below, here.shape[-2:], between)
            below = here
        smooth: Tensor = self.smooth(below)
        return smooth


def _locate(fine: Geometry, coarse: Geometry) -> Geometry:
    """Where the coarse map's cells lie, in cells of the fine one."""
    return Geometry(coarse.stride // fine.stride, (coarse.centre - fine.centre) / fine.stride, hold=True)


def levels_of(backbone: Any) -> dict[str, Geometry]:
    """{stage: where its cells lie} of the maps that a pyramid takes: the last one of every stride from 4 pixels on.
    Raises UserError for a backbone that does not say."""
    known: Mapping[str, Geometry] = getattr(backbone, "geometries", {})
    if not known:
        raise UserError(
            f"decoder fpn: {type(backbone).__name__} does not say where the cells of its stages lie; take "
            "timm:NAME, or decoder deeplab or linear"
        )
    last = {geometry.stride: stage for stage, geometry in known.items()}
    levels = {stage: known[stage] for stride, stage in sorted(last.items()) if stride >= FINEST}
    return levels or {stage: known[stage] for stage in list(known)[-1:]}
