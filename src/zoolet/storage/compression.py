"""Compression of snapshots: none, gzip or snappy, told apart by the end of the file's name.

Source: the original's ``SnapStream``. Its snappy is the stream format of snappy-java: a header of
sixteen bytes, then blocks, each behind its length. Compression itself is zlib's and cramjam's.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from enum import Enum
from typing import NamedTuple, Protocol

_GZIP_WINDOW_BITS = 31
_LENGTH = struct.Struct(">i")
_SNAPPY_HEADER = b"\x82SNAPPY\x00" + _LENGTH.pack(1) + _LENGTH.pack(1)
_SNAPPY_BLOCK_BYTES = 32 << 10


class CompressionError(ValueError):
    """The bytes are not what the end of the file's name says."""


class Compressor(Protocol):
    """Takes what is to be written piece by piece."""

    def compress(self, data: bytes, /) -> bytes:
        """Return what is to be written now."""
        ...

    def flush(self) -> bytes:
        """Return what is to be written in the end."""
        ...


class Compression(Enum):
    """How a snapshot is compressed; the value is ``snapshot.compression.method`` and the suffix."""

    NONE = ""
    GZIP = "gz"
    SNAPPY = "snappy"

    @property
    def suffix(self) -> str:
        """What stands behind the zxid in the file's name."""
        return f".{self.value}" if self.value else ""

    def compressor(self) -> Compressor:
        """Return what compresses one file."""
        return _METHODS[self].compressor()

    def decompress(self, data: bytes) -> bytes:
        """Return the content of a file; raises CompressionError."""
        return _METHODS[self].decompress(data)


class _Plain:
    """Changes nothing."""

    def compress(self, data: bytes) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


class _Snappy:
    """Writes blocks of snappy-java's stream."""

    def __init__(self) -> None:
        import cramjam  # noqa: PLC0415 -- few servers need it

        self._compress_block = cramjam.snappy.compress_raw
        self._header = _SNAPPY_HEADER

    def compress(self, data: bytes) -> bytes:
        pieces, self._header = [self._header], b""
        for start in range(0, len(data), _SNAPPY_BLOCK_BYTES):
            block = bytes(self._compress_block(data[start : start + _SNAPPY_BLOCK_BYTES]))
            pieces += (_LENGTH.pack(len(block)), block)
        return b"".join(pieces)

    def flush(self) -> bytes:
        return self._header


def _gunzip(data: bytes) -> bytes:
    decompressor = zlib.decompressobj(_GZIP_WINDOW_BITS)
    try:
        content = decompressor.decompress(data)
    except zlib.error as error:
        raise CompressionError(f"no gzip: {error}") from error
    if not decompressor.eof:
        raise CompressionError("the gzip stream is cut short")
    return content


def _unsnappy(data: bytes) -> bytes:
    import cramjam  # noqa: PLC0415 -- see above

    if data[:8] != _SNAPPY_HEADER[:8]:
        raise CompressionError(f"a snappy stream begins with {_SNAPPY_HEADER[:8]!r}")
    try:
        return b"".join(bytes(cramjam.snappy.decompress_raw(block)) for block in _blocks(data))
    except cramjam.DecompressionError as error:
        raise CompressionError(f"no snappy: {error}") from error


def _blocks(data: bytes) -> Iterator[bytes]:
    position = len(_SNAPPY_HEADER)
    while position < len(data):
        if position + _LENGTH.size > len(data):
            raise CompressionError("the snappy stream is cut short")
        (size_bytes,) = _LENGTH.unpack_from(data, position)
        position += _LENGTH.size
        if not 0 <= size_bytes <= len(data) - position:
            raise CompressionError(f"a snappy block of {size_bytes} bytes is cut short")
        yield data[position : position + size_bytes]
        position += size_bytes


class _Method(NamedTuple):
    compressor: Callable[[], Compressor]
    decompress: Callable[[bytes], bytes]


_METHODS = {
    Compression.NONE: _Method(_Plain, lambda data: data),
    Compression.GZIP: _Method(lambda: zlib.compressobj(wbits=_GZIP_WINDOW_BITS), _gunzip),
    Compression.SNAPPY: _Method(_Snappy, _unsnappy),
}


def compression_of(name: str) -> Compression:
    """Return how the file of this name is compressed."""
    for compression in (Compression.GZIP, Compression.SNAPPY):
        if name.endswith(compression.suffix):
            return compression
    return Compression.NONE
