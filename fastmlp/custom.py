"""Losses and activations of the user's own, written as the library's are.

The functions are formulas: plain functions in the small subset of Python that `kernels/formulas.py`
describes, which may call the formulas there (exp, log, softplus, sigmoid, ...) by their names. They
are read from their source and run by the python, numpy and numba backends; the cython backend has
only what it was built with. They are known to this process: what uses them can be pickled (if the
functions can), but not saved.
"""

from __future__ import annotations

import hashlib
import inspect
import linecache
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

from .checks import check_number
from .errors import unknown_name
from .kernels import formulas
from .kernels.subset import PRECISIONS, formula_trees
from .losses import Loss


@dataclass(frozen=True)
class CustomLoss(Loss):
    """A loss of your own, of one output and its target.

    Parameters
    ----------
    value, slope : function
        ``value(z, y)`` and its derivative by z, of one output: z is what the output activation
        takes. With ``output="softmax"`` they are written in log p, the logarithm of the softmax,
        instead of z. Both may take constants after that.
    output : {"identity", "sigmoid", "exponential", "softmax"}, default "identity"
        The output activation that they are written for. With "identity" the network may have any
        output but softmax, and z is the output itself. With "sigmoid" and "softmax" the Trainer
        predicts classes.
    constants : dict of float, optional
        Their further arguments by name.

    Raises
    ------
    TypeError, ValueError
        If the functions are no formulas, or their arguments do not go together.

    Examples
    --------
    >>> from fastmlp import CustomLoss, Network, Trainer
    >>> def asymmetric(z, y, dear):  # doctest: +SKIP
    ...     error = z - y
    ...     return error * error if error < 0.0 else dear * (error * error)
    >>> def asymmetric_slope(z, y, dear):  # doctest: +SKIP
    ...     error = z - y
    ...     return 2.0 * error if error < 0.0 else 2.0 * dear * error
    >>> loss = CustomLoss(asymmetric, asymmetric_slope, constants={"dear": 3.0})  # doctest: +SKIP
    >>> trainer = Trainer(Network([8, 16, 1], output="identity"), loss=loss)  # doctest: +SKIP
    """

    value: Callable[..., float]
    slope: Callable[..., float]
    output: str = "identity"
    # A dict has no hash; losses that differ in it alone may share one.
    constants: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        outputs = ("identity", "sigmoid", "exponential", "softmax")
        if not isinstance(self.output, str) or self.output not in outputs:
            raise unknown_name("output", self.output, outputs)
        first = "log_p" if self.output == "softmax" else "z"
        value, slope = _as_formulas({"value": self.value, "slope": self.slope}, self.output)
        for name, function in (("value", value), ("slope", slope)):
            further = _argument_names(function)[2:]
            if len(_argument_names(function)) < 2 or further != tuple(self.constants):
                constants = "".join(f", {each}" for each in self.constants)
                raise ValueError(
                    f"{name} must take ({first}, y{constants}): what the loss is of, the target, "
                    f"and the constants; got ({', '.join(_argument_names(function))})"
                )
        numbers = {n: check_number(f"constants[{n!r}]", v) for n, v in self.constants.items()}
        object.__setattr__(self, "constants", numbers)
        object.__setattr__(self, "formula_names", (value.__name__,))
        row = formulas.Loss(
            value,
            slope,
            of="log_softmax" if self.output == "softmax" else "logits",
            output=self.output,  # type: ignore[arg-type]
            decides_at=0.5 if self.output == "sigmoid" else None,
        )
        formulas.LOSSES.setdefault(value.__name__, row)

    def parameters(self, n_outputs: int) -> tuple[tuple[float, ...], ...]:
        """Return the constants, (n_constants, n_outputs)."""
        return tuple((value,) * n_outputs for value in self.constants.values())

    def __reduce__(self) -> tuple[Any, ...]:
        functions = _with_texts(self.value, self.slope)
        return _made_again, (type(self), functions, self.output, dict(self.constants))


