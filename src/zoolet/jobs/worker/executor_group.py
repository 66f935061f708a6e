"""The executors of one worker: they get its jobs, and lose those that are not its jobs any more.

What holds: a job is put in hand and given to its executor in one step, so a job that is lost
meanwhile is abandoned by the executor that has it. Talks to no server. Imports the job system's
execution and records.
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
        executors: empty until `start`.
    """

    def __init__(self, hands: JobsInHand) -> None:
        self.executors: Sequence[Executor] = ()
        self._hands = hands
        self._giving = threading.Lock()

    def start(self, executors: Sequence[Executor]) -> None:
        """Start these executors, and return when all are ready.

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
        """End them, and what they have in hand; wait for that, for a limited time."""
        for executor in self.executors:
            executor.stop()
        for executor in self.executors:
            executor.join()

    def give(self, jobs: Mapping[int, Sequence[Job]]) -> None:
        """Put jobs in hand, and give them to the executors of these numbers."""
        with self._giving:
            for number, given in jobs.items():
                for job in given:
                    self._hands.put(job, number)
                self.executors[number].give([_work(job) for job in given])

    def permit(self, held: JobInHand) -> None:
        """Let a careful job start, if it is still in hand."""
        with self._giving:
            if self._hands.get(held.job.name) is held:
                self.executors[held.executor].permit(held.job.name)

    def abandon(self, lost: Sequence[JobInHand]) -> None:
        """Stop working on jobs that are not this worker's any more."""
        with self._giving:
            names = self._hands.drop(lost)
            for executor in self.executors:
                executor.abandon(names)

    def recall_behind(self, held: JobInHand) -> None:
        """Let the executor of a job return the jobs that wait behind it."""
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
    )
