"""The pictures of gallery.md, made by the commands that the page shows.

    make pictures [RESULTS=results]

Studies that the page names are trained where they are missing, about an hour on two cores; every `mtlbench plot` of the
page is drawn and made small as pictures/NAME.png.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

DOCS = Path(__file__).parent
WIDTH, COLOURS = 820, 64  # pixels, and how many colours a picture keeps


def list_commands(page: str) -> list[list[str]]:
    """The words of every `mtlbench run` and `mtlbench plot` of a page's blocks, without comments."""
    lines = re.findall(r"^    (mtlbench (?:run|plot) .*)$", page, re.MULTILINE)
    return [shlex.split(line, comments=True)[1:] for line in dict.fromkeys(lines)]


def shrink(source: Path, target: Path) -> None:
    """Write a picture of few colours, WIDTH wide at most."""
    picture = Image.open(source).convert("RGB")
    if picture.width > WIDTH:
        picture = picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS)
    few = picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
    few.save(target, optimize=True)


def main(results: str = "results") -> None:
    """Run what the page says on a results folder."""
    for words in list_commands((DOCS / "gallery.md").read_text()):
        print("mtlbench", *words, flush=True)
        with tempfile.TemporaryDirectory() as scratch:
            drawn = Path(scratch, "figure.png")
            out = ["--out", str(drawn)] if words[0] == "plot" else []
            subprocess.run([sys.executable, "-m", "mtlbench", *words, "--results", results, *out], check=True)
            if out:
                shrink(drawn, DOCS / "pictures" / f"{words[1]}.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
