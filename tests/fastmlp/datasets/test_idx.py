"""read_idx: every type and shape comes back; whatever is wrong with a file is a FormatError."""

from __future__ import annotations

import gzip
import struct
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from fastmlp.datasets import read_idx
from fastmlp.errors import FormatError

Encode = Callable[[NDArray[Any]], bytes]

arrays = st.sampled_from(["u1", "i1", "i2", "i4", "f4", "f8"]).flatmap(
    lambda code: hnp.arrays(
        np.dtype(code), hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)
    )
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("idx") / "array"


def damage(content: bytes, draw: st.DataObject) -> bytes:
    """Cut, change, insert or append bytes."""
    kind = draw.draw(st.sampled_from(["cut", "change", "insert", "append"]))
    at = draw.draw(st.integers(0, len(content) - 1))
    if kind == "cut":
        return content[:at]
    if kind == "change":
        changed = content[at] ^ draw.draw(st.integers(1, 255))
        return content[:at] + bytes([changed]) + content[at + 1 :]
    extra = draw.draw(st.binary(min_size=1, max_size=6))
    return content + extra if kind == "append" else content[:at] + extra + content[at:]


@settings(max_examples=100, deadline=None)
@given(array=arrays, packed=st.booleans())
def test_round_trip(file: Path, encode_idx: Encode, array: NDArray[Any], packed: bool) -> None:
    content = encode_idx(array)
    file.write_bytes(gzip.compress(content) if packed else content)
    got = read_idx(file)
    assert got.dtype == array.dtype
    assert got.dtype.isnative
    assert got.shape == array.shape
    assert got.tobytes() == array.tobytes()  # bit for bit, NaN included
    assert got.flags.writeable


@settings(max_examples=300, deadline=None)
@given(array=arrays, data=st.data())
def test_damaged_raw_file(file: Path, encode_idx: Encode, array: NDArray[Any], data: Any) -> None:
    content = damage(encode_idx(array), data)
    file.write_bytes(content)
    try:
        got = read_idx(file)
    except FormatError as error:
        assert str(file) in str(error)
    else:  # only if what the file now holds is exactly this array
        assert encode_idx(got) == content


@settings(max_examples=300, deadline=None)
@given(array=arrays, data=st.data())
def test_damaged_gzip_file(file: Path, encode_idx: Encode, array: NDArray[Any], data: Any) -> None:
    content = damage(gzip.compress(encode_idx(array), mtime=0), data)
    file.write_bytes(content)
    try:
        got = read_idx(file)
    except FormatError as error:
        assert str(file) in str(error)
    else:  # damage that gzip itself does not mind, such as another time stamp
        assert encode_idx(got) == gzip.decompress(content)


@pytest.mark.parametrize("cut", range(14))
def test_every_truncation_is_refused(file: Path, encode_idx: Encode, cut: int) -> None:
    content = encode_idx(np.arange(3, dtype=np.int16))  # 8 bytes of header, 6 of data
    assert len(content) == 14
    file.write_bytes(content[:cut])
    with pytest.raises(FormatError, match="truncated"):
        read_idx(file)


def test_compression_is_told_by_content_not_by_name(tmp_path: Path, encode_idx: Encode) -> None:
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    raw_named_gz, gz_named_raw = tmp_path / "a.gz", tmp_path / "b"
    raw_named_gz.write_bytes(encode_idx(array))
    gz_named_raw.write_bytes(gzip.compress(encode_idx(array)))
    np.testing.assert_array_equal(read_idx(str(raw_named_gz)), array)
    np.testing.assert_array_equal(read_idx(gz_named_raw), array)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "truncated"),
        (b"PNG\x01\0\0\0\0", "50 4e 47 01"),
        (b"\0\0\x0a\x01\0\0\0\0", "element type"),
        (b"\0\0\x08\0", "0 dimensions"),
        (b"\0\0\x08\xff" + b"\0" * 1020, "255 dimensions"),
        (b"\0\0\x08\x01\0\0\0\x02\x05", "1 bytes of data; expected 2"),
        (b"\0\0\x08\x01\0\0\0\x01\x05\x06", "too long"),
        (b"\0\0\x08\x03\0\0\0\0" + b"\xff" * 8, None),  # empty, though two lengths are absurd
        (b"\0\0\x08\x04\0\0\0\0" + b"\xff" * 12, "larger than any array"),
    ],
)
def test_message_names_file_and_problem(file: Path, content: bytes, said: str | None) -> None:
    file.write_bytes(content)
    if said is None:
        # 64 bits hold the product of the two lengths as an unsigned, not as a signed number.
        fits = sys.maxsize >= (2**32 - 1) ** 2
        if fits:
            assert read_idx(file).shape == (0, 2**32 - 1, 2**32 - 1)
            return
        said = "larger than any array"
    with pytest.raises(FormatError) as caught:
        read_idx(file)
    assert said in str(caught.value)
    assert str(file) in str(caught.value)


def test_trailing_bytes_in_gzip_are_refused(file: Path, encode_idx: Encode) -> None:
    file.write_bytes(gzip.compress(encode_idx(np.zeros(3, np.uint8)) + b"x"))
    with pytest.raises(FormatError, match="more bytes follow"):
        read_idx(file)


def test_wrong_gzip_checksum_is_refused(file: Path, encode_idx: Encode) -> None:
    content = encode_idx(np.zeros(3, np.uint8))
    packed = bytearray(gzip.compress(content))
    assert packed[-8:-4] == struct.pack("<I", zlib.crc32(content))
    packed[-8] ^= 1
    file.write_bytes(packed)
    with pytest.raises(FormatError, match="gzip"):
        read_idx(file)


@pytest.mark.parametrize("packed", [False, True])
def test_lying_header_costs_no_memory(file: Path, packed: bool) -> None:
    content = struct.pack(">BBBB3I", 0, 0, 0x0E, 3, 60_000, 1000, 1000) + b"\0" * 1000  # 480 GB
    file.write_bytes(gzip.compress(content) if packed else content)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="truncated"):
            read_idx(file)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000


def test_absent_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "absent")
