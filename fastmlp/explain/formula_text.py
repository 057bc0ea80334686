"""Formulas as text, read from their source: with their names, or with numbers put in.

So what is shown is what runs: nothing is written down a second time.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from typing import Any, cast

from ..kernels.subset import callees, parse_formula
from .layout import factor, number, tidy

OPPOSITES: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.GtE,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.GtE: ast.Lt,
}

WELL_KNOWN = {"exp", "log", "sqrt", "expm1", "sigmoid", "tanh", "softplus"}
"""A formula that calls anything else is shown by its docstring."""


class _Substitute(ast.NodeTransformer):
    """Put other texts in place of names, and shorten the constants."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.texts = texts

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(self.texts.get(node.id, node.id), ast.Load())

    def visit_Call(self, node: ast.Call) -> ast.Call:
        return ast.Call(node.func, [self.visit(argument) for argument in node.args], [])

    def visit_Constant(self, node: ast.Constant) -> ast.Name:
        return ast.Name(number(float(node.value)), ast.Load())  # type: ignore[arg-type]


def _unparse(expression: ast.expr, texts: Mapping[str, str]) -> str:
    return tidy(ast.unparse(_Substitute(texts).visit(expression)).replace(" * ", "·"))


def _single_expression(function: Callable[..., Any]) -> ast.expr | None:
    """Return what a formula returns, or None if it takes more than a line that anybody can read."""
    tree = parse_formula(function)
    lines = [line for line in tree.body if not isinstance(line, ast.Expr)]
    if len(lines) > 1 or not set(callees(tree)) <= WELL_KNOWN:
        return None
    return lines[0].value if isinstance(lines[0], ast.Return) else None


def argument_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of a formula's arguments."""
    code = function.__code__
    return code.co_varnames[: code.co_argcount]


def definition(function: Callable[..., Any], **renamed: str) -> str:
    """Return a formula as text: its one expression, or else what its docstring says it returns."""
    expression = _single_expression(function)
    if expression is not None:
        return _unparse(expression, renamed)
    first_line = (function.__doc__ or function.__name__).splitlines()[0]
    words = first_line.removeprefix("Return ").removesuffix(".").replace("`", "")
    return re.sub(r"(,.*| \([^()]*\d{4}\))$", "", words)  # no asides and no citation


def assignments(function: Callable[..., Any], result: str) -> list[str]:
    """Return the lines of a formula, the first of what it returns assigned to `result`."""
    lines = []
    for line in parse_formula(function).body:
        if isinstance(line, ast.Assign):
            lines.append(f"{ast.unparse(line.targets[0])} = {_unparse(line.value, {})}")
        elif isinstance(line, ast.Return) and line.value is not None:
            value = line.value.elts[0] if isinstance(line.value, ast.Tuple) else line.value
            lines.append(f"{result} = {_unparse(value, {})}")
    return lines


def with_numbers(function: Callable[..., Any], *values: float) -> tuple[str, str]:
    """Return a formula with numbers put in, and the condition that holds if it has branches.

    Of the branches only the one that applies is shown; without any the condition is empty.
    """
    names = argument_names(function)
    expression = _single_expression(function)
    if expression is None:
        return f"{function.__name__}({', '.join(map(number, values))})", ""
    numbers = dict(zip(names, map(float, values), strict=True))
    conditions = []
    while isinstance(expression, ast.IfExp):
        test = cast(ast.Compare, expression.test)
        holds = eval(ast.unparse(test), {"__builtins__": {}}, numbers)  # what `subset` let pass
        if not holds:
            test.ops[0] = OPPOSITES[type(test.ops[0])]()
        conditions.append(_unparse(test, {}))
        expression = expression.body if holds else expression.orelse
    texts = dict(zip(names, map(factor, values), strict=True))
    return _unparse(expression, texts), " and ".join(conditions)
