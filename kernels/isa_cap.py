"""The cap on the instruction set, from the environment."""

from __future__ import annotations

import os

MAX_ISA_VARIABLE = "FASTMLP_MAX_ISA"
CAPS = ("baseline", "avx2", "avx512", "avx512_vnni", "avx512_bf16", "amx")
"""Lowest first; native/isa_table.h compiles for each (the last three: for int8 and bfloat16)."""


def requested_cap() -> str | None:
    """Return what FASTMLP_MAX_ISA asks for, or None.

    Raises
    ------
    ValueError
        If it is set to something else than a cap.
    """
    wanted = os.environ.get(MAX_ISA_VARIABLE, "").strip().lower()
    if wanted and wanted not in CAPS:
        raise ValueError(
            f"the environment variable {MAX_ISA_VARIABLE} must be one of {', '.join(CAPS)}; "
            f"got {wanted!r}"
        )
    return wanted or None
