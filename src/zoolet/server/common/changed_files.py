"""Files that may change while the server runs: users, certificates.

A file is looked at once in a while, on a thread that may wait for the disk.
"""

import logging
from collections.abc import Callable
from typing import Final

from zoolet.server.common.disk_thread import DiskThread

log = logging.getLogger(__name__)

LOOK_INTERVAL_MS: Final = 1000
"""The time between two looks; a change is found after this time."""


def looks_on(thread: DiskThread, look: Callable[[], None]) -> Callable[[], None]:
    """Return a function that calls ``look`` on the thread; errors go to the log."""

    def submit() -> None:
        thread.submit(look, _looked)

    return submit


def _looked(failure: Exception | None) -> None:
    if failure is not None:
        log.error("changed files cannot be read; the settings stay as they are: %r", failure)
