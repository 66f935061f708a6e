"""The operations of users on the limits of a queue: add, list, remove.

A limit that is removed is first marked: its znode gets an empty value. Workers then ignore it, and
the worker that does the housekeeping releases the jobs that wait for it and deletes its znodes. So
a limit that is added again at this time finds the slots of the jobs that run. This module imports
`zoolet.jobs.errors`, `zoolet.jobs.records` and `zoolet.jobs.znodes`.
"""

from typing import NamedTuple

from zoolet.jobs.errors import InvalidJobError, UnknownLimitError, UnreadableJobError
from zoolet.jobs.records.limits import LIMITS_MOST, Limit
from zoolet.jobs.znodes.deadlines import TIMEOUT_S
from zoolet.jobs.znodes.edge import MissingError
from zoolet.jobs.znodes.layout import LIMITS, Layout
from zoolet.jobs.znodes.limit_znodes import limit_path, slots_path, waiting_path
from zoolet.jobs.znodes.operations import Create, RefusedError


class LimitUse(NamedTuple):
    """A limit and its use.

    Attributes:
        limit: the limit.
        running: the number of its slots in use; 0 for a limit per second.
        waiting: the number of jobs that wait for the limit.
    """

    limit: Limit
    running: int
    waiting: int


class QueueLimits:
    """The limits of a queue; `JobQueue.limits`.

    Every method has ``timeout_s``: how long the method waits, in seconds, if the server does not
    reply; None: no limit. After that, the method raises JobTimeoutError.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._znodes = layout.znodes

    def add(self, limit: Limit, *, timeout_s: float | None = TIMEOUT_S) -> None:
        """Add a limit, or change the limit of this name. Workers know it a moment later.

        Raises:
            InvalidJobError: the queue already has `LIMITS_MOST` limits.
        """
        with self._znodes.within(timeout_s, "add a limit", unknown="the limit may be added"):
            self._layout.check()
            self._znodes.ensure(self._znodes.path(LIMITS))
            path = limit_path(self._layout, limit.name)
            names = self._znodes.children(self._znodes.path(LIMITS))
            if limit.name not in names:
                if len(names) >= LIMITS_MOST:
                    raise InvalidJobError(
                        f"the queue has {len(names)} limits, and at most {LIMITS_MOST} are allowed:"
                        " remove a limit first, or use a limit for each key (per_key)"
                    )
                parts = [Create(f"{path}/{part}", b"") for part in ("slots", "next", "waiting")]
                try:
                    self._znodes.multi(
                        [Create(path, limit.encode()), *parts],
                        landed=lambda: self._znodes.exists(path),
                    )
                except RefusedError:
                    pass  # Another program added it at the same time: it is changed below.
                else:
                    return
            self._znodes.set(path, limit.encode())
            # The housekeeping may have deleted them, because the limit had been removed.
            self._znodes.ensure(*(f"{path}/{part}" for part in ("slots", "next", "waiting")))

    def remove(self, name: str, *, timeout_s: float | None = TIMEOUT_S) -> None:
        """Remove a limit. The jobs that wait for it may start.

        Raises:
            UnknownLimitError: the queue has no limit of this name.
        """
        with self._znodes.within(timeout_s, "remove a limit", unknown="the limit may be removed"):
            is_there = name in self._names()
            if not is_there or not self._znodes.set(limit_path(self._layout, name), b""):
                raise UnknownLimitError(
                    f"the queue has no limit {name!r}: zoolet jobs limit list shows the limits"
                )

    def all(self, *, timeout_s: float | None = TIMEOUT_S) -> list[LimitUse]:
        """Return the limits of the queue with their use, by name; invalid values are left out."""
        with self._znodes.within(timeout_s, "list the limits", each_request=True):
            found: list[LimitUse] = []
            for name in self._names():
                znode = self._znodes.get(limit_path(self._layout, name))
                if znode is None or not znode.data:
                    continue
                try:
                    limit = Limit.decode(name, znode.data)
                except UnreadableJobError:
                    continue
                if limit is not None:
                    found.append(LimitUse(limit, *self._use(name)))
            return found

    def _names(self) -> list[str]:
        try:
            return sorted(self._znodes.children(self._znodes.path(LIMITS)))
        except MissingError:
            return []

    def _use(self, name: str) -> tuple[int, int]:
        waiting = waiting_path(self._layout, name)
        try:
            keys = self._znodes.children(waiting)
        except MissingError:
            keys = []
        found = self._znodes.get_all([f"{waiting}/{key}" for key in keys])
        return (
            self._znodes.count_children(slots_path(self._layout, name)),
            sum(znode.children for znode in found if znode is not None),
        )
