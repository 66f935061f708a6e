"""The functions of librt that ``big_endian`` uses, in plain Python, if librt is not available."""

import struct

_INT = struct.Struct(">i")
_LONG = struct.Struct(">q")


class BytesWriter:
    """A sequence of bytes that grows at its end."""

    __slots__ = ("_bytes",)

    def __init__(self) -> None:
        self._bytes = bytearray()

    def append(self, x: int, /) -> None:
        """Append one byte."""
        self._bytes.append(x)

    def write(self, b: bytes | bytearray, /) -> None:
        """Append bytes."""
        self._bytes += b

    def getvalue(self) -> bytes:
        """Return a copy of the written bytes."""
        return bytes(self._bytes)

    def truncate(self, size: int, /) -> None:
        """Drop the bytes after the first ``size`` bytes."""
        del self._bytes[size:]

    def __setitem__(self, i: int, x: int, /) -> None:
        self._bytes[i] = x

    def __len__(self) -> int:
        return len(self._bytes)


def read_i32_be(b: bytes, index: int, /) -> int:
    """Return the 32-bit number at ``index``; raises IndexError if there are fewer bytes."""
    return _read(_INT, b, index)


def read_i64_be(b: bytes, index: int, /) -> int:
    """Return the 64-bit number at ``index``; raises IndexError if there are fewer bytes."""
    return _read(_LONG, b, index)


def _read(number: struct.Struct, b: bytes, index: int) -> int:
    if not 0 <= index <= len(b) - number.size:
        raise IndexError("index out of range")
    value: int = number.unpack_from(b, index)[0]
    return value


def write_i32_be(b: BytesWriter, n: int, /) -> None:
    """Append a 32-bit number; raises ValueError if it has more bits."""
    _write(_INT, b, n)


def write_i64_be(b: BytesWriter, n: int, /) -> None:
    """Append a 64-bit number; raises ValueError if it has more bits."""
    _write(_LONG, b, n)


def _write(number: struct.Struct, b: BytesWriter, n: int) -> None:
    try:
        packed = number.pack(n)
    except struct.error as error:
        raise ValueError(f"int too large to convert to i{number.size * 8}") from error
    b.write(packed)
