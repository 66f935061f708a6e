"""The executors of a worker as one of its queues uses them: they get the jobs of this queue.

Invariant: under one lock, a job is added to the jobs in hand (`JobsInHand`) and given to its
executor. So if the worker loses a job at the same time, the executor that has the job always
abandons it. In executors, the names of jobs and of loaded groups begin with the tag of the queue
(`zoolet.jobs.execution.work_names`). Only this module adds and removes the tag of groups.

This module sends no requests to a server. It imports `zoolet.jobs.execution`,
`zoolet.jobs.records` and other modules of its package.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zoolet.jobs.execution.attempts import Work
from zoolet.jobs.execution.executors import Executor
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_names import Group
from zoolet.jobs.worker.executor_group import ExecutorGroup
from zoolet.jobs.worker.jobs_in_hand import JobInHand, JobsInHand

ReadInputs = Callable[[JobInHand], None]
"""A function that reads the results that a job in hand receives, and then calls `give_with`."""


class QueueExecutors:
    """Gives jobs of one queue to executors.

    Args:
        group: the executors of the worker.
        hands: the queue's jobs in hand.
        tag: the tag of the queue.
        read_inputs: called with a job in hand that receives results of other jobs.
        on_dropped: called with the names of jobs that the worker does not own any more.
    """

    def __init__(
        self,
        group: ExecutorGroup,
        hands: JobsInHand,
        tag: str = "",
        *,
        read_inputs: ReadInputs | None = None,
        on_dropped: Callable[[Sequence[str]], None] = lambda _: None,
    ) -> None:
        self._group = group
        self._hands = hands
        self._tag = tag
        self._read_inputs = read_inputs
        self._on_dropped = on_dropped

    # --- What the taker decides by

    def open(self) -> dict[int, Executor]:
        """Return the executors that may get jobs."""
        return self._group.open()

    def held(self) -> dict[int, frozenset[Group]]:
        """Return the loaded groups of this queue, by the numbers of executors that may get jobs."""
        return {number: self._own_groups(one) for number, one in self._group.open().items()}

    def groups_count(self) -> int:
        """Return the number of loaded groups of this queue, in all executors."""
        return sum(len(self._own_groups(one)) for one in self._group.executors.values())

    def _own_groups(self, executor: Executor) -> frozenset[Group]:
        tag = self._tag
        if not tag:
            return executor.held()
        return frozenset(
            (dataset[len(tag) :], groupid)
            for dataset, groupid in executor.held()
            if dataset.startswith(tag)
        )

    @property
    def limits_jobs(self) -> bool:
        """Whether an executor gets a limited number of jobs before it is replaced."""
        return self._group.limits_jobs

    def jobs_left(self, number: int) -> int:
        """Return the number of jobs that an executor may still get; at least 1 without a limit."""
        return self._group.jobs_left(number)

    # --- Jobs

    def give(self, jobs: Mapping[int, Sequence[Job]]) -> list[Job]:
        """Add jobs to the jobs in hand, and give them to executors.

        The keys of ``jobs`` are the executors' numbers. If an executor was removed or is retiring,
        other executors get its jobs. Returns the jobs that no executor gets, because of the limit
        of jobs; they are not in hand.
        """
        left: list[Job] = []
        with self._group.giving:
            moved: list[Job] = []
            may_get = self._group.open()
            for number, given in jobs.items():
                if number in may_get:
                    self._give(number, given)
                else:
                    moved += given
            for job in moved:
                other = self._group.least_loaded()
                if other is None:
                    left.append(job)
                else:
                    self._give(other, [job])
        return left

    def _give(self, number: int, given: Sequence[Job]) -> None:
        for job in given:
            self._hands.put(job, number)
        self._group.note_given(number, len(given))
        works = [self._work(job) for job in given if job.receives is None]
        if works:
            self._group.executors[number].give(works)
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
        with self._group.giving:
            if self._hands.get(held.job.name) is held and not held.has_ended:
                work = self._work(held.job)._replace(parameters=parameters)
                self._group.executors[held.executor].give([work])

    def permit(self, held: JobInHand) -> None:
        """Let the executor start a careful job (`Job.starts_carefully`), if it is still in hand."""
        with self._group.giving:
            if self._hands.get(held.job.name) is held and not held.has_ended:
                self._group.executors[held.executor].permit(self._tag + held.job.name)

    def abandon(self, lost: Sequence[JobInHand]) -> None:
        """Stop working on jobs that this worker does not own any more."""
        with self._group.giving:
            names = self._hands.drop(lost)
            tagged = [self._tag + name for name in names]
            for executor in self._group.executors.values():
                executor.abandon(tagged)
        self._on_dropped(names)

    def recall_behind(self, held: JobInHand) -> None:
        """Ask the executor of a running job to return the jobs that wait until this job ends."""
        if self._group.load(held.executor) > 1:
            executor = self._group.executors.get(held.executor)
            if executor is not None:
                executor.recall()

    def _work(self, job: Job) -> Work:
        return Work(
            self._tag + job.name,
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
