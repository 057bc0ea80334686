"""Check what a user passes as data, and bring targets and weights into the engines' form.

Features are never copied whole: float32, float64 and uint8 pass as they are, whatever their
strides; other number types are converted to float32 (a copy). Sparse matrices stay sparse.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .checks import check_integer, check_number
from .kernels.contract import Plan
from .kernels.formulas import LOSSES
from .rows import Rows, SparseRows

Features = NDArray[Any] | Rows

Scaled = Callable[[NDArray[Any]], NDArray[Any]]
"""What makes of rows (rows, n_inputs) the inputs of the first layer: `Network.scaled`."""


@dataclass(frozen=True)
class Examples:
    """Rows with what is expected of them, checked; as engines read them.

    Attributes
    ----------
    x : array of shape (rows, n_inputs), or Rows
    targets : ndarray
        As `check_targets` returns them.
    weights : ndarray of shape (rows,), or None
        As `check_sample_weight` returns it.
    """

    x: Features
    targets: NDArray[Any]
    weights: NDArray[Any] | None = None

    @property
    def total_weight(self) -> float:
        """The sum of the weights: without any, the number of rows."""
        if self.weights is None:
            return float(len(self.x))
        return float(self.weights.sum(dtype=np.float64))


PASSED_AS_THEY_ARE = "fdB"
"""The dtype characters of float32, float64 and uint8."""
ROWS_PER_CHECK = 4096


def check_features(
    x: object,
    n_inputs: int,
    argument: str = "X",
    limit: float | None = math.inf,
    scaled: Scaled | None = None,
) -> Features:
    """Return features (rows, n_inputs) as an array of a type that engines read, or as `Rows`.

    No value may be larger than `limit`, beyond which the plan's precision overflows (or, with
    `scaled`, may: where what it makes of dense rows is finite, they pass); None: the values are
    not looked at. `Rows` other than sparse ones are checked when they are taken.

    Raises
    ------
    TypeError
        If they are not numbers.
    ValueError
        If the shape does not fit the network, there are no rows, or a value is not finite.
    """
    if type(x) is np.ndarray:  # soonest: a single row takes few microseconds in all
        return check_dense(x, n_inputs, argument, limit, scaled)
    if hasattr(x, "tocsr"):  # SciPy is not loaded to find out
        x = SparseRows(x)
    if isinstance(x, Rows):
        _check_shape(x.shape, n_inputs, argument)
        if isinstance(x, SparseRows):
            stored = _as_array(x.matrix.data, argument)
            if limit is not None:
                check_finite(stored, f"{argument}.data", limit)
        return x
    return check_dense(x, n_inputs, argument, limit, scaled)


def check_dense(
    x: object,
    n_inputs: int,
    argument: str = "X",
    limit: float | None = math.inf,
    scaled: Scaled | None = None,
) -> NDArray[Any]:
    """Return features (rows, n_inputs) as an array of a type that engines read.

    Raises
    ------
    TypeError, ValueError
        As `check_features`.
    """
    is_plain = type(x) is np.ndarray and x.dtype.char in PASSED_AS_THEY_ARE and x.dtype.isnative
    array: NDArray[Any] = x if is_plain else _as_array(x, argument)  # type: ignore[assignment]
    _check_shape(array.shape, n_inputs, argument)
    if not is_plain and not (array.dtype.char in PASSED_AS_THEY_ARE and array.dtype.isnative):
        array = array.astype(np.float64 if array.dtype.itemsize >= 8 else np.float32)
    elif not array.flags.aligned:  # the engines read whole numbers
        array = array.copy()
    if limit is not None:
        check_finite(array, argument, limit, scaled)
    return array


def _check_shape(shape: tuple[int, ...], n_inputs: int, argument: str) -> None:
    if len(shape) != 2 or shape[1] != n_inputs:
        hint = ""
        if len(shape) == 1 and shape[0] == n_inputs:
            hint = f"; for one row pass {argument}.reshape(1, -1)"
        elif len(shape) > 2 and int(np.prod(shape[1:])) == n_inputs:
            hint = f"; flatten the rows with {argument}.reshape(len({argument}), -1)"
        raise ValueError(
            f"{argument} must have the shape (rows, {n_inputs}), the network's input width; "
            f"got {shape}{hint}"
        )
    if shape[0] == 0:
        raise ValueError(f"{argument} must have at least one row; got the shape {shape}")


def check_finite(
    array: NDArray[Any], argument: str, limit: float = math.inf, scaled: Scaled | None = None
) -> None:
    """Refuse NaN, infinity and what is beyond `limit`, naming the first one.

    What is beyond it passes if `scaled` makes finite numbers of it. Reads block by block, copying
    nothing else.
    """
    if array.dtype.kind != "f":
        return
    limit = min(limit, float(np.finfo(array.dtype).max))
    most = min(limit, 1e150) ** 2 if limit > 0.0 else -1.0
    for start in range(0, len(array), ROWS_PER_CHECK):
        block = array[start : start + ROWS_PER_CHECK]
        # The sum of squares comes from BLAS, quickly and without a warning. If it is small enough,
        # so is every value; else look closer.
        if block.flags.c_contiguous and float(np.vdot(block, block)) <= most:
            continue
        inside = np.abs(block) <= limit  # false for NaN
        if scaled is not None and not inside.all():
            with np.errstate(all="ignore"):
                inside = np.isfinite(scaled(block))
        if not inside.all():
            place = tuple(int(i) for i in np.argwhere(~inside)[0])
            row = (start + place[0], *place[1:])
            what, advice = "finite numbers", "drop or fill such values first"
            if np.isfinite(block[place]):
                what, advice = (
                    f"numbers up to {limit:.3g}",
                    "scale them, or take precision='float64'",
                )
            raise ValueError(
                f"{argument} must hold {what} only; got {block[place]} at "
                f"{argument}[{', '.join(map(str, row))}]; {advice}"
            )


def check_targets(y: object, plan: Plan, n_rows: int, argument: str = "y") -> NDArray[Any]:
    """Return targets as labels, int32, or as values (rows, n_outputs) of the plan's dtype.

    Labels are (rows,), or (rows, groups) where the outputs are several softmax groups.

    Raises
    ------
    TypeError
        If they are not numbers.
    ValueError
        If their shape, their classes or their values do not fit the plan's loss.
    """
    array = _as_array(y, argument)
    if array.ndim == 0 or len(array) != n_rows:
        raise ValueError(
            f"{argument} must have one target per row of X ({n_rows}); got the shape {array.shape}"
        )
    if plan.targets_are_labels:
        if len(plan.group_sizes) > 1:
            return _labels_of_groups(array, plan.group_sizes, argument)
        return _labels(array, plan.n_outputs, argument)
    n_targets = plan.n_outputs // plan.outputs_per_target
    if array.ndim == 1 and n_targets == 1:
        array = array.reshape(-1, 1)
    if array.shape != (n_rows, n_targets):
        alternative = f" or ({n_rows},)" if n_targets == 1 else ""
        per = (
            f"per {plan.outputs_per_target} outputs"
            if plan.outputs_per_target > 1
            else "per output"
        )
        raise ValueError(
            f"{argument} must have the shape ({n_rows}, {n_targets}){alternative}, one value "
            f"{per} of the network; got {array.shape}"
        )
    values = _converted(array, plan.dtype, argument)
    _check_range(values, plan.loss, argument)
    if plan.outputs_per_target > 1:
        values = np.repeat(values, plan.outputs_per_target, axis=1)
    return values


def _check_range(values: NDArray[Any], loss: str, argument: str) -> None:
    """Refuse target values that the loss has no meaning for."""
    kind = LOSSES[loss].targets
    if kind == "any":
        return
    wanted, outside = {
        "share": ("lie in [0, 1]", (values < 0.0) | (values > 1.0)),
        "binary": ("be 0 or 1", (values != 0.0) & (values != 1.0)),
        "not negative": ("be at least 0", values < 0.0),
        "positive": ("be above 0", values < np.finfo(values.dtype).tiny),
    }[kind]
    if outside.any():
        raise ValueError(f"{argument} must {wanted} for loss={loss!r}; got {values[outside][0]:g}")


def _labels(array: NDArray[Any], n_classes: int, argument: str) -> NDArray[np.int32]:
    """Return class numbers from class numbers or one-hot rows."""
    expected = f"integers from 0 to {n_classes - 1}, one class of the network's {n_classes} outputs"
    if array.ndim == 2 and array.shape[1] == n_classes and n_classes > 1:
        is_one_hot = ((array == 0) | (array == 1)).all() and (array.sum(axis=1) == 1).all()
        if not is_one_hot:
            raise ValueError(
                f"{argument} with {n_classes} columns must be one-hot (a single 1 per row); "
                "got other values"
            )
        return np.asarray(array.argmax(axis=1), np.int32)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(
            f"{argument} must be class numbers of the shape (rows,) or one-hot rows of the shape "
            f"(rows, {n_classes}); got {array.shape}"
        )
    return _class_numbers(array, n_classes, expected, argument)


def _labels_of_groups(
    array: NDArray[Any], group_sizes: tuple[int, ...], argument: str
) -> NDArray[np.int32]:
    """Return class numbers (rows, groups), each column below its group's size."""
    n_groups = len(group_sizes)
    if array.ndim != 2 or array.shape[1] != n_groups:
        raise ValueError(
            f"{argument} must be class numbers of the shape (rows, {n_groups}), one column for "
            f"each of the network's groups of {', '.join(map(str, group_sizes))} outputs; got "
            f"{array.shape}"
        )
    columns = []
    for index, n_classes in enumerate(group_sizes):
        column = f"{argument}[:, {index}]"
        expected = f"integers from 0 to {n_classes - 1}, one class of its group's {n_classes}"
        columns.append(_class_numbers(array[:, index], n_classes, expected, column))
    return np.stack(columns, axis=1)


