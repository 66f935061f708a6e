"""The schedules of a queue, as users add, list, change and remove them.

The housekeeping of the queue's workers submits the jobs (`zoolet.jobs.schedules.scheduler`). This
module imports `zoolet.jobs.errors`, `zoolet.jobs.queue`, `zoolet.jobs.records`,
`zoolet.jobs.submit`, `zoolet.jobs.znodes` and other modules of its package.
"""

import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import NamedTuple, TypeVar

from zoolet.jobs.errors import (
    InvalidJobError,
    JobError,
    ScheduleExistsError,
    SignatureError,
    UnknownScheduleError,
    UnreadableJobError,
)
from zoolet.jobs.queue.queue import JobQueue
from zoolet.jobs.records.batches import is_batch_name
from zoolet.jobs.records.job_requests import JobRequest
from zoolet.jobs.records.schedules import (
    GRACE_MS,
    Missed,
    Overlap,
    RunReason,
    Schedule,
    ScheduleRun,
)
from zoolet.jobs.schedules.due_times import check_times, next_due_ms
from zoolet.jobs.submit.entering import Entrance, NewJob
from zoolet.jobs.znodes.deadlines import TIMEOUT_S, Deadline
from zoolet.jobs.znodes.edge import MissingError
from zoolet.jobs.znodes.layout import SCHEDULES
from zoolet.jobs.znodes.operations import Create, Operation, Refusal, RefusedError, SetData

K = TypeVar("K", Missed, Overlap)

_TRIES = 20
"""The tries of a change. A refusal means that another program changed the schedule first."""


class ListedSchedule(NamedTuple):
    """An entry in the list of a queue's schedules.

    Attributes:
        name: the name of the schedule.
        schedule: the schedule; None if its value, or its signature, is invalid.
        problem: why the schedule is invalid; "" if it is valid.
        next_ms: the next due time, in ms since the epoch; None if there is none, or if the schedule
            is paused.
    """

    name: str
    schedule: Schedule | None
    problem: str
    next_ms: int | None


