"""The executors of one worker, which all its queues share.

`zoolet.jobs.worker.queue_executors` gives them the jobs of one queue. Invariants:

- An executor is removed under the lock under which jobs are given, and only if it has no job.
- The number of an executor is never used again.
- `Executor.recall` is called without the lock, because an executor may return jobs during the call.

This module sends no requests to a server. It imports `zoolet.jobs.execution` and other modules of
its package.
"""

import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from zoolet.jobs.execution.executors import Executor
from zoolet.jobs.worker.jobs_in_hand import JobsInHand


class ExecutorGroup:
    """The executors of a worker, by number.

    Args:
        most_jobs: the number of jobs that an executor gets before it is replaced; None for no
            limit.
        clock: returns the time in seconds, for tests.

    Attributes:
        executors: the executors by number, in the order of their numbers. The mapping is replaced,
            never changed, so any thread may read it without a lock.
        giving: the lock under which jobs are given to executors.
        retiring: the numbers of the executors that get no jobs any more.
    """

    def __init__(
        self,
        most_jobs: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.executors: Mapping[int, Executor] = {}
        self.retiring: frozenset[int] = frozenset()
        self._hands: tuple[JobsInHand, ...] = ()
        """The jobs in hand of each queue. The tuple is replaced, never changed."""
        self._most_jobs = most_jobs
        self._clock = clock
        self.giving = threading.Lock()
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

    # --- The jobs that they have

    def join(self, hands: JobsInHand) -> None:
        """Count the jobs in hand of a queue, too."""
        with self.giving:
            self._hands = (*self._hands, hands)

    def leave(self, hands: JobsInHand) -> None:
        """Do not count the jobs in hand of a queue any more."""
        with self.giving:
            self._hands = tuple(one for one in self._hands if one is not hands)

    def load(self, number: int) -> int:
        """Return the number of jobs of all queues that an executor has and has not ended."""
        return sum(hands.load(number) for hands in self._hands)

    # --- Changes of the group

    def add(self, executor: Executor) -> None:
        """Add an executor. It gets jobs when it is ready."""
        with self.giving:
            self._add(executor)

    def _add(self, executor: Executor) -> None:
        number = next(self._numbers)
        self._given[number] = 0
        self._used_at[number] = self._clock()
        self.executors = {**self.executors, number: executor}

    def retire(self, number: int) -> None:
        """Give this executor no more jobs; it returns its jobs, except the current attempt."""
        with self.giving:
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
        with self.giving:
            if number not in self.executors or self.load(number):
                return False
            removed = self.executors[number]
            self.executors = {n: one for n, one in self.executors.items() if n != number}
            self.retiring -= {number}
            del self._given[number], self._used_at[number]
            for hands in self._hands:
                hands.forget(number)
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
        with self.giving:
            if number in self._used_at:
                self._used_at[number] = self._clock()

    def note_ready(self, executor: Executor) -> None:
        """Record that an executor can get jobs: its idle time begins now."""
        with self.giving:
            for number, one in self.executors.items():
                if one is executor:
                    self._used_at[number] = self._clock()

    def note_returned(self, number: int) -> None:
        """Record that an executor has returned a job, which it has not attempted."""
        with self.giving:
            if number in self._given:
                self._given[number] -= 1

    # --- For `QueueExecutors`, which has the lock

    def least_loaded(self) -> int | None:
        """Return the executor with the fewest jobs; a retiring one only if all executors retire.

        None: no executor may get more jobs.
        """
        may = [number for number in self.open() or self.executors if self.jobs_left(number)]
        return min(may, key=self.load, default=None)

    def note_given(self, number: int, count: int) -> None:
        """Record that an executor gets jobs."""
        self._given[number] += count
        self._used_at[number] = self._clock()
