"""The scheduler: shares the event loop's thread between connections and internal tasks.

One iteration of the event loop has a time budget, which does not depend on the number of
connections. If work arrives while the budget is not used up and at most one share waits, the work
is done immediately. Other work waits for its turn in a fair queue (start-time fair queueing). Each
connection or internal task has a *share* of the thread, and the share that has used the least time
is next. A *slice* is the work of one turn. So a client with few requests is served between the
slices of clients with many requests.

The steps of long requests and internal tasks have short slices if the thread has little other work:
a request that arrives during a slice waits for its end. If the thread has much other work, these
slices are longer, so that steps get about a fifth of the time.

The queue is ordered by the virtual time at which a slice would end, so it needs an estimate of the
slice's duration. An estimate can be far too low, because a client can construct a short request
that takes long. After such a slice, the scheduler multiplies the estimates of all waiting shares by
the same factor, so that shares with small estimates are served first.

Invariants:

- an iteration does at most BUDGET_S of work plus two slices;
- if only one share has more work, an iteration ends after a slice of it;
- a slice ends about QUANTUM_S after its beginning, unless one request or step takes longer; a slice
  of steps ends after LEAST_SLICE_S, or a quarter of the duration of the last iteration if longer;
- waiting work is done in later iterations. It gets a turn at the latest after LONGEST_WAIT_S and
  the turns of the shares that have waited longer.

This module does not depend on connections. It uses the op code of a request only in messages.
"""

import heapq
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from zoolet.model.codes import OpCode
from zoolet.server.common.clock import MS_PER_S
from zoolet.server.logs.log_limiter import LogLimiter

log = logging.getLogger(__name__)

_US_PER_S: Final = 1e6

_BUDGET_US: Final = 20_000
BUDGET_S: Final = _BUDGET_US / _US_PER_S
"""The time that one iteration may work."""

_QUANTUM_US: Final = 1000
QUANTUM_S: Final = _QUANTUM_US / _US_PER_S
"""The time that one share may work before the next share gets its turn."""

LEAST_SLICE_S: Final = 0.00004
"""The least time that the steps of one share may work. A getData request takes about as long with
its reads and writes of the socket, so other clients hardly notice the steps."""

_STEPS_PART: Final = 0.25
"""The slice of steps, as a part of the duration of the last iteration."""

LEAST_CHARGED_S: Final = 0.0001
"""Shorter work that did not wait for a turn need not be charged to a share."""

LONGEST_WAIT_S: Final = 0.5
"""At its end, each iteration gives a turn to the share that has waited longest, if it has waited
longer than this."""

_UNMETERED_S: Final = 0.004
"""The times of work that did not wait for a turn are added up over several iterations. Only when
the sum reaches this time does the next iteration begin a new budget. This saves a callback in short
iterations."""

_LONG_ITERATION_S: Final = 0.1
"""The watchdog logs each iteration that takes longer."""

_REPORT_INTERVAL_MS: Final = 1000
"""The watchdog logs at most one iteration in this time, because clients can cause many."""

STEP_COST_US: Final = 50
"""The estimated cost of a step of a long request or internal task."""

_OPERATIONS: Final = {int(op_code): op_code.name for op_code in OpCode}

_monotonic: Final = time.monotonic  # a module constant is faster than an attribute of time


@final
@mypyc_attr(acyclic=True)
class Share:
    """The use of the thread by one connection or internal task.

    Attributes:
        name: the name of the connection or internal task, for the watchdog's messages.
        op_code: the op code of the connection's last request, for the same messages; None if there
            is no request.
        number: the number of the share's entry in the queue; 0 if the share does not wait.
        next_cost_us: the estimated duration of the next request or step, in microseconds.
        start_us: the virtual time at which the next slice begins.
        finish_us: the virtual time at which the last slice ended.
    """

    __slots__ = ("finish_us", "name", "next_cost_us", "number", "op_code", "start_us")

    def __init__(self, name: str) -> None:
        self.name = name
        self.op_code: int | None = None
        self.number = 0
        self.next_cost_us: i64 = 1
        self.start_us: i64 = 0
        self.finish_us: i64 = 0

    @property
    def is_waiting(self) -> bool:
        """Whether the share waits for a turn."""
        return self.number != 0

    def __str__(self) -> str:
        """Return the name and the last request."""
        op_code = self.op_code
        if op_code is None:
            return self.name
        return f"{self.name} (last request: {_OPERATIONS.get(op_code, op_code)})"


