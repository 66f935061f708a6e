"""Removes finished jobs with their keys and stored results, batches without jobs, and empty pages.

Invariants: only jobs in "done" are removed, and only if their znodes have the versions that were
read; a job that is retried at the same time therefore stays. A key is removed only with the job
that it refers to. If the queue has a history, a job is removed only after the database has stored
its attempts and times. This module imports `zoolet.jobs.errors`, `zoolet.jobs.queue`,
`zoolet.jobs.records` and `zoolet.jobs.results`.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from zoolet.jobs.errors import ResultStoreError, UnknownBatchError, UnreadableJobError
from zoolet.jobs.history.job_history import JobHistory
from zoolet.jobs.queue.queue import JobQueue
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.settings import QueueSettings
from zoolet.jobs.records.transitions import JobState, Place
from zoolet.jobs.results.reader import ResultReader
from zoolet.jobs.submit.keys import submission_of_key
from zoolet.jobs.znodes.batch_log import batch_path, chain_path, read_chunks, read_record
from zoolet.jobs.znodes.failure_log import NOTES_MOST, remove_oldest_notes
from zoolet.jobs.znodes.job_znodes import Znode
from zoolet.jobs.znodes.layout import BATCHES, page_order
from zoolet.jobs.znodes.multis import JOBS_AT_ONCE
from zoolet.jobs.znodes.operations import Delete, Operation, RefusedError

log = logging.getLogger(__name__)

EVERY_S = 10.0
"""The time, in seconds, between two removals of jobs."""
PROBLEM_SHARE = 10
"""The pause after a removal that the history stopped, as a multiple of the removal's time."""
PAGE_EMPTY_MS = 60_000
"""The minimum age, in ms, of a page that is removed: a submitter may be about to use a new page."""


class _End(NamedTuple):
    """The end of a job: its time, in ms since the epoch, and whether the job is FAILED."""

    at_ms: int
    is_failed: bool


class Removed(NamedTuple):
    """The numbers of removed jobs and batches."""

    jobs: int
    batches: int


