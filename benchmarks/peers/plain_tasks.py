"""The tasks that are run: nothing, and 50 ms of which is written down that they were begun."""

import os
import time


def noop(n: int) -> int:
    """Return the number."""
    return n


def slow(n: int) -> int:
    """Take 50 ms, and return the number."""
    with open(os.environ["BEGUN_LOG"], "a") as log:  # noqa: PTH123
        log.write(f"{n}\n")
    time.sleep(0.05)
    return n


def pid(_: int) -> int:
    """Return whose process this is."""
    time.sleep(0.01)
    return os.getpid()
