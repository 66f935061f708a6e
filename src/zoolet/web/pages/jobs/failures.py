"""FAILED jobs of a queue, grouped by task and by the type of their last error."""

import re
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from zoolet.console.texts import escaped
from zoolet.jobs import Job, JobState, Place
from zoolet.web.jobs.scanning import Search, filter_of, parse_position, search
from zoolet.web.pages.answers import answer
from zoolet.web.pages.jobs.opening import opened
from zoolet.web.pages.posting import page
from zoolet.web.pages.site import site_of
from zoolet.web.pages.times import age_text, time_text

MOST_READ: Final = 5000
"""Most ended jobs that one page reads."""

MOST_GROUPS: Final = 100
"""Most groups that the page shows; those with the most jobs are shown."""

_TYPE: Final = re.compile(r"[\w.]{1,200}(?=:|$)")
_MOST_TYPE: Final = 80


@dataclass(slots=True)
class _Group:
    """The FAILED jobs of a task with errors of one type, and the newest of them."""

    task: str
    kind: str
    jobs: int = 0
    newest: str = ""
    newest_ms: int = -1
    last_error: str = ""


async def _failures(request: Request) -> Response:
    site = site_of(request)
    given = dict(request.query_params)
    fields = {name: given.get(name, "") for name in ("task", "dataset", "batch")}
    wanted = filter_of(fields | {"state": JobState.FAILED})
    after = parse_position(given.get("after", ""), [Place.DONE])
    groups: dict[tuple[str, str], _Group] = {}

    def add(job: Job) -> bool:
        _add(groups, job)
        return True

    async with opened(request) as queue:
        what = Search(queue.dispatcher, site.lists, queue.connection, wanted, [Place.DONE])
        searched = await search(what, add, after=after, most_read=MOST_READ)
    ordered = sorted(groups.values(), key=lambda group: -group.jobs)
    value = queue.place.values("Failures")
    value |= {
        "filter": fields,
        "groups": [_shown(group, site.time_s()) for group in ordered[:MOST_GROUPS]],
        "left_out": max(0, len(ordered) - MOST_GROUPS),
        "read": searched.read,
        "failed": sum(group.jobs for group in ordered),
        "after": None if searched.after is None else str(searched.after),
        "is_first": after is None,
    }
    return answer(request, "jobs/failures.html", value)


def _add(groups: dict[tuple[str, str], _Group], job: Job) -> None:
    kind = kind_of(job.last_error)
    group = groups.setdefault((job.task, kind), _Group(job.task, kind))
    group.jobs += 1
    ended_ms = job.finished_ms or 0
    if ended_ms > group.newest_ms:
        group.newest, group.newest_ms, group.last_error = job.name, ended_ms, job.last_error


def kind_of(last_error: str) -> str:
    """Return what jobs with the same cause have in common in their last error.

    This is the type of the exception, or else the beginning of the text. A filter with this text
    selects the jobs.
    """
    found = _TYPE.match(last_error)
    return found[0] if found is not None else last_error[:_MOST_TYPE].strip()


def _shown(group: _Group, now_s: float) -> dict[str, Any]:
    return {
        "task": group.task,
        "kind": group.kind,
        "jobs": group.jobs,
        "newest": group.newest,
        "newest_ms": group.newest_ms,
        "last_error": escaped(group.last_error),
        "_kind": escaped(group.kind) or "no error",
        "_time": time_text(group.newest_ms),
        "_age": age_text(now_s, group.newest_ms),
    }


def routes() -> list[Route]:
    """Return the routes of this module."""
    return [page("/c/{cluster}/jobs/{queue}/failures", _failures, "job-failures")]
