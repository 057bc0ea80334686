"""Write formulas.py out as C: `formulas.h`, made at build time.

The header holds every formula as an inlined function for float and for double
(``relu_float32``, ``relu_float64``), and X-macro lists of the tables, so that the C loops, the
dispatch and the tests enumerate exactly what formulas.py defines. Constants are written as
hexadecimal floats: rounded once, here, the way the other backends round them.

Run by itself: ``python -m kernels.emit_c OUTPUT`` (setup.py calls `write_header`).
"""

from __future__ import annotations

import ast
import struct
from pathlib import Path
from types import ModuleType

from .subset import PRECISIONS, SubsetError, all_formulas, formula_trees

C_TYPES = {"float32": "float", "float64": "double"}
C_OPERATORS = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/",
    ast.Lt: "<", ast.Gt: ">", ast.LtE: "<=", ast.GtE: ">=",
}  # fmt: skip

# The primitives. The union is how C reinterprets bits; compilers vectorize it.
PRIMITIVES = """\
/* A loop that calls a formula is vectorized only if it is inlined, and what a compiler inlines by
 * itself changes with everything else in a unit. */
#if defined(__GNUC__)
#define INLINE_FORMULA static inline __attribute__((always_inline))
#elif defined(_MSC_VER)
#define INLINE_FORMULA static __forceinline
#else
#define INLINE_FORMULA static inline
#endif

INLINE_FORMULA float sqrt_float32(float x) { return sqrtf(x); }
INLINE_FORMULA double sqrt_float64(double x) { return sqrt(x); }
INLINE_FORMULA float power_of_two_float32(float n) {
    union { int32_t bits; float value; } u;
    u.bits = (int32_t)((uint32_t)((int32_t)n + 127) << 23);
    return u.value;
}
INLINE_FORMULA double power_of_two_float64(double n) {
    union { int64_t bits; double value; } u;
    u.bits = (int64_t)((uint64_t)((int64_t)(int32_t)n + 1023) << 52);
    return u.value;
}
INLINE_FORMULA float exponent_float32(float x) {
    union { float value; int32_t bits; } u;
    u.value = x;
    return (float)((u.bits >> 23) - 127);
}
INLINE_FORMULA double exponent_float64(double x) {
    union { double value; int64_t bits; } u;
    u.value = x;
    return (double)((int32_t)(u.bits >> 52) - 1023);
}
/* As in formulas.py: unsigned numbers of 32 bits wrap around by themselves. */
INLINE_FORMULA uint32_t random_bits(uint32_t bits) {
    bits ^= bits >> 16;
    bits *= 0x7feb352dU;
    bits ^= bits >> 15;
    bits *= 0x846ca68bU;
    return bits ^ bits >> 16;
}
"""


def constant(value: float, precision: str) -> str:
    """Return a C literal for `value` rounded to `precision`."""
    if precision == "float32":
        try:
            value = struct.unpack("<f", struct.pack("<f", value))[0]
        except OverflowError:
            raise SubsetError(f"the constant {value} is too large for float32") from None
        return f"{value.hex()}f"
    return float(value).hex()


class _Emitter:
    """Turns one checked formula into one C function."""

    def __init__(self, trees: dict[str, ast.FunctionDef], precision: str) -> None:
        self.trees = trees
        self.precision = precision
        self.c_type = C_TYPES[precision]

    def suffixed(self, name: str) -> str:
        return name if name.endswith(f"_{self.precision}") else f"{name}_{self.precision}"

    def expression(self, node: ast.expr) -> str:
        if isinstance(node, ast.Constant):
            assert isinstance(node.value, (int, float))
            return constant(float(node.value), self.precision)
        if isinstance(node, ast.Name):
            return node.id
        if isinstance(node, ast.BinOp):
            operator = C_OPERATORS[type(node.op)]
            return f"({self.expression(node.left)} {operator} {self.expression(node.right)})"
        if isinstance(node, ast.UnaryOp):
            return f"(-{self.expression(node.operand)})"
        if isinstance(node, ast.IfExp):
            test, body, orelse = map(self.expression, (node.test, node.body, node.orelse))
            return f"({test} ? {body} : {orelse})"
        if isinstance(node, ast.Compare):
            left, right = self.expression(node.left), self.expression(node.comparators[0])
            return f"({left} {C_OPERATORS[type(node.ops[0])]} {right})"
        assert isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        arguments = ", ".join(map(self.expression, node.args))
        return f"{self.suffixed(node.func.id)}({arguments})"

    def function(self, tree: ast.FunctionDef) -> str:
        names = [argument.arg for argument in tree.args.args]
        parameters = [f"{self.c_type} {name}" for name in names]
        returned = tree.body[-1]
        assert isinstance(returned, ast.Return) and returned.value is not None
        results = returned.value.elts if isinstance(returned.value, ast.Tuple) else None
        if results is not None:
            parameters += [f"{self.c_type} *result_{i}" for i in range(len(results))]
        lines: list[str] = []
        declared = set(names)
        for statement in tree.body:
            if isinstance(statement, ast.Assign):
                lines += self.assignment(statement, declared)
        if results is None:
            lines.append(f"return {self.expression(returned.value)};")
        else:
            lines += [f"*result_{i} = {self.expression(e)};" for i, e in enumerate(results)]
        c_result = self.c_type if results is None else "void"
        # Unused arguments are part of a table's common signature.
        unused = "".join(f" (void){name};" for name in names)
        body = "\n    ".join(lines)
        head = f"INLINE_FORMULA {c_result} {self.suffixed(tree.name)}({', '.join(parameters)})"
        return f"{head} {{\n   {unused}\n    {body}\n}}"

    def assignment(self, statement: ast.Assign, declared: set[str]) -> list[str]:
        target = statement.targets[0]
        if isinstance(target, ast.Name):
            prefix = "" if target.id in declared else f"{self.c_type} "
            declared.add(target.id)
            return [f"{prefix}{target.id} = {self.expression(statement.value)};"]
        assert isinstance(target, ast.Tuple) and isinstance(statement.value, ast.Call)
        names = [name.id for name in target.elts if isinstance(name, ast.Name)]
        new = [name for name in names if name not in declared]
        declared.update(new)
        call = self.expression(statement.value)[:-1]
        pointers = ", ".join(f"&{name}" for name in names)
        declaration = [f"{self.c_type} {', '.join(new)};"] if new else []
        return [*declaration, f"{call}, {pointers});"]


