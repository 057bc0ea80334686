"""scikit-learn's own tests of its two estimators, run on ours."""

from __future__ import annotations

import importlib.resources
import subprocess
import sys
from pathlib import Path

import pytest
import sklearn

IMPORT = "from sklearn.neural_network import MLPClassifier, MLPRegressor"
NOT_OURS = {
    "test_fit": "calls private methods on an estimator without a network",
    "test_gradient": "calls private methods that compute the gradient",
    "test_early_stopping_stratified": "expects the names of encoded classes in a message",
}


@pytest.mark.slow
@pytest.mark.skipif(
    tuple(map(int, sklearn.__version__.split(".")[:2])) < (1, 9), reason="tests of scikit-learn 1.9"
)
def test_the_tests_of_scikit_learn_pass(tmp_path: Path) -> None:
    original = importlib.resources.files("sklearn.neural_network.tests") / "test_mlp.py"
    text = original.read_text(encoding="utf-8")
    assert IMPORT in text
    (tmp_path / "test_mlp.py").write_text(
        text.replace(IMPORT, "from fastmlp import MLPClassifier, MLPRegressor"), encoding="utf-8"
    )
    (tmp_path / "conftest.py").write_text(
        "import pytest\n\n\n@pytest.fixture\ndef global_random_seed():\n    return 0\n",
        encoding="utf-8",
    )
    skipped = [f"--deselect=test_mlp.py::{name}" for name in NOT_OURS]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *skipped],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-3000:]
    assert int(run.stdout.split(" passed")[0].split()[-1]) > 50
