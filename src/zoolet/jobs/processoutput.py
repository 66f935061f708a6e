"""What an executor's process writes to its descriptors 1 and 2, as the worker's thread gets it.

The worker passes it on to its own standard error, and keeps the end of it for the reason that a
process ended.
"""

import sys
from typing import Final

from zoolet.jobs.texts import escaped_lines

TAIL_BYTES: Final = 4096


class ProcessOutput:
    """The output of one process."""

    def __init__(self) -> None:
        self._tail = b""

    def feed(self, data: bytes) -> None:
        """Pass on what was written."""
        self._tail = (self._tail + data)[-TAIL_BYTES:]
        sys.stderr.write(data.decode(errors="backslashreplace"))
        sys.stderr.flush()

    def close(self) -> None:
        """Take notice that the process has ended."""

    @property
    def tail(self) -> str:
        """The end of what was written, after a line break; "" if nothing was."""
        text = escaped_lines(self._tail.decode(errors="backslashreplace").strip())
        return f". It wrote:\n{text}" if text else ""
