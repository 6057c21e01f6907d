"""The contracts of everything that can be added with one file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from mtlbench.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas
    from torch import Tensor, nn

    from mtlbench.spec import Trial


@dataclass(frozen=True, eq=False)  # arrays have no single answer; each is itself
class Sample:
    """One image with its annotations; a task absent from `labels` is not labelled on this image.

    Form `fcn`: a label is an array `H W ...` (classes uint8, 255 ignored; normals float32, zero where invalid).
    Form `image`: a label is of the whole image, a number or a vector `K` (a class, -1 or 255 ignored; yes or no `K`
    uint8, 255 ignored; a number float32).
    Form `roi`: a label has one row per box; `boxes` are `N 4` float32 x1 y1 x2 y2 in pixels, continuous edges
    (a box over pixel 0 alone is 0 0 1 1), and `proposals` are `P 4` boxes made without looking at annotations.
    """

    image: np.ndarray  # H W 3 uint8, RGB
    labels: dict[str, np.ndarray]
    boxes: np.ndarray | None = None
    difficult: np.ndarray | None = None  # N bool: counts neither way in detection
    proposals: np.ndarray | None = None


class Subset(Protocol):
    """The samples of train, val or test."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Sample: ...


class Count(NamedTuple):
    """How many of something a data set has, and how many the published one has (None: nothing is published)."""

    what: str
    found: int
    published: int | None = None


@dataclass(frozen=True)
class Survey:
    """What a look at all files of a data set found; each problem is one line: where, what is wrong, what to do."""

    counts: tuple[Count, ...]
    problems: tuple[str, ...]


class Dataset(Protocol):
    """Images with labels for some tasks. The constructor takes `root` (a folder or None) and options by keyword.

    A data set may also have a static `pretrained(backbone, form)`: None, or a file of weights that networks with that
    backbone start from by `--init pretrained`, and options of the backbone that go with it.
    """

    version: int  # raised whenever its numbers change
    tasks: tuple[str, ...]  # the tasks that it has labels for

    def prepare(self, say: Callable[[str], None]) -> None:
        """Make every cache that the subsets need, once, safely under concurrent calls; `say` takes progress lines."""

    def verify(self, say: Callable[[str], None]) -> Survey:
        """Look at every file, without `prepare`; what is missing or broken is listed, nothing is raised for it."""

    def fingerprint(self) -> str:
        """Short hash of everything that training and evaluation will see (after `prepare`)."""

    def subset(self, name: str) -> Subset:
        """`train`, `val` or `test`, disjoint."""

    def categories(self, task: str) -> tuple[str, ...]:
        """Names of the task's classes or attributes, in label order; empty for a task without categories."""

    def counts(self, task: str) -> tuple[int, ...]:
        """How often each category is labelled in `train` (pixels, objects or positive attributes)."""


@dataclass
class Batch:
    """What a step or an evaluation works on. R regions stand in the order of their images.

    Labels of a task that no image of the batch is labelled for are absent, its masks are all False.
    Form `fcn`: labels `B H W ...`, masks `B` bool. Form `roi`: labels `R ...` (the matched object's row; zeros for
    background), masks `R` bool (labelled for that task), regions `R 5` (image index, x1 y1 x2 y2), `foreground` `R`
    bool, `targets` `R 4` (box offsets to the matched object); `of_regions` names these tasks. In evaluation the regions
    of an image are its proposals followed by its annotated boxes; `samples` are the originals, in the scale of
    `images`.
    Form `image`: labels `B ...`, masks `B` bool, and `sizes` `B 2` (height, width in pixels, without what pads the
    image to the largest of the batch), or None where all are as large.
    """

    images: Tensor  # B 3 H W float32, scaled as the backbone asks
    labels: dict[str, Tensor]
    masks: dict[str, Tensor]
    samples: list[Sample] = field(default_factory=list)
    regions: Tensor | None = None
    foreground: Tensor | None = None
    targets: Tensor | None = None
    sizes: Tensor | None = None
    of_regions: tuple[str, ...] = ()


class Metric(NamedTuple):
    """Unit and direction of a metric."""

    unit: str
    higher_is_better: bool


class Score(NamedTuple):
    """One number of an evaluation; `category` is empty for the mean over categories or for the whole task."""

    metric: str
    category: str
    value: float


