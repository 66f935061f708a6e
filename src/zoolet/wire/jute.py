"""Jute's primitive types, big-endian, each length-prefixed where it varies.

Source: ``org.apache.jute.BinaryInputArchive`` and ``BinaryOutputArchive``. A length of -1 is null.
"""

import struct
from collections.abc import Callable, Iterable
from typing import TypeVar

from zoolet.model.acl import ACL, AclList, Id

INT = struct.Struct(">i")
LONG = struct.Struct(">q")

_NULL = INT.pack(-1)

T = TypeVar("T")


class MalformedError(ValueError):
    """The bytes are not the record that they should be."""


class Reader:
    """Reads values one after another from ``data[position:end]``.

    Every method moves ``position`` past what it read, and raises MalformedError where the bytes end
    too early or a length makes no sense.
    """

    __slots__ = ("data", "end", "position")

    def __init__(self, data: bytes, position: int = 0, end: int | None = None) -> None:
        self.data = data
        self.position = position
        self.end = len(data) if end is None else end

    @property
    def remaining(self) -> int:
        """Bytes not read yet."""
        return self.end - self.position

    def _advance(self, size_bytes: int) -> int:
        start = self.position
        if size_bytes > self.end - start:
            raise MalformedError(f"{size_bytes} bytes wanted at {start}, {self.end - start} left")
        self.position = start + size_bytes
        return start

    def read_int(self) -> int:
        """Read a 32-bit signed integer."""
        value: int = INT.unpack_from(self.data, self._advance(4))[0]
        return value

    def read_long(self) -> int:
        """Read a 64-bit signed integer."""
        value: int = LONG.unpack_from(self.data, self._advance(8))[0]
        return value

    def read_bool(self) -> bool:
        """Read one byte; anything but 0 is true."""
        return self.data[self._advance(1)] != 0

    def read_buffer(self) -> bytes | None:
        """Read bytes, or None for null."""
        size_bytes = self.read_int()
        if size_bytes < 0:
            if size_bytes == -1:
                return None
            raise MalformedError(f"a buffer of {size_bytes} bytes")
        start = self._advance(size_bytes)
        return self.data[start : self.position]

    def read_ustring(self) -> str:
        """Read UTF-8 text; what is no UTF-8 becomes U+FFFD, as in Java. Null is malformed."""
        value = self.read_buffer()
        if value is None:
            raise MalformedError("null where text must be")
        return value.decode("utf-8", "replace")

    def read_vector(self, read_one: Callable[[], T]) -> tuple[T, ...]:
        """Read a counted sequence; null reads as empty, and so does any other negative count."""
        count = self.read_int()
        if count <= 0:
            return ()
        if count > self.remaining:
            raise MalformedError(f"a vector of {count} elements in {self.remaining} bytes")
        return tuple([read_one() for _ in range(count)])

    def read_acl_entry(self) -> ACL:
        """Read one ACL record."""
        perms, scheme = self.read_int(), self.read_ustring()
        # kazoo sends null where the id is empty, as under the scheme "auth".
        identity = self.read_buffer() or b""
        return ACL(perms, Id(scheme, identity.decode("utf-8", "replace")))

    def read_acl(self) -> AclList:
        """Read a vector of ACL records."""
        return self.read_vector(self.read_acl_entry)


def pack_buffer(value: bytes | None) -> bytes:
    """Write bytes, or null."""
    return _NULL if value is None else INT.pack(len(value)) + value


def pack_ustring(value: str) -> bytes:
    """Write UTF-8 text."""
    encoded = value.encode()
    return INT.pack(len(encoded)) + encoded


def pack_ustrings(values: Iterable[str]) -> bytes:
    """Write a vector of texts."""
    packed = [pack_ustring(value) for value in values]
    return INT.pack(len(packed)) + b"".join(packed)


def pack_acl(acl: AclList) -> bytes:
    """Write a vector of ACL records."""
    parts = [INT.pack(len(acl))]
    for entry in acl:
        parts += (INT.pack(entry.perms), pack_ustring(entry.id.scheme), pack_ustring(entry.id.id))
    return b"".join(parts)
