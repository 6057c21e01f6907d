"""What is run, as plain data: pairs, recipes, arms, trials, search spaces; and what makes two trials the same.

Everything here turns into JSON and back. A trial's key is a hash of all that can change its numbers, of nothing else.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mtlbench.errors import UserError

FORMAT = 4  # of trials, keys and the results store
Options = dict[str, Any]


@dataclass(frozen=True)
class Pair:
    """Two or more tasks that are compared together, in one form of the backbones (`fcn`, `roi` or `image`), or, in form
    `mixed`, each in its own.

    `files` says where tasks are that the package does not have under these names: {name: "FILE.py:Class"}, beside the
    space's file, or the name of a built-in task, of whose kind it then is: {"age": "regression"}.
    """

    name: str
    tasks: tuple[str, ...]
    form: str
    files: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """How a network is trained and evaluated; every field is part of a trial's identity except the name.

    `iterations` of a task's own network (joint networks take the longest), `extra_iterations` of arms that go on from
    finished ones. `optimiser` = "sgd" with `momentum`, or "adam" (Kingma and Ba 2015) or "adamw" (Loshchilov and Hutter
    2019) with `momentum` and `beta2` for betas. `decay` of the rate = "cosine", "step" (times `step_factor` after
    `step_at` of the iterations), "poly" ((1 - done) ** `poly_power`, Chen et al. 2018) or "constant". `short_side` and
    `long_side` bound the image in pixels (0 = as it is). Biases learn at `bias_lr` times the rate and without weight
    decay (Caffe's habit, Girshick 2015, Long et al. 2015); so do scales of normalisation layers under "adamw", at the
    usual rate. `init` is where networks without parents start: "scratch", "imagenet" (weights of the backbone) or
    "pretrained" (the data set's own trunk); `from_scratch` are the fields of a "pretrained" recipe that are others with
    another start. A batch passes the network `chunk` images at a time (0 = all), in training with the same gradient up
    to rounding, and with less memory. `sources` says of each field where its value is from.
    """

    name: str
    iterations: dict[str, int]
    extra_iterations: int
    images: int  # per iteration
    lr: float
    extra_lr: float = 0.0  # of arms that go on from finished networks; 0 = lr
    optimiser: str = "sgd"
    momentum: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 5e-4
    bias_lr: float = 2.0
    init: str = "scratch"
    from_scratch: Options = field(default_factory=dict)  # {field: value}
    chunk: int = 0
    warmup: int = 0
    decay: str = "cosine"
    step_at: float = 0.75
    step_factor: float = 0.1
    poly_power: float = 0.9
    clip: float = 0.0  # largest gradient norm of each task's own and of the shared layers, 0 = unbounded
    short_side: int = 0
    long_side: int = 0
    mirror: bool = True
    colour: float = 0.0  # largest relative change of brightness, contrast and saturation
    balance: float = 0.0  # of images: 0 = all are drawn equally often, 1 = those of every set of labelled tasks
    regions: int = 64  # form roi: per training image
    fill_background: bool = True  # form roi: with regions of any low overlap, where too few have one in [.1, .5)
    frozen: tuple[str, ...] = ()  # stages that are not trained
    loss_weight: dict[str, float] = field(default_factory=dict)  # of tasks; absent = the task's own
    weighting: str = "fixed"  # or "uncertainty": joint networks learn a factor a task (Kendall et al. 2018)
    task_options: dict[str, Options] = field(default_factory=dict)  # by task
    curve_points: int = 8
    curve_images: int = 64  # of val, for the curve; the final evaluation takes all
    threads: int = 1
    precision: str = "fp32"
    decoder: str = "linear"  # of dense tasks, between their columns and heads: one of DECODERS
    backbone: str = "caffenet"
    backbone_options: Options = field(default_factory=dict)
    dataset_options: dict[str, Options] = field(default_factory=dict)  # by data set
    scheme_options: dict[str, Options] = field(default_factory=dict)  # by scheme, where the arm names no value
    tune: int = 0  # settings of rate and loss weights that are tried for every arm on val; 0 = as the recipe has them
    gpu_hours: float = 0.0  # of all arms of one seed, rough; above 0 the recipe is refused without a GPU unless named
    sources: dict[str, str] = field(default_factory=dict)  # of fields: "text: ...", "cited: ..." or "ours: ..."

    def __post_init__(self) -> None:
        known = {
            "optimiser": OPTIMISERS,
            "decay": DECAYS,
            "precision": PRECISIONS,
            "decoder": DECODERS,
            "init": STARTS,
            "weighting": WEIGHTINGS,
        }
        for what, valid in known.items():
            if getattr(self, what) not in valid:
                raise UserError(f"recipe {self.name}: {what} is {getattr(self, what)!r}, must be {' or '.join(valid)}")
        if not 0 <= self.balance <= 1:
            raise UserError(f"recipe {self.name}: balance is {self.balance}, must be from 0 to 1")


FORMS_PART_AT = "fc6"  # from which layer on tasks of several forms share nothing (after `by_form` of the AlexNets)
MIXED = "mixed"  # the form of a pair whose tasks have several
OPTIMISERS = ("sgd", "adam", "adamw")
DECAYS = ("cosine", "step", "poly", "constant")
PRECISIONS = ("fp32", "bf16")
DECODERS = ("linear", "deeplab", "fpn")
STARTS = ("scratch", "imagenet", "pretrained")
UNSHOWN = ("weights", "release", "scaled", "widen", "columns")  # options that are no part of a label
KINDS = ("dataset", "backbone", "scheme")  # of a trial's plug-ins, besides its tasks
WEIGHTINGS = ("fixed", "uncertainty")
NO_WEIGHTS: Mapping[str, float] = {}
ONE_FORM: Mapping[str, str] = {}  # {task: its form}, where all have one
# Fields that are younger than the format: at their defaults they are no part of a key, and older results stay valid.
ADDED: Options = {
    "weighting": "fixed",
    "optimiser": "sgd",
    "beta2": 0.999,
    "step_factor": 0.1,
    "poly_power": 0.9,
    "from_scratch": {},
    "tune": 0,
    "balance": 0.0,
    "decoder": "linear",
    "scheme_options": {},
}
# The last ones stand in the trial itself.
NOT_IDENTITY = (
    "name",
    "gpu_hours",
    "sources",
    "iterations",
    "extra_iterations",
    "extra_lr",
    "init",
    "from_scratch",
    "tune",
    "backbone",
    "backbone_options",
    "dataset_options",
    "scheme_options",
)


@dataclass(frozen=True)
class Plugin:
    """A plug-in with its options and its version; `source` is where to find it: "" = under its name, a user's file,
    which is never identity, or the built-in task that it is one of, its `kind`, which is."""

    name: str
    options: Options = field(default_factory=dict)
    version: int = 1
    source: str = ""

    @property
    def kind(self) -> str:
        """The built-in plug-in that this is under a name of its own, else nothing."""
        return "" if is_file(self.source) else self.source

    @property
    def label(self) -> str:
        """`caffenet` or `caffenet(small=True,width=0.25)`; where a backbone starts and how much wider than usual an
        arm has it are no part of what it is."""
        inside = ",".join(f"{k}={v}" for k, v in sorted(self.options.items()) if k not in UNSHOWN)
        return f"{self.name}({inside})" if inside else self.name


class Family(StrEnum):
    """What kind of competitor an arm is, from what it trains, never from its name."""

    BASELINE = "baseline"  # one network a task
    LONGER = "longer"  # one network a task that goes on from the baseline's: a control
    WIDE = "wide"  # as many parameters as all the baseline's networks together: a control
    ENSEMBLE = "ensemble"  # averaged predictions of several networks of a task
    SPLIT = "split"  # scheme `split` (Figure 2)
    TREE = "tree"  # scheme `tree`: tasks leave one after another
    SHARED = "shared"  # scheme `mtl_shared` (Section 6.1)
    CROSS_STITCH = "cross-stitch"  # scheme `cross_stitch`
    OTHER = "other"  # any other scheme of the package
    OWN = "own"  # a scheme of a user's file
    PARENT = "parent"  # trained for other arms to start from: never in a table or figure


OF_SCHEME = {
    "split": Family.SPLIT,
    "tree": Family.TREE,
    "mtl_shared": Family.SHARED,
    "cross_stitch": Family.CROSS_STITCH,
    "branching_search": Family.PARENT,
}


class Purpose(StrEnum):
    """Why an arm is trained once more than the comparison needs; nothing of it in a table or figure of arms."""

    COMPARED = ""
    RATES = "rates"  # at another learning rate: the best on val stands for the arm
    WEIGHTINGS = "weightings"  # at another weighting of the losses, for the trade-off front
    TUNING = "tuning"  # a setting that is tried out on val
    AFFINITY = "affinity"  # of two of the tasks alone, to see which task helps which


@dataclass(frozen=True)
class Arm:
    """A named competitor.

    `joint`: one trial over all tasks, else one a task. `parents`: arms whose finished networks this one starts from
    (those of the same task, or of every task for a joint arm). `average`: no training, the parents' predictions are
    averaged. `member`: another network of the same kind, with seeds of its own (second member of the ensemble).
    `start`: one of STARTS whatever the recipe says; `matched`: its iterations are those of the parents that
    it could have, and the extra ones (Table 3). `rate`: times the recipe's learning rate; `loss_weight`: {task: times
    its loss's weight}; `purpose`: what an arm at such is for. `wide`: its networks are so wide that each has as many
    parameters as the one-task networks of all tasks together; `backbone`: options of the backbone of this arm alone.
    `variant_of`: the arm that this one ablates or varies; figures leave it out where that one was run.
    `method`: the weighting of its tasks ("" = the plain sum of their losses), with `method_options`. `tasks`: those of
    the pair that it is trained for, () = all.
    """

    name: str
    scheme: str = "separate"
    options: Options = field(default_factory=dict)
    joint: bool = True
    parents: tuple[str, ...] = ()
    average: bool = False
    member: str = ""
    start: str = ""
    matched: bool = False
    rate: float = 1.0
    loss_weight: dict[str, float] = field(default_factory=dict)
    purpose: Purpose = Purpose.COMPARED
    wide: bool = False
    backbone: Options = field(default_factory=dict)
    variant_of: str = ""
    method: str = ""
    method_options: Options = field(default_factory=dict)
    tasks: tuple[str, ...] = ()

    @property
    def family(self) -> Family:
        """What kind of competitor this is."""
        if is_file(self.scheme):
            return Family.OWN
        if self.average or self.member:
            return Family.ENSEMBLE if self.average else Family.PARENT
        if self.wide:
            return Family.WIDE
        if self.scheme == "separate" and not self.joint:
            return Family.LONGER if self.parents else Family.BASELINE
        return OF_SCHEME.get(self.scheme, Family.OTHER)


def is_file(spec: str) -> bool:
    """Whether a plug-in is named as `FILE.py` or `FILE.py:Class`."""
    return spec.endswith(".py") or ".py:" in spec


def plain_arm(scheme: str, options: Options) -> str:
    """The usual name of an arm of a scheme of the package: `split-conv4`, `cross-stitch`. Arms of the same scheme under
    other names are its variants."""
    return f"split-{options.get('at')}" if scheme == "split" else scheme.replace("_", "-")


@dataclass(frozen=True)
class Trial:
    """One network to train, or predictions to average: all that a worker is told."""

    pair: str
    arm: str
    seed: int
    recipe_name: str
    tasks: tuple[Plugin, ...]
    form: str
    dataset: Plugin
    data_root: str
    fingerprint: str
    backbone: Plugin
    scheme: Plugin
    recipe: Recipe  # `recipe_of_trial`: blank where the trial itself tells
    iterations: int
    first: int  # index of the first batch
    net_seed: int
    average: bool
    parents: tuple[str, ...]  # keys
    weights_file: str = ""  # that the network starts from: the one whose digest is the backbone's option `weights`
    keep_weights: bool = False  # whether it leaves weights.pt though no other trial starts from it
    setting: str = ""  # hash of data, backbone and the whole recipe: what is compared must share it
    family: str = ""  # one of Family
    variant_of: str = ""  # the arm that this one ablates or varies
    rate: float = 1.0  # times the recipe's learning rate, where an arm is tuned or trained at several
    weighting: dict[str, float] = field(default_factory=dict)  # {task: times its loss's weight}, likewise
    tuned: int = 0  # of how many settings (rate, weighting) this one was best on val
    purpose: str = ""  # one of Purpose
    method: Plugin | None = None  # the weighting of its tasks; None = the plain sum of their losses
    licence: str = ""  # of the published weights that it, or what it goes on from, started with
    sampled: tuple[str, ...] = ()  # the pair's tasks, whose labels say how often an image is drawn; () = all alike

    @property
    def plugins(self) -> dict[str, Plugin]:
        """All of them, by what messages call them: `dataset`, `backbone`, `scheme`, `weighting`, `task semseg`, ..."""
        return {
            **{kind: getattr(self, kind) for kind in KINDS},
            **({"weighting": self.method} if self.method else {}),
            **{f"task {task.name}": task for task in self.tasks},
        }

    def map_plugins(self, change: Callable[[str, Plugin], Plugin]) -> Trial:
        """The trial with what `change` makes of each plug-in; it is told the kind, `task` for every task."""
        return dataclasses.replace(
            self,
            dataset=change("dataset", self.dataset),
            backbone=change("backbone", self.backbone),
            scheme=change("scheme", self.scheme),
            method=change("weighting", self.method) if self.method else None,
            tasks=tuple(change("task", task) for task in self.tasks),
        )

    @property
    def task_names(self) -> tuple[str, ...]:
        """What its tasks are called."""
        return tuple(task.name for task in self.tasks)

    def identity(self) -> Options:
        """All that can change this trial's numbers; names, paths and devices are absent."""
        own = {kind: getattr(self, kind) for kind in KINDS} | ({"method": self.method} if self.method else {})
        plugin = {k: {"name": p.name, "options": p.options, "version": p.version} for k, p in own.items()}
        options = {task.name: task.options for task in self.tasks if task.options}
        kinds = {task.name: task.kind for task in self.tasks if task.kind}
        return {
            "format": FORMAT,
            "tasks": list(self.task_names),
            "task_versions": {task.name: task.version for task in self.tasks},
            **({"task_kinds": kinds} if kinds else {}),
            "form": self.form,
            **plugin,
            "fingerprint": self.fingerprint,
            "recipe": {**identity_of(self.recipe), "task_options": options},
            "iterations": self.iterations,
            "first": self.first,
            "seed": self.net_seed,
            "average": self.average,
            "parents": list(self.parents),
            **({"sampled": list(self.sampled)} if self.sampled else {}),
        }

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits."""
        return short_hash(self.identity())

    @property
    def label(self) -> str:
        """`split-conv4 seed 0` or `one-task normals seed 0`, for people."""
        task = f" {self.tasks[0].name}" if len(self.tasks) == 1 else ""
        return f"{self.arm}{task} {'(tuning)' if self.purpose == Purpose.TUNING else f'seed {self.seed}'}"

    def to_json(self) -> Options:
        """Plain data; `from_json` gives the trial back."""
        plain: Options = json.loads(write_canonical(dataclasses.asdict(self)))
        return plain

    @staticmethod
    def from_json(data: Options) -> Trial:
        """The trial that `to_json` described."""
        recipe = {**data["recipe"], "frozen": tuple(data["recipe"]["frozen"])}
        return Trial(
            **{
                **data,
                **{kind: Plugin(**data[kind]) for kind in KINDS},
                "tasks": tuple(Plugin(**task) for task in data["tasks"]),
                "recipe": Recipe(**recipe),
                "method": Plugin(**data["method"]) if data.get("method") else None,
                "parents": tuple(data["parents"]),
                "sampled": tuple(data.get("sampled", ())),
            }
        )


@dataclass(frozen=True)
class SearchSpace:
    """An experiment: a pair, the data sets it can run on, its recipes, its arms and the short list of them."""

    pair: Pair
    datasets: dict[str, str]  # name -> default recipe; the first is the default data set
    recipes: tuple[Recipe, ...]
    arms: tuple[Arm, ...]
    short_list: tuple[str, ...]  # run without --all-splits
    more: tuple[Arm, ...] = ()  # run with --all-schemes, or by name
    parts_at: str = FORMS_PART_AT  # from which layer on tasks of several forms share nothing


def write_canonical(data: Any) -> str:
    """JSON with sorted keys and no spaces; refuses NaN.

    >>> write_canonical({"b": [1, 0.5], "a": None})
    '{"a":null,"b":[1,0.5]}'
    """
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


def short_hash(data: Any) -> str:
    """Twelve hexadecimal digits of the SHA-256 of the canonical JSON: how keys of trials are made.

    >>> short_hash({"b": 1, "a": 2}) == short_hash({"a": 2, "b": 1})
    True
    """
    return hashlib.sha256(write_canonical(data).encode()).hexdigest()[:12]


def derive_seed(seed: int, *labels: str | int) -> int:
    """A seed for one purpose, the same on every machine: 31 bits of a hash of the seed and the labels (Ours)."""
    return int(hashlib.sha256(write_canonical([seed, *labels]).encode()).hexdigest()[:8], 16) >> 1


def as_data(recipe: Recipe) -> Options:
    """All fields as plain data, without the younger ones at their defaults."""
    fields = json.loads(write_canonical(dataclasses.asdict(recipe)))
    return {name: value for name, value in fields.items() if name not in ADDED or value != ADDED[name]}


def identity_of(recipe: Recipe) -> Options:
    """The fields that go into the key of a trial, as plain data."""
    return {name: value for name, value in as_data(recipe).items() if name not in NOT_IDENTITY}


def recipe_of_trial(
    recipe: Recipe,
    tasks: tuple[str, ...],
    goes_on: bool = False,
    rate: float = 1.0,
    loss_weight: Mapping[str, float] = NO_WEIGHTS,
) -> Recipe:
    """The recipe of a trial over these tasks, from the start or going on from parents, at `rate` times its learning
    rate and with these weights of losses beside its own: blank in what the trial's other fields tell, without what is
    of other tasks."""
    return dataclasses.replace(
        recipe,
        name="",
        iterations={},
        extra_iterations=0,
        lr=rate * (recipe.extra_lr or recipe.lr if goes_on else recipe.lr),
        extra_lr=0.0,
        init="scratch",
        from_scratch={},
        loss_weight={task: weight for task, weight in {**recipe.loss_weight, **loss_weight}.items() if task in tasks},
        weighting=recipe.weighting if len(tasks) > 1 else "fixed",  # a task alone has nothing to be weighed against
        task_options={},
        tune=0,
        backbone="",
        backbone_options={},
        dataset_options={},
        scheme_options={},
        gpu_hours=0.0,
        sources={},
    )
