"""Escapes characters that could control a terminal, in texts that other programs wrote.

Only this module contains the rules for escapes. It imports nothing of zoolet.
"""

from functools import cache


class _Escapes(dict[int, int | str]):
    """Character to its replacement, for `str.translate`; an entry is made at its first use."""

    def __init__(self, keep: str) -> None:
        super().__init__({ord(character): ord(character) for character in keep})

    def __missing__(self, code: int) -> int | str:
        character = chr(code)
        found: int | str = code
        if not character.isprintable():
            found = character.encode("unicode_escape").decode()
        self[code] = found
        return found


@cache
def _escapes(keep: str) -> _Escapes:
    return _Escapes(keep)


def printable(text: str, keep: str = "\n\t") -> str:
    """Return ``text`` with an escape for each character that is neither printable nor in ``keep``.

    The escapes are those of Python. The escaped characters could control the terminal, or
    change the order in which text is read.
    """
    return text if text.isprintable() else text.translate(_escapes(keep))


def one_line(text: str) -> str:
    """Return ``text`` as `printable` does, with line ends and tabs escaped too."""
    return printable(text, keep="")
