"""The thread of a worker that takes jobs, and gives them to executors.

It looks for jobs each time a watch or an executor says that there may be something to take
(`zoolet.jobs.worker.page_feed` and `zoolet.jobs.worker.selection` say what). What holds:

- Jobs are taken in advance only as far as they are short: up to what takes `AHEAD_S` together, or
  about as long as taking them takes.
- Whoever changes what this thread decides by sets ``wake`` after the change, and not before.
- Every wait has an upper bound: after `LOOK_AGAIN_S` the thread compares what it knows of the queue
  with the executors that have room. It sends no request for that.

Imports the job system's queue, feed and executors.
"""

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

from zoolet.jobs.errors import WorkerGoneError
from zoolet.jobs.records.control import Control
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.transitions import Place
from zoolet.jobs.worker.executor_group import ExecutorGroup
from zoolet.jobs.worker.jobs_in_hand import JobInHand, JobsInHand
from zoolet.jobs.worker.page_feed import Feed
from zoolet.jobs.worker.selection import Affinity, Candidate
from zoolet.jobs.znodes.moves import LEFT_MS
from zoolet.jobs.znodes.multis import JOBS_AT_ONCE
from zoolet.jobs.znodes.queue import JobQueue

log = logging.getLogger(__name__)

_CHANCE = random.Random()  # noqa: S311 -- not the program's own: that may have been given a seed

AHEAD_S = 0.05
AHEAD_MOST_S = 1.0
"""How much work an executor may have in hand, unless it is a single job: the more, the longer it
takes to get some."""
AHEAD_JOBS = JOBS_AT_ONCE
FORGET_SHARE = 0.6
"""The estimated job duration is a decaying maximum of recent durations. Each job lowers it to this
share of it."""
LOOK_AGAIN_S = 1.0
"""Upper bound of every wait of the thread."""
YIELD_S = 0.002
"""How long a worker that was outrun, and has nothing to do, leaves what comes to the other."""
SPREAD = 4
"""Workers that meet at the same jobs choose from N times as many jobs as they take."""


