"""The paper's claims, each tested on the results at hand: one line a claim, with its intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mtlbench.analysis.alphas import alpha_numbers
from mtlbench.analysis.categories import ATTRIBUTES, CLASSES, category_gains
from mtlbench.analysis.choice import best_split
from mtlbench.analysis.comparison import CROSS_STITCH, PAIR, Case, Difference
from mtlbench.analysis.frame import FEWEST_SEEDS, records, relative_change
from mtlbench.analysis.paper import published
from mtlbench.analysis.selection import newest
from mtlbench.arm_names import BASELINE, named
from mtlbench.errors import UserError
from mtlbench.report.words import command
from mtlbench.text import count, listed, percent

BEST_SPLIT = "the best Split"  # stands for the arm that val chooses
HOLDS, OPEN, FAILS = "holds", "is open", "does not hold"
ROBUST = "Cross-stitch is robust to the start of the alphas"
TOO_FAST = "Alphas diverge above 1000 times the network's rate"
ALPHA, RATE = "cross-stitch-alpha-", "cross-stitch-rate-"
USUAL_START = ALPHA + "0.9-0.1"
ALL, ABLATED = "{pair} --all-splits", "{ablations} --all-splits"
IMAGENET = "{pair} --arm cross-stitch --init cross-stitch=imagenet"  # docs/weights.md


@dataclass(frozen=True)
class Claim:
    """One arm (any of its names) better than another, as the paper says it or, where marked, ours."""

    text: str
    source: str
    arm: tuple[str, ...]
    other: tuple[str, ...]
    pair: str = ""  # "" = any
    space: str = ALL  # what trains the arms


CLAIMS = (
    Claim("Cross-stitch beats one-task", "Section 6.2", CROSS_STITCH, (BASELINE,)),
    Claim("Cross-stitch beats the best Split", "Section 6.2", CROSS_STITCH, (BEST_SPLIT,)),
    Claim("Cross-stitch beats an ensemble of twice its size", "Section 6.2", CROSS_STITCH, ("ensemble",)),
    Claim("Its gain is more than longer training", "ours", CROSS_STITCH, ("one-task-longer",)),
    Claim(
        "Alphas learn better at 100 times the network's rate than at 1",
        "Table 2",
        (RATE + "100",),
        (RATE + "1",),
        "semseg_sn",
        ABLATED,
    ),
    Claim(
        "Alphas learn better at 1000 times the network's rate than at 1",
        "Table 2",
        (RATE + "1000",),
        (RATE + "1",),
        "semseg_sn",
        ABLATED,
    ),
    Claim(
        "A start from one-task networks beats one from ImageNet",
        "Table 3",
        CROSS_STITCH,
        ("cross-stitch-from-imagenet",),
        "semseg_sn",
        IMAGENET,
    ),
    Claim(
        "A start from one-task networks beats one from scratch",
        "Section 5.3, ours",
        CROSS_STITCH,
        ("cross-stitch-from-scratch",),
        "semseg_sn",
        ABLATED,
    ),
    Claim(
        "Units after pooling beat units after convolutions",
        "Section 5",
        CROSS_STITCH,
        ("cross-stitch-after-convolutions",),
        "semseg_sn",
        ABLATED,
    ),
    Claim(
        "A unit per channel beats one per layer",
        "Section 5, ours",
        ("cross-stitch-per-channel",),
        ("cross-stitch-per-layer",),
        "semseg_sn",
        ABLATED,
    ),
    Claim(
        "A unit per layer beats one per channel, which is unstable",
        "Section 6",
        ("cross-stitch-per-layer",),
        ("cross-stitch-per-channel",),
        "det_attr",
        ABLATED,
    ),
)
ABLATIONS = {"semseg_sn": "ablations", "det_attr": "ablations_det_attr"}  # pair -> the space with its other arms


def claims(case: Case, results: Any) -> list[str]:
    """One line for each of the paper's claims whose arms are there; then the claims that were not tested, and how to.

    A claim holds where the plain 95 % interval lies on its side of 0, does not where it lies on the other side; else it
    is open. `results` (`store.Results`) gives alphas, label counts and the other pairs.
    """
    if case.changes.empty:
        return []
    said = _splits_differ(case, results)
    untested: dict[str, list[str]] = {}
    for claim in CLAIMS:
        if claim.pair in ("", case.pair):
            if line := _tested(case, claim):
                said.append(line)
            else:
                untested.setdefault(claim.space, []).append(f"{claim.text} ({_lacking(case, claim)})")
    if case.pair == "semseg_sn":
        for line, text, arms in ((_robust(case), ROBUST, "two starts"), (_too_fast(case), TOO_FAST, "higher rate")):
            if line:
                said.append(line)
            else:
                untested.setdefault(ABLATED, []).append(f"{text} (no {arms})")
    said += [*_starved(case, results), *_task_specific(case, results)]
    for space, texts in untested.items():
        typed = space.format(pair=case.pair, ablations=ABLATIONS.get(case.pair, case.pair))
        said.append(f"Not tested: {'; '.join(texts)}. Type: {command(case, typed)}")
    return said


def _lacking(case: Case, claim: Claim) -> str:
    """Why a claim was not tested."""
    failed = {str(failure["arm"]) for failure in case.failures}
    why = []
    for names in (claim.arm, claim.other):
        if names == (BEST_SPLIT,):
            why += [] if case.choice else ["no Split chosen on val"]
        elif not case.arm(*names):
            why.append(f"{names[0]} failed" if failed & set(names) else f"no {names[0]}")
    if claim.space == IMAGENET and why:
        why.append("needs weights of ImageNet, docs/weights.md")
    return ", ".join(why) or "no seed in common"


def status(low: float, high: float) -> str:
    """Whether an interval lies above 0."""
    return HOLDS if low > 0 else FAILS if high < 0 else OPEN  # NaN: open


def claim_line(text: str, source: str, parts: Sequence[tuple[str, str]]) -> str:
    """`TEXT (SOURCE): holds for normals (+1.2 % [+0.3, +2.1]); is open for semseg (...)`; parts: status, of what."""
    grouped = [(word, [what for found, what in parts if found == word]) for word in (HOLDS, FAILS, OPEN)]
    return f"{text} ({source}): {'; '.join(f'{word} for {listed(what)}' for word, what in grouped if what)}."


def _tested(case: Case, claim: Claim) -> str:
    """The line of a claim; "" where its arms are missing or failed."""
    parts = []
    for scope in case.scopes:
        other = case.choice.get(scope, {}).get("arm") if claim.other == (BEST_SPLIT,) else case.arm(*claim.other)
        arm = case.arm(*claim.arm)
        if arm and other and arm != other and (found := case.difference(scope, arm, other)):
            beside = f"{named(other)}: " if claim.other == (BEST_SPLIT,) else ""
            parts.append((status(found.low, found.high), f"{scope or 'the pair'} ({beside}{_size(found)})"))
    return claim_line(claim.text, claim.source, parts) if parts else ""


def _size(found: Difference) -> str:
    seeds = "" if found.seeds >= FEWEST_SEEDS else f", {count(found.seeds, 'seed')}, no interval"
    return percent(found.mean, found.low, found.high) + seeds


def _splits_differ(case: Case, results: Any) -> list[str]:
    """Whether tasks, and pairs on the same data, want different Splits: what the other's choice would cost on test."""
    said = []
    choice = {scope: row["arm"] for scope, row in case.choice.items()}
    tasks = [scope for scope in choice if scope != PAIR]
    if len(tasks) > 1:
        said.append(_different(case, "The best Split differs between tasks", tasks, {t: choice[t] for t in tasks}))
    others = sorted(set(results.frame["pair"]) - {case.pair})
    for other in others:
        rows = results.frame[(results.frame["pair"] == other) & results.frame["dataset"].isin(case.frame["dataset"])]
        chosen = best_split(newest(rows)[0]).query("scope == 'pair'")["arm"].tolist() if len(rows) else []
        if PAIR in choice and chosen and case.arm(chosen[0]):
            arms = {PAIR: choice[PAIR], other: chosen[0]}
            said.append(_different(case, f"The best Split differs between {case.pair} and {other}", [PAIR], arms))
    return said


