"""The command line, run as a process of its own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

import fastmlp
from fastmlp import cli
from fastmlp.datasets import load_digits

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs SIGINT and a pseudo-terminal")
QUICK_BENCH = (
    "bench", "--quick", "--cases", "matmul,sigmoid,M128", "--backends", "numpy", "--peers", "none",
    "--rows", "512", "--repeats", "2",
)  # fmt: skip


def run(
    arguments: Sequence[object], folder: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fastmlp", *map(str, arguments)],
        cwd=folder,
        # A busy machine slows down a BLAS with many threads a hundredfold.
        env=os.environ | {"FASTMLP_DEBUG": "", "OPENBLAS_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
    )


def error_of(arguments: Sequence[object], folder: Path, **environment: str) -> str:
    """Run what must fail, in this process, since there are many; return its one line."""
    said = io.StringIO()
    settings = {"FASTMLP_DEBUG": ""} | environment
    with (
        contextlib.chdir(folder),
        mock.patch.dict(os.environ, settings),
        contextlib.redirect_stderr(said),
    ):
        try:
            status: object = cli.main([*map(str, arguments)])
        except SystemExit as error:  # of the parser
            status = error.code
    assert status == 2, said.getvalue()
    lines = said.getvalue().splitlines()
    errors = [line for line in lines if line.startswith("fastmlp: error: ")]
    assert len(errors) == 1 and "Traceback" not in said.getvalue(), said.getvalue()
    return errors[0]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network for digits, trained a little."""
    folder = tmp_path_factory.mktemp("model")
    options = "--hidden 32,16 --epochs 3 --optimizer adam --backend numpy --save digits.model"
    result = run(["train", "--data", "digits", *options.split()], folder)
    assert result.returncode == 0, result.stderr
    return folder / "digits.model"


# --- help and version ---------------------------------------------------------------------------


def test_version(tmp_path: Path) -> None:
    result = run(["--version"], tmp_path)
    assert (result.returncode, result.stdout) == (0, f"fastmlp {fastmlp.__version__}\n")


@pytest.mark.parametrize("command", ["bench", "train", "predict", "explain", "info"])
def test_every_command_has_help(command: str, tmp_path: Path) -> None:
    assert f"    {command} " in run(["--help"], tmp_path).stdout
    result = run([command, "--help"], tmp_path)
    assert result.returncode == 0, result.stderr
    assert f"fastmlp {command}" in result.stdout
    assert "example" in result.stdout.lower()


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, fastmlp.cli\n"
        "try: fastmlp.cli.main(['bench', '--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(any(name in sys.modules for name in ('numpy', 'numba')))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True)
    assert result.returncode == 0


# --- train and predict --------------------------------------------------------------------------


def test_train_reports_and_saves_to_the_very_path(model: Path) -> None:
    assert [path.name for path in model.parent.iterdir()] == ["digits.model"]
    trainer = fastmlp.load(model)
    assert trainer.network.sizes == (784, 32, 16, 10)
    assert trainer.history.n_epochs == 3
    assert trainer.network.input_scale == pytest.approx(1 / 255)


def test_train_last_line(tmp_path: Path) -> None:
    options = "--hidden 8 --epochs 1 --backend numpy --precision float64 --threads 1"
    result = run(["train", "--data", "digits", *options.split()], tmp_path)
    assert result.returncode == 0, result.stderr
    first, reason, last = result.stdout.splitlines()
    assert "784-8-10" in first and "float64" in first
    assert reason == "backend numpy: asked for by name"
    assert re.fullmatch(
        r"test loss \d\.\d+, test accuracy \d+\.\d\d%, 1 epoch in .+, backend numpy", last
    )
    assert list(tmp_path.iterdir()) == []


def test_train_takes_digits_and_one_activation_per_layer(tmp_path: Path) -> None:
    options = "--hidden 8,6 --activation relu,tanh --epochs 0 --backend numpy --save model"
    result = run(["train", *options.split()], tmp_path)
    assert result.returncode == 0, result.stderr
    trainer = fastmlp.load(tmp_path / "model")
    assert trainer.network.sizes == (784, 8, 6, 10)
    assert trainer.network.layer_activations == ("relu", "tanh", "softmax")


