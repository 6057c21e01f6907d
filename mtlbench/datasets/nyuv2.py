"""NYU Depth v2 with 40 classes, surface normals and depth, from the official files or from folders of images."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mtlbench.contracts import Count, Sample, Survey
from mtlbench.datasets import _nyu_files as files
from mtlbench.datasets import _nyu_normals as surfaces
from mtlbench.datasets._nyu_classes import CLASSES
from mtlbench.datasets._nyu_files import IGNORED, LABELLED, LISTS, Content, Folders, Frame, Official
from mtlbench.datasets._nyu_survey import DepthSurvey, LabelSurvey, wrong_camera
from mtlbench.datasets._prepared import Prepared, Writer, prepare, stamp_of
from mtlbench.datasets._problems import Problem, lines_of
from mtlbench.errors import UserError
from mtlbench.system.cache import cache_root
from mtlbench.system.images import open_image
from mtlbench.system.machine import cores
from mtlbench.system.parallel import make_missing, read_ahead

FLOOR = CLASSES.index("floor")
PUBLISHED = {"train": 795, "test": 654}  # frames
STORED = "left-up-towards"  # axes of samples, of normals from depth and of what is prepared
CHECKED_FRAMES = 12  # the first frames tell of the axes
SURVEYED_FRAMES = 60  # about so many, evenly spaced, tell of labels and depth
NORMALS_OF = 3  # frames: normals take a second or two each
FURTHEST = 65.0  # metres that fit into 16 bits of millimetres
AT_ONCE = 4  # frames in memory per processor core


class Nyuv2:
    """NYU-v2 for the tasks `semseg`, `normals` and, with the option `depth`, `depth` (form `fcn`).

    From nyu_depth_v2_labeled.mat, splits.mat and classMapping40.mat as they are published, or from folders
    `{image,seg40}/{train,test}/NNNNN.*` with `normal/` or `depth/` (uint16 millimetres) and train.txt and test.txt that
    list the frames; normals come from the depth where there are no files of them. `val` is carved out of train, about
    `val_fraction` of its frames (ours; 0 trains on all): whole runs of consecutive official train frames, lowest hashes
    first, since neighbours show one room. `axes` says what red, green and blue of the normal files mean, three of
    left/right, up/down and towards/in (the camera, the scene); samples have x left, y up, z towards the camera.
    Known sources: `left-up-towards` (most), `right-in-up` (multi-task-refinenet). `broken` says what becomes of
    frames with missing or broken files: `refuse` stops, `leave-out` goes on without them. `depth` reads depth as
    labels, too: metres in whole millimetres, 0 outside the depth camera's picture, where the in-painting made it
    up. It is an option so that the data of studies without that task stay as they are. Raises UserError for missing
    or wrong files and options.
    """

    version = 2
    tasks: tuple[str, ...] = ("semseg", "normals")

    def __init__(
        self,
        root: str | Path | None = None,
        val_fraction: float = 0.1,
        axes: str = STORED,
        broken: str = "refuse",
        depth: bool = False,
    ) -> None:
        if not 0 <= val_fraction < 1:
            raise UserError(f"nyuv2: val_fraction is {val_fraction}; give a number from 0 to below 1")
        if axes not in surfaces.list_conventions():
            raise UserError(
                f"nyuv2: no axes {axes!r}; say what red, green and blue point to, one each of "
                "left or right, up or down, towards or in, such as left-up-towards or right-in-up"
            )
        if broken not in ("refuse", "leave-out"):
            raise UserError(f"nyuv2: broken is {broken!r}; give refuse or leave-out")
        if root is None:
            raise UserError(f"nyuv2 needs its files: --data-root DIR, with {LABELLED} or image, seg40, normal in DIR")
        self._root, self.val_fraction, self.broken = Path(root).expanduser().resolve(), val_fraction, broken
        self._files = layout(self._root, depth)
        self.tasks = (*self.tasks, "depth") if depth else self.tasks
        self.axes = STORED if self._files.derived else axes
        self._prepared: Prepared | None = None

    # ------------------------------------------------------------------------------------------------ contract
    def prepare(self, say: Callable[[str], None]) -> None:
        """Look at all files and pack them for the memory map, unless that is done; derive normals where needed."""
        frames = [Frame(name, number) for name, numbers in self._files.lists()[0].items() for number in numbers]
        stamp = stamp_of(self._root, self._files.paths(frames), self.version, self._files, self.axes, surfaces.VERSION)
        ready = prepare(self._folder, stamp, lambda writer: self._build(writer, say))
        self._refuse([Problem(*problem) for problem in ready.about["problems"]])
        for name in LISTS:
            if not any(one["official"] == name for one in ready.about["frames"]):
                raise UserError(f"nyuv2: no whole frame of {name} is left in {self._root}; copy its files there")
        if left_out := ready.about["listed"] - len(ready.about["frames"]):
            say(f"nyuv2: {left_out} of {ready.about['listed']} frames are left out; {self._verify_lists_them}")
        self._prepared = ready
        self.__dict__.pop("_rows", None)

    def verify(self, say: Callable[[str], None]) -> Survey:
        """Look at every file and, where there is a prepared folder, at that."""
        look = Look(self, say)
        whole = [found.frame for found in look]
        with contextlib.suppress(OSError, ValueError, KeyError):  # such a folder is made anew
            look.problems += [
                Problem(f"{path}: not what was written; delete {self._folder}")
                for path in Prepared(self._folder).find_damaged()
            ]
        train = [frame.number for frame in whole if frame.official == "train"]
        val = carve(look.lists["train"], look.official_train, self.val_fraction)
        counts = [Count("frames", len(whole), files.FRAMES)]
        counts += [Count(f"official {n} frames", sum(f.official == n for f in whole), PUBLISHED[n]) for n in LISTS]
        counts += [Count("val frames, carved from train", len(val & set(train)))]
        counts += [Count("classes", int((look.pixels > 0).sum()), len(CLASSES))]
        counts += [Count("labelled pixels (%)", look.share("labelled"))]
        counts += [] if self._files.derived else [Count("valid normals (%)", look.share("valid"))]
        counts += [Count("measured depth (%)", look.share("measured"))] if self._files.reads_depth else []
        if look.views:
            valid = [
                surfaces.find_valid(surfaces.encode(surfaces.normals_from_depth(d, *view))).mean()
                for d, view in look.views
            ]
            what = f"valid normals that the depth gives (%, of {len(valid)} frames)"
            counts += [Count(what, round(100 * float(np.mean(valid))))]
        return Survey(tuple(counts), lines_of(look.problems))

    def fingerprint(self) -> str:
        """Hash of options, subsets and what the frames' files hold."""
        about = self._ready.about
        what = (self.version, self.axes, about["normals"], self.categories("semseg"), *self.tasks[2:])
        seen = hashlib.sha256(repr(what).encode())
        for name, rows in self._rows.items():
            seen.update(
                repr((name, [(*_frame(about["frames"][i]), about["frames"][i]["seen"]) for i in rows])).encode()
            )
        return seen.hexdigest()[:16]

    def subset(self, name: str) -> Nyuv2Subset:
        """`train`, `val` or `test`."""
        return Nyuv2Subset(self._ready, self._rows[name], self._files.with_depth)

    def categories(self, task: str) -> tuple[str, ...]:
        """The 40 classes (from classMapping40.mat where it is present); none for `normals` and `depth`."""
        return self._class_names if task == "semseg" else ()

    def counts(self, task: str) -> tuple[int, ...]:
        """Labelled pixels of each class in `train`; none for `normals` and `depth`."""
        if task != "semseg":
            return ()
        total = np.zeros(len(CLASSES), np.int64)
        for row in self._rows["train"]:
            total += self._ready.array("pixels", row)
        return tuple(int(count) for count in total)

    # ------------------------------------------------------------------------------------------------ preparing
    def _build(self, writer: Writer, say: Callable[[str], None]) -> dict[str, Any]:
        """Pack all whole frames. Raises UserError where something is broken and not to be left out."""
        look, whole, names, todo = Look(self, say), [], [], {}
        for found in look:
            assert found.image is not None and found.classes is not None  # it is whole
            writer.add("image", found.image)
            writer.add("semseg", found.classes)
            writer.add("pixels", look.last_pixels)
            if self._files.with_depth:
                assert found.depth is not None
                writer.add("depth", np.rint(1000 * found.depth.clip(0, FURTHEST)).astype(np.uint16))
            if found.normal is not None:
                writer.add("normal", surfaces.turn_codes(found.normal, self.axes))
            elif found.depth is not None:
                view = files.read_camera(self._root, *found.depth.shape)
                content = hashlib.sha256(found.depth.tobytes()).hexdigest()
                names.append(f"{_digest(found.depth.shape, content, view, surfaces.VERSION)}.png")
                todo[names[-1]] = (self._files, found.frame, view)
            whole.append({**found.frame._asdict(), "seen": found.seen.hexdigest()})
        self._refuse(look.problems)
        if todo:
            folder = cache_root() / "nyuv2-normals"
            make_missing(todo, folder, _write_normals, "nyuv2: normals from depth", say)
            for name in names:
                with open_image((folder / name).read_bytes()) as image:
                    writer.add("normal", np.array(image))
        how = (
            repr((surfaces.VERSION, files.read_camera(self._root, files.HEIGHT, files.WIDTH)))
            if self._files.derived
            else "given"
        )
        return {
            "frames": whole,
            "listed": look.listed,
            "problems": look.problems,
            "lists": look.lists,
            "official_train": sorted(look.official_train),
            "normals": how,
        }

    def _refuse(self, problems: Sequence[Problem]) -> None:
        """Raise UserError with the first problem unless the frames with problems can and may be left out."""
        fatal = [problem for problem in problems if problem.image is None]
        if fatal or (problems and self.broken == "refuse"):
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            on = "" if fatal else "; --data-option broken=leave-out goes on without those frames"
            raise UserError(f"{(fatal or problems)[0].text}{more}; {self._verify_lists_them}{on}")

    @property
    def _verify_lists_them(self) -> str:
        return f"mtlbench data verify nyuv2 --data-root {self._root} lists them"

    @property
    def _folder(self) -> Path:
        return cache_root() / "nyuv2" / _digest(str(self._root), self.axes, *self.tasks[2:])[:16]

    @property
    def _ready(self) -> Prepared:
        if self._prepared is None:
            self.prepare(lambda line: None)
        assert self._prepared is not None
        return self._prepared

    @cached_property
    def _rows(self) -> dict[str, list[int]]:
        """Which prepared frames each subset has, in the order of the lists."""
        about = self._ready.about
        frames = [_frame(one) for one in about["frames"]]
        val = carve(about["lists"]["train"], set(about["official_train"]), self.val_fraction)
        rows = {"train": list[int](), "val": list[int](), "test": list[int]()}
        for row, (official, number) in enumerate(frames):
            rows["val" if official == "train" and number in val else official].append(row)
        return rows

    @cached_property
    def _class_names(self) -> tuple[str, ...]:
        return files.class_names(self._root) or CLASSES


