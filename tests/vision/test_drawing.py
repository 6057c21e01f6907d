"""The page that `mtlbench show` draws: places and sizes of its panels, whatever a drawer does."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mtlbench.contracts import Sample
from mtlbench.vision import drawing
from mtlbench.vision.drawing import draw_picture


def find_places(canvas: Figure) -> np.ndarray:
    """Left, bottom, width and height of all axes, in inches."""
    width, height = canvas.get_size_inches()
    return np.array([axes.get_position(original=True).bounds for axes in canvas.axes]) * [width, height, width, height]


def sample(height: int, width: int) -> Sample:
    return Sample(np.zeros((height, width, 3), np.uint8), {})


def paint(axes: Axes, number: int, one: Sample) -> None:
    axes.imshow(one.image)


def test_rows_follow_the_aspect_of_their_image_and_nothing_overlaps() -> None:
    def note(axes: Axes, number: int, one: Sample) -> None:
        axes.imshow(one.image)
        axes.text(1.02, 0.5, "beside it", transform=axes.transAxes)
        axes.text(0.0, -0.3, "below it", transform=axes.transAxes, va="top")

    canvas = draw_picture("title", [("a", paint), ("b", note), ("c", paint)], [sample(30, 40), sample(60, 40)])
    boxes = find_places(canvas).reshape(2, 3, 4)
    assert boxes[..., 2] == pytest.approx(drawing.PANEL)
    assert boxes[0, :, 3] == pytest.approx(drawing.PANEL * 0.75)
    assert boxes[1, :, 3] == pytest.approx(drawing.PANEL * 1.5)
    assert np.ptp(boxes[..., 0], axis=0) == pytest.approx(0) and np.ptp(boxes[..., 1], axis=1) == pytest.approx(0)
    rectangles = [axes.get_tightbbox() for axes in canvas.axes]
    assert all(box is not None for box in rectangles)
    whole = canvas.bbox
    for place, box in enumerate(rectangles):
        assert box is not None
        assert whole.x0 <= box.x0 and whole.y0 <= box.y0 and box.x1 <= whole.x1 and box.y1 <= whole.y1
        assert not any(box.overlaps(other) for other in rectangles[:place] if other is not None)
    (title,) = canvas.texts
    assert title.get_window_extent().y0 >= max(box.y1 for box in rectangles if box is not None)
    assert [axes.get_title() for axes in canvas.axes] == ["a", "b", "c", "", "", ""]
    assert not any(axes.get_xticks().size or axes.get_yticks().size for axes in canvas.axes)


def test_a_drawer_that_lengthens_its_axes_gets_them_longer_and_its_image_stays_in_line() -> None:
    def longer(axes: Axes, number: int, one: Sample) -> None:
        axes.imshow(one.image)
        axes.set_ylim(29.5 + (10 if number else 1e9), -0.5)

    canvas = draw_picture("title", [("a", paint), ("b", longer)], [sample(30, 40), sample(30, 40), sample(30, 40)])
    boxes = find_places(canvas).reshape(3, 2, 4)
    assert boxes[:, 0, 3] == pytest.approx(drawing.PANEL * 0.75)
    assert boxes[:, 1, 3] == pytest.approx([drawing.PANEL * 1.75, drawing.PANEL, drawing.PANEL])
    assert boxes[..., 2] == pytest.approx(drawing.PANEL)
    tops = boxes[..., 1] + boxes[..., 3]
    assert tops[:, 0] == pytest.approx(tops[:, 1])
    assert tops[0, 1] - tops[1, 1] >= drawing.PANEL * 1.75


def test_a_drawer_that_writes_far_outside_makes_no_endless_picture() -> None:
    def stray(axes: Axes, number: int, one: Sample) -> None:
        axes.imshow(one.image)
        axes.text(1e6, 1e6, "lost")
        axes.set_xlim(0, 40)
        axes.set_ylim(30, 0)

    assert max(draw_picture("t", [("a", stray)], [sample(30, 40)]).get_size_inches()) < 5 * drawing.PANEL