@final
class Scheduler:
    """Decides which share gets the next turn.

    Attributes:
        is_crowded: whether new work must wait, because the budget is used up or several shares
            wait. If one share waits, each iteration gives it a turn, so new work need not wait.
        is_stopped: whether the scheduler runs no more work, because the server has failed.
        steps_s: the time that the steps of one share may work in this iteration, in seconds.
    """

    def __init__(
        self,
        call_soon: Callable[[Callable[[], None]], object],
        monotonic_s: Callable[[], float] = _monotonic,
    ) -> None:
        """Begin with an empty queue.

        Args:
            call_soon: calls a function in the next iteration of the event loop.
            monotonic_s: a monotonic clock, in seconds.
        """
        self.is_crowded = False
        self.is_stopped = False
        self.steps_s = LEAST_SLICE_S
        self._call_soon = call_soon
        self._now = monotonic_s
        self._is_system_clock = monotonic_s is _monotonic
        self._queue: list[tuple[int, int, Share, Callable[[], bool]]] = []
        self._arrivals: deque[tuple[int, Share, Callable[[], bool], float]] = deque()
        self._number = 0
        self._virtual_us: i64 = 0
        self._slowness: i64 = 1
        # The greatest slowness with which a share was put into the queue.
        self._ranked_slowness: i64 = 1
        self._running: Share | None = None
        self._runs_again = False
        self._gave_turns = False
        self._spent_s = 0.0
        self._longest_s = 0.0
        self._longest: Share | None = None
        self._is_metered = False
        self._limited = LogLimiter(log, self._now_ms, _REPORT_INTERVAL_MS)

    def _now_ms(self) -> int:
        return int(self.now_s() * MS_PER_S)

    def now_s(self) -> float:
        """Return the time on the scheduler's clock, in seconds."""
        return _monotonic() if self._is_system_clock else self._now()

    @property
    def num_waiting(self) -> int:
        """The number of connections and internal tasks that wait for a turn."""
        return sum([number == share.number for _, number, share, _ in self._queue])

    # --- Work that does not wait for a turn

    def used(self, share: Share, began_s: float) -> None:
        """Charge a share for work from ``began_s`` until now that did not wait for a turn."""
        spent_s = self.now_s() - began_s
        self._charge(share, spent_s)
        if spent_s > self._longest_s:
            self._longest_s = spent_s
            self._longest = share
        self.spend(spent_s)

    def spend(self, spent_s: float) -> None:
        """Count work of less than LEAST_CHARGED_S that is not charged to a share."""
        self._spent_s += spent_s
        if self._spent_s >= _UNMETERED_S:
            self._meter()

    def _charge(self, share: Share, spent_s: float) -> None:
        start_us = share.finish_us
        start_us = max(start_us, self._virtual_us)
        if len(self._queue) <= 1:
            # Not while several shares wait: a later virtual time would place new shares after them.
            # A single share gets a turn in the next iteration, and then starts at this time.
            self._virtual_us = start_us
        share.finish_us = start_us + i64(int(spent_s * _US_PER_S)) + 1

    def _meter(self) -> None:
        """Have the next iteration begin a new budget; if this budget is used up, new work waits."""
        if not self._is_metered:
            self._call_soon(self._next_iteration)
            self._is_metered = True
        if self._spent_s >= BUDGET_S:
            self.is_crowded = True

    # --- Work that waits for its turn

    def add(self, share: Share, run: Callable[[], bool]) -> None:
        """Add a share to the queue; do nothing if the share already waits.

        ``run`` works for about QUANTUM_S and returns whether more work remains. A share that is
        added during its own turn is queued after the turn has been charged.
        """
        if share.is_waiting:
            return
        if share is self._running:
            self._runs_again = True
            return
        if not self._is_metered:
            self._call_soon(self._next_iteration)
            self._is_metered = True
        start_us = share.finish_us
        start_us = max(start_us, self._virtual_us)
        share.start_us = start_us
        self._number += 1
        self._ranked_slowness = max(self._ranked_slowness, self._slowness)
        expected_us = self._expected_us(share.next_cost_us)
        heapq.heappush(self._queue, (start_us + expected_us, self._number, share, run))
        self._arrivals.append((self._number, share, run, self.now_s()))
        share.number = self._number
        if len(self._queue) > 1:
            self.is_crowded = True

    def run(
        self,
        name: str,
        steps: Iterator[int],
        on_failure: Callable[[Exception], None] | None = None,
    ) -> None:
        """Run an internal task, a step at a time.

        Args:
            name: the name of the task, for messages.
            steps: each step works for at most about QUANTUM_S, better less than LEAST_SLICE_S. It
                yields its cost in microseconds, which is the estimate for the next step.
            on_failure: called with the exception that a step raised. If None, the exception is
                passed to the event loop and stops the server.
        """
        share = Share(name)
        # The first step may be long, so shares with small estimates go first.
        share.next_cost_us = _QUANTUM_US
        self.add(share, _Task(share, steps, on_failure or _raise, self).run)

    def stop(self) -> None:
        """Run no more work."""
        self.is_stopped = self.is_crowded = True

    def _next_iteration(self) -> None:
        """Begin a new budget, and give turns to the waiting shares."""
        self._report()
        self._is_metered = False
        # Without turns before, the time that was added up may be that of several iterations.
        last_s = self._spent_s if self._gave_turns else 0.0
        self.steps_s = min(QUANTUM_S, max(LEAST_SLICE_S, _STEPS_PART * last_s))
        self._spent_s = 0.0
        if self.is_stopped:
            return
        self.is_crowded = False
        self._gave_turns = bool(self._queue)
        if self._gave_turns:
            self._give_turns()

    def _give_turns(self) -> None:
        queue = self._queue
        began_s = now_s = self.now_s()
        self.is_crowded = True
        while queue and now_s - began_s < BUDGET_S and not self.is_stopped:
            ends_us, number, share, run = heapq.heappop(queue)
            if number != share.number:
                continue  # the share already had this turn: see _give_turn_to_oldest
            expected_us: i64 = share.start_us + self._expected_us(share.next_cost_us)
            if expected_us > ends_us and queue and expected_us > queue[0][0]:
                # The slowness has grown since the share was put into the queue.
                self._ranked_slowness = max(self._ranked_slowness, self._slowness)
                heapq.heappush(queue, (expected_us, number, share, run))
                continue
            self._virtual_us = max(self._virtual_us, share.start_us)
            now_s = self._give_turn(share, run)
            if len(queue) == 1 and share.number and now_s - began_s >= LEAST_SLICE_S / 2:
                break  # no other share waits here, but requests may be in sockets
        if not self.is_stopped:
            now_s = self._give_turn_to_oldest(now_s)
        self._spent_s = now_s - began_s
        self.is_crowded = self.is_stopped or len(queue) > 1 or self._spent_s >= BUDGET_S
        if (queue or self.is_crowded) and not self._is_metered:
            self._call_soon(self._next_iteration)
            self._is_metered = True

    def _give_turn_to_oldest(self, now_s: float) -> float:
        """Give a turn to the share that has waited longest, if it has waited too long.

        Otherwise new shares, which start at the virtual time, could make it wait for ever.
        """
        arrivals = self._arrivals
        while arrivals:
            number, share, run, added_s = arrivals[0]
            if number == share.number:
                if now_s - added_s < LONGEST_WAIT_S:
                    break
                arrivals.popleft()
                return self._give_turn(share, run)
            arrivals.popleft()
        return now_s

    def _give_turn(self, share: Share, run: Callable[[], bool]) -> float:
        """Let a share work, and charge it for its work; returns the time afterwards."""
        share.number = 0
        estimate_us = share.next_cost_us
        self._running = share
        self._runs_again = False
        began_s = self.now_s()
        has_more = run()
        now_s = self.now_s()
        self._running = None
        spent_s = now_s - began_s
        spent_us: i64 = i64(int(spent_s * _US_PER_S)) + 1
        self._learn(estimate_us, spent_us)
        # Since it was queued, the share may have been charged for work that did not wait.
        share.finish_us = max(share.finish_us, share.start_us) + spent_us
        if spent_s > self._longest_s:
            self._longest_s = spent_s
            self._longest = share
        if (has_more or self._runs_again) and not self.is_stopped:
            self.add(share, run)
        return now_s

    def _expected_us(self, estimate_us: i64) -> i64:
        """Return the estimate times the slowness; the slowness raises it to the budget at most."""
        return max(estimate_us, min(estimate_us * self._slowness, _BUDGET_US))

    def _learn(self, estimate_us: i64, spent_us: i64) -> None:
        """Update the slowness: the factor by which a slice exceeded its estimate.

        The slowness decreases gradually with the slices that follow.
        """
        if spent_us > 2 * _QUANTUM_US and spent_us > estimate_us * self._slowness:
            self._slowness = spent_us // max(estimate_us, 1)
        elif self._slowness > 1:
            self._slowness -= 1 + (self._slowness >> 3)
            self._slowness = max(self._slowness, 1)
            if self._slowness <= self._ranked_slowness >> 1:
                self._rank()

    def _rank(self) -> None:
        """Sort the queue again after the slowness has decreased a lot.

        Otherwise shares that were queued with a high slowness would wait too long, after many turns
        of shares that came later.
        """
        queue = self._queue
        queue[:] = [
            (share.start_us + self._expected_us(share.next_cost_us), number, share, run)
            for _, number, share, run in queue
            if number == share.number
        ]
        heapq.heapify(queue)
        self._ranked_slowness = self._slowness

    def _report(self) -> None:
        """Log an iteration that took too long, and the share that took the longest time in it."""
        if self._spent_s >= _LONG_ITERATION_S:
            self._limited.warning(
                "one iteration of the event loop took %d ms; %d ms of it went to %s",
                round(self._spent_s * 1000),
                round(self._longest_s * 1000),
                str(self._longest),
            )
        self._longest_s = 0.0
        self._longest = None


def _raise(error: Exception) -> None:
    raise error


@final
class _Task:
    """An internal task, whose steps run for one slice in each turn."""

    def __init__(
        self,
        share: Share,
        steps: Iterator[int],
        on_failure: Callable[[Exception], None],
        scheduler: Scheduler,
    ) -> None:
        self._share = share
        self._steps = steps
        self._on_failure = on_failure
        self._scheduler = scheduler

    def run(self) -> bool:
        """Run steps for one slice; return whether more steps remain."""
        return run_steps(self._steps, self._share, self._scheduler, self._on_failure)


def run_steps(
    steps: Iterator[int],
    share: Share,
    scheduler: Scheduler,
    on_failure: Callable[[Exception], None],
) -> bool:
    """Run steps until they are done or the slice is over; return whether more steps remain."""
    until_s = scheduler.now_s() + scheduler.steps_s
    try:
        while True:
            cost_us = next(steps, None)
            if cost_us is None:
                return False
            share.next_cost_us = cost_us
            if scheduler.now_s() >= until_s:
                return True
    except Exception as error:  # noqa: BLE001 -- the caller decides what to do
        on_failure(error)
        return False
