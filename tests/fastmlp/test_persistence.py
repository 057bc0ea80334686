"""Saving and loading: training goes on as if nothing had happened; damage is found."""

from __future__ import annotations

import json
import os
import pickle
import stat
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastmlp
from fastmlp import FormatError, Muon, StepDecay
from fastmlp.optimizers import NAMED_OPTIMIZERS


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "adam"])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_five_save_load_five_is_ten(
    optimizer: str,
    precision: str,
    backend_name: str,
    make_trainer: Any,
    make_problem: Any,
    state_of: Any,
    tmp_path: Path,
) -> None:
    x, y = make_problem(n_rows=21)
    first, straight = (
        make_trainer(
            backend_name,
            optimizer=optimizer,
            precision=precision,
            batch_size=6,
            input_center=x.mean(axis=0),
            input_scale=0.5,
        )
        for _ in range(2)
    )
    first.fit(x, y, epochs=5)
    fastmlp.save(first, tmp_path / "half.fastmlp")
    second = fastmlp.load(tmp_path / "half.fastmlp", backend=backend_name)
    assert state_of(second) == state_of(first)
    second.fit(x, y, epochs=5)
    straight.fit(x, y, epochs=10)
    assert state_of(second) == state_of(straight)


@pytest.mark.parametrize("normalization", ["batch", "layer"])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_five_save_load_five_is_ten_with_a_normalisation(
    precision: str,
    normalization: str,
    backend_name: str,
    make_trainer: Any,
    make_problem: Any,
    state_of: Any,
    tmp_path: Path,
) -> None:
    x, y = make_problem(n_rows=21)
    first, straight = (
        make_trainer(
            backend_name, normalization=normalization, precision=precision, optimizer="adam",
            batch_size=5, dropout=0.1,
        )
        for _ in range(2)
    )  # fmt: skip
    first.fit(x, y, epochs=5)
    fastmlp.save(first, tmp_path / "half.fastmlp")
    second = fastmlp.load(tmp_path / "half.fastmlp", backend=backend_name)
    assert second.network.normalization == normalization
    assert state_of(second) == state_of(first)
    assert np.array_equal(second.predict_proba(x), first.predict_proba(x))
    second.fit(x, y, epochs=5)
    straight.fit(x, y, epochs=10)
    assert state_of(second) == state_of(straight)


def test_groups_of_outputs_come_back(backend_name: str, state_of: Any, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(21, 4)), np.arange(42).reshape(21, 2) % (3, 2)
    first, straight = (
        fastmlp.Trainer(
            fastmlp.Network([4, 6, 5], group_sizes=(3, 2), seed=1),
            optimizer="adam",
            batch_size=6,
            seed=2,
            backend=backend_name,
        )
        for _ in range(2)
    )
    first.fit(x, y, epochs=5)
    fastmlp.save(first, tmp_path / "half.fastmlp")
    second = fastmlp.load(tmp_path / "half.fastmlp", backend=backend_name)
    assert second.plan == first.plan and second.network.group_sizes == (3, 2)
    second.fit(x, y, epochs=5)
    straight.fit(x, y, epochs=10)
    assert state_of(second) == state_of(straight)
    assert pickle.loads(pickle.dumps(second)).predict(x).shape == (21, 2)


