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
    """Return the options that make SciPy's L-BFGS-B print what it does.

    None where it is silent (from 1.15 on), whatever the scikit-learn beside it does.
    """
    from sklearn.utils.fixes import parse_version, sp_version

    if sp_version >= parse_version("1.15"):
        return {}
    return {"iprint": 1 if verbose is True or verbose >= 1 else -1}
