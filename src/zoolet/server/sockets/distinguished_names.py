"""The subject of a certificate as text, which is the client's id in the scheme x509.

The text is the same as the result of Java's ``X500Principal.getName()``, so that an ACL has the
same meaning on zoolet and on Apache ZooKeeper. This is RFC 2253 with Java's choices. Nine
attributes have a keyword. Every other attribute is written as its OID and the value's DER in
hexadecimal digits. Java escapes ``=`` and ``#`` everywhere, and each blank at the beginning and at
the end of a value. This module does no I/O.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

_SEQUENCE: Final = 0x30
_SET: Final = 0x31
_OID: Final = 0x06
_EXPLICIT_VERSION: Final = 0xA0
_SUBJECT: Final = 4
"""The index of the subject, after serial number, signature algorithm, issuer and validity (RFC
5280, section 4.1). An optional version field before them does not count."""

_LONG_LENGTH: Final = 0x80

_TEXTS: Final = frozenset({12, 19, 20, 22, 27, 30})
"""UTF8String, PrintableString, T61String, IA5String, GeneralString and BMPString: Java decodes the
bytes of these types as UTF-8. It writes every other type, also UniversalString, as DER."""

_KEYWORDS: Final = {
    "2.5.4.3": "CN",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "STREET",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
}
"""The keywords of RFC 2253, section 2.3, by OID."""

_ESCAPED: Final = re.compile(r'[,=+<>#;"\\]')
_BLANKS: Final = " \r"
_SURROGATE: Final = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")


class DerError(ValueError):
    """The bytes are not valid DER of the expected type."""


class _Value(NamedTuple):
    """One value in DER.

    Attributes:
        tag: the tag, which is the type of the value.
        content: the bytes of the content.
        whole: all bytes: tag, length and content.
    """

    tag: int
    content: bytes
    whole: bytes


def subject_in(certificate: bytes) -> str:
    """Return the subject of a certificate in DER; it may be empty. Raises DerError."""
    (signed,) = _exactly(1, list(_values(_sequence_in(certificate)))[:1])
    fields = list(_values(signed.content))
    if fields and fields[0].tag == _EXPLICIT_VERSION:
        del fields[0]
    if len(fields) <= _SUBJECT:
        raise DerError("the certificate has no subject")
    return name_as_text(fields[_SUBJECT].whole)


def name_as_text(name: bytes) -> str:
    """Return an X.501 name in DER as text; raises DerError."""
    return ",".join(
        "+".join(_attribute_as_text(attribute) for attribute in _values(part.content, _SEQUENCE))
        for part in reversed(list(_values(_sequence_in(name), _SET)))
    )


def _attribute_as_text(attribute: _Value) -> str:
    oid, value = _exactly(2, list(_values(attribute.content)))
    if oid.tag != _OID:
        raise DerError("an attribute has no type")
    dotted = _dotted(oid.content)
    keyword = _KEYWORDS.get(dotted)
    if keyword is None or value.tag not in _TEXTS:
        return f"{keyword or dotted}=#{value.whole.hex()}"
    return f"{keyword}={_escaped(_text(value.content))}"


def _text(content: bytes) -> str:
    # Java replaces each encoded surrogate with one character; Python replaces each of its bytes.
    return _SURROGATE.sub(b"\xff", content).decode("utf-8", "replace")


def _escaped(text: str) -> str:
    escaped = _ESCAPED.sub(r"\\\g<0>", text).replace("\0", "\\00")
    begin = len(escaped) - len(escaped.lstrip(_BLANKS))
    end = max(begin, len(escaped.rstrip(_BLANKS)))
    blanks_before, blanks_after = escaped[:begin], escaped[end:]
    return (
        "".join(f"\\{blank}" for blank in blanks_before)
        + escaped[begin:end]
        + "".join(f"\\{blank}" for blank in blanks_after)
    )


def _dotted(content: bytes) -> str:
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


def _sequence_in(data: bytes) -> bytes:
    """Return the content of the sequence in ``data``, which must contain nothing else."""
    (sequence,) = _exactly(1, list(_values(data, _SEQUENCE)))
    return sequence.content


def _exactly(count: int, values: list[_Value]) -> list[_Value]:
    if len(values) != count:
        raise DerError(f"found {len(values)} values instead of {count}")
    return values


def _values(data: bytes, tag: int | None = None) -> Iterator[_Value]:
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
        yield _Value(header[0], data[at:end], data[begin:end])
        at = end