class JobTaker:
    """Takes jobs for a worker.

    Args:
        jobs: the queue.
        hands: what the worker has in hand; what is taken is put in.
        executors: who gets the jobs.
        wake: set when there may be something to take.
        seed: what the ranking of shards follows from.
        cache_groups: how many groups an executor's cache keeps.
        round_s: how long a job is passed over for the sake of data that is loaded.
        on_step: called with the name of a step, and of the jobs that it is done with.
        on_gone: called with a worker's id that the queue does not know any more.
        on_cancelled: called with jobs in hand that were cancelled.
    """

    def __init__(
        self,
        jobs: JobQueue,
        hands: JobsInHand,
        executors: ExecutorGroup,
        *,
        wake: threading.Event,
        seed: str,
        cache_groups: int,
        round_s: float,
        on_step: Callable[[str, Sequence[str]], None],
        on_gone: Callable[[str], None],
        on_cancelled: Callable[[Sequence[JobInHand]], None],
    ) -> None:
        self._jobs = jobs
        self._hands = hands
        self._executors = executors
        self._wake = wake
        self._cache_groups = cache_groups
        self._round_s = round_s
        self._on_step = on_step
        self._on_gone = on_gone
        self._on_cancelled = on_cancelled
        self._feed = Feed(jobs.layout, seed, wake.set)
        self._worker_id = ""
        self._typical_s = AHEAD_S
        self._taking_s = 0.0
        self._contended = False
        self._idle_since = time.monotonic()
        self._control = Control()
        self._control_stale = threading.Event()
        self._control_stale.set()
        self._met_deferred = False
        self._left: list[tuple[float, Candidate]] = []
        """Jobs that are left to other workers for a while, each with the end of it."""

    def note_duration(self, took_s: float) -> None:
        """Take notice of how long an attempt took. Any thread may call it."""
        self._typical_s = max(took_s, FORGET_SHARE * self._typical_s)

    def note_cache(self, *, hit: bool) -> None:
        """Take notice of whether an attempt found its data in the cache. Any thread may call it."""
        self._feed.waiting.note(cache_hit=hit)

    def run(self, stopping: threading.Event, register: Callable[[], str]) -> None:
        """Take jobs until the worker stops.

        Args:
            stopping: set, before a wake, when the worker stops.
            register: returns the worker's id; registers the worker before, if it is not registered.
        """
        again_at: float | None = None
        while True:
            timeout_s = LOOK_AGAIN_S if again_at is None else again_at - time.monotonic()
            was_woken = self._wake.wait(max(0.0, min(timeout_s, LOOK_AGAIN_S)))
            self._wake.clear()
            if stopping.is_set():
                return
            self._worker_id = register()
            if self._control_stale.is_set():
                self._control_stale.clear()
                self._look_at_control()
            if self._contended and not self._hands.all():
                # Someone else was faster, and will be again: reaching for the same job costs all.
                time.sleep(YIELD_S)
            if was_woken or (again_at is not None and again_at <= time.monotonic()):
                again_at = self._take_some()
            elif self._feed.waiting.has_offers():
                again_at = self._take_unasked(again_at)

    def _take_unasked(self, again_at: float | None) -> float | None:
        """Look for jobs although nothing has happened: none are expected, so each one is a fault.

        This bounds what a notification that is lost or comes too early can do.
        """
        rooms = self._rooms()
        if not rooms:
            return again_at
        before = {id(held) for held in self._hands.all()}
        again_at = self._take_some()
        taken = [held.job.name for held in self._hands.all() if id(held) not in before]
        if taken:
            log.warning(
                "%d jobs waited although executors %s had room, first %s: please report this fault",
                len(taken), sorted(rooms), taken[0],
            )  # fmt: skip
        return again_at

    def _take_some(self) -> float | None:
        """Take as many jobs as there is room for; return when to try again without an event."""
        rooms = self._rooms()
        count = sum(rooms.values())
        if not count or self._control.paused:
            return None
        listed_at = self._feed.refresh()
        waiting = self._feed.waiting
        left_at = self._offer_left()
        # Jobs that may not start yet, which older versions put there, are moved on many at a time.
        reach = max(count, JOBS_AT_ONCE) if self._met_deferred else count
        wanted = reach * SPREAD if self._contended else reach
        paused_count = waiting.paused_count
        choice = waiting.choose(wanted, time.monotonic(), self._affinity(), self._control.allows)
        if choice.jobs:
            self._own(self._spread(choice.jobs, reach), rooms)
            self._idle_since = time.monotonic()
            self._wake.set()
            return None
        if waiting.paused_count > paused_count:
            # The pages behind these jobs were not listed yet.
            self._wake.set()
        times = [at for at in (listed_at, choice.again_at, left_at) if at is not None]
        search_at = self._idle_since + self._round_s
        if time.monotonic() < search_at:
            times.append(search_at)
        elif self._feed.search():
            self._wake.set()
        return min(times, default=None)

    def _offer_left(self) -> float | None:
        """Offer jobs again that were left to other workers; return when to do it next."""
        now = time.monotonic()
        for until, candidate in self._left:
            if until <= now:
                self._feed.waiting.put_back(candidate)
        self._left = [(until, candidate) for until, candidate in self._left if until > now]
        return min((until for until, _ in self._left), default=None)

    def _rooms(self) -> dict[int, int]:
        """Return how many jobs each executor has room for, where it has."""
        ahead_s = min(AHEAD_MOST_S, max(AHEAD_S, 2 * self._taking_s))
        ahead = max(1, min(AHEAD_JOBS, int(ahead_s / max(self._typical_s, 1e-6))))
        loads = self._hands.loads()
        return {
            number: ahead - loads[number]
            for number, executor in enumerate(self._executors.executors)
            if loads[number] <= ahead // 2 and not executor.is_stuck()
        }

    def _affinity(self) -> Affinity:
        held = [executor.held() for executor in self._executors.executors]
        has_room = any(len(groups) < self._cache_groups for groups in held)
        return Affinity({*self._hands.groups(), *frozenset().union(*held)}, has_room, self._round_s)

    def _spread(self, chosen: list[Candidate], count: int) -> list[Candidate]:
        """Return those of the chosen jobs to reach for; put the others back.

        Where others were faster, reaching for the next ones they reach for too would go on so.
        """
        first = _CHANCE.randrange(max(1, len(chosen) - count + 1)) if self._contended else 0
        for candidate in (*chosen[:first], *chosen[first + count :]):
            self._feed.waiting.put_back(candidate)
        return chosen[first : first + count]

    def _own(self, chosen: list[Candidate], rooms: dict[int, int]) -> None:
        """Reach for jobs, and give those that were got to the executors."""
        by_name = {candidate.job.name: candidate for candidate in chosen}
        self._on_step("taking", list(by_name))
        began = time.monotonic()
        try:
            most = sum(rooms.values())
            picked = self._jobs.own_jobs(list(by_name), self._worker_id, most)
        except WorkerGoneError as error:
            log.warning("%s", error)
            for candidate in chosen:
                self._feed.waiting.put_back(candidate)
            self._on_gone(self._worker_id)
            return
        self._taking_s = (self._taking_s + time.monotonic() - began) / 2
        for job in picked.unreadable:
            log.warning("%s", job.errors[-1].message)
        self._met_deferred = bool(picked.deferred)
        for job in picked.spare:
            self._feed.waiting.put_back(by_name[job.name])
        left_until = time.monotonic() + LEFT_MS / 1000
        self._left += [(left_until, by_name[job.name]) for job in picked.left]
        seen = (picked.owned, picked.deferred, picked.unreadable, picked.left, picked.spare)
        there = {job.name for jobs in seen for job in jobs}
        gone = [candidate for name, candidate in by_name.items() if name not in there]
        self._feed.list_again(candidate.page for candidate in gone)
        self._contended = len(gone) > len(picked.owned)
        self._on_step("taken", [job.name for job in picked.owned])
        self._give(picked.owned, rooms)

    def _give(self, jobs: Sequence[Job], rooms: dict[int, int]) -> None:
        """Give jobs to the executors that have their data, or else to those with least data."""
        given: dict[int, list[Job]] = {}
        having = {
            group: number
            for number, executor in enumerate(self._executors.executors)
            for group in executor.held()
        } | self._hands.groups()
        groups = Counter(having.values())
        for job in jobs:
            group = job.group
            number = -1 if group is None else having.get(group, -1)
            if rooms.get(number, 0) <= 0:
                # New data to where least is.
                number = min(
                    (number for number in rooms if rooms[number] > 0),
                    key=lambda number: (groups[number], -rooms[number]),
                )
            rooms[number] -= 1
            if group is not None:
                groups[number] += group not in having
                having.setdefault(group, number)
            given.setdefault(number, []).append(job)
        self._executors.give(given)
        self._on_step("given", [job.name for job in jobs])

    # --- What is paused or cancelled

    def _look_at_control(self) -> None:
        """See what is paused; where someone cancelled, see whether what runs is still its own."""
        before, self._control = self._control, self._jobs.control(self._on_control)
        self._feed.waiting.unpause()
        if self._control.cancellations == before.cancellations:
            return
        in_hand = self._hands.all()
        found = self._jobs.layout.read_each(Place.OWNED, [held.job.name for held in in_hand])
        gone = [
            held
            for held, job in zip(in_hand, found, strict=True)
            if job is None or job.worker != held.job.worker
        ]
        if gone:
            log.info("%d jobs are not this worker's any more: they were cancelled", len(gone))
            self._on_cancelled(gone)

    def _on_control(self, _: object) -> None:
        self._control_stale.set()
        self._wake.set()
