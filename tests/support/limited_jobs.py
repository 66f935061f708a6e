"""Steps of tests of limits: submit, release and take jobs, and check slots and entries."""

from typing import Any

from tests.support.waiting import wait_until
from zoolet.jobs import Job, JobQueue, JobRequest
from zoolet.jobs.housekeeping.limit_releases import LimitReleaser
from zoolet.jobs.records.transitions import Place
from zoolet.jobs.znodes.deferred_index import entry_path

START_MS = 1_800_000_000_000


class Clock:
    """A clock that a test sets, in ms."""

    def __init__(self) -> None:
        self.now_ms = START_MS

    def __call__(self) -> int:
        return self.now_ms


def submit(queue: JobQueue, count: int = 1, key: str | None = None, **changes: Any) -> list[str]:
    requests = [
        JobRequest("m:f", "d", str(n), {"n": n}, limit_key=key, **changes) for n in range(count)
    ]
    return [submission.name for submission in queue.submit(requests, reuse=False)]


def releaser(queue: JobQueue) -> LimitReleaser:
    found = LimitReleaser(queue, lambda: None)
    found.begin()
    return found


def release(found: LimitReleaser) -> float | None:
    """Release all that may start now; return in how many seconds there is more."""
    while (left_s := found.release()) == 0.0:
        pass
    return left_s


def take_all(queue: JobQueue) -> list[Job]:
    """Take all jobs in unowned that may start; the others go to deferred."""
    return queue.own_jobs([name.name for name in queue.layout.names(Place.UNOWNED)], "w").owned


def take_when_released(queue: JobQueue, found: LimitReleaser, count: int) -> list[Job]:
    """Release and take jobs until ``count`` jobs are taken: watches are called a moment later."""
    jobs: list[Job] = []

    def look() -> bool:
        release(found)
        jobs.extend(take_all(queue))
        return len(jobs) >= count

    wait_until(look, f"{count} jobs that may start")
    assert len(jobs) == count
    return jobs


def assert_consistent(queue: JobQueue) -> None:
    """Fail unless slots belong to owned jobs, and each job in deferred has one entry."""
    znodes = queue.layout.znodes
    limits = znodes.path("limits")
    names = znodes.children(limits)
    slots = [f"{n}/slots/{s}" for n in names for s in znodes.children(f"{limits}/{n}/slots")]
    assert sorted(slots) == sorted(slot for job in queue.owned() for slot in job.slots)
    entries = [
        f"{limits}/{name}/waiting/{key}/{job}"
        for name in names
        for key in znodes.children(f"{limits}/{name}/waiting")
        for job in znodes.children(f"{limits}/{name}/waiting/{key}")
    ]
    deferred = queue.layout.read(
        Place.DEFERRED, [n.name for n in queue.layout.names(Place.DEFERRED)]
    )
    assert sorted(entries) == sorted(str(entry_path(queue.layout, job)) for job in deferred)
