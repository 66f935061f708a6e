"""The beginning of data, as lists of changes show it.

Invariant: the result is short, whatever the data are.
"""

from typing import Final, NamedTuple

from zoolet.web.values.values import value_of

MOST_CHARACTERS: Final = 2000
"""Longer text is cut."""

_HEX_BYTES: Final = 256
_MOST_DECODED_BYTES: Final = 256 << 10


class Short(NamedTuple):
    """The beginning of data.

    Attributes:
        text: the text, or hex digits; "" for null.
        kind: ``text``, ``hex`` or ``null``.
        length: the length of the data, in bytes.
        is_cut: whether there is more.
    """

    text: str
    kind: str
    length: int
    is_cut: bool


def short(data: bytes | None) -> Short:
    """Return the beginning of data; encodings like gzip are decoded if the data are not long."""
    if data is None:
        return Short("", "null", 0, is_cut=False)
    if len(data) > _MOST_DECODED_BYTES:
        return Short(data[:_HEX_BYTES].hex(" "), "hex", len(data), is_cut=True)
    value = value_of(data)
    if value.text is None:
        content = value.content
        is_cut = len(content) > _HEX_BYTES
        return Short(content[:_HEX_BYTES].hex(" "), "hex", len(data), is_cut)
    is_cut = len(value.text) > MOST_CHARACTERS
    return Short(value.text[:MOST_CHARACTERS], "text", len(data), is_cut)
