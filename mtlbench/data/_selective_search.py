"""Object proposals by selective search (Uijlings et al. 2013), from pixels alone, kept in one small file per image."""

from __future__ import annotations

import fcntl
import hashlib
import io
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
from PIL import Image

from mtlbench.errors import UserError

SMALLEST = 4  # pixels of the scaled image: narrower or lower boxes are dropped
NEAR_DUPLICATE = 0.8  # IoU above which a box goes behind all others
FEW = 4  # images that are not worth starting processes for
SECONDS_BETWEEN_LINES = 3.0


def digest(content: bytes) -> str:
    """The name of an image file's proposals: a hash of its bytes."""
    return hashlib.sha256(content).hexdigest()[:32]


def decode(content: bytes) -> np.ndarray:
    """An image file's pixels as `H W 3` uint8 RGB. Raises OSError where it is not an image."""
    return np.array(Image.open(io.BytesIO(content)).convert("RGB"))


def propose(image: np.ndarray, size: int, seed: int) -> np.ndarray:
    """All proposals of an RGB image `H W 3` as `P 4` float32 x1 y1 x2 y2, diverse ones first.

    The fast strategy runs on the image scaled down to longest side `size`. Its boxes are a function of the pixels, but
    OpenCV orders them with C rand(), so that the order is thrown away. Ours: boxes in an order drawn with `seed`;
    those that nearly repeat an earlier one come last.
    """
    import cv2

    height, width = image.shape[:2]
    scale = min(1.0, size / max(height, width))
    small_width, small_height = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(image[:, :, ::-1], (small_width, small_height), interpolation=cv2.INTER_AREA)
    search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()  # type: ignore[attr-defined]
    search.setBaseImage(small)
    search.switchToSelectiveSearchFast()
    found = np.asarray(search.process(), np.int64).reshape(-1, 4)
    found = np.unique(found, axis=0)
    found = found[(found[:, 2] >= SMALLEST) & (found[:, 3] >= SMALLEST)]
    if not len(found):  # an image of one colour
        found = np.array([[0, 0, small_width, small_height]])
    boxes = np.concatenate([found[:, :2], found[:, :2] + found[:, 2:]], axis=1)
    boxes = diverse_first(boxes[np.random.default_rng(seed).permutation(len(boxes))])
    return (boxes * np.tile([width / small_width, height / small_height], 2)).astype(np.float32)


def diverse_first(boxes: np.ndarray) -> np.ndarray:
    """The boxes `P 4` reordered: one that overlaps an earlier one by more than NEAR_DUPLICATE moves behind the rest."""
    repeats = np.zeros(len(boxes), bool)
    for index in range(len(boxes)):
        if not repeats[index]:
            repeats[index + 1 :] |= overlap(boxes[index : index + 1], boxes[index + 1 :])[0] > NEAR_DUPLICATE
    return np.concatenate([boxes[~repeats], boxes[repeats]])


def overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """IoU of each box in `N 4` with each in `M 4`: `N M`, continuous edges."""
    corner = np.maximum(first[:, None, :2], second[None, :, :2])
    inter = np.clip(np.minimum(first[:, None, 2:], second[None, :, 2:]) - corner, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
    return inter / (areas[0][:, None] + areas[1][None, :] - inter)


def load(folder: Path, key: str) -> np.ndarray | None:
    """The stored proposals `P 4` of the image with this digest, or None. Raises UserError where the file is damaged."""
    path = folder / f"{key}.npy"
    try:
        return np.load(path, allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} is damaged ({error}); delete it and run the same command again") from error


def prepare(images: list[Path], folder: Path, size: int, say: Callable[[str], None]) -> None:
    """Make the proposals of all these image files that `folder` lacks, one process per core; `say` takes progress.

    Safe under concurrent calls (the second waits, then finds the work done) and after a kill (it goes on).
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / "lock", "a")
    except OSError as error:
        raise UserError(f"cannot write to the cache {folder}: {error}; set MTLBENCH_CACHE=FOLDER") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel lets go when the process dies
        for left_over in folder.glob("*.tmp"):  # of processes that were killed: we hold the lock
            left_over.unlink()
        missing = [path for path in images if not (folder / f"{digest(path.read_bytes())}.npy").exists()]
        if len(missing) <= FEW:
            for path in missing:
                make(path, folder, size)
            return
        workers = min(cores(), len(missing))
        say(f"selective search: {len(missing)} images on {workers} processes")
        # not fork: the caller may hold threads (Ray's, torch's)
        pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=start_worker)
        try:
            jobs = [pool.submit(make, path, folder, size) for path in missing]
            started = spoken = time.monotonic()
            for done, job in enumerate(as_completed(jobs), start=1):
                job.result()
                now = time.monotonic()
                if now - spoken >= SECONDS_BETWEEN_LINES and done < len(jobs):
                    left = (now - started) / done * (len(jobs) - done)
                    say(f"selective search: {done} of {len(jobs)} images, about {left:.0f} s left")
                    spoken = now
        finally:
            pool.shutdown(cancel_futures=True)
        say(f"selective search: done in {time.monotonic() - started:.0f} s")


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start_worker() -> None:
    """Set up a worker process: one thread, and an end when the parent is killed (else it would wait for ever)."""
    import cv2

    cv2.setNumThreads(1)
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    """Wait for the parent process to end, then end this one."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def make(path: Path, folder: Path, size: int) -> None:
    """Write the proposals of one image file. Raises UserError where it is not an image."""
    content = path.read_bytes()
    key = digest(content)
    try:
        image = decode(content)
    except OSError as error:
        raise UserError(f"{path} is not a readable image; replace it by the original file") from error
    temporary = folder / f"{key}.{os.getpid()}.tmp"
    with open(temporary, "wb") as file:
        np.save(file, propose(image, size, seed=int(key, 16)), allow_pickle=False)
    os.replace(temporary, folder / f"{key}.npy")
