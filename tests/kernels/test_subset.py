"""Everything outside the subset is refused, with the formula's name and line."""

from __future__ import annotations

import importlib.util
import re
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fastmlp.kernels import formulas
from fastmlp.kernels.subset import SubsetError, all_formulas, formula_trees, parse_formula


def module_of(source: str, folder: Path) -> ModuleType:
    """Write formulas to a file (their source is read from it) and import it."""
    path = folder / "written_formulas.py"
    path.write_text('PRIMITIVES = ("sqrt", "power_of_two")\n' + textwrap.dedent(source))
    spec = importlib.util.spec_from_file_location("written_formulas", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# A body after "def f(x):" (line 2 of the file), the line that must be named, words of the reason.
REFUSED = [
    ("if x < 0.0:\n    x = 0.0\nreturn x", 3, "plain assignments"),
    ("for k in x:\n    x = k\nreturn x", 3, "plain assignments"),
    ("while x < 0.0:\n    x = x + 1.0\nreturn x", 3, "plain assignments"),
    ("y = x\ny += 1.0\nreturn y", 4, "plain assignments"),
    ("y: float = x\nreturn y", 3, "plain assignments"),
    ("y = z = x\nreturn y", 3, "plain assignments"),
    ("with x:\n    pass\nreturn x", 3, "plain assignments"),
    ("try:\n    y = x\nfinally:\n    pass\nreturn x", 3, "plain assignments"),
    ("import math\nreturn x", 3, "plain assignments"),
    ("assert x\nreturn x", 3, "plain assignments"),
    ("del x\nreturn x", 3, "plain assignments"),
    ("global y\nreturn x", 3, "plain assignments"),
    ("raise x", 2, "end in return"),
    ("pass", 2, "end in return"),
    ("y = x", 2, "end in return"),
    ("return", 3, "return a value"),
    ("return x\nreturn x", 3, "plain assignments"),
    ("def g(y):\n    return y\nreturn g(x)", 3, "plain assignments"),
    ("y = x\nreturn unknown", 4, "arguments and assigned names"),
    ("return x ** 2.0", 3, r"operators are \+ - \* /"),
    ("return x // 2.0", 3, r"operators"),
    ("return x % 2.0", 3, r"operators"),
    ("return x @ x", 3, r"operators"),
    ("return x << 2", 3, r"operators"),
    ("return x & 1", 3, r"operators"),
    ("return +x", 3, "unary operator"),
    ("return not x", 3, "unary operator"),
    ("return ~x", 3, "unary operator"),
    ("return x < 0.0", 3, "Compare is outside"),
    ("return x if x else 1.0", 3, "condition is one comparison"),
    ("return x if x == 0.0 else 1.0", 3, "condition is one comparison"),
    ("return x if x != 0.0 else 1.0", 3, "condition is one comparison"),
    ("return x if 0.0 < x < 1.0 else 1.0", 3, "condition is one comparison"),
    ("return x if x < 0.0 and x < 1.0 else 1.0", 3, "condition is one comparison"),
    ("return x if x in (1.0, 2.0) else 1.0", 3, "condition is one comparison"),
    ("return x if x is None else 1.0", 3, "condition is one comparison"),
    ("return x and x", 3, "BoolOp is outside"),
    ("return True", 3, "constant must be a number"),
    ("return None", 3, "constant must be a number"),
    ("return 'a'", 3, "constant must be a number"),
    ("return 1j", 3, "constant must be a number"),
    ("return 1e999", 3, "constant must be finite"),
    ("return ...", 3, "constant must be a number"),
    ("return [x]", 3, "List is outside"),
    ("return {x}", 3, "Set is outside"),
    ("return {x: x}", 3, "Dict is outside"),
    ("return x[0]", 3, "Subscript is outside"),
    ("return x.real", 3, "Attribute is outside"),
    ("return math.exp(x)", 3, "names a formula"),
    ("return sqrt(x=x)", 3, "names a formula"),
    ("return sqrt(*x)", 3, "Starred is outside"),
    ("return x(x)", 3, "value cannot be called"),
    ("return (y := x)", 3, "NamedExpr is outside"),
    ("return lambda: x", 3, "Lambda is outside"),
    ("return f'{x}'", 3, "JoinedStr is outside"),
    ("return [k for k in x]", 3, "ListComp is outside"),
    ("return (yield x)", 3, "Yield is outside"),
    ("y, z = x, x\nreturn y", 3, "assigned from a call"),
    ("y, *z = sqrt(x)\nreturn y", 3, "only names can be assigned"),
    ("(y, (z, w)) = sqrt(x)\nreturn y", 3, "only names can be assigned"),
    ("x[0] = 1.0\nreturn x", 3, "only names can be assigned"),
    ("x.a = 1.0\nreturn x", 3, "only names can be assigned"),
    ("return x, (x, x)", 3, "Tuple is outside"),
]


@pytest.mark.parametrize(("body", "line", "reason"), REFUSED)
def test_a_body_outside_the_subset_is_refused(
    body: str, line: int, reason: str, tmp_path: Path
) -> None:
    module = module_of("def f(x):\n" + textwrap.indent(body, "    "), tmp_path)
    with pytest.raises(SubsetError, match=rf"formula 'f', line {line}: .*{reason}"):
        parse_formula(module.f)


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        ("def f(*x):", "positional arguments"),
        ("def f(**x):", "positional arguments"),
        ("def f(*, x):", "positional arguments"),
        ("def f(x, /):", "positional arguments"),
        ("def f(x=1.0):", "positional arguments"),
        ("@staticmethod\ndef f(x):", "no decorators"),
    ],
)
def test_a_head_outside_the_subset_is_refused(head: str, reason: str, tmp_path: Path) -> None:
    module = module_of(f"{head}\n    return x", tmp_path)
    function: Any = module.f
    with pytest.raises(SubsetError, match=rf"formula 'f', line \d: .*{reason}"):
        parse_formula(getattr(function, "__func__", function))


