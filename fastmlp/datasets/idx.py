"""Reader of the idx format, in which MNIST is published.

The format is described at http://yann.lecun.com/exdb/mnist/: two zero bytes, one byte for the
element type, one byte for the number of dimensions; the dimensions, each 4 bytes; then the
elements in C order. All numbers are big endian.
"""

from __future__ import annotations

import io
import math
import os
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.errors import FormatError

__all__ = ["read_idx"]

# The third byte of the file: what the elements are.
ELEMENT_TYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype(">u1"),
    0x09: np.dtype(">i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
GZIP_MAGIC = b"\x1f\x8b"
MAX_DIMENSIONS = 32  # what every NumPy can hold
CHUNK_BYTES = 1 << 20


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read an idx file, raw or compressed with gzip (told apart by content, not by name).

    Memory stays in proportion to what the file really holds, whatever its header claims.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    ndarray
        The array, writable, in native byte order: uint8, int8, int16, int32, float32 or float64,
        of the shape that the file states.

    Raises
    ------
    FormatError
        If the file is truncated, damaged, no idx file, or has bytes after its end.
    OSError
        If the file cannot be opened or read.
    """
    path = Path(path)
    with open(path, "rb") as file:
        compressed = file.read(2) == GZIP_MAGIC
        file.seek(0)
        if not compressed:
            return _read_stream(file, path, stored_bytes=os.fstat(file.fileno()).st_size)

        import gzip  # imported late: a raw file does not need it

        try:
            with gzip.GzipFile(fileobj=file) as unpacked:
                return _read_stream(unpacked, path, stored_bytes=None)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise FormatError(
                f"{path}: the gzip data is damaged or truncated ({error}); "
                "expected a complete gzip file; download it again"
            ) from error


def _read_stream(stream: io.BufferedIOBase, path: Path, stored_bytes: int | None) -> NDArray[Any]:
    """Read one array from `stream`; `stored_bytes` is its total length, where that is known."""
    element_type, shape, header_bytes = _read_header(stream, path)
    expected = math.prod(shape) * element_type.itemsize  # Python integers: cannot overflow
    # NumPy refuses shapes whose non-zero lengths overflow, even where another length is zero.
    if math.prod(length for length in shape if length) * element_type.itemsize > sys.maxsize:
        raise FormatError(
            f"{path}: the header states the shape {shape}, larger than any array can be; "
            "expected an idx file"
        )
    if stored_bytes is not None and stored_bytes - header_bytes != expected:
        raise _wrong_length(path, shape, element_type, stored_bytes - header_bytes, expected)

    # The buffer grows with the data that arrive: a lying header costs no memory.
    content = bytearray()
    while len(content) < expected:
        chunk = stream.read(min(CHUNK_BYTES, expected - len(content)))
        if not chunk:
            raise _wrong_length(path, shape, element_type, len(content), expected)
        content += chunk
    if stream.read(1):
        raise FormatError(
            f"{path}: more bytes follow the data; expected the file to end after {expected} bytes "
            f"of data for the shape {shape} of {element_type.name}"
        )
    array = np.frombuffer(content, dtype=element_type).reshape(shape)
    # A copy: NumPy asks the system for large pages, in which random rows are found faster.
    return array.astype(element_type.newbyteorder("="))


def _read_header(
    stream: io.BufferedIOBase, path: Path
) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """Return the element type, the shape, and how many bytes the header takes."""
    magic = stream.read(4)
    if len(magic) < 4:
        raise FormatError(
            f"{path}: truncated: the file holds {len(magic)} bytes; expected an idx header of at "
            "least 8"
        )
    element_type = ELEMENT_TYPES.get(magic[2])
    n_dimensions = magic[3]
    if magic[:2] != b"\0\0" or element_type is None:
        raise FormatError(
            f"{path}: starts with the bytes {magic.hex(' ')}, not those of an idx file; expected "
            "00 00, then an element type from 08 09 0b 0c 0d 0e, then the number of dimensions"
        )
    if not 1 <= n_dimensions <= MAX_DIMENSIONS:
        raise FormatError(
            f"{path}: the header states {n_dimensions} dimensions; expected 1 to {MAX_DIMENSIONS}"
        )
    lengths = stream.read(4 * n_dimensions)
    if len(lengths) < 4 * n_dimensions:
        raise FormatError(
            f"{path}: truncated inside the header: {len(lengths)} bytes for the dimensions; "
            f"expected {4 * n_dimensions}"
        )
    shape = tuple(int(length) for length in np.frombuffer(lengths, dtype=">u4"))
    return element_type, shape, len(magic) + len(lengths)


def _wrong_length(
    path: Path, shape: tuple[int, ...], element_type: np.dtype[Any], came: int, expected: int
) -> FormatError:
    problem = "truncated" if came < expected else "too long"
    return FormatError(
        f"{path}: {problem}: {came} bytes of data; expected {expected} for the shape {shape} of "
        f"{element_type.name} that the header states"
    )