def _different(case: Case, text: str, scopes: Sequence[str], arms: dict[str, str]) -> str:
    """`arms` are what each scope (or another pair) chooses on val."""
    if len(set(arms.values())) == 1:
        return f"{text} (Section 1.1): not seen here, val chooses {named(next(iter(arms.values())))} for both."
    parts = []
    for scope in scopes:
        for other in dict.fromkeys(arm for arm in arms.values() if arm != arms[scope]):
            if found := case.difference(scope, arms[scope], other):
                what = f"{scope or 'this pair'} ({named(arms[scope])} against {named(other)}: {_size(found)})"
                parts.append((status(found.low, found.high), what))
    return claim_line(text, "Section 1.1", parts)


def _robust(case: Case) -> str:
    """Starts are equivalent where all differences, allowed for their number, lie within the paper's own spread."""
    starts = [arm for arm in case.names if arm.startswith(ALPHA) and arm != USUAL_START and case.arm(arm)]
    usual = case.arm(USUAL_START)
    if not starts or not usual:
        return ""
    table = published().query("source == 'Table 1'")
    spread = relative_change(table, USUAL_START).groupby("task")["change"].agg(lambda change: change.abs().max())
    parts = []
    for task in [scope for scope in case.scopes if scope in spread]:
        found = {arm: case.difference(task, case.names[arm], usual, len(starts)) for arm in starts}
        known = {arm: one for arm, one in found.items() if one}
        if not known:
            continue
        margin = float(spread[task])
        far = any(one.wide_low > margin or one.wide_high < -margin for one in known.values())
        near = all(-margin < one.wide_low and one.wide_high < margin for one in known.values())
        worst = max(known, key=lambda arm: abs(known[arm].mean))
        one, start = known[worst], worst.removeprefix(ALPHA).replace("-", ", ")
        size = percent(one.mean, one.wide_low, one.wide_high)
        parts.append(
            (
                FAILS if far else HOLDS if near else OPEN,
                f"{task} (farthest: ({start}), {size} against (0.9, 0.1); the paper's own spread is"
                f" {percent(margin, signed=False)})",
            )
        )
    return claim_line(ROBUST, "Table 1", parts) if parts else ""


