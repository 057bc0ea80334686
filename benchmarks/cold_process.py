"""Start a process, read its answers as they come, and end it when its time is over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).with_name("cold_script.py")
TIME_OVER = "ended"
"""How the error begins of a process whose time was over."""
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)


@dataclass
class Outcome:
    """What a process did.

    Attributes
    ----------
    seconds : float
        From its start to its end.
    answers : list of dict
        Its lines of JSON; "at" is when each came, in seconds from the start.
    error : str
        Why it failed, or that its time was over; empty if it ended by itself.
    """

    seconds: float = 0.0
    answers: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""


def run_python(
    arguments: Sequence[str],
    seconds: float,
    n_threads: int | None = None,
    tick: Callable[[], object] | None = None,
) -> Outcome:
    """Run this Python in a new process for at most `seconds`; `tick` is called at each answer.

    The process is ended if it takes longer, and on Ctrl-C.
    """
    environment = dict(os.environ)
    if n_threads is not None:
        environment |= dict.fromkeys(THREAD_VARIABLES, str(n_threads))
    outcome = Outcome()
    with tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-P", *arguments],  # nothing from the working directory
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            text=True,
        )
        timer = threading.Timer(seconds, process.kill)
        timer.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                at = time.perf_counter() - start
                if line.startswith("{"):
                    outcome.answers.append({**json.loads(line), "at": at})
                if tick is not None:
                    tick()
            code = process.wait()
            outcome.seconds = time.perf_counter() - start
        finally:
            timer.cancel()
            process.kill()  # does nothing to a process that has ended
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        if outcome.seconds >= seconds:
            outcome.error = f"{TIME_OVER} after {seconds:.1f} s"
        elif code != 0:
            errors.seek(0)
            lines = errors.read().decode(errors="replace").strip().splitlines()
            outcome.error = lines[-1] if lines else f"exit status {code}"
    return outcome


def run_task(
    task: dict[str, Any],
    seconds: float,
    tick: Callable[[], object] | None = None,
) -> Outcome:
    """Run a task of cold_script.py; its "n_threads" (or None) holds for every library."""
    # -P: the folder of the script is no place to import from.
    arguments = ["-P", str(SCRIPT), json.dumps(task)]
    return run_python(arguments, seconds, task["n_threads"], tick)
