"""A real terminal with a program in it, whose screen a test looks at as a person does."""

import re
import time
from collections.abc import Callable, Sequence
from typing import Self

import pexpect
import pyte

from tests.support.waiting import WAIT_S

ROWS, COLUMNS = 20, 100
USUAL_ROWS = 24
"""What programs assume if the terminal does not know its size. With fewer rows on the screen, a
prompt that is drawn for 24 rows would scroll away."""


class _Screen(pyte.Screen):
    """Draws; what it is asked, such as where the cursor is, it answers as from the keyboard."""

    def __init__(self, press: Callable[[str], None], rows: int) -> None:
        super().__init__(COLUMNS, rows)
        self._press = press

    def write_process_input(self, data: str) -> None:
        self._press(data)


class Terminal:
    """A program at a terminal, from its start to its end.

    The screen is that of an emulator, which draws what the program prints and answers what it asks
    of its terminal.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: dict[str, str],
        told_size: tuple[int, int] = (ROWS, COLUMNS),
    ) -> None:
        """Start the program; ``told_size`` is what it learns of the screen, (0, 0): nothing."""
        self._program: pexpect.spawn[bytes] = pexpect.spawn(
            command[0],
            list(command[1:]),
            dimensions=told_size,
            env={"TERM": "xterm", "LANG": "C.UTF-8", **environment},
        )
        self._screen = _Screen(self.press, told_size[0] or USUAL_ROWS)
        self._stream = pyte.ByteStream(self._screen)

    @property
    def lines(self) -> list[str]:
        """The lines of the screen down to the last that is not empty."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip().split("\n")

    @property
    def text(self) -> str:
        """Everything on the screen."""
        return "\n".join(self.lines)

    def press(self, keys: str) -> None:
        """Send what a keyboard sends for these keys."""
        self._program.send(keys)

    def enter(self, line: str) -> None:
        """Type a line and end it."""
        self.press(f"{line}\r")

    def wait_for(self, pattern: str) -> None:
        """Return when the screen shows what matches; a ``$`` stands for a line's end."""
        deadline = time.monotonic() + WAIT_S
        while re.search(pattern, self.text, re.MULTILINE) is None:
            try:
                printed = self._program.read_nonblocking(65536, timeout=deadline - time.monotonic())
            except (pexpect.TIMEOUT, pexpect.EOF) as error:
                told = f"{type(error).__name__} before {pattern!r}; the screen shows:\n{self.text}"
                raise AssertionError(told) from error
            self._stream.feed(printed)

    def wait_for_end(self) -> int | None:
        """Return the program's exit status when it has ended."""
        while True:
            try:
                self._stream.feed(self._program.read_nonblocking(65536, timeout=WAIT_S))
            except pexpect.EOF:
                self._program.close()
                return self._program.exitstatus

    def is_coloured(self, text: str) -> bool:
        """Return whether the text is on the screen, and in a colour."""
        for row, line in enumerate(self._screen.display):
            column = line.find(text)
            if column >= 0:
                return bool(self._screen.buffer[row][column].fg != "default")
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._program.close(force=True)
