"""Encodings in which programs store data: gzip, zstd, snappy and base64, also one in another.

Invariant: decoding is bounded; data that decode to more than the limit stay as they are.
"""

import base64
import binascii
import gzip
import re
import zlib
from collections.abc import Callable
from typing import Final, NamedTuple

import cramjam

MOST_BYTES: Final = 16 << 20
"""Most bytes that data are decoded to."""

_MOST_LAYERS: Final = 3
_GZIP: Final = b"\x1f\x8b\x08"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_SNAPPY: Final = b"\xff\x06\x00\x00sNaPpY"
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/]{14,}={0,2}\n?")


class Decoded(NamedTuple):
    """Decoded data: the names of the encodings, the outermost first, and the content."""

    layers: tuple[str, ...]
    content: bytes


def decode(data: bytes) -> Decoded:
    """Return the content of data, through all encodings that are recognised."""
    layers: list[str] = []
    while len(layers) < _MOST_LAYERS:
        for name, (decoder, _) in _LAYERS.items():
            content = decoder(data)
            if content is not None:
                layers.append(name)
                data = content
                break
        else:
            break
    return Decoded(tuple(layers), data)


def encode(content: bytes, layers: tuple[str, ...]) -> bytes:
    """Return the content in these encodings, the outermost first."""
    for name in reversed(layers):
        content = _LAYERS[name][1](content)
    return content


def _from_gzip(data: bytes) -> bytes | None:
    if not data.startswith(_GZIP):
        return None
    parts: list[bytes] = []
    left = MOST_BYTES
    try:
        while data:
            member = zlib.decompressobj(wbits=31)
            parts.append(member.decompress(data, left + 1))
            left -= len(parts[-1])
            if left < 0 or not member.eof:
                return None
            data = member.unused_data
    except zlib.error:
        return None
    return b"".join(parts)


def _from_zstd(data: bytes) -> bytes | None:
    return _into_buffer(data, cramjam.zstd.decompress_into) if data.startswith(_ZSTD) else None


def _from_snappy(data: bytes) -> bytes | None:
    return _into_buffer(data, cramjam.snappy.decompress_into) if data.startswith(_SNAPPY) else None


def _into_buffer(data: bytes, decompress: Callable[[bytes, bytearray], int]) -> bytes | None:
    """Decompress into a buffer, which bounds the size of the result."""
    size = min(MOST_BYTES, max(1 << 16, 64 * len(data)))
    while True:
        buffer = bytearray(size)
        try:
            length = decompress(data, buffer)
        except (cramjam.DecompressionError, ValueError, OSError):
            if size >= MOST_BYTES:
                return None
            size = MOST_BYTES
        else:
            return bytes(memoryview(buffer)[:length])


def _from_base64(data: bytes) -> bytes | None:
    """Decode base64 only if the result is text or another encoding: many words look like it."""
    if not _BASE64.fullmatch(data):
        return None
    text = data.removesuffix(b"\n")
    try:
        content = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    if base64.b64encode(content) != text:
        return None
    if content.startswith((_GZIP, _ZSTD, _SNAPPY)):
        return content
    try:
        is_text = all(map(_is_readable, content.decode()))
    except UnicodeDecodeError:
        return None
    return content if is_text else None


def _is_readable(character: str) -> bool:
    return character.isprintable() or character in "\n\r\t"


_LAYERS: Final[dict[str, tuple[Callable[[bytes], bytes | None], Callable[[bytes], bytes]]]] = {
    "gzip": (_from_gzip, lambda content: gzip.compress(content, mtime=0)),
    "zstd": (_from_zstd, lambda content: bytes(cramjam.zstd.compress(content))),
    "snappy": (_from_snappy, lambda content: bytes(cramjam.snappy.compress(content))),
    "base64": (_from_base64, base64.b64encode),
}
"""Decoder and encoder of each encoding; a decoder returns None for other data."""
