"""The due times of a schedule: cron expressions in time zones, and intervals.

Invariants: due times are strictly increasing, and do not depend on the time from which they are
computed. A change of daylight saving has the effect that it has on Debian's cron (docs/jobs-
schedules.md). This module imports `zoolet.console`, `zoolet.jobs.errors`, `zoolet.jobs.records`
and, when the first cron expression is used, cronsim.
"""

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from itertools import takewhile
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from zoolet.console.extras import explain_import
from zoolet.jobs.errors import InvalidJobError
from zoolet.jobs.records.job_values import TIME_LIMIT_MS
from zoolet.jobs.records.schedules import Schedule

if TYPE_CHECKING:
    from cronsim import CronSim

_FIRST_SPAN_MS: Final = 3_600_000
"""The first span in which the last due times are searched; it grows until it has enough of them."""
_SPAN_GROWTH: Final = 4
_SECOND_MS: Final = 1000
_LOCAL_MARGIN_MS: Final = 3 * 24 * 3600 * 1000
"""The distance from the end of the year 9999 at which local times end, too."""


def check_times(schedule: Schedule) -> None:
    """Raise InvalidJobError if the cron expression or the time zone of a schedule is invalid."""
    _zone(schedule.timezone)
    if schedule.cron is not None:
        _simulation(schedule.cron, datetime(2000, 1, 1, tzinfo=UTC))


def next_due_ms(schedule: Schedule, after_ms: int) -> int | None:
    """Return the first due time after a time; None if there is none in the next fifty years."""
    return next(_due_after(schedule, after_ms), None)


def last_due_ms(schedule: Schedule, after_ms: int, until_ms: int, most: int) -> list[int]:
    """Return the last ``most`` due times after ``after_ms`` and up to ``until_ms``, in order.

    The time that this takes depends on ``most``, not on the length of the span, unless the due
    times are rare.
    """
    span_ms = _FIRST_SPAN_MS
    while True:
        first_ms = max(after_ms, until_ms - span_ms)
        found = deque(
            takewhile(lambda due_ms: due_ms <= until_ms, _due_after(schedule, first_ms)), most
        )
        if len(found) == most or first_ms == after_ms:
            return list(found)
        span_ms *= _SPAN_GROWTH


def _due_after(schedule: Schedule, after_ms: int) -> Iterator[int]:
    after_ms = max(after_ms, schedule.start_ms - 1)
    if schedule.every_ms is not None:
        passed = max(0, (after_ms - schedule.start_ms) // schedule.every_ms)
        due_ms = schedule.start_ms + passed * schedule.every_ms
        while due_ms <= TIME_LIMIT_MS:
            if due_ms > after_ms:
                yield due_ms
            due_ms += schedule.every_ms
        return
    if schedule.cron is None or after_ms > TIME_LIMIT_MS - _LOCAL_MARGIN_MS:
        return
    # The instant before the first possible due time, in whole seconds.
    start = datetime.fromtimestamp(after_ms // _SECOND_MS, _zone(schedule.timezone))
    simulation = _simulation(schedule.cron, start)
    while True:
        try:
            due_ms = round(next(simulation).timestamp()) * _SECOND_MS
        except (StopIteration, OverflowError, ValueError):
            # There is no due time in the next fifty years, or before the year 10000.
            return
        # In the hour that a change of daylight saving repeats, cronsim may begin with the first
        # of the two hours.
        if due_ms > after_ms:
            yield due_ms
            after_ms = due_ms


def _simulation(cron: str, start: datetime) -> "CronSim":
    try:
        from cronsim import CronSim, CronSimError  # noqa: PLC0415 -- only for cron expressions
    except ImportError as error:
        raise InvalidJobError(explain_import(error) or str(error)) from error

    try:
        return CronSim(cron, start)
    except (CronSimError, AssertionError, ValueError, TypeError, IndexError) as error:
        raise InvalidJobError(
            f"{cron!r} is not a cron expression ({error}): it has five fields (minute, hour, day of"
            " month, month, day of week), like 30 2 * * MON-FRI, or six, with seconds first"
        ) from None


@lru_cache(256)
def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:
        raise InvalidJobError(
            f"{name!r} is not the name of a time zone ({error}): use a name like Europe/Berlin; if"
            " this system has no time zones, run pip install tzdata"
        ) from None
