"""The errors that fastmlp raises, and the wording that they share.

Bad input is a ``ValueError`` or a ``TypeError`` that names the argument, what came and what was
expected. What needs a class of its own stands here.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["BackendUnavailableError", "DivergenceError", "FormatError", "MissingExtraError"]


class FormatError(ValueError):
    """A file is damaged, truncated, or not of the format that was expected."""


class BackendUnavailableError(RuntimeError):
    """A backend was asked for by name and cannot run here; the text says why and what to do."""


class MissingExtraError(ImportError):
    """An optional package is missing; the text names the extra that installs it.

    Parameters
    ----------
    package : str
        Its name for pip.
    extra : str
        The extra of fastmlp that it belongs to.
    purpose : str
        What needs it; the text begins with it.
    otherwise : str, optional
        What helps without the package; it comes last, on lines of its own.
    """

    def __init__(self, package: str, extra: str, purpose: str, otherwise: str = "") -> None:
        text = (
            f"{purpose} needs the package {package!r}, which is not installed; "
            f"{how_to_install(package, extra)}"
        )
        super().__init__(f"{text}\n{otherwise}" if otherwise else text)


class DivergenceError(FloatingPointError):
    """Training produced values that are not finite; the last finite parameters were kept."""


HOW_TO_BUILD = (
    "install a C compiler and, in the clone of fastmlp, run: "
    "pip install --force-reinstall --no-deps ."
)
"""What to do where a compiled extension is missing."""


def how_to_install(package: str, extra: str) -> str:
    """Return what to do where an optional package is missing; right with a clone only, too."""
    return (
        f"install it with: pip install {package} (or, for all of the extra {extra!r}, in the clone "
        f"of fastmlp: pip install '.[{extra}]')"
    )


ALIASES = {
    "absolute": "absolute_error",
    "bce": "binary_cross_entropy",
    "cce": "categorical_cross_entropy",
    "cross_entropy": "categorical_cross_entropy",
    "exp": "exponential",
    "gamma_deviance": "gamma",
    "kaiming": "he",
    "kaiming_normal": "he",
    "kaiming_uniform": "he_uniform",
    "linear": "identity",
    "log_loss": "categorical_cross_entropy",
    "logistic": "sigmoid",
    "l1": "absolute_error",
    "mae": "absolute_error",
    "mse": "squared_error",
    "pinball": "quantile",
    "smooth_l1": "huber",
    "swish": "silu",
    "xavier": "glorot",
    "xavier_normal": "glorot_normal",
    "xavier_uniform": "glorot",
}
"""Names that others use, and ours. They are suggested, not accepted."""


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """Return the valid name closest to `name` whatever its case, or None if nothing is close."""
    import difflib  # imported late: only a failing call pays for it

    by_lower_case = {each.lower(): each for each in valid}
    wanted = name.strip().lower()
    alias = ALIASES.get(wanted.replace("-", "_").replace(" ", "_"))
    if alias in by_lower_case:
        return by_lower_case[alias]
    matches = difflib.get_close_matches(wanted, by_lower_case, n=1, cutoff=0.5)
    return by_lower_case[matches[0]] if matches else None


def unknown_name(argument: str, name: object, valid: Iterable[str]) -> ValueError | TypeError:
    """Make the error for a name that is not one of `valid`, with the nearest one suggested."""
    names = sorted(valid)
    listing = ", ".join(repr(each) for each in names)
    if not isinstance(name, str):
        return TypeError(
            f"{argument} must be one of {listing}; got {type(name).__name__}: {name!r}"
        )
    suggestion = nearest(name, names)
    hint = f" Did you mean {suggestion!r}?" if suggestion else ""
    return ValueError(f"{argument} must be one of {listing}; got {name!r}.{hint}")
