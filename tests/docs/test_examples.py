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


ASKED_FOR = {
    9113, 10588, 6175, 10097, 26912, 30199, 14571, 30712, 18748, 24411, 12505, 25693, 8291, 25216,
    19701, 29504, 26762,
}  # fmt: skip
"""Issues of scikit-learn, by number."""


def test_the_page_has_what_users_asked_for() -> None:
    text = PAGE.read_text(encoding="utf-8")
    rows = text.split("## What its users asked for")[1].split("## Examples")[0]
    assert {int(number) for number in re.findall(r"\b\d{4,5}\b", rows)} == ASKED_FOR


def test_the_page_names_every_object_that_an_estimator_takes() -> None:
    import fastmlp
    from fastmlp.callbacks import Callback
    from fastmlp.losses import Loss
    from fastmlp.optimizers import Optimizer
    from fastmlp.schedules import Constant, Schedule

    kinds = (Loss, Optimizer, Schedule, Callback)
    # "log_loss", a number, `time_limit`
    by_another_name = {Constant, fastmlp.TimeLimit}
    text = PAGE.read_text(encoding="utf-8")
    for name in fastmlp.__all__:
        each = getattr(fastmlp, name)
        if isinstance(each, type) and issubclass(each, kinds) and each not in by_another_name:
            assert f"`{name}" in text or f"{name}(" in text, name


def test_the_table_has_every_parameter() -> None:
    import inspect

    from fastmlp import MLPClassifier, MLPRegressor

    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    for estimator in (MLPClassifier, MLPRegressor):
        missing = set(inspect.signature(estimator).parameters) - listed
        assert not missing
