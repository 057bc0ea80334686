"""Read formulas as syntax trees and refuse what is outside the subset.

What `emit_c`, the NumPy and the Numba backend share: `formula_trees` gives every formula that a
precision needs, callees first, with variant names resolved (``exp_reduced`` becomes
``exp_reduced_float32``) and everything checked.
"""

from __future__ import annotations

import ast
import inspect
import math
import textwrap
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div)
COMPARISONS = (ast.Lt, ast.Gt, ast.LtE, ast.GtE)
PRECISIONS = ("float32", "float64")


class SubsetError(SyntaxError):
    """A formula uses something that not every backend can run."""


def parse_formula(function: Callable[..., Any]) -> ast.FunctionDef:
    """Return the checked syntax tree of one formula.

    Raises
    ------
    SubsetError
        If the function uses anything but the subset described in `formulas`.
    """
    if not inspect.isfunction(function):
        raise SubsetError(f"a formula must be a plain function (def); got: {function!r}")
    source = textwrap.dedent(inspect.getsource(function))
    tree = ast.parse(source).body[0]
    if not isinstance(tree, ast.FunctionDef):
        raise SubsetError(
            f"a formula must be a plain function (def); got: {source.splitlines()[0]}"
        )
    tree.name = function.__name__  # which may be another than in the text
    ast.increment_lineno(tree, function.__code__.co_firstlineno - 1)  # errors name the file's line
    _Checker(tree.name).check(tree)
    return tree


def _refused(formula: str, node: ast.expr | ast.stmt, why: str) -> SubsetError:
    text = ast.unparse(node).splitlines()[0]
    return SubsetError(f"formula {formula!r}, line {node.lineno}: {why}: {text}")


