"""Jobs of a queue by state, task, dataset, batch and error, a part at a time."""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from zoolet.console.texts import duration, escaped
from zoolet.jobs import Job, JobState, attempt_duration_ms
from zoolet.web.jobs.scanning import (
    Search,
    fields_of,
    filter_of,
    first_jobs,
    parse_position,
    places_of,
)
from zoolet.web.pages.answers import answer
from zoolet.web.pages.jobs.opening import opened
from zoolet.web.pages.posting import page
from zoolet.web.pages.site import site_of
from zoolet.web.pages.times import age_text, time_text

AT_ONCE: Final = 50
"""Most jobs on one page."""

_SUMMARY: Final = (
    "task", "dataset", "groupid", "state", "attempts", "max_attempts", "priority", "batch",
    "worker", "submitted_ms", "started_ms", "finished_ms", "last_error",
)  # fmt: skip


async def _list(request: Request) -> Response:
    site = site_of(request)
    given = dict(request.query_params)
    fields = fields_of(given)
    wanted = filter_of(fields)
    places = places_of(wanted.state)
    after = parse_position(given.get("after", ""), places)
    async with opened(request) as queue:
        what = Search(queue.dispatcher, site.lists, queue.connection, wanted, places)
        jobs, searched = await first_jobs(what, AT_ONCE, after=after)
    now_ms = int(site.time_s() * 1000)
    value = queue.place.values("Jobs")
    value |= {
        "filter": fields,
        "jobs": [summary(job, now_ms) for job in jobs],
        "read": searched.read,
        "after": None if searched.after is None else str(searched.after),
        "is_first": after is None,
        "_states": [str(state) for state in JobState],
    }
    return answer(request, "jobs/list.html", value)


def summary(job: Job, now_ms: int) -> dict[str, Any]:
    """Return what a list shows of a job."""
    found = {"job": job.name} | {name: getattr(job, name) for name in _SUMMARY}
    duration_ms = attempt_duration_ms(job, now_ms)
    ended_ms = job.finished_ms or job.started_ms or job.submitted_ms
    return found | {
        "duration_ms": duration_ms,
        "last_error": escaped(job.last_error),
        "_duration": duration(duration_ms),
        "_time": time_text(ended_ms),
        "_age": age_text(now_ms / 1000, ended_ms),
    }


def routes() -> list[Route]:
    """Return the routes of this module."""
    return [page("/c/{cluster}/jobs/{queue}/list", _list, "job-list")]
