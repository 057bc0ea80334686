"""The worked example: one sample through a small network, forward and back, with every number.

`explain` returns the text; `add_arguments` and `run` are the command ``fastmlp explain``. What is
computed stands in lesson.py, what is printed in the sections; all numbers are the Trainer's.
"""

from __future__ import annotations

from .command import add_arguments, run
from .document import explain
from .layout import to_ascii

__all__ = ["add_arguments", "explain", "run", "to_ascii"]
