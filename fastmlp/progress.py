"""A progress bar for the terminal, in a few lines because the core needs only NumPy."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from typing import TextIO

from .callbacks import Callback, Training

BAR_WIDTH, SHORTEST_BAR = 28, 6
USUAL_COLUMNS = 80


def format_seconds(seconds: float) -> str:
    """Return a time for people: ``0.4 s``, ``12 s``, ``3:05``, ``1:02:03``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class ProgressBar:
    """One line that is redrawn in a terminal; elsewhere (a file, CI) a plain line now and then.

    Parameters
    ----------
    title : str
    stream : text stream, default standard error
    """

    def __init__(self, title: str, stream: TextIO | None = None) -> None:
        self.title = title
        self.stream = sys.stderr if stream is None else stream
        self.is_terminal = self.stream.isatty()
        self.start = time.perf_counter()
        self.interval = 0.1 if self.is_terminal else 10.0
        # A terminal shows the bar at once; a file gets a first line only if it takes long.
        self.last_drawn = -math.inf if self.is_terminal else self.start
        self.last_length = 0
        self.width = BAR_WIDTH

    def update(self, fraction: float, text: str = "", *, at_once: bool = False) -> None:
        """Show that `fraction` (0 to 1) is done; cheap enough to call often.

        Before a long step without a call, `at_once` shows the text in a terminal without delay.
        """
        now = time.perf_counter()
        if now - self.last_drawn < self.interval and not (at_once and self.is_terminal):
            return
        self.last_drawn = now
        elapsed = now - self.start
        left = f", {format_seconds(elapsed / fraction - elapsed)} left" if fraction > 0.02 else ""
        encoding = (getattr(self.stream, "encoding", None) or "ascii").lower()
        full, empty = ("█", "·") if encoding.startswith("utf") else ("#", ".")
        told = f" {fraction:4.0%}{left}  {text}".rstrip()
        if self.is_terminal:
            # A narrow terminal costs the bar before the text; a bar that grew again would flicker.
            room = self._columns() - 1 - len(self.title) - 1 - len(told)
            self.width = max(min(room, self.width), SHORTEST_BAR)
        filled = round(min(max(fraction, 0.0), 1.0) * self.width)
        self._write(f"{self.title} {full * filled}{empty * (self.width - filled)}{told}")

    @property
    def elapsed(self) -> float:
        """Seconds since the bar was made."""
        return time.perf_counter() - self.start

    def finish(self, text: str = "") -> None:
        """Replace the bar by a last line (or by nothing) and leave it."""
        if text:
            self._write(f"{self.title} {text}".strip())
            self.stream.write("\n" if self.is_terminal else "")
        elif self.is_terminal:
            self._write("")
            self.stream.write("\r")
        self.stream.flush()
        self.last_length = 0

    def _columns(self) -> int:
        """Return how wide the terminal is."""
        with contextlib.suppress(OSError, ValueError, AttributeError):  # a stream without a file
            return os.get_terminal_size(self.stream.fileno()).columns or USUAL_COLUMNS
        return USUAL_COLUMNS

    def _write(self, line: str) -> None:
        if self.is_terminal:
            # A line wider than the terminal would wrap, and a wrapped line is not overwritten.
            line = line[: self._columns() - 1]
            self.stream.write("\r" + line.ljust(self.last_length))
            self.last_length = len(line)
        else:
            self.stream.write(line + "\n")
        self.stream.flush()


class TrainingProgress(Callback):
    """The bar that ``fit(progress=True)`` shows; `score_of` names the data of the score shown."""

    looks_at_chunks = False

    def __init__(self, stream: TextIO | None = None, score_of: str = "validation") -> None:
        self.stream = stream
        self.score_of = score_of

    def on_fit_start(self, trainer: Training, n_epochs: int) -> None:
        """Draw the empty bar."""
        self.n_epochs = n_epochs
        self.first_epoch = trainer.history.n_epochs
        self.bar = ProgressBar("training", self.stream)
        self.bar.update(0.0)

    def on_chunk_end(self, trainer: Training, n_batches_done: int, n_batches: int) -> None:
        """Move the bar."""
        epoch = trainer.history.n_epochs - self.first_epoch
        fraction = (epoch + n_batches_done / n_batches) / self.n_epochs
        self.bar.update(fraction, f"epoch {epoch + 1}/{self.n_epochs}  {self._state(trainer)}")

    def on_fit_end(self, trainer: Training) -> None:
        """Leave one line that says what came out."""
        history = trainer.history
        epochs = history.n_epochs - self.first_epoch
        spent = format_seconds(time.perf_counter() - self.bar.start)
        plural = "epoch" if epochs == 1 else "epochs"
        self.bar.finish(
            f"{history.stop_reason}: {epochs} {plural} in {spent}  {self._state(trainer)}".rstrip()
        )

    def _state(self, trainer: Training) -> str:
        history = trainer.history
        parts = [f"loss {history.loss[-1]:.4g}"] if history.loss else []
        if history.validation_score:
            score = history.validation_score[-1]
            parts.append(f"{self.score_of} {trainer.score_name} {score:.4f}")
        return "  ".join(parts)
