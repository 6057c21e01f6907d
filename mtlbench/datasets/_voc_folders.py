"""Where the official files of PASCAL VOC 2008 and of aPascal (Farhadi et al. 2009) are, and the lists in them."""

from __future__ import annotations

from pathlib import Path

from mtlbench.datasets._problems import Problem
from mtlbench.errors import UserError
from mtlbench.system.given import PICTURES, find_picture, read_text

ATTRIBUTES = 64
OFFICIAL = {"train": "train", "val": "test"}  # VOC's lists: aPascal's file of the same images
COPY = "give --data-root the folder of a complete copy"


class Folders:
    """Where the official files are below `root`. Raises UserError where it is no copy of VOC 2008 with aPascal."""

    def __init__(self, root: Path) -> None:
        beside = [root / "attribute_data"] + ([root.parent / "attribute_data"] if root.name == "VOCdevkit" else [])
        self.root = root
        self.voc = _first([root / "VOCdevkit" / "VOC2008", root / "VOC2008"], "ImageSets/Main")
        self.attribute_data = _first(beside, ".")
        self.attribute_names = self.attribute_data / "attribute_names.txt"
        self.images, self.annotations = self.voc / "JPEGImages", self.voc / "Annotations"

    def list_file(self, official: str) -> Path:
        """VOC's list `train` or `val`."""
        return self.voc / "ImageSets" / "Main" / f"{official}.txt"

    def lines(self, official: str) -> Path:
        """The attribute lines of the images in one of VOC's lists."""
        return self.attribute_data / f"apascal_{OFFICIAL[official]}.txt"

    def image(self, name: str) -> Path:
        """The file of an image, under whatever ending it is there."""
        return find_picture(self.images, name)

    def xml(self, name: str) -> Path:
        """VOC's annotations of an image."""
        return self.annotations / f"{name}.xml"

    def all_files(self) -> list[Path]:
        """Every file that samples are made from, whether it is there or not."""
        problems: list[Problem] = []
        names = [name for official in OFFICIAL for name in read_list(self.list_file(official), problems)]
        xml = map(self.xml, names) if self.annotations.is_dir() else ()
        return [
            self.attribute_names,
            *map(self.list_file, OFFICIAL),
            *map(self.lines, OFFICIAL),
            *map(self.image, names),
            *xml,
        ]


def read_list(path: Path, problems: list[Problem]) -> list[str]:
    """The image names of a list, one a line, each once."""
    rows = text_in(path, problems).splitlines()
    names = list(dict.fromkeys(row.split()[0] for row in rows if row.strip()))
    files = [name for name in names if Path(name).suffix.lower() in PICTURES]
    if files:
        problems.append(
            Problem(
                f"{path}: {files[0]!r} is the name of a file, as on {len(files)} of {len(names)} lines; write names "
                f"as {Path(files[0]).stem}"
            )
        )
    wrong = [name for name in names if Path(name).name != name and name not in files]
    for name in wrong:
        kind = f"lines of {path.name} are no names of images; correct or delete them"
        text = f"{path}: {name!r} is no name of an image; correct or delete the line"
        problems.append(Problem(text, None, kind, repr(name)))
    unfit = {*files, *wrong}
    return [name for name in names if name not in unfit]


def read_attribute_names(path: Path, problems: list[Problem]) -> tuple[str, ...]:
    """The 64 names, one a line, spaces and slashes included; empty where they are not sound."""
    before = len(problems)
    names = tuple(line.strip() for line in text_in(path, problems).splitlines() if line.strip())
    if len(problems) > before:
        return ()
    if len(names) != ATTRIBUTES:
        wrong = f"{len(names)} names, must be {ATTRIBUTES}, one a line"
    elif len(set(names)) != ATTRIBUTES:
        wrong = f"{max(names, key=names.count)!r} is there twice"
    else:
        return names
    problems.append(Problem(f"{path}: {wrong}; take the original file"))
    return ()


def text_in(path: Path, problems: list[Problem]) -> str:
    try:
        text = read_text(path)
        if not text.strip():
            problems.append(Problem(f"{path} is empty; {COPY}"))
        return text
    except UserError as error:
        problems.append(Problem(str(error)))
    except FileNotFoundError:
        problems.append(Problem(f"{path} is missing; {COPY}"))
    except OSError as error:
        problems.append(Problem(f"{path} cannot be read ({error.strerror}); {COPY}"))
    return ""


def _first(folders: list[Path], inside: str) -> Path:
    for folder in folders:
        if (folder / inside).exists():
            return folder
    looked = " nor ".join(str(folder / inside) for folder in folders)
    raise UserError(f"voc2008: no {looked}; give --data-root the folder that holds VOCdevkit and attribute_data")