@pytest.mark.parametrize("optimizer", NAMED_OPTIMIZERS)
def test_everything_comes_back(
    optimizer: str, make_trainer: Any, make_problem: Any, state_of: Any, tmp_path: Path
) -> None:
    x, y = make_problem(output="sigmoid")
    trainer = make_trainer(
        sizes=(4, 5, 6, 3), activation=["relu", "gelu"], output="sigmoid", loss="squared_error",
        input_scale=np.array([1 / 255, 1.0, 1 / 3, 2.0]), input_center=0.1, optimizer=optimizer,
        batch_size=3,
    )  # fmt: skip
    trainer.fit(x, y, epochs=2, validation_data=(x, y))
    path = tmp_path / "trainer"
    fastmlp.save(trainer, path)
    loaded = fastmlp.load(str(path), backend="numpy", n_threads=1)
    assert state_of(loaded) == state_of(trainer)
    assert loaded.history == trainer.history
    assert loaded.optimizer == trainer.optimizer and loaded.plan.n_threads == 1
    assert repr(loaded) == repr(trainer)
    for name in ("layers", "loss", "batch_size", "precision", "input_scale", "input_center"):
        assert getattr(loaded.plan, name) == getattr(trainer.plan, name)
    assert np.array_equal(loaded.predict_proba(x), trainer.predict_proba(x))


def test_a_file_from_before_inputs_had_a_center(tmp_path: Path) -> None:
    path = tmp_path / "trainer.fastmlp"
    trainer = fastmlp.Trainer(fastmlp.Network([3, 2], seed=0, input_scale=0.5), backend="numpy")
    fastmlp.save(trainer, path)
    with np.load(path) as archive:
        arrays = dict(archive)
    header = json.loads(arrays["header"].tobytes())
    del header["network"]["input_center"]
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    with path.open("wb") as file:
        np.savez(file, **arrays)
    network = fastmlp.load(path, backend="numpy").network
    assert (network.input_scale, network.input_center) == (0.5, 0.0)


def test_schedules_of_several_rates_come_back(make_trainer: Any, tmp_path: Path) -> None:
    optimizer = Muon(StepDecay(0.1), nesterov=False, adam_learning_rate=StepDecay(0.01, every=3.0))
    fastmlp.save(make_trainer(sizes=(4, 6, 5, 3), optimizer=optimizer), tmp_path / "trainer")
    assert fastmlp.load(tmp_path / "trainer").optimizer == optimizer


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, bytes]:
    """Return a scratch path, the bytes of a saved trainer and its parameters."""
    path = tmp_path_factory.mktemp("saved") / "trainer.fastmlp"
    trainer = fastmlp.Trainer(fastmlp.Network([3, 4, 2], seed=0), optimizer="adam", backend="numpy")
    trainer.fit(np.eye(3), [0, 1, 0], epochs=2)
    fastmlp.save(trainer, path)
    return path, path.read_bytes(), everything(trainer)


def everything(trainer: fastmlp.Trainer) -> bytes:
    arrays = trainer.network.parameters.tobytes() + trainer.optimizer_state.tobytes()
    return arrays + repr((trainer, trainer.history, trainer.random.bit_generator.state)).encode()


def assert_refused_or_exact(path: Path, damaged: bytes, original: bytes) -> None:
    path.write_bytes(damaged)
    try:
        loaded = fastmlp.load(path, backend="numpy")
    except FormatError as error:
        assert str(path) in str(error)
    else:
        assert everything(loaded) == original


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_flipped_bytes(saved: tuple[Path, bytes, bytes], data: st.DataObject) -> None:
    path, content, original = saved
    damaged = bytearray(content)
    places = st.integers(0, len(content) - 1)
    for place in data.draw(st.lists(places, min_size=1, max_size=3)):
        damaged[place] ^= data.draw(st.integers(1, 255))
    assert_refused_or_exact(path, bytes(damaged), original)


def test_every_byte_of_the_archives_structure(saved: tuple[Path, bytes, bytes]) -> None:
    path, content, original = saved
    local = content.index(b"PK\x03\x04")
    central = content.index(b"PK\x01\x02")
    for place in [*range(local, local + 260), *range(central, len(content))]:
        for flip in (0x01, 0x80, 0xFF):
            damaged = bytearray(content)
            damaged[place] ^= flip
            assert_refused_or_exact(path, bytes(damaged), original)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_truncated_files(saved: tuple[Path, bytes, bytes], data: st.DataObject) -> None:
    path, content, _ = saved
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(FormatError, match="expected a file written by fastmlp"):
        fastmlp.load(path)