def test_train_for_no_epoch_evaluates(tmp_path: Path) -> None:
    options = "--hidden 8 --epochs 0 --backend numpy"
    result = run(["train", "--data", "digits", *options.split()], tmp_path)
    assert result.returncode == 0, result.stderr
    assert re.search(r"test loss 2\.\d+, test accuracy", result.stdout)


def test_predict_data(model: Path, tmp_path: Path) -> None:
    result = run(["predict", model, "--data", "digits", "--output", "p.csv"], tmp_path)
    assert result.returncode == 0, result.stderr
    predicted = np.loadtxt(tmp_path / "p.csv", dtype=int)
    accuracy = np.mean(predicted == load_digits(0, 2000).y_test)
    assert accuracy > 0.5
    assert f"test accuracy {accuracy:.2%} on 2,000 rows" in result.stdout
    assert "wrong" in result.stdout


def write_npy(path: Path, images: np.ndarray) -> None:
    with path.open("wb") as file:  # given a path, NumPy would add an ending
        np.save(file, images.reshape(-1, 28, 28))


def write_csv(path: Path, images: np.ndarray) -> None:
    np.savetxt(path, images, fmt="%d", delimiter=",")


def write_csv_with_names(path: Path, images: np.ndarray) -> None:
    names = ",".join(f"pixel{i}" for i in range(784))
    np.savetxt(path, images, fmt="%d", delimiter=",", header=names, comments="")


def write_idx(path: Path, images: np.ndarray) -> None:
    header = np.array([0x00000803, len(images), 28, 28], ">u4").tobytes()
    path.write_bytes(header + images.tobytes())


@pytest.mark.parametrize("write", [write_npy, write_csv, write_csv_with_names, write_idx])
def test_predict_input(write, model: Path, tmp_path: Path) -> None:
    images = load_digits(0, 20).x_test
    expected = "".join(f"{label}\n" for label in fastmlp.load(model).predict(images))
    write(tmp_path / "rows", images)
    result = run(["predict", model, "--input", "rows"], tmp_path)
    assert (result.returncode, result.stdout) == (0, expected), result.stderr
    run(["predict", model, "--input", "rows", "--output", "p.csv"], tmp_path)
    assert (tmp_path / "p.csv").read_text() == expected


# --- bench and info -----------------------------------------------------------------------------


def test_bench(tmp_path: Path) -> None:
    result = run(QUICK_BENCH, tmp_path)
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "fastmlp-report"
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "results.json"]
    document = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert document["complete"] is True
    assert document["data"] == {
        "name": "digits", "rows": 512, "test_rows": 512, "rows_reported": 60_000,
    }  # fmt: skip
    assert {each["contender"] for each in document["measurements"]} == {"numpy"}
    for title in ("Kernels", "forward 128x784", "sigmoid 128x128", "Training", "M128"):
        assert title in result.stdout
    assert "timed on 512 of 60,000 rows" in result.stdout
    assert "after 2 epochs of 512 rows" in result.stdout


def test_info(tmp_path: Path) -> None:
    result = run(["info"], tmp_path, FASTMLP_BACKEND="numpy")
    assert result.returncode == 0, result.stderr
    for info in fastmlp.backends():
        assert re.search(rf"^  {info.name} +(available|missing)  ", result.stdout, re.MULTILINE)
    assert "auto    takes numpy: set by the environment" in result.stdout


def test_info_goes_on_after_a_wrong_backend(tmp_path: Path) -> None:
    result = run(["info"], tmp_path, FASTMLP_BACKEND="cyton")
    assert (result.returncode, result.stderr) == (0, "")
    (line,) = re.findall("^  auto .*", result.stdout, re.MULTILINE)
    assert "fails: the environment variable FASTMLP_BACKEND" in line
    assert "Did you mean 'cython'?" in line
    assert "\nVersions\n" in result.stdout and "\nMachine\n" in result.stdout


CAPS = "baseline, avx2, avx512, avx512_vnni, avx512_bf16, amx"
WRONG_CAP = f"the environment variable FASTMLP_MAX_ISA must be one of {CAPS}; got 'x'"


def test_info_gives_a_wrong_cap_as_the_reason(tmp_path: Path) -> None:
    result = run(["info"], tmp_path, FASTMLP_MAX_ISA="x")
    assert result.returncode == 0, result.stderr
    for name in ("cython", "numba"):
        if {info.name: info for info in fastmlp.backends()}[name].available:
            assert f"  {name:8}missing    {WRONG_CAP}\n" in result.stdout


