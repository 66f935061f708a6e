"""Whether this is the process that opened a connection, or a child that was forked from it.

A child has a copy of the memory and of the sockets of its parent, and none of its threads. So a
connection of the parent is of no use in it, and a byte that it sends disturbs the parent. What
holds: an object of the parent raises an error in the child before it waits or sends anything.
Imports the job system's errors.
"""

import os

from zoolet.jobs.errors import ForkedError

_forks = 0
"""How many forks lie between the first process and this one."""


def _count_fork() -> None:
    global _forks  # noqa: PLW0603 -- a property of the process
    _forks += 1


os.register_at_fork(after_in_child=_count_fork)


class HomeProcess:
    """The process in which this was made."""

    def __init__(self) -> None:
        self._forks = _forks

    @property
    def is_here(self) -> bool:
        """Whether this process is it, and no child that was forked from it."""
        return self._forks == _forks

    def check(self) -> None:
        """Raise ForkedError in a child that was forked from it."""
        if self._forks != _forks:
            raise ForkedError(
                "this object was made before os.fork(): its connection belongs to the parent"
                " process. Create a new Dispatcher, JobQueue or Worker in the child process"
            )
