"""Text of others on a terminal and in logs: whatever could change the terminal is escaped.

The only place that says how. Imports nothing of zoolet.
"""

from functools import cache


class _Escapes(dict[int, int | str]):
    """What `str.translate` puts in place of each character; filled as characters are met."""

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
    """Return ``text`` with each character escaped that is not printable, and not in ``keep``.

    Escapes are those of Python. What is escaped could change the terminal, or the order in which
    text is read.
    """
    return text if text.isprintable() else text.translate(_escapes(keep))


def one_line(text: str) -> str:
    """Return ``text`` as `printable` does, with line ends and tabs escaped too."""
    return printable(text, keep="")
