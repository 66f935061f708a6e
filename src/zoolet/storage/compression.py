"""Compression of snapshots: none, gzip or snappy; the suffix of the file's name says which.

Source: Apache ZooKeeper's ``SnapStream``. Its snappy format is the stream format of snappy-java: a
header of 16 bytes, and then snappy blocks, with the length of each block before the block. zlib and
cramjam do the compression.
"""

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import NamedTuple, Protocol

_GZIP_WINDOW_BITS = 31
_LENGTH = struct.Struct(">i")
_SNAPPY_HEADER = b"\x82SNAPPY\x00" + _LENGTH.pack(1) + _LENGTH.pack(1)
_SNAPPY_BLOCK_BYTES = 32 << 10
_PIECE_BYTES = 1 << 20


class CompressionError(ValueError):
    """The bytes are not in the format that the suffix of the file's name says."""


class Compressor(Protocol):
    """Compresses the content of a file piece by piece."""

    def compress(self, data: bytes, /) -> bytes:
        """Compress the next piece; return the compressed bytes that are ready, possibly none."""
        ...

    def flush(self) -> bytes:
        """Return the rest of the compressed bytes, after the last piece."""
        ...


class Compression(Enum):
    """The compression of a snapshot; the values are those of ``snapshot.compression.method``."""

    NONE = ""
    GZIP = "gz"
    SNAPPY = "snappy"

    @property
    def suffix(self) -> str:
        """The suffix after the zxid in the file's name."""
        return f".{self.value}" if self.value else ""

    def compressor(self) -> Compressor:
        """Return a new compressor for one file."""
        return _METHODS[self].compressor()

    def decompress(self, data: bytes) -> bytes:
        """Return the content of a file; raises CompressionError."""
        return b"".join(self.decompress_blocks((data,)))

    def decompress_blocks(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the decompressed content of a file in pieces; ``blocks`` are the file's bytes.

        A piece has at most a few MiB, with two exceptions: a file without compression is yielded in
        the pieces that ``blocks`` has, and another program may have written larger snappy blocks.
        Raises CompressionError.
        """
        return _METHODS[self].decompress(iter(blocks))


class _Plain:
    """Returns all data unchanged."""

    def compress(self, data: bytes) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


class _Snappy:
    """Compresses data into the blocks of snappy-java's stream format."""

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


def _gunzip(blocks: Iterator[bytes]) -> Iterator[bytes]:
    decompressor = zlib.decompressobj(_GZIP_WINDOW_BITS)
    try:
        for block in blocks:
            yield decompressor.decompress(block, _PIECE_BYTES)
            while decompressor.unconsumed_tail:
                yield decompressor.decompress(decompressor.unconsumed_tail, _PIECE_BYTES)
        yield decompressor.flush()
    except zlib.error as error:
        raise CompressionError(f"the bytes are not gzip: {error}") from error
    if not decompressor.eof:
        raise CompressionError("the gzip stream is cut short")


def _unsnappy(blocks: Iterator[bytes]) -> Iterator[bytes]:
    import cramjam  # noqa: PLC0415 -- see above

    source = _Pieces(blocks)
    if source.take(len(_SNAPPY_HEADER))[:8] != _SNAPPY_HEADER[:8]:
        raise CompressionError(f"a snappy stream must begin with {_SNAPPY_HEADER[:8]!r}")
    try:
        while length := source.take(_LENGTH.size):
            if len(length) < _LENGTH.size:
                raise CompressionError("the snappy stream is cut short")
            (size_bytes,) = _LENGTH.unpack(length)
            block = source.take(size_bytes) if size_bytes >= 0 else b""
            if len(block) != size_bytes:
                raise CompressionError(f"a snappy block of {size_bytes} bytes is cut short")
            yield bytes(cramjam.snappy.decompress_raw(block))
    except cramjam.DecompressionError as error:
        raise CompressionError(f"the bytes are not snappy: {error}") from error


class _Pieces:
    """Reads pieces of any size from blocks of other sizes."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._data = b""
        self._position = 0

    def take(self, size_bytes: int) -> bytes:
        """Return the next ``size_bytes`` bytes; fewer only at the end."""
        pieces = []
        while size_bytes:
            if self._position == len(self._data):
                self._data, self._position = next(self._blocks, b""), 0
                if not self._data:
                    break
            piece = self._data[self._position : self._position + size_bytes]
            self._position += len(piece)
            size_bytes -= len(piece)
            pieces.append(piece)
        return b"".join(pieces)


class _Method(NamedTuple):
    compressor: Callable[[], Compressor]
    decompress: Callable[[Iterator[bytes]], Iterator[bytes]]


_METHODS = {
    Compression.NONE: _Method(_Plain, lambda blocks: blocks),
    Compression.GZIP: _Method(lambda: zlib.compressobj(wbits=_GZIP_WINDOW_BITS), _gunzip),
    Compression.SNAPPY: _Method(_Snappy, _unsnappy),
}


def compression_of(name: str) -> Compression:
    """Return the compression of the file with this name."""
    for compression in (Compression.GZIP, Compression.SNAPPY):
        if name.endswith(compression.suffix):
            return compression
    return Compression.NONE
