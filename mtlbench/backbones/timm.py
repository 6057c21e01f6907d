"""timm:NAME, networks of timm (Wightman 2019) in stages: VGG, ResNet, ConvNeXt, Swin, EfficientNet, MobileNet, ViT."""

from __future__ import annotations

import copy
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from mtlbench.backbones import _timm_weights as files
from mtlbench.backbones._timm_nets import RELEASE, Part, create, cut, look, names_of
from mtlbench.backbones._timm_stages import ImageStage, RegionMean, RegionStage
from mtlbench.contracts import Geometry, Stage
from mtlbench.errors import UserError

BATCH_NORMS = ("shared", "frozen", "per-task")
POOLED_STRIDE = 16  # of the map that regions are pooled from, at most


class Timm:
    """The network `model` of timm up to its last features, in stages `stage1` .. that end at its taps (`cuts` "taps": a
    plain ViT in four), or at its blocks ("blocks": `stage2_1` ..). Ours; units stand after every stage.

    Form `fcn`: the last map. Form `roi`: RoIAlign (He et al. 2017) on the last map with cells at most 16 pixels apart,
    what follows works on each region, as in Faster R-CNN on ResNet (Ren et al. 2015, He et al. 2016), and its vector is
    the mean over the last `cells` x `cells` (theirs: 7). Form `image`: the mean over the last map. In form `mixed`
    tasks part where regions are pooled. Tokens of a plain ViT lie as a map between stages, those of the class and of
    registers in rows below the patches. Stochastic depth is off, dropout seeded.
    `output_stride` dilates late stages of networks that timm can dilate (0 = not). `batch_norm` "frozen" takes
    statistics, scales and biases of batch normalisation as the weights have them; "shared" trains them with their
    column; "per-task" gives each task its own in columns that tasks share, which it then passes for itself (beside
    experts they stay the columns'). `release` is timm's, `weights` the digest of a file; without one the start is
    timm's.
    """

    version = 1
    forms: tuple[str, ...] = ("fcn", "roi", "image", "mixed")
    bgr = False
    torchvision_weights = ""
    pinned = {"release": RELEASE}

    def __init__(
        self,
        form: str,
        model: str = "",
        cuts: str = "taps",
        output_stride: int = 0,
        cells: int = 3,
        batch_norm: str = "shared",
        weights: str = "",
        release: str = RELEASE,
    ) -> None:
        if not model:
            raise UserError("timm has many networks; say which: --backbone timm:resnet18")
        if release != RELEASE:
            raise UserError(
                f"planned with timm {release}, and {RELEASE} is installed here: type pip install 'timm=={release}'"
            )
        if batch_norm not in BATCH_NORMS:
            raise UserError(f"timm's batch_norm is {batch_norm!r}, must be {' or '.join(BATCH_NORMS)}")
        self.form, self.model, self.cuts, self.output_stride, self.cells = form, model, cuts, output_stride, cells
        self.frozen, self.norms_of_tasks, self.weights = batch_norm == "frozen", batch_norm == "per-task", weights
        self.look = look(model, cuts, output_stride)
        self.parts: dict[str, Part] = {part.name: part for part in self.look.parts}
        names, last = list(self.parts), self.look.parts[-1]
        self.mean, self.std = (tuple(255 * value for value in scale) for scale in (self.look.mean, self.look.std))
        self.geometries = {part.name: Geometry(part.stride, part.centre, hold=True) for part in self.look.parts}
        self.geometry = self.geometries[last.name]
        self.parted = names.index(self.pooled or last.name)
        self.stages = tuple(
            Stage(part.name, part.channels, part.parameters > 0, True, by_form=place >= self.parted)
            for place, part in enumerate(self.look.parts)
        )
        self._made: dict[str, tuple[bytes, str, nn.Module]] = {}

    @cached_property
    def pooled(self) -> str:
        """The stage before which regions are pooled; "" = after the last one."""
        _, *later = self.look.parts
        return next((part.name for part in later if part.stride > POOLED_STRIDE), "")

    @property
    def licence(self) -> str:
        """Of the weights that timm publishes under this name."""
        return self.look.licence

    def of_form(self, form: str) -> Timm:
        """In form `mixed`: what makes the modules of tasks of this form."""
        twin = copy.copy(self)
        twin.form = form
        return twin

    def build(self, stage: str) -> nn.Module:
        """A fresh module, started by timm from torch's global generator."""
        body = self._body(stage)
        names, part = list(self.parts), self.parts[stage]
        last = stage == names[-1]
        if self.form == "image" and last:
            return ImageStage(body, part.stride, part.centre)
        if self.form == "roi" and (stage == self.pooled or (last and not self.pooled)):
            at = self.parts[names[names.index(stage) - 1]] if self.pooled else part
            cells = self.cells * self.parts[names[-1]].stride // at.stride if self.pooled else 2 * self.cells
            return RegionStage(body, cells, at.stride, at.centre, bool(self.pooled), last)
        return nn.Sequential(body, RegionMean()) if self.form == "roi" and last else body

    def _body(self, stage: str) -> nn.Module:
        """A stage of a network that is made anew for it, since timm starts networks whole: once for equal columns; of
        shapes alone (device meta) one network has all stages."""
        state, device = torch.default_generator.get_state().numpy().tobytes(), str(torch.get_default_device())
        if stage not in self._made or self._made[stage][:2] != (state, device):
            net = create(self.model, self.output_stride)
            if self.frozen:
                from timm.utils.model import freeze_batch_norm_2d

                freeze_batch_norm_2d(net)
            parts = cut(self.model, net, self.cuts)
            made = parts if device == "meta" else {stage: parts[stage]}
            self._made |= {name: (state, device, part) for name, part in made.items()}
        return copy.deepcopy(self._made[stage][2])

    def adapted(self, state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """{stage: its module's state} from names and shapes of timm's network, or the package's of EfficientNet-Lite0;
        the classifier is ignored. Raises UserError with the names and shapes that differ."""
        found = files.fit_state(self.model, self.look.shapes, files.rename(self.model, self.look.shapes, state))
        with torch.device("meta"):
            stages = {name: names_of(self.build(name)) for name in self.parts}
        zero = torch.zeros(())  # counts of batches, which files may lack
        return {name: {own: found.get(theirs, zero) for own, theirs in names.items()} for name, names in stages.items()}

    def find_weights(self) -> tuple[Path, str]:
        """A file of ImageNet weights, and what is to be told of it and its licence. Raises UserError."""
        return files.find(self.model)
