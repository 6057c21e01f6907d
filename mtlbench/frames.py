"""The long frame of many results. Trials of a kind differ in their numbers alone: the words of their rows are looked
at once, and every column is made at once, which is what takes time else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mtlbench.folders import check_words
from mtlbench.spec import Options, Trial

if TYPE_CHECKING:  # the process that brings results to the store has no need of pandas
    import pandas as pd

COLUMNS = ["pair", "dataset", "backbone", "recipe", "arm", "seed", "key", "task", "subset", "metric", "headline",
           "category", "value", "unit", "higher_is_better", "finished", "setting"]  # fmt: skip
NAMING = ["pair", "dataset", "backbone", "recipe", "arm", "seed", "key", "finished", "setting"]  # of a trial
WORDING = ["task", "subset", "metric", "category", "headline", "unit", "higher_is_better"]  # of a number
UNITS = dict.fromkeys(
    ("seconds", "seconds_with_parents", "step_seconds", "evaluation_seconds", "training_seconds", "wait_seconds"), "s"
)
Head = tuple[Any, ...]  # a trial under one of its names, as in NAMING


def head_of(trial: Trial, key: str, name: Options, result: Options) -> Head:
    """What names a trial that goes by `name`. Raises one of UNSOUND."""
    check_words(result["backbone"], result["finished"])
    return (trial.pair, trial.dataset.name, result["backbone"], name["recipe"], name["arm"], name["seed"], key,
            result["finished"], name["setting"])  # fmt: skip


def named(heads: Sequence[Head], lengths: Sequence[int]) -> pd.DataFrame:
    """Columns NAMING: every head as many times as its length says."""
    import numpy as np
    import pandas as pd

    places = np.repeat(np.arange(len(heads)), lengths)
    return pd.DataFrame(heads, columns=NAMING).take(places).reset_index(drop=True)


class LongFrame:
    """Takes results and makes one frame of them."""

    def __init__(self) -> None:
        self._kinds: dict[object, range] = {}  # what the rows of a trial say besides numbers -> their places in _words
        self._words: list[tuple[Any, ...]] = []
        self._heads: list[Head] = []
        self._places: list[range] = []  # of each head's rows in _words
        self._values: list[float] = []

    def add(self, trial: Trial, result: Options, heads: Sequence[Head]) -> None:
        """A trial's numbers under all of its names. Raises one of UNSOUND for a result that makes no sense."""
        metrics, cost = result["metrics"], result["cost"]
        words = tuple([(task, subset, metric, category) for task, subset, metric, category, _ in result["scores"]])
        about = tuple([
            (task, metric, bool((one := metrics[task][metric])["headline"]), one["unit"], bool(one["higher_is_better"]))
            for task, metric in {(row[0], row[2]): None for row in words}
        ])  # fmt: skip
        values = [float(row[4]) for row in result["scores"]] + [float(value) for value in cost.values()]
        kind = (words, about, tuple(cost), trial.tasks[0] if len(trial.tasks) == 1 else "")
        if kind not in self._kinds:
            rows = _rows(*kind)
            self._kinds[kind] = range(len(self._words), len(self._words) + len(rows))
            self._words += rows
        self._heads += heads
        self._places += [self._kinds[kind]] * len(heads)
        self._values += values * len(heads)

    def made(self) -> pd.DataFrame:
        """One row a number; columns as in COLUMNS."""
        import numpy as np
        import pandas as pd

        if not self._values:
            return pd.DataFrame(columns=COLUMNS).astype({"headline": bool, "higher_is_better": bool, "value": float})
        places = np.concatenate([np.arange(rows.start, rows.stop) for rows in self._places])
        words = pd.DataFrame(self._words, columns=WORDING).take(places).reset_index(drop=True)
        parts = [named(self._heads, list(map(len, self._places))), words, pd.Series(self._values, name="value")]
        return pd.concat(parts, axis=1)[COLUMNS]


def _rows(
    words: tuple[tuple[str, str, str, str], ...], about: tuple[tuple[str, str, bool, str, bool], ...],
    cost: tuple[str, ...], task: str,
) -> list[tuple[Any, ...]]:  # fmt: skip
    """Rows of WORDING of a trial's scores and costs. Raises one of UNSOUND for what is no text."""
    known = {(task, metric): rest for task, metric, *rest in about}
    rows: list[tuple[Any, ...]] = [(*row, *known[row[0], row[2]]) for row in words]
    rows += [(task, "cost", metric, "", False, UNITS.get(metric, ""), False) for metric in cost]
    for row in rows:
        check_words(*row[:4], row[5])
    return rows
