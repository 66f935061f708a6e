"""The thread of a worker that takes jobs, and gives them to executors.

The thread looks for jobs each time a watch or an executor reports that there may be a job to take.
`zoolet.jobs.worker.page_feed` and `zoolet.jobs.worker.selection` decide which jobs. Invariants:

- A worker takes jobs in advance only if they are short: together, the jobs of an executor run for
  about `AHEAD_S`. If the requests that take jobs are slow, the limit is twice the time of such a
  request, at most `AHEAD_MOST_S`.
- A thread that changes the state on which this thread's decisions depend sets ``wake`` after the
  change, not before.
- If the queue has a share of the oldest jobs (`zoolet.jobs.queue.oldest_share`), these are taken
  with the jobs that are first in order, whatever data the worker has loaded.
- Every wait has a time limit: after `LOOK_AGAIN_S`, the thread checks whether jobs that it has
  listed wait although executors have room. This check sends no request.

This module imports `zoolet.jobs.queue`, `zoolet.jobs.records` and other modules of its package.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

from zoolet.jobs.errors import WorkerGoneError
from zoolet.jobs.queue.moves import Move
from zoolet.jobs.queue.oldest_share import OldestShare, ShareSetting
from zoolet.jobs.queue.queue import JobQueue
from zoolet.jobs.queue.taking import LEFT_MS
from zoolet.jobs.records.control import Control
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.transitions import Event, Place
from zoolet.jobs.worker.executor_control import ExecutorControl
from zoolet.jobs.worker.jobs_in_hand import JobInHand, JobsInHand
from zoolet.jobs.worker.page_feed import Feed
from zoolet.jobs.worker.queue_executors import QueueExecutors
from zoolet.jobs.worker.queue_shares import QueueShare
from zoolet.jobs.worker.selection import Affinity, Candidate
from zoolet.jobs.worker.shares import Shares
from zoolet.jobs.znodes.multis import JOBS_AT_ONCE

log = logging.getLogger(__name__)

AHEAD_S = 0.05
AHEAD_MOST_S = 1.0
"""Limits, in seconds, of the estimated run time of all jobs that an executor was given and has not
ended. One job is always allowed. `AHEAD_S` is the limit if the requests that take jobs are fast;
`AHEAD_MOST_S` is the limit if these requests are slow."""
AHEAD_JOBS = 2 * JOBS_AT_ONCE
"""The most jobs that an executor was given and has not ended."""
FORGET_SHARE = 0.6
"""The estimated job duration is a decaying maximum of recent durations. Each shorter job multiplies
the estimate by this share."""
LOOK_AGAIN_S = 1.0
"""Time limit, in seconds, of every wait of the thread."""
YIELD_S = 0.002
"""Pause, in seconds, of an idle worker before its next try, if other workers were faster in the
last try."""


class JobTaker:
    """Takes jobs for a worker.

    Args:
        jobs: the queue.
        hands: the jobs in hand; `ExecutorGroup.give` adds the taken jobs.
        executors: the executors that get the jobs.
        share: decides when this queue may take jobs, and how many, if the worker has several
            queues.
        wake: an event, set when there may be a job to take.
        seed: a text that differs for each worker, so that workers prefer different shards.
        cache_groups: the number of groups that an executor's cache keeps.
        round_s: the longest time, in seconds, for which the worker passes over a job because it
            has not loaded the job's data (`Affinity`).
        has_loader: whether the executors load a group for every job with data. If not, only jobs
            with a source have loaded data, and a worker that has loaded none does not wait.
        tags: the tags of the worker. It reads a job that requires other tags one time, and then
            leaves it to other workers. None: it takes jobs whatever tags they require.
        on_step: called with the name of a step and the names of the jobs that have reached it.
        on_gone: called with the id of a worker that is not registered in the queue any more.
        on_cancelled: called with jobs in hand that were cancelled.
        control: is told how many jobs wait because no executor has room for them.

    Attributes:
        looked_at: when the thread last looked for jobs, by the monotonic clock, in seconds.
    """

    def __init__(
        self,
        jobs: JobQueue,
        hands: JobsInHand,
        executors: QueueExecutors,
        share: QueueShare,
        *,
        wake: threading.Event,
        seed: str,
        cache_groups: int,
        round_s: float,
        has_loader: bool,
        tags: frozenset[str] | None,
        on_step: Callable[[str, Sequence[str]], None],
        on_gone: Callable[[str], None],
        on_cancelled: Callable[[Sequence[JobInHand]], None],
        control: ExecutorControl,
        concurrency: int = 1,
    ) -> None:
        self._concurrency = concurrency
        self._jobs = jobs
        self._hands = hands
        self._executors = executors
        self._queue_share = share
        self._wake = wake
        self._cache_groups = cache_groups
        self._round_s = round_s
        self._has_loader = has_loader
        self._tags = tags
        self._on_step = on_step
        self._on_gone = on_gone
        self._on_cancelled = on_cancelled
        self._executor_control = control
        self._feed = Feed(jobs.layout, seed, wake.set)
        self._oldest_setting = ShareSetting(jobs.layout, wake.set)
        self._oldest = OldestShare()
        self._percent = 0
        self._due = 0
        self._rivals = Shares(jobs.layout.workers)
        self.looked_at = time.monotonic()
        self._worker_id = ""
        self._taking_s = 0.0
        self._contended = False
        self._idle_since = time.monotonic()
        self._control = Control()
        self._control_stale = threading.Event()
        self._control_stale.set()
        self._met_deferred = False
        self._left: list[tuple[float, Candidate]] = []
        """Jobs that are left to other workers, each with the time when it is offered again."""

    def note_duration(self, took_s: float) -> None:
        """Record the duration of an attempt. Any thread may call this method."""
        share = self._queue_share
        share.typical_s = max(took_s, FORGET_SHARE * share.typical_s)

    def note_cache(self, *, hit: bool) -> None:
        """Record whether the data of an attempt was in the cache. Any thread may call this."""
        self._feed.waiting.note(cache_hit=hit)

    def run(self, stopping: threading.Event, register: Callable[[], str]) -> None:
        """Take jobs until the worker stops.

        Args:
            stopping: an event, set before ``wake`` when the worker stops.
            register: returns the worker's id; first registers the worker if it is not registered.
        """
        again_at: float | None = None
        while True:
            timeout_s = LOOK_AGAIN_S if again_at is None else again_at - time.monotonic()
            was_woken = self._wake.wait(max(0.0, min(timeout_s, LOOK_AGAIN_S)))
            self._wake.clear()
            self.looked_at = time.monotonic()
            if stopping.is_set():
                return
            self._worker_id = register()
            if self._control_stale.is_set():
                self._control_stale.clear()
                self._look_at_control()
            if self._contended and not self._hands.all():
                # Another worker was faster and will probably be faster again. More requests for
                # the same jobs would only slow down all workers.
                time.sleep(YIELD_S)
            if was_woken or (again_at is not None and again_at <= time.monotonic()):
                again_at = self._take_some()
            elif self._feed.waiting.has_offers():
                again_at = self._take_unasked(again_at)

    def _take_unasked(self, again_at: float | None) -> float | None:
        """Look for jobs although no event has occurred; a job that is found shows a fault.

        This check limits the delay if a notification is lost, or is sent before its change.
        """
        rooms = self._rooms()
        if not rooms:
            return again_at
        before = {id(held) for held in self._hands.all()}
        again_at = self._take_some()
        taken = [held.job.name for held in self._hands.all() if id(held) not in before]
        if taken:
            log.warning(
                "%d jobs waited although executors %s had room; first job: %s; please report this",
                len(taken), sorted(rooms), taken[0],
            )  # fmt: skip
        return again_at

    def _take_some(self) -> float | None:
        """Take as many jobs as the executors have room for, if it is the turn of this queue.

        Returns the time to try again if no event occurs before it; None if only an event helps.
        """
        with self._queue_share.turn():
            rooms = self._rooms()
            if self._control.paused:
                self._note_waiting(0)
                self._queue_share.passes(is_idle=True)
                return None
            if not rooms:
                return self._count_waiting()
            if not self._queue_share.may_take():
                # When another queue has had its turn, this queue's thread is woken.
                self._note_waiting(0)
                return None
            return self._take_into(rooms)

    def _take_into(self, rooms: dict[int, int]) -> float | None:
        """Take jobs for executors with room; return the time to try again, as `_take_some` does."""
        count = self._queue_share.part_of(sum(rooms.values()))
        self._percent = self._oldest_setting.percent()
        waiting = self._feed.waiting
        waiting.keep_ages(wanted=self._percent > 0)
        listed_at = self._feed.refresh()
        left_at = self._offer_left()
        # Many jobs are chosen at a time if they must wait for a limit, because ``own_jobs`` moves
        # them to "deferred", or if they require tags that this worker lacks.
        reach = max(count, JOBS_AT_ONCE) if self._met_deferred else count
        share = self._rivals.current(self._worker_id, self._feed.worker_count, time.monotonic())
        paused_count = waiting.paused_count
        oldest = self._take_oldest(count) if self._percent else []
        reach -= len(oldest)
        affinity = self._affinity()
        choice = waiting.choose(share.of * reach, time.monotonic(), affinity, self._control.allows)
        if len(choice.jobs) + len(oldest) < count:
            self._note_waiting(0)
        if choice.jobs or oldest:
            now = time.monotonic()
            picked, others, fill_at = self._rivals.divide(choice.jobs, reach, share, now)
            for candidate in others:
                waiting.put_back(candidate)
            if not picked and not oldest:
                # Until then, other queues of this worker may use the executors.
                self._queue_share.passes(is_idle=False)
                return fill_at
            taken = self._own([*oldest, *picked], rooms, count, len(oldest))
            self._queue_share.took(taken)
            self._idle_since = time.monotonic()
            self._wake.set()
            return None
        if waiting.paused_count > paused_count:
            # `refresh` stopped at the pages of these paused jobs; the next call lists more pages.
            self._wake.set()
        times = [at for at in (listed_at, choice.again_at, left_at) if at is not None]
        search_at = self._idle_since + affinity.round_s
        if time.monotonic() < search_at:
            times.append(search_at)
        elif self._feed.search():
            self._wake.set()
        if not self._wake.is_set():
            self._queue_share.passes(is_idle=not times)
        return min(times, default=None)

    def _take_oldest(self, count: int) -> list[Candidate]:
        """Return the oldest jobs that must be among the next ``count`` jobs (`OldestShare`)."""
        self._due = self._oldest.due(count, self._percent)
        return self._feed.take_oldest(self._due, self._control.allows)

    def _count_waiting(self) -> float | None:
        """Report the number of waiting jobs, if executors could be started for them.

        If other queues share the executors, the number also decides whether this queue claims the
        next executor. Returns the time to try again if no event occurs before it; None if only an
        event helps.
        """
        if self._queue_share.is_alone and not self._executor_control.wants_waiting:
            return None
        listed_at = self._feed.refresh()
        count = self._feed.waiting.offered_count
        self._note_waiting(count)
        if not count and not self._wake.is_set():
            self._queue_share.passes(is_idle=listed_at is None)
        return listed_at

    def _note_waiting(self, count: int) -> None:
        self._executor_control.note_waiting(count, self._queue_share.number)

    def _offer_left(self) -> float | None:
        """Offer jobs again that were left to other workers; return the time of the next call."""
        now = time.monotonic()
        for until, candidate in self._left:
            if until <= now:
                self._feed.waiting.put_back(candidate)
        self._left = [(until, candidate) for until, candidate in self._left if until > now]
        return min((until for until, _ in self._left), default=None)

    def has_room(self, executor: int) -> bool:
        """Return whether an executor has few enough jobs to get more. Any thread may call this."""
        return self._is_room(self._load(executor), self._ahead())

    def _load(self, executor: int) -> int:
        """Return the number of jobs of an executor; a job of another queue counts by its time."""
        return self._hands.load(executor) + self._queue_share.load_of_others(executor)

    def _is_room(self, load: int, ahead: int) -> bool:
        return load < self._concurrency or load <= ahead // 2

    def _ahead(self) -> int:
        """Return the most jobs that an executor may have: a few short ones, or a single one.

        An executor that makes several attempts at a time may have a job for each of them.
        """
        ahead_s = min(AHEAD_MOST_S, max(AHEAD_S, 2 * self._taking_s))
        typical_s = max(self._queue_share.typical_s, 1e-6)
        return max(self._concurrency, min(AHEAD_JOBS, int(ahead_s / typical_s)))

    def _rooms(self) -> dict[int, int]:
        """Return the number of jobs that each executor has room for; only executors with room."""
        ahead = self._ahead()
        executors = self._executors.open()
        loads = {number: self._load(number) for number in executors}
        rooms = {
            number: ahead - loads[number]
            for number, executor in executors.items()
            if self._is_room(loads[number], ahead) and not executor.is_stuck()
        }
        if self._executors.limits_jobs:
            left = {number: self._executors.jobs_left(number) for number in rooms}
            rooms = {number: min(room, left[number]) for number, room in rooms.items()}
            rooms = {number: room for number, room in rooms.items() if room > 0}
        return rooms

    def _affinity(self) -> Affinity:
        has_room = any(
            len(executor.held()) < self._cache_groups
            for executor in self._executors.open().values()
        )
        loaded = frozenset().union(*self._executors.held().values())
        round_s = self._round_s if self._has_loader or loaded else 0.0
        return Affinity({*self._hands.groups(), *loaded}, has_room, round_s)

    def _own(
        self, chosen: list[Candidate], rooms: dict[int, int], most: int, oldest_count: int
    ) -> int:
        """Try to take up to ``most`` jobs, give them to executors; return their number.

        The first ``oldest_count`` jobs were chosen because they are the oldest ones.
        """
        by_name = {candidate.job.name: candidate for candidate in chosen}
        self._on_step("taking", list(by_name))
        began = time.monotonic()
        try:
            picked = self._jobs.own_jobs(list(by_name), self._worker_id, most, tags=self._tags)
        except WorkerGoneError as error:
            log.warning("%s", error)
            for candidate in chosen:
                self._feed.waiting.put_back(candidate)
            self._on_gone(self._worker_id)
            return 0
        self._taking_s = (self._taking_s + time.monotonic() - began) / 2
        for job in picked.unreadable:
            log.warning("%s", job.errors[-1].message)
        for job in picked.unsuitable:
            self._feed.waiting.set_aside(by_name[job.name])
        self._met_deferred = bool(picked.deferred or picked.unsuitable)
        for job in picked.spare:
            self._feed.waiting.put_back(by_name[job.name])
        left_until = time.monotonic() + LEFT_MS / 1000
        self._left += [(left_until, by_name[job.name]) for job in picked.left]
        there = {job.name for jobs in picked for job in jobs}
        gone = [candidate for name, candidate in by_name.items() if name not in there]
        self._feed.lost(gone)
        self._contended = len(gone) > len(picked.owned)
        if self._percent:
            lost = sum(candidate.job.name not in there for candidate in chosen[:oldest_count])
            self._oldest.note(len(picked.owned), self._due - lost, self._percent)
        if gone:
            self._rivals.note_lost(time.monotonic())
        self._on_step("taken", [job.name for job in picked.owned])
        return self._give(picked.owned, rooms)

    def _give(self, jobs: Sequence[Job], rooms: dict[int, int]) -> int:
        """Give each job to an executor with its data, or else to an executor with few groups.

        Returns the number of jobs that executors have got.
        """
        given: dict[int, list[Job]] = {}
        having = {
            group: number for number, held in self._executors.held().items() for group in held
        } | self._hands.groups()
        groups = Counter(having.values())
        for job in jobs:
            group = job.group
            number = -1 if group is None else having.get(group, -1)
            if rooms.get(number, 0) <= 0:
                # New data is loaded by the executor with the fewest groups.
                number = min(
                    (number for number in rooms if rooms[number] > 0),
                    key=lambda number: (groups[number], -rooms[number]),
                )
            rooms[number] -= 1
            if group is not None:
                groups[number] += group not in having
                having.setdefault(group, number)
            given.setdefault(number, []).append(job)
        left = self._executors.give(given)
        self._on_step("given", [job.name for job in jobs])
        if left:
            self._give_back(left)
        return len(jobs) - len(left)

    def _give_back(self, jobs: Sequence[Job]) -> None:
        """Give jobs back to the queue: their executors were replaced while they were taken."""
        moves = [Move(Event.GIVE_BACK, Place.OWNED, job, job.waiting()) for job in jobs]
        try:
            self._jobs.mover.move(moves, self._worker_id)
        except WorkerGoneError as error:
            log.warning("%s", error)
            self._on_gone(self._worker_id)

    # --- Paused and cancelled jobs

    def _look_at_control(self) -> None:
        """Read which datasets are paused; after a cancellation, look for cancelled jobs in hand."""
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
            log.info("this worker ends %d jobs: they were cancelled", len(gone))
            self._on_cancelled(gone)

    def _on_control(self, _: object) -> None:
        self._control_stale.set()
        self._wake.set()
