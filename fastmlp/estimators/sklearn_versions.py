"""What differs between the versions of scikit-learn that the estimators work with (1.5 to 1.9)."""

from __future__ import annotations

from typing import Any

try:
    from sklearn.utils.validation import validate_data as validate_data
except ImportError:  # before 1.6 it was a method

    def validate_data(
        estimator: Any,
        X: Any,  # noqa: N803 (the field's own name)
        y: Any = "no_validation",
        **settings: Any,
    ) -> Any:
        """Check X, or X and y, and set or check the number and names of the features."""
        return estimator._validate_data(X, y, **settings)


def lbfgs_verbosity(verbose: Any) -> dict[str, Any]:
    """Return the options that make SciPy's L-BFGS-B print what it does; none where it is silent."""
    from sklearn.utils import fixes

    level = 1 if verbose is True or verbose >= 1 else -1
    options = getattr(fixes, "_get_additional_lbfgs_options_dict", None)
    found: dict[str, Any] = {"iprint": level} if options is None else options("iprint", level)
    return found
