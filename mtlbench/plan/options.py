"""The options of a run as typed values, and how each of them is read from the words of a command line.

Words are plain text or Python literals, never executed. What a run makes of the values is in `chosen.py`.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from mtlbench.arm_names import BASELINE
from mtlbench.errors import UserError
from mtlbench.plugins import find, make_unknown
from mtlbench.spec import DECODERS, PRECISIONS, STARTS, Options

BATCH_NORMS = ("shared", "frozen", "per-task")
EXECUTORS = ("ray", "local")
SEEDS = (0, 1, 2)
RESUME_MINUTES = 10.0
MOST_VAL = 0.9  # share of the official train list


class Start(NamedTuple):
    """Where networks start: `start` is one of STARTS or "one-task", `arms` a glob of joint arms that are taken
    off their parents ("" = all networks without parents)."""

    start: str
    arms: str = ""


@dataclass(frozen=True)
class LossWeights:
    """What the losses of the tasks weigh: the recipe's weights; or all 1 (`equal`); then those of `tasks`; and joint
    networks may learn a factor a task (`uncertainty`)."""

    equal: bool = False
    uncertainty: bool = False
    tasks: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class RunOptions:
    """All that a run is asked for. Raises UserError for a value that no run can have.

    Empty text, None and empty tuples stand for the default: what the search space and its recipe say.
    """

    pair: str = ""  # a built-in search space, a file `PATH.py` with a SPACE, or a table's pair in `results`
    csv: Path | None = None  # a table with a row an image, in place of a pair
    images: Path | None = None  # folder of its images; None = `images` beside it, or its own
    columns: Mapping[str, str] = field(default_factory=dict)  # {column: kind or kind:task}
    group: str = ""  # column whose equal cells keep images in one subset
    dataset: str = ""
    data_root: Path | None = None
    data_options: Mapping[str, object] = field(default_factory=dict)
    val_fraction: float | None = None  # share 0 to 0.9 of the official train list that is kept for val
    recipe: str = ""
    backbone: str = ""  # a name, `timm:NAME` or a file, each with options if there are any: `timm:resnet18(cells=7)`
    batch_norm: str = ""  # of the backbone, one of BATCH_NORMS
    init: tuple[Start, ...] = ()
    weights: Path | None = None  # file of ImageNet weights
    precision: str | None = None  # one of PRECISIONS
    decoder: str = ""  # one of DECODERS
    balance: float | None = None  # 0 to 1, as in recipes
    task_options: Mapping[str, Options] = field(default_factory=dict)  # by task
    loss_weights: LossWeights = field(default_factory=LossWeights)
    lr_grid: tuple[float, ...] = ()  # times the recipe's rate
    loss_weight_grid: int = 0  # weightings an axis of the lattice that joint arms are trained at, too; 0 = none
    tune: int = 0  # settings that are tried for every arm on val, 2 or more; 0 = none
    all_splits: bool = False
    all_schemes: bool = False
    all_trees: bool = False
    max_arms: int | None = None  # 2 or more: so many trees, a sample where there are more; None = all of a few
    affinity: tuple[str, ...] = ()  # globs of arms that are trained for every two of the tasks, too
    arms: tuple[str, ...] = ()  # globs
    schemes: tuple[str, ...] = ()  # `FILE.py:Class(name=value)`
    weightings: tuple[str, ...] = ()  # `upgrad`, `cagrad(c=0.2)` or `FILE.py:Class`
    seeds: tuple[int, ...] = SEEDS
    force: str = ""  # a glob: these arms are trained again
    keep_weights: tuple[str, ...] = ()  # globs of arms
    executor: str = "ray"  # one of EXECUTORS
    gpus_per_trial: float | None = None  # 0 to 1; None = chosen from a measured step
    resume_minutes: float = RESUME_MINUTES  # between two resume files of a trial
    track: tuple[str, ...] = ()  # `NAME` or `NAME:WHERE` of trackers that are told of finished trials
    address: str = ""  # HOST:PORT of a running Ray cluster, or "auto"; "" = a private one
    results: Path = Path("results")

    def __post_init__(self) -> None:
        if not self.pair and not self.csv:
            raise UserError("say what to study, for example --pair det_attr, or --csv labels.csv --images DIR")
        if self.csv and (self.pair or self.dataset or self.data_root):
            raise UserError("--csv makes its own pair and data set; leave out --pair, --dataset and --data-root")
        if not self.csv and (self.images or self.columns or self.group):
            raise UserError("--images, --column and --group are about the table of --csv; give it, too")
        check_seeds(self.seeds)
        for what, value, valid in (
            ("executor", self.executor, EXECUTORS),
            ("batch norm", self.batch_norm or BATCH_NORMS[0], BATCH_NORMS),
            ("decoder", self.decoder or DECODERS[0], DECODERS),
            ("precision", self.precision or PRECISIONS[0], PRECISIONS),
        ):
            if value not in valid:
                raise make_unknown(what, value, valid)
        for what, number, most in (
            ("val_fraction", self.val_fraction, MOST_VAL),
            ("balance", self.balance, 1.0),
            ("gpus_per_trial", self.gpus_per_trial, 1.0),
            ("resume_minutes", self.resume_minutes, math.inf),
        ):
            if number is not None and not 0 <= number <= most:
                raise UserError(f"{what} is {number}, must be from 0 to {most}")
        if self.tune < 0 or self.tune == 1:
            raise UserError(f"tune is {self.tune}, must be 2 or more (0 = as the recipe has it)")
        if self.max_arms is not None and (self.max_arms < 2 or not self.all_trees):
            raise UserError(f"max_arms is {self.max_arms}; give a number from 2 on, together with all_trees")
        for factor in self.lr_grid:
            check_positive(factor, "lr_grid")
        if self.loss_weight_grid < 0 or self.loss_weight_grid == 1:
            raise UserError(f"loss_weight_grid is {self.loss_weight_grid}, must be 2 or more (0 = no grid)")
        if self.loss_weight_grid and self.lr_grid:
            raise UserError("a grid of loss weights and one of rates are not trained at once; leave one of them out")
        if self.affinity and self.lr_grid:
            raise UserError(
                "affinity is that of arms at one rate; leave out lr_grid (tune tries rates for all of them)"
            )


def check_seeds(seeds: Sequence[int]) -> None:
    """Raises UserError unless there are some, all different and none below 0."""
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise UserError(f"{seeds!r} is not a list of different seeds; write for example 0-2 or 0,3,7")


def check_positive(number: float, what: str) -> None:
    """Raises UserError unless the number is above 0 and finite."""
    if not 0 < number < math.inf:
        raise UserError(f"{what}: {number!r} is not a number above 0")


def parse_seeds(text: str) -> tuple[int, ...]:
    """`0-2`, `0,3,5` or `0-2,7`. Raises UserError."""
    seeds: list[int] = []
    try:
        for part in text.split(","):
            low, dash, high = part.partition("-")
            seeds += range(int(low), int(high) + 1) if dash else [int(low)]
        check_seeds(seeds)
    except (ValueError, UserError) as error:
        raise UserError(f"{text!r} is not a list of different seeds; write for example 0-2 or 0,3,7") from error
    return tuple(seeds)


def parse_factors(text: str) -> tuple[float, ...]:
    """`0.3,1,3` as numbers above 0; no text, none. Raises UserError."""
    return tuple(parse_positive(part) for part in text.split(",") if text)


def parse_positive(text: str) -> float:
    """A number above 0. Raises UserError."""
    try:
        number = float(text)
        check_positive(number, text)
    except (ValueError, UserError) as error:
        raise UserError(f"{text!r} is not a number above 0") from error
    return number


def parse_start(text: str) -> Start:
    """`imagenet`, or `cross-stitch=scratch` for some arms alone. Raises UserError."""
    arms, _, start = text.rpartition("=")
    if start not in (*STARTS, BASELINE):
        raise make_unknown("start", start, (*STARTS, BASELINE))
    return Start(start, arms)


def parse_loss_weights(text: str) -> LossWeights:
    """`equal`, `uncertainty`, `TASK=WEIGHT`, or several of them between commas. Raises UserError."""
    words = [part.strip() for part in text.split(",")]
    tasks = {}
    for word in words:
        task, given, number = word.partition("=")
        if given:
            tasks[task] = parse_positive(number)
        elif word not in ("equal", "uncertainty"):
            raise UserError(f"{word!r}: write equal, uncertainty or TASK=0.5")
    return LossWeights("equal" in words, "uncertainty" in words, tasks)


def merge_loss_weights(several: Sequence[LossWeights]) -> LossWeights:
    """All of them together; of two weights of a task the last."""
    tasks = {task: weight for one in several for task, weight in one.tasks.items()}
    return LossWeights(any(one.equal for one in several), any(one.uncertainty for one in several), tasks)


class Assignment(NamedTuple):
    """`NAME=VALUE`."""

    name: str
    value: object


class TaskAssignment(NamedTuple):
    """`TASK.NAME=VALUE`."""

    task: str
    name: str
    value: object


def parse_assignment(text: str) -> Assignment:
    """`NAME=VALUE`; True, 3, 0.5 and (1, 2) are read as such, all else is text. Raises UserError."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise UserError(f"{text!r}: write NAME=VALUE")
    return Assignment(name.strip(), parse_literal(value.strip()))


def parse_task_assignment(text: str) -> TaskAssignment:
    """`TASK.NAME=VALUE`, with such values. Raises UserError."""
    before, equals, value = text.partition("=")
    task, dot, name = before.strip().partition(".")
    if not equals or not dot or not task or not name:
        raise UserError(f"{text!r}: write TASK.NAME=VALUE")
    return TaskAssignment(task, name, parse_literal(value.strip()))


def by_task(assignments: Sequence[TaskAssignment]) -> dict[str, Options]:
    """{task: {name: value}}."""
    found: dict[str, Options] = {}
    for task, name, value in assignments:
        found.setdefault(task, {})[name] = value
    return found


def parse_column(text: str) -> Assignment:
    """`age:regression` or `smiling:multilabel:face`: a column and what it is asked to be. Raises UserError."""
    return Assignment(*find("dataset", "table").parse(text))


def parse_literal(text: str) -> object:
    """The Python literal that a text is, else the text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