class Schedules:
    """The schedules of a queue.

    Every method has ``timeout_s``, the time limit of the call in seconds; None: no limit.
    """

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._layout = queue.layout
        self._znodes = queue.layout.znodes
        self._entrance = Entrance(queue.layout, lambda _: None)

    def add(
        self,
        name: str,
        request: JobRequest,
        *,
        cron: str | None = None,
        every_ms: int | None = None,
        timezone: str = "UTC",
        start_ms: int | None = None,
        missed: Missed | str = Missed.SKIP,
        missed_most: int = 100,
        grace_ms: int = GRACE_MS,
        overlap: Overlap | str = Overlap.START,
        due_parameter: str | None = None,
        replaces: bool = False,
        timeout_s: float | None = TIMEOUT_S,
    ) -> Schedule:
        """Add a schedule, and return it.

        Args:
            name: the name of the schedule.
            request: the request for each job.
            cron: a cron expression with five fields, or six with seconds first.
            every_ms: the interval in ms, instead of a cron expression.
            timezone: the time zone of the cron expression, like ``Europe/Berlin``.
            start_ms: the time, in ms since the epoch, at which an interval begins, and before which
                there is no due time; None: now.
            missed: what happens to due times that no worker handled within ``grace_ms``.
            missed_most: the most missed due times that get jobs, for `Missed.ALL`.
            grace_ms: the time, in ms, after which a due time is missed.
            overlap: what happens if the job of the last run has not ended.
            due_parameter: the parameter of the task that gets the due time in ms since the epoch.
            replaces: whether to replace a schedule of this name. The new schedule keeps the runs.
            timeout_s: the time limit of the call.

        Raises:
            InvalidJobError: a value is invalid; nothing was added.
            ScheduleExistsError: the queue already has a schedule of this name.
        """
        with self._within(timeout_s, "add a schedule", unknown="it may have been added"):
            now_ms = self._queue.server_time_ms()
            schedule = Schedule(
                name,
                request,
                cron=cron,
                every_ms=every_ms,
                timezone=timezone,
                start_ms=now_ms if start_ms is None else start_ms,
                missed=_kind(Missed, missed),
                missed_most=missed_most,
                grace_ms=grace_ms,
                overlap=_kind(Overlap, overlap),
                due_parameter=due_parameter,
                last_due_ms=now_ms,
            )
            check_times(schedule)
            if next_due_ms(schedule, now_ms) is None:
                raise InvalidJobError(f"schedule {name}: {cron} has no time in the next 50 years")
            return self._put(schedule, replaces=replaces)

    def _put(self, schedule: Schedule, *, replaces: bool) -> Schedule:
        if self._queue.signer is not None:
            schedule = self._queue.signer.signed_schedule(schedule)
        path = self._path(schedule.name)
        self._layout.check()
        self._znodes.ensure(self._znodes.path(SCHEDULES))
        for _ in range(_TRIES):
            found = self._znodes.get(path) if replaces else None
            if found is None:
                data = schedule.encode()
                write: Operation = Create(path, data)
            else:
                try:
                    old = Schedule.decode(schedule.name, found.data)
                    data = replace(schedule, runs=old.runs, skipped=old.skipped).encode()
                except UnreadableJobError:
                    data = schedule.encode()
                write = SetData(path, data, found.version)
            try:
                self._znodes.multi([write], landed=partial(self._reads, path, data))
            except RefusedError as refused:
                if not replaces and refused.reason is Refusal.EXISTS:
                    raise ScheduleExistsError(
                        f"a schedule {schedule.name} is in this queue already: choose another"
                        " name, or replace that schedule"
                    ) from None
                continue
            return schedule
        raise _changing(schedule.name)

    def _reads(self, path: str, data: bytes) -> bool:
        found = self._znodes.get(path)
        return found is not None and found.data == data

    def get(self, name: str, *, timeout_s: float | None = TIMEOUT_S) -> Schedule:
        """Return a schedule.

        Raises:
            UnknownScheduleError: the queue has no schedule of this name.
            UnreadableJobError: the value of its znode is invalid.
        """
        with self._within(timeout_s, "read a schedule"):
            return self._read(name)[0]

    def next_ms(self, schedule: Schedule) -> int | None:
        """Return the next due time of a schedule, in ms since the epoch; None if there is none."""
        return None if schedule.paused else next_due_ms(schedule, schedule.last_due_ms)

    def all(self, *, timeout_s: float | None = TIMEOUT_S) -> list[ListedSchedule]:
        """Return all schedules of the queue, in the order of their names."""
        with self._within(timeout_s, "list the schedules", each_request=True):
            try:
                names = sorted(self._znodes.children(self._znodes.path(SCHEDULES)))
            except MissingError:
                self._layout.check()
                return []
            znodes = self._znodes.get_all([self._path(name) for name in names])
            return [
                self._listed(name, znode.data)
                for name, znode in zip(names, znodes, strict=True)
                if znode is not None
            ]

    def _listed(self, name: str, data: bytes) -> ListedSchedule:
        try:
            schedule = Schedule.decode(name, data)
            check_times(schedule)
        except (UnreadableJobError, InvalidJobError) as error:
            return ListedSchedule(name, None, str(error), None)
        signer = self._queue.signer
        refusal = None if signer is None else signer.refusal_of_schedule(schedule)
        if refusal is not None:
            return ListedSchedule(name, None, refusal, None)
        return ListedSchedule(name, schedule, "", self.next_ms(schedule))

    def pause(self, name: str, *, timeout_s: float | None = TIMEOUT_S) -> Schedule:
        """Ignore the due times of a schedule until `resume`.

        Raises:
            UnknownScheduleError: the queue has no schedule of this name.
        """
        with self._within(timeout_s, "pause a schedule", unknown="it may be paused"):
            return self._change(name, lambda schedule: replace(schedule, paused=True))

    def resume(self, name: str, *, timeout_s: float | None = TIMEOUT_S) -> Schedule:
        """End the pause of a schedule. The due times of the pause get no jobs.

        Raises:
            UnknownScheduleError: the queue has no schedule of this name.
        """
        with self._within(timeout_s, "resume a schedule", unknown="it may be resumed"):
            now_ms = self._queue.server_time_ms()

            def resumed(schedule: Schedule) -> Schedule:
                if not schedule.paused:
                    return schedule
                last_due_ms = max(now_ms, schedule.last_due_ms)
                return replace(schedule, paused=False, last_due_ms=last_due_ms)

            return self._change(name, resumed)

    def remove(self, name: str, *, timeout_s: float | None = TIMEOUT_S) -> None:
        """Remove a schedule. Its jobs stay.

        Raises:
            UnknownScheduleError: the queue has no schedule of this name.
        """
        with self._within(timeout_s, "remove a schedule", unknown="it may be removed"):
            path = self._path(name)
            if not self._znodes.exists(path):
                raise _unknown(name)
            self._znodes.delete_tree(path)

    def run_now(self, name: str, *, timeout_s: float | None = TIMEOUT_S) -> str:
        """Submit a job of a schedule now, also if it is paused; return the name of the job.

        Raises:
            UnknownScheduleError: the queue has no schedule of this name.
            SignatureError: this program has keys, and the schedule's signature is not valid.
        """
        with self._within(timeout_s, "run a schedule", unknown="a job may have been submitted"):
            now_ms = self._queue.server_time_ms()
            for _ in range(_TRIES):
                schedule, version = self._read(name)
                draft = schedule.draft(now_ms, f"{uuid.uuid4().hex[:16]}-0", now_ms)
                if (signer := self._queue.signer) is not None:
                    if (refusal := signer.refusal_of_schedule(schedule)) is not None:
                        raise SignatureError(refusal)
                    draft = signer.job_of(schedule, draft)

                def also(
                    names: Sequence[str], schedule: Schedule = schedule, version: int = version
                ) -> list[Operation]:
                    after = schedule.with_runs(ScheduleRun(now_ms, names[0], RunReason.NOW))
                    return [SetData(self._path(name), after.encode(), version)]

                try:
                    new = NewJob(draft, has_key=False, key_version=None)
                    return self._entrance.enter([new], also)[0]
                except RefusedError:
                    continue
            raise _changing(name)

    def _change(self, name: str, change: Callable[[Schedule], Schedule]) -> Schedule:
        for _ in range(_TRIES):
            schedule, version = self._read(name)
            after = change(schedule)
            if after == schedule:
                return after
            path, data = self._path(name), after.encode()
            try:
                self._znodes.multi(
                    [SetData(path, data, version)],
                    landed=partial(self._reads, path, data),
                )
            except RefusedError:
                continue
            return after
        raise _changing(name)

    def _read(self, name: str) -> tuple[Schedule, int]:
        found = self._znodes.get(self._path(name))
        if found is None:
            self._layout.check()
            raise _unknown(name)
        return Schedule.decode(name, found.data), found.version

    def _path(self, name: str) -> str:
        if not is_batch_name(name):
            raise UnknownScheduleError(f"{name!r} is not the name of a schedule")
        return self._znodes.path(SCHEDULES, name)

    @property
    def _within(self) -> Callable[..., AbstractContextManager[Deadline]]:
        return self._znodes.within


def _kind(kind: type[K], value: str) -> K:
    try:
        return kind(value)
    except ValueError:
        raise InvalidJobError(f"{value!r} is not one of {', '.join(kind)}") from None


def _unknown(name: str) -> UnknownScheduleError:
    return UnknownScheduleError(f"no schedule {name} is in this queue")


def _changing(name: str) -> JobError:
    return JobError(
        f"the schedule {name} was not changed: other programs change it all the time. Try again"
    )