def _class_numbers(
    array: NDArray[Any], n_classes: int, expected: str, argument: str
) -> NDArray[np.int32]:
    """Return class numbers (rows,), from 0 to n_classes - 1; refuse what is none."""
    if array.dtype.kind == "f":
        check_finite(array, argument)
        fractional = array != np.floor(array)
        if fractional.any():
            raise ValueError(f"{argument} must hold {expected}; got {array[fractional][0]:g}")
    outside = (array < 0) | (array >= n_classes)
    if outside.any():
        raise ValueError(f"{argument} must hold {expected}; got {array[outside][0]:g}")
    return np.ascontiguousarray(array, dtype=np.int32)


def check_sample_weight(
    sample_weight: object, n_rows: int, dtype: str, argument: str = "sample_weight"
) -> NDArray[Any] | None:
    """Return weights (rows,) of the given type, or None; of a common size, as ratios count.

    Raises
    ------
    TypeError, ValueError
        If they are not finite numbers >= 0, one per row, with a positive sum.
    """
    if sample_weight is None:
        return None
    array = _as_array(sample_weight, argument)
    if array.shape != (n_rows,):
        raise ValueError(
            f"{argument} must have the shape ({n_rows},), one weight per row; got {array.shape}"
        )
    weights = _converted(array, dtype, argument).copy()
    if (weights < 0.0).any():
        raise ValueError(f"{argument} must be >= 0; got {weights[weights < 0.0][0]:g}")
    if not weights.any():
        raise ValueError(f"{argument} must have a positive sum; got only zeros")
    largest = float(weights.max())
    if not 1e-6 < largest < 1e6:  # only their ratios count: keep their sums in range
        weights /= weights.dtype.type(largest)
    return weights


