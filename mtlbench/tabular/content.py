"""What an exported table holds: two long tables of columns, the architectures, and what the numbers are of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from msgspec import Struct

FORMAT = 1  # of exported tables
ABOUT, ARCHITECTURES = "benchmark.json", "architectures.json"
SCORES, COSTS = "scores.parquet", "costs.parquet"
CURVE = "curve"  # the subset of scores that were taken during training, on the first images of val
LOSS = "train_loss"  # the metric of a curve that is no metric of val
CHANGE = "change"  # mean over tasks of the headline's change against one-task with the same seed, in %
Columns = dict[str, list[Any]]


class Metric(Struct, frozen=True):
    """A metric of a task."""

    task: str
    name: str
    unit: str
    higher_is_better: bool
    headline: bool  # whether it is the one that changes are about

    @property
    def full_name(self) -> str:
        """`detection mAP`."""
        return f"{self.task} {self.name}"


class Stage(Struct, frozen=True):
    """Which tasks share a stage, and whether a unit that mixes columns follows it."""

    stage: str
    groups: list[list[str]]
    unit: bool


class Architecture(Struct, frozen=True):
    """What an arm is. `parents`: the arms whose finished networks it starts from; `variant_of`: the arm that this one
    ablates or varies, "" for none."""

    family: str
    variant_of: str
    parents: list[str]
    stages: list[Stage]


class About(Struct, frozen=True, kw_only=True):
    """benchmark.json: what the numbers are of."""

    format: int
    version: str  # of mtlbench
    pair: str
    dataset: str
    backbone: str
    recipe: str
    setting: str
    note: str  # what was chosen and left out, a sentence
    tasks: list[str]
    baseline: str  # the arm that changes are against
    seeds: list[int]
    metrics: list[Metric]
    licence: str
    citation: list[str]
    files: dict[str, str] = {}  # SHA-256 of each file beside it


class Architectures(Struct, frozen=True):
    """architectures.json: {arm: architecture}, in table order."""

    arms: dict[str, Architecture]


@dataclass(frozen=True)
class Content:
    """A table in memory.

    scores: columns arm, seed, task, subset (val, test, chance: after training; CURVE: during it), metric, iteration,
    value. costs: columns arm, seed, task ("" for a network of all tasks), key, metric, value.
    """

    about: About
    architectures: dict[str, Architecture]
    scores: Columns
    costs: Columns
