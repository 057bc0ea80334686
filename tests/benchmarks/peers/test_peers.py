"""Every installed peer computes what fastmlp computes: a peer cannot win by doing less."""

from __future__ import annotations

import os

import numpy as np
import pytest

from fastmlp.benchmarks.case import Setting
from fastmlp.benchmarks.cases import CASES
from fastmlp.benchmarks.contest import environment_of
from fastmlp.benchmarks.peers import PEERS, Peer, peers_named
from fastmlp.benchmarks.problem import SEED, Problem, Rows, draw_order

# Some libraries warn when they are imported, and not about what is tested here.
pytestmark = pytest.mark.filterwarnings("default")

PROBLEMS = {
    "relu": Problem((20, 16, 12, 5), 8),
    "sigmoid": Problem((20, 16, 10), 8, activation="sigmoid", learning_rate=0.5),
    "binary": Problem((20, 16, 12, 1), 8, data="table", output="sigmoid"),
}
N_ROWS = 45  # the last batch has 5 rows
TOLERANCES = {"float32": 1e-4, "bfloat16": 2e-2}


def make_rows(problem: Problem) -> Rows:
    random = np.random.default_rng(1)
    x = random.integers(0, 256, (N_ROWS, problem.sizes[0])).astype(np.uint8)
    y = random.integers(0, max(2, problem.sizes[-1]), N_ROWS)
    return Rows(x, y, x, y, 1 / 255)


@pytest.fixture(params=PEERS.values(), ids=list(PEERS))
def peer(request: pytest.FixtureRequest) -> Peer:
    found: Peer = request.param
    reason = found.missing_reason()
    if reason:
        pytest.skip(f"{found.title}: {reason}")
    for name, value in found.environment(1).items():
        os.environ.setdefault(name, value)
    return found


@pytest.mark.parametrize("name", PROBLEMS)
def test_training_agrees_with_the_numpy_backend(name: str, peer: Peer) -> None:
    problem = PROBLEMS[name]
    if peer.refuses_training(problem):
        pytest.skip(f"{peer.title}: {peer.refuses_training(problem)}")
    rows = make_rows(problem)
    trainer = problem.trainer("numpy", "float32", 1, rows.input_scale)
    start = trainer.network.parameters.copy()
    trainer.fit(rows.x_train, rows.y_train, epochs=2)
    model = peer.model(problem, rows, 1)
    model.warm_up(N_ROWS)
    np.testing.assert_array_equal(model.parameters(), start)  # a warm-up leaves nothing behind
    random = np.random.default_rng(SEED)
    for _ in range(2):
        model.train(draw_order(random, N_ROWS))
    tolerance = TOLERANCES[peer.precision]
    learned = np.abs(trainer.network.parameters - start).max()
    assert learned > 10 * 1e-4  # else the agreement would say nothing
    np.testing.assert_allclose(model.parameters(), trainer.network.parameters, atol=tolerance)
    np.testing.assert_allclose(
        model.predict(rows.scaled(rows.x_test)),
        trainer.predict_proba(rows.x_test),
        atol=tolerance,
    )


@pytest.mark.parametrize("name", PROBLEMS)
def test_predictions_agree_with_the_numpy_backend(name: str, peer: Peer) -> None:
    problem = PROBLEMS[name]
    if peer.refuses_inference():
        pytest.skip(f"{peer.title}: {peer.refuses_inference()}")
    x = np.random.default_rng(1).random((7, problem.sizes[0]), np.float32)
    predict, precision = peer.predictor(problem, 7, 1)
    expected = problem.trainer("numpy", "float32", 1, 1.0).predict_proba(x)
    np.testing.assert_allclose(predict(x), expected, atol=TOLERANCES[precision])


def test_every_peer_says_what_it_is() -> None:
    assert len({peer.option for peer in PEERS.values()}) == len(PEERS)
    for name, peer in PEERS.items():
        assert peer.name == name and peer.title
        assert bool(peer.missing_reason()) != bool(peer.version()), name


def test_a_missing_peer_says_how_to_install_it() -> None:
    class Missing(Peer):
        name = option = title = "missing"
        packages = ("surely_not_installed", "nor_this")
        distributions = ("surely-not-installed", "nor-this")

    reason = Missing().missing_reason()
    assert reason.startswith("surely-not-installed and nor-this are not installed; install with: ")
    assert Missing().version() == ""
    problem = PROBLEMS["relu"]
    with pytest.raises(NotImplementedError, match="does not train"):
        Missing().model(problem, make_rows(problem), 1)


def test_peers_are_found_by_both_names() -> None:
    assert [peer.name for peer in peers_named(["torch-compile", "sklearn", "numpy_by_hand"])] == [
        "numpy_by_hand", "scikit_learn", "torch_compile",
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"--peers must be one of .* Did you mean 'torch'\?"):
        peers_named(["torhc"])


def test_inference_only_peers_do_not_train() -> None:
    setting = Setting("onnxruntime", 10, 1, "peer")
    assert CASES["M128"].refuses(setting) == "it only predicts"
    assert CASES["predict_1"].refuses(setting) == ""


def test_peers_run_in_a_process_of_their_own_with_as_many_threads() -> None:
    for name, peer in PEERS.items():
        assert environment_of(Setting(name, 1, 2, "peer"), 2) == peer.environment(2)
    assert PEERS["jax_scan"].environment(2)["NPROC"] == "2"
