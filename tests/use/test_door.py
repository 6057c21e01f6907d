"""What `import mtlbench` offers: public names, the options of `run`, the columns of the frame, tables and figures."""

from __future__ import annotations

import inspect
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from matplotlib.figure import Figure

import mtlbench
from mtlbench import authoring
from mtlbench.analysis.selection import Selection
from mtlbench.cli.run import command
from mtlbench.errors import UserError
from mtlbench.execution import study
from mtlbench.execution.interrupts import SIGNALS, Interrupts
from mtlbench.plan.options import LossWeights, RunOptions, Start
from mtlbench.store.columns import FRAME, describe
from mtlbench.store.store import Store
from mtlbench.use import run as module
from tests.support.stores import TRIAL, finish

AUTHORING = """Arm Batch Count Geometry ImagePool Metric Pair Pass Recipe RegionPool Sample Score SearchSpace Seeded
SeededDropout Stage Survey UserError alternatives build_once cache_root cross_stitch ensemble every_split every_tree
like load_space
mtl_shared one_task one_task_longer read_text standard_arms"""


def test_public_names_are_these() -> None:
    """Another name here is a promise; one less breaks somebody's file (CONTRIBUTING.md, "Versions")."""
    assert mtlbench.__all__ == ["Benchmark", "Results", "__version__", "load_network", "load_results", "run"]
    assert authoring.__all__ == AUTHORING.split()
    for package in (mtlbench, authoring):
        assert all(hasattr(package, name) for name in package.__all__)
    with pytest.raises(AttributeError, match="'mtlbench' has no attribute 'runs'"):
        mtlbench.runs  # noqa: B018


def test_importing_mtlbench_imports_no_large_library() -> None:
    large = ("torch", "ray", "pandas", "matplotlib", "numpy")
    code = f"import sys, mtlbench; print([name for name in {large} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ------------------------------------------------------------------------------------------------ run
def test_run_has_the_options_of_the_command_line() -> None:
    from_python = dict(inspect.signature(mtlbench.run).parameters)
    of_command = {str(parameter.name) for parameter in command.params} - {"space", "dry_run"}
    assert from_python.keys() - {"quiet"} == of_command == set(RunOptions.__dataclass_fields__)
    for name, parameter in from_python.items():
        assert parameter.annotation is not parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
        assert f"\n    {name}: " in str(mtlbench.run.__doc__), name


