"""Figure 6: change in IoU of cross-stitch over one-task per segmentation class, from few labels to many."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mtlbench.analysis.categories import CLASSES
from mtlbench.analysis.selection import NEWEST, Selection
from mtlbench.contracts import Results
from mtlbench.figures._starved import StarvedData, draw_starved, gather_data

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


class Figure6:
    """Section 6.3, Figure 6, paired by seed, with the mean gain of the 10 and 20 least-labelled and its interval."""

    def data(
        self,
        results: Results,
        selection: Selection = NEWEST,
        paper: bool = False,
    ) -> StarvedData:
        """Everything that is drawn. Raises UserError without cross-stitch, one-task or label counts."""
        return gather_data(CLASSES, results, selection, paper)

    def draw(self, data: StarvedData, canvas: Canvas) -> None:
        """Draws on an empty canvas, whose size is set to fit the number of categories."""
        draw_starved(data, canvas)
