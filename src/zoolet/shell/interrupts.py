"""Ctrl-C while changes are under way: what is sent is counted before the command ends.

What holds: the first Ctrl-C waits for the end of a block, a second one does not. Knows no command
and no server.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Hold Ctrl-C back until the block has ended; then it is KeyboardInterrupt as elsewhere.

    Without this, a Ctrl-C between an answer and its count makes the count wrong. An exception of
    the block comes before the KeyboardInterrupt. Where Ctrl-C is not Python's own, as in a thread,
    nothing is held back.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    came = False

    def note(_number: int, _frame: object) -> None:
        nonlocal came
        if came:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt
        came = True

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if came:
        raise KeyboardInterrupt


@contextlib.contextmanager
def left_to_another_program() -> Iterator[None]:
    """Ignore Ctrl-C: a program in the same terminal gets it too, and decides what it means.

    The handler does nothing, instead of SIG_IGN, which the other program would inherit.
    """
    previous = signal.signal(signal.SIGINT, lambda _number, _frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
