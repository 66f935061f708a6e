"""The batches of a queue, each with a bar of its progress, and the page of one batch."""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from zoolet.client import NoNodeError
from zoolet.console.texts import escaped, escaped_lines
from zoolet.jobs import BatchView, batch_views
from zoolet.model import paths
from zoolet.web.pages.answers import answer
from zoolet.web.pages.jobs.opening import OpenQueue, opened
from zoolet.web.pages.posting import page, start_of
from zoolet.web.pages.site import site_of
from zoolet.web.pages.times import age_text, time_text

AT_ONCE: Final = 20
"""The number of batches on one page."""

_BATCHES: Final = "batches"


async def _batches(request: Request) -> Response:
    site = site_of(request)
    start, text = start_of(request), request.query_params.get("filter", "")
    async with opened(request) as queue:
        parent = paths.join(queue.place.path, _BATCHES)
        try:
            found = await site.lists.page(
                queue.connection, parent, start=start, count=AT_ONCE, filter_text=text
            )
            total, names = found.total, found.names
        except NoNodeError:  # a queue of an early version
            total, names = 0, []
        views = await _views(request, queue, names)
    value = queue.place.values("Batches")
    value |= {
        "total": total,
        "start": start,
        "count": AT_ONCE,
        "filter": text,
        "batches": [batch_values(view, site.time_s()) for view in views],
    }
    return answer(request, "jobs/batches.html", value, parts={"batches": "jobs/batches_list.html"})


async def _batch(request: Request) -> Response:
    site = site_of(request)
    async with opened(request) as queue:
        reader = site.batch_readers.of(
            queue.connection.number, queue.place.path, request.path_params["batch"]
        )
        jobs = queue.dispatcher.queue
        view = await queue.dispatcher.run(reader.read, jobs)
        site.batch_readers.limit()
    value = queue.place.values("Batch")
    value |= {"batch": batch_values(view, site.time_s())}
    return answer(request, "jobs/batch.html", value, parts={"batch": "jobs/batch_values.html"})


async def _views(request: Request, queue: OpenQueue, names: list[str]) -> list[BatchView]:
    readers = site_of(request).batch_readers
    jobs = queue.dispatcher.queue
    found = [readers.of(queue.connection.number, queue.place.path, name) for name in names]
    views = await queue.dispatcher.run(batch_views, jobs, found)
    readers.limit()
    return views


def batch_values(view: BatchView, now_s: float) -> dict[str, Any]:
    """Return what pages show of a batch."""
    states = view.states
    return {
        "batch": view.name,
        "requests": view.requests,
        "jobs": None if states is None else view.jobs,
        "submitted_ms": view.submitted_ms,
        "waits_for": escaped(view.waits_for),
        "states": states,
        "missing": view.missing,
        "share": view.share,
        "problem": escaped_lines(view.problem),
        "_name": escaped(view.name),
        "_percent": int(view.share * 100),
        "_time": time_text(view.submitted_ms),
        "_age": age_text(now_s, view.submitted_ms),
        "_parts": [] if states is None else _parts(view),
    }


def _parts(view: BatchView) -> list[tuple[str, int]]:
    """Return the states that the batch has, each with its number of jobs."""
    return [(str(state), count) for state, count in (view.states or {}).items() if count]


def routes() -> list[Route]:
    """Return the routes of this module."""
    url = "/c/{cluster}/jobs/{queue}"
    return [
        page(f"{url}/batches", _batches, "job-batches"),
        page(f"{url}/batch/{{batch}}", _batch, "job-batch"),
    ]
