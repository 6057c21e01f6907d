"""The card beside an exported network: what it is, what it was trained on, what it reaches, how it is used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mtlbench._version import __version__
from mtlbench.store.lookup import Finished
from mtlbench.store.sealing import read_result
from mtlbench.store.shapes import Result
from mtlbench.system.files import write
from mtlbench.text import list_in_words, shorten, strip_control


def write_card(file: Path, found: Sequence[Finished]) -> Path:
    """Write FILE's card as Markdown beside it (winner.pt: winner.md), in place of an older one; its path. `found`: the
    trials whose networks the file holds. Raises UserError where a result cannot be read, OSError."""
    path = file.with_suffix(".md")
    write(path, strip_control(make_card(file.name, found)))
    return path


def make_card(name: str, found: Sequence[Finished]) -> str:
    """The card as Markdown, with a YAML head as model hubs read it."""
    results = [read_result(one.folder / "result.json") for one in found]
    trial = found[0].trial
    tasks = [task for one in found for task in one.trial.task_names]
    parameters = sum(result.cost.get("parameters", 0.0) for result in results)
    start = (
        "a file of weights" if trial.weights_file else "trained networks of the study" if trial.parents else "scratch"
    )
    return f"""---
library_name: mtlbench
tags: [multi-task-learning]
---
# {trial.arm}: {list_in_words(tasks)}

A network of the study `{trial.pair}` of mtlbench {__version__}: arm `{trial.arm}`, seed {trial.seed}, backbone
`{trial.backbone.label}`, {shorten(parameters)} parameters.

- Data: `{trial.dataset.label}` (fingerprint {trial.fingerprint}).
- Recipe: `{trial.recipe_name}`, {trial.iterations} iterations.
- Starts from: {start}. Trials: {", ".join(one.folder.name for one in found)}.
- Licence: that of the data and of the weights it starts from; the code of mtlbench is under the MIT licence.

## Scores

{_table(results)}

Scores of one seed; a study's other seeds, and changes against one-task with intervals: `mtlbench table`.

## Use

```python
import mtlbench

network = mtlbench.load_network({name!r})
```

Without mtlbench: plain tensors (entry `state`), with what they need: `input` (channels, mean, std, sides), `model`.
"""


def _table(results: Sequence[Result]) -> str:
    """Metrics of whole tasks on val and test."""
    rows = ["| task | metric | val | test |", "|---|---|---|---|"]
    for result in results:
        values = {(row.task, row.metric, row.subset): row.value for row in result.scores if not row.category}
        for task, metric in dict.fromkeys((task, metric) for task, metric, _ in values):
            unit = result.metrics[task][metric].unit
            cells = [values.get((task, metric, subset)) for subset in ("val", "test")]
            if cells == [None, None]:  # of guesses alone
                continue
            texts = ["-" if value is None else f"{value:.2f} {unit}".rstrip() for value in cells]
            rows.append(f"| {task} | {metric} | {' | '.join(texts)} |")
    return "\n".join(rows)
