"""Where fastmlp keeps what it can make or fetch again: downloads, compiled kernels."""

from __future__ import annotations

import os
import sys
from pathlib import Path

CACHE_VARIABLE = "FASTMLP_CACHE_DIR"


def cache_folder() -> Path:
    r"""Return the folder of the user's cache. Nothing is created.

    ``$FASTMLP_CACHE_DIR`` if it is set. Otherwise where this platform keeps such files: on Linux
    and others ``$XDG_CACHE_HOME/fastmlp``, or ``~/.cache/fastmlp``; on macOS
    ``~/Library/Caches/fastmlp``; on Windows ``%LOCALAPPDATA%\fastmlp\Cache``.
    """
    named = os.environ.get(CACHE_VARIABLE, "").strip()
    if named:
        return Path(os.path.abspath(os.path.expanduser(named)))
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        base = Path(local) if local else Path.home() / "AppData" / "Local"
        return base / "fastmlp" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "fastmlp"
    cache_home = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG base directory specification: a relative path here is invalid and must be ignored.
    base = Path(cache_home) if os.path.isabs(cache_home) else Path.home() / ".cache"
    return base / "fastmlp"
