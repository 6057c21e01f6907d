"""How long every command takes before and around its work, and which heavy libraries it imports for it.

    python benchmarks/startup.py

Times `--help` of every command (best of three) and a cheap call of most, on a store of made-up finished trials of
semseg_sn at recipe smoke, so that `run` finds all of them done.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from _figures import Figure, tell
from _made_up import fill

from mtlbench.cli.main import main as program
from mtlbench.plan import spaces
from mtlbench.plan.data import prepare_dataset
from mtlbench.plan.expand import DataSource, expand
from mtlbench.plugins import make_plugin

HELP_SECONDS = 0.3
HEAVY = ("torch", "torchvision", "ray", "pandas", "matplotlib", "seaborn", "scipy", "cv2", "numpy")
STUDY = ["run", "--pair", "semseg_sn", "--recipe", "smoke", "--all-splits"]
CALLS = [
    ["--version"],
    ["list", "recipes"],
    ["list", "arms"],
    ["list", "schemes"],
    ["list", "figures"],
    ["new", "scheme", "mine"],
    ["data", "prepare", "rooms"],
    [*STUDY, "--dry-run"],
    STUDY,
    ["status"],
    ["clean"],
    ["table"],
    ["table", "5"],
    ["plot", "figure2"],
    ["report"],
]
IN_STORE = {"run", "status", "clean", "table", "plot", "report"}  # commands that take --results


def main() -> None:
    """Every `--help`, then the calls."""
    bare = min(run("-c", "pass")[0] for _ in range(5))
    rows = [measure_help(words) for words in ([], *commands(program))]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        finish(Path(folder, "results"))
        calls = [call(words) for words in CALLS]
    first, slowest = rows[0]["seconds"], max(row["seconds"] for row in rows)
    tell(
        rows + calls,
        [
            Figure("mtlbench --help", first, "s", at_most=HELP_SECONDS),
            Figure("slowest --help", slowest, "s", at_most=HELP_SECONDS),
            Figure("mtlbench --help against an empty script", round(first / bare, 2), "x"),
            *(Figure(f"mtlbench {row['command']}", row["processor seconds"], "s") for row in calls),
        ],
    )


def commands(group: click.Group) -> list[list[str]]:
    """The words of every command below a group."""
    found, context = [], click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        found += [[name, *more] for more in ([], *(commands(command) if isinstance(command, click.Group) else []))]
    return found


def finish(root: Path) -> None:
    """Make a finished study, without training."""
    space = spaces.load("semseg_sn")
    recipe = spaces.recipe_of(space, "smoke")
    data = prepare_dataset("rooms", space.pair.tasks, recipe, None, lambda line: None)
    backbone = make_plugin("backbone", recipe.backbone, recipe.backbone_options)
    fill(
        root,
        expand(
            space.pair, space.arms, range(3), DataSource(data.plugin, data.root, data.fingerprint), backbone, recipe
        ),
    )


def measure_help(words: list[str]) -> dict[str, Any]:
    """The quickest of three."""
    words = [*words, "--help"]
    wall, processor, _ = min(run("-m", "mtlbench", *words) for _ in range(3))
    return row(words, wall, processor)


def call(words: list[str]) -> dict[str, Any]:
    """One call, and one that tells its imports."""
    places = ["--results", "results"] if words[0] in IN_STORE else []
    wall, processor, said = run("-m", "mtlbench", *words, *places)
    if words == STUDY:
        assert "nothing to do" in said, said
    if words[0] == "new":
        Path("mine.py").unlink()
    imports = run("-X", "importtime", "-m", "mtlbench", *words, *places)[2]
    modules = {line.rpartition("|")[2].strip() for line in imports.splitlines() if line.startswith("import time:")}
    return row(words, wall, processor) | {"imports": " ".join(name for name in HEAVY if name in modules)}


def row(words: list[str], wall: float, processor: float) -> dict[str, Any]:
    """Of the table."""
    return {"command": " ".join(words), "seconds": round(wall, 3), "processor seconds": round(processor, 3)}


def run(*words: str) -> tuple[float, float, str]:
    """Wall and processor seconds of a Python process, and what it said. Raises where it failed."""
    wall, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return time.perf_counter() - wall, processor, done.stdout + done.stderr


if __name__ == "__main__":
    main()
