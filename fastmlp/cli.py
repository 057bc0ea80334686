"""The command ``fastmlp``: reads the arguments, runs a command, makes one line of an error."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from fastmlp import __version__
from fastmlp.commands.common import INTERRUPTED

DEBUG_VARIABLE = "FASTMLP_DEBUG"
FAILED, PIPE_CLOSED = 2, 141

REPORTED_ERRORS = (
    ValueError, TypeError, OSError, ImportError, RuntimeError, ArithmeticError, MemoryError,
)  # fmt: skip
"""Shown as one line; anything else is a bug in fastmlp, and its traceback helps to find it."""

# Name, module, and a line of help. A module is imported when its command is run.
COMMANDS = {
    "bench": (".commands.bench", "compare the backends on this machine and write a report"),
    "report": (".commands.report", "write the report of a run again, in another format"),
    "train": (".commands.train", "train a network on a data set"),
    "predict": (".commands.predict", "predict with a network that was saved"),
    "explain": (".explain", "walk through one training step, with every number"),
    "info": (".commands.info", "list the backends and the machine"),
}

EXAMPLES = """\
examples:
  fastmlp bench                                        compare the backends, write a report
  fastmlp train --data digits --hidden 128 --save digits.npz
  fastmlp predict digits.npz --data digits
  fastmlp explain                                      one training step, number by number

Every command has its own help: fastmlp train --help
"""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and where the help is."""

    def error(self, message: str) -> NoReturn:
        """Print the line and leave with status 2."""
        sys.stderr.write(f"fastmlp: error: {message} (see: {self.prog} --help)\n")
        raise SystemExit(FAILED)


def make_parser(command: str | None = None) -> argparse.ArgumentParser:
    """Return the parser; only the arguments of `command` are filled in."""
    parser = Parser(
        prog="fastmlp",
        description="Multilayer perceptrons, from scratch, trained on the CPU at full speed.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fastmlp {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    for name, (module_name, help_line) in COMMANDS.items():
        subparser = commands.add_parser(
            name,
            help=help_line,
            description=help_line[0].upper() + help_line[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == command:
            module = importlib.import_module(module_name, __package__)
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments after the program's name; those of the process by default.

    Returns
    -------
    int
        The exit status: 0, 2 after an error, 130 after Ctrl-C, 141 if the reader of the output
        went away.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a character that a terminal lacks is no failure
        sys.stdout.reconfigure(errors="replace")
    try:
        parser = make_parser(next((each for each in arguments if each in COMMANDS), None))
        parsed = parser.parse_args(arguments)
        status = int(parsed.run(parsed))
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        sys.stderr.write("fastmlp: interrupted\n")
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes standard output once more at exit: let that go nowhere.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except REPORTED_ERRORS as error:
        if os.environ.get(DEBUG_VARIABLE, "") not in ("", "0"):
            raise
        sys.stderr.write(f"fastmlp: error: {error_text(error)}\n")
        return FAILED


def error_text(error: BaseException) -> str:
    """Return what an error says, for people: a file error names its file first."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, MemoryError):
        return f"there is not enough memory: {error}".removesuffix(": ")
    return str(error) or type(error).__name__
