"""What the executors of a worker tell it: each message goes to the parts that it concerns.

The methods are called in the executors' threads. Imports the job system's execution and the other
parts of a worker.
"""

import threading
from collections.abc import Callable, Sequence

from zoolet.jobs.execution.attempts import Outcome
from zoolet.jobs.worker.jobs_in_hand import JobsInHand
from zoolet.jobs.worker.recorder import AttemptRecorder
from zoolet.jobs.worker.taker import JobTaker


class ExecutorListener:
    """Implements `zoolet.jobs.execution.executors.Observer` for a worker.

    Args:
        hands: what the worker has in hand. A message about another job is about one that was lost.
        recorder: records what came of jobs.
        taker: learns how long attempts take, and whether their data was loaded.
        wake: set when there may be something to take.
        on_step: called with the name of a step, and of the jobs that it is done with.
        on_failure: called with what ended an executor for good.
    """

    def __init__(
        self,
        hands: JobsInHand,
        recorder: AttemptRecorder,
        taker: JobTaker,
        *,
        wake: threading.Event,
        on_step: Callable[[str, Sequence[str]], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._hands = hands
        self._recorder = recorder
        self._taker = taker
        self._wake = wake
        self._on_step = on_step
        self._on_failure = on_failure

    def begun(self, name: str) -> None:
        """Pass on that a job's data is being loaded."""
        self._on_step("begun", [name])

    def asks(self, name: str) -> None:
        """Record a careful job as RUNNING before it is started."""
        held = self._hands.get(name)
        if held is not None:
            self._recorder.asked(held)

    def started(self, name: str, cache_hit: bool | None) -> None:
        """Note that a job's task was called."""
        held = self._hands.get(name)
        if held is not None:
            self._recorder.started(held, cache_hit=cache_hit)
            if cache_hit is not None:
                self._taker.note_cache(hit=cache_hit)
        self._on_step("started", [name])

    def ended(self, name: str, outcome: Outcome, took_s: float) -> None:
        """Record how an attempt ended."""
        self._taker.note_duration(took_s)
        held = self._hands.get(name)
        if held is not None:
            self._recorder.ended(held, outcome, took_s)
        self._wake.set()

    def returned(self, names: Sequence[str]) -> None:
        """Give jobs back that will not be attempted here."""
        for name in names:
            held = self._hands.get(name)
            if held is not None:
                self._recorder.given_back(held)
        self._wake.set()

    def freed(self) -> None:
        """Look for jobs: an executor has room again."""
        self._wake.set()

    def failed(self, failure: Exception) -> None:
        """End the worker: it cannot go on without this executor."""
        self._on_failure(failure)
