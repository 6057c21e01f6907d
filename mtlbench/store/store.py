"""The results store: one folder a trial, plain files, and a status that is derived from them.

<root>/format.json                     the store's format
<root>/<pair>/<dataset>/               .lock (held by the run that works there), .running.json (how far it is)
<root>/<pair>/<dataset>/<key>/         trial.json, curve.csv, alphas.csv, conflicts.csv, predictions.npz, weights.pt,
                                       resume.pt, failure.json, error.txt (its traceback), result.json (renamed in
                                       last: its presence is what "done" means)
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from mtlbench.errors import UserError
from mtlbench.spec import FORMAT, Trial
from mtlbench.store.board import Board, lock
from mtlbench.store.folders import check_trial, names_in, own_name, read_trial, write_names, write_trial
from mtlbench.store.sealing import Damaged, find_lost, read_failure, read_result, write_failure
from mtlbench.store.shapes import Failure, Result, Stamp
from mtlbench.store.sources import keep_sources
from mtlbench.system.files import blame_disk, claim, is_regular, write
from mtlbench.system.schema import Misshapen, decode, encode


class Store:
    """A results folder. Raises UserError where it cannot be used or was written in a newer format."""

    def __init__(self, root: Path, create: bool = False) -> None:
        self.root = root.expanduser().resolve()
        stamp = self.root / "format.json"
        try:
            if create and not stamp.exists():
                self.root.mkdir(parents=True, exist_ok=True)
                write(stamp, encode(Stamp(FORMAT)))
            found = decode(stamp.read_text(), Stamp).format if stamp.exists() else FORMAT
            if create and not os.access(self.root, os.W_OK):
                raise UserError(f"{self.root} cannot be written; use another folder with --results")
            if create and found < FORMAT:
                write(stamp, encode(Stamp(FORMAT)))
        except OSError as error:
            raise UserError(f"{self.root} cannot be used as a results folder: {error.strerror}") from error
        except (UnicodeDecodeError, Misshapen) as error:
            raise UserError(f"{stamp} is damaged; remove it, or use another folder with --results") from error
        if found > FORMAT:
            raise UserError(
                f"{self.root} was written in format {found}, this mtlbench reads up to {FORMAT}: upgrade mtlbench"
            )

    @contextlib.contextmanager
    def open(self, pair: str, dataset: str) -> Iterator[Board]:
        """One run at a time works on a pair and a data set. Raises UserError while another one does; a dead run holds
        nothing. Raises StoreBroken."""
        folder = self._group(pair, dataset)
        with blame_disk(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with lock(folder) as file:
            board = Board(folder)
            with blame_disk(folder):
                file.truncate(0)
                file.write(encode(board.run).encode())
            try:
                yield board
            finally:
                board.path.unlink(missing_ok=True)

    def _group(self, pair: str, dataset: str) -> Path:
        folder = self.root / pair / dataset
        for part in (folder.parent, folder):
            if part.is_symlink():
                raise UserError(f"{part} is a symbolic link; to have results elsewhere, use --results")
        return folder

    def folder(self, trial: Trial) -> Path:
        """Where a trial's files are. Raises UserError where a link would lead elsewhere."""
        return self._group(trial.pair, trial.dataset.name) / trial.key

    def result(self, trial: Trial) -> Result | None:
        """The finished result, or None where there is none that can be read. Raises UserError for a newer one."""
        try:
            return read_result(self.folder(trial) / "result.json")
        except Damaged:
            return None

    def failure(self, trial: Trial) -> Failure | None:
        """Why its last attempt failed, or None where it did not or that cannot be read."""
        try:
            return read_failure(self.folder(trial))
        except UserError:
            return None

    def done(self, trial: Trial) -> bool:
        """Whether the trial is finished, readable and has the files that its children need, in their sizes, and its
        weights where it is to keep them."""
        result = self.result(trial)
        if result is None or (trial.keep_weights and "weights.pt" not in result.files):
            return False
        return not find_lost(self.folder(trial), result)

    def plan(self, trials: Iterable[Trial]) -> None:
        """Note the trials that will run, for `mtlbench status` and tables. Raises StoreBroken, and UserError for names
        that may not be."""
        for trial in trials:
            try:
                check_trial(trial)
            except ValueError as error:
                raise UserError(
                    f"{trial.pair!r}, {trial.arm!r}, {trial.recipe_name!r}: names of pairs, arms and recipes begin with"
                    " a letter or number and have no quotes, slashes or letters that a shell reads; change the name"
                ) from error
            folder = self.folder(trial)
            try:
                read_trial(folder)
            except Damaged:
                with blame_disk(folder):
                    claim(folder).mkdir(parents=True, exist_ok=True)
                    _write_trial(folder, trial)

    def begin(self, trial: Trial, again: bool = False) -> Path:
        """A clean folder for the trial, with trial.json; of what an earlier attempt left its names stay, and the file
        that it goes on from, unless it finished or is trained `again`. Raises StoreBroken."""
        folder = self.folder(trial)
        with blame_disk(folder):
            claim(folder).mkdir(parents=True, exist_ok=True)
            keep = {"names.json"} | (set() if again or (folder / "result.json").exists() else {"resume.pt"})
            for left_over in sorted(folder.iterdir(), key=lambda path: path.name != "result.json"):  # "done" goes first
                if left_over.is_dir() and not left_over.is_symlink():
                    shutil.rmtree(left_over)
                elif left_over.name not in keep or not is_regular(left_over):
                    left_over.unlink()
            _write_trial(folder, trial)
        return folder

    def name(self, trial: Trial) -> None:
        """Note the trial's arm, seed and recipe beside a finished result that was trained under another name.

        Raises StoreBroken."""
        folder = self.folder(trial)
        with blame_disk(folder):
            try:
                first = read_trial(folder)
            except Damaged:  # the result says that this is the trial
                _write_trial(folder, trial)
                first = trial
            try:
                known = names_in(folder, first)
            except Damaged:
                known = []
            asked = own_name(trial)
            if asked not in known:
                write_names(folder, trial, [*known, asked])

    def fail(self, trial: Trial, failure: Failure, traceback: str = "") -> None:
        """Keep why a trial failed; where that cannot be written, the failure itself is what has to be seen."""
        with contextlib.suppress(OSError):
            write_failure(self.folder(trial), trial.key, failure, traceback)


def _write_trial(folder: Path, trial: Trial) -> None:
    write_trial(folder, trial)
    keep_sources(trial, folder)
