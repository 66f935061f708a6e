r"""Prints everything that the shell prints: text or JSON, to a terminal or to a program.

Invariants: control characters in a znode never reach a terminal, because this module escapes
everything that it prints to a terminal. A program gets text unchanged. This module also contains
paging, colours, progress bars and questions. It does not depend on any command.
"""

import contextlib
import json
import sys
import threading
from collections.abc import Callable, Iterable, Iterator

from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from zoolet.console.terminal import printable
from zoolet.shell.answers import Answer
from zoolet.shell.formatting import indent_json
from zoolet.shell.pager import CAN_PAGE, EndOfReading, Pager

_HIGHLIGHTER = JSONHighlighter()
_NO_LOCK = contextlib.nullcontext()

Advance = Callable[[int], None]


class Output:
    """The output of the shell.

    Attributes:
        has_reader: whether standard output is a terminal.
        has_person: whether standard input is a terminal, so that a user can answer questions.
    """

    def __init__(self, *, is_json: bool, has_pager: bool) -> None:
        self.has_reader = sys.stdout.isatty()
        self.has_person = sys.stdin.isatty()
        self._is_json = is_json
        self._has_pager = has_pager and CAN_PAGE and self.has_reader and self.has_person
        self._lock = threading.RLock()  # another thread prints watch events
        self._errors = Console(stderr=True)

    def show(self, answers: Iterable[Answer], *, is_live: bool = False) -> None:
        """Print answers as they arrive; on a terminal page by page, unless ``is_live``."""
        is_paged = self._has_pager and not is_live
        write = Pager().write if is_paged else _write_line
        try:
            # Watch events must wait until the user has finished paging.
            with contextlib.suppress(EndOfReading), self._lock if is_paged else _NO_LOCK:
                for answer in answers:
                    with self._lock:
                        self._write(answer, write)
                        if is_live:
                            sys.stdout.flush()
        finally:
            sys.stdout.flush()

    def say(self, answer: Answer) -> None:
        """Print an answer that belongs to no running command, such as a watch event."""
        with self._lock:
            self._write(answer, _write_line)
            sys.stdout.flush()

    def complain(self, message: str) -> None:
        """Print an error or another notice to standard error."""
        text = json.dumps({"error": message}, ensure_ascii=False) if self._is_json else message
        with self._lock:
            sys.stderr.write(f"{printable(text) if sys.stderr.isatty() else text}\n")
            sys.stderr.flush()

    def confirm(self, question: str) -> bool:
        """Ask the user whether to continue; return True if standard input is not a terminal."""
        if not self.has_person:
            return True
        sys.stderr.write(f"{printable(question)} [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in {"y", "yes"}

    @contextlib.contextmanager
    def progress(self, what: str, total: int | None = None) -> Iterator[Advance]:
        """Show a progress bar if standard error is a terminal; give the function to advance it."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(
            *columns, console=self._errors, transient=True, disable=not self._errors.is_terminal
        ) as shown:
            task = shown.add_task(what, total=total)
            yield lambda steps: shown.advance(task, steps)

    def _write(self, answer: Answer, write: Callable[..., None]) -> None:
        if self._is_json:
            text = json.dumps(answer.value, ensure_ascii=False)
            write(printable(text) if self.has_reader else text)
            return
        if answer.document is not None:
            if self.has_reader:
                _write_json(answer.document, write)
            else:
                write(answer.document)
        if answer.text is not None:
            text = printable(answer.text) if self.has_reader else answer.text
            for line in text.split("\n"):
                write(line)


def _write_json(text: str, write: Callable[..., None]) -> None:
    """Write JSON with indentation, in colours if the terminal supports them."""
    console = Console(file=sys.stdout)
    for line in printable(indent_json(text)).split("\n"):
        with console.capture() as captured:
            console.print(_HIGHLIGHTER(line), soft_wrap=True, end="")
        write(line, captured.get())


def _write_line(line: str, coloured: str | None = None) -> None:
    sys.stdout.write(f"{coloured or line}\n")
