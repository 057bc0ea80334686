"""The download of MNIST, from a mirror on this machine: good, damaged, wrong, absent."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fastmlp.datasets import load_mnist, mnist_download
from fastmlp.datasets.locations import cache_folder
from fastmlp.errors import FormatError, MissingExtraError

Write = Callable[..., Path]


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder without a line on stderr for each request."""

    def log_message(self, format: str, *args: Any) -> None:  # the name it overrides
        pass


@pytest.fixture
def mirror(
    tmp_path: Path,
    small_mnist: dict[str, bytes],
    write_files: Write,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[str, Path]]:
    """A mirror of the small files, whose checksums stand in for the real ones."""
    pytest.importorskip("pooch", reason="the optional package pooch downloads")
    folder = write_files(tmp_path / "mirror", small_mnist, packed=True)
    checksums = tuple(
        (name, len(content), hashlib.sha256(content).hexdigest())
        for name, content in small_mnist.items()
    )
    monkeypatch.setattr(mnist_download, "UNPACKED_FILES", checksums)
    handler = functools.partial(QuietHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", folder
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def dead_mirror() -> str:
    """An address at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/"


def cached_files() -> set[str]:
    return {file.name for file in cache_folder().rglob("*") if file.is_file()}


def test_download_once(mirror: tuple[str, Path], small_mnist: dict[str, bytes]) -> None:
    address, folder = mirror
    first = load_mnist(mirror=address)
    assert first.x_train.shape == (20, 12)
    assert cached_files() == set(small_mnist)
    for file in folder.iterdir():
        file.unlink()
    second = load_mnist(mirror=address)  # from the cache: the mirror has nothing any more
    assert second.x_train.tobytes() == first.x_train.tobytes()


def test_mirror_from_the_environment(
    mirror: tuple[str, Path], dead_mirror: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTMLP_MNIST_MIRROR", dead_mirror)
    with pytest.raises(FileNotFoundError):
        load_mnist()
    monkeypatch.setenv("FASTMLP_MNIST_MIRROR", mirror[0])
    assert load_mnist().x_test.shape == (10, 12)


def test_next_public_mirror_helps(
    mirror: tuple[str, Path], dead_mirror: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mnist_download, "MIRRORS", (dead_mirror, mirror[0] + "/"))
    assert load_mnist().x_test.shape == (10, 12)


def flip_pixel(content: bytes) -> bytes:
    return gzip.compress(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize(
    ("corrupt", "said"),
    [
        (flip_pixel, "wrong SHA-256 checksum"),
        (lambda content: gzip.compress(content + b"x"), "sent more than"),
        (lambda content: gzip.compress(content[:-1]), "bytes"),
        (lambda content: gzip.compress(content)[:-9], "damaged gzip data"),
        (lambda content: b"<html>Please log in to this network</html>", "wrong SHA-256 checksum"),
    ],
    ids=["changed", "too long", "too short", "cut off", "another page"],
)
def test_corrupted_content_leaves_nothing(
    mirror: tuple[str, Path],
    small_mnist: dict[str, bytes],
    corrupt: Callable[[bytes], bytes],
    said: str,
) -> None:
    address, folder = mirror
    name = "train-images-idx3-ubyte"
    (folder / f"{name}.gz").write_bytes(corrupt(small_mnist[name]))
    with pytest.raises(FormatError, match=said) as caught:
        load_mnist(mirror=address)
    assert f"{address}/{name}.gz" in str(caught.value)
    assert cached_files() == set()


def test_only_the_checked_files_stay(
    mirror: tuple[str, Path], small_mnist: dict[str, bytes]
) -> None:
    address, folder = mirror
    last = list(small_mnist)[-1]
    packed = (folder / f"{last}.gz").read_bytes()
    (folder / f"{last}.gz").write_bytes(flip_pixel(small_mnist[last]))
    with pytest.raises(FormatError):
        load_mnist(mirror=address)
    assert cached_files() == set(small_mnist) - {last}
    (folder / f"{last}.gz").write_bytes(packed)
    load_mnist(mirror=address)
    assert cached_files() == set(small_mnist)


def test_content_unpacked_in_transport(
    mirror: tuple[str, Path], small_mnist: dict[str, bytes]
) -> None:
    # Some servers declare the compression as transport, and the client undoes it.
    address, folder = mirror
    for name, content in small_mnist.items():
        (folder / f"{name}.gz").write_bytes(content)
    assert load_mnist(mirror=address).x_train.shape == (20, 12)


def test_offline_is_quick_and_says_what_to_do(
    mirror: tuple[str, Path], dead_mirror: str, tmp_path: Path
) -> None:
    start = time.monotonic()
    with pytest.raises(FileNotFoundError) as caught:
        load_mnist(tmp_path, mirror=dead_mirror)
    assert time.monotonic() - start < 5
    text = str(caught.value)
    for part in (dead_mirror, str(tmp_path), "FASTMLP_DATA", "--data-dir", "digits"):
        assert part in text
    assert cached_files() == set()


def test_absent_on_the_mirror(mirror: tuple[str, Path]) -> None:
    address, folder = mirror
    (folder / "t10k-images-idx3-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match="404"):
        load_mnist(mirror=address)


def test_missing_pooch_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)  # makes the import fail
    with pytest.raises(MissingExtraError) as caught:
        load_mnist()
    first, *rest = str(caught.value).splitlines()
    assert first.startswith("downloading MNIST needs the package 'pooch'")
    assert "pip install pooch" in first and "pip install '.[data]'" in first
    with pytest.raises(FileNotFoundError) as not_allowed:
        load_mnist(download=False)
    # The whole list of what to do, but for the reason in its first line.
    assert rest[1:] == str(not_allowed.value).splitlines()[1:]
    assert rest[0] == "MNIST was not found, and downloading it needs pooch."
    assert str(cache_folder()) in str(caught.value)


def test_bad_mirrors(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong: Any = 5
    with pytest.raises(TypeError, match="mirror must be a str or None; got int"):
        load_mnist(mirror=wrong)
    with pytest.raises(ValueError, match="mirror must start with http"):
        load_mnist(mirror="ftp://example.org/")
    monkeypatch.setenv("FASTMLP_MNIST_MIRROR", "example.org")
    with pytest.raises(ValueError, match="FASTMLP_MNIST_MIRROR must start with http"):
        load_mnist()
