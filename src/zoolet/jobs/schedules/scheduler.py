"""The part of the housekeeping that submits the jobs of schedules.

Invariants:

- One multi creates the jobs of due times and writes the schedules' next values, with the versions
  that were read. So two workers, or a multi that is sent again, cannot submit a job twice.
- All state in memory can be read from the queue again: `begin` clears this state.
- One call of `run` makes at most `STEPS_AT_ONCE` multis, so that other duties have their turn.
- An invalid schedule submits no jobs, and does not hinder other schedules.

This module imports `zoolet.jobs.errors`, `zoolet.jobs.queue`, `zoolet.jobs.records`,
`zoolet.jobs.submit`, `zoolet.jobs.znodes` and other modules of its package.
"""

import logging
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from zoolet.jobs.errors import InvalidJobError, UnreadableJobError
from zoolet.jobs.queue.queue import JobQueue
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.schedules import Overlap, Schedule, ScheduleRun
from zoolet.jobs.schedules.due_times import check_times, next_due_ms
from zoolet.jobs.schedules.plans import Step, plan
from zoolet.jobs.submit.entering import Entrance, NewJob
from zoolet.jobs.znodes.edge import READ_AT_ONCE, MissingError
from zoolet.jobs.znodes.job_znodes import Znode
from zoolet.jobs.znodes.layout import SCHEDULES
from zoolet.jobs.znodes.multis import JOBS_AT_ONCE, LIMIT_BYTES
from zoolet.jobs.znodes.operations import Operation, RefusedError, SetData

log = logging.getLogger(__name__)

STEPS_AT_ONCE = 20
"""The most multis of one call of `Scheduler.run`."""
_MORE_BYTES = 1024
"""The most bytes that a job's value has in addition to the request in the schedule's value."""


@dataclass(slots=True)
class _Known:
    """A schedule as it was last read.

    Attributes:
        schedule: the value of the schedule.
        version: the version of its znode.
        size_bytes: the size of its value.
        next_ms: the next due time; None if there is none, or if the schedule is paused.
        is_blocked: whether due times wait for the end of the last run, for which there is a watch.
    """

    schedule: Schedule
    version: int
    size_bytes: int
    next_ms: int | None
    is_blocked: bool = False

    @property
    def part_bytes(self) -> int:
        """The most bytes of one of the schedule's jobs, and of its next value, in a multi."""
        return self.size_bytes + _MORE_BYTES

    def is_ready(self, now_ms: int) -> bool:
        """Return whether the schedule has something to do now."""
        if self.schedule.paused:
            return False
        if self.schedule.queued and not self.is_blocked:
            return True
        return self.next_ms is not None and self.next_ms <= now_ms


class _Planned(NamedTuple):
    """A step of a schedule that was not made yet."""

    known: _Known
    step: Step


