"""An overview of a queue for operators: numbers of jobs, workers, and the reason why a job waits.

This module only reads, and reads little: jobs are counted by their names, or by the child counts of
pages if the queue has pages. Of the jobs, only candidates for the oldest waiting job are read. This
module imports `zoolet.jobs.queue` and `zoolet.jobs.records`.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from zoolet.jobs.errors import InvalidJobError, UnreadableJobError
from zoolet.jobs.queue.queue import JobQueue
from zoolet.jobs.records.allow_lists import AllowLists
from zoolet.jobs.records.control import Control
from zoolet.jobs.records.dependencies import Dependencies
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_names import JobName
from zoolet.jobs.records.job_values import WAITS_FOR_LIMIT
from zoolet.jobs.records.transitions import JobState, Place
from zoolet.jobs.znodes.batch_log import chain_path
from zoolet.jobs.znodes.layout import parse_names

SHARDS_AT_ONCE = 32
UNKNOWN_PRIORITY = -1
"""The priority under which jobs are counted if their names were not read."""


@dataclass(frozen=True, slots=True)
class Overview:
    """The approximate state of a queue at one moment.

    Attributes:
        counts: the number of jobs in each place, by priority; by the priority -1 if the names of
            the jobs were not read (`queue_overview`).
        workers: the report of each registered worker about itself, by the worker's id.
        control: the pauses of the queue and its datasets.
        oldest: the waiting job that was submitted first; None if no job waits.
        why: the reason why the job ``oldest`` waits; "" if no job waits.
    """

    counts: dict[Place, Counter[int]]
    workers: dict[str, dict[str, Any]]
    control: Control
    oldest: Job | None
    why: str

    def total(self, place: Place) -> int:
        """Return the number of jobs in a place."""
        return self.counts[place].total()

    def tally(self, name: str) -> float:
        """Return the sum of a figure in the reports of all workers."""
        return float(sum(report.get(name, 0) for report in self.workers.values()))


def queue_overview(queue: JobQueue, *, most_names: int | None = None) -> Overview:
    """Return an overview of a queue.

    In a queue with one shard, ``most_names`` is the most jobs of a place whose names are read. If a
    place has more jobs, their priorities are not known, and nor is the oldest job.
    """
    layout = queue.layout
    if layout.is_flat:
        names = {place: _names(queue, place, most_names) for place in Place}
        counts = {
            place: Counter({UNKNOWN_PRIORITY: found})
            if isinstance(found, int)
            else Counter(name.priority for name in found)
            for place, found in names.items()
        }
        first = names[Place.UNOWNED] or names[Place.DEFERRED]
        waiting = [] if isinstance(first, int) else first
    else:
        counts = {
            place: _count_pages(queue, place)
            for place in (Place.DEFERRED, Place.UNOWNED, Place.DONE)
        }
        counts[Place.OWNED] = Counter(name.priority for name in layout.names(Place.OWNED))
        waiting = _first_names(queue, Place.UNOWNED) or _first_names(queue, Place.DEFERRED)
    workers, control = queue.worker_reports(), queue.control()
    oldest = _oldest(queue, waiting)
    reason = "" if oldest is None else why(queue, oldest, counts, workers, control)
    return Overview(counts, workers, control, oldest, reason)


def _names(queue: JobQueue, place: Place, most: int | None) -> list[JobName] | int:
    """Return the names of the jobs in a place; their number if there are more than ``most``."""
    count = queue.layout.count(place)
    return count if most is not None and count > most else queue.layout.names(place)


def explain_job(queue: JobQueue, job: Job, now: Overview | None = None) -> str:
    """Return a sentence that explains the state of a job; ``now`` is an overview of the queue."""
    if job.state is JobState.PENDING:
        found = now or queue_overview(queue)
        return why(queue, job, found.counts, found.workers, found.control)
    if job.state is JobState.STAGING:
        return f"worker {job.worker} has it, and loads its data or first finishes another job"
    if job.state is JobState.RUNNING:
        return f"worker {job.worker} runs its task"
    if job.state is JobState.FAILED:
        return f"it has failed: {job.last_error}"
    return "it has succeeded"


def why(
    queue: JobQueue,
    job: Job,
    counts: dict[Place, Counter[int]],
    workers: dict[str, dict[str, Any]],
    control: Control,
) -> str:
    """Return the first reason why a job waits; each reason alone is sufficient."""
    if control.paused:
        return "the queue is paused; to end the pause: zoolet jobs resume"
    if not control.allows(job.dataset):
        end = f"zoolet jobs resume --dataset {job.dataset}"
        return f"the dataset {job.dataset} is paused; to end the pause: {end}"
    waits_for = _reason_to_wait(queue, job, queue.clock_ms())
    if waits_for is not None:
        return waits_for
    if not workers:
        return "the queue has no worker: start zoolet worker"
    if job.tags and not any(_has_tags(report, job) for report in workers.values()):
        options = " ".join(f"--tag {tag}" for tag in job.tags)
        return (
            f"no worker has the tags that it requires ({', '.join(job.tags)}): start zoolet worker"
            f" {options}"
        )
    refusal = _refusal(job, list(workers.values()))
    if refusal is not None:
        return refusal
    return _reason_of_turn(queue, job, counts, workers)


def _reason_of_turn(
    queue: JobQueue,
    job: Job,
    counts: dict[Place, Counter[int]],
    workers: dict[str, dict[str, Any]],
) -> str:
    """Return why no worker has taken a job yet that it can run."""
    before = sum(
        count for priority, count in counts[Place.UNOWNED].items() if priority > job.priority
    )
    executors = sum(int(report.get("executors", 1)) for report in workers.values())
    unknown = counts[Place.UNOWNED][UNKNOWN_PRIORITY]
    if unknown:
        return (
            f"{unknown} jobs can start, on {executors} executors; jobs of greater priority and"
            " older jobs go first"
        )
    owned = counts[Place.OWNED].total()
    if before:
        share = queue.settings.oldest_share_percent
        old = f"; of 100 jobs that a worker takes, {share} are the oldest ones" if share else ""
        return f"{before} jobs of greater priority go first, on {executors} executors{old}"
    if owned >= executors:
        return f"all {executors} executors are busy, with {owned} jobs"
    if job.timeout_ms is not None and all(r.get("kind") == "threads" for r in workers.values()):
        return "it has a timeout, which needs a worker without --threads"
    return "a worker takes it soon; a worker may first wait a moment for jobs whose data it holds"


def _has_tags(report: dict[str, Any], job: Job) -> bool:
    found = report.get("tags", [])
    return isinstance(found, list) and all(tag in found for tag in job.tags)


def _refusal(job: Job, reports: list[dict[str, Any]]) -> str | None:
    """Return why no worker runs a job with these functions; None if a worker does."""
    refusals = []
    for report in reports:
        try:
            allowed = AllowLists(report.get("tasks"), report.get("loaders"))
        except InvalidJobError:  # another program may have written the report
            return None
        refusals.append(allowed.refusal(job.task, job.parameters, job.source))
    if not refusals or not all(refusals):
        return None
    return f"no worker allows it: {refusals[0]}"


def _reason_to_wait(queue: JobQueue, job: Job, now_ms: int) -> str | None:
    """Return the reason why a job must not start yet; None if it may start."""
    if job.chained and job.batch is not None:
        found = queue.layout.znodes.get(chain_path(queue.layout, job.batch))
        if found is not None:
            return _chain_reason(job.batch, found.data)
    if job.not_before_ms is not None and job.not_before_ms > now_ms:
        left_s = (job.not_before_ms - now_ms) / 1000
        if job.import_tries:
            return f"no worker could import its task ({job.last_error}): next try in {left_s:.0f} s"
        what = "the back-off after a failed attempt ends" if job.attempts else "its start time is"
        return f"{what} in {left_s:.0f} s"
    if job.waits_for == WAITS_FOR_LIMIT:
        return _reason_of_limit(queue, job)
    if job.waits_for is not None:
        return "it may start: the worker that does the housekeeping moves it to unowned soon"
    return None


def _reason_of_limit(queue: JobQueue, job: Job) -> str:
    for limit, running, waiting in queue.limits.all():
        if limit.name == job.limit and limit.concurrent == 0:
            return f"it is paused; to end the pause: zoolet jobs limit remove {limit.name!r}"
        if limit.name == job.limit:
            use = f", {running} run now" if limit.concurrent is not None else ""
            return f"it waits for the limit {limit.name} ({limit.text}){use}; {waiting} jobs wait"
    return f"the limit {job.limit} was removed: the worker that does the housekeeping moves it soon"


def _chain_reason(batch: str, data: bytes) -> str:
    try:
        dependencies = Dependencies.decode(batch, data)
    except UnreadableJobError as error:
        return str(error)
    if dependencies.is_simple:
        return f"its batch {batch} waits until {dependencies.after[0]} is done"
    return f"its batch {batch} waits for the condition {dependencies}"


def _count_pages(queue: JobQueue, place: Place) -> Counter[int]:
    layout = queue.layout
    pages = layout.all_pages(place)
    found = layout.znodes.get_all([layout.page(place, *page) for page in pages])
    counts: Counter[int] = Counter()
    for (_, page), znode in zip(pages, found, strict=True):
        if znode is not None and znode.children:
            counts[int(page.partition("-")[0])] += znode.children
    return counts


def _first_names(queue: JobQueue, place: Place) -> list[JobName]:
    """Return, for each priority in each shard, the first name on the oldest page with jobs."""
    layout = queue.layout
    pages = layout.all_pages(place)
    found = layout.znodes.get_all([layout.page(place, *page) for page in pages])
    first: dict[tuple[int, str], str] = {}
    for (shard, page), znode in zip(pages, found, strict=True):
        if znode is not None and znode.children:
            first.setdefault((shard, page.partition("-")[0]), layout.page(place, shard, page))
    names: list[JobName] = []
    paths = list(first.values())
    for start in range(0, len(paths), SHARDS_AT_ONCE):
        for children in layout.znodes.children_of_all(paths[start : start + SHARDS_AT_ONCE]):
            names += sorted(parse_names(children), key=lambda name: name.sequence)[:1]
    return names


def _oldest(queue: JobQueue, waiting: list[JobName]) -> Job | None:
    if queue.layout.is_flat:
        waiting = sorted(waiting, key=lambda name: name.sequence)[:1]
    names = [name.name for name in waiting]
    jobs = queue.layout.read(Place.UNOWNED, names) or queue.layout.read(Place.DEFERRED, names)
    return min(jobs, key=lambda job: job.submitted_ms, default=None)