class Meter(Protocol):
    """Collects the predictions of one evaluation."""

    def add(self, prediction: dict[str, Tensor], batch: Batch) -> None: ...
    def scores(self) -> list[Score]: ...
    def chance(self) -> list[Score]:
        """The same metrics for predictions that know nothing; each task's docstring says which."""


class Task(Protocol):
    """A kind of label: head, loss, prediction, metrics.

    Built from its categories, what `fit` found in train, and its options by keyword (the recipe's `task_options`).

    `keep` and `draw` may be left out (together); `mtlbench show` and `predict` then make no picture of the task. A task
    that finds objects may also have `boxes(prediction, batch)`: of a batch of one image `n 6` float32, the best first:
    class index, score, x1 y1 x2 y2 in pixels of the batch's sample. `mtlbench predict` then asks all tasks about them.
    A task whose classes stand for unit vectors may have `decode(probability)`, `N K` -> `N 3`.
    """

    version: int
    form: str  # `fcn`, `roi` or `image`
    weight: float  # of its loss in the sum
    metrics: dict[str, Metric]
    headline: str  # the metric that figures plot

    def __init__(self, categories: tuple[str, ...], facts: dict[str, Any]) -> None: ...

    @staticmethod
    def fit(categories: tuple[str, ...], train: Subset) -> dict[str, Any]:
        """What the task takes from the train subset (a codebook, target means), as plain JSON data."""

    @staticmethod
    def mirror(label: np.ndarray) -> np.ndarray:
        """The label of the image mirrored left to right."""

    def head(self, channels: int) -> nn.Module:
        """The last layer (fc8): `B C H W` -> `B K H W` in form `fcn`, `R C` -> `R K` in form `roi`, `B C` -> `B K` in
        form `image`."""

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Scalar, unweighted, a mean; 0 (with gradient) where nothing is labelled. `fcn` outputs come at full
        resolution."""

    def count(self, batch: Batch) -> Tensor:
        """Scalar: how many pixels, regions or images the loss of this batch is the mean over (a batch may come in
        parts)."""

    def predict(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """What an ensemble averages: probabilities and the like."""

    def meter(self) -> Meter: ...

    def keep(self, prediction: dict[str, Tensor], batch: Batch) -> np.ndarray:
        """A small array, for `draw`, of what was predicted on a batch of one image."""

    def draw(self, axes: Axes, sample: Sample, kept: np.ndarray | None) -> None:
        """Draw what was kept of a prediction, or the truth where `kept` is None, into axes that may be empty."""


@dataclass(frozen=True)
class Trunk:
    """All stages of a backbone, in order."""

    names: tuple[str, ...] = ()
    widths: tuple[int, ...] = ()  # channels of their outputs
    pooling: tuple[str, ...] = ()  # those without parameters
    parted: tuple[str, ...] = ()  # those of which each form has a module of its own

    @property
    def pools_inside(self) -> bool:
        """Whether stages with parameters bring strides and pooling of their own, as those of residual networks do."""
        return bool(self.parted) and not self.pooling

    @property
    def order(self) -> tuple[str, ...]:
        """All stages, then `fc8`, the heads."""
        return (*self.names, "fc8")


@dataclass(frozen=True)
class Stage:
    """A named slice of a backbone, as schemes see it. A backbone declares all but the trunk, which `join` adds."""

    name: str
    channels: int  # of its output
    has_parameters: bool
    stitched: bool  # a default place for units
    trunk: Trunk = Trunk()
    by_form: bool = False  # in form `mixed`: each form has a module of its own, here and from here on

    def before(self, other: str) -> bool:
        """Whether this stage comes before the one named `other`."""
        return self.trunk.order.index(self.name) < self.trunk.order.index(other)

    def takes_unit(self, after: Sequence[str], scheme: str) -> bool:
        """Whether a scheme with units after the stages `after` has one here; none named = the backbone's own places.

        Raises UserError for a stage that the backbone does not have.
        """
        for name in after:
            if name not in self.trunk.names:
                raise UserError(f"{scheme} after {name!r}: the stages are {', '.join(self.trunk.names)}")
        return self.name in after if after else self.stitched


def join(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """The stages of a backbone, each with the trunk that they make."""
    trunk = Trunk(
        tuple(stage.name for stage in stages),
        tuple(stage.channels for stage in stages),
        tuple(stage.name for stage in stages if not stage.has_parameters),
        tuple(stage.name for stage in stages if stage.by_form),
    )
    return tuple(replace(stage, trunk=trunk) for stage in stages)


@dataclass
class Pass:
    """One forward pass, for units with `sees_pass = True`, which are called with (xs, this)."""

    again: Callable[[Tensor], Tensor]  # the stage before the unit on another input; only where it has no parameters
    memory: dict[str, Any] = field(default_factory=dict)  # what units leave for later ones; empty at the start
    losses: dict[str, Tensor] = field(default_factory=dict)  # {task: scalar}: units add to its loss, of these images
    finished: Callable[[], dict[str, Tensor]] = dict  # with `teachers`: {task: its network's features, last stage}
    owners: Tensor | None = None  # form roi: the image that each region is of, `R`


class Geometry(NamedTuple):
    """Where the cells of the last map lie: stride in pixels, centre of the first cell (0 = centre of pixel 0, 0.5 =
    between the first two), and whether pixels beyond the outer centres hold the outer cell's score (else it fades to 0
    as a deconvolution's)."""

    stride: int
    centre: float
    hold: bool


