"""Data of znodes as text or hex, and what an edit of this text stores.

Invariant: text that was not edited stores the identical bytes, with all encodings around it.
"""

import json
import re
from typing import Final, NamedTuple

from zoolet.web.values.encodings import decode, encode

MOST_TEXT_BYTES: Final = 2 << 20
"""Longer content is not shown as text."""

MOST_EDITED_HEX_BYTES: Final = 64 << 10
"""Longer content cannot be edited as hex."""

_BLANKS: Final = re.compile(r"\s+")


class EditError(ValueError):
    """An edit cannot be stored; the message says what to correct."""


class Value(NamedTuple):
    """Data of a znode.

    Attributes:
        data: the data as they are stored; None if they are null.
        layers: the encodings around the content, the outermost first.
        content: the decoded content.
        text: the content as text; None if it is not text.
        is_json: whether the text is a JSON object or array.
        locked: why the text cannot be edited; "" if it can.
    """

    data: bytes | None
    layers: tuple[str, ...]
    content: bytes
    text: str | None
    is_json: bool
    locked: str

    @property
    def kind(self) -> str:
        """The view that shows these data best: json, text or hex."""
        return "json" if self.is_json else "hex" if self.text is None else "text"


def value_of(data: bytes | None) -> Value:
    """Return the data of a znode, decoded as far as possible."""
    layers, content = decode(data or b"")
    text = _text_of(content)
    return Value(data, layers, content, text, _is_json(text), _locked(text))


def edited(value: Value, text: str) -> bytes | None:
    """Return the data to store, after an edit of the text of ``value``.

    Browsers send line ends as CR LF; text with other line ends keeps its own.

    Raises:
        EditError: the content is not text.
    """
    if value.text is None:
        raise EditError("the data is not text: edit it as hex")
    if _plain(text) == _plain(value.text):
        return value.data
    if value.locked:
        raise EditError(value.locked)
    new = _plain(text)
    if "\r\n" in value.text:
        new = new.replace("\n", "\r\n")
    return _stored(value, new.encode())


def edited_hex(value: Value, text: str) -> bytes | None:
    """Return the data to store, after an edit of the hex digits of ``value``.

    Raises:
        EditError: the text has other characters than hex digits, or an odd number of them.
    """
    try:
        content = bytes.fromhex(_BLANKS.sub("", text))
    except ValueError:
        raise EditError("hex has pairs of the digits 0-9 and a-f, and blanks") from None
    return value.data if content == value.content else _stored(value, content)


def _stored(value: Value, content: bytes) -> bytes:
    data = encode(content, value.layers)
    if value.layers and value.layers[0] == "base64" and (value.data or b"").endswith(b"\n"):
        data += b"\n"
    return data


def _text_of(content: bytes) -> str | None:
    if len(content) > MOST_TEXT_BYTES:
        return None
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    has_controls = any(
        (code < 0x20 and code not in {0x09, 0x0A, 0x0D}) or code == 0x7F for code in content
    )
    return None if has_controls else text


def _locked(text: str | None) -> str:
    if text is None:
        return ""
    without = text.replace("\r\n", "")
    if "\r" in without or ("\r\n" in text and "\n" in without):
        return "the text has several kinds of line ends, which a browser changes: edit it as hex"
    return ""


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _is_json(text: str | None) -> bool:
    if text is None or not text.lstrip().startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
