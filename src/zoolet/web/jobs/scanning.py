"""Looks for the jobs that a filter selects, a bounded part at a time, and continues later.

The places are searched in the order of `PLACES`; in each place, the lists in their order, and in
each list the names in theirs. A position in this order is text, so a URL can continue a search.
Lists are shared with other users of the connection; jobs are read fifty at a time. Jobs that move
during a search may be missed, or found twice.
"""

import asyncio
import bisect
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from zoolet.client import NoNodeError
from zoolet.jobs import (
    AsyncDispatcher,
    InvalidJobError,
    Job,
    JobFilter,
    JobList,
    JobName,
    JobState,
    Place,
    job_lists,
    jobs_in,
)
from zoolet.web.clusters.clients import Connection
from zoolet.web.clusters.lists import ChildLists
from zoolet.web.jobs.reading import MOST_NAMES

PLACES: Final = (Place.OWNED, Place.UNOWNED, Place.DEFERRED, Place.DONE)
"""The order in which places are searched."""

FIELDS: Final = ("state", "task", "dataset", "batch", "error")
"""The fields of a filter in URLs and forms; an empty one selects all jobs."""

MOST_READ: Final = 2000
"""Most jobs that one search reads, if nothing else is said."""

MOST_S: Final = 3.0
"""A search that has taken this time, in seconds, stops after the jobs that it has just read."""

_AT_ONCE: Final = 50
_STEP: Final = 5000


class PositionError(ValueError):
    """A text is not the position of a search."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the order of a search: the last job that was looked at.

    Attributes:
        place: the place of the job.
        shard: the shard of its list.
        page: the page of its list.
        name: its name.
    """

    place: Place
    shard: int
    page: str
    name: str

    def __str__(self) -> str:
        """Return the position as text."""
        return f"{self.place}/{self.shard}/{self.page}/{self.name}"

    @property
    def list(self) -> JobList:
        """A `JobList` with the order of the list of this position."""
        return JobList(self.place, self.shard, self.page, "", 0)


def parse_position(text: str, places: Sequence[Place]) -> Position | None:
    """Return the position of a text in these places; None for "".

    Raises:
        PositionError: the text is not a position.
    """
    if not text:
        return None
    invalid = PositionError("the position of the search is not valid: start it again")
    try:
        place, shard, page, name = text.split("/")
        position = Position(Place(place), int(shard), page, name)
        known = position.list.order, position.list.names([name])
    except ValueError:
        raise invalid from None
    if position.place not in places or not known[1]:
        raise invalid
    return position


class Search(NamedTuple):
    """What is searched, and with which connection.

    Attributes:
        dispatcher: the queue.
        lists: the lists that users of the connection share.
        connection: the connection.
        wanted: which jobs are wanted.
        places: the places to search.
    """

    dispatcher: AsyncDispatcher
    lists: ChildLists
    connection: Connection
    wanted: JobFilter
    places: Sequence[Place]


class Searched(NamedTuple):
    """How far a search has come.

    Attributes:
        read: the number of jobs that were read.
        after: the position to continue from; None if the search is at its end.
    """

    read: int
    after: Position | None


def places_of(state: JobState | None) -> Sequence[Place]:
    """Return the places that can have jobs in a state; all for None."""
    if state is None:
        return PLACES
    if state is JobState.PENDING:
        return (Place.UNOWNED, Place.DEFERRED)
    return (Place.OWNED,) if state in {JobState.STAGING, JobState.RUNNING} else (Place.DONE,)


async def search(
    what: Search,
    on_job: Callable[[Job], bool],
    *,
    after: Position | None = None,
    most_read: int = MOST_READ,
) -> Searched:
    """Search until ``on_job`` returns False, or a limit is reached.

    Args:
        what: what is searched.
        on_job: is called with each job that the filter selects.
        after: the position to continue from; None for the start.
        most_read: the most jobs to read.
    """
    dispatcher = what.dispatcher
    read = 0
    end_s = time.monotonic() + MOST_S
    async for job_list, part in _parts(what, after):
        read += len(part.names)
        here = Position(job_list.place, job_list.shard, job_list.page, part.last)
        if part.names:
            found = await dispatcher.run(jobs_in, dispatcher.queue, job_list.place, part.names)
            for job in filter(what.wanted.selects, found):
                if not on_job(job):
                    return Searched(read, replace(here, name=job.name))
        after = here
        if read >= most_read or time.monotonic() > end_s:
            return Searched(read, after)
    return Searched(read, None)


async def first_jobs(
    what: Search, most: int, *, after: Position | None = None
) -> tuple[list[Job], Searched]:
    """Search until ``most`` jobs are found, or a limit is reached."""
    jobs: list[Job] = []

    def add(job: Job) -> bool:
        jobs.append(job)
        return len(jobs) < most

    searched = await search(what, add, after=after)
    return jobs, searched


class _Part(NamedTuple):
    """Names of jobs that may be wanted, and the last name that was looked at."""

    names: list[str]
    last: str


async def _parts(what: Search, after: Position | None) -> AsyncIterator[tuple[JobList, _Part]]:
    """Yield the names of jobs after a position, up to fifty at a time."""
    dispatcher, order = what.dispatcher, list(what.places)
    for place in order if after is None else order[order.index(after.place) :]:
        start = after if after is not None and after.place is place else None
        for found in await dispatcher.run(job_lists, dispatcher.queue, place):
            if start is not None and found.order < start.list.order:
                continue
            is_here = start is not None and found.order == start.list.order
            try:
                _, children = await what.lists.newest(what.connection, found.path)
            except NoNodeError:
                continue  # it was empty, and is removed now
            names = _after(found, children, start.name if start is not None and is_here else "")
            for part in _some_at_a_time(names, what.wanted.dataset):
                yield found, part
                await asyncio.sleep(0)


def _after(found: JobList, children: list[str], start: str) -> Iterator[JobName]:
    """Yield the names of jobs in a list after the name ``start``.

    A list with very many names is in the order of the names as texts, because sorting it in another
    order takes seconds.
    """
    if len(children) > MOST_NAMES:
        for position in range(bisect.bisect_right(children, start), len(children), _STEP):
            part = children[position : position + _STEP]
            yield from sorted(found.names(part), key=lambda name: name.name)
        return
    names = found.names(children)
    first = 0
    if start:
        [last] = found.names([start])
        first = bisect.bisect_right(names, found.key(last), key=found.key)
    yield from names[first:]


def _some_at_a_time(names: Iterator[JobName], dataset: str | None) -> Iterator[_Part]:
    """Yield the names of a dataset in parts, after many names of other datasets an empty part."""
    part: list[str] = []
    looked, last = 0, ""
    for name in names:
        looked, last = looked + 1, name.name
        if dataset in {None, name.dataset}:
            part.append(name.name)
        if len(part) == _AT_ONCE or looked == _STEP:
            yield _Part(part, last)
            part, looked = [], 0
    if looked:
        yield _Part(part, last)


def fields_of(given: Mapping[str, str]) -> dict[str, str]:
    """Return the fields of a filter in a URL or a form; missing ones are empty."""
    return {name: given.get(name, "") for name in FIELDS}


def filter_of(values: dict[str, str]) -> JobFilter:
    """Return the filter of fields by name; empty fields select everything.

    Raises:
        InvalidJobError: a value is not valid.
    """
    given = {name: value for name, value in values.items() if value}
    state = given.pop("state", None)
    if state is not None and state not in set(JobState):
        raise InvalidJobError(f"state must be one of {', '.join(JobState)}")
    return JobFilter(state=None if state is None else JobState(state), **given)  # type: ignore[arg-type]
