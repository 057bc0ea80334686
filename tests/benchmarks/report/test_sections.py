"""What the sections compute: shares of the peak, ratios, powers of growth, scales."""

from __future__ import annotations

from typing import Any

import pytest

from fastmlp.benchmarks.report.build import build_report
from fastmlp.benchmarks.report.cold_start import cold_start_section
from fastmlp.benchmarks.report.contestants import contender_style
from fastmlp.benchmarks.report.document import Document
from fastmlp.benchmarks.report.drawbacks import drawbacks_section
from fastmlp.benchmarks.report.kernels import kernels_section
from fastmlp.benchmarks.report.measured import axis_scale
from fastmlp.benchmarks.report.model import Figure, Picture, Section, Style, Table
from fastmlp.benchmarks.report.peers import peers_section
from fastmlp.benchmarks.report.scaling import scaling_section
from fastmlp.benchmarks.report.training import training_section


def figures(section: Section) -> dict[str, Figure]:
    return {each.name: each for each in section.blocks if isinstance(each, Figure)}


def table(section: Section, title: str) -> list[list[str]]:
    for each in section.blocks:
        if isinstance(each, Table) and each.title == title:
            return [[cell.text for cell in row] for row in each.rows]
    raise AssertionError(title)


def only(content: dict[str, Any], case: str, contender: str) -> dict[str, Any]:
    found: dict[str, Any] = next(
        each
        for each in content["measurements"]
        if (each["case"], each["contender"]) == (case, contender)
    )
    return found


def test_names_of_figures_are_unique(content: dict[str, Any]) -> None:
    report = build_report(Document(content))
    names = [
        block.name
        for section in report.sections
        for block in section.blocks
        if isinstance(block, Figure | Picture)
    ]
    assert len(names) == len(set(names)) > 18


def test_the_share_of_the_peak_is_of_the_same_precision_and_threads(
    content: dict[str, Any],
) -> None:
    each = only(content, "growth_width_256", "cython")
    each["repetitions"], each["flops"] = [0.5], 130_000_000_000  # 260 GFLOP/s; the peak is 520
    section = scaling_section(Document(content))
    line = figures(section)["scaling-width-rate"].plot.series[0]
    assert line.y[line.x.index(256.0)] == pytest.approx(0.5)


def test_bfloat16_is_measured_against_the_matrix_unit(content: dict[str, Any]) -> None:
    rows = [{"threads": 2, "gflops": 9000.0}, {"threads": 1, "gflops": 4500.0}]
    content["roofline"]["amx"] = {"available": True, "reason": "", "rows": rows, **rows[0]}
    document = Document(content)
    found = {"contender": "cython", "precision": "bfloat16", "n_threads": 1}
    assert document.peak_gflops(found) == 4500.0
    assert document.peak_gflops(found | {"precision": "float32"}) == 260.0
    assert document.peak_gflops(found | {"precision": "float16"}) is None
    # The reference computes in float64 whatever it is asked for.
    reference = next(each for each in document.measurements if each["contender"] == "python")
    assert document.peak_gflops(reference) == 130.0
    assert ["AMX", "bfloat16", "2", "9,000"] in table(
        scaling_section(document), "Peak of the arithmetic"
    )


def test_the_share_of_the_bandwidth_stands_beside_that_of_the_peak(content: dict[str, Any]) -> None:
    each = only(content, "predict_1", "cython")
    weights = 4 * (785 * 128 + 129 * 10)  # 407 kB: from the second caches, 240 GB/s of two threads
    each["repetitions"] = [2 * (weights / 240e9 + 4 * 784 / 420e9)]
    found = figures(scaling_section(Document(content)))["roofline-shares"]
    arithmetic, memory = found.plot.series
    assert memory.y[found.plot.names.index("1 row")] == pytest.approx(0.5)
    assert found.data.columns[-1].title == "of the bandwidth"
    content["roofline"]["bandwidth"] = []
    found = figures(scaling_section(Document(content)))["roofline-shares"]
    assert found.plot.series[1].x == [] and arithmetic.x == found.plot.series[0].x


def test_without_a_roofline_the_rate_is_shown(content: dict[str, Any]) -> None:
    section = scaling_section(Document(content | {"roofline": None}))
    plot = figures(section)["scaling-width-rate"].plot
    assert plot.y_label == "GFLOP/s" and plot.limits == []
    assert "no share is shown" in section.lead


def test_the_power_of_growth(content: dict[str, Any]) -> None:
    for width, seconds in ((512, 0.01), (1024, 0.04)):
        only(content, f"growth_width_{width}", "cython")["repetitions"] = [seconds]
    figure = figures(scaling_section(Document(content)))["scaling-width-cost"]
    assert "cython 2.00" in figure.caption


@pytest.mark.parametrize("axis", ["batch", "threads"])
def test_what_does_not_grow_with_the_work_has_no_power(content: dict[str, Any], axis: str) -> None:
    assert figures(scaling_section(Document(content)))[f"scaling-{axis}-cost"].caption == ""


def test_a_growth_within_the_noise_has_no_power(content: dict[str, Any]) -> None:
    for width in (512, 1024):
        only(content, f"growth_width_{width}", "cython")["repetitions"] = [0.01, 0.02, 0.03, 0.04]
    figure = figures(scaling_section(Document(content)))["scaling-width-cost"]
    assert "cython" not in figure.caption and "numba" in figure.caption


def test_the_import_times_say_what_they_are(content: dict[str, Any]) -> None:
    blocks = cold_start_section(Document(content)).blocks
    notes = [note for each in blocks if isinstance(each, Table) for note in each.notes]
    assert any("Whole processes" in note and "loads no NumPy" in note for note in notes)


