"""What the JSON files of a store say, and exported networks of themselves. trial.json has the fields of `spec.Trial`;
all files of a trial begin with a Header."""

from __future__ import annotations

import contextlib
import datetime
import re
from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple

from msgspec import Meta, Struct

from mtlbench.spec import Options, Purpose, Trial
from mtlbench.system.files import Seal
from mtlbench.text import STEERING

# Names stand in commands to copy, in paths and in cells of spreadsheets: nothing in them may mean anything there.
NAME = rf"^(?![=+@-])(?:(?!{STEERING.pattern})[^\n\t/\\'\"`$;&|<>!])*\Z"
_NAME = re.compile(NAME)
Name = Annotated[str, Meta(pattern=NAME)]
# Beside result.json, those that the trial made.
SEALED = ("curve.csv", "alphas.csv", "conflicts.csv", "predictions.npz", "weights.pt")
Sealed = Annotated[str, Meta(pattern=rf"^({'|'.join(map(re.escape, SEALED))})\Z")]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


def is_name(text: str) -> bool:
    """Whether a text may be the name of a pair, arm, recipe or task, or a setting."""
    return _NAME.search(text) is not None


class Header(Struct, frozen=True):
    """What begins every JSON file of a trial."""

    format: int
    checksum: str = ""  # SHA-256 of all that follows it
    key: str = ""  # of the trial


class BeforeFormats(Struct, frozen=True):
    """What trial.json said before files told their format (up to format 3)."""

    pair: str
    arm: str
    seed: int
    tasks: list[str]


class ScoreRow(NamedTuple):
    """One score; `subset` is val, test, or `chance` for what a prediction that knows nothing gets on test."""

    task: str
    subset: str
    metric: str
    category: str  # "" = of all categories
    value: float


class Measure(Struct, frozen=True, forbid_unknown_fields=True):
    """What a metric is measured in."""

    unit: str
    higher_is_better: bool
    headline: bool  # whether it is the one that figures plot


class StageGroups(Struct, frozen=True):
    """Which tasks share a stage, and whether a unit follows it."""

    stage: str
    groups: list[list[str]]
    unit: bool


class TaskFacts(Struct, frozen=True):
    """What a task knows of the data it was trained on."""

    categories: tuple[str, ...]
    facts: Any


class Model(Struct, frozen=True):
    """What a network is used with besides its weights."""

    tasks: dict[str, TaskFacts]
    short_side: int  # of images, in pixels
    outcomes: list[Options]  # what searches that it started from have found
    windows: list[tuple[float, float, float, float]] | None  # as shares of width and height, where all images have them


class Result(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """result.json: what a trial has found. Names in it that stand in tables are checked when it is read."""

    backbone: str
    architecture: list[StageGroups]
    scores: list[ScoreRow]
    metrics: dict[Name, dict[str, Measure]]  # by task
    counts: dict[str, dict[str, int]]  # {task: {category: how often it is labelled in train}}
    cost: dict[str, float]
    environment: dict[str, str]
    finished: str  # date and time
    files: dict[Sealed, Seal] = {}  # those beside it that the trial made; `write_result` fills them in
    outcome: Options | None = None  # of a search
    loss_weights: dict[str, float] | None = None  # that were learnt
    model: Model | None = None  # of a trial with weights

    def __post_init__(self) -> None:
        """Raises ValueError for a score whose metric is unknown, a backbone whose name is none, and without costs that
        others rely on."""
        if not is_name(self.backbone.partition("(")[0]):
            raise ValueError(f"{self.backbone!r} is no backbone")
        if not {"seconds", "seconds_with_parents"} <= self.cost.keys():
            raise ValueError("the cost has no seconds")
        for task, metric in {(row.task, row.metric) for row in self.scores}:
            if metric not in self.metrics.get(task, ()):
                raise ValueError(f"{task} has no metric {metric!r}")


class FailureKind(StrEnum):
    """What kind of end a trial had that did not finish."""

    DIVERGED = "diverged"  # the loss or a prediction is no number, or without bound
    OUT_OF_MEMORY = "out-of-memory"
    EXIT = "exit"  # its code wanted to end the process
    LOST = "lost"  # its process or machine was gone, again and again
    REFUSED = "refused"  # something it needs is not there or not usable; the message says what to do
    ERROR = "error"  # an exception of its code


class Failure(Struct, frozen=True):
    """failure.json: why a trial failed."""

    kind: FailureKind
    error: str  # name of the exception's class; "" where its process ended without one
    message: str
    details: str = ""  # for who looks closely, such as where the alphas stood
    traceback: str = ""  # the file beside it that has the traceback

    def __str__(self) -> str:
        """`Diverged: the loss is nan at iteration 3`, one line."""
        return f"{self.error}: {self.message}" if self.error else self.message


class NameOfTrial(Struct, frozen=True, forbid_unknown_fields=True):
    """What a trial is called, and the variant that it is under that name."""

    arm: Name
    seed: Seed
    recipe: Name
    setting: Name
    variant_of: Name
    rate: float  # times the recipe's learning rate
    weighting: dict[Name, float] = {}  # {task: times its loss's weight}
    tuned: int = 0  # of how many settings this one was best on val
    purpose: Purpose = Purpose.COMPARED


class Names(Struct, frozen=True):
    """names.json: further names that a finished trial goes by."""

    names: list[NameOfTrial]


class Sources(Struct, frozen=True):
    """sources.json: {"scheme" or the like: the text of the user's file}."""

    texts: dict[str, str]


class Stamp(Struct, frozen=True):
    """format.json of a store."""

    format: int


class Run(Struct, frozen=True):
    """.lock and .running.json: a run that is working on a pair and a data set. Times in seconds since 1970."""

    process: int = 0
    host: str = "?"
    started: float = 0.0
    running: dict[str, float] = {}  # keys with the finished fraction
    seconds_left: float | None = None
    updated: float = 0.0

    def __str__(self) -> str:
        return f"process {self.process or '?'} on {self.host} since {self.since}"

    @property
    def since(self) -> str:
        """When it started, in local time."""
        with contextlib.suppress(ValueError, OverflowError, OSError):  # no such year
            if self.started:
                return datetime.datetime.fromtimestamp(self.started).strftime("%Y-%m-%d %H:%M")  # noqa: DTZ006 (local)
        return "?"


class Input(Struct, frozen=True):
    """How an exported network's images become its input."""

    channels: Literal["RGB", "BGR"]
    range: tuple[int, int]  # of pixels, before `mean` is taken off and `std` divided by
    mean: tuple[float, ...]  # of each channel
    std: tuple[float, ...]
    short_side: int  # pixels
    long_side: int


class ExportHeader(Struct, frozen=True):
    """What tells which mtlbench can read an exported network."""

    mtlbench: int  # the format
    version: str


class Exported(ExportHeader, frozen=True):
    """What an exported network's file says besides tensors."""

    trial: Trial
    model: Model
    input: Input
    keys: list[str]  # of the trials that it is of
