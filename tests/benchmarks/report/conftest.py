"""Results to report: made up, with every section, so that what is shown can be checked."""

from __future__ import annotations

import copy
import html.parser
import math
import random
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest

from fastmlp.benchmarks.report.document import Document
from fastmlp.benchmarks.results import SCHEMA, SCHEMA_VERSION

Content = dict[str, Any]

BACKENDS = {"cython": 1.0, "numba": 1.4, "numpy": 2.6, "python": 900.0}
PEERS = {
    "numpy_by_hand": ("NumPy by hand", 3.1),
    "sklearn": ("scikit-learn", 5.2),
    "torch_eager": ("PyTorch eager", 3.9),
    "torch_compile": ("PyTorch compiled", 2.2),
    "torch_bfloat16": ("PyTorch bfloat16 autocast", 1.8),
    "jax_scan": ("JAX, epoch in one scan", 2.4),
}
NETWORKS = (
    ((784, 30, 10), 10, 0.61),
    ((784, 128, 10), 32, 0.55),
    ((784, 128, 10), 128, 0.29),
    ((784, 512, 512, 10), 128, 2.1),
    ((20, 64, 32, 1), 32, 0.11),
)
KERNELS = (
    ("matmul", "forward 128x784 @ 784x128", {"rows": 128}, 2 * 128 * 784 * 128, 120e-6),
    ("matmul_weight_gradient", "weight gradient 784x128 @ 128x128", {"rows": 784}, 25_690_112,
     130e-6),
    ("backpropagation", "backpropagation 784-128-10 batch 128",
     {"sizes": [784, 128, 10], "activation": "relu", "optimizer": "sgd"}, 51e6, 420e-6),
    ("sigmoid", "sigmoid 128x128", {"activation": "sigmoid"}, None, 6.1e-6),
    ("sigmoid_derivative", "sigmoid' 128x128", {"activation": "sigmoid"}, None, 2.3e-6),
    ("gelu", "gelu 128x128", {"activation": "gelu"}, None, 14e-6),
    ("update_sgd", "sgd update", {"optimizer": "sgd"}, None, 21e-6),
    ("update_adam", "adam update", {"optimizer": "adam"}, None, 75e-6),
)  # fmt: skip


def measurement(
    case: str, group: str, contender: str, seconds: float, noise: random.Random, **changes: Any
) -> Content:
    repetitions = [round(seconds * noise.uniform(0.97, 1.06), 9) for _ in range(5)]
    is_reference = contender == "python"
    scale = 32.0 if is_reference and group == "training" else 1.0
    repetitions = [value / scale for value in repetitions]
    ordered = sorted(repetitions)
    found: Content = {
        "case": case,
        "group": group,
        "contender": contender,
        "kind": "backend" if contender in BACKENDS else "peer",
        "isa": {"cython": "avx512", "numba": "znver5", "numpy": "OpenBLAS"}.get(contender, ""),
        "precision": "float32",
        "max_isa": "",
        "n_threads": 1 if is_reference else 2,
        "rows_timed": 1875 if scale > 1 else 60_000,
        "rows_reported": 60_000,
        "loops": 1,
        "first_call_seconds": 0.4,
        "repetitions": repetitions,
        "scale": scale,
        "is_scaled": scale > 1,
        "median_seconds": ordered[2] * scale,
        "spread_seconds": (ordered[3] - ordered[1]) * scale,
        "samples_per_second": 60_000 / (ordered[2] * scale),
        "flops": None,
        "accuracy": None,
        "accuracy_note": "",
    }
    return found | changes