def uniform_wrappers(module: ModuleType, precision: str) -> list[str]:
    """Return functions that give each table's rows one common signature."""
    c_type = C_TYPES[precision]
    wrappers = []
    for name, activation in module.ACTIVATIONS.items():
        derivative = f"{activation.derivative.__name__}_{precision}"
        wrappers.append(
            f"INLINE_FORMULA {c_type} {name}_at_{precision}({c_type} z, {c_type} a) {{\n"
            f"    (void)z; (void)a;\n"
            f"    return {derivative}({activation.derivative_input});\n}}"
        )
    for name, loss in module.LOSSES.items():
        parameters = "".join(f", parameters[{i}]" for i in range(len(loss.parameters)))
        for kind, formula in (("value", loss.value), ("slope", loss.slope)):
            wrappers.append(
                f"INLINE_FORMULA {c_type} {name}_{kind}_of_{precision}({c_type} z, {c_type} y,"
                f" const {c_type} *parameters) {{\n"
                f"    (void)parameters;\n"
                f"    return {formula.__name__}_{precision}(z, y{parameters});\n}}"
            )
    for name, step in module.STEPS.items():
        n_states, n_coefficients = len(step.states), step.n_coefficients
        states = [f"state[{i} * stride]" for i in range(n_states)]
        coefficients = [f"coefficients[{i}]" for i in range(n_coefficients)]
        results = ["w", *[f"&{state}" for state in states]]
        arguments = ", ".join(["*w", "g", *states, *coefficients, *results])
        wrappers.append(
            f"INLINE_FORMULA void {name}_step_{precision}({c_type} *w, {c_type} g, {c_type} *state,"
            f" ptrdiff_t stride, const {c_type} *coefficients) {{\n"
            f"    (void)state; (void)stride;\n"
            f"    {step.update.__name__}_{precision}({arguments});\n}}"
        )
    return wrappers


def table_lists(module: ModuleType) -> list[str]:
    """Return the X-macro lists, one per table, in the tables' order."""
    activations = [
        f"X({name}, {int(activation.derivative_input == 'z')})"
        for name, activation in module.ACTIVATIONS.items()
    ]
    losses = [
        f"X({name}, {int(loss.of == 'log_softmax')}, {len(loss.parameters)})"
        for name, loss in module.LOSSES.items()
    ]
    steps = [
        f"X({name}, {len(step.states)}, {step.n_coefficients})"
        for name, step in module.STEPS.items()
    ]
    return [
        "/* X(name, derivative is written in z) */",
        f"#define FOREACH_ACTIVATION(X) {' '.join(activations)}",
        "/* X(name, is of log_softmax, number of parameters) */",
        f"#define FOREACH_LOSS(X) {' '.join(losses)}",
        "/* X(name, number of states, number of coefficients) */",
        f"#define FOREACH_STEP(X) {' '.join(steps)}",
    ]


def c_header(module: ModuleType) -> str:
    """Return the text of formulas.h for the formulas module `module`."""
    parts = [
        "/* Made from formulas.py by emit_c.py. Do not edit: change formulas.py. */",
        "#ifndef FASTMLP_FORMULAS_H\n#define FASTMLP_FORMULAS_H",
        "#include <math.h>\n#include <stddef.h>\n#include <stdint.h>",
        PRIMITIVES,
    ]
    for precision in PRECISIONS:
        trees = formula_trees(module, all_formulas(module), precision)
        emitter = _Emitter(trees, precision)
        parts += [emitter.function(tree) for tree in trees.values()]
        parts += uniform_wrappers(module, precision)
    parts += table_lists(module)
    parts.append("#endif")
    return "\n\n".join(parts) + "\n"


def write_header(module: ModuleType, path: Path) -> None:
    """Write formulas.h, leaving the file alone if nothing changed (so nothing is rebuilt)."""
    text = c_header(module)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    import sys

    from . import formulas

    write_header(formulas, Path(sys.argv[1]))
