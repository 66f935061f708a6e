"""Starts, replaces and stops the executors of a running worker.

The thread of this module replaces executors that have made enough attempts or use too much memory,
replaces all executors when the worker loads new code, and starts and stops executors as the number
of waiting jobs changes. Invariants:

- An executor is stopped only when it has no job. Until then it gets no further jobs, and returns
  the jobs that it has not begun.
- Not more than ``most`` executors get jobs. While executors are replaced, there is at most one
  additional process, which gets no jobs.
- The code of an executor is never mixed: a new executor is a new process.
- If new code cannot be loaded, the executors continue with the old code.
- Nothing is polled: the thread waits for an event, or for the time when an executor has been idle
  for ``idle_s`` or jobs have waited for `SCALE_AFTER_S`.

This module sends no requests to a server. It imports `zoolet.jobs.errors`,
`zoolet.jobs.execution` and other modules of its package.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from zoolet.jobs.errors import InvalidJobError
from zoolet.jobs.execution.executors import Executor
from zoolet.jobs.execution.memory_limit import MIB, bytes_of
from zoolet.jobs.worker.executor_group import ExecutorGroup

log = logging.getLogger(__name__)

SCALE_AFTER_S = 0.25
"""The time, in seconds, for which jobs must have waited without a pause before executors are
started for them. Starting an executor takes about this time."""
IDLE_S = 60.0
"""Default time, in seconds, after which an idle executor is stopped if there are more than
``least``."""
IDLE_LEAST_S = 0.1


@dataclass(frozen=True, slots=True)
class ExecutorLimits:
    """How many executors a worker has, and when it replaces them.

    Attributes:
        least: the smallest number of executors; the worker starts with this number.
        most: the greatest number of executors.
        jobs: the number of jobs after which an executor is replaced; None for no limit.
        memory_bytes: the resident memory of an executor's process, after a job, above which the
            executor is replaced; None for no limit.
        idle_s: the time after which an idle executor is stopped if there are more than ``least``.
    """

    least: int = 1
    most: int = 1
    jobs: int | None = None
    memory_bytes: int | None = None
    idle_s: float = IDLE_S

    @classmethod
    def of(
        cls,
        executors: int,
        least: int | None,
        most: int | None,
        jobs: int | None,
        memory_mib: int | None,
    ) -> "ExecutorLimits":
        """Return the limits for the arguments of `zoolet.jobs.Worker`.

        Raises:
            InvalidJobError: a number is out of range.
        """
        least = executors if least is None else least
        most = max(executors, least) if most is None else most
        if least < 1:
            raise InvalidJobError("a worker needs at least 1 executor")
        if most < least:
            raise InvalidJobError(
                f"the maximum of {most} executors is less than the minimum of {least}: set"
                " max_executors to at least min_executors"
            )
        return cls(least, most, jobs, bytes_of(memory_mib))

    def stopping_idle_after(self, idle_s: float) -> "ExecutorLimits":
        """Return these limits with another ``idle_s``.

        Raises:
            InvalidJobError: the time is too short.
        """
        if idle_s < IDLE_LEAST_S:
            raise InvalidJobError(
                f"executors cannot be stopped after {idle_s} s without a job: the shortest time is"
                f" {IDLE_LEAST_S} s"
            )
        return replace(self, idle_s=idle_s)

    @property
    def scales(self) -> bool:
        """Whether the number of executors follows the number of waiting jobs."""
        return self.most > self.least


def _start_thread(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="executor-start", daemon=True).start()


class ExecutorControl:
    """Starts, replaces and stops executors.

    Args:
        group: the executors.
        limits: the limits of the executors.
        make: returns a new executor, which is not started.
        on_ready: called when a new executor can get jobs.
        on_scaled: called by `run` after the number of executors has changed.
        on_failure: called with the error that ends the worker: an executor cannot be started.
        clock: returns the time in seconds, for tests.
        start_thread: starts a thread that waits until an executor is ready, for tests.
    """

    def __init__(
        self,
        group: ExecutorGroup,
        limits: ExecutorLimits,
        *,
        make: Callable[[], Executor],
        on_ready: Callable[[], None],
        on_scaled: Callable[[], None],
        on_failure: Callable[[BaseException], None],
        clock: Callable[[], float] = time.monotonic,
        start_thread: Callable[[Callable[[], None]], object] = _start_thread,
    ) -> None:
        self._group = group
        self._clock = clock
        self._start_thread = start_thread
        self._limits = limits
        self._make = make
        self._on_ready = on_ready
        self._on_scaled = on_scaled
        self._on_failure = on_failure
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._is_stopping = False
        self._waiting_in: dict[int, int] = {}
        """The number of jobs that waited when the worker last looked at each queue."""
        self._waiting_since: float | None = None
        self._wants_reload = False
        self._first: Executor | None = None
        """The first executor with new code, until it takes the place of an old executor."""
        self._first_is_ready = False
        self._reloads = 0
        self._replaced = 0
        self._looks_at_ends = (
            limits.scales or limits.jobs is not None or limits.memory_bytes is not None
        )

    @property
    def replaced(self) -> int:
        """The number of executors that were replaced."""
        return self._replaced

    @property
    def reloads(self) -> int:
        """The number of times that new code was loaded, or could not be loaded."""
        return self._reloads

    @property
    def is_reloading(self) -> bool:
        """Whether executors with old code still get or have jobs after a call of `reload`."""
        return self._wants_reload or self._first is not None or bool(self._group.retiring)

    # --- News, from any thread

    def reload(self) -> None:
        """Replace all executors, so that they import tasks and loaders again."""
        self._wants_reload = True
        self._wake.set()

    def stop(self) -> None:
        """Let `run` return, and stop an executor that is not in the group yet."""
        with self._lock:
            self._is_stopping = True
            first, self._first = self._first, None
        self._wake.set()
        if first is not None:
            first.stop()

    def ended(self, number: int) -> None:
        """Look at an executor that has ended an attempt."""
        if not self._looks_at_ends and not self._group.retiring:
            return
        if self._limits.scales:
            self._group.note_ended(number)
        most_bytes = self._limits.memory_bytes
        if most_bytes is not None and number not in self._group.retiring:
            executor = self._group.executors.get(number)
            if executor is not None and (used_bytes := executor.resident_bytes()) > most_bytes:
                log.info(
                    "an executor is replaced: its process uses %d MiB, the limit is %d MiB",
                    used_bytes // MIB, most_bytes // MIB,
                )  # fmt: skip
                self._group.retire(number)
        if number in self._group.retiring or self._group.jobs_left(number) == 0:
            self._wake.set()

    def returned(self, number: int) -> None:
        """Look at an executor that has returned a job."""
        self._group.note_returned(number)
        if number in self._group.retiring:
            self._wake.set()

    def freed(self) -> None:
        """Look at all executors: one of them has ended an abandoned attempt."""
        if self._group.retiring or self._limits.jobs is not None:
            self._wake.set()

    @property
    def _waiting(self) -> int:
        return sum(self._waiting_in.values())

    @property
    def wants_waiting(self) -> bool:
        """Whether `note_waiting` should be called: executors could be started for waiting jobs."""
        return len(self._group.executors) < self._limits.most

    def note_waiting(self, count: int, queue: int = 0) -> None:
        """Record the number of jobs that wait because no executor has room; 0 if one has room.

        ``queue`` is the number of the queue in which they wait. Any thread may call this method.
        """
        if not count and not self._waiting_in.get(queue):
            return
        # The dict is replaced, so another thread never sees it while it changes.
        with self._lock:
            self._waiting_in = {**self._waiting_in, queue: count}
        if not self._waiting:
            self._waiting_since = None
        elif self._waiting_since is None:
            self._waiting_since = self._clock()
            self._wake.set()

    # --- The thread

    def run(self) -> None:
        """Replace, start and stop executors until `stop` is called."""
        timeout_s: float | None = None
        while True:
            # A wait without a time limit ends, too: `stop` sets the event.
            self._wake.wait(timeout_s)
            self._wake.clear()
            if self._is_stopping:
                return
            timeout_s = self.look()

    def look(self) -> float | None:
        """Replace, start and stop executors now; return the seconds until the next look, or None.

        Only the thread of `run` calls this method, and tests.
        """
        if self._wants_reload:
            self._begin_reload()
        self._take_first()
        self._replace()
        return self._scale() if self._limits.scales else None

    def _begin_reload(self) -> None:
        """Start the first executor with new code."""
        self._wants_reload = False
        with self._lock:
            if self._is_stopping:
                return
            replaced, self._first = self._first, self._make()
            self._first_is_ready = False
            first = self._first
        if replaced is not None:  # another reload began before
            replaced.stop()
        log.info("new code is loaded: the executors are replaced when their jobs have ended")
        self._start(first, self._cannot_reload)

    def _cannot_reload(self, executor: Executor, error: BaseException) -> None:
        with self._lock:
            if self._first is executor:
                self._first = None
                self._reloads += 1
                log.error("the new code cannot be loaded, the old code is kept: %s", error)

    def _take_first(self) -> None:
        """When the first executor with new code is ready, retire all others."""
        if self._first is not None and self._first_is_ready:
            for number in self._group.open():
                self._group.retire(number)

    def _replace(self) -> None:
        """Replace the executors that retire or have made enough attempts, if they have no job."""
        for number in self._group.executors:
            is_full = self._group.jobs_left(number) == 0
            if (not is_full and number not in self._group.retiring) or self._group.load(number):
                continue
            with self._lock:
                if self._is_stopping:
                    return
                first = self._first if self._first_is_ready else None
                successor = first or self._make()
                if not self._group.remove_idle(number, successor):
                    continue
                if first is not None:
                    self._first = None
                    self._reloads += 1
                self._replaced += 1
            if first is not None:
                self._on_ready()
            else:
                self._start(successor, self._has_failed)

    def _scale(self) -> float | None:
        """Start or stop executors; return the seconds until the next look, None if not needed."""
        now = self._clock()
        since, waiting = self._waiting_since, self._waiting
        count = len(self._group.executors)
        if since is not None and waiting and count < self._limits.most:
            if (left_s := since + SCALE_AFTER_S - now) > 0:
                return left_s
            self._grow(min(waiting, self._limits.most - count))
            self._waiting_since = None
        return self._shrink(now)

    def _grow(self, count: int) -> None:
        for _ in range(count):
            with self._lock:
                if self._is_stopping:
                    return
                executor = self._make()
                self._group.add(executor)
            self._start(executor, self._has_failed)
        log.info("%d executors were started: %d jobs wait", count, self._waiting)
        self._on_scaled()

    def _shrink(self, now: float) -> float | None:
        """Stop idle executors, first those with the fewest groups; return when to look again."""
        idle: list[tuple[int, float, int]] = []
        for number, executor in self._group.open().items():
            # An executor that is not ready is stuck. It was started for jobs that wait.
            if not self._group.load(number) and not executor.is_stuck():
                idle.append((len(executor.held()), self._group.used_at(number), number))
        next_at: float | None = None
        count = 0
        for _, used_at, number in sorted(idle):
            if len(self._group.executors) <= self._limits.least:
                break
            at = used_at + self._limits.idle_s
            if at > now:
                next_at = at if next_at is None else min(next_at, at)
            elif self._group.remove_idle(number):
                count += 1
        if count:
            self._waiting_since = None
            log.info("%d executors were stopped: they were idle", count)
            self._on_scaled()
        if next_at is None and len(self._group.executors) > self._limits.least:
            next_at = now + self._limits.idle_s
        return None if next_at is None else max(0.0, next_at - now)

    def _has_failed(self, _: Executor, error: BaseException) -> None:
        self._on_failure(error)

    def _start(
        self, executor: Executor, on_failure: Callable[[Executor, BaseException], None]
    ) -> None:
        """Start an executor; a thread waits until it is ready."""

        def wait_until_ready() -> None:
            try:
                executor.wait_until_ready()
            except Exception as error:  # noqa: BLE001 -- the worker reports it
                if not self._is_stopping:
                    on_failure(executor, error)
                return
            if self._first is executor:
                self._first_is_ready = True
            self._group.note_ready(executor)
            self._wake.set()
            self._on_ready()

        executor.start()
        self._start_thread(wait_until_ready)
