"""The long frame of many results, made fast: trials of one kind differ only in their numbers, so the texts of their
rows are looked up once per kind, and every column is built in one step."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mtlbench.spec import Trial
from mtlbench.store.columns import FRAME
from mtlbench.store.shapes import NameOfTrial, Result
from mtlbench.system.files import UNSOUND, text_of
from mtlbench.text import strip_control, write_factors

if TYPE_CHECKING:
    import pandas as pd


COLUMNS = [column.name for column in FRAME]
NAMING = [  # of a trial
    "pair",
    "dataset",
    "backbone",
    "recipe",
    "arm",
    "scheme",
    "method",
    "family",
    "variant_of",
    "rate",
    "weighting",
    "tuned",
    "purpose",
    "seed",
    "key",
    "finished",
    "setting",
]
WORDING = ["task", "subset", "metric", "category", "headline", "unit", "higher_is_better"]  # of a number
UNITS = dict.fromkeys(
    ("seconds", "seconds_with_parents", "step_seconds", "evaluation_seconds", "training_seconds", "wait_seconds"), "s"
)
BATCH = 1 << 23  # characters of CSV that are parsed together
Head = tuple[Any, ...]  # a trial under one of its names, as in NAMING


def head_of(trial: Trial, key: str, name: NameOfTrial, result: Result) -> Head:
    """What names a trial that goes by `name`."""
    return (
        trial.pair,
        trial.dataset.name,
        strip_control(result.backbone),
        name.recipe,
        name.arm,
        trial.scheme.name,
        trial.method.name if trial.method else "",
        trial.family,
        name.variant_of,
        name.rate,
        write_factors(name.weighting),
        name.tuned,
        name.purpose.value,
        name.seed,
        key,
        strip_control(result.finished),
        name.setting,
    )


def repeat_heads(heads: Sequence[Head], lengths: Sequence[int]) -> pd.DataFrame:
    """Columns NAMING: every head as many times as its length says."""
    import numpy as np
    import pandas as pd

    places = np.repeat(np.arange(len(heads)), lengths)
    return pd.DataFrame(heads, columns=NAMING).take(places).reset_index(drop=True)


def take_ranges(rows: pd.DataFrame, places: Sequence[range]) -> pd.DataFrame:
    """The rows at these places, one range after the other."""
    import numpy as np

    return rows.take(np.concatenate([np.arange(place.start, place.stop) for place in places])).reset_index(drop=True)


def roots_of(parents: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """{key: keys of the trials that this one's weights or predictions descend from, and that have no parents, in order
    and parted by spaces}, from the keys of the parents of each; a trial without parents is its own root."""
    found = {}
    for key in parents:
        seen, waiting, roots = {key}, [key], set()
        while waiting:
            above = parents.get(one := waiting.pop(), ())
            waiting += [parent for parent in above if parent not in seen]
            seen.update(above)
            roots |= set() if above else {one}
        found[key] = " ".join(sorted(roots))
    return found


class LongFrame:
    """Takes results and makes one frame of them."""

    def __init__(self) -> None:
        self._kinds: dict[object, range] = {}  # what the rows of a trial say besides numbers -> their places in _words
        self._words: list[tuple[Any, ...]] = []
        self._heads: list[Head] = []
        self._places: list[range] = []  # of each head's rows in _words
        self._values: list[float] = []

    def add(self, trial: Trial, result: Result, heads: Sequence[Head]) -> None:
        """A trial's numbers under all of its names."""
        metrics, cost = result.metrics, result.cost
        words = tuple([row[:4] for row in result.scores])
        about = tuple(
            [
                (
                    task,
                    metric,
                    (one := metrics[task][metric]).headline,
                    one.unit,
                    one.higher_is_better,
                )
                for task, metric in {(row[0], row[2]): None for row in words}
            ]
        )
        values = [*(row.value for row in result.scores), *cost.values()]
        kind = (words, about, tuple(cost), trial.task_names[0] if len(trial.task_names) == 1 else "")
        if kind not in self._kinds:
            rows = _rows(*kind)
            self._kinds[kind] = range(len(self._words), len(self._words) + len(rows))
            self._words += rows
        self._heads += heads
        self._places += [self._kinds[kind]] * len(heads)
        self._values += values * len(heads)

    def make(self, roots: Mapping[str, str]) -> pd.DataFrame:
        """One row a number; columns as in COLUMNS. `roots` are of the trials by key (`roots_of`)."""
        import pandas as pd

        if not self._values:
            return pd.DataFrame(columns=COLUMNS).astype({"headline": bool, "higher_is_better": bool, "value": float})
        heads = repeat_heads(self._heads, list(map(len, self._places)))
        words = take_ranges(pd.DataFrame(self._words, columns=WORDING), self._places)
        values = pd.Series(self._values, name="value")
        return pd.concat([heads, words, values, heads["key"].map(roots).rename("roots")], axis=1)[COLUMNS]