def _too_fast(case: Case) -> str:
    """Whether rates above 1000 times the network's diverged, seed by seed."""
    said = []
    names = [*case.names, *(str(failure["arm"]) for failure in case.failures)]
    for arm in dict.fromkeys(name for name in names if name.startswith(RATE) and float(name.removeprefix(RATE)) > 1000):
        diverged = sum(failure["arm"] == arm and "Diverged" in failure["reason"] for failure in case.failures)
        finished = case.changes.loc[case.changes["arm"] == case.names.get(arm), "seed"].nunique()
        total = diverged + finished
        text = f"x {arm.removeprefix(RATE)} diverged in {diverged} of {count(total, 'seed')}"
        for task in [scope for scope in case.scopes if scope != PAIR]:
            fastest = case.arm(RATE + "1000")
            if finished and fastest and (found := case.difference(task, case.names[arm], fastest)):
                text += f"; {task} {_size(found)} against x 1000"
        if total:
            said.append(f"{HOLDS if diverged == total else FAILS if not diverged else OPEN}: {text}")
    return f"{TOO_FAST} (Section 5.2): {'; '.join(said)}." if said else ""


def _starved(case: Case, results: Any) -> list[str]:
    """Figures 5 and 6: least-labelled categories against most-labelled ones."""
    said = []
    for question in (ATTRIBUTES, CLASSES):
        if question.task not in case.scopes:
            continue
        try:
            groups = category_gains(question, results, **case.pick).groups
        except UserError:
            continue  # the report names it
        for row in records(groups[groups["end"] == "difference"]):
            size = percent(row["mean"], row["low"], row["high"], unit="points")
            part = (
                status(row["low"], row["high"]),
                f"{question.task} ({_spelled(row['group'])} labelled categories: {size})",
            )
            said.append(claim_line("Data-starved categories gain more", question.section, [part]))
    return said


def _spelled(group: str) -> str:
    """`6 least minus 6 most`."""
    return group.replace("\N{MINUS SIGN}", "minus")


def _task_specific(case: Case, results: Any) -> list[str]:
    """Section 5.4, from the alphas' own contrasts."""
    try:
        found = alpha_numbers(results, **case.pick)
    except UserError:
        return []
    arm = found.starts["arm"].iloc[0]
    rows = found.claims[found.claims["arm"] == arm]
    holds = {"yes": HOLDS, "no": FAILS, "open": OPEN}
    said = []
    for text, table in rows.groupby("claim", sort=False):
        parts = [(holds[row["holds"]], f"{row['task']} ({_plain(row)})") for row in records(table)]
        said.append(claim_line(f"Alphas: {text}", "Section 5.4", parts))
    return said


def _plain(row: dict[str, Any]) -> str:
    return f"alpha_s - alpha_d differs by {percent(row['difference'], row['low'], row['high'], unit='', digits=2)}"
