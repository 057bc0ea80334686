"""Losses and activations of the user's own: as the library's, in every backend that reads them."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import types
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastmlp
from fastmlp import CustomActivation, CustomLoss, Network, Trainer
from fastmlp.kernels import formulas

READERS = ("numba", "numpy", "python")


pytestmark = pytest.mark.usefixtures("tables_as_they_were")


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest) -> str:
    reasons = {info.name: info.reason for info in fastmlp.backends()}
    if reasons[request.param]:
        pytest.skip(f"backend {request.param}: {reasons[request.param]}")
    name: str = request.param
    return name


def half_square(z: float, y: float) -> float:
    return 0.5 * ((z - y) * (z - y))


def made_for(dear: float) -> Any:
    def value(z: float, y: float) -> float:
        return dear * (z - y)

    return value


def half_square_slope(z: float, y: float) -> float:
    return z - y


def soft_log(log_p: float, y: float) -> float:
    return -(y * log_p)


def soft_log_slope(log_p: float, y: float) -> float:
    return -y


def asymmetric(z, y, dear):  # type: ignore[no-untyped-def]
    """Square the error; too much costs `dear` times as much."""
    error = z - y
    return error * error if error < 0.0 else dear * (error * error)


def asymmetric_slope(z, y, dear):  # type: ignore[no-untyped-def]
    error = z - y
    return 2.0 * error if error < 0.0 else 2.0 * dear * error


def bell(z: float) -> float:
    return exp(-z * z)


def bell_derivative(z: float) -> float:
    return -2.0 * z * exp(-z * z)


def rectified(z: float) -> float:
    return 0.0 if z < 0.0 else z


def rectified_derivative(a: float) -> float:
    return 1.0 if a > 0.0 else 0.0


@pytest.mark.parametrize(
    ("make", "output", "same"),
    [
        (lambda: CustomLoss(half_square, half_square_slope), "identity", "squared_error"),
        (lambda: CustomLoss(half_square, half_square_slope), "tanh", "squared_error"),
        (
            lambda: CustomLoss(soft_log, soft_log_slope, output="softmax"),
            "softmax",
            "categorical_cross_entropy",
        ),
    ],
)
def test_a_loss_written_again_is_the_same(
    make: Any, output: str, same: str, reader: str, make_trainer: Any, make_problem: Any,
    state_of: Any,
) -> None:  # fmt: skip
    x, y = make_problem()
    targets = y if output == "softmax" else np.eye(3)[y]
    states = []
    for loss in (make(), same):
        trainer = make_trainer(reader, output=output, loss=loss)
        trainer.fit(x, targets, epochs=2, validation_data=(x, targets))
        states.append(state_of(trainer))
    assert states[0] == states[1]


def test_constants_and_the_gradient(
    reader: str, make_trainer: Any, make_problem: Any, gradient_error: Any
) -> None:
    loss = CustomLoss(asymmetric, asymmetric_slope, constants={"dear": 3.0})
    trainer = make_trainer(reader, output="identity", loss=loss)
    x, y = make_problem(6, output="identity")
    assert trainer.plan.loss_parameters == ((3.0, 3.0, 3.0),)
    assert gradient_error(trainer, x, y) < 1e-7
    errors = trainer.predict(x) - y
    wanted = np.where(errors < 0, errors**2, 3.0 * errors**2).sum(axis=1).mean()
    assert trainer.evaluate(x, y).loss == pytest.approx(wanted, rel=1e-13)


def test_an_activation_written_again_is_the_same(
    reader: str, make_trainer: Any, make_problem: Any, state_of: Any
) -> None:
    x, y = make_problem()
    states = []
    for activation in (CustomActivation(rectified, rectified_derivative), "relu"):
        trainer = make_trainer(reader, activation=activation)
        trainer.fit(x, y, epochs=2)
        states.append(state_of(trainer))
    assert states[0] == states[1]


@pytest.mark.parametrize("place", ["hidden", "output"])
def test_a_new_activation(
    place: str, reader: str, make_trainer: Any, make_problem: Any, gradient_error: Any
) -> None:
    mine = CustomActivation(bell, bell_derivative, init="glorot")
    if place == "hidden":
        trainer = make_trainer(reader, sizes=(4, 5, 6, 3), activation=["tanh", mine])
        x, y = make_problem(6)
    else:
        trainer = make_trainer(reader, output=mine)
        x, y = make_problem(6, output="sigmoid")
        a = trainer.network
        hidden = np.tanh(x @ a.weights[0] + a.biases[0])
        z = hidden @ a.weights[1] + a.biases[1]
        np.testing.assert_allclose(trainer.predict(x), np.exp(-z * z), rtol=1e-13)
    assert gradient_error(trainer, x, y) < 1e-7


def test_auto_passes_over_what_cannot_read_it() -> None:
    loss = CustomLoss(half_square, half_square_slope)
    trainer = Trainer(Network([2, 1], output="identity"), loss=loss)
    assert trainer.backend_name in READERS
    mine = CustomActivation(bell, bell_derivative)
    chosen = Trainer(Network([2, 3, 2], mine))
    for each in (trainer, chosen):
        if fastmlp.backends()[0].available:
            assert "cython cannot run this (it was built without the formula" in each.backend_reason


def test_the_cython_backend_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    if not fastmlp.backends()[0].available:
        pytest.skip("there is no cython backend here")
    network, loss = Network([2, 1], output="identity"), CustomLoss(half_square, half_square_slope)
    text = r"backend='cython' cannot run this: it was built without the formula 'half_square_\w{8}'"
    with pytest.raises(ValueError, match=text):
        Trainer(network, loss=loss, backend="cython")
    monkeypatch.setenv("FASTMLP_BACKEND", "cython")
    with pytest.raises(ValueError, match=text):
        Trainer(network, loss=loss)


def test_sigmoid_losses_predict_classes(make_trainer: Any, make_problem: Any) -> None:
    loss = CustomLoss(formulas.binary_cross_entropy, formulas.binary_cross_entropy_slope, "sigmoid")
    x, y = make_problem(output="sigmoid")
    mine, same = (make_trainer(output="sigmoid", loss=each) for each in (loss, "auto"))
    assert mine.predicts_classes
    assert np.array_equal(mine.predict(x), same.predict(x))
    assert mine.evaluate(x, y) == same.evaluate(x, y)


def test_functions_of_one_name_are_two_formulas(
    reader: str, make_trainer: Any, make_problem: Any
) -> None:
    def written(z: float, y: float) -> float:
        return 0.5 * ((z - y) * (z - y))

    value = written

    def written(z: float, y: float) -> float:  # type: ignore[no-redef]
        return z - y

    x, _ = make_problem(n_rows=8)
    mine, same = (
        make_trainer(reader, sizes=(4, 5, 4), output="identity", loss=loss)
        for loss in (CustomLoss(value, written), "squared_error")
    )
    assert mine.fit(x, x, epochs=2).loss == same.fit(x, x, epochs=2).loss


def test_the_same_text_is_the_same_formula() -> None:
    first, second = (CustomLoss(half_square, half_square_slope) for _ in range(2))
    assert first.formula_names == second.formula_names and first == second
    other = CustomLoss(half_square, half_square_slope, output="sigmoid")
    assert other.formula_names != first.formula_names


def test_equal_ones_have_equal_hashes() -> None:
    first, second, other = (
        CustomLoss(asymmetric, asymmetric_slope, constants={"dear": dear}) for dear in (3.0, 3, 2.0)
    )
    assert first == second and hash(first) == hash(second)
    assert first != other and len({first, second, other}) == 2
    activations = [CustomActivation(bell, bell_derivative) for _ in range(2)]
    assert len({*activations}) == 1
    losses = [pickle.loads(pickle.dumps(first)), copy.copy(first), copy.deepcopy(first)]
    assert {first, *losses} == {first}


def test_copies_and_pickles_know_them(make_trainer: Any, make_problem: Any, state_of: Any) -> None:
    x, y = make_problem()
    loss = CustomLoss(soft_log, soft_log_slope, output="softmax")
    trainer = make_trainer(activation=CustomActivation(bell, bell_derivative), loss=loss)
    trainer.fit(x, y)
    kept = pickle.dumps(trainer)
    for name in (*loss.formula_names, trainer.network.activations[0]):
        formulas.LOSSES.pop(name, None) or formulas.ACTIVATIONS.pop(name)  # as in another process
    loaded = pickle.loads(kept)
    copied = copy.deepcopy(trainer)
    for each in (trainer, loaded, copied):
        each.fit(x, y)
    assert state_of(loaded) == state_of(trainer) == state_of(copied)


SCRIPT = """
from fastmlp import CustomActivation, CustomLoss, Network, Trainer


