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


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Delay the KeyboardInterrupt of a Ctrl-C until the block has ended.

    Without this, a Ctrl-C between a reply and its count makes the count wrong. A second Ctrl-C
    raises SecondInterrupt at once. An exception of the block takes precedence over the
    KeyboardInterrupt. There is no delay in other threads than the main thread, or if SIGINT does
    not have Python's default handler.
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
            raise SecondInterrupt
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
    """Ignore Ctrl-C in the block: another program in the same terminal handles it.

    This sets a handler that does nothing, because the other program would inherit SIG_IGN.
    """
    previous = signal.signal(signal.SIGINT, lambda _number, _frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
