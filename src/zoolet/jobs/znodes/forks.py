"""Detects whether this process opened a connection, or is a forked child of that process.

A child has copies of its parent's memory and sockets, but not its parent's threads. So the child
cannot use a connection of the parent, and bytes that the child sends would disturb the parent.
Invariant: an object of the parent raises an error in the child before the object waits or sends
anything. This module imports `zoolet.jobs.errors`.
"""

import os

from zoolet.jobs.errors import ForkedError

_forks = 0
"""The number of forks between the first process and this process."""


def _count_fork() -> None:
    global _forks  # noqa: PLW0603 -- a property of the process
    _forks += 1


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_count_fork)


class HomeProcess:
    """The process that created this object."""

    def __init__(self) -> None:
        self._forks = _forks

    @property
    def is_here(self) -> bool:
        """Whether the current process created this object; False in a forked child."""
        return self._forks == _forks

    def check(self) -> None:
        """Raise ForkedError if the current process is a forked child."""
        if self._forks != _forks:
            raise ForkedError(
                "this object was created before os.fork(): its connection belongs to the parent"
                " process. Create a new Dispatcher, JobQueue or Worker in the child process"
            )
