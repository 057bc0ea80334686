"""What a run shows in the terminal: the tables in their order, and lines on what is missing."""

from __future__ import annotations

from .ratio_tables import peers_ratio_table
from .results import Results, without_left_out
from .tables import (
    Table,
    dimensions_table,
    growth_peers_table,
    growth_table,
    inference_peers_table,
    inference_table,
    kernels_table,
    options_table,
    training_table,
)


def terminal_tables(results: Results) -> list[Table]:
    """Return the tables that the terminal shows, the most wanted last."""
    tables = (
        kernels_table(results),
        growth_table(results),
        growth_peers_table(results),
        inference_table(results),
        inference_peers_table(results),
        dimensions_table(results),
        options_table(results),
        training_table(results),
        peers_ratio_table(results),
    )
    return [table for table in tables if table.rows]


def missing_lines(results: Results) -> list[str]:
    """Return a line for each backend that is missing, and for each reason why peers are."""
    lines = [
        f"Without the {each['name']} backend: {each['reason']}."
        for each in results.backends
        if not each["available"]
    ]
    reasons: dict[str, list[str]] = {}
    for each in results.peers:
        if not each["available"]:
            kind = "not installed" if "not installed" in each["reason"] else each["reason"]
            reasons.setdefault(kind, []).append(each["title"])
    return lines + [
        f"Not compared, {reason}: {', '.join(titles)}"
        + ("; for all of them: pip install 'fastmlp[peers]'." if "inst" in reason else ".")
        for reason, titles in reasons.items()
    ]


def failure_lines(results: Results) -> list[str]:
    """Return a line for each measurement that failed, and one for the cases that were left out."""
    failed, left_out, why = without_left_out(results.failures)
    lines = [
        f"{each['case']}{' with ' if each['contender'] else ''}{each['contender']} failed: "
        f"{each['error']}"
        for each in failed
    ]
    if left_out:
        lines.append(f"Left out, {why}: {', '.join(each['case'] for each in left_out)}.")
    return lines
