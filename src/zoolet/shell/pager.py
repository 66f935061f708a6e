"""Long answers, page by page: what a terminal shows is shown at the reader's pace.

Owns the counting of rows and the question behind a page. Knows no command: what is still to come is
not even asked for before the reader wants it.
"""

import os
import sys
import termios
import tty
from collections.abc import Iterator

from rich.cells import cell_len, chop_cells

_QUESTION = "-- more: Space a page, Enter a line, q no more --"
_END_KEYS = b"qQ\x04"
_LINE_KEYS = b"\r\n"
_USUAL_COLUMNS, _USUAL_ROWS = 80, 24


class EndOfReading(Exception):  # noqa: N818 -- nothing went wrong
    """The reader has seen enough."""


class Pager:
    """Writes to the terminal, and stops whenever a page is full."""

    def __init__(self) -> None:
        size = os.get_terminal_size(sys.stdout.fileno())
        # A terminal that does not know its size says 0: then it is taken for a usual one.
        self._width = size.columns or _USUAL_COLUMNS
        self._page_rows = max((size.lines or _USUAL_ROWS) - 1, 1)
        self._rows_left = self._page_rows

    def write(self, line: str, coloured: str | None = None) -> None:
        """Write a line and the line feed behind it; raises EndOfReading.

        ``coloured`` is the same line with escapes that colour it. It cannot be broken, so a line
        that is longer than a row loses its colours.
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
        """Yield what fits a row, piece by piece; the terminal itself breaks between them."""
        if line.isascii():
            for position in range(0, max(len(line), 1), self._width):
                yield line[position : position + self._width]
        elif cell_len(line) <= self._width:
            yield line
        else:
            yield from chop_cells(line, self._width)

    def _ask(self, before: str) -> int:
        """Ask how to go on; returns how many rows may come now."""
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
    """Return the next key, without waiting for Enter; Ctrl-C is KeyboardInterrupt as elsewhere."""
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    try:
        tty.setcbreak(keyboard)
        return os.read(keyboard, 1) or b"q"
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
