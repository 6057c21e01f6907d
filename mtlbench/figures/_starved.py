"""What Figures 5 and 6 share: what is drawn of `analysis.categories`, and the caption."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from mtlbench.analysis.categories import ARM, CategoryGains, Question, category_gains, read_published_gains
from mtlbench.analysis.frame import FEWEST_SEEDS, list_records, whole_task
from mtlbench.analysis.selection import Selection
from mtlbench.arm_names import BASELINE
from mtlbench.contracts import Results
from mtlbench.figures import _style as style
from mtlbench.figures._gains import draw_category_gains, draw_group_gains, mark_least_labelled, write_amount
from mtlbench.figures._panels import LINE, add_panel, draw_caption, draw_title, seeds_text, wrap

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


@dataclass(frozen=True)
class Layout:
    """Sizes in inches."""

    least_width: float = 6.8
    category: float = 0.105
    left: float = 0.62
    right: float = 0.62
    header: float = 0.46
    bars: float = 1.95
    gap: float = 0.08
    title: float = 0.27
    group: float = 0.175
    group_names: float = 1.3
    group_numbers: float = 1.35
    letter: float = 0.05  # of a category's name


INCHES = Layout()


@dataclass(frozen=True, eq=False)
class StarvedData:
    """bars, groups, seeds, correlation, left_out: as `CategoryGains` has them. published: group, value (empty unless
    asked for and comparable). `place` is the task's in its pair.
    """

    question: Question
    place: int
    bars: pd.DataFrame
    groups: pd.DataFrame
    seeds: pd.DataFrame
    correlation: pd.DataFrame
    left_out: pd.DataFrame
    published: pd.DataFrame
    caption: str


def gather_data(
    question: Question,
    results: Results,
    selection: Selection,
    paper: bool,
) -> StarvedData:
    """Everything that is drawn. Raises UserError where an arm, the task or the counts are missing."""
    gains = category_gains(question, results, selection)
    nothing = pd.DataFrame(columns=["group", "value"])
    overlay, remark = read_published_gains(question, gains.frame, results) if paper else (nothing, "")
    tasks = list(dict.fromkeys(whole_task(gains.frame, "test")["task"]))
    return StarvedData(
        question=question,
        place=tasks.index(question.task) if question.task in tasks else 0,
        bars=gains.bars,
        groups=gains.groups,
        seeds=gains.seeds,
        correlation=gains.correlation,
        left_out=gains.left_out,
        published=overlay[overlay["group"].isin(gains.groups["group"])],
        caption=" ".join(filter(None, [*_write_caption(question, gains), gains.failed, remark])),
    )


def _write_caption(question: Question, gains: CategoryGains) -> list[str]:
    """What was compared, what the groups gained, what bars, whiskers and line mean, and what is missing."""
    gained = "; ".join(
        f"{row['group']} {write_amount(row)}" for row in list_records(gains.groups) if row["end"] != "most"
    )
    parts = [
        f"Change in {question.metric} of {ARM} over {BASELINE} with the same seed per category of {question.task} on"
        f" test, in points; {seeds_text(gains.seeds['seed'])}. Categories from few to many labels in train (line:"
        f" {question.labelled}).",
        gains.note,
        f"Mean change: {gained}.",
    ]
    if gains.correlation["mean"].notna().item():
        each = ", mean over seeds" if gains.seeds["seed"].nunique() > 1 else ""
        rank = write_amount(list_records(gains.correlation)[0], 2)
        parts.append(f"Spearman's correlation of change and label count{each}: {rank}.")
    if gains.bars["low"].notna().any():
        parts.append(
            f"Whiskers and brackets: 95 % t intervals over seeds, not corrected for {len(gains.bars)} categories."
        )
    else:
        parts.append(f"No intervals below {FEWEST_SEEDS} seeds.")
    if len(gains.left_out):
        reasons = [f"{reason}: {', '.join(names)}" for reason, names in gains.left_out.groupby("reason")["category"]]
        parts.append(f"Not shown ({'; '.join(reasons)}).")
    return parts


def draw_starved(data: StarvedData, canvas: Canvas) -> None:
    """Draws on an empty canvas, whose size is set to fit the number of categories."""
    with style.theme():
        _draw(data, canvas)


def _draw(data: StarvedData, canvas: Canvas) -> None:
    """(a) the categories, (b) the groups below them."""
    bars, groups, question = data.bars, data.groups, data.question
    width = max(INCHES.least_width, INCHES.left + INCHES.right + INCHES.category * len(bars))
    step = (width - INCHES.left - INCHES.right) / len(bars)
    longest = INCHES.letter * int(bars["category"].str.len().max())
    turned = longest > step
    names = 0.08 + (longest if turned else LINE)
    lines = wrap(data.caption, width)
    tall_groups = INCHES.group * (len(groups) + 0.6)
    top = INCHES.header + INCHES.bars + names + INCHES.gap + INCHES.title
    canvas.set_size_inches(width, top + tall_groups + 0.42 + LINE * len(lines) + 0.1)
    colour = style.task_colour(data.place)
    panel = add_panel(canvas, INCHES.left, INCHES.header, width - INCHES.left - INCHES.right, INCHES.bars)
    draw_category_gains(panel, bars, colour, question.labelled)
    if not turned:
        panel.tick_params(axis="x", labelrotation=0)
    mark_least_labelled(panel, groups.loc[groups["end"] == "least", "size"].tolist(), step)
    wide = width - INCHES.group_names - INCHES.group_numbers
    draw_group_gains(
        add_panel(canvas, INCHES.group_names, top, wide, tall_groups), groups, data.seeds, colour, data.published
    )
    mean = f"mean change of groups ({question.metric} points)"
    if data.correlation["mean"].notna().item():
        mean += f"; rank correlation with label count {write_amount(list_records(data.correlation)[0], 2)}"
    whole = f"{question.task}: {question.metric}, {ARM} against {BASELINE} by category"
    for letter, y, title in (("(a)", 0.16, whole), ("(b)", top - 0.1, mean)):
        draw_title(canvas, letter, y, bold=True)
        draw_title(canvas, title, y, left=0.32)
    draw_caption(canvas, lines)
