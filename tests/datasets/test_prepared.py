"""Prepared folders: whole or not there, sealed, opened without being read; work on single images, done once."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtlbench.datasets import _prepared
from mtlbench.datasets._prepared import Prepared, Writer, prepare, stamp_of
from mtlbench.errors import UserError
from mtlbench.system import machine
from mtlbench.system.parallel import make_missing

IMAGES = [np.arange(24, dtype=np.uint8).reshape(2, 4, 3), np.zeros((0, 4, 3), np.uint8), np.ones((1, 1, 3), np.uint8)]
BOXES = [np.array([[0, 0, 1.5, 2]], np.float32), np.zeros((0, 4), np.float32), np.ones((3, 4), np.float32)]


def build(writer: Writer) -> dict[str, Any]:
    """Two lists of arrays of different shapes, one of them with an empty array, and a list of empty arrays."""
    for image, boxes in zip(IMAGES, BOXES, strict=True):
        writer.add("image", image)
        writer.add("boxes", boxes)
        writer.add("nothing", np.zeros((0, 64), bool))
    return {"names": ["a", "b", "c"]}


def never(writer: Writer) -> dict[str, Any]:
    raise AssertionError("built again")


def same(found: Prepared) -> bool:
    return all(
        np.array_equal(found.array(name, index), array) and found.array(name, index).dtype == array.dtype  # type: ignore[attr-defined]
        for name, arrays in (("image", IMAGES), ("boxes", BOXES))
        for index, array in enumerate(arrays)
    )


def test_lists_come_back_with_their_shapes(tmp_path: Path) -> None:
    found = prepare(tmp_path / "cache" / "one", "stamp", build)
    assert same(found) and found.length("image") == 3 and found.about == {"names": ["a", "b", "c"]}
    assert found.array("nothing", 2).shape == (0, 64) and found.array("nothing", 2).dtype == bool
    assert found.bytes == sum(path.stat().st_size for path in found.folder.iterdir())
    assert (found.folder / "image.bin").stat().st_size == 24 + 0 + 3
    with pytest.raises(IndexError):
        found.array("image", 3)


def test_arrays_are_read_only_views(tmp_path: Path) -> None:
    image = prepare(tmp_path / "one", "stamp", build).array("image", 0)
    assert type(image) is np.ndarray and not image.flags.writeable and not image.flags.owndata


def test_it_is_built_once_for_each_stamp(tmp_path: Path) -> None:
    prepare(tmp_path / "one", "stamp", build)
    assert same(prepare(tmp_path / "one", "stamp", never))
    with pytest.raises(AssertionError, match="built again"):
        prepare(tmp_path / "one", "other stamp", never)
    assert same(prepare(tmp_path / "one", "stamp", never))  # a build that fails takes nothing away


def test_arrays_of_an_older_opening_stay_as_they_were(tmp_path: Path) -> None:
    old = prepare(tmp_path / "one", "stamp", build)

    def other(writer: Writer) -> dict[str, Any]:
        writer.add("image", IMAGES[0] + 1)
        return {}

    new = prepare(tmp_path / "one", "new stamp", other)
    assert same(old) and (new.array("image", 0) == IMAGES[0] + 1).all()


def test_a_flipped_byte_is_named(tmp_path: Path) -> None:
    found = prepare(tmp_path / "one", "stamp", build)
    assert found.find_damaged() == []
    path = found.folder / "boxes.bin"
    content = bytearray(path.read_bytes())
    content[5] ^= 1
    path.write_bytes(content)
    assert Prepared(found.folder).find_damaged() == [path]
    (found.folder / "nothing.bin").unlink()
    assert sorted(found.find_damaged()) == [path, found.folder / "nothing.bin"]


@pytest.mark.parametrize("name", ["image.bin", "about.json", "nothing.bin"])
def test_a_truncated_or_missing_file_is_made_anew(tmp_path: Path, name: str) -> None:
    path = prepare(tmp_path / "one", "stamp", build).folder / name
    if path.stat().st_size:
        path.write_bytes(path.read_bytes()[:-1])
    else:
        path.unlink()
    assert same(prepare(tmp_path / "one", "stamp", build)) and Prepared(tmp_path / "one").find_damaged() == []


@pytest.mark.parametrize("text", ["[]", "{}", "3", '{"format": 1, "stamp": "stamp"}', '{"lists": [1]}'])
def test_a_wrong_about_is_made_anew(tmp_path: Path, text: str) -> None:
    (prepare(tmp_path / "one", "stamp", build).folder / "about.json").write_text(text)
    assert same(prepare(tmp_path / "one", "stamp", build))


def test_another_format_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = prepare(tmp_path / "one", "stamp", build).folder
    monkeypatch.setattr(_prepared, "FORMAT", _prepared.FORMAT + 1)
    prepare(folder, "stamp", build)
    assert json.loads((folder / "about.json").read_text())["format"] == _prepared.FORMAT


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def half(writer: Writer) -> dict[str, Any]:
        writer.add("image", IMAGES[0])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path / "cache" / "one", "stamp", half)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".one.lock"]
    assert same(prepare(tmp_path / "cache" / "one", "stamp", build))


def test_a_list_has_one_kind_of_numbers(tmp_path: Path) -> None:
    def mixed(writer: Writer) -> dict[str, Any]:
        writer.add("image", IMAGES[0])
        writer.add("image", BOXES[0])
        return {}

    with pytest.raises(TypeError, match="image"):
        prepare(tmp_path / "one", "stamp", mixed)


def _open(folder: Path, queue: Any) -> None:
    def slowly(writer: Writer) -> dict[str, Any]:
        (folder.parent / f"built by {os.getpid()}").touch()
        time.sleep(0.3)
        return build(writer)

    queue.put(same(prepare(folder, "stamp", slowly)))


def test_processes_that_come_together_build_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    processes = [context.Process(target=_open, args=(tmp_path / "one", queue)) for _ in range(3)]
    for process in processes:
        process.start()
    assert [queue.get(timeout=30) for _ in processes] == [True] * 3
    for process in processes:
        process.join()
    queue.close()
    queue.join_thread()
    assert len(list(tmp_path.glob("built by *"))) == 1


def test_threads_that_come_together_build_once(tmp_path: Path) -> None:
    built: list[int] = []

    def slowly(writer: Writer) -> dict[str, Any]:
        built.append(1)
        time.sleep(0.1)
        return build(writer)

    found: list[bool] = []
    threads = [
        threading.Thread(target=lambda: found.append(same(prepare(tmp_path / "one", "stamp", slowly))))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 4 and len(built) == 1


def test_a_disk_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"^cannot write to the cache .*No space left .* MTLBENCH_CACHE=FOLDER$"):
        prepare(tmp_path / "one", "stamp", build)
    monkeypatch.undo()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="MTLBENCH_CACHE"):
        prepare(tmp_path / "file" / "one", "stamp", build)


# ---------------------------------------------------------------------------------------------------- stamps
def test_a_stamp_follows_sizes_times_names_and_options(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a", "b")]
    for path in paths:
        path.write_text("text")

    def stamp(*more: object) -> str:
        return stamp_of(tmp_path, paths, *more)

    first, seen = stamp(), set[str]()
    assert stamp() == first == stamp_of(tmp_path, reversed(paths))
    time_of_a = paths[0].stat().st_mtime_ns
    changes: list[Callable[[], object]] = [
        lambda: os.utime(paths[0], ns=(0, time_of_a + 1)),
        lambda: paths[1].write_text("longer"),
        paths[1].unlink,
    ]
    for change in changes:
        change()
        seen.add(stamp())
    assert len(seen | {first, stamp(1), stamp("1"), stamp_of(tmp_path / "else", paths)}) == 7


def test_a_stamp_reads_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # reading it would wait for ever
    assert stamp_of(tmp_path, [tmp_path / "pipe"])


# ---------------------------------------------------------------------------------------------------- one file an image
def double(number: int, target: Path) -> None:
    """What a worker process makes; a module's function, as it is pickled."""
    if number < 0:
        raise UserError(f"{number} is negative")
    target.write_text(str(2 * number))


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.name != "lock"}


