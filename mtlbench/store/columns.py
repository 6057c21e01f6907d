"""The columns of `Results.frame`, said once: their names in order, their dtypes, units and meanings."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import NamedTuple


class Column(NamedTuple):
    """A column: `dtype` as pandas writes it ("str", "int64", "float64", "bool"), `unit` "" where it has none."""

    name: str
    dtype: str
    unit: str
    meaning: str


FRAME = (
    Column("pair", "str", "", "name of the pair of tasks that were trained together, for example det_attr"),
    Column("dataset", "str", "", "name of the data set; of a user's file the class"),
    Column("backbone", "str", "", "the backbone with its options, for example caffenet(small=True,width=0.25)"),
    Column("recipe", "str", "", "name of the recipe: how the network was trained"),
    Column("arm", "str", "", "name of the competitor; a network that was asked for under two names has rows of both"),
    Column("scheme", "str", "", "the scheme of the arm, without its options; of a user's file the class"),
    Column(
        "method",
        "str",
        "",
        'the weighting of the tasks that the arm is trained with (upgrad, rlw ...); "" for the plain sum of the losses,'
        " weighed as the recipe and column weighting say",
    ),
    Column(
        "family",
        "str",
        "",
        "what the arm is: baseline, longer, wide, ensemble, split, tree, shared, cross-stitch, other, own (a user's),"
        " parent (trained for others to start from, never shown)",
    ),
    Column("variant_of", "str", "", 'the arm that this one ablates or varies; "" for none'),
    Column("rate", "float64", "", "times the recipe's learning rate, where arms are tuned or trained at several"),
    Column("weighting", "str", "", 'times the weights of losses, likewise: "detection 0.4, attributes 1.6"'),
    Column("tuned", "int64", "", "of how many settings (rate, weighting) this one was best on val; 0 for none"),
    Column(
        "purpose",
        "str",
        "",
        '"" for what is compared; "rates" or "weightings" for an arm at another rate or weighting, "affinity" for'
        ' one of two of the tasks alone, "tuning" for a setting that was tried out',
    ),
    Column("seed", "int64", "", "seed of initialisation and of the order of batches; changes are paired by it"),
    Column("key", "str", "", "of the trial: twelve hexadecimal digits, a hash of all that can change its numbers"),
    Column("task", "str", "", 'the task that the value is of; "" for costs of a network of several tasks'),
    Column("subset", "str", "", '"val" or "test"; "chance": constant guesses on test; "cost": sizes and times'),
    Column("metric", "str", "", "name of the metric (mAP, mIU, mean ...), or of the cost (parameters, flops, seconds)"),
    Column("headline", "bool", "", "whether the metric is the one that figures and changes are about"),
    Column("category", "str", "", 'class or attribute that the value is of; "" for the task as a whole'),
    Column("value", "float64", "as in unit", "the number"),
    Column("unit", "str", "", 'of the value: "%", "deg", "count", "s"; "" for sizes'),
    Column("higher_is_better", "bool", "", "whether a larger value is a better one; False for costs"),
    Column("finished", "str", "", "when the trial ended: UTC, ISO 8601 with milliseconds, so that text sorts by time"),
    Column(
        "setting",
        "str",
        "",
        "hash of the data, the backbone and the whole recipe: only rows that share it may be compared",
    ),
    Column(
        "roots",
        "str",
        "",
        "keys of the trials without parents that this one descends from, parted by spaces: trials that share one move"
        " together",
    ),
)


def describe(columns: Sequence[Column] = FRAME, width: int = 100) -> str:
    """The columns as plain text, one paragraph each: name, dtype and unit, then the meaning."""
    paragraphs = []
    for column in columns:
        head = ", ".join(part for part in (column.dtype, column.unit and f"unit: {column.unit}") if part)
        text = f"{column.name} ({head}): {column.meaning}"
        paragraphs.append(textwrap.fill(text, width, subsequent_indent="    "))
    return "\n".join(paragraphs)
