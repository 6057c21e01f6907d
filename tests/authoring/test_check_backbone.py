"""`mtlbench check` on backbones: every built-in one is sound, and what is wrong is said in words."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import nn

from mtlbench.authoring.check_backbone import check
from mtlbench.backbones.caffenet import Caffenet
from mtlbench.contracts import Geometry
from mtlbench.plugins import find, list_names

pytestmark = pytest.mark.slow

NARROW = {"width": 0.1, "fc": 24}
OPTIONS = {"timm": {"model": "test_efficientnet"}}  # others are narrow


@pytest.mark.parametrize("name", list_names("backbone"))
def test_every_built_in_backbone_keeps_the_contract(name: str) -> None:
    found = list(check(find("backbone", name), OPTIONS.get(name, NARROW)))
    assert [finding.text for finding in found if not finding.ok] == [] and len(found) == 13 + (
        "mixed" in find("backbone", name).forms
    )


class Small(Caffenet):
    """A small one to be broken; its geometry is that of stride 16, centre 0."""

    def __init__(self, form: str) -> None:
        super().__init__(form, small=True, dropout=0.0, **NARROW)
        self.change()

    def change(self) -> None:
        pass

    def build(self, stage: str) -> nn.Module:
        return self.alter(stage, super().build(stage))

    def alter(self, stage: str, module: nn.Module) -> nn.Module:
        return module


def test_the_one_to_be_broken_is_sound() -> None:
    assert all(finding.ok for finding in check(Small)) and Small("fcn").geometry == Geometry(16, 0, True)


class Centre(Small):
    def change(self) -> None:
        self.geometry = Geometry(16, 16, True)


class Stride(Small):
    def change(self) -> None:
        self.geometry = Geometry(8, 0, True)


class Unscaled(Small):
    std = (1.0, 0.0)

    def change(self) -> None:
        self.std = Unscaled.std


class Twins(Small):
    def change(self) -> None:
        self.stages = (self.stages[0], *self.stages)


class Wide(Small):
    def alter(self, stage: str, module: nn.Module) -> nn.Module:
        return nn.Sequential(module, nn.Conv2d(10, 7, 1)) if stage == "conv1" else module


class Parametric(Small):
    def alter(self, stage: str, module: nn.Module) -> nn.Module:
        return nn.Sequential(module, nn.Conv2d(10, 10, 1)) if stage == "pool1" else module


class Again(Small):
    made: dict[str, nn.Module]

    def change(self) -> None:
        self.made = {}

    def alter(self, stage: str, module: nn.Module) -> nn.Module:
        return self.made.setdefault(stage, module)


class Regionless(Small):
    def alter(self, stage: str, module: nn.Module) -> nn.Module:
        return nn.MaxPool2d(3, 2, 1) if stage == "pool5" else module


class Flat(Small):
    def alter(self, stage: str, module: nn.Module) -> nn.Module:
        return nn.Sequential(module, nn.Flatten(2)) if stage == "fc7" and self.form == "fcn" else module


class Neighbours(Small):
    def alter(self, stage: str, module: nn.Module) -> nn.Module:
        return nn.Sequential(module, nn.BatchNorm2d(10, track_running_stats=False)) if stage == "conv1" else module


class Unused(Small):
    def alter(self, stage: str, module: nn.Module) -> nn.Module:
        if stage == "conv4":
            module.register_parameter("extra", nn.Parameter(torch.ones(1)))
        return module


class Dropping(Small):
    def alter(self, stage: str, module: nn.Module) -> nn.Module:
        return nn.Sequential(module, nn.Dropout(0.2)) if stage == "fc6" else module


class Valued(Small):
    class Negative(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() >= 0 else -x

    def alter(self, stage: str, module: nn.Module) -> nn.Module:
        return nn.Sequential(module, self.Negative()) if stage == "fc6" else module


class Careless(Small):
    def adapted(self, state: dict[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
        return {"conv1": {"0.weight": state["conv1.weight"]}}


class Credulous(Small):
    def adapted(self, state: dict[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
        return {}


class Raising(Small):
    def alter(self, stage: str, module: nn.Module) -> nn.Module:
        raise ValueError(f"nothing for {stage}")


class Formless(Small):
    forms = "fcn"


class Unbuildable:
    version, forms = 1, ("fcn",)


MISTAKES = {
    Centre: r"geometry\.centre is 16, which puts cell 12 of the last map at pixel 208, .* should be about -?[0-3]\b",
    Stride: r"geometry\.stride is 8, but 96 pixels more a side give 6 cells more, not 12: should it be 16\?",
    Unscaled: r"Unscaled\.std is \(1\.0, 0\.0\); write 3 numbers, one a colour",
    Twins: r"a stage is called 'conv1'; give each a name of its own",
    Wide: r"test_check_backbone\.py:\d+: conv1 gives 7 channels and declares 10",
    Parametric: r".*pool1 has parameters and declares has_parameters=False",
    Again: r".*build\('conv1'\) gives the same parameters twice; make a new module at every call",
    Regionless: r".*fc6 fails on what comes before it, of shape 2 x 26 x 8 x 8: RuntimeError: .*"
    r"\(seen with form roi, and 3 more of 6 networks\)",
    Flat: r".*the last stage gives the shape 2 x 24 x 16; in form fcn it must give a map, B C H W",
    Neighbours: r"in evaluation an image's output changes with the other images of the batch",
    Unused: r"trunk\.conv4\.one\.extra gets no gradient: nothing depends on it",
    Dropping: r"two trainings of one seed differ in trunk\..*; use mtlbench\.authoring\.SeededDropout in place of",
    Valued: r"test_check_backbone\.py:\d+ \(in forward\): .*operations are counted with tensors that have no values",
    Careless: r"test_check_backbone\.py:\d+ \(in adapted\): KeyError: 'conv1\.weight'; adapted must raise .*UserError",
    Credulous: r".*adapted takes a file without any weights; it must raise mtlbench\.authoring\.UserError",
    Raising: r"test_check_backbone\.py:\d+ \(in alter\): ValueError: nothing for conv1",
    Formless: r"Formless\.forms is 'fcn'; write \('fcn', 'roi', 'image'\) for maps, regions and whole images, or "
    r"some of them: \('fcn',\)",
    Unbuildable: r"Unbuildable has no build and no adapted",
}


@pytest.mark.parametrize("cls", MISTAKES, ids=lambda cls: cls.__name__)
def test_mistakes_are_named_in_words(cls: Any) -> None:
    text = next(finding.text for finding in check(cls) if not finding.ok)
    assert re.match(MISTAKES[cls], text), text