def test_variants_are_apart_from_the_main_measurements(content: dict[str, Any]) -> None:
    found = figures(training_section(Document(content)))
    labels = [line.label for line in found["training-backends"].plot.series]
    assert labels == ["cython", "numba", "numpy", "python"]
    variants = [line.label for line in found["training-dimensions"].plot.series]
    assert variants == ["cython", "cython avx2", "cython bfloat16"]
    styles = [line.style for line in found["training-dimensions"].plot.series]
    assert len({(style.marker, style.dash) for style in styles}) == 3


def test_no_two_contenders_look_alike_without_colour(content: dict[str, Any]) -> None:
    plot = figures(training_section(Document(content)))["training-peers"].plot
    looks = [(line.style.marker, line.style.is_hollow) for line in plot.series]
    assert len(looks) == len(set(looks)) == 9


def test_every_contender_and_every_variant_has_a_look_of_its_own(
    crowded_content: dict[str, Any],
) -> None:
    document = Document(crowded_content)
    styles = [contender_style(document, name) for name in document.titles]
    assert len(styles) == 13
    assert len({style.color for style in styles}) == len({style.marker for style in styles}) == 13
    variants = figures(training_section(document))["training-dimensions"].plot.series
    looks = [(line.style.marker, line.style.is_hollow) for line in variants]
    assert len(looks) > 12 and len(looks) == len(set(looks))


def test_kernels_are_sorted_into_parts(content: dict[str, Any]) -> None:
    found = figures(kernels_section(Document(content)))
    assert found["kernels-products"].plot.names[-1] == "backpropagation 784-128-10 batch 128"
    assert found["kernels-activations"].plot.names[0] == "sigmoid 128x128"
    assert found["kernels-updates"].plot.names == ["sgd update", "adam update"]


def test_a_peer_is_compared_with_the_fastest_backend_of_its_precision(
    content: dict[str, Any],
) -> None:
    name = "train_784-128-10_128"
    for each in content["measurements"]:
        if each["case"] == name:
            each["repetitions"] = [10.0 * each["rows_timed"] / each["rows_reported"]]
            if each["contender"] == "cython":
                each["repetitions"] = [1.0 if each["precision"] == "float32" else 0.25]
    rows = table(
        peers_section(Document(content)), "Training: how many times as long as the fastest backend"
    )
    ratios = {row[0]: row[3] for row in rows}
    assert ratios["scikit-learn"] == "10.0x"
    assert ratios["PyTorch bfloat16 autocast"] == "40.0x"


def test_the_peers_that_are_missing_say_why(content: dict[str, Any]) -> None:
    rows = table(peers_section(Document(content)), "Which peers took part")
    assert rows[-1] == [
        "TensorFlow, Keras layers", "-", "skipped: not installed; pip install 'fastmlp[peers]'",
    ]  # fmt: skip


def test_experiments_become_curves(content: dict[str, Any]) -> None:
    found = figures(drawbacks_section(Document(content)))
    permutation = found["drawback-permutation"].plot
    assert permutation.x_scale == "names" and permutation.names == ["in place", "permuted"]
    memory = found["drawback-size-memory"].plot
    assert (memory.x_scale, memory.y_scale, memory.y_kind) == ("log2", "log10", "bytes")
    shift = found["drawback-translation"].plot
    assert (shift.x_scale, shift.y_scale, shift.y_kind) == ("linear", "linear", "share")
    assert found["drawback-recall"].plot.series[2].x == [10.0, 20.0]  # the last was not reached


def test_a_model_looks_the_same_in_every_figure(content: dict[str, Any]) -> None:
    looks: dict[str, set[Style]] = {}
    for figure in figures(drawbacks_section(Document(content))).values():
        for line in figure.plot.series:
            looks.setdefault(line.label, set()).add(line.style)
    assert set(looks) == {"MLP", "CNN", "RNN", "LSTM"}
    assert all(len(styles) == 1 for styles in looks.values())
    assert len(set.union(*looks.values())) == 4


def test_a_picture_of_the_wrong_size_is_damage(content: dict[str, Any]) -> None:
    content["drawbacks"]["pictures"][0]["height"] = 27
    with pytest.raises(ValueError, match="784 pixels, not 28x27"):
        drawbacks_section(Document(content))


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1.0, 2.0], "linear"), ([1.0, 100.0], "log10"), ([0.0, 100.0], "linear"), ([], "linear")],
)
def test_axis_scale(values: list[float], expected: str) -> None:
    assert axis_scale(values) == expected


def test_options_stand_beside_the_epoch_without_them(content: dict[str, Any]) -> None:
    for name, seconds in (("option_plain", 0.5), ("option_adam", 0.625)):
        case = content["cases"][-1] | {"name": name, "group": "options", "title": name}
        content["cases"].append(case)
        measured = only(content, "growth_width_256", "cython")
        changes = {"case": name, "group": "options", "repetitions": [seconds]}
        content["measurements"].append(measured | changes)
    shown = table(training_section(Document(content)), "Time of an epoch with each option")
    assert shown == [
        ["option_plain", "0.500 s", "1.00x"],
        ["option_adam", "0.625 s", "1.25x"],
    ]


def test_a_single_run_of_a_cold_start_is_no_median(content: dict[str, Any]) -> None:
    found = content["cold_start"]
    found["import_seconds"][0]["repetitions"] = [0.11]
    found["peak_memory_bytes"][0]["repetitions"] = [130e6, 140e6, 150e6]
    section = cold_start_section(Document(content))
    assert [row[2] for row in table(section, "Import")] == ["1 run", "1.90 s, 2.00 s"]
    ((*_, peaks),) = table(section, "Peak memory of the process")
    assert len(peaks.split(", ")) == 3
