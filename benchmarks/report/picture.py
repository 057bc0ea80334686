"""Small grey pictures as PNG, by the standard library."""

from __future__ import annotations

import base64
import math
import struct
import zlib

from .model import Picture

GAP, BACKGROUND = 1, 255


def mosaic(picture: Picture) -> list[list[int]]:
    """Return the images of a picture side by side, in rows, with a gap between them."""
    across, down = mosaic_shape(len(picture.images))
    width = across * (picture.width + GAP) - GAP
    height = down * (picture.height + GAP) - GAP
    pixels = [[BACKGROUND] * width for _ in range(height)]
    for position, image in enumerate(picture.images):
        top = position // across * (picture.height + GAP)
        left = position % across * (picture.width + GAP)
        for y, row in enumerate(image):
            pixels[top + y][left : left + picture.width] = row
    return pixels


def mosaic_shape(count: int) -> tuple[int, int]:
    """Return how many stand side by side and below each other: a little fewer, no gap left."""
    least = math.ceil(count**0.5)
    whole = [each for each in range(least, min(2 * least, count) + 1) if count % each == 0]
    across = max(1, whole[0] if whole else least)
    return across, -(-count // across)


def png(pixels: list[list[int]]) -> bytes:
    """Return grey values from 0 to 255, (height, width), as a PNG file."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", len(pixels[0]), len(pixels), 8, 0, 0, 0, 0)
    body = b"".join(b"\0" + bytes(row) for row in pixels)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"IDAT", zlib.compress(body, 9)),
            chunk(b"IEND", b""),
        ]
    )


def data_uri(pixels: list[list[int]]) -> str:
    """Return the picture as an address that holds it."""
    return "data:image/png;base64," + base64.b64encode(png(pixels)).decode("ascii")
