"""The report: one HTML file that is complete, well formed, self-contained and safe with untrusted text."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mtlbench.analysis.comparison import case_of
from mtlbench.analysis.frame import relative_change
from mtlbench.analysis.selection import Selection
from mtlbench.errors import UserError
from mtlbench.report.commands import commands_of, write_command
from mtlbench.report.pictures import embed
from mtlbench.report.provenance import facts_of
from mtlbench.report.report import report
from mtlbench.report.sentences import write_sentences
from mtlbench.report.summaries import cost_table, delta_table
from mtlbench.report.table import Mark
from mtlbench.report.verdict import reach_verdict
from tests.support.synthetic_results import ARMS
from tests.support.weighed_studies import weighed_study
from tests.support.worlds import ABLATIONS, World, world

pytestmark = pytest.mark.slow

VOID = {"meta", "br", "img", "hr", "link", "input"}
FEW = ("one-task", "split-conv4", "split-fc8", "cross-stitch")
EVIL = "<script>alert('x')</script>\"><img src=http://evil.example/a onerror=b> {{ 7 * 7 }}"
FAILURE = {
    "pair": "semseg_sn",
    "dataset": "rooms",
    "recipe": "quick",
    "backbone": "caffenet",
    "task": "",
    "arm": "mtl-shared",
    "seed": 1,
    "status": "failed",
    "kind": "error",
    "reason": EVIL,
}


class Page(HTMLParser):
    """Tags balanced; what it links to, its ids, references, texts and tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.outside: list[str] = []
        self.tags: set[str] = set()
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name in ("src", "href", "xlink:href"):
                (self.references if (value or "").startswith("#") else self.outside).append((value or "")[1:])
            self.references += re.findall(r"url\(#([^)]*)\)", value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def make(results: World, folder: Path) -> tuple[str, Page]:
    out = report(results, folder / "new" / "report.html")
    assert out == folder / "new" / "report.html"
    text = out.read_text(encoding="utf-8")
    return text, Page(text)


@pytest.fixture(scope="module")
def results() -> World:
    return world(arms=FEW, categories=12, failures=[FAILURE])


@pytest.fixture(scope="module")
def full(results: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Page]:
    return make(results, tmp_path_factory.mktemp("report"))


def test_the_page_is_whole_and_nothing_comes_from_elsewhere(full: tuple[str, Page]) -> None:
    text, page = full
    assert text.startswith("<!DOCTYPE html>") and page.outside == []
    assert len(page.ids) == len(set(page.ids)) and set(page.references) <= set(page.ids)
    assert not page.tags & {"img", "link", "iframe", "object", "image", "foreignobject"}
    (script,) = re.findall("<script>(.*?)</script>", text, re.DOTALL)  # the page's own, which alone may run
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in text
    assert not re.search(r"fetch|XMLHttp|innerHTML|eval|https?:|import\b", script)
    assert "@import" not in text and text.count("<style") == 1


def test_ids_of_figures_do_not_clash_and_their_text_is_text(full: tuple[str, Page]) -> None:
    text, page = full
    assert text.count("<svg ") == text.count("viewBox") == 5  # figure5 has nothing to show
    for name in ("figure2", "alphas", "figure6", "curves", "cost"):
        assert f"{name}-figure_1" in page.ids
    assert re.search(r"<text [^>]*>unit mixing columns</text>", text)


def test_marks_tell_their_numbers_and_cells_have_theirs(results: World, full: tuple[str, Page]) -> None:
    text, _ = full
    change = relative_change(results.frame)
    own = change[(change["arm"] == "split-conv4") & (change["task"] == "semseg")].sort_values("seed")["change"]
    tips = re.findall(r'class="tip"><title>([^<]*)</title>', text)
    wanted = f"(seeds {', '.join(f'{value:+.1f}' for value in own)})"
    assert any(tip.startswith("split-conv4: ") and tip.endswith(wanted) for tip in tips), (wanted, tips)
    assert 'id="tip: ' not in text and text.count('data-value="') > 50


def test_the_page_begins_with_an_answer_and_the_figure(full: tuple[str, Page]) -> None:
    text = full[1].text
    assert re.search(r"share\? (Share|It makes|Too few).*? a network for each task.*? Cross-stitch, which learns", text)
    assert full[0].index('class="answer"') < full[0].index('id="figure2-figure_1"') < full[0].index('id="verdict"')


def test_what_comes_from_results_is_text(full: tuple[str, Page]) -> None:
    text, page = full
    assert EVIL in page.text and text.count("<script") == 1 and "49" not in re.findall(r"onerror=b&gt; (\S+)", text)


def test_every_section_is_there_with_the_verdict_word_by_word(results: World, full: tuple[str, Page]) -> None:
    text, page = full
    assert [name for name in page.ids if "-" not in name] == [
        "answer",
        "verdict",
        "claims",
        "arms",
        "inside",
        "tables",
        "run",
        "missing",
        "method",
        "tip",
    ]
    said = re.sub(r" ?: ", ": ", page.text)
    for line in write_sentences(reach_verdict(results)):
        assert " ".join(line.split()) in said, line
    assert "How much should semseg and normals share?" in page.text or "How much should normals and semseg" in page.text


def test_what_was_run_can_be_run_again(full: tuple[str, Page]) -> None:
    text = full[1].text
    for words in (
        "Fingerprint of the data f1f2",
        "rooms(val=300)",
        "Seeds 0, 1, 2",
        "lr: 0.05",
        "images: 4",
        "Python 3.11.7, torch 2.9, on cpu of x86_64",
    ):
        assert words in text
    assert (
        "mtlbench run --pair semseg_sn --dataset rooms --recipe quick --seeds 0,1,2 --arm mtl-shared --arm"
        " split-conv4 --arm split-fc8 --arm cross-stitch"
    ) in text


def test_what_cannot_be_made_is_named_with_its_reason(full: tuple[str, Page]) -> None:
    text = full[1].text
    assert "figure5: figure5 needs the task attributes" in text
    assert "Table 1, cross-stitch units by their start (alpha_s, alpha_d): none of its arms was trained." in text
    assert "mtl-shared seed 1: failed: <script>" in text and "Table 5: surface normals" in text
    assert "they do not compare: dataset rooms, not nyuv2" in text


def test_all_arms_make_all_tables_and_commands(tmp_path: Path) -> None:
    results = world(arms=(*ARMS, *ABLATIONS), failures=[{**FAILURE, "arm": "cross-stitch-rate-10000"}])
    case = case_of(results)
    assert commands_of(case)[:2] == [
        "mtlbench run --pair semseg_sn --dataset rooms --recipe quick --seeds 0,1,2 --all-splits",
        "mtlbench run --pair ablations --dataset rooms --recipe quick --seeds 0,1,2 "
        + " ".join(f"--arm {arm}" for arm in sorted((*ABLATIONS, "cross-stitch-rate-10000"))),
    ]


def test_arms_of_the_users_own_and_other_starts_have_their_options() -> None:
    results = world(arms=(*FEW, "tree", "cross-stitch-from-imagenet"))
    case = case_of(results)
    case = dataclasses.replace(case, trials=[{**trial, "data_root": "/my data"} for trial in case.trials])
    lines = commands_of(case)
    more = "mtlbench run --pair ablations --dataset rooms --recipe quick --seeds 0-2 --data-root '/my data' --arm nddr"
    assert write_command(case, "ablations --arm nddr", seeds="0-2") == more
    assert all("--data-root '/my data'" in line for line in lines[:-1])
    assert "--init cross-stitch=imagenet" in lines[1] and lines[2].endswith("# arms of your own: tree")
    assert lines[-1] == "mtlbench report --pair semseg_sn --dataset rooms --recipe quick"


def test_what_is_not_the_recipes_own_stands_in_the_commands() -> None:
    results = world(arms=FEW)
    case = case_of(results)
    assert "--decoder" not in commands_of(case)[0] and "--init" not in commands_of(case)[0]
    others = {"recipe": {"decoder": "fpn", "precision": "bf16"}, "has_weights": False}
    first = commands_of(dataclasses.replace(case, trials=[{**trial, **others} for trial in case.trials]))[0]
    assert "--seeds 0,1,2 --decoder fpn --precision bf16 --init scratch --arm" in first
    own = "timm(batch_norm=shared,model=tf_efficientnet_lite0)"
    results = world(arms=("one-task", "split-fc8"), recipe="pretrained", backbone=own)
    case = case_of(results)
    case = dataclasses.replace(case, trials=[{**trial, "recipe": {"decoder": "fpn"}} for trial in case.trials])
    assert commands_of(case)[0].endswith("--recipe pretrained --seeds 0,1,2 --arm one-task --arm split-fc8")
    results = world(arms=("one-task", "split-fc8"), backbone="timm(model=resnet18)")
    case = case_of(results)
    first = commands_of(case)[0]
    assert "--seeds 0,1,2 --backbone timm:resnet18 --init imagenet --arm" in first


def test_weightings_and_arms_that_nobody_brings_along_have_their_commands() -> None:
    results = World(weighed_study().frame)
    case = case_of(results)
    first, second, _ = commands_of(case)
    assert first.endswith("--seeds 0,1,2 --arm one-task --arm split-conv4 --arm split-fc8")  # Splits have no parents
    assert second.endswith("--arm split-conv4 --arm split-fc8 --weighting rlw --weighting upgrad")


def test_one_seed_without_val_and_categories_makes_a_page_too(tmp_path: Path) -> None:
    results = world("det_attr", arms=("one-task", "cross-stitch"), seeds=(0,))
    results.frame = results.frame[results.frame["subset"] != "val"]
    _, page = make(dataclasses.replace(results, problems=["damaged & <b>"]), tmp_path)
    assert "there is no interval" in page.text and "1 seed;" in page.text
    assert "No trial of this setting failed" in page.text and "damaged & <b>" in page.text


def test_mistakes_are_one_line(tmp_path: Path, results: World) -> None:
    with pytest.raises(UserError, match="There are: semseg_sn"):
        report(results, tmp_path / "a.html", Selection(pair="det"))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write .*--out") as error:
        report(world(arms=("one-task", "split-fc8"), seeds=(0,)), tmp_path / "file" / "a.html")
    assert "\n" not in str(error.value)


def test_an_svg_gets_its_own_ids_and_loses_style_and_metadata() -> None:
    svg = b"""<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">
    <metadata><a href="http://x"/></metadata><style>*{color:red}</style><defs><path id="m1"/></defs>
    <g clip-path="url(#c)" style="fill: url(#h)"><use xlink:href="#m1"/></g><text>a &lt; b</text></svg>"""
    text = str(embed(svg, "fig", "A title"))
    for words in (
        'id="fig-m1"',
        'clip-path="url(#fig-c)"',
        "fill: url(#fig-h)",
        'xlink:href="#fig-m1"',
        "a &lt; b",
        'aria-label="A title"',
    ):
        assert words in text
    assert "metadata" not in text and "color:red" not in text and "<?xml" not in text


def test_the_report_needs_no_torch() -> None:
    code = (
        "import sys, mtlbench.report.report; from mtlbench.plugins import create, list_names;"
        "[create('figure', name) for name in list_names('figure')];"
        "print([m for m in ('torch', 'ray', 'scipy.stats', 'seaborn') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_second_names_count_once_and_kin_are_marked(tmp_path: Path) -> None:
    results = world(
        arms=("one-task", "ensemble", "split-conv4", "split-fc7", "split-fc8", "cross-stitch", "cross-stitch-rate-100")
    )
    kin = (results.frame["arm"] == "split-fc7") & (results.frame["task"] == "semseg")
    results.frame["roots"] = results.frame["key"].where(~kin, "one-task/semseg/" + results.frame["seed"].astype(str))
    case = case_of(results)
    assert dict(facts_of(case))["Arms (6)"].endswith("Split fc8, cross-stitch")
    assert dict(facts_of(case))["Other names of these"] == "cross-stitch-rate-100 = cross-stitch"
    assert all(row.cells["arm"].value != "cross-stitch-rate-100" for row in cost_table(case).rows)
    table = delta_table(case, results)
    paired = [row for row in table.rows if any(Mark.PAIRED in cell.marks for cell in row.cells.values())]
    assert [row.cells["arm"].value for row in paired] == ["Split fc7"]
    assert any("† for split-fc7 the paired t interval" in note.text for note in table.notes)