class Trap:
    def __reduce__(self) -> Any:
        return (os.mkdir, (str(Path(os.environ["FASTMLP_TRAP"])),))


def test_pickles_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTMLP_TRAP", str(tmp_path / "executed"))
    bare, inside = tmp_path / "bare", tmp_path / "inside.npz"
    bare.write_bytes(pickle.dumps(Trap()))
    np.savez(inside, header=np.array([Trap()], dtype=object))
    for path in (bare, inside):
        with pytest.raises(FormatError):
            fastmlp.load(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04", b"\x93NUMPY\x01\x00"])
def test_other_files(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"expected a file written by fastmlp\.save"):
        fastmlp.load(path)


def test_an_array_and_a_foreign_archive(tmp_path: Path) -> None:
    np.save(tmp_path / "array.npy", np.zeros(3))
    np.savez(tmp_path / "foreign.npz", weights=np.zeros(3))
    for name in ("array.npy", "foreign.npz"):
        with pytest.raises(FormatError):
            fastmlp.load(tmp_path / name)


def rewritten(saved: tuple[Path, bytes, bytes], change: Any) -> Path:
    """Change the header of a saved file, with all checksums right."""
    path, content, _ = saved
    path.write_bytes(content)
    with np.load(path) as archive:
        arrays = dict(archive)
    header = json.loads(arrays["header"].tobytes())
    change(header)
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    with open(path, "wb") as file:
        np.savez(file, **arrays)
    return path


def set_key(*keys: str, value: Any) -> Any:
    def change(header: dict[str, Any]) -> None:
        for key in keys[:-1]:
            header = header[key]
        header[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (set_key("version", value=2), "expected fastmlp-trainer version 1; got.*version 2"),
        (set_key("format", value="other"), "got 'other'"),
        (lambda header: header.pop("network"), "does not describe a trainer"),
        (lambda header: header.pop("version"), "no fastmlp header"),
        (set_key("network", "sizes", value=[3, 5, 2]), "parameters has the shape"),
        (set_key("network", "sizes", value=[3]), "at least two layer widths"),
        (set_key("network", "activation", value=["none"]), "activation"),
        (set_key("network", "surprise", value=1), "surprise"),
        (set_key("optimizer", "name", value="Path"), "optimizer"),
        (set_key("optimizer", "name", value="check_number"), "unknown optimizer"),
        (set_key("optimizer", "settings", "beta_1", value=7), "beta_1 must be"),
        (set_key("trainer", "precision", value="float64"), "dtype float32; expected"),
        (set_key("random", value={}), "does not describe a trainer"),
        (set_key("n_steps", value="many"), "does not describe a trainer"),
        (set_key("history", value={"x": 1}), "does not describe a trainer"),
    ],
)
def test_headers_that_do_not_fit(change: Any, text: str, saved: tuple[Path, bytes, bytes]) -> None:
    with pytest.raises(FormatError, match=text):
        fastmlp.load(rewritten(saved, change))


def test_a_missing_member(saved: tuple[Path, bytes, bytes], tmp_path: Path) -> None:
    saved[0].write_bytes(saved[1])
    with zipfile.ZipFile(saved[0]) as full, zipfile.ZipFile(tmp_path / "part", "w") as part:
        for name in full.namelist():
            if name != "optimizer_state.npy":
                part.writestr(name, full.read(name))
    with pytest.raises(FormatError, match="optimizer_state"):
        fastmlp.load(tmp_path / "part")


