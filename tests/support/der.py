"""Names of certificates in DER, also such as no tool makes."""

import random
from collections.abc import Iterable

Attribute = tuple[str, int, bytes]
"""An attribute's OID, the tag of its value, and the value's content."""

OIDS = (
    "2.5.4.3",
    "2.5.4.5",
    "2.5.4.6",
    "2.5.4.7",
    "2.5.4.8",
    "2.5.4.9",
    "2.5.4.10",
    "2.5.4.11",
    "2.5.4.12",
    "0.9.2342.19200300.100.1.1",
    "0.9.2342.19200300.100.1.25",
    "1.2.840.113549.1.9.1",
    "1.3.6.1.4.1.42.2.11.2.1",
    "2.999.3",
)
_TAGS = (12, 12, 12, 19, 20, 22, 27, 28, 30, 4, 2)
_LETTERS = ' \r\n\t,=+<>#;"\\aB1.ü€😀\0\x01\x7f\xa0'


def encode(tag: int, content: bytes) -> bytes:
    """Return a value: tag, length, content."""
    size = len(content)
    if size < 128:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 + len(length)]) + length + content


def encode_oid(dotted: str) -> bytes:
    first, second, *others = map(int, dotted.split("."))
    content = b""
    for number in (first * 40 + second, *others):
        digits = [number & 0x7F]
        while number := number >> 7:
            digits.append(number & 0x7F | 0x80)
        content += bytes(reversed(digits))
    return encode(6, content)


def encode_name(parts: Iterable[Iterable[Attribute]]) -> bytes:
    """Return a name of parts, each of one attribute or of several."""
    return encode(
        0x30,
        b"".join(
            encode(
                0x31,
                b"".join(
                    encode(0x30, encode_oid(oid) + encode(tag, content))
                    for oid, tag, content in part
                ),
            )
            for part in parts
        ),
    )


def random_name(chance: random.Random) -> bytes:
    """Return a name that has everything that is special somewhere."""
    return encode_name(
        [
            (chance.choice(OIDS), chance.choice(_TAGS), _random_content(chance))
            for _ in range(chance.choice([1, 1, 1, 2, 3]))
        ]
        for _ in range(chance.randrange(5))
    )


def _random_content(chance: random.Random) -> bytes:
    content = "".join(chance.choices(_LETTERS, k=chance.randrange(9))).encode()
    if chance.random() < 0.15:
        content += chance.randbytes(chance.randrange(4))
    if chance.random() < 0.05:
        content += b"\xed\xa0\x80"
    return content * chance.choice([1, 1, 1, 40])