@pytest.mark.parametrize(
    ("sizes", "options", "predicted"),
    [
        ((784, 5), {"group_sizes": (3, 2)}, "2 classes per row"),
        ((784, 3), {"output": "sigmoid"}, "3 classes per row"),
        ((784, 2), {"output": "identity"}, "2 values per row"),
        ((784, 1), {"output": "identity"}, "values, not classes"),
    ],
)
def test_predictions_that_are_no_class_numbers(
    sizes: tuple[int, ...], options: dict[str, Any], predicted: str, tmp_path: Path
) -> None:
    trainer = fastmlp.Trainer(fastmlp.Network(sizes, seed=0, **options))
    fastmlp.save(trainer, tmp_path / "model")
    said = error_of(["predict", tmp_path / "model", "--data", "digits"], tmp_path)
    assert "one class number per row" in said and "--input FILE" in said
    assert f"which predicts {predicted}." in said
    rows = np.random.default_rng(0).random((4, 784))
    np.save(tmp_path / "rows.npy", rows)
    result = run(["predict", tmp_path / "model", "--input", "rows.npy"], tmp_path)
    expected = trainer.predict(rows).reshape(4, -1).tolist()
    assert result.stdout.splitlines() == [",".join(map(repr, row)) for row in expected]


@pytest.mark.parametrize(
    "arguments",
    [("train", "--hidden", "4", "--epochs", "0", "--backend", "numpy"), QUICK_BENCH],
    ids=["train", "bench"],
)
def test_a_wrong_cap_is_a_warning(arguments: Sequence[str], tmp_path: Path) -> None:
    result = run(arguments, tmp_path, FASTMLP_MAX_ISA="x")
    assert result.returncode == 0, result.stderr
    left_out = "the cython and numba backends are left out"
    assert f"fastmlp: warning: {WRONG_CAP}; {left_out}\n" in result.stderr


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "required: command"),
        ("benhc", "invalid choice: 'benhc'"),
        ("train --data digits --epochs x", "--epochs: invalid int value: 'x'"),
        ("train --data digits --hidden 12,x", "such as 128 or 128,64; got '12,x'"),
        ("train --data digits --activation reluu", "Did you mean 'relu'?"),
        ("train --hidden 8,8 --activation relu,Tanh", "Did you mean 'tanh'?"),
        ("train --hidden 8,8 --activation relu,relu,relu", "one per hidden layer (2); got 3"),
        ("train --hidden 8 --activation relu,", "--activation must be names with commas"),
        ("train --batch-size 9223372036854775808", "must be an integer from 1 to 2,147,483,647"),
        ("train --data digits --optimizer sdg", "Did you mean 'sgd'?"),
        ("train --data digits --backend nunpy", "Did you mean 'numpy'?"),
        ("train --data digits --learning-rate nan", "learning_rate must be a finite number"),
        ("train --data digits --epochs -1", "--epochs must be an integer >= 0; got -1"),
        ("train --data digits --save missing/model", "missing"),
        ("train --data digits --save .", "this is a folder"),
        ("train --data mnist --data-dir missing", "missing"),
        ("predict missing.npz --data digits", "missing.npz: No such file"),
        ("predict text.txt --data digits", "text.txt: expected a file written by fastmlp.save"),
        ("bench --backends nunpy", "backend must be one of"),
        ("bench --backends auto", "one of 'cython', 'numba', 'numpy', 'python'; got 'auto'."),
        ("bench --backends numpy,", "names with commas between them; got 'numpy,'"),
        ("bench --repeats 0", "repeats must be an integer >= 1; got 0"),
        ("bench --rows 5", "rows must be an integer >= 128; got 5"),
        ("bench --threads 0", "--threads must be an integer >= 1; got 0"),
        ("bench --output text.txt", "text.txt: expected a folder"),
        ("bench --cases M12", "Did you mean 'M128'?"),
        ("bench --peers torhc", "Did you mean 'torch'?"),
        ("bench --skip rooflines", "Did you mean 'roofline'?"),
        ("bench --quick --full", "not allowed with argument"),
        ("bench --compare missing.json text.txt", "missing.json: No such file"),
        ("bench --compare text.txt text.txt", "text.txt: damaged: not a JSON file"),
    ],
)
def test_errors(line: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("no model")
    assert said in error_of(line.split(), tmp_path, FASTMLP_MNIST_MIRROR="http://127.0.0.1:9/")
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"1,2,3\n4,5,x\n", "numbers with commas"),
        (b"", "the first line is empty"),
        (b"a,b\n", "there are no rows after the line of column names"),
        (b"a,b\n\n# 1,2\n", "there are no rows after the line of column names"),
        (b"# 1,2\n", "there are no rows"),
        (b"1,2,3\n", "(rows, 784)"),
        (b"\x93NUMPY\x01\x00", "a damaged .npy file"),
        (b"\x00\x00\x08\x03\x00", "rows"),
    ],
)
def test_unreadable_input(content: bytes, said: str, model: Path, tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(content)
    assert said in error_of(["predict", model, "--input", "rows"], tmp_path)


def test_an_array_of_objects_is_refused_with_the_reason(model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.array([[1, None]], dtype=object))
    said = error_of(["predict", model, "--input", "rows.npy"], tmp_path)
    assert "holds Python objects" in said and "damaged" not in said


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError("Unable to allocate 1 TiB"), "not enough memory: Unable to allocate 1 TiB"),
        (MemoryError(), "there is not enough memory"),
    ],
)
def test_too_little_memory_is_one_line(
    error: MemoryError,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(arguments: object) -> int:
        raise error

    monkeypatch.delenv("FASTMLP_DEBUG", raising=False)
    monkeypatch.setattr("fastmlp.commands.info.run", fail)
    assert cli.main(["info"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(said)


def test_divergence_saves_the_last_finite_parameters(tmp_path: Path) -> None:
    options = "--hidden 8 --epochs 1 --activation identity --learning-rate 1e9 --save model"
    assert "diverged" in error_of(["train", "--data", "digits", *options.split()], tmp_path)
    assert np.isfinite(fastmlp.load(tmp_path / "model").network.parameters).all()


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    result = run(["predict", "missing", "--data", "digits"], tmp_path, FASTMLP_DEBUG="1")
    assert result.returncode != 0
    assert "Traceback" in result.stderr and "FileNotFoundError" in result.stderr


@posix_only
def test_closed_pipe_is_quiet(model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.tile(load_digits(0, 1000).x_test, (100, 1)))
    process = subprocess.Popen(
        [sys.executable, "-m", "fastmlp", "predict", str(model), "--input", "rows.npy"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stderr is not None
    with process.stdout, process.stderr:
        process.stdout.read(1)
        process.stdout.close()
        said = process.stderr.read()
    assert (process.wait(60), said) == (141, b"")


# --- Ctrl-C -------------------------------------------------------------------------------------


def interrupt(arguments: Sequence[str], folder: Path, wait_for: bytes) -> tuple[int, str]:
    """Run on a terminal, press Ctrl-C when the bar shows `wait_for`; return status and output."""
    import pty

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "fastmlp", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        text=True,
        # A shell that runs pytest in the background has made it ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    os.close(theirs)
    shown = b""
    deadline = time.monotonic() + 60
    try:
        while wait_for not in shown:
            assert time.monotonic() < deadline, shown
            shown += os.read(ours, 4096)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
        os.close(ours)
    return process.returncode, output


@posix_only
def test_interrupted_training_is_saved(tmp_path: Path) -> None:
    options = "--hidden 16 --epochs 100000 --backend numpy --save model"
    status, output = interrupt(
        ["train", "--data", "digits", *options.split()], tmp_path, b"test accuracy"
    )
    assert status == 130
    assert "interrupted: test loss" in output and "saved to model" in output
    trainer = fastmlp.load(tmp_path / "model")
    assert trainer.n_steps > 0 and trainer.history.stop_reason == "interrupted"


@posix_only
def test_interrupted_bench_leaves_its_report(tmp_path: Path) -> None:
    arguments = [*QUICK_BENCH[:-1], "100000"]
    status, output = interrupt(arguments, tmp_path, b"repetition 3/")
    assert status == 130
    assert "the results are incomplete" in output
    folder = tmp_path / "fastmlp-report"
    document = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert document["complete"] is False
    assert len(document["measurements"]) == 1
    assert all(len(each["repetitions"]) >= 2 for each in document["measurements"])
    assert "Incomplete" in (folder / "report.html").read_text(encoding="utf-8")
