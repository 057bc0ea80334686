"""Where dense networks struggle: experiments with a perceptron, a small CNN, an RNN and an LSTM.

`run` does them all and returns plain data for the report. The CNN (`convolutional`), the RNN and
the LSTM (`recurrent`) are written here with NumPy, to be compared with; the perceptron is
fastmlp's own. `image_experiments` and `sequence_experiments` say what is tried, `levels` how much
of it, `paragraphs` what is seen.
"""

from __future__ import annotations

from .study import run

__all__ = ["run"]
