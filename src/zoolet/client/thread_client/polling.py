"""Waiting for several sockets: ``poll``, or ``select`` on systems without it (Windows).

This module imports no other module of the client.
"""

import select
import time
from typing import TYPE_CHECKING, Final

POLLIN: Final = 0x1
POLLOUT: Final = 0x4
"""The flags of ``poll`` on Linux and macOS; this module also gives them to ``select``."""


if TYPE_CHECKING:  # the creation of a Protocol takes 0.3 ms
    from typing import Protocol

    class HasDescriptor(Protocol):
        """A socket."""

        def fileno(self) -> int:
            """Return the descriptor."""
            ...

    class Poll(Protocol):
        """What a poll object can do."""

        def register(self, fd: int | HasDescriptor, eventmask: int = ..., /) -> None:
            """Wait for these events of a socket, instead of those that it had."""
            ...

        def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]:
            """Return the descriptors that are ready within ``timeout`` ms, with their events."""
            ...


class SelectPoll:
    """A poll object that uses ``select``."""

    def __init__(self) -> None:
        self._wanted: dict[int, int] = {}

    def register(self, fd: "int | HasDescriptor", eventmask: int = POLLIN | POLLOUT, /) -> None:
        """Wait for these events of a socket."""
        self._wanted[fd if isinstance(fd, int) else fd.fileno()] = eventmask

    def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]:
        """Return the descriptors that are ready within ``timeout`` ms, with their events."""
        reading = [fd for fd, wanted in self._wanted.items() if wanted & POLLIN]
        writing = [fd for fd, wanted in self._wanted.items() if wanted & POLLOUT]
        limit_s = None if timeout is None else max(0.0, timeout) / 1000
        if not reading and not writing:  # Windows refuses to wait for nothing
            time.sleep(limit_s or 0.0)
            return []
        # On Windows, a connection that was refused is in the third list.
        ready = select.select(reading, writing, writing, limit_s)
        found = dict.fromkeys(ready[0], POLLIN)
        for fd in (*ready[1], *ready[2]):
            found[fd] = found.get(fd, 0) | POLLOUT
        return list(found.items())


def new_poll() -> "Poll":
    """Return a poll object."""
    return select.poll() if hasattr(select, "poll") else SelectPoll()