class Backbone(Protocol):
    """A trunk as a list of stages. The constructor takes `form` and options by keyword.

    A backbone whose `forms` have `mixed` carries tasks of several forms in one network: in this form its stages say
    `by_form`, and `of_form(form)` is the backbone that makes the modules of the tasks of a form, with the same stages
    up to the first one `by_form`, and the `geometry` that holds there. What all share is made by itself.

    The option `weights` (the digest of a file, empty = a start from scratch) says which input scaling holds; the file's
    content comes through `adapted`.

    A backbone may also have `geometries`, {stage: Geometry} of the maps between stages, for the decoder fpn, and
    `norms_of_tasks`, whether tasks that share a stage have batch normalisations of their own in it, and
    `find_weights()`, the file that `--init imagenet` takes and its licence; a class may have `pinned`, {option: value}
    that are always part of what it is, such as the version of a library.
    """

    version: int
    forms: tuple[str, ...]
    stages: tuple[Stage, ...]
    mean: tuple[float, float, float]  # of the input, in the channel order and 0-255 range that the weights expect
    std: tuple[float, float, float]
    bgr: bool
    geometry: Geometry
    torchvision_weights: str  # of ImageNet, such as "AlexNet_Weights.IMAGENET1K_V1"; empty where torchvision has none

    def build(self, stage: str) -> nn.Module:
        """A fresh module for one stage; a `RegionPool` module is called with (x, regions), an `ImagePool` with (x, the
        whole images as regions), all others with x."""

    def adapted(self, state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """{stage: state of the module that `build` makes} from a file of pretrained weights, in this form.

        Raises UserError with the names and shapes that differ.
        """


class Scheme(Protocol):
    """Who shares what, and what mixes. The constructor takes the scheme's options by keyword.

    A scheme may also have, each found by its name:

    ``from_one_task = True``  its networks start from the finished one-task networks and train for fewer iterations;
    ``rates``                 {glob of parameter names: times the base rate}, such as ``{"units.pool1.*": 10.0}``;
    ``penalty(columns)``      a scalar (or None) added to the loss of a step, from {stage: {tasks joined by +: module}};
                              in form `mixed` asked once for the stages of all forms and once for those of each;
    ``outcome(units)``        what a search has found, as plain JSON data, from the trained {stage: unit};
    ``streams = True``        tasks that share a stage may come to it with features of their own, and each passes it:
                              its weights alone are shared;
    ``extra_columns(tasks)``  names of columns besides those of the tasks, such as experts: no head follows them, groups
                              and units have them, too, and those that no task shares have starts of their own;
    ``merge(start, finished)``  with `from_one_task`: its networks are never trained; a column that several tasks share
                              has the weights that this makes of {name: those at the start} and {task: {name: those of
                              its finished network}};
    ``teachers = True``       its networks start afresh, beside the finished one-task networks, whose features units see
                              in training (`Pass.finished`);
    ``adopt(outcomes)``       takes the outcomes of the arm's parents, before anything is built: the network then starts
                              afresh instead of from the parents' weights.
    """

    version: int

    def groups(self, stage: Stage, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
        """A partition of the columns (the tasks, and the extra ones if there are any): one copy of the stage's weights
        per group; groups may split, not merge."""

    def unit(self, stage: Stage, tasks: tuple[str, ...]) -> nn.Module | None:
        """Mixes activations after a stage, {column: x} -> {column: x}; None = nothing.

        A unit may have `lr_multiplier` (its rate over the base rate), `alphas()` -> `T T C` (receiver, giver, channel),
        `penalty()` (a scalar, or None, added to the loss of a step) and, after the last stage only, `channels` (a new
        width). In form `mixed`, where forms have parted, it is asked for the tasks of each form, unless a unit for all
        has `any_shape = True`. With `sees_pass = True` it takes a `Pass`, too. Maps may lie channels last in memory:
        `reshape` them, `view` may refuse.
        """


class LossWeighting(Protocol):
    """How the losses of tasks that share parameters become one. The constructor takes options by keyword.

    A weighting of either kind may also have, each found by its name:

    ``start(tasks)``        called once, before training, with the names of all tasks;
    ``see(losses)``         called before a weighting of gradients is asked, with the losses of the step, {task: loss}
                            in the order of the gradients;
    ``after(losses)``       called after each step with its losses computed again on the same batch (one forward pass);
    ``state_dict()`` and ``load_state_dict(state)``: what a resume file needs, as numbers, texts, tensors, lists, dicts;
    parameters              where it is a torch module: they are trained with the network, at `lr_multiplier` times the
                            rate, without weight decay.

    Random numbers of torch are a function of the network's seed and the step. It is asked about tasks that are labelled
    in the batch, in the order of their names, where there are two and they share a parameter. Keep the scale: where
    nothing is to be weighed, the result is the plain sum, or the rate that the recipe chose no longer fits.
    """

    version: int

    def combine(self, losses: dict[str, Tensor]) -> Tensor:
        """{task: its loss, times the recipe's weight} -> a scalar that depends on them (autograd); a step costs one
        backward pass. What counts is its derivative by each loss: the weight that the task has in this step."""


class GradientWeighting(Protocol):
    """How gradients of tasks become one, of all parameters that two tasks or more reach; others keep their own. Has one
    of the two methods. A step costs a backward pass a task. See `LossWeighting` for the rest."""

    version: int

    def weights(self, gramian: Tensor) -> Tensor:
        """Products of the gradients with each other, `T T` float64 on the processor -> the weights of their sum, `T`.

        T are the tasks that are labelled in the batch and whose gradient is not 0."""

    def aggregate(self, gradients: Tensor) -> Tensor:
        """`T P` float32 on the network's device -> the gradient of the step, `P`."""


class TrialState(Protocol):
    """Where a trial of a results folder stands; its `trial` is None where trial.json cannot be read."""

    @property
    def folder(self) -> Path: ...
    @property
    def trial(self) -> Trial | None: ...


class Results(Protocol):
    """What a results folder holds, for who reads numbers: analysis, figures, report. `load_results` makes one.

    `store/columns.py` documents the columns of `frame`; `failures` tells of each trial that failed or waits for one:
    pair, dataset, recipe, backbone, setting, arm, purpose, seed, key, task, status, kind, reason, failed.
    """

    @property
    def frame(self) -> pd.DataFrame: ...
    @property
    def curves(self) -> pd.DataFrame: ...
    @property
    def alphas(self) -> pd.DataFrame: ...
    @property
    def conflicts(self) -> pd.DataFrame: ...
    @property
    def failures(self) -> Sequence[dict[str, Any]]: ...
    @property
    def states(self) -> Sequence[TrialState]: ...
    @property
    def problems(self) -> Sequence[str]: ...

    def counts_of(self, frame: pd.DataFrame) -> dict[str, dict[str, int]]:
        """{task: {category: how often it is labelled in train}} of the trials in `frame`."""

    def provenance_of(self, frame: pd.DataFrame) -> list[dict[str, Any]]:
        """How each trial in `frame` was made, once."""

    def architectures_of(self, frame: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
        """{arm: per stage its name, groups and whether a unit follows} of the trials in `frame`."""


class FigureData(Protocol):
    """What a figure shows: a frozen dataclass of frames, whose columns its docstring names, and the caption."""

    @property
    def caption(self) -> str: ...


class Figure(Protocol):
    """A picture made from results alone."""

    def data(self, results: Results, **options: Any) -> FigureData:
        """The numbers, of the `selection` (`analysis.selection.Selection`), else of the newest results.

        `paper` asks for published values where they compare; a figure with an option `arms` takes globs. Raises
        UserError where the results do not allow the figure.
        """

    def draw(self, data: Any, canvas: Canvas) -> None:
        """Draws what `data` returned on an empty canvas and sets its size."""