def _rows(
    words: tuple[tuple[str, str, str, str], ...],
    about: tuple[tuple[str, str, bool, str, bool], ...],
    cost: tuple[str, ...],
    task: str,
) -> list[tuple[Any, ...]]:
    """Rows of WORDING of a trial's scores and costs."""
    known = {(name, metric): (headline, unit, higher) for name, metric, headline, unit, higher in about}
    rows: list[tuple[Any, ...]] = []
    for name, subset, metric, category in words:
        headline, unit, higher_is_better = known[name, metric]
        rows.append((name, subset, metric, strip_control(category), headline, strip_control(unit), higher_is_better))
    rows += [(task, "cost", metric, "", False, UNITS.get(metric, ""), False) for metric in cost]
    return rows


def read_tables(
    paths: Sequence[str], kinds: dict[str, type], read: Callable[[str], str] = text_of
) -> tuple[pd.DataFrame, list[range | None]]:
    """The rows of CSV files under each other, with columns of these kinds; and where those of each file are, None for
    one that cannot be understood, or that `read` (of a path, its text) refuses. Files that look alike are parsed
    together: one by one takes ten times as long."""
    tables = _Tables(kinds)
    for path in paths:
        try:
            tables.add(read(path))
        except (OSError, *UNSOUND):
            tables.flush()
            tables.places.append(None)
    return tables.make()


class _Tables:
    """Texts of CSV files on their way to one frame."""

    def __init__(self, kinds: dict[str, type]) -> None:
        self.kinds, self.header = kinds, ",".join(kinds) + "\n"
        self.places: list[range | None] = []
        self._parts: list[pd.DataFrame] = []
        self._rows = 0
        self._alike: list[str] = []  # texts without their header that wait
        self._waiting = 0  # characters of them

    def add(self, text: str) -> None:
        """A file's text, in whatever order its columns are."""
        plain = text.replace("\r\n", "\n")
        if plain.startswith(self.header) and plain.endswith("\n") and not set(plain) & {"\r", '"', "\0"}:
            self._alike.append(plain[len(self.header) :])
            self._waiting += len(plain)
            if self._waiting > BATCH:
                self.flush()
        else:
            self.flush()
            self._alone(text)

    def flush(self) -> None:
        """Parse what waits; file by file where something is amiss in one."""
        waiting, self._alike, self._waiting = self._alike, [], 0
        if self._parts and not waiting:
            return
        lines = [text.count("\n") for text in waiting]
        try:
            frame = self._parse(self.header + "".join(waiting))
        except UNSOUND:
            frame = None
        if frame is not None and len(frame) == sum(lines):
            self._take(frame, lines)
        else:
            for text in waiting:
                self._alone(self.header + text)

    def make(self) -> tuple[pd.DataFrame, list[range | None]]:
        """The rows, and where those of each file are."""
        import pandas as pd

        self.flush()
        return pd.concat(self._parts, ignore_index=True), self.places

    def _alone(self, text: str) -> None:
        try:
            frame = self._parse(text)
            self._take(frame, [len(frame)])
        except UNSOUND:
            self.places.append(None)

    def _parse(self, text: str) -> pd.DataFrame:
        import pandas as pd

        names = list(self.kinds)
        return pd.read_csv(io.StringIO(text), dtype=self.kinds, usecols=names)[names]

    def _take(self, frame: pd.DataFrame, lengths: Sequence[int]) -> None:
        self._parts.append(frame)
        for length in lengths:
            self.places.append(range(self._rows, self._rows + length))
            self._rows += length
