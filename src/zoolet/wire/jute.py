"""Jute's primitive types: big-endian, with a length prefix if their size varies.

Source: ``org.apache.jute.BinaryInputArchive`` and ``BinaryOutputArchive``. A length of -1 is null.
"""

import struct
from collections.abc import Callable, Iterable
from typing import Final, TypeVar, final

from mypy_extensions import i64, mypyc_attr, u8

from zoolet.big_endian.buffers import (
    BytesWriter,
    read_i32_be,
    read_i64_be,
    write_i32_be,
)
from zoolet.model.acl import ACL, NULL_TEXT, OPEN_ACL, AclList, Id

INT = struct.Struct(">i")
LONG = struct.Struct(">q")

T = TypeVar("T")


class MalformedError(ValueError):
    """The bytes are not a valid record of the expected type."""


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class Reader:
    """Reads successive values from ``data[position:end]``.

    Every method that reads or skips a value moves ``position`` to the end of the value. It raises
    MalformedError if the bytes end too early or a length is invalid.
    """

    __slots__ = ("data", "end", "position")

    def __init__(self, data: bytes, position: i64 = 0, end: i64 = -1) -> None:
        """Read from ``position`` to ``end``; -1 means the end of the data."""
        self.data = data
        self.position: i64 = position
        self.end: i64 = len(data) if end == -1 else end

    @property
    def remaining(self) -> i64:
        """The number of bytes that are not read yet."""
        return self.end - self.position

    def _advance(self, size_bytes: i64) -> i64:
        start = self.position
        if size_bytes > self.end - start:
            raise MalformedError(f"{size_bytes} bytes expected at {start}, {self.end - start} left")
        self.position = start + size_bytes
        return start

    def skip(self, size_bytes: i64) -> None:
        """Skip bytes."""
        self._advance(size_bytes)

    def skip_buffer(self) -> None:
        """Skip a buffer, which may be null, and its length."""
        size_bytes: i64 = self.read_int()
        if size_bytes < -1:
            raise MalformedError(f"a buffer of {size_bytes} bytes")
        self._advance(max(0, size_bytes))

    def read_int(self) -> int:
        """Read a 32-bit signed integer."""
        return read_i32_be(self.data, self._advance(4))

    def read_long(self) -> int:
        """Read a 64-bit signed integer."""
        return read_i64_be(self.data, self._advance(8))

    def read_bool(self) -> bool:
        """Read one byte; every value except 0 is true."""
        return self.data[self._advance(1)] != 0

    def read_buffer(self) -> bytes | None:
        """Read bytes, or None for null."""
        # For speed, a valid buffer is read without calls: most requests have two or three buffers.
        start: i64 = self.position + 4
        if start > self.end:
            self._advance(4)
        size_bytes = i64(read_i32_be(self.data, self.position))
        end = start + size_bytes
        if size_bytes >= 0 and end <= self.end:
            self.position = end
            return self.data[start:end]
        self.position = start
        if size_bytes == -1:
            return None
        if size_bytes < 0:
            raise MalformedError(f"a buffer of {size_bytes} bytes")
        self._advance(size_bytes)
        raise AssertionError("a buffer both fits and does not")

    def comes_null(self) -> bool:
        """Return whether the next text or buffer is null."""
        at = self.position
        return at + 4 <= self.end and read_i32_be(self.data, at) == -1

    def read_ustring(self) -> str:
        """Read UTF-8 text; invalid bytes become U+FFFD, as in Java. Null raises MalformedError."""
        value = self.read_buffer()
        if value is None:
            raise MalformedError("a text is null")
        try:
            return value.decode()  # without arguments, this takes a third of the time
        except UnicodeDecodeError:
            return value.decode("utf-8", "replace")

    def read_text_or_null(self) -> str:
        """Read UTF-8 text as ``read_ustring`` does, but return NULL_TEXT for null."""
        value = self.read_buffer()
        if value is None:
            return NULL_TEXT
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value.decode("utf-8", "replace")

    def read_vector(self, read_one: Callable[[], T]) -> tuple[T, ...]:
        """Read a counted sequence; null and any other negative count give an empty tuple."""
        count = self.read_int()
        if count <= 0:
            return ()
        if count > self.remaining:
            raise MalformedError(f"a vector of {count} elements in {self.remaining} bytes")
        return tuple([read_one() for _ in range(count)])

    def read_acl_entry(self) -> ACL:
        """Read one ACL record."""
        perms, scheme = self.read_int(), self.read_ustring()
        identity = self.read_buffer() or b""
        return ACL(perms, Id(scheme, identity.decode("utf-8", "replace")))

    def read_acl(self) -> AclList:
        """Read a vector of ACL records; the object OPEN_ACL itself if the vector equals it."""
        return OPEN_ACL if self._passes_open_acl() else self.read_vector(self.read_acl_entry)

    def read_wanted_acl_entry(self) -> ACL:
        """Read one ACL record of a request; null becomes NULL_TEXT."""
        return ACL(self.read_int(), Id(self.read_text_or_null(), self.read_text_or_null()))

    def read_wanted_acl(self) -> AclList:
        """Read the ACL of a request as ``read_acl`` does, but with NULL_TEXT for null."""
        if self._passes_open_acl():
            return OPEN_ACL
        return self.read_vector(self.read_wanted_acl_entry)

    def _passes_open_acl(self) -> bool:
        """Return whether OPEN_ACL comes next; if it does, skip it."""
        end = self.position + _PACKED_OPEN_ACL_BYTES
        if end <= self.end and self.data[self.position : end] == _PACKED_OPEN_ACL:
            self.position = end
            return True
        return False


