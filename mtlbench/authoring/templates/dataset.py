"""Images with label maps: a folder `images/`, and a folder of maps with the same file names for each kind of label."""

import hashlib
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import distance_transform_edt

from mtlbench.authoring import Count, Sample, Survey, UserError, build_once, cache_root, read_text

CLASSES: tuple[str, ...] = ()  # names of the classes 0, 1, 2, ... of semseg/; left empty they are called so
SHARES = {"val": 0.15, "test": 0.15}  # of the images, where there are no lists train.txt, val.txt, test.txt


# One function a task turns a file into a label map, as tall and wide as the image.
def classes(path: Path) -> np.ndarray:
    """`H W` uint8: the number of the class at each pixel of a PNG, 255 = not labelled."""
    found = np.array(Image.open(path))
    if found.ndim != 2 or found.max(initial=0) > 255:
        raise UserError("not one number from 0 to 255 a pixel; save class numbers as a grey or palette PNG")
    highest = int(found[found != 255].max(initial=0))
    if CLASSES and highest >= len(CLASSES):
        raise UserError(f"class {highest}, but CLASSES has {len(CLASSES)} names: 0 to {len(CLASSES) - 1}")
    return found.astype(np.uint8)


def directions(path: Path) -> np.ndarray:
    """`H W 3` float32: the unit normal at each pixel, 0 0 0 = none; from an .npy, or a PNG of 127.5 + 127.5 x.

    x left or right, y up, z towards the camera.
    """
    if path.suffix == ".npy":
        found = np.load(path).astype(np.float32)
    else:
        codes = np.array(Image.open(path).convert("RGB"))
        found = np.where((codes == 127).all(axis=2, keepdims=True), 0, codes / np.float32(127.5) - 1)
    if found.ndim != 3 or found.shape[2] != 3:
        raise UserError(f"has the shape {found.shape}; normals are H W 3")
    length = np.sqrt((found * found).sum(axis=2, keepdims=True))
    return np.divide(found, length, where=length > 0, out=np.zeros_like(found))


def numbers(path: Path) -> np.ndarray:
    """`H W` float32: a number at each pixel, 0 = not measured; from an .npy or a grey PNG (8 or 16 bits)."""
    found = np.load(path) if path.suffix == ".npy" else np.array(Image.open(path))
    if found.ndim != 2:
        raise UserError(f"has the shape {found.shape}; give one number a pixel")
    return np.nan_to_num(found, posinf=0, neginf=0).astype(np.float32)


def metres(path: Path) -> np.ndarray:
    """`H W` float32: depth in metres, 0 = not measured; from an .npy in metres or a PNG in millimetres."""
    return numbers(path) if path.suffix == ".npy" else numbers(path) / np.float32(1000)


def distances(path: Path) -> np.ndarray:
    """`H W` float32: pixels to the nearest border between classes, 1 to 30: a second label, made of the first."""
    found = classes(path)
    border = np.zeros(found.shape, bool)
    border[1:] |= found[1:] != found[:-1]
    border[:, 1:] |= found[:, 1:] != found[:, :-1]
    far = distance_transform_edt(~border) + 1 if border.any() else np.full(found.shape, 30.0)
    return np.where(found == 255, 0, far.clip(max=30)).astype(np.float32)


# task: (its folder, how a file of it is read); those whose folder is there are the tasks of the data.
LABELS = {
    "semseg": ("semseg", classes),
    "normals": ("normals", directions),
    "depth": ("depth", metres),
    "height": ("height", numbers),
    "border": ("semseg", distances),
}


