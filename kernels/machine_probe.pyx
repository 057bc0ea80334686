"""What this machine can do at most: loops of multiply-adds and of reads, without the GIL.

The loops are C (native/probe.h), compiled once per instruction set. Nothing here reads a clock:
benchmarks/roofline.py does. What the loops compute is returned, so that it can be checked.
FASTMLP_MAX_ISA does not apply: the limit asked for is the machine's.
"""

from __future__ import annotations

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint64_t


cdef extern from "probe.h":
    enum:
        PROBE_ACCUMULATORS
        PROBE_BLOCK_BYTES
        PROBE_TILES
        PROBE_TILE_MULTIPLY_ADDS

    enum probe_matrix_state:
        MATRIX_READY
        MATRIX_NOT_BUILT
        MATRIX_NOT_IN_CPU
        MATRIX_NOT_ALLOWED

    struct probe_kernels:
        double (*multiply_add)(int64_t steps, double x, double y) noexcept nogil

    ctypedef uint64_t (*probe_read)(const void *data, ptrdiff_t blocks,
                                    int64_t passes) noexcept nogil

    const char *fastmlp_probe_name(int isa)
    int fastmlp_probe_runs(int isa)
    int fastmlp_probe_vector_bytes(int isa)
    const probe_kernels *fastmlp_probe_kernels(int isa, int use_double)
    probe_read fastmlp_probe_reader(int isa)
    probe_matrix_state fastmlp_probe_matrix_state()
    double fastmlp_probe_matrix(int64_t steps) noexcept nogil


BLOCK_BYTES = PROBE_BLOCK_BYTES
"""A buffer to be read is a multiple of so many bytes long."""
AMX_MULTIPLY_ADDS_PER_STEP = PROBE_TILES * PROBE_TILE_MULTIPLY_ADDS
"""How many multiply-adds a step of `multiply_tiles` is."""

PRECISIONS = {"float32": 4, "float64": 8}

AMX_REASONS = {
    MATRIX_READY: "",
    MATRIX_NOT_BUILT: "this build has no probe for it: it needs x86-64, Linux, GCC 11 or Clang 12",
    MATRIX_NOT_IN_CPU: "this CPU has no AMX (CPUID)",
    MATRIX_NOT_ALLOWED: "the operating system does not allow it (AMX needs Linux 5.16 or later)",
}

cdef list NAMES = []
while fastmlp_probe_name(len(NAMES)) != NULL:
    NAMES.append(fastmlp_probe_name(len(NAMES)).decode())
# Asked once: in a virtual machine CPUID takes as long as a short measurement.
cdef tuple SUPPORTED = tuple([name for isa, name in enumerate(NAMES) if fastmlp_probe_runs(isa)])


cdef int index_of(str isa) except -1:
    if isa not in SUPPORTED:
        raise ValueError(f"isa must be one of {', '.join(SUPPORTED)} on this machine; got {isa!r}")
    return NAMES.index(isa)


def instruction_sets():
    """Return the names of the instruction sets that run here, weakest first.

    Returns
    -------
    tuple of str
    """
    return SUPPORTED


def multiply_adds_per_step(str isa, str precision):
    """Return how many multiply-adds (of two operations each) a step of `multiply_add` is."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be float32 or float64; got {precision!r}")
    return PROBE_ACCUMULATORS * fastmlp_probe_vector_bytes(index_of(isa)) // PRECISIONS[precision]


def multiply_add(str isa, str precision, int64_t steps):
    """Multiply and add ones in registers, `steps` steps; the GIL is released.

    Parameters
    ----------
    isa : str
        One of `instruction_sets`.
    precision : {"float32", "float64"}
    steps : int

    Returns
    -------
    float
        The sum of all accumulators: steps times `multiply_adds_per_step`, as long as an
        accumulator (which counts the steps) is below 2**24, where float32 stops counting.

    Raises
    ------
    ValueError
        If the instruction set does not run here, or the precision is unknown.
    """
    multiply_adds_per_step(isa, precision)  # checks the names
    cdef const probe_kernels *kernels = fastmlp_probe_kernels(index_of(isa), precision == "float64")
    cdef double total
    with nogil:
        total = kernels.multiply_add(steps, 1.0, 1.0)
    return total


def read(str isa, data, int64_t passes):
    """Read a buffer from its start to its end, `passes` times; the GIL is released.

    Parameters
    ----------
    isa : str
        One of `instruction_sets`: the width of the loads.
    data : contiguous buffer
        A multiple of `BLOCK_BYTES` long; best aligned to 64 bytes.
    passes : int

    Returns
    -------
    int
        The sum of all 64-bit words read, modulo 2**64.

    Raises
    ------
    ValueError
        If the instruction set does not run here, or the length is not such a multiple.
    """
    cdef probe_read reader = fastmlp_probe_reader(index_of(isa))
    cdef Py_buffer view
    cdef uint64_t total
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        if view.len % PROBE_BLOCK_BYTES:
            raise ValueError(
                f"data must be a multiple of {PROBE_BLOCK_BYTES} bytes long; got {view.len} bytes"
            )
        with nogil:
            total = reader(view.buf, view.len // PROBE_BLOCK_BYTES, passes)
    finally:
        PyBuffer_Release(&view)
    return total


def amx_reason():
    """Return why the tile unit (AMX, bfloat16) cannot be used here; an empty string if it can.

    The first call asks the operating system for the permission to use it.
    """
    return AMX_REASONS[fastmlp_probe_matrix_state()]


def multiply_tiles(int64_t steps):
    """Multiply tiles full of ones (bfloat16, sums in float32), `steps` steps; the GIL is released.

    Returns
    -------
    float
        The sum of all accumulators: steps times `AMX_MULTIPLY_ADDS_PER_STEP`, as long as an
        accumulator (32 per step) is below 2**24, where float32 stops counting.

    Raises
    ------
    RuntimeError
        If there is no such unit: see `amx_reason`.
    """
    if amx_reason():
        raise RuntimeError(f"AMX cannot be used: {amx_reason()}")
    cdef double total
    with nogil:
        total = fastmlp_probe_matrix(steps)
    return total