def square(z, y):
    return (z - y) * (z - y)


def square_slope(z, y):
    return 2.0 * (z - y)


def cube(z):
    return z * z * z


def cube_slope(z):
    return 3.0 * (z * z)


def make():
    network = Network([2, 3, 1], CustomActivation(cube, cube_slope), output="identity", seed=0)
    return Trainer(network, loss=CustomLoss(square, square_slope), backend="numpy", seed=0)
"""


def test_functions_of_a_script_go_to_other_processes(tmp_path: Path) -> None:
    # As joblib and loky do it: functions of a script are pickled with their code, not their file.
    cloudpickle = pytest.importorskip("joblib.externals.cloudpickle")
    script = types.ModuleType("__main__")
    (tmp_path / "script.py").write_text(SCRIPT)
    exec(compile(SCRIPT, str(tmp_path / "script.py"), "exec"), vars(script))
    made = script.make()
    (tmp_path / "trainer.pickle").write_bytes(cloudpickle.dumps(made))
    (tmp_path / "script.py").unlink()
    text = (
        "import pickle, sys; import numpy as np\n"
        "trainer = pickle.load(open(sys.argv[1], 'rb'))\n"
        "again = pickle.loads(pickle.dumps(trainer.loss))\n"
        "assert again.formula_names == trainer.loss.formula_names\n"
        "trainer.fit(np.ones((4, 2)), np.arange(4.0))\n"
        "print(*trainer.network.parameters)\n"
    )
    arguments = [sys.executable, "-c", text, str(tmp_path / "trainer.pickle")]
    run = subprocess.run(arguments, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    made.fit(np.ones((4, 2)), np.arange(4.0))
    assert run.stdout.split() == [str(value) for value in made.network.parameters]


def test_they_cannot_be_saved(make_trainer: Any, tmp_path: Path) -> None:
    loss = CustomLoss(half_square, half_square_slope)
    trainer = make_trainer(output="identity", loss=loss)
    with pytest.raises(TypeError, match=r"CustomLoss.value is a function .* cannot be saved$"):
        fastmlp.save(trainer, tmp_path / "trainer")
    trainer = make_trainer(activation=CustomActivation(bell, bell_derivative))
    with pytest.raises(TypeError, match=r"activations bell_\w{8} are functions, which cannot be"):
        fastmlp.save(trainer, tmp_path / "trainer")


def takes_too_little(z: float) -> float:
    return z


def loops(z: float, y: float) -> float:
    for _ in range(3):
        z = z - y
    return z


def calls_a_stranger(z: float, y: float) -> float:
    return half_square(z, y)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (
            lambda: CustomLoss(half_square, lambda z, y: z - y),
            ValueError,
            "a formula must be a plain function",
        ),
        (lambda: CustomLoss(half_square, np.subtract), TypeError, "slope must be a plain function"),
        (
            lambda: CustomLoss(made_for(2.0), half_square_slope),
            ValueError,
            "value must use its arguments and the formulas only; got .*, which uses dear of",
        ),
        (lambda: CustomLoss(loops, loops), ValueError, "formula 'loops_.*only plain assignments"),
        (
            lambda: CustomLoss(calls_a_stranger, half_square_slope),
            ValueError,
            "calls 'half_square', which is not a formula",
        ),
        (
            lambda: CustomLoss(takes_too_little, half_square_slope),
            ValueError,
            r"value must take \(z, y\): .*; got \(z\)",
        ),
        (
            lambda: CustomLoss(asymmetric, asymmetric_slope),
            ValueError,
            r"value must take \(z, y\): .*; got \(z, y, dear\)",
        ),
        (
            lambda: CustomLoss(half_square, half_square_slope, output="relu"),
            ValueError,
            "output must be one of",
        ),
        (
            lambda: CustomLoss(asymmetric, asymmetric_slope, constants={"dear": "x"}),
            TypeError,
            r"constants\['dear'\] must be",
        ),
        (
            lambda: CustomActivation(half_square, bell_derivative),
            ValueError,
            r"value must take \(z\); got \(z, y\)",
        ),
        (
            lambda: CustomActivation(bell, half_square),
            ValueError,
            r"derivative must take \(z\) or \(a\)",
        ),
        (lambda: CustomActivation(bell, bell_derivative, "best"), ValueError, "init must be one"),
        (lambda: Network([2, 3, 2], bell), TypeError, "activation must be a name or a sequence"),
    ],
)
def test_bad_functions(make: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()


def test_functions_without_a_source() -> None:
    namespace: dict[str, Any] = {}
    exec("def value(z, y):\n    return z - y", namespace)
    with pytest.raises(ValueError, match="value must be a function whose source can be read"):
        CustomLoss(namespace["value"], half_square_slope)
