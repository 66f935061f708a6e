r"""Java properties files, the format of zoo.cfg.

A line is ``key=value``, ``key: value`` or ``key value``. A line that ends with ``\`` continues on
the next line. ``\t \n \r \f``, ``\uXXXX`` and ``\`` before any other character are escapes.

Source: the documentation of ``java.util.Properties.load``, and ``QuorumPeerConfig``, which trims
keys and values. This module does not depend on other modules of zoolet and reads no files.
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
"""The characters that Java's ``String.trim`` removes; Python's ``str.strip`` removes more."""

_BYTE_ORDER_MARK = "\ufeff"


class PropertiesError(ValueError):
    """A line of a properties file is malformed.

    Attributes:
        line: the number of the line, from 1.
        reason: the mistake, and how to correct it.
    """

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line
        self.reason = reason


class Property(NamedTuple):
    """A property of a file; ``line`` is the number of its first line, from 1."""

    key: str
    value: str
    line: int


def decode_properties(content: bytes) -> str:
    r"""Return the text of a file, decoded as UTF-8 if it is valid UTF-8, else as Latin-1.

    Java reads only Latin-1 (docs/decisions/0041). ASCII is the same in both encodings; other
    characters can be written as ``\uXXXX``.
    """
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def as_java_reads(text: str) -> str:
    """Return the text that Java reads if a properties file has ``text`` in UTF-8."""
    return text.encode("utf-8", "surrogatepass").decode("latin-1")


def parse_properties(text: str) -> Iterator[Property]:
    r"""Yield the properties of a text in the order of the text, also those with a repeated key.

    Keys and values are trimmed as in ``QuorumPeerConfig``. Raises PropertiesError if ``\u`` is not
    followed by four hexadecimal digits.
    """
    for number, line in _logical_lines(text.removeprefix(_BYTE_ORDER_MARK)):
        key, value = _split(line)
        yield Property(trim(_unescape(key, number)), trim(_unescape(value, number)), number)


def format_property(key: str, value: str) -> str:
    r"""Return the line ``key=value`` in ASCII, which zoolet and Java read in the same way.

    ``key`` must not contain blanks, ``=``, ``:`` or ``\``.
    """
    return f"{key}={''.join(map(_escaped, value))}\n"


def trim(text: str) -> str:
    """Return a text without the blanks at both ends, like Java's ``String.trim``."""
    return text.strip(_BLANKS)


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines with their numbers: continued lines joined, no comments, no blank lines."""
    begun: tuple[int, str] | None = None
    for number, natural in enumerate(_NATURAL_LINE_END.split(text), 1):
        line = natural.lstrip(_LINE_BLANKS)
        first, before = begun or (number, "")
        begun = None
        # If the lines before it are only backslashes, this line can still be a comment.
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
    """Return the key and the value of a line; their escapes are kept."""
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
                line,
                "\\u is not followed by four hexadecimal digits: write \\\\ for each backslash",
            )
        if digits is not None:
            return chr(int(digits, 16))
        return _CONTROLS.get(other, other)

    unescaped = _ESCAPE.sub(replaced, text)
    # Java's characters are UTF-16 units: two escapes can be one character.
    return unescaped.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
