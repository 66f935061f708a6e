"""The numbers of a queue over time, which the page's process samples while somebody looks.

A queue is sampled for each connection that looks at it, because connections have different
permissions. All pages of a connection share the samples. Invariants: a sample is not older than
`EVERY_S` and the time that it takes, or the page says that it is old; taking samples uses at most a
share of the time, so a queue that is slow to read is read less often; the number of queues, and the
samples of each, are bounded.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from zoolet.client import SessionState, ZooKeeperError
from zoolet.jobs import (
    AccessDeniedError,
    AsyncDispatcher,
    Job,
    JobError,
    JobFilter,
    LimitUse,
    Overview,
    Place,
    QueueSettings,
    UnknownQueueError,
    queue_overview,
)
from zoolet.web.clusters.clients import Connection
from zoolet.web.clusters.lists import ChildLists
from zoolet.web.jobs.reading import MOST_NAMES, open_queue
from zoolet.web.jobs.scanning import Search, first_jobs

EVERY_S: Final = 5.0
"""The time between two samples of a queue."""

SPAN_S: Final = 3600.0
"""The time that the samples of a queue cover."""

KEPT_S: Final = 600.0
"""A queue at which nobody has looked for this time is not sampled any more."""

READ_AT_ONCE: Final = 4
"""Most queues that are read at the same time."""

MOST_QUEUES: Final = 50
"""Most queues that are sampled at a time; the one at which nobody looked for longest ends."""

NEWEST: Final = 50
"""The number of jobs in owned, and of the newest ended jobs, that are read for a sample."""

_SHARE: Final = 10
"""Sampling a queue takes at most 1/N of the time (N: this number)."""

_WINDOW_S: Final = 15.0
"""Rates are computed over this time, because workers report every 5 seconds."""

_MOST_TALLIES: Final = 10
_RATED: Final = ("successful", "failed_attempts")
_ENDED: Final = frozenset({SessionState.CLOSED, SessionState.AUTH_FAILED})


class Sample(NamedTuple):
    """The numbers of a queue at one moment.

    Attributes:
        at_s: the time, in seconds since the epoch.
        jobs: the number of jobs in each place.
        workers: the number of workers.
        successful_per_s: the jobs that became SUCCESSFUL in a second; None if it is not known.
        failed_per_s: the attempts that failed in a second; None if it is not known.
    """

    at_s: float
    jobs: dict[str, int]
    workers: int
    successful_per_s: float | None
    failed_per_s: float | None


class Glance(NamedTuple):
    """What the page shows of a queue at one moment.

    Attributes:
        at_s: the time, in seconds since the epoch.
        overview: the overview.
        owned: up to `NEWEST` jobs of workers, without their large values.
        ended: the `NEWEST` newest jobs that have ended, without their large values; none if their
            names were not read.
        settings: the settings of the queue.
        limits: the limits of the queue, with their use.
    """

    at_s: float
    overview: Overview
    owned: list[Job]
    ended: list[Job]
    settings: QueueSettings
    limits: list[LimitUse]


@dataclass(slots=True)
class SampledQueue:
    """A queue that is sampled.

    Attributes:
        now: what was read last.
        samples: the samples, the oldest first.
        problem: why the last sample could not be taken; "" if it was taken.
    """

    now: Glance
    samples: deque[Sample] = field(default_factory=lambda: deque(maxlen=int(SPAN_S / EVERY_S)))
    problem: str = ""
    _tallies: deque[tuple[float, dict[str, dict[str, Any]]]] = field(
        default_factory=lambda: deque(maxlen=_MOST_TALLIES)
    )

    def add(self, now: Glance) -> None:
        """Add a sample."""
        self.now, self.problem = now, ""
        overview, at_s = now.overview, now.at_s
        before = self._tallies
        while len(before) > 1 and before[1][0] <= at_s - _WINDOW_S:
            before.popleft()
        rates = [_rate(before, overview.workers, name, at_s) for name in _RATED]
        before.append((at_s, overview.workers))
        jobs = {str(place): overview.total(place) for place in Place}
        self.samples.append(Sample(at_s, jobs, len(overview.workers), *rates))


def _rate(
    before: deque[tuple[float, dict[str, dict[str, Any]]]],
    workers: Mapping[str, Mapping[str, Any]],
    name: str,
    at_s: float,
) -> float | None:
    """Return by how much a figure of the workers grew in a second.

    A worker that was not there before has done its work since then, as far as anybody knows.
    """
    if not before or at_s <= before[0][0]:
        return None
    since_s, earlier = before[0]
    grown = sum(
        max(0, _figure(report, name) - _figure(earlier.get(worker, {}), name))
        for worker, report in workers.items()
    )
    return grown / (at_s - since_s)


def _figure(report: Mapping[str, Any], name: str) -> float:
    found = report.get(name, 0)
    return found if isinstance(found, int | float) else 0


def _small(job: Job) -> Job:
    """Return a job without the values that may be large."""
    return job._replace(parameters={}, result=None, source=None, output=(), errors=job.errors[-1:])


@dataclass(slots=True)
class _Entry:
    looked_s: float
    first: "asyncio.Task[SampledQueue]"
    loop: "asyncio.Task[None] | None" = None


class _Read(NamedTuple):
    began_s: float
    task: "asyncio.Task[Overview]"


class QueueSamples:
    """The samples of all queues.

    Args:
        lists: the lists of children.
        now_s: the monotonic clock.
        time_s: the clock of the system, in seconds since the epoch.
    """

    def __init__(
        self, lists: ChildLists, now_s: Callable[[], float], time_s: Callable[[], float]
    ) -> None:
        self._lists = lists
        self._now_s = now_s
        self._time_s = time_s
        self._entries: OrderedDict[tuple[int, str], _Entry] = OrderedDict()
        self._overviews: OrderedDict[tuple[int, str], _Read] = OrderedDict()
        self._limit = asyncio.Semaphore(READ_AT_ONCE)

    async def overview(self, connection: Connection, path: str) -> Overview:
        """Return an overview of a queue; requests within `EVERY_S` share it.

        Raises as `look`.
        """
        while self._overviews:
            first = next(iter(self._overviews.values()))
            if first.began_s > self._now_s() - EVERY_S or not first.task.done():
                break
            self._overviews.popitem(last=False)
        key = (connection.number, path)
        found = self._overviews.get(key)
        if found is None:
            found = _Read(self._now_s(), asyncio.create_task(self._overview(connection, path)))
            found.task.add_done_callback(lambda task: task.cancelled() or task.exception())
            self._overviews[key] = found
        return await asyncio.shield(found.task)

    async def _overview(self, connection: Connection, path: str) -> Overview:
        async with self._limit, open_queue(connection, path) as dispatcher:
            return await dispatcher.run(queue_overview, dispatcher.queue, most_names=MOST_NAMES)

    async def look(self, connection: Connection, path: str) -> SampledQueue:
        """Return the samples of a queue, which is sampled from now on.

        Raises:
            UnknownQueueError: there is no queue at this path.
            JobError: the queue cannot be read.
        """
        key = (connection.number, path)
        entry = self._entries.get(key)
        if entry is None:
            entry = _Entry(0.0, asyncio.create_task(self._first(connection, path)))
            entry.first.add_done_callback(lambda task: task.cancelled() or task.exception())
            self._entries[key] = entry
        entry.looked_s = self._now_s()
        self._entries.move_to_end(key)
        while len(self._entries) > MOST_QUEUES:
            self._drop(next(iter(self._entries)))
        try:
            found = await asyncio.shield(entry.first)
        except (JobError, ZooKeeperError, OSError):
            if self._entries.get(key) is entry:
                self._drop(key)
            raise
        if entry.loop is None and self._entries.get(key) is entry:
            entry.loop = asyncio.create_task(self._keep(key, entry, connection, found))
        return found

    def forget(self, number: int) -> None:
        """Forget the queues of a connection that is closed."""
        for key in [key for key in self._entries if key[0] == number]:
            self._drop(key)

    def close(self) -> None:
        """Sample no queue any more."""
        for key in list(self._entries):
            self._drop(key)

    def _drop(self, key: tuple[int, str]) -> None:
        entry = self._entries.pop(key)
        if entry.loop is not None:
            entry.loop.cancel()

    async def _first(self, connection: Connection, path: str) -> SampledQueue:
        now = await self._read(connection, path)
        found = SampledQueue(now)
        found.add(now)
        return found

    async def _read(self, connection: Connection, path: str) -> Glance:
        async with self._limit, open_queue(connection, path) as dispatcher:
            queue = dispatcher.queue
            overview = await dispatcher.run(queue_overview, queue, most_names=MOST_NAMES)
            owned, ended = [
                await self._some(dispatcher, connection, place, overview)
                for place in (Place.OWNED, Place.DONE)
            ]
            settings = await dispatcher.run(lambda: queue.settings)
            limits = await dispatcher.run(queue.limits.all)
        return Glance(self._time_s(), overview, owned, ended, settings, limits)

    async def _some(
        self,
        dispatcher: AsyncDispatcher,
        connection: Connection,
        place: Place,
        overview: Overview,
    ) -> list[Job]:
        """Return some jobs of a place; none if the overview has not read their names."""
        if min(overview.counts[place], default=0) < 0:
            return []
        what = Search(dispatcher, self._lists, connection, JobFilter(), [place])
        jobs, _ = await first_jobs(what, NEWEST)
        return [_small(job) for job in jobs]

    async def _keep(
        self, key: tuple[int, str], entry: _Entry, connection: Connection, found: SampledQueue
    ) -> None:
        """Take samples until nobody looks, or the connection is closed."""
        wait_s = EVERY_S
        try:
            while True:
                await asyncio.sleep(wait_s)
                is_unused = self._now_s() - entry.looked_s > KEPT_S
                if is_unused or connection.client.state in _ENDED:
                    return
                began_s = self._now_s()
                try:
                    found.add(await self._read(connection, key[1]))
                except (UnknownQueueError, AccessDeniedError):
                    return  # the next look raises the error
                except (JobError, ZooKeeperError, OSError) as error:
                    found.problem = str(error)
                wait_s = max(EVERY_S, _SHARE * (self._now_s() - began_s))
        finally:  # also after an error: the next look begins again
            if self._entries.get(key) is entry:
                del self._entries[key]
