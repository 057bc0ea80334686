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
    """An optional package is missing; the text names the extra that installs it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed; "
            f"install it with: pip install 'fastmlp[{extra}]'"
        )


class DivergenceError(FloatingPointError):
    """Training produced values that are not finite; the last finite parameters were kept."""


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """Return the valid name closest to `name`, or None if nothing is close."""
    import difflib  # imported late: only a failing call pays for it

    matches = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)
    return matches[0] if matches else None


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
