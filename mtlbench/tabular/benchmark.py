"""An exported table, read back and asked: numbers of trained networks in microseconds, without torch or pandas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

from mtlbench.errors import UserError
from mtlbench.plugins import make_unknown
from mtlbench.system.files import seal, text_of
from mtlbench.system.schema import Misshapen, convert, decode
from mtlbench.tabular.content import (
    ABOUT,
    ARCHITECTURES,
    CHANGE,
    COSTS,
    CURVE,
    FORMAT,
    SCORES,
    About,
    Architectures,
    Columns,
    Content,
    Stage,
)

T = TypeVar("T")
Key = tuple[str, int | None, str, str, int | None]  # arm, seed (None: the mean), metric, subset, iteration (None: end)
WORK, BACKWARD = "training_flops", 3  # the backward pass costs twice the forward one (Kaplan et al. 2020, 2.1)
COST = "cost"  # the subset of costs
TABLES = Path(__file__).parent / "tables"  # those that come with the package
CURVED = "val"  # the subset by which what a curve says is asked for


class Benchmark:
    """The numbers of a study: `mtlbench export DIR` wrote them, `Benchmark(DIR)` reads them, `query` gives one.
    `Benchmark("dense3_trees")` is a table that comes with the package; `mtlbench list tables` names all of them.

    about: what they are of (pair, tasks, metrics with unit and direction, licence, citation ...).
    architectures: {arm: groups of tasks per stage, units, family, parents}. arms, seeds, tasks: lists.
    metrics: names that `query` takes. iterations: {arm: where the curve was measured during training}.
    """

    def __init__(self, path: str | Path) -> None:
        """Read a table. path: its folder, or the name of one of the package. Raises UserError where it is none, damaged
        or of a newer mtlbench."""
        folder = Path(path).expanduser()
        self._take(_read(TABLES / path if not folder.exists() and str(path) in list_tables() else folder))

    @staticmethod
    def of(content: Content) -> Benchmark:
        """A table in memory, asked like one of files."""
        benchmark = Benchmark.__new__(Benchmark)
        benchmark._take(content)
        return benchmark

    def _take(self, content: Content) -> None:
        self.about, self.architectures = content.about, content.architectures
        self.arms, self.seeds, self.tasks = list(content.architectures), content.about.seeds, content.about.tasks
        self._headlines = {one.task: one for one in self.about.metrics if one.headline}
        self.iterations: dict[str, list[int]] = {}
        self._values: dict[Key, float] = {}
        self._add_scores(content.scores)
        self._add_costs(content.costs)
        self._add_changes()
        self._add_means()
        self.metrics = list(dict.fromkeys(metric for _, _, metric, _, _ in self._values))

    def query(
        self,
        arm: str | None = None,
        *,
        architecture: Sequence[Any] | None = None,
        seed: int | None = None,
        iteration: int | None = None,
        metric: str = CHANGE,
        subset: str = "test",
    ) -> float:
        """One number of a trained arm.

        arm: its name, or architecture: per stage its groups of tasks, for example [[["a", "b"]], [["a"], ["b"]]], or
        the stages as `architectures` has them. seed: None = the mean over seeds. iteration: None = after training;
        else one of `iterations`, with subset "val": the headline on the first images of val, or the loss (of an arm
        with a network a task, of the one that is trained longest; the others are as far). metric: "change" = mean over
        tasks of the headline's change against one-task with the same seed, in %, up is better; "TASK" = its headline;
        "TASK METRIC"; or a cost (parameters, flops, training_flops, image_visits, seconds, each summed over the arm's
        networks; training_flops_with_parents, seconds_with_parents ...). subset: val or test. Raises UserError for
        what the table does not have.
        """
        if arm is None:
            arm = self.find(architecture)
        value = self.look_up(arm, seed=seed, iteration=iteration, metric=metric, subset=subset)
        if value is None:
            raise self._refuse(arm, seed, metric, subset, iteration)
        return value

    def look_up(
        self,
        arm: str,
        *,
        seed: int | None = None,
        iteration: int | None = None,
        metric: str = CHANGE,
        subset: str = "test",
    ) -> float | None:
        """What `query` gives of an arm, None for what the table does not have."""
        value = self._values.get((arm, seed, metric, subset, iteration))
        return self._values.get((arm, seed, metric, COST, iteration)) if value is None else value  # of no subset

    def find(self, architecture: Sequence[Any] | None) -> str:
        """The arm of an architecture, given as `query` takes it. Raises UserError where none, or several, have it."""
        if architecture is None:
            raise UserError("query: name an arm, or give an architecture")
        wanted = _form_of([_as_stage(place, stage) for place, stage in enumerate(architecture)])
        found = [arm for arm, known in self.architectures.items() if _form_of(known.stages) == wanted]
        plain = [arm for arm in found if not self.architectures[arm].variant_of]
        if len(plain or found) != 1:
            several = f"{', '.join(found)} have" if found else "no arm of the table has"
            raise UserError(f"{several} this architecture; ask for one of the arms by its name")
        return (plain or found)[0]

    def _refuse(self, arm: str, seed: int | None, metric: str, subset: str, iteration: int | None) -> UserError:
        """What is wrong with a question that has no answer."""
        if arm not in self.architectures:
            return make_unknown("arm", arm, self.arms)
        if metric not in self.metrics:
            return make_unknown("metric", metric, self.metrics)
        if seed is not None and seed not in self.seeds:
            return UserError(f"{seed} is no seed of the table: {', '.join(map(str, self.seeds))}")
        during = self.iterations.get(arm, [])
        if iteration is not None and (iteration not in during or subset != CURVED):
            some = ", ".join(map(str, during)) or "none"
            return UserError(f"during training {arm} was measured with subset={CURVED!r} at iteration {some}")
        return UserError(f"the table has no {metric} on {subset} of {arm}, seed {seed}, iteration {iteration}")

    def _add_scores(self, scores: Columns) -> None:
        order = ("arm", "seed", "task", "subset", "metric", "iteration", "value")
        rows = list(zip(*(scores[name] for name in order), strict=True))
        at: dict[str, dict[str, set[int]]] = {arm: {} for arm in self.arms}
        for arm, _, task, subset, _, iteration, _ in rows:
            if subset == CURVE:
                at[arm].setdefault(task, set()).add(iteration)
        points = {arm: [sorted(found) for found in by_task.values()] for arm, by_task in at.items()}
        self.iterations = {
            arm: [max(several) for several in zip(*found, strict=False)] for arm, found in points.items()
        }
        known = {  # an arm with a network a task may train them differently long: their points go together
            (arm, task, own): shown
            for arm, by_task in at.items()
            for task, found in by_task.items()
            for own, shown in zip(sorted(found), self.iterations[arm], strict=False)
        }
        for arm, seed, task, subset, metric, iteration, value in rows:
            where = (CURVED, known.get((arm, task, iteration))) if subset == CURVE else (subset, None)
            self._values[arm, seed, f"{task} {metric}", *where] = value
            if metric == self._headlines[task].name:
                self._values[arm, seed, task, *where] = value

    def _add_costs(self, costs: Columns) -> None:
        """Costs per arm, summed over its networks, and the operations of training, whose parents' are added to those
        `..._with_parents`."""
        networks: dict[tuple[str, int, str], dict[str, float]] = {}
        order = ("arm", "seed", "key", "metric", "value")
        for arm, seed, key, metric, value in zip(*(costs[name] for name in order), strict=True):
            networks.setdefault((arm, seed, key), {})[metric] = value
        for (arm, seed, _), found in networks.items():
            if "flops" in found and "image_visits" in found:
                found[WORK] = BACKWARD * found["flops"] * found["image_visits"]
            for metric, value in found.items():
                where: Key = (arm, seed, metric, COST, None)
                self._values[where] = self._values.get(where, 0.0) + value
        for arm in self.arms:
            for seed in self.seeds:
                works = [self._values.get((one, seed, WORK, COST, None)) for one in self._with_parents(arm)]
                if None not in works:
                    self._values[arm, seed, f"{WORK}_with_parents", COST, None] = sum(works)  # type: ignore[arg-type]

    def _with_parents(self, arm: str) -> list[str]:
        """The arm and all that it descends from, each once."""
        found, waiting = {arm: None}, [arm]
        while waiting:
            known = self.architectures.get(waiting.pop())
            above = [parent for parent in (known.parents if known else ()) if parent not in found]
            found |= dict.fromkeys(above)
            waiting += above
        return list(found)

    def _add_changes(self) -> None:
        """Changes of each task's headline, and their means, as `analysis.frame.relative_change` has them: over the
        mean size of the baseline's values; during training over what the baseline has on val in the end."""
        base = self.about.baseline
        for subset in ("val", "test"):
            ends = {
                task: {s: self._values[base, s, task, subset, None] for s in self.seeds if self._has(base, s, task)}
                for task in self.tasks
            }
            for arm in self.arms:
                for iteration in (None, *(self.iterations[arm] if subset == CURVED else ())):
                    for seed in self.seeds:
                        changes = [self._change(arm, seed, task, subset, iteration, ends[task]) for task in self.tasks]
                        if None not in changes:
                            self._values[arm, seed, CHANGE, subset, iteration] = fmean(changes)  # type: ignore[arg-type]

    def _has(self, arm: str, seed: int, task: str) -> bool:
        return all((arm, seed, task, subset, None) in self._values for subset in ("val", "test"))

    def _change(
        self, arm: str, seed: int, task: str, subset: str, iteration: int | None, ends: Mapping[int, float]
    ) -> float | None:
        """The change of a task's headline in %, None where a number is missing."""
        value, end = self._values.get((arm, seed, task, subset, iteration)), ends.get(seed)
        size = abs(fmean(ends.values())) if ends else 0.0
        if value is None or end is None or not size:
            return None
        return 100 * (1 if self._headlines[task].higher_is_better else -1) * (value - end) / size

    def _add_means(self) -> None:
        """Means over the seeds that have a number."""
        seen: dict[Key, list[float]] = {}
        for (arm, _, *rest), value in self._values.items():
            seen.setdefault((arm, None, *rest), []).append(value)  # type: ignore[arg-type]
        self._values |= {key: fmean(values) for key, values in seen.items()}