def make_content() -> Content:
    """Return the content of a complete results.json."""
    noise = random.Random(0)
    cases, measurements = [], []
    for name, title, parameters, flops, seconds in KERNELS:
        cases.append(_case(name, "kernels", title, "One call.", parameters))
        for contender, factor in BACKENDS.items():
            measurements.append(
                measurement(
                    name, "kernels", contender, seconds * factor ** noise.uniform(0.7, 1.1), noise,
                    rows_timed=128, rows_reported=128, loops=30, flops=flops, is_scaled=False,
                )
            )  # fmt: skip
    for sizes, batch, seconds in NETWORKS:
        text = "-".join(map(str, sizes))
        name = f"train_{text}_{batch}"
        parameters = {"sizes": list(sizes), "batch_size": batch, "activation": "relu"}
        cases.append(_case(name, "training", f"{text} batch {batch}", "An epoch.", parameters))
        rates = BACKENDS | {name: factor for name, (_, factor) in PEERS.items()}
        for contender, factor in rates.items():
            accuracy: Content = {"accuracy": 0.97 + noise.uniform(-0.004, 0.004)}
            accuracy["accuracy_note"] = "after 5 epochs"
            if contender == "python":
                accuracy = {"accuracy": None, "accuracy_note": "trained on 1,875 rows only"}
            if contender == "torch_bfloat16":
                accuracy["precision"] = "bfloat16"
            took = seconds * factor ** noise.uniform(0.8, 1.1)
            flops = 6e4 * 6 * sum(a * b for a, b in pairwise(sizes))
            measurements.append(
                measurement(name, "training", contender, took, noise, flops=flops, **accuracy)
            )
        for isa, precision, cap in (("avx2", "float32", "avx2"), ("avx512", "bfloat16", "")):
            measurements.append(
                measurement(
                    name, "training", "cython", seconds * (1.7 if cap else 0.8), noise, isa=isa,
                    max_isa=cap, precision=precision, accuracy=0.969,
                    accuracy_note="after 5 epochs",
                )
            )  # fmt: skip
    for rows, seconds in ((1, 11e-6), (64, 60e-6), (10_000, 9e-3)):
        name = f"predict_{rows}"
        parameters = {"sizes": [784, 128, 10], "rows": rows}
        plural = "s" if rows > 1 else ""
        cases.append(_case(name, "inference", f"{rows:,} row{plural}", "Predict.", parameters))
        for contender, factor in (BACKENDS | {"onnxruntime": 1.2, "torch_eager": 4.0}).items():
            took = seconds * factor ** noise.uniform(0.7, 1.2)
            measurements.append(
                measurement(
                    name, "inference", contender, took, noise, rows_timed=rows,
                    rows_reported=rows, is_scaled=False, samples_per_second=rows / took,
                )
            )  # fmt: skip
    for axis, value, case, found in _growth(noise):
        cases.append(case | {"parameters": {"axis": axis, "value": value, "rows": 4096}})
        measurements += found
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "date": "2030-01-02T03:04:05+00:00",
        "fastmlp_version": "9.8.7",
        "command": "fastmlp bench --data digits",
        "complete": True,
        "level": "default",
        "settings": {"repeats": 5, "threads": 2, "precision": "float32", "seed": 0},
        "data": {"name": "digits", "rows": 60_000, "test_rows": 10_000},
        "machine": {
            "cpu": "Some Maker Fast 9000 16-Core Processor", "architecture": "x86_64",
            "logical_cpus": 4, "usable_cpus": 2, "memory_bytes": 24 * 2**30,
            "os": "Linux (Some Distribution 12)",
        },
        "software": {"python": "CPython 3.11.0", "numpy": "2.4.6", "cython": ""},
        "backends": [
            {"name": name, "available": True, "reason": "", "isa": "avx512", "n_threads": 2,
             "precisions": ["float32", "float64"]}
            for name in BACKENDS
        ],
        "peers": [
            *({"name": name, "title": title, "available": True, "reason": "", "version": "1.2.3"}
              for name, (title, _) in PEERS.items()),
            {"name": "onnxruntime", "title": "ONNX Runtime", "available": True, "reason": "",
             "version": "1.18.0"},
            {"name": "tensorflow", "title": "TensorFlow, Keras layers", "available": False,
             "reason": "not installed; pip install 'fastmlp[peers]'", "version": ""},
        ],
        "cases": cases,
        "measurements": measurements,
        "roofline": _roofline(),
        "cold_start": _cold_start(),
        "drawbacks": _drawbacks(noise),
        "failures": [],
    }  # fmt: skip


def _case(name: str, group: str, title: str, description: str, parameters: Content) -> Content:
    return {
        "name": name, "group": group, "title": title, "description": description,
        "parameters": parameters,
    }  # fmt: skip


def _growth(noise: random.Random) -> Iterator[tuple[str, int, Content, list[Content]]]:
    axes = {
        "width": (16, 32, 64, 128, 256, 512, 1024),
        "depth": (1, 2, 4, 8),
        "batch": (8, 32, 128, 512),
        "rows": (1000, 4000, 16000, 60000),
        "threads": (1, 2),
    }
    for axis, values in axes.items():
        for value in values:
            name = f"growth_{axis}_{value}"
            case = _case(name, "growth", f"{axis} {value}", f"Cost against {axis}.", {})
            found = []
            for contender, factor in (("cython", 1.0), ("numba", 1.5), ("torch_eager", 4.0)):
                work = value / values[0] if axis not in ("batch", "threads") else 8.0 / value
                seconds = 0.004 * factor * (0.4 + work)
                flops = 9e8 * (value / values[0] if axis not in ("batch", "threads") else 1)
                threads = value if axis == "threads" else 2
                found.append(
                    measurement(
                        name, "growth", contender, seconds, noise, flops=flops, n_threads=threads
                    )
                )
            yield axis, value, case, found


