"""A table with a row an image (CSV or Parquet) and a folder of images: its columns are the tasks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from mtlbench.contracts import Count, Sample, Survey
from mtlbench.datasets._prepared import Prepared, Writer, prepare, stamp_of
from mtlbench.datasets._problems import BROKEN, Problem, lines_of, refuse
from mtlbench.datasets._table_columns import Column, TableTask, columns_of, parse_column, tasks_of
from mtlbench.datasets._table_pictures import Picture, place_of, read_picture
from mtlbench.datasets._table_rows import Rows, read_rows
from mtlbench.datasets._table_subsets import SHARES, divide, join_groups
from mtlbench.datasets._table_text import Text, is_empty, read_table
from mtlbench.errors import UserError
from mtlbench.system.cache import cache_root
from mtlbench.system.files import write
from mtlbench.system.parallel import read_ahead

NAMES = ("train", "val", "test")


class Table:
    """Images with the labels of a table (form `image`).

    `root` is a CSV, TSV or Parquet file, beside its images or their folder `images`, or a file that `place` wrote.
    Kinds of columns are those of `columns`, {name: `kind` or `kind:task`}, else what they look like
    (`_table_columns.py`). An empty cell is a missing label. Images whose cells in the column `group` are equal, and
    those with the same bytes, are in one subset. A column `subset` is obeyed (without val, 15 % of its train are
    taken); else 15 % of the images are test, 15 % val and the rest train, by hashes of the groups, or of the files'
    names (Ours).
    Images are kept with a short side of `side` pixels and a long side of twice that, at most. `most`: so many images
    alone, those whose names have the lowest hashes (0 = all). `broken` says what happens where rows or images are
    wrong: "refuse", or "leave-out" of the images they concern. Raises UserError for a wrong file or option.
    """

    version = 1

    def __init__(
        self,
        root: str | Path | None = None,
        columns: Mapping[str, str] | str | None = None,
        group: str = "",
        side: int = 64,
        most: int = 0,
        broken: str = "refuse",
    ) -> None:
        if root is None:
            raise UserError("table needs its file: type mtlbench run --csv FILE.csv --images DIR")
        if side < 16 or most < 0:
            raise UserError(f"table: side is {side}, most {most}; give at least 16 pixels, and 0 or more images")
        if broken not in BROKEN:
            raise UserError(f"table: broken is {broken!r}, must be {' or '.join(BROKEN)}")
        if isinstance(columns, str):  # of --data-option: age:regression,sex:classification
            columns = dict(parse_column(word) for word in columns.split(",") if word)
        self.asked, self.group = dict(columns or {}), group
        self.side, self.most, self.broken = side, most, broken
        self.path, self.images = _locate(Path(root).expanduser().resolve())
        self._store: Prepared | None = None
        self._subsets: dict[str, list[int]] = {}

    # ------------------------------------------------------------------------------------------------ the table
    @staticmethod
    def parse(word: str) -> tuple[str, str]:
        """`age:regression` as a column and its kind. Raises UserError."""
        return parse_column(word)

    @staticmethod
    def place(table: Path, images: Path) -> Path:
        """A small file, in the cache, that says where a table and its images are: the `root` of both."""
        paths = {"table": str(table.expanduser().resolve()), "images": str(images.expanduser().resolve())}
        text = json.dumps(paths)
        path = cache_root() / "tables" / f"{table.stem}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, text)
        except OSError as error:
            raise UserError(f"cannot write to the cache {path.parent}: {error}; set MTLBENCH_CACHE=FOLDER") from error
        return path

    @cached_property
    def text(self) -> Text:
        """The table as it was read."""
        return read_table(self.path)

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Its columns, with their kinds."""
        return columns_of(self.text, self.asked, self.group, lambda cell: place_of(self.images, cell) is not None)

    @cached_property
    def tasks_in_table(self) -> tuple[TableTask, ...]:
        """The tasks, with their kinds."""
        return tasks_of(self.text, self.columns)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(task.name for task in self.tasks_in_table)

    @cached_property
    def rows(self) -> Rows:
        """What the rows say."""
        return read_rows(self.text, self.columns, self.tasks_in_table)

    def describe(self) -> list[str]:
        """A line for each task, its columns and how much is labelled, and for each column that is left out."""
        lines, images = [], len(self.rows.names)
        for task in self.tasks_in_table:
            labelled = [row[task.name] for row in self.rows.labels if task.name in row]
            what = f"{task.name}: {task.kind}, {len(labelled)} of {images} images labelled"
            if task.kind == "regression" and labelled:
                what += f", {min(map(float, labelled)):g} to {max(map(float, labelled)):g}"
            elif task.categories:
                named = ", ".join(task.categories[:4]) + (", ..." if len(task.categories) > 4 else "")
                noun = "labels" if task.kind == "multilabel" else "classes"
                what += f", {len(task.categories)} {noun} ({named})"
            lines.append(what)
        lines += [f"column {c.name!r}: {c.kind}" for c in self.columns if not c.task and c.kind != "skip"]
        notes: dict[str, list[str]] = {}
        for column in self.columns:
            if column.note:
                notes.setdefault(column.note, []).append(column.name or f"number {column.index + 1}")
        for note, names in notes.items():
            some = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            lines.append(f"left out: {some}: {note}")
        return lines

    # ------------------------------------------------------------------------------------------------ contract
    def prepare(self, say: Callable[[str], None]) -> None:
        """Decode all images once, small, into one folder of the cache. Raises UserError where rows or images are wrong
        and `broken` is "refuse"."""
        about = (self.version, self.side, self.most, str(self.images), self.text.header)
        names = self._wanted
        paths = [place for name in names if (place := place_of(self.images, name))]
        seen = hashlib.sha256(repr((str(self.path), about, names)).encode()).hexdigest()[:12]
        stamp = stamp_of(self.images, paths, *about)
        self._refuse([*self.text.problems, *self.rows.problems])  # before any image is decoded
        store = prepare(cache_root() / f"table-v{self.version}-{seen}", stamp, lambda w: self._build(w, names, say))
        problems = [*self.text.problems, *self.rows.problems, *(Problem(*one) for one in store.about["problems"])]
        digests = dict(zip(store.about["names"], store.about["digests"], strict=True))
        problems += self._leaks(digests)
        self._refuse(problems)
        wrong = {problem.image for problem in problems}
        if left_out := wrong & {*names}:
            say(f"table: {len(left_out)} images with problems are left out; mtlbench data verify lists them")
        self._store, self._subsets = store, self._divide([n for n in digests if n not in wrong], digests)
        if empty := [name for name in NAMES if not self._subsets[name]]:
            raise UserError(
                f"{self.path}: no image is left for {empty[0]}; more images, or a column `subset`, are needed"
            )

    def verify(self, say: Callable[[str], None]) -> Survey:
        """Read every row and decode every image."""
        try:
            rows, columns = self.rows, self.columns
        except UserError as error:
            return Survey((), (str(error),))
        problems = [*self.text.problems, *rows.problems, *rows.repeated, *self._one_valued(columns)]
        digests: dict[str, str] = {}

        def note(picture: Picture) -> None:
            if picture.digest:
                digests[picture.name] = picture.digest

        problems += self._look(rows.names, note, say)
        problems += self._leaks(digests)
        counts = [Count("rows", len(self.text.rows)), Count("images", len(rows.names)), Count("readable", len(digests))]
        for task in self.tasks_in_table:
            counts.append(Count(f"labelled for {task.name}", sum(task.name in row for row in rows.labels)))
        if digests:
            divided_ = self._divide([*digests], digests)
            counts += [Count(f"images of {name}", len(divided_[name])) for name in NAMES]
        return Survey(tuple(counts), lines_of(problems))

    def fingerprint(self) -> str:
        """Hash of the subsets, the images' bytes and size, all labels and categories. Raises UserError before
        `prepare`."""
        about = self._opened.about
        seen = hashlib.sha256(repr((self.version, self.side, self._kinds)).encode())
        place = {name: index for index, name in enumerate(self.rows.names)}
        for subset, indices in self._subsets.items():
            for index in indices:
                name = about["names"][index]
                labels = self.rows.labels[place[name]]
                words = [(task, labels[task].dtype.str, labels[task].tobytes()) for task in sorted(labels)]
                seen.update(repr((subset, name, about["digests"][index], words)).encode())
        return seen.hexdigest()[:16]

    def subset(self, name: str) -> TableSubset:
        """`train`, `val` or `test`. Raises UserError before `prepare`."""
        place = {image: self.rows.labels[number] for number, image in enumerate(self.rows.names)}
        names = self._opened.about["names"]
        return TableSubset(self._opened, [(index, place[names[index]]) for index in self._subsets[name]])

    def categories(self, task: str) -> tuple[str, ...]:
        """The classes of a column, the names of yes-or-no columns, nothing for a number."""
        return next(one.categories for one in self.tasks_in_table if one.name == task)

    def counts(self, task: str) -> tuple[int, ...]:
        """Images of each class, or yes of each column, in `train`."""
        one, total = next(one for one in self.tasks_in_table if one.name == task), np.zeros(0, np.int64)
        if one.categories:
            total = np.zeros(len(one.categories), np.int64)
            for _, labels in self.subset("train").places:
                if task in labels:
                    label = labels[task]
                    total += label == 1 if label.ndim else np.arange(len(total)) == label
        return tuple(int(count) for count in total)

    # ------------------------------------------------------------------------------------------------ preparing
    @property
    def _opened(self) -> Prepared:
        if self._store is None:
            raise UserError(f"{self.path} is not prepared; type mtlbench run --csv {self.path} --images {self.images}")
        return self._store

    @property
    def _kinds(self) -> list[tuple[str, str, tuple[str, ...]]]:
        return [(task.name, task.kind, task.categories) for task in self.tasks_in_table]

    @cached_property
    def _wanted(self) -> list[str]:
        """The images that are looked at, in the order of the table."""
        names = self.rows.names
        if not self.most or len(names) <= self.most:
            return names
        chosen = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())[: self.most]
        kept = {*chosen}
        return [name for name in names if name in kept]

    def _build(self, writer: Writer, names: Sequence[str], say: Callable[[str], None]) -> dict[str, object]:
        """Write the sound images."""
        found: list[str] = []
        digests: list[str] = []

        def keep(picture: Picture) -> None:
            if picture.pixels is not None:
                writer.add("image", picture.pixels)
                found.append(picture.name)
                digests.append(picture.digest)

        problems = self._look(names, keep, say)
        self._refuse(problems)
        return {"names": found, "digests": digests, "problems": problems}

    def _look(
        self, names: Sequence[str], visit: Callable[[Picture], None], say: Callable[[str], None]
    ) -> list[Problem]:
        """Decode images; `visit` takes each in order. The problems of those that cannot be."""
        problems: list[Problem] = []
        text = f"{self.path.name}: {{}} of {{}} images decoded"
        for picture in read_ahead(names, partial(_read, self), text, say):
            problems += [picture.wrong] if picture.wrong else []
            visit(picture)
        return problems

    def _divide(self, names: Sequence[str], digests: Mapping[str, str]) -> dict[str, list[int]]:
        """Indices, among `digests`, of the images of each subset, in their order."""
        place = {name: index for index, name in enumerate(self.rows.names)}
        groups = join_groups([self.rows.groups[place[n]] for n in names], [digests[n] for n in names])
        given = [self.rows.subsets[place[name]] for name in names]
        subsets = given
        if not any(given):
            subsets = divide(groups)
        elif "val" not in given:
            train = [index for index, subset in enumerate(given) if subset == "train"]
            carved = divide([groups[index] for index in train], {"val": SHARES["val"]})
            for index, subset in zip(train, carved, strict=True):
                subsets[index] = subset
        number = {name: index for index, name in enumerate(digests)}
        return {subset: [number[n] for n, own in zip(names, subsets, strict=True) if own == subset] for subset in NAMES}

    def _leaks(self, digests: Mapping[str, str]) -> list[Problem]:
        """Images with the same bytes, and groups, that a column `subset` puts into two subsets."""
        rows, problems = self.rows, list[Problem]()
        bytes_of, group_of = dict[str, tuple[str, str]](), dict[str, str]()
        for name, group, subset in zip(rows.names, rows.groups, rows.subsets, strict=True):
            if not subset or name not in digests:
                continue
            other, its = bytes_of.setdefault(digests[name], (name, subset))
            where = f"{self.path}:{rows.lines[name]}"
            if its != subset:
                text = f"{where}: {name} ({subset}) has the same bytes as {other} ({its}); take one out"
                kind = "images have the same bytes as one of another subset; take them out"
                problems.append(Problem(text, name, kind, name))
            if group != name and group_of.setdefault(group, subset) != subset:
                text = f"{where}: {group!r} is in {subset} and in {group_of[group]}; give a group one subset"
                problems.append(Problem(text, None, "images are of groups with two subsets; give each one", name))
        return problems

    def _one_valued(self, columns: Iterable[Column]) -> list[Problem]:
        """Columns that say nothing; those of yes or no among tags, too."""
        found = []
        for column in columns:
            cells = {cell.lower() for cell in self.text.column(column.index) if not is_empty(cell)}
            if column.name and len(cells) < 2 and column.kind not in ("file", "group", "subset"):
                what = f"has one value everywhere ({min(cells)})" if cells else "is empty everywhere"
                if not (column.kind == "skip" and not column.note):  # asked for
                    advice = "nothing can be learned of it; delete it, or type --column"
                    kind = f"columns have one value everywhere or none: {advice} NAME:skip for each"
                    text = f"{self.path}: column {column.name} {what}: {advice} {column.name}:skip"
                    found.append(Problem(text, None, kind, column.name))
        return found

    def _refuse(self, problems: Sequence[Problem]) -> None:
        """Raises UserError for the first problem, or the first that leaving images out does not solve."""
        command = f"mtlbench data verify --csv {self.path} --images {self.images}"
        refuse(problems, self.broken, command if len(problems) > 1 else "")


def _read(table: Table, name: str) -> Picture:
    where = f"{table.path}:{table.rows.lines[name]}"
    return read_picture(table.images, name, where, table.side)


class TableSubset:
    """The samples of one subset; `places` are indices of prepared images and labels."""

    def __init__(self, store: Prepared, places: Sequence[tuple[int, dict[str, np.ndarray]]]) -> None:
        self._store, self.places = store, places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Sample:
        place, labels = self.places[index]
        return Sample(self._store.array("image", place), dict(labels))


def _locate(root: Path) -> tuple[Path, Path]:
    """The table and the folder of images that a root stands for. Raises UserError."""
    if root.suffix != ".json":
        beside = root.parent / "images"
        return root, beside if beside.is_dir() else root.parent
    try:
        paths = json.loads(root.read_text())
        table, images = Path(paths["table"]), Path(paths["images"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{root} is gone or damaged; give --csv and --images again") from error
    if not images.is_dir():
        raise UserError(f"{images} is no folder; give that of the images with --images DIR")
    return table, images
