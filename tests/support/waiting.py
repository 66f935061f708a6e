"""Waiting for what another process brings about."""

import time
from collections.abc import Callable

WAIT_S = 100.0
"""Far more than anything takes that happens at all, also on a busy machine."""


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Return when ``condition`` holds; fails where it does not come to."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come about in {WAIT_S} s"
        time.sleep(0.01)
