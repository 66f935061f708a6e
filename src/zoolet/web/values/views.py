"""Views of content as HTML: formatted JSON that folds, and hex.

Invariant: content is always escaped. Numbers and texts of JSON stay as they are written.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from markupsafe import Markup

HEX_BYTES: Final = 4096
"""The number of bytes on one page of hex."""

MOST_JSON_CHARACTERS: Final = 256 << 10
"""Longer JSON is shown as text, because a browser is slow with many elements."""

_MOST_DEPTH: Final = 64
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')
_EMPTY: Final = {"{": "{}", "[": "[]"}


class HexRow(NamedTuple):
    """A row of hex: the offset, the bytes as hex digits, and as characters."""

    offset: str
    digits: str
    characters: str


def hex_rows(content: bytes, offset: int) -> list[HexRow]:
    """Return the rows of one page of hex, from an offset."""
    rows = []
    for start in range(offset, min(len(content), offset + HEX_BYTES), 16):
        part = content[start : start + 16]
        characters = "".join(chr(code) if 0x20 <= code < 0x7F else "." for code in part)
        rows.append(HexRow(f"{start:08x}", part.hex(" "), characters))
    return rows


def json_markup(text: str) -> Markup | None:
    """Return valid JSON with one line for each value; objects and arrays fold.

    None if it is too long or too deep for a browser.
    """
    if len(text) > MOST_JSON_CHARACTERS:
        return None
    symbols = _TOKEN.findall(text)
    depth = deepest = 0
    for symbol in symbols:
        depth += (symbol in "{[") - (symbol in "}]")
        deepest = max(deepest, depth)
    if deepest > _MOST_DEPTH:
        return None
    return Markup("").join(_lines(symbols))


def _lines(symbols: list[str]) -> Iterator[Markup]:
    line = Markup("")
    position = 0
    while position < len(symbols):
        symbol = symbols[position]
        following = symbols[position + 1] if position + 1 < len(symbols) else ""
        position += 1
        if symbol in _EMPTY and following in {"}", "]"}:
            line += Markup("<span>{}</span>").format(_EMPTY[symbol])
            position += 1
        elif symbol in _EMPTY:
            yield Markup("<details open><summary>{}{}</summary><div>").format(line, symbol)
            line = Markup("")
            continue
        elif symbol in {"}", "]"}:
            if line:
                yield _line(line)
            yield Markup("</div></details>")
            line = Markup("<span>{}</span>").format(symbol)
        elif symbol == ",":
            yield _line(line + ",")
            line = Markup("")
            continue
        elif symbol == ":":
            line += ": "
        else:
            line += Markup('<span class="{}">{}</span>').format(_class(symbol, following), symbol)
    if line:
        yield _line(line)


def _line(line: Markup) -> Markup:
    return Markup("<div>{}</div>").format(line)


def _class(symbol: str, following: str) -> str:
    if symbol.startswith('"'):
        return "key" if following == ":" else "text"
    return "number"
