"""Ctrl-C while changes are in progress: sent requests are counted before the command ends.

Invariant: the first Ctrl-C takes effect at the end of a block, a second Ctrl-C immediately. This
module does not depend on any command or server.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator


class SecondInterrupt(KeyboardInterrupt):
    """A second Ctrl-C, which has ended a block in the middle."""


class Held:
    """Whether a Ctrl-C is held back."""

    def __init__(self) -> None:
        self._is_due = False

    def check(self) -> None:
        """Raise KeyboardInterrupt if a Ctrl-C is held back: here the block may end."""
        if self._is_due:
            raise KeyboardInterrupt

    def note(self, _number: int, _frame: object) -> None:
        """Hold the first Ctrl-C back; the handler of SIGINT."""
        if self._is_due:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise SecondInterrupt
        self._is_due = True


@contextlib.contextmanager
def held_back() -> Iterator[Held]:
    """Delay the KeyboardInterrupt of a Ctrl-C until the block has ended, or calls ``check``.

    Without this, a Ctrl-C between a reply and its count makes the count wrong. A Ctrl-C while
    `Client` reads would even end the connection, and lose the replies to all requests in progress.
    A second Ctrl-C raises SecondInterrupt at once. An exception of the block takes precedence over
    the KeyboardInterrupt. There is no delay in other threads than the main thread, or if SIGINT
    does not have Python's default handler, as in a block inside another one.
    """
    held = Held()
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield held
        return
    signal.signal(signal.SIGINT, held.note)
    try:
        yield held
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    held.check()


@contextlib.contextmanager
def left_to_another_program() -> Iterator[None]:
    """Ignore Ctrl-C in the block: another program in the same terminal handles it.

    This sets a handler that does nothing, because the other program would inherit SIG_IGN.
    """
    previous = signal.signal(signal.SIGINT, lambda _number, _frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
