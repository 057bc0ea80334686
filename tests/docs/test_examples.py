"""The documents' code runs, and the example gives the same with either library."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import sklearn

DOCS = Path(__file__).resolve().parents[2] / "docs"
EXAMPLE = DOCS / "examples" / "either_library.py"
OURS = "from fastmlp import MLPClassifier, MLPRegressor\n"
THEIRS = "from sklearn.neural_network import MLPClassifier, MLPRegressor\n"  # stands above it
PAGE = DOCS / "coming-from-scikit-learn.md"


def output_of(code: str) -> str:
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.skipif(
    tuple(map(int, sklearn.__version__.split(".")[:2])) < (1, 7),
    reason="it is written for the estimators of scikit-learn 1.7 and newer",
)
def test_the_example_prints_the_same_with_either_import() -> None:
    code = EXAMPLE.read_text(encoding="utf-8")
    assert code.count(f"{THEIRS}{OURS}") == 1
    ours = output_of(code)
    assert ours == output_of(code.replace(OURS, THEIRS))
    assert len(ours.splitlines()) == 10


@pytest.mark.filterwarnings("ignore::Warning")
def test_the_code_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) >= 5
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)


def test_the_table_has_every_parameter() -> None:
    import inspect

    from fastmlp import MLPClassifier, MLPRegressor

    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    for estimator in (MLPClassifier, MLPRegressor):
        missing = set(inspect.signature(estimator).parameters) - listed
        assert not missing
