"""The first screen: the best backend, and how it stands against the others."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from dataclasses import dataclass

from ..case import REFERENCE
from ..tables import format_speedup, format_time
from .cells import format_share
from .document import Document, Measured, configuration, fastest, is_reference, relative_spread
from .model import Tile

MAIN_SIZES, MAIN_BATCH = [784, 128, 10], 128
GROUPS = ("training", "kernels", "inference")
GROUP_WORDS = {"training": "training", "kernels": "the kernels", "inference": "inference"}
FAMILIES = {"scikit-learn": ("sklearn", "scikit"), "PyTorch": ("torch",)}


@dataclass(frozen=True)
class Comparison:
    """The fastest backend against the fastest of others, over all the cases that both ran.

    Attributes
    ----------
    factor : float
        Geometric mean of the ratios of medians; above 1, the backend is faster.
    low, high : float
        The smallest and the largest ratio.
    n_cases : int
    """

    factor: float
    low: float
    high: float
    n_cases: int


def compare(document: Document, contenders: set[str]) -> Comparison | None:
    """Compare the fastest backend with the fastest of `contenders` in training.

    Both compute in the precision of the run; the reference always computes in float64.
    """
    ratios = []
    for _, found in document.of_group("training", only_fair=True):
        ours = fastest(found, lambda each: _is_ours(document, each))
        theirs = fastest(found, lambda each: _is_theirs(document, each, contenders))
        if ours and theirs and ours is not theirs and ours["median_seconds"]:
            ratios.append(theirs["median_seconds"] / ours["median_seconds"])
    if not ratios:
        return None
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    return Comparison(mean, min(ratios), max(ratios), len(ratios))


def _is_ours(document: Document, each: Measured) -> bool:
    is_alike = bool(each.get("precision", document.precision) == document.precision)
    return each["kind"] == "backend" and not is_reference(each) and is_alike


def _is_theirs(document: Document, each: Measured, contenders: set[str]) -> bool:
    same = each.get("precision") in (document.precision, None) or is_reference(each)
    return each["contender"] in contenders and bool(same)


def best_backend(document: Document) -> tuple[Measured, str] | None:
    """Return the main measurement of the backend that wins most cases, and how many it wins."""
    for group in GROUPS:
        shown = list(document.of_group(group, only_fair=True))
        winners: list[Measured] = [
            winner
            for _, found in shown
            if (winner := fastest(found, lambda each: _is_ours(document, each)))
            or (winner := fastest(found, is_reference))
        ]
        if not winners:
            continue
        counts = Counter(each["contender"] for each in winners)
        name, count = counts.most_common(1)[0]
        own = [each for each in winners if each["contender"] == name]
        main = next((each for each in own if _is_main(document, each)), own[0])
        of_all = f"fastest in {count} of {len(winners)} cases of {GROUP_WORDS[group]}"
        if len(winners) == 1:
            of_all = f"fastest in the one case of {GROUP_WORDS[group]}"
        return main, of_all
    return None


def _is_main(document: Document, measured: Measured) -> bool:
    parameters = document.parameters_of(measured["case"])
    if parameters.get("sizes") is not None:
        return bool(
            parameters["sizes"] == MAIN_SIZES and parameters.get("batch_size") == MAIN_BATCH
        )
    return "784-128-10" in document.case_title(measured["case"])


def headline(document: Document) -> str:
    """Return the outcome in a sentence or two."""
    best = best_backend(document)
    if best is None:
        return _without_cases(document)
    main, _ = best
    title = document.case_title(main["case"])
    parts = [
        f"The fastest backend here is {main['contender']}: {format_time(main['median_seconds'])}"
    ]
    if main["group"] == "training":
        rows = main.get("rows_reported")
        images = f" of {rows:,} rows" if rows else ""
        parts.append(f" per epoch{images} ({title})")
        if main.get("samples_per_second"):
            parts.append(f", {main['samples_per_second']:,.0f} rows per second")
        if main.get("accuracy") is not None:
            parts.append(f", test accuracy {format_share(main['accuracy'])}")
    else:
        parts.append(f" for {title}")
    text = "".join(parts) + "."
    faster = []
    for name, contenders in [("pure Python", {REFERENCE}), *_families(document).items()]:
        found = compare(document, contenders)
        if found:
            faster.append(f"{format_speedup(found.factor)} the speed of {name}")
    if faster:
        text += f" In training the fastest backend of each case has {_listing(faster)}."
    return text


def _without_cases(document: Document) -> str:
    """Return the outcome of a run of the other parts: how long the cold start takes."""
    found = (document["cold_start"] or {}).get("time_to_accuracy") or []
    reached = [each for each in found if each.get("seconds")]
    if not reached:
        measured = any(document[part] for part in ("roofline", "cold_start", "drawbacks"))
        return "No case was measured." if measured else "Nothing was measured."
    target = max(each["target"] for each in reached)
    parts = [
        f"{document.title_of(each['contender'])} {format_time(statistics.median(each['seconds']))}"
        for each in reached
        if each["target"] == target
    ]
    return f"From a cold process to {target:.0%} test accuracy: {_listing(parts)}."


def tiles(document: Document) -> list[Tile]:
    """Return the four figures of the first screen; what was not measured says why."""
    best = best_backend(document)
    if best is None:
        first = Tile("Best backend", "none", "nothing was measured", is_measured=False)
    else:
        main, of_all = best
        spread = relative_spread(main)
        noise = "" if spread is None else f", spread {format_share(spread)}"
        detail = f"{of_all}; {configuration(main)}{noise}"
        first = Tile("Best backend", main["contender"], detail)
    found = [first, _tile(document, "the reference", {REFERENCE}, "pure Python, float64")]
    for name, contenders in _families(document).items():
        found.append(_tile(document, name, contenders, ""))
    return found


def _tile(document: Document, name: str, contenders: set[str], note: str) -> Tile:
    title = f"Speed over {name}"
    found = compare(document, contenders)
    if found is None:
        return Tile(title, "not measured", _why_not(document, name, contenders), False)
    detail = (
        f"mean of {found.n_cases} networks in training: {format_speedup(found.low)} to "
        f"{format_speedup(found.high)}"
        if found.n_cases > 1
        else "one network in training"
    )
    return Tile(title, format_speedup(found.factor), f"{detail}; {note}" if note else detail)


def _families(document: Document) -> dict[str, set[str]]:
    names = [each["name"] for each in document["peers"]] + document.contenders("peer")
    return {
        title: {name for name in names if any(part in name.lower() for part in parts)}
        for title, parts in FAMILIES.items()
    }


def _why_not(document: Document, name: str, contenders: set[str]) -> str:
    entries = [
        each for each in [*document["peers"], *document["backends"]] if each["name"] in contenders
    ]
    reasons = [str(each["reason"]) for each in entries if each.get("reason")]
    if not any(each["available"] for each in entries) and reasons:
        return reasons[0]
    failed = [each["error"] for each in document["failures"] if each["contender"] in contenders]
    if failed:
        return str(failed[0])
    if not document["complete"]:
        return "the run was interrupted before"
    if not entries:
        return f"{name} was not asked for in this run"
    return "no case of training was measured with it"


def _listing(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
