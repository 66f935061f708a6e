"""Passes the messages of a worker's executors on to the parts of the worker that need them.

The methods are called in the executors' threads. This module imports `zoolet.jobs.execution` and
other modules of its package.
"""

import threading
from collections.abc import Callable, Sequence

from zoolet.jobs.execution.attempts import Outcome
from zoolet.jobs.records.progress import Progress
from zoolet.jobs.worker.executor_control import ExecutorControl
from zoolet.jobs.worker.jobs_in_hand import JobsInHand
from zoolet.jobs.worker.recorder import AttemptRecorder
from zoolet.jobs.worker.taker import JobTaker


class ExecutorListener:
    """Implements `zoolet.jobs.execution.executors.Observer` for a worker.

    Args:
        hands: the jobs in hand. If a message is about a job that is not in hand any more, the
            worker has lost the job: the message then changes nothing in the queue.
        recorder: records the outcomes of jobs.
        control: is told which executors have ended or returned jobs.
        taker: gets the duration of each attempt, and whether its data was in the cache.
        wake: an event, set when there may be a job to take.
        on_step: called with the name of a step and the names of the jobs that have reached it.
        on_failure: called with the error that ended an executor.
    """

    def __init__(
        self,
        hands: JobsInHand,
        recorder: AttemptRecorder,
        taker: JobTaker,
        control: ExecutorControl,
        *,
        wake: threading.Event,
        on_step: Callable[[str, Sequence[str]], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._hands = hands
        self._recorder = recorder
        self._taker = taker
        self._control = control
        self._wake = wake
        self._on_step = on_step
        self._on_failure = on_failure

    def begun(self, name: str) -> None:
        """Report the step "begun": the executor loads the job's data."""
        self._on_step("begun", [name])

    def asks(self, name: str) -> None:
        """Record a careful job as RUNNING before its task is called (`Job.starts_carefully`)."""
        held = self._hands.get(name)
        if held is not None:
            self._recorder.asked(held)

    def started(self, name: str, cache_hit: bool | None) -> None:
        """Record that a job's task was called."""
        held = self._hands.get(name)
        if held is not None:
            self._recorder.started(held, cache_hit=cache_hit)
            if cache_hit is not None:
                self._taker.note_cache(hit=cache_hit)
        self._on_step("started", [name])

    def progressed(self, name: str, progress: Progress) -> None:
        """Record the progress that a job's task has reported."""
        held = self._hands.get(name)
        if held is not None:
            self._recorder.progressed(held, progress)

    def ended(self, name: str, outcome: Outcome, took_s: float) -> None:
        """Record how an attempt ended."""
        self._taker.note_duration(took_s)
        held = self._hands.get(name)
        if held is None:
            self._control.freed()
            self._wake.set()
            return
        self._recorder.ended(held, outcome, took_s)
        self._control.ended(held.executor)
        # Most ends of short jobs leave no room for further jobs.
        if self._taker.has_room(held.executor) and not self._wake.is_set():
            self._wake.set()

    def returned(self, names: Sequence[str]) -> None:
        """Give jobs back to the queue, because the executor does not attempt them."""
        for name in names:
            held = self._hands.get(name)
            if held is not None:
                self._recorder.given_back(held)
                self._control.returned(held.executor)
        self._wake.set()

    def freed(self) -> None:
        """Wake the taker: an executor has room for jobs again."""
        self._control.freed()
        self._wake.set()

    def failed(self, failure: Exception) -> None:
        """End the worker: it cannot continue without the executor that failed."""
        self._on_failure(failure)