@dataclass(frozen=True)
class CustomActivation:
    """An activation of your own: pass it as ``Network(activation=...)`` or ``output=...``.

    Parameters
    ----------
    value : function
        ``value(z)``.
    derivative : function
        ``derivative(a)``, written in the activation, or ``derivative(z)``: the name of the argument
        says which. In ``a`` it is cheaper.
    init : {"he", "glorot", "lecun"}, default "he"
        How the weights start with ``Network(init="auto")``.

    Raises
    ------
    TypeError, ValueError
        If the functions are no formulas.
    """

    value: Callable[[float], float]
    derivative: Callable[[float], float]
    init: str = "he"

    def __post_init__(self) -> None:
        if not isinstance(self.init, str) or self.init not in ("he", "glorot", "lecun"):
            raise unknown_name("init", self.init, ("he", "glorot", "lecun"))
        functions = {"value": self.value, "derivative": self.derivative}
        value, derivative = _as_formulas(functions, self.init)
        for name, function, allowed in (
            ("value", value, [("z",)]),
            ("derivative", derivative, [("z",), ("a",)]),
        ):
            if _argument_names(function) not in allowed:
                wanted = " or ".join(f"({', '.join(each)})" for each in allowed)
                raise ValueError(
                    f"{name} must take {wanted}; got ({', '.join(_argument_names(function))})"
                )
        object.__setattr__(self, "_name", value.__name__)
        row = formulas.Activation(value, derivative, init=self.init)  # type: ignore[arg-type]
        formulas.ACTIVATIONS.setdefault(value.__name__, row)

    @property
    def name(self) -> str:
        """Its name in `fastmlp.ACTIVATIONS`: the function's, and a number for its text."""
        name: str = self._name  # type: ignore[attr-defined]
        return name

    def __reduce__(self) -> tuple[Any, ...]:
        return _made_again, (type(self), _with_texts(self.value, self.derivative), self.init)


def _with_texts(*functions: Any) -> list[tuple[Any, str]]:
    """Return each function with its text: what is pickled."""
    return [(function, inspect.getsource(function)) for function in functions]


def _made_again(kind: type[Any], functions: list[tuple[Any, str]], *settings: Any) -> Any:
    """Make what was pickled, so that it is known in this process too.

    A function of a script or a notebook may come without its file: then it gets its text.
    """
    return kind(*(_readable(function, text) for function, text in functions), *settings)


def _readable(function: Any, text: str) -> Any:
    """Return a function whose source `inspect` finds: itself, or a copy that has the text."""
    try:
        inspect.getsource(function)
    except (OSError, TypeError):
        pass
    else:
        return function
    name = f"<fastmlp formula {hashlib.sha256(text.encode()).hexdigest()[:16]}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    code = function.__code__.replace(co_filename=name, co_firstlineno=1)
    return FunctionType(code, function.__globals__, function.__name__)


def _argument_names(function: FunctionType) -> tuple[str, ...]:
    return function.__code__.co_varnames[: function.__code__.co_argcount]


def _as_formulas(functions: Mapping[str, Any], kind: str) -> list[FunctionType]:
    """Return the functions under names of their own, calling what `formulas` has; checked.

    The names follow from the text, so that the same text is the same formula in every process.
    """
    texts = [kind]
    for argument, function in functions.items():
        if not inspect.isfunction(function):
            raise TypeError(
                f"{argument} must be a plain function (def); got {type(function).__name__}"
            )
        try:
            texts.append(inspect.getsource(function))
        except OSError as error:
            raise ValueError(
                f"{argument} must be a function whose source can be read, from a file or a "
                f"notebook; got {function!r} ({error})"
            ) from None
    made = []
    for argument, function in functions.items():
        if function.__closure__ is not None:
            names = ", ".join(function.__code__.co_freevars)
            raise ValueError(
                f"{argument} must use its arguments and the formulas only; got {function!r}, which "
                f"uses {names} of the function around it. Pass numbers as constants={{...}}"
            )
        # Both texts and which of them it is: two functions of one name are two formulas.
        digest = hashlib.sha256("\0".join([argument, *texts]).encode()).hexdigest()[:8]
        made.append(
            FunctionType(function.__code__, vars(formulas), f"{function.__name__}_{digest}")
        )
    for precision in PRECISIONS:
        try:
            formula_trees(formulas, made, precision)
        except SyntaxError as error:
            raise ValueError(str(error)) from None
    return made
