"""Every figure of the results as SVG for a page, or why there is none."""

from __future__ import annotations

import io
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure as Canvas

from mtlbench.analysis.comparison import Case
from mtlbench.contracts import Results
from mtlbench.errors import UserError
from mtlbench.plugins import create, list_names

LEFT_OUT = ("regret",)  # its searches take longer than all else here
TIP = "tip: "  # how ids begin that say what a mark tells where one points at it (`figures/_panels.py`)
FIRST = (
    "figure2",
    "alphas",
    "exchange",
    "figure5",
    "figure6",
    "front",
    "affinity",
    "curves",
    "cost",
)  # then the others, by name
SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
STROKES = "stroke-linejoin:round;stroke-linecap:butt"  # what matplotlib's own style sheet says, kept in the picture


@dataclass(frozen=True)
class Picture:
    """A figure as SVG, or why there is none."""

    name: str
    title: str
    svg: Markup = Markup()
    reason: str = ""


def draw_pictures(case: Case, results: Results) -> list[Picture]:
    """Every figure plug-in, in the order of FIRST. `results` is `store.Results`."""
    found = [name for name in list_names("figure") if name not in LEFT_OUT]
    order = [name for name in FIRST if name in found] + [name for name in found if name not in FIRST]
    return [_draw(name, case, results) for name in order]


def _draw(name: str, case: Case, results: Results) -> Picture:
    drawer = create("figure", name)
    title = " ".join((sys.modules[type(drawer).__module__].__doc__ or name).split("\n\n")[0].split())
    try:
        data = drawer.data(results, selection=case.selection, paper=True)
    except UserError as error:
        return Picture(name, title, reason=str(error))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        canvas, buffer = Canvas(), io.BytesIO()
        drawer.draw(data, canvas)
        canvas.savefig(buffer, format="svg", metadata={"Date": None})
    return Picture(name, title, svg=embed(buffer.getvalue(), name, title))


def embed(svg: bytes, name: str, title: str) -> Markup:
    """An SVG file as an element for a page with others: ids begin with its name, no style sheet, no metadata, the title
    for who cannot see it."""
    ET.register_namespace("", SVG)
    ET.register_namespace("xlink", XLINK)
    root = ET.fromstring(svg)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}style", f"{{{SVG}}}metadata"):
                parent.remove(child)
    for element in list(root.iter()):
        for key, value in list(element.attrib.items()):
            if key == "id" and value.startswith(TIP):
                _tell(element, value.removeprefix(TIP))
            elif key == "id":
                element.set(key, f"{name}-{value}")
            elif key in ("href", f"{{{XLINK}}}href") and value.startswith("#"):
                element.set(key, f"#{name}-{value[1:]}")
            elif "url(#" in value:
                element.set(key, value.replace("url(#", f"url(#{name}-"))
    root.set("style", STROKES)
    root.set("role", "img")
    root.set("aria-label", title)
    return Markup(ET.tostring(root, encoding="unicode"))


def _tell(element: ET.Element, text: str) -> None:
    """The element's title is the text, in place of its id."""
    del element.attrib["id"]
    element.set("class", "tip")
    title = ET.Element(f"{{{SVG}}}title")
    title.text, title.tail, element.text = text, element.text, None
    element.insert(0, title)
