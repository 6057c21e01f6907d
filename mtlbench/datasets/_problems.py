"""What is wrong with the files of a data set, as lines: many of one kind are one line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mtlbench.errors import UserError
from mtlbench.system.given import spell_out

BROKEN = ("refuse", "leave-out")  # of an option: what happens where images are wrong
MANY = 5  # of one kind that are one line
EXAMPLES = 3  # of them that the line names


class Problem(NamedTuple):
    """One thing that is wrong, as a line that says where, what, and what to do.

    `image` is the name of the one image that suffers, None where leaving out images does not help. `kind` says the same
    of many, as a plural (`images are missing; copy them there`), `where` names this one among them.
    """

    text: str
    image: str | None = None
    kind: str = ""
    where: str = ""


def lines_of(problems: Iterable[Problem]) -> tuple[str, ...]:
    """A line a problem, or a kind of which there are MANY, where the first of them stands; what cannot be seen is
    spelt out."""
    kinds: dict[str, list[Problem]] = {}
    for problem in dict.fromkeys(problems):
        kinds.setdefault(problem.kind or problem.text, []).append(problem)
    lines: list[str] = []
    for kind, some in kinds.items():
        if len(some) < MANY:
            lines += [problem.text for problem in some]
        else:
            examples = ", ".join(problem.where for problem in some[:EXAMPLES])
            lines.append(f"{len(some)} {kind}: {examples} and {len(some) - EXAMPLES} more")
    return tuple(map(spell_out, lines))


def refuse(problems: Sequence[Problem], broken: str, command: str) -> None:
    """Raises UserError for the first problem, or the first that leaving images out does not solve; with `broken`
    "leave-out" for these alone. `command`, where there is one, lists them all."""
    whole = [problem for problem in problems if problem.image is None]
    if not problems or (broken == "leave-out" and not whole):
        return
    first = (whole or problems)[0].text
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    way_on = "" if whole else "; --data-option broken=leave-out goes on without those images"
    listed = f"; `{command}` lists them" if command else ""
    raise UserError(f"{first}{more}{listed}{way_on}")
