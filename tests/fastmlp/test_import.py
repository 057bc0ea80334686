"""``import fastmlp`` is light: what it does not need is loaded later."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import fastmlp

HEAVY = ("numba", "sklearn", "matplotlib", "jinja2", "pooch", "scipy", "torch", "pandas")


def modules_after(statement: str) -> set[str]:
    code = f"import json, sys; {statement}; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout))


def test_import_loads_nothing_but_itself() -> None:
    modules = modules_after("import fastmlp")
    assert {name for name in modules if name.startswith("fastmlp")} == {"fastmlp"}
    assert "numpy" not in modules


@pytest.mark.parametrize("statement", ["fastmlp.Network([2, 2])", "fastmlp.Trainer"])
def test_networks_load_neither_extras_nor_backends(statement: str) -> None:
    modules = modules_after(f"import fastmlp; {statement}")
    assert not modules & set(HEAVY)
    assert not {name for name in modules if name.endswith("_backend")}


@pytest.mark.parametrize("backend", ["numpy", "python"])
def test_a_backend_loads_itself_alone(backend: str) -> None:
    modules = modules_after(
        f"import fastmlp; fastmlp.Trainer(fastmlp.Network([2, 2]), backend={backend!r})"
    )
    loaded = {name.rpartition(".")[2] for name in modules if name.endswith("_backend")}
    assert loaded == {f"{backend}_backend"} and not modules & set(HEAVY)


@pytest.mark.parametrize("name", fastmlp.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(fastmlp, name) is not None
    assert name in dir(fastmlp)


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="module 'fastmlp' has no attribute 'Netwrk'"):
        fastmlp.Netwrk  # noqa: B018
