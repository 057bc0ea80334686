"""report.html: one file that stands on its own, without scripts and without network requests."""

from __future__ import annotations

import html
import math
from pathlib import Path

from .cases import REFERENCE
from .results import Measurement, Results, write_text
from .tables import (
    SCALED,
    Table,
    backends_table,
    failure_lines,
    format_speedup,
    format_time,
    general_notes,
    kernels_table,
    machine_table,
    measurements_table,
    training_table,
)

STYLE = """
:root { color-scheme: light dark; --ink: #1b2330; --soft: #5b6675; --paper: #fbfbf9;
  --card: #ffffff; --line: #dfe3e8; --bar: #2f6db5; --reference: #9aa5b1; --warn: #9a4b00;
  --stripe: #f4f6f8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #9ba7b6; --paper: #14181e;
  --card: #1b2129; --line: #303946; --bar: #6aa5ea; --reference: #667281; --warn: #f0a45d;
  --stripe: #20272f; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 66rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; margin: 0 0 .25rem; } h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; }
.lead { font-size: 1.15rem; margin: 1rem 0 0; max-width: 46rem; }
.soft, .notes { color: var(--soft); } .notes { font-size: .875rem; padding-left: 1.1rem; }
.warning { border-left: 4px solid var(--warn); padding: .5rem 1rem; background: var(--card);
  color: var(--warn); }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line);
  border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-size: .92rem;
  font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .45rem .8rem; vertical-align: top; }
th { color: var(--soft); font-weight: 600; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
td.number { white-space: nowrap; } th.number, td.number { text-align: right; }
tbody tr:nth-child(even) { background: var(--stripe); }
svg { display: block; width: 100%; height: auto; padding: .75rem; }
svg text { fill: var(--ink); font-size: 14px; } svg .soft { fill: var(--soft); font-size: 12px; }
svg line { stroke: var(--line); } .bar { fill: var(--bar); } .reference { fill: var(--reference); }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 1rem;
  overflow-x: auto; }
summary { cursor: pointer; margin: 2.5rem 0 .75rem; font-size: 1.2rem; font-weight: 600; }
"""


def render(results: Results) -> str:
    """Return the report as HTML."""
    escape = html.escape
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>fastmlp {escape(results.fastmlp_version)}: benchmark</title>",
        f"<style>{STYLE}</style></head><body><main>",
        "<h1>fastmlp benchmark</h1>",
        f'<div class="soft">{escape(results.machine["cpu"])}, '
        f"{results.machine['usable_cpus']} CPUs, {escape(results.date)}</div>",
    ]
    if not results.complete:
        parts.append(
            '<p class="warning"><strong>Incomplete:</strong> the run was interrupted; this is what '
            "had been measured by then.</p>"
        )
    for line in failure_lines(results):
        parts.append(f'<p class="warning">{escape(line)}</p>')
    parts.append(f'<p class="lead">{escape(summary(results))}</p>')
    for group, table in (
        ("training", training_table(results)),
        ("kernels", kernels_table(results)),
    ):
        if table.rows:
            parts.append(f"<h2>{escape(table.title)}</h2>")
            parts += [_bars(results, group), _table(table)]
    parts.append(_notes(general_notes(results)))
    for table in (backends_table(results), machine_table(results)):
        parts += [f"<h2>{escape(table.title)}</h2>", _table(table)]
    everything = measurements_table(results)
    parts += [
        f"<details><summary>{escape(everything.title)}</summary>{_table(everything)}</details>",
        "<h2>How it was measured, and how to do it again</h2>",
        f"<p>{escape(_method(results))}</p>",
        f"<pre>pip install 'fastmlp[numba]'\n{escape(results.command)}</pre>",
        "<p>Next to this file, <code>results.json</code> holds every repetition, with units.</p>",
        "</main></body></html>",
    ]
    return "\n".join(parts) + "\n"


def write_report(results: Results, path: Path) -> None:
    """Write report.html, whole or not at all."""
    write_text(path, render(results))


