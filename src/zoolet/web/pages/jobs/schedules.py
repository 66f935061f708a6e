"""The schedules of a queue: next due times, last jobs, pauses."""

from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from zoolet.console.texts import escaped, escaped_lines
from zoolet.jobs import ListedSchedule, Schedule
from zoolet.web.access.audit import audited
from zoolet.web.pages.answers import answer, done
from zoolet.web.pages.jobs.opening import opened, place_of
from zoolet.web.pages.posting import Form, page, posting, start_of
from zoolet.web.pages.site import site_of, visitor_of
from zoolet.web.pages.times import age_text, time_text

AT_ONCE: Final = 50
"""The number of schedules on one page."""


async def _schedules(request: Request) -> Response:
    start = start_of(request)
    async with opened(request) as queue:
        found = await queue.dispatcher.run(queue.dispatcher.schedules.all)
    now_s = site_of(request).time_s()
    value = queue.place.values("Schedules")
    value |= {
        "total": len(found),
        "start": start,
        "count": AT_ONCE,
        "schedules": [_shown(one, now_s) for one in found[start : start + AT_ONCE]],
    }
    return answer(
        request, "jobs/schedules.html", value, parts={"schedules": "jobs/schedules_list.html"}
    )


def _shown(listed: ListedSchedule, now_s: float) -> dict[str, Any]:
    schedule = listed.schedule
    value: dict[str, Any] = {
        "schedule": listed.name,
        "problem": escaped_lines(listed.problem),
        "next_ms": listed.next_ms,
        "_name": escaped(listed.name),
    }
    if schedule is None:
        return value
    return value | {
        "task": schedule.request.task_name,
        "cron": schedule.cron,
        "every_ms": schedule.every_ms,
        "timezone": schedule.timezone,
        "paused": schedule.paused,
        "skipped": schedule.skipped,
        "queued": len(schedule.queued),
        "last_job": schedule.last_job,
        "runs": [run._asdict() for run in schedule.runs],
        "_when": escaped(_when(schedule)),
        "_task": escaped(schedule.request.task_name),
        "_next": "none" if listed.next_ms is None else _local(listed.next_ms, schedule),
        "_last": "" if not schedule.runs else time_text(schedule.runs[-1].due_ms),
        "_last_age": "" if not schedule.runs else age_text(now_s, schedule.runs[-1].due_ms),
    }


def _when(schedule: Schedule) -> str:
    if schedule.every_ms is not None:
        return f"every {schedule.every_ms / 1000:g} s"
    return f"{schedule.cron} ({schedule.timezone})"


def _local(at_ms: int, schedule: Schedule) -> str:
    """Return a time in the time zone of a schedule, whose value was checked."""
    if schedule.timezone == "UTC":
        return time_text(at_ms)
    found = datetime.fromtimestamp(at_ms / 1000, ZoneInfo(schedule.timezone))
    return f"{found:%Y-%m-%d %H:%M:%S} {schedule.timezone}"


async def _pause(request: Request, form: Form) -> Response:
    return await _change(request, form, paused=True)


async def _resume(request: Request, form: Form) -> Response:
    return await _change(request, form, paused=False)


async def _change(request: Request, form: Form, *, paused: bool) -> Response:
    """Pause a schedule, or end its pause. A change by others at the same time stays."""
    place, name = place_of(request), form.get("schedule", "")
    operation = f"jobs.schedule.{'pause' if paused else 'resume'}"
    more = {"schedule": name}
    with audited(visitor_of(request), place.cluster.name, operation, place.path, **more):
        async with opened(request) as queue:
            schedules = queue.dispatcher.schedules
            call = schedules.pause if paused else schedules.resume
            changed = await queue.dispatcher.run(call, name)
    return done(request, place.url("schedules"), schedule=name, paused=changed.paused)


def routes() -> list[Route]:
    """Return the routes of this module."""
    url = "/c/{cluster}/jobs/{queue}/schedules"
    return [
        page(url, _schedules, "job-schedules"),
        posting(f"{url}/pause", _pause, "do-pause-schedule", changes=True),
        posting(f"{url}/resume", _resume, "do-resume-schedule", changes=True),
    ]
