"""Values in DER, the binary format of certificates (X.690). This module does no I/O."""

from collections.abc import Iterator
from typing import Final, NamedTuple

SEQUENCE: Final = 0x30
OID: Final = 0x06
_LONG_LENGTH: Final = 0x80
_EXPLICIT_VERSION: Final = 0xA0


class DerError(ValueError):
    """The bytes are not valid DER of the expected type."""


class Value(NamedTuple):
    """One value in DER.

    Attributes:
        tag: the tag, which is the type of the value.
        content: the bytes of the content.
        whole: all bytes: tag, length and content.
    """

    tag: int
    content: bytes
    whole: bytes


def sequence_in(data: bytes) -> bytes:
    """Return the content of the sequence in ``data``, which must contain nothing else."""
    (sequence,) = exactly(1, list(values_in(data, SEQUENCE)))
    return sequence.content


def exactly(count: int, values: list[Value]) -> list[Value]:
    """Return the values; raises DerError if there are more or less than ``count``."""
    if len(values) != count:
        raise DerError(f"found {len(values)} values instead of {count}")
    return values


def certificate_fields(certificate: bytes) -> list[Value]:
    """Return the signed fields of a certificate in DER, without the version. Raises DerError.

    They begin with serial number, signature algorithm, issuer, validity, subject and public key
    (RFC 5280, section 4.1).
    """
    (signed,) = exactly(1, list(values_in(sequence_in(certificate)))[:1])
    fields = list(values_in(signed.content))
    if fields and fields[0].tag == _EXPLICIT_VERSION:
        del fields[0]
    return fields


def values_in(data: bytes, tag: int | None = None) -> Iterator[Value]:
    """Yield the values in ``data``; raises DerError if a value does not have the given tag."""
    at = 0
    while at < len(data):
        begin = at
        header = data[at : at + 2]
        if len(header) < 2:
            raise DerError("a value has no length")
        at += 2
        size = header[1]
        if size >= _LONG_LENGTH:
            num_bytes = size - _LONG_LENGTH
            size = int.from_bytes(data[at : at + num_bytes])
            at += num_bytes
        end = at + size
        if end > len(data):
            raise DerError("a value is longer than the data that contains it")
        if tag not in (None, header[0]):
            raise DerError(f"found a value of type {header[0]:#x} instead of {tag:#x}")
        yield Value(header[0], data[at:end], data[begin:end])
        at = end


def dotted(content: bytes) -> str:
    """Return an object identifier in dotted notation (X.690, section 8.19)."""
    numbers = []
    number = 0
    for byte in content:
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            numbers.append(number)
            number = 0
    if not numbers:
        raise DerError("an object identifier is empty")
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, [first, numbers[0] - 40 * first, *numbers[1:]]))
