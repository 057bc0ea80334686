"""Make the report of the results, whatever it will be written as."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable

from ..results import damaged, without_left_out
from .cold_start import cold_start_section
from .document import Document
from .drawbacks import drawbacks_section
from .headline import headline, tiles
from .kernels import kernels_section
from .method import method_section, noise_warning
from .model import Report, Section
from .peers import peers_section
from .scaling import scaling_section
from .training import inference_section, training_section

SECTIONS: tuple[Callable[[Document], Section], ...] = (
    kernels_section,
    training_section,
    scaling_section,
    inference_section,
    peers_section,
    drawbacks_section,
    cold_start_section,
    method_section,
)


def build_report(document: Document) -> Report:
    """Return the report.

    Raises
    ------
    FormatError
        If something that a section needs is missing or of another type.
    """
    try:
        return _build(document)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        frames = traceback.extract_tb(error.__traceback__)
        names = [each.name for each in frames if each.name.endswith("_section")]
        part = names[0].removesuffix("_section") if names else ""
        raise damaged(f"the part {part!r}" if part else "something") from error


def _build(document: Document) -> Report:
    return Report(
        title=f"fastmlp {document['fastmlp_version']} benchmark",
        machine=_machine(document),
        headline=headline(document),
        facts=[_date(document["date"]), f"level {document['level']}", document["command"]],
        warnings=_warnings(document),
        tiles=tiles(document),
        sections=[make(document) for make in SECTIONS],
        json=json.dumps(document.content, indent=1, allow_nan=False),
    )


def _machine(document: Document) -> str:
    machine = document["machine"]
    parts = [str(machine.get("cpu") or "unknown CPU")]
    cpus = machine.get("usable_cpus")
    if cpus:
        parts.append(f"{cpus} CPU{'s' if cpus != 1 else ''}")
    isas = [each.get("isa") for each in document["backends"] if each["name"] == "cython"]
    if isas and isas[0]:
        parts.append(str(isas[0]))
    memory = machine.get("memory_bytes")
    if memory:
        parts.append(f"{memory / 2**30:.0f} GiB")
    if machine.get("os"):
        parts.append(str(machine["os"]))
    return ", ".join(parts)


def _date(text: str) -> str:
    return text[:16].replace("T", " ") + " UTC" if "T" in text else text


def _warnings(document: Document) -> list[str]:
    warnings = []
    if not document["complete"]:
        warnings.append(
            "Incomplete: the run was interrupted; this is what had been measured by then."
        )
    failures, left_out, why = without_left_out(document["failures"])
    for each in failures[:3]:
        case, contender = document.case_title(each["case"]), document.title_of(each["contender"])
        who = f" on {contender}" if contender else ""
        warnings.append(f"{case}{who} failed: {each['error']}")
    if len(failures) > 3:
        warnings.append(f"{len(failures) - 3} more failed; they are listed under Method.")
    if left_out:
        some = "1 case was" if len(left_out) == 1 else f"{len(left_out)} cases were"
        warnings.append(f"{some} left out, {why}; listed under Method.")
    noise = noise_warning(document)
    return [*warnings, noise] if noise else warnings