class Nyuv2Subset:
    """The samples of one subset, from the memory map; images and classes are read-only."""

    def __init__(self, ready: Prepared, rows: list[int], with_depth: bool) -> None:
        self._ready, self._rows, self._with_depth = ready, rows, with_depth

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        row = self._rows[index]
        image, classes, codes = (self._ready.array(name, row) for name in ("image", "semseg", "normal"))
        labels = {"semseg": classes, "normals": surfaces.decode(codes)}
        if self._with_depth:
            labels["depth"] = self._ready.array("depth", row).astype(np.float32) / np.float32(1000)
        return Sample(image=image, labels=labels)


class Look:
    """One pass over all files: iterating gives the content of whole frames, and leaves what is wrong in `problems`."""

    def __init__(self, data: Nyuv2, say: Callable[[str], None]) -> None:
        self._data, self._files, self._say = data, data._files, say
        self.problems = self._files.problems()
        self.lists, lines = self._files.lists()
        self.problems += lines
        self.listed = len(set(itertools.chain(*self.lists.values())))
        official: dict[str, set[int]] = {}
        with contextlib.suppress(UserError):  # it is among the problems
            official = files.read_splits(data._root)
        self.official_train = official.get("train", set(self.lists["train"]))
        both = set(self.lists["train"]) & set(self.lists["test"])
        self.problems += [
            Problem(
                f"{data._root}: frame {number:05d} is in both the train and the test list; delete one line",
                f"{number:05d}",
                "frames are in both the train and the test list; delete one line of each",
                f"{number:05d}",
            )
            for number in sorted(both)
        ]
        self._frames = []
        for name, numbers in self.lists.items():
            for number in numbers:
                if official and number not in official[name] and number not in both:
                    where = data._root / f"{name}.txt"
                    text = f"{where}: frame {number:05d} is not an official {name} frame; delete its line"
                    kind = f"frames of {where.name} are no official {name} frames; delete their lines"
                    self.problems.append(Problem(text, f"{number:05d}", kind, f"{number:05d}"))
                elif number not in both:
                    self._frames.append(Frame(name, number))
        self.pixels = np.zeros(len(CLASSES), np.int64)
        self.last_pixels = self.pixels  # of the frame that came last
        self._sums = {"labelled": 0, "valid": 0, "measured": 0, "all": 0}
        self._labels, self._depths = LabelSurvey(), DepthSurvey()
        self._sampled = max(1, len(self._frames) // SURVEYED_FRAMES)  # every so many frames is surveyed
        self.views: list[tuple[np.ndarray, files.Camera]] = []  # depths whose normals tell how many will be valid

    def __iter__(self) -> Iterator[Content]:
        evidence: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        for number, found in enumerate(self._read()):
            self.problems += found.problems
            if found.problems:
                continue
            assert found.classes is not None
            self.last_pixels = np.bincount(found.classes.ravel(), minlength=IGNORED + 1)[: len(CLASSES)]
            self.pixels += self.last_pixels
            if number % self._sampled == 0:
                self._survey(found)
            if found.normal is not None:
                valid = surfaces.find_valid(found.normal)
                if len(evidence) < CHECKED_FRAMES:
                    evidence.append(surfaces.evidence_of_axes(found.normal, found.classes == FLOOR))
                self._sums["valid"] += int(valid.sum())
            if found.depth is not None:
                self._sums["measured"] += int((found.depth > 0).sum())
            self._sums["labelled"] += int(self.last_pixels.sum())
            self._sums["all"] += found.classes.size
            yield found
        wrong = [*self._wrong_conventions()]
        if evidence and not wrong:  # floors tell of the axes, where they are floors
            wrong = surfaces.wrong_axes(evidence, self._data.axes)
        self.problems += map(Problem, wrong)

    def _survey(self, found: Content) -> None:
        """Take what a frame says of conventions."""
        assert found.classes is not None
        self._labels.add(found.classes, found.largest_label)
        if found.depth is not None:
            self._depths.add(found.depth)
            if found.normal is None and len(self.views) < NORMALS_OF:
                self.views.append((found.depth, files.read_camera(self._data._root, *found.depth.shape)))

    def _wrong_conventions(self) -> Iterator[str]:
        """A line each for labels, depth and camera that are in another convention."""
        of_images = isinstance(self._files, Folders)
        if wrong := self._labels.wrong():
            yield f"{self._data._root / ('seg40' if of_images else LABELLED)}: {wrong}"
        if wrong := self._depths.wrong(of_images):
            yield f"{self._data._root / ('depth' if of_images else LABELLED)}: {wrong}"
        for depth, view in self.views[:1]:
            if wrong := wrong_camera(view.centre, *depth.shape):
                yield f"{self._data._root / files.INTRINSICS} {wrong}"

    def share(self, what: str) -> int:
        """Percent of all pixels that are `labelled`, have a `valid` normal or a `measured` depth."""
        return round(100 * self._sums[what] / max(self._sums["all"], 1))

    def _read(self) -> Iterator[Content]:
        """All frames in order, read ahead by threads."""
        text = "nyuv2: {} of {} frames looked at"
        return read_ahead(self._frames, self._content, text, self._say, AT_ONCE * cores())

    def _content(self, frame: Frame) -> Content:
        found = self._files.content(frame)
        if self._files.derived and found.depth is not None and not found.problems:
            view = files.read_camera(self._data._root, *found.depth.shape)
            if not surfaces.has_normals(found.depth, *view):
                where = f"{self._data._root}: {frame.official} frame {frame.number:05d}"
                what = "no plane fits {} depth anywhere; replace {} by the original"
                found.add(where, f": {what.format('its', 'it')}", f"frames: {what.format('their', 'them')}")
        return found


def layout(root: Path, with_depth: bool = False) -> Folders | Official:
    """Which files there are. Raises UserError where it is neither layout, and for depth labels without depth."""
    given = (root / "normal").is_dir()
    if (root / LABELLED).is_file():
        return Official(root, not given, with_depth)
    for name in ("train.txt", "test.txt", "image", "seg40"):
        if not (root / name).exists():
            raise UserError(f"nyuv2: no {root / name} and no {LABELLED}; give --data-root the folder that holds either")
    if not given and not (root / "depth").is_dir():
        raise UserError(
            f"nyuv2: no normals, looked for {root / 'normal'}/{{train,test}}/NNNNN.png and for depth/ to derive "
            "them from; give --data-root a folder that has either"
        )
    if with_depth and not (root / "depth").is_dir():
        raise UserError(
            f"nyuv2: no {root / 'depth'}, and depth=True asks for it; copy it there or take depth=True away"
        )
    return Folders(root, not given, with_depth)


def _write_normals(job: tuple[Folders | Official, Frame, files.Camera], path: Path) -> None:
    source, frame, view = job
    with open(path, "wb") as file:
        Image.fromarray(surfaces.encode(surfaces.normals_from_depth(source.depth(frame), *view))).save(
            file, format="PNG"
        )


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _frame(one: dict[str, Any]) -> Frame:
    return Frame(one["official"], one["number"])


def carve(train: list[int], official: set[int], fraction: float) -> set[int]:
    """The train frames that become val: runs of consecutive `official` frames, as many as fit into the fraction."""
    runs: dict[int, list[int]] = {}
    for frame in sorted(train):
        first = frame
        while first - 1 in official:
            first -= 1
        runs.setdefault(first, []).append(frame)
    wanted, val = round(fraction * len(train)), set[int]()
    for first in sorted(runs, key=lambda first: hashlib.sha256(f"{first:05d}".encode()).digest()):
        if len(val) + len(runs[first]) <= wanted:
            val.update(runs[first])
    return val
