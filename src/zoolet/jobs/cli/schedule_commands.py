"""The commands ``zoolet jobs schedule ...``, with which users add, list and change schedules.

This module imports click, `zoolet.console` and other packages of `zoolet.jobs`.
"""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import click

from zoolet.console.terminal import one_line
from zoolet.jobs.cli.options import (
    UNIT_MS,
    Target,
    by_servers_time,
    command_on_queue,
    json_object,
    moment,
)
from zoolet.jobs.dispatcher.dispatcher import Dispatcher
from zoolet.jobs.errors import JobNotFoundError
from zoolet.jobs.records.job_names import PRIORITY_MAX
from zoolet.jobs.records.job_requests import JobRequest
from zoolet.jobs.records.job_values import MAX_ATTEMPTS_LIMIT
from zoolet.jobs.records.schedules import GRACE_MS, MISSED_MOST, Missed, Overlap, Schedule

_DURATION = re.compile(r"(\d{1,12})(ms|s|m|h|d)")
_REQUEST_NAMES = (
    "task", "dataset", "groupid", "parameters", "priority", "max_attempts", "backoff_ms",
    "timeout_ms", "limit_key", "tags",
)  # fmt: skip


@click.group("schedule")
def schedule() -> None:
    """Submit jobs at the times of a cron expression, or at an interval."""