def _form_of(stages: Sequence[Stage]) -> tuple[Any, ...]:
    """What two equal architectures share: groups and units per stage; names of stages are no part of it."""
    return tuple((tuple(sorted(tuple(sorted(group)) for group in one.groups)), one.unit) for one in stages)


def _as_stage(place: int, given: Any) -> Stage:
    """A stage as it is in the table, as JSON data, or only its groups. Raises UserError."""
    if isinstance(given, Stage):
        return given
    try:
        if isinstance(given, Mapping):
            return convert(dict(given), Stage)
        return convert({"stage": str(place), "groups": [list(group) for group in given], "unit": False}, Stage)
    except (Misshapen, TypeError) as error:
        raise UserError(f"stage {place}: give its groups of tasks, for example [['a', 'b'], ['c']]") from error


def list_tables() -> list[str]:
    """Names of the tables that come with the package."""
    return sorted(path.parent.name for path in TABLES.glob(f"*/{ABOUT}"))


def _read(folder: Path) -> Content:
    """The files of a table, checked against their checksums. Raises UserError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        about = _decode(folder / ABOUT, About)
        if about.format > FORMAT:
            raise UserError(f"{folder} was written by mtlbench {about.version}: upgrade mtlbench")
        for name in (SCORES, COSTS, ARCHITECTURES):
            if seal(folder / name).digest != about.files.get(name):
                raise UserError(f"{folder / name} is not the file that the table was written with; get it again")
        architectures = _decode(folder / ARCHITECTURES, Architectures).arms
        scores, costs = (_columns(pq.ParquetFile(folder / name).read()) for name in (SCORES, COSTS))
    except FileNotFoundError as error:
        known = ", ".join(list_tables())
        raise UserError(f"{folder} is no table; type: mtlbench export {folder}; the package has {known}") from error
    except (OSError, pa.ArrowException, ValueError, Misshapen) as error:
        raise UserError(f"{folder} cannot be read as a table: {str(error).partition(chr(10))[0]}") from error
    return Content(about, architectures, scores, costs)


def _decode(path: Path, shape: type[T]) -> T:
    return decode(text_of(path), shape)


def _columns(table: Any) -> Columns:
    """Lists; `to_pydict` would import pandas, which takes as long as all else."""
    return {name: table.column(name).to_pylist() for name in table.column_names}