def write_buffer(writer: BytesWriter, value: bytes | None) -> None:
    """Write a buffer; None is written as null."""
    if value is None:
        write_i32_be(writer, -1)
    else:
        write_i32_be(writer, len(value))
        writer.write(value)


def set_length(writer: BytesWriter, start: i64) -> None:
    """Set the length at ``start``, which was written as 0, to the number of bytes after it."""
    length: i64 = len(writer) - start - 4
    writer[start] = u8(length >> 24 & 0xFF)
    writer[start + 1] = u8(length >> 16 & 0xFF)
    writer[start + 2] = u8(length >> 8 & 0xFF)
    writer[start + 3] = u8(length & 0xFF)


def write_ustring(writer: BytesWriter, value: str) -> None:
    """Write UTF-8 text."""
    encoded = value.encode()
    write_i32_be(writer, len(encoded))
    writer.write(encoded)


def write_ustrings(writer: BytesWriter, values: Iterable[str]) -> None:
    """Write a vector of texts."""
    listed = list(values)
    write_i32_be(writer, len(listed))
    for value in listed:
        write_ustring(writer, value)


def write_bool(writer: BytesWriter, value: bool) -> None:
    """Write one byte, 1 or 0."""
    writer.append(1 if value else 0)


def write_acl(writer: BytesWriter, acl: AclList) -> None:
    """Write a vector of ACL records."""
    if acl is OPEN_ACL:
        writer.write(_PACKED_OPEN_ACL)
    else:
        write_i32_be(writer, len(acl))
        write_acl_entries(writer, acl)


def write_acl_entries(writer: BytesWriter, acl: AclList) -> None:
    """Write ACL records without their count."""
    for entry in acl:
        write_i32_be(writer, entry.perms)
        write_ustring(writer, entry.id.scheme)
        write_ustring(writer, entry.id.id)


def _packed_open_acl() -> bytes:
    writer = BytesWriter()
    write_i32_be(writer, len(OPEN_ACL))
    write_acl_entries(writer, OPEN_ACL)
    return writer.getvalue()


_PACKED_OPEN_ACL: Final = _packed_open_acl()
_PACKED_OPEN_ACL_BYTES: Final = len(_PACKED_OPEN_ACL)


def pack_buffer(value: bytes | None) -> bytes:
    """Return the encoded buffer; None is encoded as null."""
    writer = BytesWriter()
    write_buffer(writer, value)
    return writer.getvalue()


def pack_ustring(value: str) -> bytes:
    """Return the encoded UTF-8 text."""
    writer = BytesWriter()
    write_ustring(writer, value)
    return writer.getvalue()


def pack_ustrings(values: Iterable[str]) -> bytes:
    """Return the encoded vector of texts."""
    writer = BytesWriter()
    write_ustrings(writer, values)
    return writer.getvalue()


def pack_acl(acl: AclList) -> bytes:
    """Return the encoded vector of ACL records."""
    if acl is OPEN_ACL:
        return _PACKED_OPEN_ACL
    writer = BytesWriter()
    write_acl(writer, acl)
    return writer.getvalue()
