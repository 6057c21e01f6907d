"""Files that people hand in: text of any encoding, pictures under any ending, and pointers that stand for a file."""

from __future__ import annotations

import codecs
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from mtlbench.errors import UserError

PICTURES = (".jpg", ".jpeg", ".png")  # endings under which the pictures of a data set are looked for, in any case
MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}  # the longer ones first
POINTERS = {  # how the content of a small file begins that stands for a large one: what it is, and what brings the file
    b"version https://git-lfs": "a Git LFS pointer, not the file; type git lfs pull in its repository",
    b"/annex/objects/": "a git-annex pointer, not the file; type git annex get in its repository",
}
ANNEX = ".git/annex/objects"  # where a link of git-annex leads whose content is not there


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, with or without a byte-order mark.

    Raises OSError where it cannot be read, UserError for a pointer of git and for text of another encoding.
    """
    if pointer := pointer_at(path):
        raise UserError(f"{path} is {pointer}")
    content = path.read_bytes()
    if pointer := pointer_in(content):
        raise UserError(f"{path} is {pointer}")
    other = next((name for mark, name in MARKS.items() if content.startswith(mark)), "")
    if not other and b"\0" in content:
        other = "UTF-16 or binary"
    if other:
        raise UserError(f"{path} is in {other}; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}:{line}: byte {content[error.start]:#04x} is not UTF-8 (Latin-1, say); save the file as UTF-8"
        ) from error


def pointer_in(content: bytes) -> str:
    """What the content of a file is where it only stands for the file; else empty."""
    return next((what for begin, what in POINTERS.items() if content.startswith(begin)), "")


def pointer_at(path: Path) -> str:
    """What a path is where git-annex has the content of its file elsewhere; else empty."""
    if path.is_symlink() and not path.exists() and ANNEX in Path(os.readlink(path)).as_posix():
        return POINTERS[b"/annex/objects/"].replace("pointer", "link")
    return ""


def find_picture(folder: Path, stem: str, endings: Sequence[str] = PICTURES) -> Path:
    """The picture `stem` in a folder, under one of the endings, in whatever case; where there is none, the path that it
    should have: with the first ending."""
    usual = folder / f"{stem}{endings[0]}"
    if usual.exists():
        return usual
    names = [name for name in find_alike(folder, stem) if os.path.splitext(name)[1].lower() in endings]
    same = [name for name in names if os.path.splitext(name)[0] == stem]
    return folder / (same or names)[0] if names else usual


def find_alike(folder: Path, stem: str) -> tuple[str, ...]:
    """The names of files in a folder that differ from `stem` in their ending and in case alone."""
    try:
        return _names_in(folder, folder.stat().st_mtime_ns).get(stem.lower(), ())
    except OSError:
        return ()


@lru_cache(maxsize=16)
def _names_in(folder: Path, changed: int) -> dict[str, tuple[str, ...]]:
    """{name without ending, in small letters: names} of a folder that was `changed` at that time."""
    found: dict[str, tuple[str, ...]] = {}
    for name in sorted(os.listdir(folder)):
        stem = os.path.splitext(name)[0].lower()
        found[stem] = (*found.get(stem, ()), name)
    return found


def spell_out(text: str) -> str:
    """Text in which what cannot be seen, such as a zero-width space, is spelt out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