def test_a_failed_save_leaves_the_old_file(
    make_trainer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "trainer"
    fastmlp.save(make_trainer(), path)
    before = path.read_bytes()

    def fail(file: Any, **arrays: Any) -> None:
        file.write(b"half of it")
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="no space left"):
        fastmlp.save(make_trainer(seed=99), path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["trainer"]


def test_save_replaces_and_leaves_nothing_else(make_trainer: Any, tmp_path: Path) -> None:
    for seed in (1, 2):
        fastmlp.save(make_trainer(seed=seed), tmp_path / "trainer")
    assert [each.name for each in tmp_path.iterdir()] == ["trainer"]
    wanted = make_trainer(seed=2).network.parameters
    assert np.array_equal(fastmlp.load(tmp_path / "trainer").network.parameters, wanted)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_the_file_has_the_users_usual_permissions(make_trainer: Any, tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    fastmlp.save(make_trainer(), tmp_path / "trainer")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "trainer")]
    assert modes[0] == modes[1]


def test_wrong_arguments_are_not_a_damaged_file(
    saved: tuple[Path, bytes, bytes], tmp_path: Path
) -> None:
    path, content, _ = saved
    path.write_bytes(content)
    with pytest.raises(ValueError, match="backend must be one of") as caught:
        fastmlp.load(path, backend="nunpy")
    assert not isinstance(caught.value, FormatError)
    with pytest.raises(ValueError, match="n_threads must be") as caught:
        fastmlp.load(path, n_threads=0)
    assert not isinstance(caught.value, FormatError)
    with pytest.raises(FileNotFoundError):
        fastmlp.load(tmp_path / "nowhere")
    with pytest.raises(TypeError, match="trainer must be a Trainer; got Network"):
        fastmlp.save(fastmlp.Network([2, 2]), tmp_path / "network")  # type: ignore[arg-type]


def test_whether_it_shuffles_is_kept(tmp_path: Path) -> None:
    for shuffle, kept in ((True, True), (False, False), (np.arange, True)):
        trainer = fastmlp.Trainer(fastmlp.Network([2, 2]), shuffle=shuffle)
        fastmlp.save(trainer, tmp_path / "model")
        assert fastmlp.load(tmp_path / "model").shuffle is kept


def test_what_cannot_be_made_again_is_not_saved(tmp_path: Path) -> None:
    class Halved(fastmlp.Constant):
        pass

    optimizer = fastmlp.SGD(learning_rate=Halved(0.1))
    trainer = fastmlp.Trainer(fastmlp.Network([2, 2]), optimizer=optimizer)
    with pytest.raises(TypeError, match="of a class of your own, Halved, which cannot be saved"):
        fastmlp.save(trainer, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def changed_arrays(path: Path, change: Any) -> None:
    """Write an archive anew, with all checksums right."""
    with np.load(path) as archive:
        arrays = dict(archive)
    change(arrays)
    with open(path, "wb") as file:
        np.savez(file, **arrays)


def test_a_file_from_before_there_was_a_normalisation(saved: tuple[Path, bytes, bytes]) -> None:
    path = rewritten(saved, lambda header: header["network"].pop("normalization"))
    changed_arrays(path, lambda arrays: arrays.pop("statistics"))
    loaded = fastmlp.load(path, backend="numpy")
    assert loaded.network.normalization is None and everything(loaded) == saved[2]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (None, "statistics has the shape"),
        (np.zeros(3, np.float32), r"statistics has the shape \(3,\)"),
        (np.full(8, np.nan, np.float32), "statistics has values that are not finite"),
        (np.full(8, -1.0, np.float32), "variances below 0"),
    ],
)
def test_statistics_that_do_not_fit(values: Any, text: str, tmp_path: Path) -> None:
    network = fastmlp.Network([3, 4, 2], normalization="batch")
    fastmlp.save(fastmlp.Trainer(network, backend="numpy"), tmp_path / "trainer")

    def change(arrays: dict[str, Any]) -> None:
        del arrays["statistics"]
        if values is not None:
            arrays["statistics"] = values

    changed_arrays(tmp_path / "trainer", change)
    with pytest.raises(FormatError, match=text):
        fastmlp.load(tmp_path / "trainer")
