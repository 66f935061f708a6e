"""The place of a worker in a line of workers, of which the first one does some work for all.

The line consists of sequential ephemerals, one for each worker. Each worker watches the ephemeral
before its own, so the end of a worker wakes only one other worker. Two workers may believe for a
moment that they are first. This module imports `zoolet.jobs.znodes`.
"""

import uuid
from collections.abc import Callable

from zoolet.jobs.znodes.edge import Znodes

LINE_LOOK_S = 60.0
"""The time, in seconds, after which a worker lists the line again, even if no watch triggered."""


class PlaceInLine:
    """A worker's place in a line.

    Args:
        znodes: the queue.
        path: the parent of the ephemerals.
        wake: called by any thread when `look` may have another result.

    Attributes:
        is_first: whether the worker was the first in line at its last `look`.
    """

    def __init__(self, znodes: Znodes, path: str, wake: Callable[[], None]) -> None:
        self._znodes = znodes
        self._path = path
        self._wake = wake
        self._own: str | None = None
        self._session_id: int | None = None
        """The id of the session that owns the worker's ephemeral."""
        self.is_first = False

    @property
    def path(self) -> str | None:
        """The path of the worker's ephemeral; None if it is not in the line."""
        own = self._own
        return None if own is None else f"{self._path}/{own}"

    def line_up(self) -> None:
        """Join the end of the line, because the worker has registered with a new id.

        If its session is the same, it keeps its place: it would wait behind its own ephemeral.
        """
        if self._own is not None and self._znodes.session_id == self._session_id:
            self._wake()
        else:
            self.start_again()

    def start_again(self) -> None:
        """Join the end of the line, because the worker's ephemeral does not exist any more."""
        self._own = None
        self.is_first = False
        self._wake()

    def look(self) -> bool:
        """Return whether the worker is the first in line.

        Raises:
            MissingError: the parent does not exist.
        """
        if self._own is None:
            self._own = self._znodes.create_in_line(f"{self._path}/w-", uuid.uuid4().hex)
            self._session_id = self._znodes.session_id
        own = self._own
        line = sorted(self._znodes.children(self._path))
        if own not in line:
            if self._znodes.session_id == self._session_id:
                # Another client deleted the worker's ephemeral.
                self.start_again()
            # Otherwise the session has ended; after the next registration, `line_up` is called.
            return False
        position = line.index(own)
        if position == 0:
            self.is_first = True
            if self._own != own:
                # Another thread has called `line_up` in the meantime.
                self.is_first = False
            return self.is_first
        before = f"{self._path}/{line[position - 1]}"
        if not self._znodes.exists(before, lambda _: self._wake()):
            self._wake()
        return False