def _roofline() -> Content:
    levels = (("L1", 16e3, 210.0), ("L2", 512e3, 120.0), ("L3", 8e6, 48.0), ("memory", 256e6, 21.0))
    return {
        "isas": [
            {"isa": isa, "precision": precision, "threads": threads,
             "fma_gflops": peak * threads * (1.0 if precision == "float32" else 0.5),
             "repetitions": [peak * threads * 0.99, peak * threads]}
            for isa, peak in (("sse2", 35.0), ("avx2", 140.0), ("avx512", 260.0))
            for precision in ("float32", "float64")
            for threads in (1, 2)
        ],
        "amx": {"available": False, "reason": "the CPU has no AMX"},
        "bandwidth": [
            {"level": level, "bytes": size, "threads": threads,
             "read_gb_per_second": rate * threads,
             "repetitions": [rate * threads * 0.99, rate * threads * 1.02]}
            for level, size, rate in levels
            for threads in (1, 2)
        ],
    }  # fmt: skip


def _cold_start() -> Content:
    reached = [
        {"contender": name, "target": target, "seconds": [took, took * 1.1, took * 1.05],
         "epochs": epochs, "accuracy": target + 0.002, "note": ""}
        for target, epochs in ((0.97, 2), (0.98, 5))
        for name, took in (("cython", 0.9), ("numba", 3.2), ("torch_eager", 8.0 + epochs))
    ]  # fmt: skip
    never = {"contender": "sklearn", "target": 0.98, "seconds": [], "epochs": 20, "accuracy": 0.975,
             "note": "not reached in 20 epochs"}  # fmt: skip
    return {
        "time_to_accuracy": [*reached, never],
        "import_seconds": [{"name": "fastmlp", "repetitions": [0.11, 0.12]},
                           {"name": "torch", "repetitions": [1.9, 2.0]}],
        "install_bytes": [{"name": "fastmlp", "bytes": 2_100_000}, {"name": "torch", "bytes": 7e8}],
        "peak_memory_bytes": [
            {"contender": "cython", "case": "train_784-128-10_128", "bytes": 140_000_000}
        ],
    }  # fmt: skip


def _drawbacks(noise: random.Random) -> Content:
    def series(label: str, mean: list[float]) -> Content:
        runs = [[value * (1 + noise.uniform(-0.02, 0.02)) for value in mean] for _ in range(3)]
        columns = list(zip(*runs, strict=True))
        return {"label": label, "mean": mean, "low": [min(c) for c in columns],
                "high": [max(c) for c in columns], "runs": runs}  # fmt: skip

    shifts = list(range(9))
    sizes = [28, 56, 112, 224]
    experiments = [
        {"name": "permutation", "title": "Pixels in another order",
         "question": "Does the network know which pixels are neighbours?",
         "x_label": "pixels", "x": ["in place", "permuted"], "y_label": "test accuracy",
         "series": [series("MLP", [0.92, 0.921]), series("CNN", [0.96, 0.87])],
         "paragraph": "The MLP has 92.0% and 92.1%: it never knew the neighbourhood."},
        {"name": "translation", "title": "Digits moved sideways", "question": "And moved?",
         "x_label": "pixels moved", "x": shifts, "y_label": "test accuracy",
         "series": [series("MLP", [0.93 * math.exp(-0.03 * s * s) + 0.05 for s in shifts]),
                    series("CNN", [0.95 * math.exp(-0.015 * s * s) + 0.03 for s in shifts])],
         "paragraph": "At 4 pixels the MLP falls to 63%, the CNN to 78%."},
        {"name": "size-memory", "title": "Memory of the first layer", "question": "",
         "x_label": "image side", "x": sizes, "y_label": "bytes of the first layer",
         "series": [series("MLP", [s * s * 128.0 * 4 for s in sizes]),
                    series("CNN", [3.0e3] * 4)],
         "paragraph": "From 28 to 224 pixels the MLP's first layer grows 64-fold."},
        {"name": "recall", "title": "Recall over longer sequences", "question": "How long?",
         "x_label": "sequence length", "x": [10, 20, 40], "y_label": "test accuracy",
         "series": [series("MLP", [0.9, 0.2, 0.1]), series("RNN", [0.9, 0.6, 0.3]),
                    {"label": "LSTM", "mean": [0.98, 0.95, None], "low": [0.97, 0.94, None],
                     "high": [0.99, 0.96, None], "runs": [[0.98, 0.95, None]]}],
         "paragraph": "The LSTM keeps 95.0% at twice the length."},
    ]  # fmt: skip
    ramp = [[[(x * 7 + y * 3 + 20 * k) % 256 for x in range(28)] for y in range(28)]
            for k in range(12)]  # fmt: skip
    return {
        "level": "default",
        "seconds": 40.0,
        "experiments": experiments,
        "pictures": [
            {"name": "weights", "title": "First-layer weights of the MLP", "width": 28,
             "height": 28, "images": ramp, "labels": [f"unit {k}" for k in range(12)]}
        ],
        "tables": [
            {"name": "budgets", "title": "Parameter budgets", "columns": ["model", "parameters"],
             "rows": [["MLP", 25_450], ["CNN", 25_112]]}
        ],
        "skipped": [{"name": "CIFAR-10", "reason": "the files are not there"}],
    }  # fmt: skip