def summary(results: Results) -> str:
    """Return the outcome in a sentence or two."""
    epochs = [each for each in results.measurements if each.group == "training"]
    if not epochs:
        return f"{len(results.measurements)} measurements."
    best = min(epochs, key=lambda each: each.median_seconds)
    text = (
        f"The fastest backend here is {best.backend}: {format_time(best.median_seconds)} per epoch "
        f"of {best.rows_reported:,} images, {best.samples_per_second:,.0f} samples per second"
    )
    factor = results.speedup(best, REFERENCE)
    if best.backend != REFERENCE and not math.isnan(factor):
        text += f", {format_speedup(factor)} the speed of pure Python"
    return text + "."


def _method(results: Results) -> str:
    data = results.data
    images = {"digits": "drawn digits", "mnist": "MNIST"}.get(data["name"], data["name"])
    rows = f"{data['rows']:,} rows of {images}" if "rows" in data else images
    return (
        f"Trained on {rows}; network 784-128-10, ReLU, He initialisation, gradient descent with "
        f"learning rate 0.1, batches of 128, seed {results.settings['seed']}, "
        f"{results.settings['precision']}. Each case was prepared and called once per backend, "
        "then all were repeated in turn (A B A B), so that a change of the machine's speed meets "
        "all alike. Calls too short to time were looped for at least 5 ms."
    )


def _table(table: Table) -> str:
    def row(cells: list[str], tag: str) -> str:
        kinds = [' class="number"' if number else "" for number in table.is_number]
        return "".join(
            f"<{tag}{kind}>{html.escape(cell.strip())}</{tag}>"
            for cell, kind in zip(cells, kinds, strict=True)
        )

    head = f"<thead><tr>{row(table.titles, 'th')}</tr></thead>"
    body = "".join(f"<tr>{row(cells, 'td')}</tr>" for cells in table.rows)
    shown = f'<div class="scroll"><table>{head}<tbody>{body}</tbody></table></div>'
    return shown + _notes(table.notes)


def _notes(notes: list[str]) -> str:
    if not notes:
        return ""
    items = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    return f'<ul class="notes">{items}</ul>'


BAR_LEFT, BAR_RIGHT, ROW_HEIGHT = 330, 860, 26


def _bars(results: Results, group: str) -> str:
    """Draw how many times faster than the reference each backend is, on a logarithmic scale."""
    shown: list[tuple[str, Measurement, float]] = []
    for case, measurements in results.of_group(group):
        for each in measurements:
            factor = results.speedup(each, REFERENCE)
            if not math.isnan(factor):
                shown.append((case["title"] if each is measurements[0] else "", each, factor))
    if len(shown) < 2:
        return ""
    decades = max(1, math.ceil(math.log10(max(factor for _, _, factor in shown))))
    per_decade = (BAR_RIGHT - BAR_LEFT) / decades
    height = ROW_HEIGHT * len(shown) + 40
    parts = [
        f'<svg viewBox="0 0 960 {height}" role="img" aria-label="Speedup over pure Python">',
        f'<text class="soft" x="{BAR_LEFT}" y="12">times the speed of pure Python '
        "(logarithmic scale)</text>",
    ]
    for decade in range(decades + 1):
        x = BAR_LEFT + decade * per_decade
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="20" y2="{height - 18}"/>'
            f'<text class="soft" x="{x:.1f}" y="{height - 4}" text-anchor="middle">'
            f"{10**decade:,}x</text>"
        )
    for position, (title, each, factor) in enumerate(shown):
        y = 24 + position * ROW_HEIGHT
        width = max(2.0, math.log10(max(factor, 1.0)) * per_decade)
        kind = "reference" if each.backend == REFERENCE else "bar"
        mark = SCALED if each.is_scaled else ""
        parts.append(
            f'<text x="0" y="{y + 15}">{html.escape(title)}</text>'
            f'<text x="{BAR_LEFT - 10}" y="{y + 15}" text-anchor="end">{each.backend}</text>'
            f'<rect class="{kind}" x="{BAR_LEFT}" y="{y}" width="{width:.1f}" height="18" rx="3">'
            f"<title>{format_time(each.median_seconds)}{mark}</title></rect>"
            f'<text x="{BAR_LEFT + width + 8:.1f}" y="{y + 15}">{format_speedup(factor)}</text>'
        )
    drawing = "".join(parts)
    return f'<div class="scroll">{drawing}</svg></div><p></p>'
