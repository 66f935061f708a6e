"""What a schedule does at a time: the due times that get jobs, and the schedule's next value.

The functions are pure. `zoolet.jobs.schedules.scheduler` reads and writes the znodes. Invariant: a
due time gets at most one job, because a step moves ``last_due_ms`` past all due times that it
handles. This module imports `zoolet.jobs.records` and other modules of its package.
"""

from dataclasses import replace
from typing import NamedTuple

from zoolet.jobs.records.schedules import (
    QUEUED_MOST,
    Missed,
    Overlap,
    RunReason,
    Schedule,
    ScheduleRun,
)
from zoolet.jobs.schedules.due_times import last_due_ms

ON_TIME_MOST = 1000
"""The most due times within the grace time that get jobs at once. Older ones get no jobs."""


class Due(NamedTuple):
    """A due time that gets a job now."""

    due_ms: int
    reason: RunReason


class Step(NamedTuple):
    """A change of a schedule.

    Attributes:
        after: the value of the schedule after the step, without the runs of ``due``.
        due: the due times that get jobs in the same multi.
    """

    after: Schedule
    due: tuple[Due, ...]


def plan(schedule: Schedule, now_ms: int, most: int, *, is_running: bool) -> Step | None:
    """Return the next step of a schedule; None if the schedule has nothing to do now.

    Args:
        schedule: the value of the schedule.
        now_ms: the server's time, in ms since the epoch.
        most: the most jobs of a step. If there are more, the next step has them.
        is_running: whether the job of the last run has not ended.
    """
    if schedule.paused:
        return None
    due = due_now(schedule, now_ms)
    newest = last_due_ms(schedule, schedule.last_due_ms, now_ms, 1)
    handled = replace(schedule, last_due_ms=newest[0]) if newest else schedule
    if schedule.overlap is Overlap.QUEUE:
        step = _queued(handled, due, is_running=is_running)
    elif schedule.overlap is Overlap.SKIP:
        step = _skipped(handled, due, is_running=is_running)
    elif len(due) > most:
        handled = replace(schedule, last_due_ms=due[most - 1].due_ms)
        step = Step(handled, tuple(due[:most]))
    else:
        step = Step(handled, tuple(due))
    return None if step.after == schedule and not step.due else step


def due_now(schedule: Schedule, now_ms: int) -> list[Due]:
    """Return the due times that have come, without the missed ones that get no jobs."""
    grace_began_ms = max(schedule.last_due_ms, now_ms - schedule.grace_ms - 1)
    most = {Missed.SKIP: 0, Missed.ONCE: 1, Missed.ALL: schedule.missed_most}[schedule.missed]
    missed = last_due_ms(schedule, schedule.last_due_ms, grace_began_ms, most) if most else []
    on_time = last_due_ms(schedule, grace_began_ms, now_ms, ON_TIME_MOST)
    return [Due(due_ms, RunReason.MISSED) for due_ms in missed] + [
        Due(due_ms, RunReason.DUE) for due_ms in on_time
    ]


def _skipped(schedule: Schedule, due: list[Due], *, is_running: bool) -> Step:
    """Return the step for `Overlap.SKIP`: only the last due time gets a job."""
    if not due:
        return Step(schedule, ())
    chosen = () if is_running else (due[-1],)
    after = replace(schedule, skipped=schedule.skipped + len(due) - len(chosen))
    if is_running:
        after = after.with_runs(ScheduleRun(due[-1].due_ms, None, RunReason.SKIPPED))
    return Step(after, chosen)


def _queued(schedule: Schedule, due: list[Due], *, is_running: bool) -> Step:
    """Return the step for `Overlap.QUEUE`: the first due time that waits gets a job."""
    waiting = [*(Due(due_ms, RunReason.QUEUED) for due_ms in schedule.queued), *due]
    chosen = () if is_running else tuple(waiting[:1])
    waiting = waiting[len(chosen) :]
    after = replace(
        schedule,
        queued=tuple(one.due_ms for one in waiting[:QUEUED_MOST]),
        skipped=schedule.skipped + len(waiting[QUEUED_MOST:]),
    )
    return Step(after, chosen)
