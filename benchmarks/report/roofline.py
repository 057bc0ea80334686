"""The machine's limits as our own probe measured them, and what share of them is reached."""

from __future__ import annotations

from typing import Any

from .cells import columns, number, numbers, words
from .contestants import series_style
from .document import Document, Measured, fastest, gflops, is_reference, matrix_unit_rows
from .measured import axis_scale
from .model import Appendix, Block, Cell, Figure, Heading, Plot, Series, Table
from .traffic import bandwidth_share, read_rate

GROUPS = ("training", "inference")


def roofline_blocks(document: Document) -> list[Block]:
    """Return the limits and the shares of them; nothing if they were not measured."""
    roofline: dict[str, Any] = document["roofline"] or {}
    bandwidth = roofline.get("bandwidth") or []
    peaks = _peaks(roofline)
    titles = ("ISA", "precision", ">threads", ">peak GFLOP/s")
    if not peaks and not bandwidth:
        return []
    blocks: list[Block] = [Heading("The machine's limits, measured by our own probe")]
    if bandwidth:
        blocks.append(_bandwidth_figure(bandwidth))
    if peaks:
        rows = [[*names, peak] for *names, peak, _ in peaks]
        notes = ["GFLOP/s: 1e9 multiplications and additions per second, in registers, no memory."]
        reason = (roofline.get("amx") or {}).get("reason")
        if reason:
            notes.append(f"AMX: {reason}.".replace("..", "."))
        blocks.append(Table("Peak of the arithmetic", columns(*titles), rows, notes))
    shares = _shares_figure(document)
    if shares:
        blocks.append(shares)
    if peaks:
        raw = columns(*titles, "repetitions")
        blocks.append(Appendix(Table("Peak of the arithmetic, every repetition", raw, peaks)))
    return blocks


def _peaks(roofline: dict[str, Any]) -> list[list[Cell]]:
    amx: dict[str, Any] = roofline.get("amx") or {}
    found = [
        (each.get("isa"), each.get("precision"), each.get("fma_gflops"), each)
        for each in roofline.get("isas") or []
    ]
    found += [
        ("AMX", amx.get("precision") or "bfloat16", each["gflops"], each)
        for each in matrix_unit_rows(roofline)
    ]
    return [
        [
            words(isa),
            words(precision),
            number(each.get("threads")),
            number(peak, "rate"),
            numbers(each.get("repetitions") or [], "rate"),
        ]
        for isa, precision, peak, each in found
    ]


def _shares_figure(document: Document) -> Figure | None:
    """Return what share of both limits the fastest backend of each case reaches."""
    names: list[str] = []
    rows: list[list[Cell]] = []
    arithmetic = Series("multiply-adds, of the peak", [], [], [], [], series_style(0))
    memory = Series("reading, of the bandwidth", [], [], [], [], series_style(1))
    for group in GROUPS:
        for case, found in document.of_group(group, only_main=True):
            best = fastest(found, _is_fast_backend)
            if best is None:
                continue
            rate, peak = gflops(best), document.peak_gflops(best)
            shares = rate / peak if rate and peak else None, bandwidth_share(document, best)
            if shares == (None, None):
                continue
            for line, share in zip((arithmetic, memory), shares, strict=True):
                if share is not None:
                    line.x.append(float(len(names)))
                    for values in (line.y, line.low, line.high):
                        values.append(share)
            names.append(document.case_title(case))
            rows.append(
                [
                    words(names[-1]),
                    words(document.title_of(best["contender"])),
                    number(best["median_seconds"], "seconds"),
                    number(rate, "rate"),
                    number(shares[0], "share"),
                    number(read_rate(document, best), "rate"),
                    number(shares[1], "share"),
                ]
            )
    if not rows:
        return None
    titles = columns(
        "case", "fastest backend", ">time", ">GFLOP/s", ">of the peak", ">GB/s read at least",
        ">of the bandwidth",
    )  # fmt: skip
    table = Table("Share of the machine's limits", titles, rows)
    plot = Plot(
        "dots",
        [arithmetic, memory],
        "",
        "share of the limit",
        y_kind="share",
        names=names,
        limits=[("the limit", 1.0)],
    )
    return Figure(
        "roofline-shares",
        "Share of the machine's limits",
        plot,
        table,
        question="Of the fastest backend: arithmetic against the peak, reading against the "
        "bandwidth of caches and memory, with as many threads.",
        caption="Reading is what cannot be avoided: every row once, every parameter once a batch, "
        "each from the smallest cache that holds it. What is far from both limits waits: for "
        "calls, for threads, for data that are written and read again. Beyond the peak of "
        "arithmetic is what leaves out products with zeros, which are counted.",
        compact=table,
    )


def _is_fast_backend(measured: Measured) -> bool:
    return measured["kind"] == "backend" and not is_reference(measured)


def _bandwidth_figure(bandwidth: list[dict[str, Any]]) -> Figure:
    rows = [
        [
            words(each.get("level")),
            number(each.get("bytes"), "bytes"),
            number(each.get("threads")),
            number(each.get("read_gb_per_second"), "rate"),
            numbers(each.get("repetitions") or [], "rate"),
        ]
        for each in bandwidth
    ]
    titles = columns("level", ">size", ">threads", ">GB/s read", "repetitions")
    table = Table("Bandwidth of memory", titles, rows)
    series = []
    for position, threads in enumerate(sorted({each.get("threads") or 1 for each in bandwidth})):
        own = [each for each in bandwidth if (each.get("threads") or 1) == threads]
        own.sort(key=lambda each: float(each["bytes"]))
        y = [float(each["read_gb_per_second"]) for each in own]
        spread = [[float(v) for v in each.get("repetitions") or []] or [y[i]]
                  for i, each in enumerate(own)]  # fmt: skip
        series.append(
            Series(
                f"{threads} thread{'s' if threads > 1 else ''}",
                [float(each["bytes"]) for each in own],
                y,
                [min(*values, middle) for values, middle in zip(spread, y, strict=True)],
                [max(*values, middle) for values, middle in zip(spread, y, strict=True)],
                series_style(position),
            )
        )
    values = [y for line in series for y in line.y]
    plot = Plot(
        "curves", series, "bytes read over and over", "GB/s", "log2", axis_scale(values), "rate"
    )
    return Figure(
        "roofline-bandwidth",
        "Bandwidth of caches and memory",
        plot,
        table,
        question="How fast data come from where they lie: small arrays stay in a cache.",
        compact=table,
    )
