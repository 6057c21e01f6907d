"""What was run: data, arms, seeds, machines, the recipe's fields."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from typing import Any

from mtlbench._version import __version__
from mtlbench.analysis.arms import without_parents
from mtlbench.analysis.comparison import Case
from mtlbench.arm_names import arm_order
from mtlbench.report.commands import seeds_of
from mtlbench.text import list_in_words


def facts_of(case: Case) -> list[tuple[str, str]]:
    """(term, what it was) of the run; several values are all listed."""

    def distinct(value: Callable[[Mapping[str, Any]], Any]) -> str:
        return "; ".join(dict.fromkeys(text for trial in case.trials if (text := str(value(trial)))))

    arms = arm_order(without_parents(case.frame)["arm"].unique())
    aliases = [f"{arm} = {case.names[arm]}" for arm in arms if case.names.get(arm, arm) != arm]
    arms = [arm for arm in arms if case.names.get(arm, arm) == arm]
    finished = sorted(str(trial["finished"])[:16].replace("T", " ") for trial in case.trials)
    hours = sum(float(trial["seconds"]) for trial in case.trials) / 3600
    facts = [
        ("Pair", f"{case.pair}: {list_in_words([task for task in case.scopes if task])}"),
        ("Data set", distinct(lambda trial: trial["dataset"])),
        ("Fingerprint of the data", distinct(lambda trial: trial["fingerprint"])),
        ("Folder of the data", distinct(lambda trial: trial["data_root"])),
        ("Backbone", distinct(lambda trial: trial["backbone"])),
        ("Recipe", case.pick["recipe"]),
        ("Seeds", ", ".join(seeds_of(case))),
        (f"Arms ({len(arms)})", ", ".join(map(case.kinds.label, arms))),
        ("Other names of these", ", ".join(aliases)),
        ("Trials", f"{len(case.trials)}, {hours:.1f} hours of training and evaluation" if case.trials else ""),
        ("Finished", f"{finished[0]} to {finished[-1]} UTC" if finished else ""),
        ("Trained with", distinct(lambda trial: _machine(trial["environment"]))),
        ("Reported with", f"mtlbench {__version__}, Python {platform.python_version()}"),
    ]
    return [(term, what) for term, what in facts if what]


def _machine(environment: Mapping[str, Any]) -> str:
    python, torch, *rest = (str(environment.get(name, "?")) for name in ("python", "torch", "device", "processor"))
    return f"Python {python}, torch {torch}, on {' of '.join(rest)}"


def fields_of(case: Case) -> list[tuple[str, str]]:
    """The recipe's fields; where arms or tasks differ, every value."""
    fields: dict[str, dict[str, None]] = {}
    for trial in case.trials:
        for name, value in trial["recipe"].items():
            fields.setdefault(name, {})[str(value)] = None
    return [(name, " or ".join(values)) for name, values in sorted(fields.items())]
