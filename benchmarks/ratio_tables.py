"""Tables of ratios: against the fastest peer, and of one run against another."""

from __future__ import annotations

from .case import REFERENCE
from .compare import Comparison, compare_times, coverage_lines
from .results import Results
from .tables import SCALED, Table, shown_accuracy, shown_time


def peers_ratio_table(results: Results) -> Table:
    """Return how the fastest backend compares with the fastest peer in each case; below 1 wins.

    That is a peer of the same precision, if there is one.
    """
    rows = []
    pairs = []
    for group in ("training", "inference"):
        for case, measurements in results.of_group(group):
            ours = [each for each in measurements if each.kind == "backend"]
            theirs = [each for each in measurements if each.kind == "peer"]
            if not ours or not theirs:
                continue
            best = min(ours, key=lambda each: each.median_seconds)
            alike = [each for each in theirs if each.precision == best.precision]
            peer = min(alike or theirs, key=lambda each: each.median_seconds)
            pairs.append((peer, best))
            ratio = compare_times(peer.scaled_repetitions, best.scaled_repetitions)
            rows.append(
                [
                    case["title"].split(":")[0],
                    best.contender,
                    shown_time(best),
                    shown_accuracy(best),
                    peer.contender,
                    shown_time(peer),
                    shown_accuracy(peer),
                    f"{ratio.ratio:.3f}",
                    ratio.interval,
                ]
            )
    columns = [
        "case", "backend", ">time ", ">accuracy", "fastest peer", ">time ", ">accuracy",
        ">ratio", ">95% interval",
    ]  # fmt: skip
    threads = results.settings["threads"]
    plural = "s" if threads != 1 else ""
    table = Table(
        f"Against the fastest peer: our time over theirs ({threads} thread{plural})",
        columns,
        rows,
    )
    if rows:
        few = coverage_lines(pairs)
        table.notes = ["Below 1 the backend is faster.", *_scaling_peers(results), *few]
    return table


def _scaling_peers(results: Results) -> list[str]:
    scaled = any(
        each.is_scaled for _, found in results.of_group("training") for each in found
        if each.contender != REFERENCE
    )  # fmt: skip
    return [f"{SCALED} Timed on fewer rows and scaled, all alike."] if scaled else []


def comparison_table(comparison: Comparison, old: Results, new: Results) -> Table:
    """Return the ratio of each time in two runs, with its interval and what it amounts to."""
    rows = []
    last = ""
    for change in comparison.changes:
        case = change.new.case
        rows.append(
            [
                "" if case == last else case,
                new.label(change.new),
                shown_time(change.old),
                shown_time(change.new),
                f"{change.ratio.ratio:.3f}",
                change.ratio.interval,
                {"same": "", "?": "too few repetitions"}.get(
                    change.ratio.verdict, change.ratio.verdict
                ),
            ]
        )
        last = case
    counts = {
        verdict: sum(change.ratio.verdict == verdict for change in comparison.changes)
        for verdict in ("faster", "slower", "same", "?")
    }
    notes = [
        "Ratio: new median over old, below 1 is faster; with the 95% interval of a bootstrap over "
        "the repetitions.",
        f"Beyond noise: {counts['faster']} faster, {counts['slower']} slower; "
        f"{counts['same']} the same within it, {counts['?']} with too few repetitions.",
        *comparison.warnings,
    ]
    for which, missing in (("old", comparison.only_old), ("new", comparison.only_new)):
        if missing:
            named = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
            notes.append(f"Only in the {which} run: {len(missing)} ({named}).")
    columns = ["case", "contender", ">old ", ">new ", ">ratio", ">95% interval", "beyond noise"]
    return Table(f"{old.date} against {new.date}", columns, rows, notes)