def test_only_what_is_missing_is_made(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("kept")
    (tmp_path / "c.77.tmp").write_text("of a process that was killed")
    make_missing({"a": 1, "b": 2}, tmp_path, double, "doubling", lambda text: None)
    assert contents(tmp_path) == {"a": "2", "b": "kept"}


def test_processes_make_many_and_say_so(tmp_path: Path) -> None:
    said: list[str] = []
    todo = {f"{number}": number for number in range(9)}
    make_missing(todo, tmp_path / "new", double, "doubling", said.append)
    assert contents(tmp_path / "new") == {f"{number}": f"{2 * number}" for number in range(9)}
    workers = min(9, machine.cores())
    assert said[0] == f"doubling: 9 images on {workers} processes" and said[-1].startswith("doubling: done in")
    said.clear()
    make_missing(todo, tmp_path / "new", double, "doubling", said.append)
    assert not said  # nothing to do


def test_the_error_of_a_worker_reaches_the_user_and_the_rest_is_kept(tmp_path: Path) -> None:
    todo = {f"{number}": number for number in range(5)} | {"wrong": -3}
    with pytest.raises(UserError, match="-3 is negative"):
        make_missing(todo, tmp_path, double, "doubling", lambda text: None)
    assert "wrong" not in contents(tmp_path)
    make_missing({name: abs(number) for name, number in todo.items()}, tmp_path, double, "doubling", lambda text: None)
    assert contents(tmp_path) == {**{f"{number}": f"{2 * number}" for number in range(5)}, "wrong": "6"}


def test_a_half_written_file_is_never_under_its_name(tmp_path: Path) -> None:
    def half(number: int, target: Path) -> None:
        target.write_text("ha")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_missing({"a": 1}, tmp_path, half, "doubling", lambda text: None)
    assert not (tmp_path / "a").exists()
    make_missing({"a": 1}, tmp_path, double, "doubling", lambda text: None)
    assert contents(tmp_path) == {"a": "2"}


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="MTLBENCH_CACHE=FOLDER"):
        make_missing({"a": 1}, tmp_path / "file" / "new", double, "doubling", lambda text: None)
