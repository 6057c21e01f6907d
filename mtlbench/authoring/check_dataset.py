"""The contract of data sets, asked of the files that are there: up to 200 images of each subset."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numpy as np

from mtlbench.authoring.check import Finding, explain, place
from mtlbench.contracts import Sample, Survey
from mtlbench.errors import UserError
from mtlbench.plugins import find, list_names
from mtlbench.spec import Options
from mtlbench.training.batches import evaluation_batch, training_batch
from mtlbench.training.process import forbid_exit
from mtlbench.training.samples import Scaled, View

SUBSETS = ("train", "val", "test")
METHODS = ("prepare", "verify", "fingerprint", "subset", "categories", "counts")
LOOKED = 200  # images of a subset, evenly spread
COUNTED = ("semseg", "detection", "attributes")  # tasks of which we know what is counted
AT_ONCE = 4  # threads
IGNORED = 255
UNIT = 0.02  # how far the length of a normal may be from 1


class Case:
    """A data set's class with the options that it is opened with, and what was seen of it."""

    def __init__(self, cls: Any, options: Options) -> None:
        self.cls, self.options = cls, options
        self.forms: dict[str, str] = {}  # of the tasks that have a label somewhere
        self.where: dict[bytes, str] = {}  # digest of an image: the first that had it
        self.labelled: set[tuple[str, str]] = set()  # subset and task
        self.found: dict[str, np.ndarray] = {}  # counts of train by task

    def open(self) -> Any:
        """Opened anew, as another process would, and prepared."""
        data = self.cls(**self.options)
        data.prepare(_hear)
        return data

    @cached_property
    def data(self) -> Any:
        return self.open()

    @cached_property
    def categories(self) -> dict[str, tuple[str, ...]]:
        return {task: tuple(self.data.categories(task)) for task in self.data.tasks}

    def numbers(self, subset: str) -> list[int]:
        """Which images of a subset are looked at."""
        length = len(self.data.subset(subset))
        return sorted({i * length // LOOKED for i in range(LOOKED)}) if length > LOOKED else [*range(length)]

    def at(self, method: str) -> str:
        """`my_data.py:12: categories`, for texts."""
        return f"{place(getattr(self.cls, method))}{method}"


def _hear(line: str) -> None:
    """Takes lines on progress, which nobody waits for here."""


def check_opening(case: Case) -> None:
    """It opens, and `prepare` can be called again."""
    data = case.data
    data.prepare(_hear)
    if not isinstance(data.version, int):
        raise UserError(f"version is {data.version!r}; it must be a whole number")
    if not data.tasks or isinstance(data.tasks, str) or not all(isinstance(task, str) for task in data.tasks):
        raise UserError(
            f"tasks is {data.tasks!r}; it must be a tuple of the names of the tasks that there are labels for"
        )


def check_fingerprint(case: Case) -> None:
    """The fingerprint is the same twice, and after opening the data again."""
    first, second, third = case.data.fingerprint(), case.data.fingerprint(), case.open().fingerprint()
    if not isinstance(first, str) or not first:
        raise UserError(f"{case.at('fingerprint')} is {first!r}; it must be a text")
    if len({first, second, third}) > 1:
        raise UserError(
            f"{case.at('fingerprint')} is {first}, then {second}, and {third} after opening again; hash "
            "the files' names and content in a fixed order (sorted), no times, sets or hash()"
        )


def check_sizes(case: Case) -> None:
    """train, val and test have images."""
    lengths = {name: len(case.data.subset(name)) for name in SUBSETS}
    if empty := [name for name, length in lengths.items() if not length]:
        raise UserError(
            f"{' and '.join(empty)} {'is' if len(empty) == 1 else 'are'} empty ("
            f"{', '.join(f'{name} {length}' for name, length in lengths.items())}); each needs an image, "
            "and val some 30 for choices to mean something"
        )


def check_names(case: Case) -> None:
    """Categories have different names, and there is a count for each."""
    for task, found in case.categories.items():
        if len(set(found)) != len(found) or not all(isinstance(name, str) for name in found):
            raise UserError(f"{case.at('categories')} of {task} are {found!r}; return different names")
        if task in COUNTED and not found:
            raise UserError(f"{case.at('categories')} of {task} are none; name its classes in their order")
        if len(counts := case.data.counts(task)) != len(found):
            raise UserError(f"{case.at('counts')} of {task} are {len(counts)} numbers for {len(found)} categories")


def check_image(case: Case, title: str, sample: Sample) -> None:
    """Images are `H W 3` uint8, their labels arrays of the data set's tasks."""
    image = sample.image
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise UserError(f"{title} is {_describe(image)}; it must be H W 3 uint8 (.convert('RGB') with PIL)")
    if unknown := [task for task in sample.labels if task not in case.data.tasks]:
        raise UserError(f"{title} has labels of {unknown[0]}, which is not in tasks: {', '.join(case.data.tasks)}")
    for task, label in sample.labels.items():
        if not isinstance(label, np.ndarray) or label.dtype.kind not in "uibf":
            raise UserError(f"{title}: the label of {task} is {_describe(label)}; it must be an array of numbers")
        if label.dtype.kind == "f" and not np.isfinite(label).all():
            raise UserError(f"{title}: the label of {task} has NaN or infinity; say 0 where nothing is known")


def check_maps(case: Case, title: str, sample: Sample) -> None:
    """Label maps are as large as their images; classes are uint8, normals unit vectors or 0."""
    for task, label in _labels(case, sample, "fcn"):
        what, size = f"{title}: the label of {task}", sample.image.shape[:2]
        if label.shape[:2] != size:
            raise UserError(f"{what} is {_describe(label)}, its image {size[0]} {size[1]}: a label for every pixel")
        if task == "semseg" and (label.ndim != 2 or label.dtype != np.uint8):
            raise UserError(f"{what} is {_describe(label)}; classes are H W uint8")
        if task == "normals":
            if label.ndim != 3 or label.shape[2] != 3 or label.dtype != np.float32:
                raise UserError(f"{what} is {_describe(label)}; normals are H W 3 float32")
            length = np.linalg.norm(label, axis=2)
            if ((length > 0) & (abs(length - 1) > UNIT)).any():
                raise UserError(
                    f"{what} has vectors of length {length.max():.3g}; normals are of length 1, or 0 0 0 "
                    "where nothing is known"
                )


def check_classes(case: Case, title: str, sample: Sample) -> None:
    """Labels are numbers of categories, 255 where nothing is known."""
    for task, label in sample.labels.items():
        count = len(case.categories[task])
        if task == "attributes":
            if label.ndim != 2 or label.shape[1] != count or not np.isin(label, (0, 1, IGNORED)).all():
                raise UserError(
                    f"{title}: the label of {task} is {_describe(label)}; it must be a row of {count} "
                    "numbers 0 or 1 for each box, or 255"
                )
        elif count and label.dtype.kind in "iu" and len(used := np.unique(label[label != IGNORED])):
            if used[0] < 0 or used[-1] >= count:
                raise UserError(
                    f"{title}: the label of {task} has the class {used[-1] if used[0] >= 0 else used[0]}, "
                    f"but there are {count} categories: 0 to {count - 1}, and 255 for what is not "
                    "labelled"
                )


def check_boxes(case: Case, title: str, sample: Sample) -> None:
    """Boxes and proposals lie in their images, and every box has its labels."""
    rows = {task: len(label) for task, label in _labels(case, sample, "roi")}
    if not rows:
        return
    height, width = sample.image.shape[:2]
    for what, found in (("boxes", sample.boxes), ("proposals", sample.proposals)):
        if found is None:
            raise UserError(
                f"{title} has no {what}, which {next(iter(rows))} needs: N 4 float32, x1 y1 x2 y2 in pixels"
            )
        if found.ndim != 2 or found.shape[1] != 4 or found.dtype != np.float32:
            raise UserError(f"{title}: {what} are {_describe(found)}; they must be N 4 float32")
        wrong = (found[:, :2] < 0).any(axis=1) | (found[:, 2:] > [width, height]).any(axis=1)
        wrong |= (found[:, 2:] <= found[:, :2]).any(axis=1)
        if wrong.any():
            raise UserError(
                f"{title}: {what} have {found[wrong][0].round(1).tolist()}; x1 y1 x2 y2 must lie in the "
                f"image of {width} x {height} pixels, x1 < x2 and y1 < y2 (pixel 0 alone is 0 0 1 "
                "1)"
            )
    assert sample.boxes is not None and sample.proposals is not None
    if not len(sample.proposals):
        raise UserError(f"{title} has no proposal: nothing could be detected in it")
    rows |= {"difficult": len(sample.difficult)} if sample.difficult is not None else {}
    for name, count in rows.items():
        if count != len(sample.boxes):
            raise UserError(
                f"{title} has {len(sample.boxes)} boxes and {count} rows of {name}; there must be one a box"
            )


def check_apart(case: Case, title: str, sample: Sample) -> None:
    """No subset has an image of another."""
    digest = hashlib.sha256(np.ascontiguousarray(sample.image).tobytes()).digest()
    other = case.where.setdefault(digest, title)
    if _subset(other) != _subset(title):
        raise UserError(f"{title} is the same as {other}: subsets must not share images")


def check_present(case: Case) -> None:
    """Every task has labels in train and in test."""
    for task in case.data.tasks:
        if missing := [name for name in ("train", "test") if (name, task) not in case.labelled]:
            raise UserError(f"no image of {missing[0]} has a label of {task}; leave it out of tasks, or add labels")


def check_counts(case: Case) -> None:
    """The counts are what train has (where all of it was looked at)."""
    if len(case.data.subset("train")) > LOOKED:
        return
    for task, found in case.found.items():
        stated = np.array(case.data.counts(task))
        if (found != stated).any():
            first = int(np.flatnonzero(found != stated)[0])
            raise UserError(
                f"{case.at('counts')} says {stated[first]} of {case.categories[task][first]} ({task}); "
                f"train has {found[first]}"
            )


def check_again(case: Case) -> None:
    """An image is the same when it is asked for again, by several threads, and after opening the data again."""
    anew = case.open()
    for name in SUBSETS:
        subset, chosen = case.data.subset(name), case.numbers(name)[:4]
        known = [subset[number] for number in chosen]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for other in (subset, anew.subset(name)):
                for number, before, now in zip(chosen, known, pool.map(other.__getitem__, chosen), strict=True):
                    if not _are_equal(before, now):
                        raise UserError(
                            f"image {number} of {name} is not the same the second time; subsets must not "
                            "draw at random, and give copies of what they keep"
                        )


def check_survey(case: Case) -> None:
    """`verify` finds nothing wrong in the files."""
    survey = case.cls(**case.options).verify(_hear)
    if not isinstance(survey, Survey):
        raise UserError(
            f"{case.at('verify')} returns a {type(survey).__name__}; return Survey(counts, problems), both tuples"
        )
    if problems := survey.problems:
        more = f" (and {len(problems) - 1} more: mtlbench data verify lists them)" if len(problems) > 1 else ""
        raise UserError(f"{problems[0]}{more}")


def check_batches(case: Case) -> None:
    """Training and evaluation batches can be made, mirrored and scaled."""
    for form in set(case.forms.values()):
        own = [task for task, its in case.forms.items() if its == form]
        tasks = {task: find("task", task) for task in own if task in list_names("task")}  # they know how to mirror
        for side in (0, 48):
            view = View(dict.fromkeys(own, form), side, 0, True, 0.0, 16, True, 0, (100.0,) * 3, (60.0,) * 3, False)
            train, test = (Scaled(case.data.subset(name), side, 0) for name in ("train", "test"))
            for iteration in range(2):
                training_batch(train, tasks, view, 0, iteration, 2)
            evaluation_batch([test[i] for i in range(min(2, len(test)))], view)


FIRST = (check_opening, check_fingerprint, check_sizes, check_names)  # without which nothing else can be asked
OF_IMAGES = (check_image, check_maps, check_classes, check_boxes, check_apart)
LAST = (check_present, check_counts, check_again, check_survey, check_batches)


def check(cls: Any, options: Options | None = None) -> Iterator[Finding]:
    """What holds of a data set's class with these options of its constructor (`root` among them), and what does not;
    never raises."""
    case = Case(cls, options or {})
    if missing := [name for name in METHODS if not callable(getattr(cls, name, None))]:
        yield Finding(False, f"the class has no method {' and no '.join(missing)}")
        return
    if "root" not in inspect.signature(cls).parameters:
        yield Finding(
            False, f"{place(cls.__init__)}__init__ takes no `root`: the folder that --data-root names, or None"
        )
        return
    for question in FIRST:
        yield (finding := _ask(case, question))
        if not finding.ok:
            return
    faults: dict[Callable[..., None], Finding] = {}
    for subset in SUBSETS:
        for number in case.numbers(subset):
            try:
                with forbid_exit():
                    sample = case.data.subset(subset)[number]
            except Exception as error:
                yield Finding(False, f"image {number} of {subset} cannot be read: {explain(error, cls)}")
                return
            title = f"image {number} of {subset}"
            for of_image in OF_IMAGES:
                if of_image not in faults and not (finding := _ask(case, of_image, title, sample)).ok:
                    faults[of_image] = finding
            if not faults:
                _note(case, subset, sample)
    for of_image in OF_IMAGES:
        yield faults.get(of_image) or _holds(of_image)
    for question in LAST if not faults else ():
        yield _ask(case, question)


def _ask(case: Case, question: Callable[..., None], *of: Any) -> Finding:
    try:
        with forbid_exit():
            question(case, *of)
    except Exception as error:
        return Finding(False, explain(error, case.cls))
    return _holds(question)


def _holds(question: Callable[..., None]) -> Finding:
    return Finding(True, str(question.__doc__).rstrip("."))


def _note(case: Case, subset: str, sample: Sample) -> None:
    """Keep what the questions after all images need to know of a sound one."""
    for task, label in sample.labels.items():
        case.labelled.add((subset, task))
        case.forms.setdefault(task, _form(task, sample))
        if subset == "train" and task in COUNTED:
            count = len(case.categories[task])
            used = np.bincount(label[label != IGNORED].ravel(), minlength=count)
            case.found[task] = case.found.get(task, 0) + ((label == 1).sum(axis=0) if task == "attributes" else used)


def _form(task: str, sample: Sample) -> str:
    """The form of a task; where it is not built in, what its label looks like."""
    if task in list_names("task"):
        form: str = find("task", task).form
        return form
    label = sample.labels[task]
    if label.shape[:2] == sample.image.shape[:2]:
        return "fcn"
    return "image" if sample.boxes is None or not label.ndim else "roi"


def _labels(case: Case, sample: Sample, form: str) -> Iterator[tuple[str, np.ndarray]]:
    return ((task, label) for task, label in sample.labels.items() if _form(task, sample) == form)


def _subset(title: str) -> str:
    return title.rpartition(" ")[2]


def _describe(value: Any) -> str:
    """`480 640 uint8` of an array, the type of anything else."""
    if isinstance(value, np.ndarray):
        return f"{' '.join(map(str, value.shape)) or 'one'} {value.dtype}"
    return f"a {type(value).__name__}"


def _are_equal(one: Sample, other: Sample) -> bool:
    pairs = [(getattr(one, name), getattr(other, name)) for name in ("image", "boxes", "difficult", "proposals")]
    pairs += [(one.labels.get(task), other.labels.get(task)) for task in one.labels | other.labels]
    return all(a is b or (a is not None and b is not None and np.array_equal(a, b)) for a, b in pairs)
