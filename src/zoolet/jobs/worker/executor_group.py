"""The executors of one worker: they get its jobs, and abandon jobs that the worker has lost.

Invariants:

- Under one lock, a job is added to the jobs in hand (`JobsInHand`) and given to its executor. So if
  the worker loses a job at the same time, the executor that has the job always abandons it.
- An executor is removed under the same lock, and only if it has no job in hand.
- The number of an executor is never used again.
- `Executor.recall` is called without the lock, because an executor may return jobs during the call.

This module sends no requests to a server. It imports `zoolet.jobs.execution` and
`zoolet.jobs.records`.
"""

import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zoolet.jobs.execution.attempts import Work
from zoolet.jobs.execution.executors import Executor
from zoolet.jobs.records.job import Job
from zoolet.jobs.worker.jobs_in_hand import JobInHand, JobsInHand

ReadInputs = Callable[[JobInHand], None]
"""A function that reads the results that a job in hand receives, and then calls `give_with`."""


class ExecutorGroup:
    """The executors of a worker, by number.

    Args:
        hands: the jobs in hand.
        most_jobs: the number of jobs that an executor gets before it is replaced; None for no
            limit.
        clock: returns the time in seconds, for tests.
        read_inputs: called with a job in hand that receives results of other jobs.

    Attributes:
        executors: the executors by number, in the order of their numbers. The mapping is replaced,
            never changed, so any thread may read it without a lock.
        retiring: the numbers of the executors that get no jobs any more.
    """

    def __init__(
        self,
        hands: JobsInHand,
        most_jobs: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        read_inputs: ReadInputs | None = None,
    ) -> None:
        self.executors: Mapping[int, Executor] = {}
        self.retiring: frozenset[int] = frozenset()
        self._hands = hands
        self._most_jobs = most_jobs
        self._clock = clock
        self._read_inputs = read_inputs
        self._giving = threading.Lock()
        self._numbers = itertools.count()
        self._given: dict[int, int] = {}
        """The number of jobs that each executor was given, without the jobs that it returned."""
        self._used_at: dict[int, float] = {}
        """When each executor was ready, or last got or ended a job."""
        self._ending: list[Executor] = []
        """Removed executors that perhaps have not ended."""

    def start(self, executors: Sequence[Executor]) -> None:
        """Start the first executors, and return when all are ready.

        Raises:
            FunctionNotFoundError: the loader cannot be imported.
            ExecutorError: an executor cannot be started, or ends before it is ready.
        """
        for executor in executors:
            self.add(executor)
            executor.start()
        for executor in executors:
            executor.wait_until_ready()

    def stop(self) -> None:
        """Stop the executors and their jobs; wait for their end, for a limited time."""
        stopped = [*self.executors.values(), *self._ending]
        for executor in stopped:
            executor.stop()
        for executor in stopped:
            executor.join()

    # --- Changes of the group

    def add(self, executor: Executor) -> None:
        """Add an executor. It gets jobs when it is ready."""
        with self._giving:
            self._add(executor)

    def _add(self, executor: Executor) -> None:
        number = next(self._numbers)
        self._given[number] = 0
        self._used_at[number] = self._clock()
        self.executors = {**self.executors, number: executor}

    def retire(self, number: int) -> None:
        """Give this executor no more jobs; it returns its jobs, except the current attempt."""
        with self._giving:
            if number not in self.executors or number in self.retiring:
                return
            self.retiring |= {number}
            executor = self.executors[number]
        executor.recall()

    def remove_idle(self, number: int, successor: Executor | None = None) -> bool:
        """Remove an executor that has no job, and begin to stop it.

        Returns False, without a change, if the executor has a job in hand. ``successor`` takes its
        place.
        """
        with self._giving:
            if number not in self.executors or self._hands.load(number):
                return False
            removed = self.executors[number]
            self.executors = {n: one for n, one in self.executors.items() if n != number}
            self.retiring -= {number}
            del self._given[number], self._used_at[number]
            self._hands.forget(number)
            if successor is not None:
                self._add(successor)
            self._ending = [one for one in self._ending if not one.has_ended()]
            self._ending.append(removed)
        removed.stop()
        return True

    # --- What others decide by

    def open(self) -> dict[int, Executor]:
        """Return the executors that may get jobs."""
        return {n: one for n, one in self.executors.items() if n not in self.retiring}

    @property
    def limits_jobs(self) -> bool:
        """Whether an executor gets a limited number of jobs before it is replaced."""
        return self._most_jobs is not None

    def jobs_left(self, number: int) -> int:
        """Return the number of jobs that an executor may still get; at least 1 without a limit."""
        if self._most_jobs is None:
            return 1
        return max(0, self._most_jobs - self._given.get(number, 0))

    def used_at(self, number: int) -> float:
        """Return when an executor was ready, or last got or ended a job."""
        return self._used_at.get(number, 0.0)

    def note_ended(self, number: int) -> None:
        """Record that an executor has ended an attempt."""
        with self._giving:
            if number in self._used_at:
                self._used_at[number] = self._clock()

    def note_ready(self, executor: Executor) -> None:
        """Record that an executor can get jobs: its idle time begins now."""
        with self._giving:
            for number, one in self.executors.items():
                if one is executor:
                    self._used_at[number] = self._clock()

    def note_returned(self, number: int) -> None:
        """Record that an executor has returned a job, which it has not attempted."""
        with self._giving:
            if number in self._given:
                self._given[number] -= 1

    # --- Jobs

    def give(self, jobs: Mapping[int, Sequence[Job]]) -> list[Job]:
        """Add jobs to the jobs in hand, and give them to executors.

        The keys of ``jobs`` are the executors' numbers. If an executor was removed or is retiring,
        other executors get its jobs. Returns the jobs that no executor gets, because of the limit
        of jobs; they are not in hand.
        """
        left: list[Job] = []
        with self._giving:
            moved: list[Job] = []
            for number, given in jobs.items():
                if number in self.open():
                    self._give(number, given)
                else:
                    moved += given
            for job in moved:
                other = self._least_loaded()
                if other is None:
                    left.append(job)
                else:
                    self._give(other, [job])
        return left

    def _give(self, number: int, given: Sequence[Job]) -> None:
        for job in given:
            self._hands.put(job, number)
        self._given[number] += len(given)
        self._used_at[number] = self._clock()
        works = [_work(job) for job in given if job.receives is None]
        if works:
            self.executors[number].give(works)
        if len(works) < len(given):
            self._let_read([job for job in given if job.receives is not None])

    def _let_read(self, jobs: Sequence[Job]) -> None:
        """Let the results be read that these jobs receive; then `give_with` is called."""
        for job in jobs:
            held = self._hands.get(job.name)
            if held is not None and self._read_inputs is not None:
                self._read_inputs(held)

    def give_with(self, held: JobInHand, parameters: dict[str, Any]) -> None:
        """Give a job to its executor, with these parameters, if it is still in hand."""
        with self._giving:
            if self._hands.get(held.job.name) is held and not held.has_ended:
                work = _work(held.job)._replace(parameters=parameters)
                self.executors[held.executor].give([work])

    def _least_loaded(self) -> int | None:
        """Return the executor with the fewest jobs; a retiring one only if all executors retire.

        None: no executor may get more jobs.
        """
        may = [number for number in self.open() or self.executors if self.jobs_left(number)]
        return min(may, key=self._hands.load, default=None)

    def permit(self, held: JobInHand) -> None:
        """Let the executor start a careful job (`Job.starts_carefully`), if it is still in hand."""
        with self._giving:
            if self._hands.get(held.job.name) is held and not held.has_ended:
                self.executors[held.executor].permit(held.job.name)

    def abandon(self, lost: Sequence[JobInHand]) -> None:
        """Stop working on jobs that this worker does not own any more."""
        with self._giving:
            names = self._hands.drop(lost)
            for executor in self.executors.values():
                executor.abandon(names)

    def recall_behind(self, held: JobInHand) -> None:
        """Ask the executor of a running job to return the jobs that wait until this job ends."""
        if self._hands.loads()[held.executor] > 1:
            executor = self.executors.get(held.executor)
            if executor is not None:
                executor.recall()


def _work(job: Job) -> Work:
    return Work(
        job.name,
        job.task,
        job.dataset,
        job.groupid,
        dict(job.parameters),
        job.timeout_ms,
        job.starts_carefully,
        job.attempts + 1,
        job.soft_timeout_ms,
        None if job.source is None else dict(job.source),
    )