@pytest.fixture(scope="session")
def _content() -> Content:
    return make_content()


@pytest.fixture
def content(_content: Content) -> Content:
    """The content of a complete results.json, to be changed at will."""
    return copy.deepcopy(_content)


@pytest.fixture
def short_content(content: Content) -> Content:
    """One whose optional sections are null: their plots take seconds to draw."""
    return content | dict.fromkeys(("roofline", "cold_start", "drawbacks"))


@pytest.fixture
def bare_content(short_content: Content) -> Content:
    """One in which nothing was measured either."""
    changes = {"measurements": [], "cases": [], "peers": [], "backends": [], "complete": False}
    return short_content | changes


@pytest.fixture
def crowded_content(content: Content) -> Content:
    """One with every peer, many variants and the working sets of the probe: long legends."""
    noise = random.Random(1)
    more = (("tensorflow", 6.0), ("onnxruntime", 2.0), ("openvino", 1.7))
    openvino = {"name": "openvino", "title": "OpenVINO", "available": True, "reason": ""}
    content["peers"].append(openvino | {"version": "1.2.3"})
    networks = (
        ("XL", (784, 2048, 2048, 10), 512),
        ("tabular_wide", (100, 256, 256, 1), 256),
    )
    for name, sizes, batch in networks:
        title = f"{name}: {'-'.join(map(str, sizes))}, batch {batch}"
        parameters = {"sizes": list(sizes), "batch_size": batch, "activation": "relu"}
        content["cases"].append(_case(name, "training", title, "An epoch.", parameters))
        for contender, factor in (BACKENDS | {n: f for n, (_, f) in PEERS.items()}).items():
            accuracy = None if contender == "python" else 0.9731
            content["measurements"].append(
                measurement(name, "training", contender, factor, noise, accuracy=accuracy)
            )
    for case in [each for each in content["cases"] if each["group"] == "training"]:
        found = measurement(case["name"], "training", "tensorflow", 6.0, noise, accuracy=0.97)
        content["measurements"].append(found)
    for contender, factor in more:
        for rows in (1, 64, 10_000):
            content["measurements"].append(
                measurement(f"predict_{rows}", "inference", contender, 1e-4 * factor, noise)
            )
    variants: list[Content] = [
        {"max_isa": "baseline"}, {"max_isa": "avx2"}, {"precision": "float64"},
        {"precision": "bfloat16"}, {"n_threads": 1},
    ]  # fmt: skip
    for case, group in (("matmul", "kernels"), ("train_784-128-10_128", "training")):
        for contender, first in (("cython", 0), ("numba", 0), ("numpy", 2)):
            for changes in variants[first:]:
                content["measurements"].append(
                    measurement(case, group, contender, 0.3, noise, **changes)
                )
    kilo, mega = 2**10, 2**20
    sizes_read = (16 * kilo, 256 * kilo, 4 * mega, 64 * mega, 256 * mega)
    content["roofline"]["bandwidth"] = [
        {"level": "memory", "bytes": size, "bytes_per_thread": size // threads,
         "threads": threads, "isa": "avx512", "read_gb_per_second": 9e9 * threads / size**0.5,
         "repetitions": []}
        for size in sizes_read
        for threads in (1, 2)
    ]  # fmt: skip
    return content


@pytest.fixture
def document(content: Content) -> Document:
    return Document(content)


class PageReader(html.parser.HTMLParser):
    """Collects the text, checks the nesting and the ids, and notes what would be loaded."""

    VOID = frozenset({"meta", "br", "img", "link", "input", "hr"})
    LOADING = frozenset(
        {"src", "href", "xlink:href", "data", "action", "poster", "srcset", "background"}
    )

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.loaded: list[str] = []
        self.referenced: list[str] = []
        self.text = ""
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif self.open and self.open[-1] != "style":
            self.text += data + "\n"

    def _note(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            text = value or ""
            if name == "id":
                self.ids.append(text)
            if name in self.LOADING and text.startswith("#"):
                self.referenced.append(text[1:])
            elif name in self.LOADING and not text.startswith("data:"):
                self.loaded.append(text)


@pytest.fixture
def read_page() -> Callable[[str], PageReader]:
    """Return a function that reads a page, and fails if its tags are not balanced."""

    def read(page: str) -> PageReader:
        reader = PageReader()
        reader.feed(page)
        reader.close()
        assert reader.open == []
        return reader

    return read