@pytest.mark.parametrize(
    "source", ["f = lambda x: x", "async def f(x):\n    return x", "class f:\n    pass"]
)
def test_only_plain_functions_are_formulas(source: str, tmp_path: Path) -> None:
    with pytest.raises(SubsetError, match="must be a plain function"):
        parse_formula(module_of(source, tmp_path).f)


PAIR = "def pair(x):\n    return x, x + 1.0\n"

BAD_CALLS = [
    ("def f(x):\n    return unknown(x)", "'f' calls 'unknown', which is not a formula"),
    ("g = 3.0\ndef f(x):\n    return g(x)", "'f' calls 'g', which is not a formula"),
    ("def g(x):\n    return x\nh = g\ndef f(x):\n    return h(x)", "calls 'h', which is not"),
    ("def f(x):\n    return f(x)", "'f' calls itself"),
    ("def f(x):\n    return g(x)\ndef g(x):\n    return f(x)", "'f' calls itself"),
    ("def g(x):\n    return x\ndef f(x):\n    return g(x, x)", "line 5: .*needs 1 arguments"),
    ("def f(x):\n    return sqrt(x, x)", "line 3: .*needs 1 arguments"),
    (PAIR + "def f(x):\n    return pair(x) + 1.0", "line 5: .*a tuple is assigned"),
    (PAIR + "def f(x):\n    y = pair(x)\n    return y", "line 5: .*a tuple is assigned"),
    (PAIR + "def f(x):\n    y, z, w = pair(x)\n    return y", "line 5: .*a tuple is assigned"),
    ("def f(x):\n    y, z = sqrt(x)\n    return y", "line 3: .*a tuple is assigned"),
    ("def g(x):\n    return x ** 2.0\ndef f(x):\n    return g(x)", "formula 'g', line 3"),
]


@pytest.mark.parametrize(("source", "reason"), BAD_CALLS)
def test_a_call_that_does_not_fit_is_refused(source: str, reason: str, tmp_path: Path) -> None:
    module = module_of(source, tmp_path)
    with pytest.raises(SubsetError, match=reason):
        formula_trees(module, [module.f], "float32")


def test_callees_come_first_and_variants_are_resolved(tmp_path: Path) -> None:
    module = module_of(
        """
        def g_float32(x):
            return x

        def g_float64(x):
            return x + x

        g = g_float64

        def f(x):
            '''A docstring is allowed.'''
            y = g(x)
            return sqrt(y) if y >= 1 else -y
        """,
        tmp_path,
    )
    assert list(formula_trees(module, [module.f], "float32")) == ["g_float32", "f"]
    assert list(formula_trees(module, [module.f], "float64")) == ["g_float64", "f"]


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_every_formula_is_inside_the_subset(precision: str) -> None:
    trees = formula_trees(formulas, all_formulas(formulas), precision)
    wanted = {function.__name__ for function in all_formulas(formulas)}
    assert wanted <= set(trees)
    other = "float64" if precision == "float32" else "float32"
    assert not [name for name in trees if re.search(f"_{other}$", name)]