class Remover:
    """Removes finished jobs of a queue, on demand and according to the queue's settings."""

    def __init__(
        self,
        jobs: JobQueue,
        results: ResultReader,
        clock_s: Callable[[], float] = time.monotonic,
        on_history_problem: Callable[[str | None], None] = lambda _: None,
    ) -> None:
        self._history = JobHistory(jobs, results)
        self._on_history_problem = on_history_problem
        self._problem: str | None = None
        self._jobs = jobs
        self._layout = jobs.layout
        self._znodes = jobs.layout.znodes
        self._results = results
        self._clock_s = clock_s
        self._due_s = 0.0
        self._finished: dict[str, _End] = {}
        """The ends of the jobs in "done" that were read."""

    def remove_if_due(self) -> None:
        """Remove jobs according to the queue's settings, if `EVERY_S` have passed."""
        began_s = self._clock_s()
        if began_s < self._due_s:
            return
        self._due_s = began_s + EVERY_S
        try:
            settings = self._layout.read_settings()
        except UnreadableJobError as error:
            log.warning("finished jobs are not removed: %s", error)
            settings = QueueSettings()
        limits = (settings.keep_done_ms, settings.keep_done_jobs, settings.keep_failed_ms)
        if limits != (None, None, None):
            try:
                self.apply(*limits)
                self._tell(None)
            except ResultStoreError as error:
                self._tell(str(error))
                # A database that does not reply must not stop the other duties of this thread.
                ended_s = self._clock_s()
                self._due_s = ended_s + max(EVERY_S, PROBLEM_SHARE * (ended_s - began_s))
        self.remove_empty_pages()
        self._remove_notes()

    def _remove_notes(self) -> None:
        """Limit the number of notes of failures: there may be no worker that calls hooks."""
        if removed := remove_oldest_notes(self._layout):
            log.warning(
                "%d notes of failures are removed, so no hook is called for their jobs: more than"
                " %d waited for a worker with such hooks. List the jobs with zoolet jobs list"
                " --state FAILED",
                removed,
                NOTES_MOST,
            )

    def _tell(self, problem: str | None) -> None:
        """Log and report a change of the reason why jobs are not recorded in the history."""
        if problem == self._problem:
            return
        self._problem = problem
        if problem is None:
            log.info("finished jobs are removed again")
        else:
            log.warning("finished jobs are not removed, because of the history: %s", problem)
        self._on_history_problem(problem)

    def apply(
        self, keep_ms: int | None, keep_jobs: int | None, keep_failed_ms: int | None = None
    ) -> Removed:
        """Remove jobs that ended more than ``keep_ms`` ago, and all but the newest ``keep_jobs``.

        None means no limit. If ``keep_failed_ms`` is set, it is the only limit for FAILED jobs.
        Batches without any job in the queue are removed, too.

        Raises:
            ResultStoreError: the jobs could not be recorded in the history; the jobs that were not
                recorded are not removed.
        """
        keeps_history = self._keeps_history()
        self._read_ends()
        has_own_limit = keep_failed_ms is not None
        alike = [n for n, end in self._finished.items() if not (has_own_limit and end.is_failed)]
        chosen = self._over(alike, keep_ms, keep_jobs)
        if has_own_limit:
            failed = [name for name, end in self._finished.items() if end.is_failed]
            chosen += self._over(failed, keep_failed_ms, None)
        removed = 0
        for start in range(0, len(chosen), JOBS_AT_ONCE):
            some = chosen[start : start + JOBS_AT_ONCE]
            # A job that was retried and has ended again since its end was read stays.
            jobs = [
                job
                for job in self._layout.read(Place.DONE, some)
                if self._finished[job.name] == _end(job)
            ]
            removed += self.remove(jobs, keeps_history=keeps_history)
            for name in some:
                self._finished.pop(name, None)
        if removed:
            log.info("removed %d finished jobs", removed)
        return Removed(removed, self.remove_batches())

    def _over(self, names: list[str], keep_ms: int | None, keep_jobs: int | None) -> list[str]:
        """Return the oldest of these jobs, which are over one of the limits."""
        oldest = sorted(names, key=self._finished.__getitem__)
        over = 0 if keep_jobs is None else max(0, len(oldest) - keep_jobs)
        if keep_ms is not None:
            before_ms = self._jobs.clock_ms() - keep_ms
            over = max(over, sum(self._finished[name].at_ms < before_ms for name in names))
        return oldest[:over]

    def _read_ends(self) -> None:
        """Read the ends of the jobs in "done"; each job is read only one time."""
        known, self._finished = self._finished, {}
        for page in self._layout.iterate_names(Place.DONE):
            names = [name.name for name in page]
            self._finished |= {name: known[name] for name in names if name in known}
            for job in self._layout.read(Place.DONE, [name for name in names if name not in known]):
                self._finished[job.name] = _end(job)

    def _keeps_history(self) -> bool:
        try:
            return self._layout.read_settings().keeps_history
        except UnreadableJobError:
            return QueueSettings().keeps_history

    def remove(self, ended: Sequence[Job], *, keeps_history: bool) -> int:
        """Remove jobs from "done", with their keys and stored results; return their number.

        With ``keeps_history``, the jobs are first recorded in the history. If a job is retried
        between the two steps, the record of its next removal replaces this one.
        """
        removed: list[Job] = []
        for start in range(0, len(ended), JOBS_AT_ONCE):
            some = list(ended[start : start + JOBS_AT_ONCE])
            if keeps_history:
                self._history.record(some)
            removed += self._remove_some(some)
        stored = [job.stored for job in removed if job.stored is not None]
        if stored:
            try:
                self._results.delete(stored)
            except ResultStoreError as error:
                log.warning("%d stored results could not be deleted: %s", len(stored), error)
        return len(removed)

    def _remove_some(self, jobs: list[Job]) -> list[Job]:
        keys = self._znodes.get_all([self._layout.key(job.key) for job in jobs])
        operations: list[Operation] = []
        for job, key in zip(jobs, keys, strict=True):
            operations += self._deletes(job, key)
        first = self._layout.done(jobs[0].name)
        try:
            self._znodes.multi(operations, landed=lambda: not self._znodes.exists(first))
        except RefusedError:
            # Another client has retried or removed one of the jobs.
            return [] if len(jobs) == 1 else [j for job in jobs for j in self._remove_some([job])]
        return jobs

    def _deletes(self, job: Job, key: Znode | None) -> Iterator[Operation]:
        yield Delete(self._layout.done(job.name), job.version)
        if key is not None and submission_of_key(key) == job.submission:
            yield Delete(self._layout.key(job.key), key.version)

    def remove_batches(self) -> int:
        """Remove batches without any job in the queue, and return their number.

        The oldest batch is checked first. The check ends at the first batch that still has jobs.
        """
        records = []
        for name in self._znodes.children(self._znodes.path(BATCHES)):
            try:
                records.append(read_record(self._layout, name))
            except (UnknownBatchError, UnreadableJobError):
                continue
        removed = 0
        for record in sorted(records, key=lambda record: record.submitted_ms):
            try:
                chunks = read_chunks(self._layout, record)
            except UnreadableJobError as error:
                log.warning("a batch is not removed: %s", error)
                continue
            if any(not chunk or self._is_any_there(chunk) for chunk in chunks):
                break
            self._znodes.delete_tree(chain_path(self._layout, record.name))
            self._znodes.delete_tree(batch_path(self._layout, record.name))
            removed += 1
        return removed

    def _is_any_there(self, chunk: Sequence[tuple[str, str]]) -> bool:
        wanted = [self._layout.job(place, name) for name, _ in chunk for place in Place]
        return any(znode is not None for znode in self._znodes.get_all(wanted))

    def remove_empty_pages(self) -> int:
        """Remove empty pages that are followed by a newer page; return their number."""
        if self._layout.is_flat:
            return 0
        removed = 0
        for place in (Place.DEFERRED, Place.UNOWNED, Place.DONE):
            for shard in self._layout.shards:
                pages = self._layout.pages(place, shard)
                newest = {page_order(page)[0]: page for page in pages}
                older = [page for page in pages if page not in newest.values()]
                paths = [self._layout.page(place, shard, page) for page in older]
                before_ms = self._jobs.clock_ms() - PAGE_EMPTY_MS
                for path, znode in zip(paths, self._znodes.get_all(paths), strict=True):
                    if znode and not znode.children and znode.created_ms < before_ms:
                        # If a job was added in the meantime, the server does not delete the page.
                        # A job that returns to the page later creates the page again.
                        removed += self._znodes.delete(path)
        return removed


def _end(job: Job) -> _End:
    return _End(job.finished_ms or 0, job.state is JobState.FAILED)
