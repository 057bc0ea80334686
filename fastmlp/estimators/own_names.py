"""scikit-learn's names of activations, where fastmlp has others."""

from __future__ import annotations

from ..custom import CustomActivation

OWN_NAMES = {"logistic": "sigmoid", "exp": "exponential"}
"""fastmlp's, by scikit-learn's."""

SKLEARN_NAMES = {own: theirs for theirs, own in OWN_NAMES.items()}


def own_name(activation: str | CustomActivation) -> str | CustomActivation:
    """Return fastmlp's name of an activation; one of the user's own as it is."""
    return OWN_NAMES.get(activation, activation) if isinstance(activation, str) else activation