def _command(*options: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function a command on schedules; see `command_on_queue`."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        name = function.__name__.removesuffix("_schedules").replace("_", "-")
        schedule.add_command(command_on_queue(function, options, name=name))
        return function

    return decorate


def _duration_ms(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    match = _DURATION.fullmatch(value)
    if match is None:
        raise click.BadParameter(
            f"{value!r} is not a duration like 30s or 1h (units: ms, s, m, h, d)"
        )
    return int(match[1]) * UNIT_MS[match[2]]


_name = click.argument("name")


@_command(
    _name,
    click.option("--cron", help="Cron expression: minute, hour, day of month, month, weekday."),
    click.option(
        "--every", "every_ms", callback=_duration_ms, help="Interval, like 30s, 5m, 1h or 1d."
    ),
    click.option(
        "--timezone",
        default="UTC",
        show_default=True,
        help="Time zone of the cron expression, like Europe/Berlin.",
    ),
    click.option(
        "--start",
        "start_ms",
        callback=moment,
        help="Time at which the interval begins, like 2026-01-31T08:00 or +30s.  [default: now]",
    ),
    click.option(
        "--missed",
        type=click.Choice([one.value for one in Missed]),
        default=Missed.SKIP.value,
        show_default=True,
        help="What happens to due times while no worker ran: no job, one job, or a job for each.",
    ),
    click.option(
        "--missed-most",
        type=click.IntRange(1, MISSED_MOST),
        default=100,
        show_default=True,
        help="Largest number of missed due times that get jobs with --missed all.",
    ),
    click.option(
        "--grace-ms",
        type=click.IntRange(min=0),
        default=GRACE_MS,
        show_default=True,
        help="A due time is missed if no worker handled it within this time.",
    ),
    click.option(
        "--overlap",
        type=click.Choice([one.value for one in Overlap]),
        default=Overlap.START.value,
        show_default=True,
        help="What happens if the last run has not ended: start the next one, skip it, or queue it"
        " until the last run has ended.",
    ),
    click.option("--due-parameter", help="Parameter of the task that gets the due time, in ms."),
    click.option("--replace", "replaces", is_flag=True, help="Replace a schedule of this name."),
    click.option("--task", required=True, help="Function to run: module:function."),
    click.option("--dataset", help="Dataset of the job. Needs --group."),
    click.option("--group", "groupid", help="Group of the dataset."),
    click.option(
        "--parameters",
        default="{}",
        show_default=True,
        callback=json_object,
        help="Parameters of the task, a JSON object.",
    ),
    click.option(
        "--priority",
        type=click.IntRange(0, PRIORITY_MAX),
        default=0,
        show_default=True,
        help="Priority; jobs of greater priority start first.",
    ),
    click.option(
        "--max-attempts",
        type=click.IntRange(1, MAX_ATTEMPTS_LIMIT),
        default=3,
        show_default=True,
        help="Number of failed attempts after which a job is FAILED.",
    ),
    click.option(
        "--backoff-ms",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Delay before the first retry. It doubles with each attempt.",
    ),
    click.option(
        "--timeout-ms", type=click.IntRange(min=1), help="Time limit of an attempt; then it fails."
    ),
    click.option("--limit-key", help="Key by which limits of the queue count the job."),
    click.option(
        "--tag",
        "tags",
        multiple=True,
        help="Tag that a worker must have to take the job. May be repeated.",
    ),
)
def add(dispatcher: Dispatcher, target: Target, name: str, **values: Any) -> None:
    """Add a schedule; give --cron or --every."""
    request = JobRequest(**{key: values.pop(key) for key in _REQUEST_NAMES})
    added = dispatcher.schedules.add(name, request, **by_servers_time(dispatcher, values))
    next_ms = dispatcher.schedules.next_ms(added)
    target.printer.answer(
        {"schedule": name, "next_ms": next_ms},
        f"schedule {name}: the first due time is {_time(next_ms, added)}",
    )


@_command()
def list_schedules(dispatcher: Dispatcher, target: Target) -> None:
    """List the schedules of a queue, with their next due times and last jobs."""
    rows = []
    for name, found, problem, next_ms in dispatcher.schedules.all():
        if target.printer.is_json:
            shown = {"schedule": name, "problem": problem or None, "next_ms": next_ms}
            target.printer.answer(shown | ({} if found is None else _as_json(found)))
        elif found is None:
            rows.append((name, "", "", "", problem))
        else:
            next_due = "paused" if found.paused else _time(next_ms, found)
            rows.append((name, _when(found), found.request.task_name, next_due, _last(found)))
    if not target.printer.is_json:
        target.printer.records(("schedule", "when", "task", "next due time", "last job"), rows)


def _last(found: Schedule) -> str:
    return "" if not found.runs else found.runs[-1].job or found.runs[-1].reason


@_command(_name)
def show(dispatcher: Dispatcher, target: Target, name: str) -> None:
    """Show a schedule: its settings, its next due time, and its last runs."""
    found = dispatcher.schedules.get(name)
    next_ms = dispatcher.schedules.next_ms(found)
    runs = []
    for run in found.runs:
        state: str | None = None
        if run.job is not None:
            try:
                state = dispatcher.queue.find(run.job).state
            except JobNotFoundError:
                state = "REMOVED"
        runs.append(run._asdict() | {"due": _time(run.due_ms, found), "state": state})
    shown = {"schedule": name, "next_due": _time(next_ms, found), "next_ms": next_ms}
    shown |= _as_json(found) | {"runs": runs}
    target.printer.answer(shown, json.dumps(shown, indent=2))


@_command(_name)
def pause(dispatcher: Dispatcher, target: Target, name: str) -> None:
    """Ignore the due times of a schedule until it is resumed."""
    dispatcher.schedules.pause(name)
    target.printer.answer({"schedule": name, "paused": True}, f"paused: {one_line(name)}")


@_command(_name)
def resume(dispatcher: Dispatcher, target: Target, name: str) -> None:
    """End the pause of a schedule; due times of the pause get no jobs."""
    found = dispatcher.schedules.resume(name)
    next_ms = dispatcher.schedules.next_ms(found)
    target.printer.answer(
        {"schedule": name, "paused": False, "next_ms": next_ms},
        f"resumed: {one_line(name)}; the next due time is {_time(next_ms, found)}",
    )


@_command(_name)
def remove(dispatcher: Dispatcher, target: Target, name: str) -> None:
    """Remove a schedule; its jobs stay."""
    dispatcher.schedules.remove(name)
    target.printer.answer({"schedule": name, "removed": True}, f"removed: {one_line(name)}")


@_command(_name)
def run_now(dispatcher: Dispatcher, target: Target, name: str) -> None:
    """Submit a job of a schedule now, and print the job's name."""
    job = dispatcher.schedules.run_now(name)
    target.printer.answer({"schedule": name, "job": job}, job)


def _when(found: Schedule) -> str:
    if found.every_ms is not None:
        return f"every {found.every_ms / 1000:g} s"
    return f"{found.cron} ({found.timezone})"


def _as_json(found: Schedule) -> dict[str, Any]:
    return json.loads(found.encode())  # type: ignore[no-any-return]


def _time(at_ms: int | None, found: Schedule) -> str:
    """Return a time in the time zone of a schedule, like 2026-01-31T08:00:00+01:00."""
    if at_ms is None:
        return "none"
    zone: tzinfo = UTC if found.timezone == "UTC" else ZoneInfo(found.timezone)
    return datetime.fromtimestamp(at_ms / 1000, zone).isoformat(timespec="seconds")