class Template:
    """The images of a folder; `root` is what --data-root names."""

    version = 1  # raise it when you change what comes out

    def __init__(self, root: Path | None = None) -> None:
        if root is None or not (Path(root) / "images").is_dir():
            raise UserError(f"--data-root is {root}; it must be the folder that images/ is in")
        self.root = Path(root)
        self.tasks = tuple(task for task, (folder, _) in LABELS.items() if (self.root / folder).is_dir())
        if not self.tasks:
            raise UserError(f"{root} has images, but no folder {', '.join(sorted({f for f, _ in LABELS.values()}))}")
        # folder: name without ending: file
        self.files = {
            folder: {path.stem: path for path in sorted((self.root / folder).glob("[!.]*.*"))}
            for folder in ("images", *(LABELS[task][0] for task in self.tasks))
        }
        self.names = self._subsets()

    def _subsets(self) -> dict[str, list[str]]:
        """Names of the images of each subset. Frames of one film or room belong into one subset: then write lists."""
        lists = {name: self.root / f"{name}.txt" for name in ("train", "val", "test")}
        if all(path.is_file() for path in lists.values()):
            return {
                name: [Path(line).stem for line in read_text(path).splitlines() if line.strip()]
                for name, path in lists.items()
            }
        # As good as random, and the same on every machine.
        shuffled = sorted(self.files["images"], key=lambda name: hashlib.sha256(name.encode()).hexdigest())
        if len(shuffled) < 3:
            raise UserError(f"{self.root / 'images'} has {len(shuffled)} images; train, val and test need one each")
        val, test = (max(1, round(share * len(shuffled))) for share in SHARES.values())
        return {"val": shuffled[:val], "test": shuffled[val : val + test], "train": shuffled[val + test :]}

    def subset(self, name: str) -> "TemplateSubset":
        """`train`, `val` or `test`."""
        return TemplateSubset(self, self.names[name])

    def sample(self, name: str) -> Sample:
        """An image with the label maps that it has: one may be missing."""
        if name not in self.files["images"]:
            raise UserError(f"{self.root / 'images'} has no image called {name}")
        image = np.array(Image.open(self.files["images"][name]).convert("RGB"))
        labels = {}
        for task in self.tasks:
            folder, read = LABELS[task]
            if path := self.files[folder].get(name):
                try:
                    labels[task] = read(path)
                except (UserError, OSError, ValueError) as error:
                    raise UserError(f"{path}: {error}") from error
                if labels[task].shape[:2] != image.shape[:2]:
                    raise UserError(f"{path} is {labels[task].shape[:2]}, its image {image.shape[:2]} (rows, columns)")
        return Sample(image, labels)

    @cached_property
    def _fingerprint(self) -> str:
        """Hash of the subsets and of all files."""
        seen = hashlib.sha256(repr((self.version, CLASSES, self.tasks, sorted(self.names.items()))).encode())
        for name, path in sorted((f"{f}/{n}", p) for f, found in self.files.items() for n, p in found.items()):
            seen.update(name.encode() + hashlib.sha256(path.read_bytes()).digest())
        return seen.hexdigest()[:16]

    def fingerprint(self) -> str:
        """The same as long as nothing changes."""
        return self._fingerprint

    def prepare(self, say) -> None:
        """Count the pixels of the classes of all images once, for all processes that follow."""
        build_once(cache_root() / "template" / self.fingerprint(), lambda folder: self._count(folder, say))

    def _count(self, folder: Path, say) -> None:
        say("template: counting the pixels of the classes")
        for name, stems in self.names.items():
            total = np.zeros(256, np.int64)
            for stem in stems:
                if "semseg" in self.tasks and stem in self.files["semseg"]:
                    total += np.bincount(classes(self.files["semseg"][stem]).ravel(), minlength=256)
            np.save(folder / f"{name}.npy", total[:255])

    def _count_categories(self, name: str) -> np.ndarray:
        self.prepare(lambda line: None)
        return np.load(cache_root() / "template" / self.fingerprint() / f"{name}.npy")

    def categories(self, task: str) -> tuple[str, ...]:
        """Names of the classes."""
        if task != "semseg":
            return ()
        found = np.flatnonzero(sum(self._count_categories(name) for name in self.names))
        return CLASSES or tuple(f"class {number}" for number in range(int(found.max(initial=0)) + 1))

    def counts(self, task: str) -> tuple[int, ...]:
        """Pixels of each class in train."""
        return tuple(int(count) for count in self._count_categories("train")[: len(self.categories(task))])

    def verify(self, say) -> Survey:
        """Read every file, and list what is wrong."""
        problems = []
        for name in sorted({name for names in self.names.values() for name in names}):
            try:
                self.sample(name)
            except (UserError, OSError) as error:
                problems.append(str(error))
        for found in self.files.values():
            problems += [f"{found[name]} has no image of that name" for name in found.keys() - self.files["images"]]
        counts = [Count(f"{name} images", len(names)) for name, names in self.names.items()]
        counts += [Count(f"images with {task}", len(self.files[LABELS[task][0]])) for task in self.tasks]
        return Survey(tuple(counts), tuple(sorted(problems)))


class TemplateSubset:
    """The samples of train, val or test."""

    def __init__(self, data: Template, names: list[str]) -> None:
        self.data, self.names = data, names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        return self.data.sample(self.names[index])
