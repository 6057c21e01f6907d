"""CelebA (Liu et al. 2015), from its official files: faces with 40 attributes, each yes or no."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from mtlbench.contracts import Count, Sample, Survey
from mtlbench.datasets._celeba_files import SUBSETS, Folders, Lists, read_lists
from mtlbench.datasets._prepared import Prepared, Writer, prepare, stamp_of
from mtlbench.datasets._problems import BROKEN, Problem, lines_of, refuse
from mtlbench.datasets._table_columns import make_identifier
from mtlbench.datasets._table_pictures import Picture, read_picture
from mtlbench.errors import UserError
from mtlbench.plugins import make_unknown
from mtlbench.system.cache import cache_root
from mtlbench.system.parallel import read_ahead

ALL = "tags"  # the task of all attributes together, as of a table's columns
NO_YES = ("no", "yes")
PUBLISHED = {"train": 162_770, "val": 19_867, "test": 19_962}
ATTRIBUTES = 40


class Celeba:
    """Aligned faces; task `tags` is all attributes as one multilabel task, and each attribute is a task of its own, by
    its name (`Smiling`, `Male`, `c_5_o_Clock_Shadow`), of kind classification: no or yes.

    `root` holds `list_attr_celeba.txt`, `list_eval_partition.txt` and `img_align_celeba/`, beside each other or in
    `Anno`, `Eval` and `Img`. Subsets are the official ones. Images are kept with a short side of `side` pixels. `most`:
    so many images of each subset alone, the first ones of the list (0 = all). `broken` says what happens where lines or
    images are wrong: "refuse", or "leave-out" of the images they concern. Raises UserError for a wrong option.
    """

    version = 1

    def __init__(self, root: str | Path | None = None, side: int = 64, most: int = 0, broken: str = "refuse") -> None:
        if root is None:
            raise UserError("celeba needs its files: --data-root DIR, where DIR holds list_attr_celeba.txt")
        if side < 16 or most < 0:
            raise UserError(f"celeba: side is {side}, most {most}; give at least 16 pixels, and 0 or more images")
        if broken not in BROKEN:
            raise UserError(f"celeba: broken is {broken!r}, must be {' or '.join(BROKEN)}")
        self.side, self.most, self.broken = side, most, broken
        self.folders = Folders(Path(root).expanduser().resolve())
        self._opened: Prepared | None = None

    @cached_property
    def lists(self) -> Lists:
        """What the lists say."""
        return read_lists(self.folders)

    @cached_property
    def columns(self) -> dict[str, int]:
        """{task: the attribute that it is}."""
        return {make_identifier(name): index for index, name in enumerate(self.lists.attribute_names)}

    @property
    def tasks(self) -> tuple[str, ...]:
        """All attributes together, then each. Raises UserError where the lists cannot be read."""
        if not self.lists.attribute_names:
            self._refuse(self.lists.problems)
        return (ALL, *self.columns)

    def prepare(self, say: Callable[[str], None]) -> None:
        """Decode all images once, small, into one folder of the cache. Raises UserError where lines or images are wrong
        and `broken` is "refuse"."""
        self._refuse(self.lists.problems)  # before any image is decoded
        folders, names = self.folders, self._wanted(self.lists)
        seen = hashlib.sha256(repr((str(folders.root), self.side, names)).encode()).hexdigest()[:12]
        paths = [folders.attributes, folders.partition, *(folders.images / name for name in names)]
        stamp = stamp_of(folders.root, paths, self.version, self.side)
        store = prepare(cache_root() / f"celeba-v{self.version}-{seen}", stamp, lambda w: self._build(w, names, say))
        self._refuse([Problem(*one) for one in store.about["problems"]])
        if left_out := len(names) - len(store.about["names"]):
            say(f"celeba: {left_out} images with problems are left out; `{self._command()}` lists them")
        self._opened = store
        if empty := [subset for subset in SUBSETS if not self._places(subset)]:
            raise UserError(f"{folders.root}: no image is left for {empty[0]}")

    def verify(self, say: Callable[[str], None]) -> Survey:
        """Read both lists and decode every image, whatever `most` is."""
        found, readable = self.lists, 0

        def note(picture: Picture) -> None:
            nonlocal readable
            readable += picture.pixels is not None

        problems = list(found.problems)
        if not any(problem.image is None for problem in problems):
            problems += self._look(list(found.subsets), note, say)
        counts = [
            Count("attributes", len(found.attribute_names), ATTRIBUTES),
            Count("images with attributes", len(found.values), sum(PUBLISHED.values())),
            *(
                Count(f"images of {name}", sum(own == name for own in found.subsets.values()), published)
                for name, published in PUBLISHED.items()
            ),
            Count("readable images", readable, sum(PUBLISHED.values())),
        ]
        return Survey(tuple(counts), lines_of(problems))

    def fingerprint(self) -> str:
        """Hash of the subsets, the images' bytes and size, and all attributes. Raises UserError before `prepare`."""
        about, lists = self._store.about, self.lists
        seen = hashlib.sha256(repr((self.version, self.side, lists.attribute_names)).encode())
        for name, digest in zip(about["names"], about["digests"], strict=True):
            seen.update(repr((name, lists.subsets[name], digest)).encode() + lists.values[name].tobytes())
        return seen.hexdigest()[:16]

    def subset(self, name: str) -> CelebaSubset:
        """`train`, `val` or `test`. Raises UserError for another name, and before `prepare`."""
        if name not in SUBSETS:
            raise make_unknown("subset", name, SUBSETS)
        names, places = self._store.about["names"], self._places(name)
        values = np.array([self.lists.values[names[place]] for place in places])
        return CelebaSubset(self._store, places, values, self.columns)

    def categories(self, task: str) -> tuple[str, ...]:
        """The attributes' names in the list's order, or no and yes. Raises UserError for another task."""
        if task not in self.tasks:
            raise make_unknown("task of celeba", task, self.tasks)
        return self.lists.attribute_names if task == ALL else NO_YES

    def counts(self, task: str) -> tuple[int, ...]:
        """Images with each attribute, or without and with this one, in `train`."""
        yes = self.subset("train").values.sum(axis=0, dtype=np.int64)
        if task == ALL:
            return tuple(int(count) for count in yes)
        count = int(yes[self.columns[task]])
        return len(self._places("train")) - count, count

    # ------------------------------------------------------------------------------------------------ preparing
    @property
    def _store(self) -> Prepared:
        if self._opened is None:
            raise UserError(
                f"celeba is not prepared; type mtlbench data prepare celeba --data-root {self.folders.root}"
            )
        return self._opened

    def _places(self, subset: str) -> list[int]:
        names = self._store.about["names"]
        return [place for place, name in enumerate(names) if self.lists.subsets[name] == subset]

    def _wanted(self, lists: Lists) -> list[str]:
        """The images that are looked at, in the order of the list."""
        wrong = {problem.image for problem in lists.problems}
        own = {subset: [n for n, s in lists.subsets.items() if s == subset and n not in wrong] for subset in SUBSETS}
        return [name for names in own.values() for name in names[: self.most or None]]

    def _build(self, writer: Writer, names: Sequence[str], say: Callable[[str], None]) -> dict[str, object]:
        """Write the sound images."""
        sound: list[Picture] = []

        def keep(picture: Picture) -> None:
            if picture.pixels is not None:
                writer.add("image", picture.pixels)
                sound.append(picture._replace(pixels=None))

        problems = self._look(names, keep, say)
        self._refuse(problems)
        return {"names": [one.name for one in sound], "digests": [one.digest for one in sound], "problems": problems}

    def _look(
        self, names: Sequence[str], visit: Callable[[Picture], None], say: Callable[[str], None]
    ) -> list[Problem]:
        """Decode images; `visit` takes each in order. The problems of those that cannot be."""
        problems: list[Problem] = []
        read = partial(_read, self.folders, self.side)
        for picture in read_ahead(names, read, "celeba: {} of {} images decoded", say):
            problems += [picture.wrong] if picture.wrong else []
            visit(picture)
        return problems

    def _refuse(self, problems: Sequence[Problem]) -> None:
        """Raises UserError where `broken` does not allow them."""
        refuse(problems, self.broken, self._command())

    def _command(self) -> str:
        return f"mtlbench data verify celeba --data-root {self.folders.root}"


class CelebaSubset:
    """The samples of one subset; `values` `N A` uint8 are their attributes, `columns` {task: which of them}."""

    def __init__(self, store: Prepared, places: Sequence[int], values: np.ndarray, columns: dict[str, int]) -> None:
        self._store, self._places, self.values, self._columns = store, places, values, columns
        self.values.setflags(write=False)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Sample:
        row = self.values[index]
        labels = {task: np.array(row[column], np.int64) for task, column in self._columns.items()}
        return Sample(self._store.array("image", self._places[index]), {ALL: row, **labels})


def _read(folders: Folders, side: int, name: str) -> Picture:
    return read_picture(folders.images, name, folders.partition.name, side)
