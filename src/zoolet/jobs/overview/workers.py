"""The workers of a queue with what they run, for programs that show a part of them at a time.

This module imports `zoolet.jobs.queue` and `zoolet.jobs.records`.
"""

from collections import defaultdict
from typing import Any, NamedTuple

from zoolet.jobs.queue.queue import JobQueue
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.transitions import Place
from zoolet.jobs.records.worker_reports import decode_report

MOST_OWNED = 2000
"""The most owned jobs that are read."""


class WorkerView(NamedTuple):
    """A worker.

    Attributes:
        id: the id of the worker.
        report: what the worker reports about itself; {} if its value is invalid.
        since_ms: when it registered, in ms since the epoch.
        jobs: its jobs that were read, those that run first, in the order in which they were taken.
    """

    id: str
    report: dict[str, Any]
    since_ms: int
    jobs: list[Job]


class WorkerList(NamedTuple):
    """A part of the workers of a queue.

    Attributes:
        total: the number of live workers.
        workers: the workers of this part, in the order of their ids.
        unread: the number of owned jobs that were not read, because there are too many.
        of_dead: jobs whose worker is not alive; they return to the queue soon.
    """

    total: int
    workers: list[WorkerView]
    unread: int
    of_dead: list[Job]


def worker_list(queue: JobQueue, start: int = 0, count: int = 50) -> WorkerList:
    """Return ``count`` workers of a queue from the one with the number ``start`` on."""
    layout = queue.layout
    # The owned jobs are read before the workers, so a worker that is not listed has ended.
    names = [name.name for name in layout.names(Place.OWNED)]
    by_worker: dict[str, list[Job]] = defaultdict(list)
    for job in layout.read(Place.OWNED, names[:MOST_OWNED]):
        by_worker[job.worker or ""].append(job)
    ids = sorted(queue.workers())
    some = ids[start : start + count]
    znodes = layout.znodes.get_all([layout.worker(worker) for worker in some])
    workers = [
        WorkerView(
            worker,
            decode_report(znode.data),
            znode.created_ms,
            sorted(by_worker[worker], key=_order),
        )
        for worker, znode in zip(some, znodes, strict=True)
        if znode is not None
    ]
    alive = set(ids)
    dead = [job for worker, jobs in by_worker.items() if worker not in alive for job in jobs]
    return WorkerList(len(ids), workers, max(0, len(names) - MOST_OWNED), dead)


def _order(job: Job) -> tuple[bool, int]:
    return job.started_ms is None, job.started_ms or job.taken_ms or 0
