"""Passes the messages of executors on to the queue whose job they are about.

Only a worker with several queues needs this module. The methods are called in the executors'
threads. Invariant: a message about a job of a queue that the worker does not serve now changes
nothing in a queue. This module imports `zoolet.jobs.execution` and other modules of its package.
"""

from collections.abc import Callable, Sequence

from zoolet.jobs.execution.attempts import Outcome
from zoolet.jobs.execution.work_names import job_name_of, tag_of
from zoolet.jobs.records.progress import Progress
from zoolet.jobs.worker.listener import ExecutorListener
from zoolet.jobs.worker.queue_shares import QueueShare, QueueShares


class ExecutorNews:
    """Implements `zoolet.jobs.execution.executors.Observer` for a worker with several queues.

    Args:
        shares: the shares of the queues; they learn when attempts begin and end.
        on_freed: called when an executor has room for jobs of any queue.
        on_failure: called with the error that ended an executor.
    """

    def __init__(
        self,
        shares: QueueShares,
        *,
        on_freed: Callable[[], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._shares = shares
        self._on_freed = on_freed
        self._on_failure = on_failure
        self._listeners: dict[str, tuple[ExecutorListener, QueueShare]] = {}
        """The listener of each queue, by its tag. The dict is replaced, never changed."""

    def join(self, tag: str, listener: ExecutorListener, share: QueueShare) -> None:
        """Pass the messages about jobs with this tag on to a listener."""
        self._listeners = self._listeners | {tag: (listener, share)}

    def leave(self, tag: str) -> None:
        """Drop the messages about jobs with this tag."""
        self._listeners = {one: found for one, found in self._listeners.items() if one != tag}

    def begun(self, name: str) -> None:
        """Record that the executor loads the data of a job."""
        if (found := self._listeners.get(tag_of(name))) is not None:
            found[1].began(name)
            found[0].begun(job_name_of(name))

    def asks(self, name: str) -> None:
        """Ask for the permit of a careful job."""
        if (found := self._listeners.get(tag_of(name))) is not None:
            found[0].asks(job_name_of(name))

    def started(self, name: str, cache_hit: bool | None) -> None:
        """Record that the task of a job was called."""
        if (found := self._listeners.get(tag_of(name))) is not None:
            found[1].began(name)
            found[0].started(job_name_of(name), cache_hit)

    def progressed(self, name: str, progress: Progress) -> None:
        """Record the progress of a job."""
        if (found := self._listeners.get(tag_of(name))) is not None:
            found[0].progressed(job_name_of(name), progress)

    def ended(self, name: str, outcome: Outcome, took_s: float) -> None:
        """Record how an attempt ended, and let the queue that is first now take jobs."""
        if (found := self._listeners.get(tag_of(name))) is None:
            self._on_freed()
            return
        found[1].ended(name)
        found[0].ended(job_name_of(name), outcome, took_s)
        self._shares.wake_first()

    def returned(self, names: Sequence[str]) -> None:
        """Give jobs back to their queues."""
        for tag, (listener, share) in self._listeners.items():
            own = [name for name in names if tag_of(name) == tag]
            for name in own:
                share.ended(name)
            if own:
                listener.returned([job_name_of(name) for name in own])
        self._shares.wake_first()

    def freed(self) -> None:
        """Let all queues look for jobs: an executor has room for jobs again."""
        self._on_freed()

    def failed(self, failure: Exception) -> None:
        """End the worker: it cannot continue without the executor that failed."""
        self._on_failure(failure)
