"""Download of MNIST into a cache folder, through pooch, with checksums."""

from __future__ import annotations

import importlib
import io
import os
from pathlib import Path
from typing import Any

from fastmlp.errors import FormatError, MissingExtraError

__all__ = ["MIRRORS", "MIRROR_VARIABLE", "DownloadError", "download_mnist"]

MIRROR_VARIABLE = "FASTMLP_MNIST_MIRROR"
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
# Name, length and SHA-256 of each file once unpacked. The packed files differ between mirrors (some
# compressed them again), their content does not.
UNPACKED_FILES = (
    (
        "train-images-idx3-ubyte",
        47_040_016,
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    (
        "train-labels-idx1-ubyte",
        60_008,
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    (
        "t10k-images-idx3-ubyte",
        7_840_016,
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    (
        "t10k-labels-idx1-ubyte",
        10_008,
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)
# Seconds to connect and to wait for data; nothing is tried again, so that being offline shows fast.
TIMEOUT = (5.0, 20.0)


class DownloadError(OSError):
    """No mirror could be reached; the text names each and what happened."""


def download_mnist(folder: Path, mirror: str | None, otherwise: str = "") -> None:
    """Download the four files, unpacked, into `folder`; those that it has already are kept.

    Parameters
    ----------
    folder : Path
        Where the files go. Created if needed. A file enters it complete and checked, or not at all.
    mirror : str or None
        The address of the folder to download from; None for the environment's or the public ones.
    otherwise : str
        What helps without a download, for the message about a missing pooch.

    Raises
    ------
    FormatError
        If a mirror answers with content of the wrong checksum, and no other mirror helps.
    DownloadError
        If no mirror can be reached.
    MissingExtraError
        If pooch is not installed.
    """
    mirrors = _mirrors(mirror)
    try:
        # Not an import statement: mypy need not know this optional, untyped package.
        pooch: Any = importlib.import_module("pooch")
    except ImportError as error:
        raise MissingExtraError("pooch", "data", "downloading MNIST", otherwise) from error

    failures: list[Exception] = []
    for address in mirrors:
        try:
            for name, n_bytes, checksum in UNPACKED_FILES:
                _download_one(pooch, f"{address}{name}.gz", folder / name, n_bytes, checksum)
        except (OSError, FormatError) as error:
            failures.append(error)
        else:
            return
    for failure in failures:
        if isinstance(failure, FormatError):
            raise failure
    reasons = "; ".join(
        f"{address}: {_first_cause(failure)}"
        for address, failure in zip(mirrors, failures, strict=True)
    )
    raise DownloadError(f"downloading it failed ({reasons})") from failures[-1]


def _mirrors(mirror: str | None) -> tuple[str, ...]:
    """Return the addresses to try, each ending with a slash."""
    if mirror is None:
        named = os.environ.get(MIRROR_VARIABLE)
        if not named:
            return MIRRORS
        source, mirror = MIRROR_VARIABLE, named
    else:
        source = "mirror"
    if not isinstance(mirror, str):
        raise TypeError(f"mirror must be a str or None; got {type(mirror).__name__}: {mirror!r}")
    if not mirror.startswith(("http://", "https://")):
        raise ValueError(f"{source} must start with http:// or https://; got {mirror!r}")
    return (mirror if mirror.endswith("/") else mirror + "/",)


def _download_one(pooch: Any, address: str, target: Path, n_bytes: int, checksum: str) -> None:
    """Fetch one file; pooch keeps it in a temporary place until its checksum is right."""

    def fetch_unpacked(url: str, output_file: str, _: Any) -> None:
        packed = io.BytesIO()
        try:
            pooch.HTTPDownloader(timeout=TIMEOUT, chunk_size=1 << 16)(url, packed, None)
        except OSError as error:
            response = getattr(error, "response", None)
            if response is not None:  # pooch leaves the connection of a refusal (404) open
                response.close()
            raise
        packed.seek(0)
        Path(output_file).write_bytes(_unpack(packed, url, n_bytes))

    try:
        pooch.retrieve(
            address,
            known_hash=f"sha256:{checksum}",
            fname=target.name,
            path=target.parent,
            downloader=fetch_unpacked,
        )
    except (OSError, FormatError):  # first: some errors of requests are also ValueErrors
        raise
    except ValueError as error:
        raise FormatError(
            f"{address}: the content has a wrong SHA-256 checksum; expected {checksum} (of the "
            f"unpacked file). Nothing was kept. Use another mirror ({error})"
        ) from error


def _unpack(packed: io.BytesIO, address: str, n_bytes: int) -> bytes:
    """Unpack gzip data, and no more than `n_bytes` and one."""
    import gzip
    import zlib

    is_packed = packed.read(2) == b"\x1f\x8b"
    packed.seek(0)
    if not is_packed:  # a server that declares the compression as transport: it is undone already
        return packed.read()
    try:
        with gzip.GzipFile(fileobj=packed) as stream:
            content = stream.read(n_bytes + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise FormatError(
            f"{address}: the mirror sent damaged gzip data ({error}); expected {n_bytes} bytes "
            "when unpacked. Nothing was kept. Use another mirror"
        ) from error
    if len(content) != n_bytes:
        came = f"more than {n_bytes}" if len(content) > n_bytes else str(len(content))
        raise FormatError(
            f"{address}: the mirror sent {came} bytes (unpacked); expected {n_bytes}. Nothing was "
            "kept. Use another mirror"
        )
    return content


def _first_cause(error: BaseException) -> str:
    """Shorten the nested messages of a failed connection to what matters."""
    text = str(error) or type(error).__name__
    reason = getattr(error.args[0], "reason", None) if error.args else None
    text = str(reason) if reason is not None else text
    return text if len(text) <= 200 else text[:197] + "..."
