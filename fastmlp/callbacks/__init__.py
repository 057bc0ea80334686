"""Callbacks: code that is called while a Trainer trains; the user's own, and the usual ones."""

from .averaging import WeightAveraging
from .base import Callback, Training
from .monitored import EarlyStopping, ReduceOnPlateau
from .time_limit import TimeLimit

__all__ = [
    "Callback",
    "EarlyStopping",
    "ReduceOnPlateau",
    "TimeLimit",
    "Training",
    "WeightAveraging",
]
