"""The section of kernels: products, activations, steps and updates on each backend."""

from __future__ import annotations

from .dimensions import dimension_blocks
from .document import Document, Measured
from .measured import dots, matrix, repetitions_table, times_table
from .model import Appendix, Block, Figure, Section

PARTS = {"products": "Products and steps", "activations": "Activations", "updates": "Updates"}


def kernels_section(document: Document) -> Section:
    """Return the section."""
    section = Section(
        "kernels",
        "Kernels",
        "The parts that training is made of, one by one: matrix products in the shapes of a "
        "forward pass, of the weight gradient and of the input gradient, activations with their "
        "derivatives, the loss, a step of backpropagation, and an update of each optimizer. "
        "Further left is faster; the bars are the quartiles of the repetitions.",
    )
    shown = list(document.of_group("kernels", only_main=True))
    if not shown:
        section.lead = "No kernel was measured in this run."
        return section
    blocks: list[Block] = []
    for name, title in PARTS.items():
        part = [(case, found) for case, found in shown if _part(document, case) == name]
        if not part:
            continue
        measurements: list[Measured] = [each for _, found in part for each in found]
        blocks.append(
            Figure(
                f"kernels-{name}",
                title,
                dots(document, part, "time of a call"),
                repetitions_table(document, measurements),
            )
        )
    dimensions = dimension_blocks(document, "kernels", "time of a call")
    blocks += dimensions[:1]
    blocks.append(matrix(document, shown, "Time of a call", cases_down=True))
    blocks += dimensions[1:]
    blocks.append(Appendix(times_table(document, "kernels", "Kernels in detail", "kernel")))
    section.blocks = blocks
    return section


def _part(document: Document, case: str) -> str:
    parameters = document.parameters_of(case)
    if "sizes" in parameters:
        return "products"
    if "optimizer" in parameters:
        return "updates"
    return "activations" if "activation" in parameters else "products"
