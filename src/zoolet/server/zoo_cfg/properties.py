r"""Java properties files, the format of zoo.cfg.

A line is ``key=value``, ``key: value`` or ``key value``. ``\`` at its end continues it on the
next line. ``\t \n \r \f``, ``\uXXXX`` and ``\`` before any other character are escapes.

Source: the documentation of ``java.util.Properties.load``, and ``QuorumPeerConfig``, which trims
keys and values. Imports nothing of zoolet, reads no file.
"""

import codecs
import re
from collections.abc import Iterator
from typing import NamedTuple

_NATURAL_LINE_END = re.compile(r"\r\n|\r|\n")
_LINE_BLANKS = " \t\f"
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(u)|(.?))", re.DOTALL)
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_BLANKS = "".join(map(chr, range(0x21)))
"""What Java's ``String.trim`` removes: less than Python's ``str.strip``."""

_BYTE_ORDER_MARK = "\ufeff"


class PropertiesError(ValueError):
    """A line is not legal in a properties file.

    Attributes:
        line: its number, from 1.
        reason: what is wrong, and what to do.
    """

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line
        self.reason = reason


class Property(NamedTuple):
    """One setting of a file; ``line`` is the number of its first line, from 1."""

    key: str
    value: str
    line: int


def decode_properties(content: bytes) -> str:
    r"""Return the text of a file: UTF-8 if it is valid UTF-8, else Latin-1. Never fails.

    Java reads Latin-1 only (docs/decisions/0041). Both are the same for ASCII, and what is not
    ASCII can be written as ``\uXXXX``.
    """
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def as_java_reads(text: str) -> str:
    """Return what Java makes of ``text`` if it is UTF-8 in a properties file."""
    return text.encode("utf-8", "surrogatepass").decode("latin-1")


def parse_properties(text: str) -> Iterator[Property]:
    r"""Yield the properties of a text in its order, repeated keys included.

    Keys and values are trimmed as ``QuorumPeerConfig`` does. Raises PropertiesError if ``\u`` is
    not followed by four hexadecimal digits.
    """
    for number, line in _logical_lines(text.removeprefix(_BYTE_ORDER_MARK)):
        key, value = _split(line)
        yield Property(trim(_unescape(key, number)), trim(_unescape(value, number)), number)


def format_property(key: str, value: str) -> str:
    r"""Return the line ``key=value`` in ASCII, which zoolet and Java read in the same way.

    ``key`` has no blanks, ``=``, ``:`` or ``\``.
    """
    return f"{key}={''.join(map(_escaped, value))}\n"


def trim(text: str) -> str:
    """Return a text without the blanks at both ends, as Java's ``String.trim`` does."""
    return text.strip(_BLANKS)


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield lines with their numbers, without comments and blank lines, continued lines joined."""
    begun: tuple[int, str] | None = None
    for number, natural in enumerate(_NATURAL_LINE_END.split(text), 1):
        line = natural.lstrip(_LINE_BLANKS)
        first, before = begun or (number, "")
        begun = None
        # A comment also if the lines before it, which it continues, are empty.
        if not before and (not line or line[0] in "#!"):
            continue
        backslashes = len(line) - len(line.rstrip("\\"))
        if backslashes % 2:
            begun = (first, before + line[:-1])
        else:
            yield first, before + line
    if begun is not None and begun[1]:
        yield begun


def _split(line: str) -> tuple[str, str]:
    """Return the key and the value of a line, with their escapes."""
    end = 0
    while end < len(line) and line[end] not in "=: \t\f":
        end += 2 if line[end] == "\\" else 1
    value = line[end:].lstrip(_LINE_BLANKS)
    if value.startswith(("=", ":")):
        value = value[1:].lstrip(_LINE_BLANKS)
    return line[:end], value


def _escaped(letter: str) -> str:
    if " " <= letter <= "~" and letter != "\\":
        return letter
    units = letter.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def _unescape(text: str, line: int) -> str:
    if "\\" not in text:
        return text

    def replaced(escape: re.Match[str]) -> str:
        digits, malformed, other = escape.groups()
        if malformed is not None:
            raise PropertiesError(
                line, "\\u is not followed by four hexadecimal digits: write \\\\u for a backslash"
            )
        if digits is not None:
            return chr(int(digits, 16))
        return _CONTROLS.get(other, other)

    unescaped = _ESCAPE.sub(replaced, text)
    # Java's characters are UTF-16: two escapes may be one character.
    return unescaped.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
