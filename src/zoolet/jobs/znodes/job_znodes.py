"""The znodes of jobs: their paths, and the jobs that their values contain.

A separate module, because mypyc compiles it: each job has several paths and is read several times.
This module sends no requests. It imports `zoolet.client.errors`, ``model``, and the errors and
records of the job system.
"""

import zlib
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, final

from zoolet.client.errors import NoNodeError, ZooKeeperError
from zoolet.jobs.errors import JobNotFoundError, UnreadableJobError
from zoolet.jobs.records import job_names
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_values import (
    TIME_LIMIT_MS,
    WAITS_FOR_BATCH,
    WAITS_FOR_LIMIT,
    WAITS_FOR_TIME,
)
from zoolet.jobs.records.transitions import STATES_IN, Place
from zoolet.model.results import ZnodeData

FORBIDDEN_VERSION: Final = -1
"""The version that stands for "no READ permission" in a result about many znodes."""


class Znode(NamedTuple):
    """A znode's data, its version, the number of its children, and its creation time."""

    data: bytes
    version: int
    children: int
    created_ms: int


def znode_of(answer: ZnodeData) -> Znode:
    """Return the znode of a reply."""
    # Other programs can create znodes without data, which is None.
    stat = answer.stat
    return Znode(answer.data or b"", stat.version, stat.num_children, stat.ctime)


def znodes_of(answers: Sequence[ZnodeData | ZooKeeperError]) -> list[Znode | None]:
    """Return the znodes of the reads of a multiRead, None for each znode that does not exist.

    A znode without READ permission is returned without data, with `FORBIDDEN_VERSION`.
    """
    found: list[Znode | None] = []
    for answer in answers:
        if not isinstance(answer, ZooKeeperError):
            found.append(znode_of(answer))
        elif isinstance(answer, NoNodeError):
            found.append(None)
        else:
            found.append(Znode(b"", FORBIDDEN_VERSION, 0, 0))
    return found


@final
class JobPaths:
    """The paths of the jobs of a queue.

    Args:
        places: the path of each place.
        shards: the number of shards of the queue.
    """

    def __init__(self, places: Mapping[Place, str], shards: int) -> None:
        self._places = dict(places)
        self._shards = shards

    def shard(self, place: Place, shard: int) -> str:
        """Return the path of a shard in a place; in a queue with one shard, the place's path."""
        return self._places[place] if self._shards == 1 else f"{self._places[place]}/{shard:03d}"

    def shard_of(self, dataset: str, groupid: str) -> int:
        """Return the number of the shard that has the jobs of a group."""
        return zlib.crc32(f"{dataset}:{groupid}".encode()) % self._shards

    def job(self, place: Place, name: str) -> str:
        """Return the path of a job in a place.

        Raises:
            JobNotFoundError: the name is not the name of a job.
        """
        if self._shards == 1:
            return f"{self._places[place]}/{name}"
        parsed = job_names.parse(name)
        if parsed is None:
            raise JobNotFoundError(f"{name!r} is not the name of a job")
        shard = self.shard(place, self.shard_of(parsed.dataset, parsed.groupid))
        if place == Place.OWNED:
            return f"{shard}/{name}"
        return f"{shard}/{page_name(parsed.priority, parsed.page)}/{name}"


def page_name(priority: int, number: int) -> str:
    """Return the name of a page, from the priority of its jobs and its number in the shard."""
    return f"{priority:03d}-{number:06d}"


def _may_be_deferred(job: Job) -> bool:
    if job.waits_for == WAITS_FOR_TIME:
        return job.not_before_ms is not None
    if job.waits_for == WAITS_FOR_LIMIT:
        return job.limit is not None
    return job.waits_for == WAITS_FOR_BATCH and job.batch is not None


def read_job(place: Place, name: str, znode: Znode) -> Job:
    """Return the job of a znode, or a stand-in if the znode's value is not a valid job.

    The stand-in is a FAILED job whose error says why (`Job.stand_in`). So every reader sees the
    unreadable value, and a program that would move the job moves the stand-in to done.
    """
    try:
        job = Job.decode(name, znode.data, znode.version)
    except UnreadableJobError as error:
        reason = str(error)
        if znode.version == FORBIDDEN_VERSION:
            reason = f"this client cannot read {name}: give it the READ permission on the znode"
    else:
        if job.state not in STATES_IN[place]:
            reason = f"{name} is in {place}, but its value says that its state is {job.state}"
        elif place == Place.OWNED and job.worker is None:
            reason = f"{name} is in owned, but its value names no worker"
        elif place == Place.DEFERRED and not _may_be_deferred(job):
            reason = f"{name} is in deferred, but its value does not say why the job waits"
        else:
            return job
    at_ms = min(max(0, znode.created_ms), TIME_LIMIT_MS)
    return Job.stand_in(name, znode.data, znode.version, at_ms, reason)


def read_jobs(
    place: Place, names: Sequence[str], found: Sequence[Znode | None]
) -> list[Job | None]:
    """Return the job of each znode (`read_job`), and None for each znode that does not exist."""
    return [
        None if znode is None else read_job(place, name, znode)
        for name, znode in zip(names, found, strict=True)
    ]
