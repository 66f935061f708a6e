"""Divides the executors of a worker among its queues, in proportion to the weights of the queues.

A queue *claims* executors while it has, or may have, waiting jobs for them. Only one queue at a
time takes jobs: it has the *turn*. The first of the claiming queues may take, the others may not.
The first queue is the one that has used the executors least: its used time divided by its weight,
its *level*, is the lowest. The used time is the time of all executors together. So a queue of long
jobs does not get more of the executors than a queue of short jobs. Invariants:

- If a queue has jobs that can start, and an executor has room for them, a queue takes jobs: when a
  turn ends, the queue that is first then is woken. A queue that does not claim delays no other.
- A queue that claims is first after a time, because the levels of the others rise while they use
  executors. So no queue starves, and the queue with the greatest weight cannot keep the others out.
- A queue that had no jobs does not get the share afterwards that it has not used. A queue that had
  jobs, but could not take them for a moment, gets at most `CATCH_UP_S` of it.
- The level at which such a queue returns contains only time that the others have used. So a wrong
  expected time of their jobs delays no queue after the jobs have ended.
- If a queue takes no job in its turn, it is first again only after another claiming queue has had
  a turn. Otherwise a queue whose jobs all wait for a limit would delay the other queues.

This module sends no requests to a server. It imports other modules of its package.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

from zoolet.jobs.worker.jobs_in_hand import JobsInHand

TYPICAL_S: Final = 0.05
"""The assumed duration of the jobs of a queue before its first attempt has ended, in seconds."""
LEAST_S: Final = 0.001
"""The least time, in seconds, that an attempt counts. The work of the worker for a job takes about
this time, and the duration of a shorter attempt is not measured exactly."""
CATCH_UP_S: Final = 1.0


class _Standing(NamedTuple):
    """The order of claiming queues: the least is first."""

    has_yielded: bool
    level: float
    minus_weight: int
    number: int


class QueueShare:
    """The share of one queue. Its worker keeps it when the queue disappears and returns.

    Args:
        shares: the shares of all queues of the worker.
        weight: the weight of the queue, at least 1.
        number: the number of the queue, which differs for each queue of the worker.

    Attributes:
        typical_s: the estimated duration of the queue's jobs, in seconds.
        hands: the queue's jobs in hand.
        is_open: whether the worker serves the queue.
        claims: whether the queue claims executors.
        is_idle: whether the queue had no jobs when it claimed last.
        has_yielded: whether the queue took no job in its last turn.
        lifted: what was added to the level, because the queue did not claim for a while.
        wake: lets the queue's thread look for jobs.
    """

    def __init__(self, shares: "QueueShares", weight: int, number: int) -> None:
        self.weight = weight
        self.typical_s = TYPICAL_S
        self.hands = JobsInHand()
        self._shares = shares
        self.number = number
        self.wake: Callable[[], None] = lambda: None
        self.is_open = False
        self.claims = False
        self.is_idle = True
        self.has_yielded = False
        self._used_s = 0.0
        self.lifted = 0.0
        self._running: dict[str, float] = {}
        """The times when the running attempts began, by the name of the job."""

    # --- For the thread that takes jobs

    def open(self, hands: JobsInHand, wake: Callable[[], None]) -> None:
        """Begin to serve the queue; ``wake`` lets its thread look for jobs.

        The queue claims executors from now on. Otherwise the first queue that looks for jobs would
        get all executors.
        """
        with self._shares.lock:
            self.is_open = True
            self.hands = hands
            self.wake = wake
            self._running = {}
        self._shares.claim(self)

    def close(self) -> None:
        """End to serve the queue: it does not claim any more, not even in a turn that it has."""
        with self._shares.lock:
            self.is_open, self.claims, self.is_idle = False, False, True
            self.wake = lambda: None
            self._running = {}
        self._shares.wake_first()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Claim executors and wait for the turn; after the turn, wake the queue that is first."""
        # This wait ends: a turn takes some requests, and the end of the connection ends a request.
        with self._shares.turns:
            self._shares.claim(self)
            try:
                yield
            finally:
                self._shares.wake_first(after=self)

    def may_take(self) -> bool:
        """In a turn: return whether this queue is the first of the queues that claim."""
        return self._shares.is_first(self)

    def part_of(self, count: int) -> int:
        """In a turn: return how many of ``count`` jobs the queue may take; at least 1."""
        return self._shares.part_of(self, count)

    def took(self, count: int) -> None:
        """In a turn: record the number of jobs that the queue has taken, perhaps 0."""
        self._shares.took(self, count)

    def passes(self, *, is_idle: bool) -> None:
        """In a turn: claim no executors until the next turn of the queue.

        ``is_idle`` is whether the queue has no jobs that could start later without an event.
        """
        self.claims, self.is_idle = False, is_idle

    @property
    def is_alone(self) -> bool:
        """Whether the worker has only this queue."""
        return self._shares.count == 1

    def load_of_others(self, executor: int) -> int:
        """Return the load of an executor with jobs of other queues, as a number of this queue's."""
        if self.is_alone:
            return 0
        load_s = self._shares.load_s(executor, without=self)
        return int(-(-load_s // max(self.typical_s, 1e-6)))

    # --- For the threads of executors

    def began(self, name: str) -> None:
        """Record that the attempt of a job has begun; only the first call for an attempt counts."""
        with self._shares.lock:
            self._running.setdefault(name, self._shares.now())

    def ended(self, name: str) -> None:
        """Record that an attempt has ended, or that its job is not in hand any more."""
        with self._shares.lock:
            began = self._running.pop(name, None)
            if began is not None:
                self._used_s += max(LEAST_S, self._shares.now() - began)

    # --- For `QueueShares`, which has the lock

    @property
    def expected_s(self) -> float:
        """The time, in seconds, that a job of the queue is expected to use."""
        return max(LEAST_S, self.typical_s)

    def level(self, now: float) -> float:
        """Return the used time, with the expected time of all jobs in hand, for each weight."""
        expected_s = self.expected_s
        running_s = sum(max(expected_s, now - began) for began in self._running.values())
        not_begun = max(0, self.hands.count() - len(self._running))
        return (self._used_s + running_s + not_begun * expected_s) / self.weight + self.lifted

    def used_level(self, now: float) -> float:
        """Return the used time for each weight, without any time that is only expected."""
        running_s = sum(now - began for began in self._running.values())
        return (self._used_s + running_s) / self.weight + self.lifted


class QueueShares:
    """The shares of all queues of a worker.

    Args:
        weights: the weights of the queues, each at least 1.
        clock: returns the time in seconds, for tests.

    Attributes:
        queues: the share of each queue, in the order of ``weights``.
        lock: protects the figures of all shares.
        turns: the lock that the queue with the turn has.
    """

    def __init__(self, weights: Sequence[int], clock: Callable[[], float] = time.monotonic) -> None:
        self.now = clock
        self.lock = threading.Lock()
        self.turns = threading.Lock()
        self.queues = [QueueShare(self, weight, n) for n, weight in enumerate(weights)]
        self.count = len(self.queues)
        self._level = 0.0
        """The greatest level at which a queue has taken jobs. It never falls, so it contains only
        used time: the expected time of many jobs can be far too long for a moment."""

    def wake_first(self, after: QueueShare | None = None) -> None:
        """Wake the first of the queues that claim, unless it is ``after``, which had the turn."""
        if self.count == 1:
            return
        with self.lock:
            if after is not None:
                for other in self.queues:
                    if other is not after:
                        other.has_yielded = False
            first = self._first()
            wake = None if first is None or first is after else first.wake
        if wake is not None:
            wake()

    def claim(self, share: QueueShare) -> None:
        """Let a queue claim executors; limit what it has not used before."""
        with self.lock:
            if share.claims or not share.is_open:
                return
            share.claims = True
            catch_up_s = 0.0 if share.is_idle else CATCH_UP_S / share.weight
            share.lifted += max(0.0, self._level - catch_up_s - share.level(self.now()))

    def is_first(self, share: QueueShare) -> bool:
        """Return whether a queue, which claims, is the first of the queues that claim."""
        if self.count == 1:
            return True
        with self.lock:
            return self._first() is share

    def part_of(self, share: QueueShare, count: int) -> int:
        """Return a queue's part of the jobs that executors have room for, at least 1.

        After all claiming queues have taken their parts, those that have taken jobs have the same
        level. So a queue that is behind gets more than its weight says.
        """
        if self.count == 1:
            return count
        with self.lock:
            now = self.now()
            level = share.level(now)
            others = [
                (other.level(now), other.weight)
                for other in self.queues
                if other.claims and other is not share
            ]
        total_s = count * share.expected_s
        reached = level_after(total_s, [(level, share.weight), *others])
        part_s = (reached - level) * share.weight
        return min(count, max(1, int(part_s / share.expected_s + 1e-6)))

    def took(self, share: QueueShare, count: int) -> None:
        """Record the end of a try to take jobs."""
        if self.count == 1:
            return
        with self.lock:
            share.has_yielded = not count
            if count:
                self._level = max(self._level, share.used_level(self.now()))

    def load_s(self, executor: int, *, without: QueueShare) -> float:
        """Return the estimated duration of the jobs that an executor has of other queues."""
        return sum(
            other.hands.load(executor) * other.typical_s
            for other in self.queues
            if other is not without
        )

    def _first(self) -> QueueShare | None:
        now = self.now()
        standings = [
            _Standing(one.has_yielded, one.level(now), -one.weight, one.number)
            for one in self.queues
            if one.claims
        ]
        return self.queues[min(standings).number] if standings else None


def level_after(total_s: float, queues: Sequence[tuple[float, int]]) -> float:
    """Return the level of the queues that get a part of ``total_s``, which raises the lowest first.

    ``queues`` are the levels and the weights of the queues.
    """
    reached, weights = 0.0, 0
    for level, weight in sorted(queues):
        # Raise all queues that are lower to the level of this queue, if the time is sufficient.
        needed_s = (level - reached) * weights
        if needed_s > total_s:
            break
        total_s -= needed_s
        reached, weights = level, weights + weight
    return reached + total_s / weights