class _Checker:
    """Walks one formula; every node that is not named here is refused."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.known: set[str] = set()

    def refuse(self, node: ast.expr | ast.stmt, why: str) -> SubsetError:
        return _refused(self.name, node, why)

    def check(self, tree: ast.FunctionDef) -> None:
        arguments = tree.args
        if (
            arguments.vararg
            or arguments.kwarg
            or arguments.kwonlyargs
            or arguments.defaults
            or arguments.posonlyargs
        ):
            raise self.refuse(tree, "only plain positional arguments are allowed")
        if tree.decorator_list:
            raise self.refuse(tree.decorator_list[0], "a formula has no decorators")
        self.known = {argument.arg for argument in arguments.args}
        body = tree.body
        if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
            body = body[1:]  # the docstring
        if not body or not isinstance(body[-1], ast.Return):
            raise self.refuse(tree, "a formula must end in return")
        for statement in body[:-1]:
            self.check_assignment(statement)
        result = body[-1].value
        if result is None:
            raise self.refuse(body[-1], "a formula must return a value")
        for value in result.elts if isinstance(result, ast.Tuple) else [result]:
            self.check_expression(value)

    def check_assignment(self, statement: ast.stmt) -> None:
        if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
            raise self.refuse(statement, "only plain assignments may come before the return")
        target = statement.targets[0]
        if isinstance(target, ast.Tuple) and not isinstance(statement.value, ast.Call):
            raise self.refuse(statement, "a tuple can only be assigned from a call")
        self.check_expression(statement.value)
        for name in target.elts if isinstance(target, ast.Tuple) else [target]:
            if not isinstance(name, ast.Name):
                raise self.refuse(statement, "only names can be assigned to")
            self.known.add(name.id)

    def check_expression(self, node: ast.expr) -> None:
        if isinstance(node, ast.Constant):
            if isinstance(node.value, bool) or not isinstance(node.value, (int, float)):
                raise self.refuse(node, "a constant must be a number")
            if not math.isfinite(node.value):
                raise self.refuse(node, "a constant must be finite")
        elif isinstance(node, ast.Name):
            if node.id not in self.known:
                raise self.refuse(node, "only arguments and assigned names may be read")
        elif isinstance(node, ast.BinOp):
            if not isinstance(node.op, OPERATORS):
                raise self.refuse(node, "the operators are + - * /")
            self.check_expression(node.left)
            self.check_expression(node.right)
        elif isinstance(node, ast.UnaryOp):
            if not isinstance(node.op, ast.USub):
                raise self.refuse(node, "the only unary operator is -")
            self.check_expression(node.operand)
        elif isinstance(node, ast.IfExp):
            self.check_test(node.test)
            self.check_expression(node.body)
            self.check_expression(node.orelse)
        elif isinstance(node, ast.Call):
            if not isinstance(node.func, ast.Name) or node.keywords:
                raise self.refuse(node, "a call names a formula and passes by position")
            if node.func.id in self.known:
                raise self.refuse(node, "a value cannot be called")
            for argument in node.args:
                self.check_expression(argument)
        else:
            raise self.refuse(node, f"{type(node).__name__} is outside the subset")

    def check_test(self, node: ast.expr) -> None:
        if (
            not isinstance(node, ast.Compare)
            or len(node.ops) != 1
            or not isinstance(node.ops[0], COMPARISONS)
        ):
            raise self.refuse(node, "a condition is one comparison with < > <= >=")
        self.check_expression(node.left)
        self.check_expression(node.comparators[0])


def callees(tree: ast.FunctionDef) -> list[str]:
    """Return the names that a formula calls, in order of appearance, each once."""
    names = [
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    return list(dict.fromkeys(names))


def _check_calls(tree: ast.FunctionDef, trees: dict[str, ast.FunctionDef]) -> None:
    """Refuse a call with too few or too many arguments or results."""
    wanted = {
        id(node.value): len(node.targets[0].elts)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple)
    }
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            continue
        callee = trees.get(call.func.id)  # None is a primitive: one argument, one result
        n_arguments = len(callee.args.args) if callee else 1
        if len(call.args) != n_arguments:
            raise _refused(tree.name, call, f"the call needs {n_arguments} arguments")
        result = callee.body[-1] if callee else None
        is_tuple = isinstance(result, ast.Return) and isinstance(result.value, ast.Tuple)
        n_results = len(result.value.elts) if is_tuple else None  # type: ignore[union-attr]
        if wanted.get(id(call)) != n_results:
            raise _refused(
                tree.name, call, "a tuple is assigned to as many names, a number is used as it is"
            )


class _ResolveVariants(ast.NodeTransformer):
    """Replace the names of calls that have a variant for this precision."""

    def __init__(self, module: ModuleType, precision: str) -> None:
        self.module = module
        self.precision = precision

    def visit_Call(self, node: ast.Call) -> ast.Call:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name):
            variant = f"{node.func.id}_{self.precision}"
            if hasattr(self.module, variant):
                node.func.id = variant
        return node


def formula_trees(
    module: ModuleType, functions: Iterable[Callable[..., Any]], precision: str
) -> dict[str, ast.FunctionDef]:
    """Return the trees of `functions` and of all that they call, callees first.

    Parameters
    ----------
    module : module
        `formulas`: where called names are looked up, and what supplies the primitives' names.
    functions : iterable of callable
        The formulas wanted.
    precision : {"float32", "float64"}
        Which variants the calls resolve to.

    Raises
    ------
    SubsetError
        If a formula leaves the subset, calls something unknown, or calls itself.
    """
    trees: dict[str, ast.FunctionDef] = {}
    open_names: list[str] = []

    def add(function: Callable[..., Any]) -> None:
        name = function.__name__
        if name in trees:
            return
        if name in open_names:
            raise SubsetError(f"formula {name!r} calls itself")
        open_names.append(name)
        tree = _ResolveVariants(module, precision).visit(parse_formula(function))
        for called in callees(tree):
            if called in module.PRIMITIVES:
                continue
            callee = getattr(module, called, None)
            if not callable(callee) or callee.__name__ != called:
                raise SubsetError(f"formula {name!r} calls {called!r}, which is not a formula")
            add(callee)
        _check_calls(tree, trees)
        open_names.pop()
        trees[name] = tree

    for function in functions:
        add(function)
    return trees


def all_formulas(module: ModuleType) -> list[Callable[..., Any]]:
    """Return every function that backends call, those of the tables in the tables' order."""
    functions: list[Callable[..., Any]] = [
        module.scaled_input,
        module.exp,
        module.adjusted_gradient,
        module.quantized,
        module.dequantized,
    ]
    functions += module.NORMALIZATION_FORMULAS
    for activation in module.ACTIVATIONS.values():
        functions += [activation.value, activation.derivative]
    for loss in module.LOSSES.values():
        functions += [loss.value, loss.slope]
    functions += [step.update for step in module.STEPS.values()]
    return functions