def weigh_classes(
    class_weight: object,
    targets: NDArray[Any],
    plan: Plan,
    sample_weight: NDArray[Any] | None,
) -> NDArray[Any] | None:
    """Return what each row counts for, (rows,): its own weight times that of its class.

    Parameters
    ----------
    class_weight : None, "balanced" or dict
        "balanced" gives each class that appears the same sum: rows / (classes * rows of the class).
        A dict has weights by class number; a class that it lacks has weight 1.
    targets : ndarray
        As `check_targets` returns them.
    plan : Plan
    sample_weight : ndarray of shape (rows,), or None
        As `check_sample_weight` returns it.

    Raises
    ------
    TypeError, ValueError
        If it is anything else, or the plan's targets are not classes.
    """
    if class_weight is None:
        return sample_weight
    if plan.targets_are_labels and len(plan.group_sizes) == 1:
        labels, n_classes = targets, plan.n_outputs
    elif LOSSES[plan.loss].predicts_classes and plan.n_outputs == 1:
        others = (targets != 0.0) & (targets != 1.0)
        if others.any():
            raise ValueError(
                f"class_weight needs targets that are classes, 0 or 1; got {targets[others][0]:g} "
                "in y"
            )
        labels, n_classes = targets[:, 0].astype(np.int32), 2
    else:
        n_groups = len(plan.group_sizes)
        of_groups = f" in {n_groups} groups" if n_groups > 1 else ""
        raise ValueError(
            "class_weight needs one class per row: a softmax of all outputs, or one output with a "
            f"loss of classes; the network has {plan.n_outputs} outputs with loss={plan.loss!r}"
            f"{of_groups}. Pass sample_weight instead"
        )
    weights = np.ones(n_classes)
    if isinstance(class_weight, Mapping):
        for label, weight in class_weight.items():
            number = check_integer("a class of class_weight", label, 0, n_classes - 1)
            weights[number] = check_number(f"class_weight[{number}]", weight, 0.0)
    elif isinstance(class_weight, str) and class_weight == "balanced":
        counts = np.bincount(labels, minlength=n_classes)
        weights = len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1.0))
    else:
        raise TypeError(
            "class_weight must be None, 'balanced' or a dict of weights by class number; got "
            f"{class_weight!r}"
        )
    of_rows = weights[labels] if sample_weight is None else weights[labels] * sample_weight
    return check_sample_weight(of_rows, len(labels), plan.dtype, "class_weight")


def _converted(array: NDArray[Any], dtype: str, argument: str) -> NDArray[Any]:
    """Return a contiguous array of the given type; refuse what is not finite in it."""
    with np.errstate(over="ignore"):  # what overflows is infinite then, and refused
        values = np.ascontiguousarray(array, dtype=dtype)
    check_finite(values, argument)
    return values


def _as_array(values: object, argument: str) -> NDArray[Any]:
    """Return an array of numbers; refuse what is not."""
    # Looked up rather than named, which would import it: 15 ms of the first fit.
    masked_arrays = sys.modules.get("numpy.ma")
    if masked_arrays is not None and masked_arrays.is_masked(values):
        raise TypeError(
            f"{argument} must not have masked values; got a masked array: fill them with "
            f"{argument}.filled(...) or drop their rows"
        )
    try:
        array = np.asarray(values)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{argument} must be a rectangular array of numbers; got "
            f"{type(values).__name__} ({error})"
        ) from None
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"{argument} must hold numbers (float, int or bool); got the dtype {array.dtype}"
        )
    return array