class Scheduler:
    """Submits the jobs of a queue's schedules.

    Args:
        jobs: the queue.
        wake: called by any thread when `run` must be called before the time that it returned.
    """

    def __init__(self, jobs: JobQueue, wake: Callable[[], None]) -> None:
        self._jobs = jobs
        self._layout = jobs.layout
        self._znodes = jobs.layout.znodes
        self._wake = wake
        self._entrance = Entrance(jobs.layout, lambda _: None)
        self._stale: set[str] = set()
        """Names of changed schedules. Watches in other threads add them."""
        self._is_list_stale = True
        self._ended: set[str] = set()
        """Names of schedules whose last run may have ended. Watches in other threads add them."""
        self._known: dict[str, _Known] = {}
        self._warned: dict[str, bytes] = {}
        """The values of invalid schedules for which the log has a warning."""
        self._refused: dict[str, str] = {}
        """Why schedules may not submit jobs; the log has a warning for each."""

    def begin(self) -> None:
        """Clear the state in memory."""
        self._known.clear()
        self._ended.clear()
        self._stale.clear()
        self._is_list_stale = True

    def run(self) -> float | None:
        """Submit the jobs that are due; return the time, in seconds, until the next call.

        Returns 0 if there is more to do now, and None if only ``wake`` requires another call.
        """
        self._read()
        now_ms = self._jobs.clock_ms()
        ready = [known for known in self._known.values() if known.is_ready(now_ms)]
        ready.sort(key=lambda known: known.next_ms or 0)
        for _ in range(STEPS_AT_ONCE):
            if ready:
                self._make(self._plan_some(ready, now_ms))
        is_ready = any(known.is_ready(now_ms) for known in self._known.values())
        if is_ready or self._stale or self._is_list_stale:
            return 0.0
        times = [known.next_ms for known in self._known.values() if known.next_ms is not None]
        return max(0.0, (min(times) - self._jobs.clock_ms()) / 1000) if times else None

    # --- Reading

    def _stir(self, name: str) -> Callable[[object], None]:
        def stir(_: object) -> None:
            self._stale.add(name)
            self._wake()

        return stir

    def _stir_list(self, _: object) -> None:
        self._is_list_stale = True
        self._wake()

    def _read(self) -> None:
        """Read the schedules that are new or changed, and set watches on them."""
        parent = self._znodes.path(SCHEDULES)
        if self._is_list_stale:
            self._is_list_stale = False
            try:
                names = self._znodes.children(parent, self._stir_list)
            except MissingError:
                self._znodes.ensure(parent)
                names = self._znodes.children(parent, self._stir_list)
            self._known = {name: self._known[name] for name in names if name in self._known}
            self._warned = {name: self._warned[name] for name in names if name in self._warned}
            self._refused = {name: self._refused[name] for name in names if name in self._refused}
            self._stale |= set(names) - self._known.keys()
        while self._stale:
            some = [self._stale.pop() for _ in range(min(READ_AT_ONCE, len(self._stale)))]
            wanted = [(f"{parent}/{name}", self._stir(name)) for name in some]
            znodes, _ = self._znodes.watch_all(wanted)
            for name, znode in zip(some, znodes, strict=True):
                self._learn(name, znode)
        while self._ended:
            known = self._known.get(self._ended.pop())
            if known is not None:
                known.is_blocked = False

    def _learn(self, name: str, znode: Znode | None) -> None:
        self._known.pop(name, None)
        if znode is None:
            return
        try:
            schedule = Schedule.decode(name, znode.data)
            check_times(schedule)
        except (UnreadableJobError, InvalidJobError) as error:
            if self._warned.get(name) != znode.data:
                self._warned[name] = znode.data
                log.warning("%s", error)
            return
        self._remember(schedule, znode.version)

    def _remember(self, schedule: Schedule, version: int) -> None:
        next_ms = None if schedule.paused else next_due_ms(schedule, schedule.last_due_ms)
        known = _Known(schedule, version, len(schedule.encode()), next_ms)
        self._known[schedule.name] = known

    # --- Steps

    def _plan_some(self, ready: list[_Known], now_ms: int) -> list[_Planned]:
        """Take schedules from ``ready``, and return their steps, which fit into one multi."""
        planned: list[_Planned] = []
        jobs, size_bytes = 0, 0
        while ready and jobs < JOBS_AT_ONCE and len(planned) < JOBS_AT_ONCE:
            known = ready[0]
            room = (LIMIT_BYTES - size_bytes) // known.part_bytes - 1
            if planned and room < 1:
                break
            del ready[0]
            schedule = known.schedule
            if self._is_refused(schedule):
                # Its next due time is looked at again: the file of keys may change.
                known.is_blocked = True
                known.next_ms = next_due_ms(schedule, now_ms)
                continue
            known.is_blocked = schedule.overlap is not Overlap.START and self._is_running(schedule)
            most = max(1, min(JOBS_AT_ONCE - jobs, room))
            step = plan(schedule, now_ms, most, is_running=known.is_blocked)
            if step is None:
                known.next_ms = next_due_ms(schedule, now_ms)
                continue
            planned.append(_Planned(known, step))
            jobs += len(step.due)
            size_bytes += known.part_bytes * (1 + len(step.due))
        return planned

    def _is_refused(self, schedule: Schedule) -> bool:
        """Return whether a schedule may not submit jobs, because it has no valid signature."""
        signer = self._jobs.signer
        refusal = None if signer is None else signer.refusal_of_schedule(schedule)
        if refusal is None:
            self._refused.pop(schedule.name, None)
        elif self._refused.get(schedule.name) != refusal:
            self._refused[schedule.name] = refusal
            log.warning("%s", refusal)
        return refusal is not None

    def _draft(self, schedule: Schedule, due_ms: int, submission: str, now_ms: int) -> Job:
        job = schedule.draft(due_ms, submission, now_ms)
        return job if self._jobs.signer is None else self._jobs.signer.job_of(schedule, job)

    def _is_running(self, schedule: Schedule) -> bool:
        """Return whether the job of the last run has not ended; if so, there is a watch."""
        name = schedule.last_job
        if name is None:
            return False

        def stir(_: object) -> None:
            self._ended.add(schedule.name)
            self._wake()

        [(job, is_elsewhere)] = self._layout.watch_done([(name, stir)])
        if job is not None:
            return False
        return is_elsewhere or not self._layout.ended_or_nowhere([name])

    def _make(self, planned: Sequence[_Planned]) -> None:
        """Make steps with one multi; if it is refused, make them one by one."""
        if not planned:
            return
        try:
            self._make_together(planned)
        except RefusedError:
            if len(planned) > 1:
                for one in planned:
                    self._make([one])
                return
            # Another program has changed or removed the schedule: read it again.
            self._known.pop(planned[0].known.schedule.name, None)
            self._is_list_stale = True

    def _make_together(self, planned: Sequence[_Planned]) -> None:
        now_ms, submission = self._jobs.clock_ms(), uuid.uuid4().hex[:16]
        new = [
            NewJob(
                self._draft(known.schedule, due.due_ms, f"{submission}-{number}", now_ms),
                False,
                None,
            )
            for number, (known, due) in enumerate(
                (known, due) for known, step in planned for due in step.due
            )
        ]
        after: list[Schedule] = []

        def also(names: Sequence[str]) -> Sequence[Operation]:
            left = iter(names)
            after[:] = [_with_jobs(step, left) for _, step in planned]
            return [
                SetData(self._path(value.name), value.encode(), known.version)
                for value, (known, _) in zip(after, planned, strict=True)
            ]

        if new:
            self._entrance.enter(new, also)
        else:
            operations = also(())
            self._znodes.multi(operations, landed=lambda: False)
        for value, (known, step) in zip(after, planned, strict=True):
            self._remember(value, known.version + 1)
            if step.due:
                reasons = ", ".join(sorted({due.reason for due in step.due}))
                log.info("schedule %s: %d jobs submitted (%s)", value.name, len(step.due), reasons)

    def _path(self, name: str) -> str:
        return self._znodes.path(SCHEDULES, name)


def _with_jobs(step: Step, names: Iterator[str]) -> Schedule:
    """Return the schedule after a step whose jobs have these names."""
    return step.after.with_runs(
        *(ScheduleRun(due.due_ms, next(names), due.reason) for due in step.due)
    )
