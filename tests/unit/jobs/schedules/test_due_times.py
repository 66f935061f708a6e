"""Due times: intervals, cron expressions, time zones, and changes of daylight saving."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from zoolet.jobs import JobRequest
from zoolet.jobs.errors import InvalidJobError
from zoolet.jobs.records.job_values import TIME_LIMIT_MS
from zoolet.jobs.records.schedules import Schedule
from zoolet.jobs.schedules.due_times import check_times, last_due_ms, next_due_ms

DAY_MS = 24 * 3_600_000
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")
EXPRESSIONS = (
    "* * * * *",
    "*/15 * * * *",
    "30 2 * * *",
    "0 0,2,3 * * *",
    "45 1-3 * * *",
    "15 */2 * * *",
    "0 12 * * MON",
    "*/20 30 1,2 * * *",
)


def ms(text: str, zone: str = "UTC", fold: int = 0) -> int:
    local = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)
    return round(local.timestamp() * 1000)


def by_cron(cron: str, zone: str = "UTC", start_ms: int = 0) -> Schedule:
    return Schedule("s", JobRequest("m:f"), cron=cron, timezone=zone, start_ms=start_ms)


def by_interval(every_ms: int, start_ms: int = 0) -> Schedule:
    return Schedule("s", JobRequest("m:f"), every_ms=every_ms, start_ms=start_ms)


def between(schedule: Schedule, after_ms: int, until_ms: int) -> list[int]:
    found = []
    due_ms = next_due_ms(schedule, after_ms)
    while due_ms is not None and due_ms <= until_ms:
        found.append(due_ms)
        due_ms = next_due_ms(schedule, due_ms)
    return found


def local(times_ms: Sequence[int], zone: str) -> list[str]:
    at = [datetime.fromtimestamp(time_ms / 1000, ZoneInfo(zone)) for time_ms in times_ms]
    return [time.strftime("%d %H:%M %z") for time in at]


def test_an_interval_begins_at_its_start() -> None:
    schedule = by_interval(5000, start_ms=12_345)
    assert next_due_ms(schedule, 0) == 12_345
    assert between(schedule, 12_345, 28_000) == [17_345, 22_345, 27_345]
    assert last_due_ms(schedule, 0, 10**12, 2) == [10**12 - 7655, 10**12 - 2655]
    assert next_due_ms(schedule, TIME_LIMIT_MS) is None


def test_a_cron_expression_in_a_time_zone() -> None:
    schedule = by_cron("30 8 * * MON-FRI", "Asia/Kathmandu")
    found = between(schedule, ms("2026-01-02T12:00"), ms("2026-01-06T12:00"))
    assert found == [ms("2026-01-05T02:45"), ms("2026-01-06T02:45")]
    assert next_due_ms(by_cron("0 0 1 1 *"), TIME_LIMIT_MS) is None
    assert next_due_ms(by_cron("* * * * *", start_ms=90_000), 0) == 120_000


def test_the_hour_that_does_not_exist() -> None:
    # On 29 March 2026 in Berlin, 02:00 is followed by 03:00.
    zone, after, until = "Europe/Berlin", ms("2026-03-28T12:00"), ms("2026-03-30T01:00")
    found = local(between(by_cron("30 2 * * *", zone), after, until), zone)
    assert found == ["29 03:00 +0200", "30 02:30 +0200"]
    found = local(between(by_cron("0 2,3 * * *", zone), after, until), zone)
    assert found == ["29 03:00 +0200", "30 02:00 +0200", "30 03:00 +0200"]
    hourly = between(by_cron("0 * * * *", zone), after, until)
    assert {b - a for a, b in pairwise(hourly)} == {3_600_000}


def test_the_hour_that_occurs_twice() -> None:
    # On 25 October 2026 in Berlin, 03:00 is followed by 02:00.
    zone, after, until = "Europe/Berlin", ms("2026-10-24T12:00"), ms("2026-10-25T12:00")
    found = local(between(by_cron("30 2 * * *", zone), after, until), zone)
    assert found == ["25 02:30 +0200"]
    hourly = between(by_cron("0 * * * *", zone), after, until)
    assert {b - a for a, b in pairwise(hourly)} == {3_600_000}
    # In the second of the two hours, the time of the first is in the past.
    second = ms("2026-10-25T02:15", zone, fold=1)
    assert next_due_ms(by_cron("30 2 * * *", zone), second) == ms("2026-10-26T02:30", zone)


def test_due_times_do_not_depend_on_the_time_from_which_they_are_computed() -> None:
    chance = random.Random(2026)
    changes = [datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)]
    changes += [datetime(2026, 3, 8, tzinfo=UTC), datetime(2026, 4, 5, tzinfo=UTC)]
    for _ in range(60):
        schedule = by_cron(chance.choice(EXPRESSIONS), chance.choice(ZONES))
        around = chance.choice(changes) + timedelta(hours=chance.uniform(-10, 10))
        after_ms = round(around.timestamp() * 1000)
        until_ms = after_ms + DAY_MS // 2
        all_ms = between(schedule, after_ms, until_ms)
        assert all(a < b for a, b in pairwise(all_ms))
        for _ in range(5):
            first_ms = chance.randrange(after_ms, until_ms)
            assert next_due_ms(schedule, first_ms) == next(
                (due_ms for due_ms in all_ms if due_ms > first_ms),
                next_due_ms(schedule, until_ms),
            )
            most = chance.randint(1, 5)
            last = last_due_ms(schedule, after_ms, first_ms, most)
            assert last == [due_ms for due_ms in all_ms if due_ms <= first_ms][-most:]


@pytest.mark.parametrize(
    "cron",
    ["", "* * * *", "60 * * * *", "x * * * *", "* * 30 2 *", "* * * * MON#9", "* * L/2 * L#1"],
)
def test_an_invalid_expression_is_a_clear_error(cron: str) -> None:
    with pytest.raises(InvalidJobError, match=r"cron"):
        check_times(by_cron(cron))


@pytest.mark.parametrize("zone", ["Nowhere/Town", "../etc/passwd", "x\x00y", "/etc/passwd"])
def test_an_invalid_time_zone_is_a_clear_error(zone: str) -> None:
    with pytest.raises(InvalidJobError, match="time zone"):
        check_times(by_cron("* * * * *", zone))