def test_values_become_the_options_that_words_become(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[RunOptions] = []
    monkeypatch.setattr(module, "run_study", lambda options, quiet: asked.append(options))
    results = mtlbench.run(
        "det_attr",
        init={"": "imagenet", "cross-*": "scratch"},
        loss_weights={"detection": 2},
        arms="split-*",
        seeds=range(2),
        lr_grid=[0.3],
        results=tmp_path,
    )
    assert isinstance(results, mtlbench.Results) and results.root == tmp_path
    mtlbench.run("det_attr", loss_weights="equal", init="imagenet", results=str(tmp_path))
    first, second = asked
    assert first.init == (Start("imagenet"), Start("scratch", "cross-*")) and first.seeds == (0, 1)
    assert first.loss_weights == LossWeights(tasks={"detection": 2}) and first.arms == ("split-*",)
    assert second == RunOptions(
        "det_attr", init=(Start("imagenet"),), loss_weights=LossWeights(equal=True), results=tmp_path
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": [0, 0]}, "not a list of different seeds"),
        ({"seeds": [-1]}, "not a list of different seeds"),
        ({"seeds": []}, "not a list of different seeds"),
        ({"executor": "rey"}, "no executor called 'rey'. Did you mean 'ray'?"),
        ({"precision": "fp16"}, "no precision called 'fp16'"),
        ({"val_fraction": 0.95}, "val_fraction is 0.95, must be from 0 to 0.9"),
        ({"gpus_per_trial": 2}, "gpus_per_trial is 2, must be from 0 to 1.0"),
        ({"lr_grid": [0]}, "lr_grid: 0 is not a number above 0"),
        ({"loss_weight_grid": 1}, "loss_weight_grid is 1, must be 2 or more"),
        ({"loss_weight_grid": 3, "lr_grid": [1, 3]}, "leave one of them out"),
        ({"loss_weight_grid": 3, "loss_weights": "uncertainty"}, "leave one of them out"),
        ({"affinity": "split-fc8", "lr_grid": [1, 3]}, "affinity is that of arms at one rate; leave out lr_grid"),
        ({"affinity": "split-fc8"}, "--affinity is about three and more tasks"),
        ({"loss_weights": {"detection": 0}}, "loss_weights of detection: 0 is not a number above 0"),
        ({"init": "imagenett"}, "no start called 'imagenett'"),
        ({"pair": ""}, "say what to study"),
    ],
)
def test_a_wrong_value_is_one_line(options: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as error:
        mtlbench.run(**{"pair": "det_attr", "results": tmp_path / "results", **options})
    assert "\n" not in str(error.value) and not (tmp_path / "results").exists()


def test_a_run_in_a_notebook_gives_the_signals_back_and_never_ends_the_kernel() -> None:
    own = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has it ignored in the background
    before = {number: signal.getsignal(number) for number in SIGNALS}
    guest = Interrupts()
    guest.begin(is_guest=True)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert guest.asked and not [t for t in threading.enumerate() if isinstance(t, threading.Timer)]
    guest.end()
    assert {number: signal.getsignal(number) for number in SIGNALS} == before
    signal.signal(signal.SIGINT, own)


def test_a_run_in_a_thread_leaves_the_signals_alone() -> None:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    guest = Interrupts()
    thread = threading.Thread(target=guest.begin, args=(True,))
    thread.start()
    thread.join()
    assert {number: signal.getsignal(number) for number in SIGNALS} == before and not guest.asked


# ------------------------------------------------------------------------------------------------ results
def test_the_frame_has_the_columns_that_are_documented(store: Store) -> None:
    finish(store)
    frame = mtlbench.load_results(store.root).frame
    assert list(frame.columns) == [column.name for column in FRAME], "say in store/columns.py what a column means"
    kinds = {name: str(kind).replace("object", "str") for name, kind in frame.dtypes.items()}
    assert kinds == {column.name: column.dtype for column in FRAME}
    assert not frame.isna().to_numpy().any()
    for column in FRAME:
        assert column.meaning and f"\n{column.name} ({column.dtype}" in str(mtlbench.Results.__doc__)
    assert describe().count("\n") >= len(FRAME) - 1


def test_a_folder_is_read_and_shown_as_the_commands_show_it(store: Store) -> None:
    finish(store)
    results = mtlbench.load_results(str(store.root))
    assert results.root == store.root and len(results.frame)
    assert f"{TRIAL.pair} on {TRIAL.dataset.name}" in results.table().splitlines()[0]
    assert results.table(format="csv").startswith("arm,")
    with pytest.raises(UserError, match="no pair with results called 'nothing'"):
        results.table(pair="nothing")
    with pytest.raises(UserError, match="no table format called 'word'"):
        results.table(format="word")
    with pytest.raises(UserError, match="no figure called 'figur2'"):
        results.figure("figur2")
    with pytest.raises(UserError, match="shows no arms to choose from"):
        results.figure("figure5", arms=["split-*"])


def test_a_figure_is_drawn_on_the_canvas_that_is_given(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    class Drawer:
        caption = "what it shows"

        def data(self, results: object, **options: object) -> Drawer:
            drawn.append(options)
            return self

        def draw(self, data: object, canvas: Figure) -> None:
            canvas.text(0, 0, "drawn")

    monkeypatch.setattr("mtlbench.use.results.create", lambda kind, name: Drawer())
    canvas = Figure()
    assert mtlbench.load_results(store.root).figure("table4", canvas, pair="p", paper=True) is canvas
    assert [text.get_text() for text in canvas.texts] == ["drawn"]
    assert drawn == [{"paper": True, "selection": Selection("p")}]
    assert len(mtlbench.load_results(store.root).figure("figure2").texts) == 1


def test_a_study_is_planned_without_a_folder_when_nothing_is_to_be_written(tmp_path: Path) -> None:
    options = RunOptions("det_attr", recipe="smoke", seeds=(0,), arms=("split-fc8",), results=tmp_path / "none")
    planned = study.plan(options, lambda line: None, create=False)
    assert [trial.arm for trial in planned.missing] == ["split-fc8"] and not planned.done
    assert not (tmp_path / "none").exists()
