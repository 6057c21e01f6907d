"""Results as a user of the package has them: the numbers of a folder, its tables as text, its figures as pictures."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mtlbench.analysis.selection import Selection
from mtlbench.contracts import Figure as Drawer
from mtlbench.errors import UserError
from mtlbench.plugins import create
from mtlbench.report.affinity_table import affinity_table
from mtlbench.report.front_table import front_table
from mtlbench.report.paper_tables import paper_table
from mtlbench.report.proxies_table import proxies_table
from mtlbench.report.render import render
from mtlbench.report.results_table import results_table
from mtlbench.report.table import Table
from mtlbench.store import results as stored
from mtlbench.store.columns import describe
from mtlbench.store.store import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OTHER_NAMES = {"table4": "alphas"}  # the paper's name of that figure
OWN_TABLES = {
    "front": front_table,
    "affinity": affinity_table,
    "proxies": proxies_table,
}  # besides those of all arms and of the paper
TableFormat = Literal["text", "csv", "markdown", "latex", "html"]


class Results(stored.Results):
    __doc__ = f"""What a results folder holds, read when it is first asked for; made by `mtlbench.load_results` and
    `mtlbench.run`.

    root: the folder. frame: one row a number (below). curves, alphas: frames of what happened during training.
    failures: trials that failed, and those that wait for one. problems: lines on files that could not be read.
    table(), figure(): what `mtlbench table` and `mtlbench plot` show.

    Columns of the frame:

{describe()}
    """

    def table(
        self,
        name: str = "",
        format: TableFormat = "text",
        *,
        paper: bool = False,
        pair: str | None = None,
        dataset: str | None = None,
        recipe: str | None = None,
    ) -> str:
        """A table, as `mtlbench table` prints it.

        name: "" = all arms of a study: means on test, changes against one-task with intervals, size and time; "1", "2",
        "3", "5" or "6" = that table of the paper; "libmtl" or "nash" = the metrics of these protocols; "front" = arms
        at several weightings of the losses, the Pareto front, hypervolumes; "affinity" = who helps whom in networks of
        two tasks, and groupings; "proxies" = what orders the architectures as test does. format: of the text. paper:
        add the published values to a table of the paper, or of a protocol, where they compare.
        pair, dataset, recipe: which results; None = those of the newest ones.
        Raises UserError where there are no such results, for another name, and for another format.
        """
        return render(make_table(self, name, paper, Selection(pair, dataset, recipe)), format)

    def figure(
        self,
        name: str,
        canvas: Figure | None = None,
        *,
        arms: Sequence[str] = (),
        paper: bool = False,
        pair: str | None = None,
        dataset: str | None = None,
        recipe: str | None = None,
    ) -> Figure:
        """A figure, as `mtlbench plot` draws it: a matplotlib Figure that a notebook shows and `savefig` writes.

        name: figure2, alphas, figure5, figure6, curves, cost ... (`mtlbench list figures`). canvas: an empty Figure to
        draw on, whose size is then set; None = a new one. arms: globs, of figures that show arms; () = the usual ones.
        paper, pair, dataset, recipe: as of `table`. To draw one panel on Axes of your own, see `mtlbench.figures`.
        Raises UserError where the results do not allow the figure.
        """
        from mtlbench.use.picture import Picture

        canvas = Picture() if canvas is None else canvas
        draw_figure(self, OTHER_NAMES.get(name, name), canvas, Selection(pair, dataset, recipe), arms, paper)
        return canvas


def load_results(root: str | Path = "results") -> Results:
    """What a results folder holds. root: the folder. Raises UserError where it is none, or of a newer format."""
    return Results(Store(Path(root)).root)


def make_table(results: stored.Results, name: str, paper: bool, selection: Selection) -> Table:
    """The table of that name ("" = all arms). Raises UserError, also where all that ended failed."""
    failed = [failure for failure in results.failures if failure["status"] == "failed"]
    if results.frame.empty and failed:
        first = failed[0]
        raise UserError(
            f"nothing is finished in {results.root} and {len(failed)} trials failed;"
            f" the first, {first['arm']} seed {first['seed']}: {first['reason']}"
        )
    if name in OWN_TABLES and not paper:
        return OWN_TABLES[name](results, selection)
    if name and name not in OWN_TABLES:
        return paper_table(name, results, selection, paper)
    if paper:
        raise UserError("--paper: published values stand beside a table of the paper; type for example table 5 --paper")
    return results_table(results.frame, selection, results.failures)


def draw_figure(
    results: stored.Results,
    name: str,
    canvas: Figure,
    selection: Selection,
    arms: Sequence[str] = (),
    paper: bool = False,
) -> str:
    """Draw a figure on an empty canvas; its caption. Raises UserError where the results do not allow it."""
    drawer: Drawer = create("figure", name)
    some = {"arms": arms} if arms else {}
    if arms and "arms" not in inspect.signature(drawer.data).parameters:
        raise UserError(f"{name} shows no arms to choose from; leave --arm out")
    data = drawer.data(results, selection=selection, paper=paper, **some)
    drawer.draw(data, canvas)
    return data.caption
