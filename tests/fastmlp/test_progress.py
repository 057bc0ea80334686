"""The progress bar, in a terminal and elsewhere."""

from __future__ import annotations

import io
from typing import Any

import pytest

from fastmlp import progress
from fastmlp.progress import ProgressBar, TrainingProgress, format_seconds


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that the test sets."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (12.4, "12 s"), (60, "1:00"), (185, "3:05"),
     (3599.7, "1:00:00"), (3723, "1:02:03")],
)  # fmt: skip
def test_times(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_a_terminal_redraws_one_line(clock: list[float]) -> None:
    stream = Terminal()
    bar = ProgressBar("work", stream)
    bar.update(0.0)
    clock[0] = 0.05
    bar.update(0.1)  # too soon: not drawn
    clock[0] = 10.0
    bar.update(0.5, "half")
    bar.finish("done")
    drawn = stream.getvalue()
    assert drawn.count("\r") == 3 and drawn.endswith("\n") and "\n" not in drawn[:-1]
    assert "10%" not in drawn and "50%, 10 s left  half" in drawn
    # Every line covers the one before.
    lines = drawn.rstrip("\n").split("\r")[1:]
    assert len(lines[-1]) >= len(lines[-2].rstrip())


def test_a_file_gets_few_lines(clock: list[float]) -> None:
    stream = io.StringIO()
    bar = ProgressBar("work", stream)
    for second in range(25):
        clock[0] = float(second)
        bar.update(second / 25)
    bar.finish("done")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3 and "\r" not in stream.getvalue() and lines[-1] == "work done"


def test_an_encoding_without_blocks_gets_ascii(clock: list[float]) -> None:
    class Ascii(Terminal):
        encoding = "cp1252"  # type: ignore[assignment]

    stream = Ascii()
    ProgressBar("work", stream).update(0.5)
    assert "#" in stream.getvalue() and stream.getvalue().isascii()


def test_finish_without_text_leaves_a_clean_line(clock: list[float]) -> None:
    stream = Terminal()
    bar = ProgressBar("work", stream)
    bar.update(0.3)
    bar.finish()
    assert stream.getvalue().endswith("\r") and stream.getvalue().split("\r")[-2].strip() == ""


def test_training(make_trainer: Any, make_problem: Any) -> None:
    stream = Terminal()
    trainer, (x, y) = make_trainer(), make_problem()
    trainer.fit(x, y, epochs=1)
    trainer.fit(x, y, 2, validation_data=(x, y), callbacks=[TrainingProgress(stream)])
    last = stream.getvalue().splitlines()[-1].split("\r")[-1]
    assert last.startswith("training epochs done: 2 epochs in ")
    assert f"loss {trainer.history.loss[-1]:.4f}" in last and "validation accuracy" in last


def test_no_epochs(
    make_trainer: Any, make_problem: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    history = make_trainer().fit(*make_problem(), epochs=0, progress=True)
    assert history.n_epochs == 0 and history.stop_reason == "epochs done"
    assert "0 epochs" in capsys.readouterr().err


def test_no_bar_unless_asked_for(
    make_trainer: Any, make_problem: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    make_trainer().fit(*make_problem())
    assert capsys.readouterr() == ("", "")
