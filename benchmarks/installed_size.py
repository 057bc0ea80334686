"""How much disk an installed package takes, by the files that its installer listed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from collections.abc import Iterable
from pathlib import Path

OWN = "fastmlp"
REQUIREMENT = re.compile(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
IGNORED_SUFFIXES = (".pyc", ".c", ".h", ".pyx")
"""In a source tree: what an install would not hold, or makes anew."""


def installed_bytes(distribution: str) -> int | None:
    """Return the size of a distribution's files, without what it depends on; None if absent."""
    try:
        found = importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        return _bytes_of_source_tree() if distribution == OWN else None
    listed = _sum(Path(str(found.locate_file(file))) for file in found.files or ())
    if distribution == OWN and not _holds_its_code(found):
        return _bytes_of_source_tree()
    return listed


def with_dependencies(distribution: str) -> list[str]:
    """Return the distribution and all installed ones that it needs, without extras."""
    found, waiting = set(), [_normal(distribution)]
    while waiting:
        name = waiting.pop()
        try:
            requirements = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # for another platform, or broken
        if name in found:
            continue
        found.add(name)
        for requirement in requirements:
            match = REQUIREMENT.match(requirement)
            if match and "extra" not in requirement.partition(";")[2]:
                waiting.append(_normal(match[1]))
    return sorted(found)


def _normal(name: str) -> str:
    """Return a distribution's name as PEP 503 writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _holds_its_code(found: importlib.metadata.Distribution) -> bool:
    """Return whether the package itself is listed: an editable install lists a pointer only."""
    return any(file.parts[:1] == (OWN,) for file in found.files or ())


def _bytes_of_source_tree() -> int:
    """Return what fastmlp's folders hold that an install would."""
    total = 0
    for package in (OWN, f"{OWN}.kernels", f"{OWN}.benchmarks"):
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            inside = (
                path for path in Path(folder).rglob("*") if path.suffix not in IGNORED_SUFFIXES
            )
            total += _sum(inside)
    return total


def _sum(paths: Iterable[Path]) -> int:
    total = 0
    for path in paths:
        if path.is_file():
            total += path.stat().st_size
    return total
