"""What the measurements ran on, with nothing that tells whose machine it is."""

from __future__ import annotations

import re

from fastmlp.machine import describe_machine, describe_software, format_bytes

__all__ = ["describe_machine", "describe_software", "format_bytes", "without_paths"]

# Two or more names behind separators, perhaps after a drive; not the rest of a web address.
ABSOLUTE_PATH = re.compile(
    r"""(?<![\w.:/\\])(?:[A-Za-z]:)?(?:[/\\][^\s/\\:'"]+)+[/\\]([^\s/\\:'"]+)"""
)


def without_paths(text: str) -> str:
    """Return a text with every absolute path cut down to its last part."""
    return ABSOLUTE_PATH.sub(r"\1", text)
