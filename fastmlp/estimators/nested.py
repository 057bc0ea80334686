"""Settings inside of the objects that an estimator is given, as `optimizer__learning_rate`."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

from ..optimizers import check_optimizer
from ..regularization import check_dropout

OBJECTS_OF_NAMES = {"optimizer": check_optimizer, "dropout": check_dropout}
"""What makes an object of a parameter that is a name or a number."""


class NestedParameters:
    """`get_params` and `set_params` that reach into settings objects, in front of `BaseEstimator`.

    A search can then draw from a range: ``{"optimizer__learning_rate": loguniform(1e-4, 0.1)}``.
    """

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's parameters by name.

        Parameters
        ----------
        deep : bool, default True
            With the settings of objects among them, such as `optimizer__learning_rate`.

        Returns
        -------
        dict
        """
        found: dict[str, Any] = super().get_params(deep)  # type: ignore[misc]
        if deep:
            for name, value in list(found.items()):
                found |= settings_in(name, value)
        return found

    def set_params(self, **parameters: Any) -> Any:
        """Set parameters by name; an object whose settings change is replaced by another one.

        Parameters
        ----------
        **parameters
            `optimizer=AdamW()`, `optimizer__learning_rate=0.01`, ...

        Returns
        -------
        self
        """
        nested = {name: value for name, value in parameters.items() if "__" in name}
        plain = {name: value for name, value in parameters.items() if "__" not in name}
        super().set_params(**plain)  # type: ignore[misc]
        for name, value in nested.items():
            root, _, path = name.partition("__")
            present = getattr(self, root, None)
            if isinstance(present, (str, int, float)) and root in OBJECTS_OF_NAMES:
                present = OBJECTS_OF_NAMES[root](present)
            valid = settings_in(root, present)
            if name not in valid:
                known = f"its settings are {sorted(valid)}" if valid else "it has no settings"
                raise ValueError(
                    f"Invalid parameter {name!r} for estimator {self}: {root} is {present!r}, and "
                    f"{known}"
                )
            setattr(self, root, _with_setting(present, path, value))
        return self


def settings_in(name: str, value: Any) -> dict[str, Any]:
    """Return the settings of an object, and of the objects in it, by their long names."""
    found: dict[str, Any] = {}
    if is_dataclass(value) and not isinstance(value, type):
        for each in fields(value):
            if each.init:
                long_name, inner = f"{name}__{each.name}", getattr(value, each.name)
                found |= {long_name: inner, **settings_in(long_name, inner)}
    return found


def _with_setting(value: Any, path: str, new: Any) -> Any:
    first, _, rest = path.partition("__")
    return replace(
        value, **{first: _with_setting(getattr(value, first), rest, new) if rest else new}
    )
