"""What belongs to the whole process of the tests, and must not differ from test to test."""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def restoring_process() -> Iterator[None]:
    """Restore what a command of the block changes in this process: its log and its signals."""
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        logging.captureWarnings(capture=False)
        root.handlers[:] = handlers
        root.setLevel(level)
        for number, handler in signals.items():
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler)
