"""The stages of a backbone, for people."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mtlbench.plan.backbones import parse_backbone
from mtlbench.plugins import create, find
from mtlbench.spec import Plugin


@dataclass(frozen=True)
class StageFacts:
    """A stage: channels of its output, its cells' distance in pixels (0 = not told), parameters, whether units stand
    after it by default, and what it is made of (of timm's)."""

    name: str
    channels: int
    stride: int
    parameters: int
    stitched: bool
    modules: tuple[str, ...]


def describe_backbone(text: str) -> tuple[str, list[StageFacts]]:
    """A line on the backbone that `--backbone` names, and its stages in its first form. Raises UserError."""
    name, options = parse_backbone(text)
    made = create("backbone", name, form=find("backbone", name).forms[0], **options)
    parts = getattr(made, "parts", {})  # what is known of timm's
    facts = []
    for stage in made.stages:
        with torch.device("meta"):
            parameters = sum(parameter.numel() for parameter in made.build(stage.name).parameters())
        part = parts.get(stage.name)
        stride, modules = (part.stride, part.modules) if part else (0, ())
        facts.append(StageFacts(stage.name, stage.channels, stride, parameters, stage.stitched, modules))
    licence = getattr(made, "licence", "")
    return Plugin(name, options).label + (f" (licence of the published weights: {licence})" if licence else ""), facts
