"""Shows long output on a terminal page by page.

This module counts rows and asks after each page. It does not depend on any command. A command does
not compute further output before the user asks for the next page.
"""

import os
import sys
from collections.abc import Iterator
from typing import Final

from rich.cells import cell_len, chop_cells

if sys.platform != "win32":
    import termios
    import tty

CAN_PAGE: Final = sys.platform != "win32"
"""Whether the pager can read single keys on this system."""

_QUESTION = "-- more: Space a page, Enter a line, q no more --"
_END_KEYS = b"qQ\x04"
_LINE_KEYS = b"\r\n"
_USUAL_COLUMNS, _USUAL_ROWS = 80, 24


class EndOfReading(Exception):  # noqa: N818 -- not an error
    """The user does not want to see the rest of the output."""


class Pager:
    """Writes to the terminal, and asks each time a page is full."""

    def __init__(self) -> None:
        size = os.get_terminal_size(sys.stdout.fileno())
        # A terminal without a known size reports 0; then the usual size is assumed.
        self._width = size.columns or _USUAL_COLUMNS
        self._page_rows = max((size.lines or _USUAL_ROWS) - 1, 1)
        self._rows_left = self._page_rows

    def write(self, line: str, coloured: str | None = None) -> None:
        """Write a line and a line feed; raises EndOfReading.

        ``coloured`` is the same line with escape sequences for colours. It cannot be split into
        rows, so a line that is longer than a row is written without colours.
        """
        if coloured is not None and cell_len(line) <= self._width:
            self._make_room(begins_line=True)
            sys.stdout.write(coloured)
        else:
            for number, row in enumerate(self._rows(line)):
                self._make_room(begins_line=number == 0)
                sys.stdout.write(row)
        sys.stdout.write("\n")

    def _make_room(self, *, begins_line: bool) -> None:
        if self._rows_left == 0:
            self._rows_left = self._ask("" if begins_line else "\n")
        self._rows_left -= 1

    def _rows(self, line: str) -> Iterator[str]:
        """Yield the line in pieces of one row; the terminal breaks the line between them."""
        if line.isascii():
            for position in range(0, max(len(line), 1), self._width):
                yield line[position : position + self._width]
        elif cell_len(line) <= self._width:
            yield line
        else:
            yield from chop_cells(line, self._width)

    def _ask(self, before: str) -> int:
        """Ask how to continue; return the number of rows to show next."""
        sys.stdout.write(before + _QUESTION)
        sys.stdout.flush()
        try:
            key = _read_key()
        finally:
            sys.stdout.write(f"\r{' ' * min(len(_QUESTION), self._width - 1)}\r")
        if key in _END_KEYS:
            raise EndOfReading
        return 1 if key in _LINE_KEYS else self._page_rows


def _read_key() -> bytes:
    """Return the next key without waiting for Enter; Ctrl-C raises KeyboardInterrupt."""
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    try:
        tty.setcbreak(keyboard)
        return os.read(keyboard, 1) or b"q"
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
