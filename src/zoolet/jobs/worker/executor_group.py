"""The executors of one worker: they get its jobs, and abandon jobs that the worker has lost.

Invariant: under one lock, a job is added to the jobs in hand (`JobsInHand`) and given to its
executor. So if the worker loses a job at the same time, the executor that has the job always
abandons it.

This module sends no requests to a server. It imports `zoolet.jobs.execution` and
`zoolet.jobs.records`.
"""

import threading
from collections.abc import Mapping, Sequence

from zoolet.jobs.execution.attempts import Work
from zoolet.jobs.execution.executors import Executor
from zoolet.jobs.records.job import Job
from zoolet.jobs.worker.jobs_in_hand import JobInHand, JobsInHand


class ExecutorGroup:
    """The executors of a worker, by number.

    Attributes:
        executors: the executors; the index of an executor is its number. Empty until `start`.
    """

    def __init__(self, hands: JobsInHand) -> None:
        self.executors: Sequence[Executor] = ()
        self._hands = hands
        self._giving = threading.Lock()

    def start(self, executors: Sequence[Executor]) -> None:
        """Start the executors, and return when all are ready.

        Raises:
            FunctionNotFoundError: the loader cannot be imported.
            ExecutorError: an executor cannot be started, or ends before it is ready.
        """
        self.executors = executors
        for executor in executors:
            executor.start()
        for executor in executors:
            executor.wait_until_ready()

    def stop(self) -> None:
        """Stop the executors and their jobs; wait for their end, for a limited time."""
        for executor in self.executors:
            executor.stop()
        for executor in self.executors:
            executor.join()

    def give(self, jobs: Mapping[int, Sequence[Job]]) -> None:
        """Add jobs to the jobs in hand, and give them to executors.

        The keys of ``jobs`` are the executors' numbers.
        """
        with self._giving:
            for number, given in jobs.items():
                for job in given:
                    self._hands.put(job, number)
                self.executors[number].give([_work(job) for job in given])

    def permit(self, held: JobInHand) -> None:
        """Let the executor start a careful job (`Job.starts_carefully`), if it is still in hand."""
        with self._giving:
            if self._hands.get(held.job.name) is held:
                self.executors[held.executor].permit(held.job.name)

    def abandon(self, lost: Sequence[JobInHand]) -> None:
        """Stop working on jobs that this worker does not own any more."""
        with self._giving:
            names = self._hands.drop(lost)
            for executor in self.executors:
                executor.abandon(names)

    def recall_behind(self, held: JobInHand) -> None:
        """Ask the executor of a running job to return the jobs that wait until this job ends."""
        if self._hands.loads()[held.executor] > 1:
            self.executors[held.executor].recall()


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
    )
