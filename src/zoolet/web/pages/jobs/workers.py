"""The workers of a queue: what they run, since when, on which host, with which version."""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from zoolet.console.texts import duration, escaped, escaped_lines
from zoolet.jobs import Job, JobState, WorkerView, worker_list
from zoolet.web.pages.answers import answer
from zoolet.web.pages.jobs.opening import opened
from zoolet.web.pages.jobs.queues import PROBLEMS
from zoolet.web.pages.posting import page, start_of
from zoolet.web.pages.site import site_of
from zoolet.web.pages.times import age_text, time_text

AT_ONCE: Final = 50
"""The number of workers on one page."""

SHOWN_JOBS: Final = 10
"""Most jobs that the page shows of a worker."""

_REPORTED: Final = {
    "host": "Host",
    "pid": "Process",
    "version": "Version",
    "kind": "Executors are",
    "executors": "Executors",
    "queues": "Queues that it serves",
    "tags": "Tags",
    "groups": "Groups in its caches",
    "successful": "SUCCESSFUL jobs",
    "failed_attempts": "Failed attempts",
    "lost": "Lost executors",
}
"""The fields of a worker's report that the page shows, and their names there."""


async def _workers(request: Request) -> Response:
    site = site_of(request)
    start = start_of(request)
    async with opened(request) as queue:
        found = await queue.dispatcher.run(worker_list, queue.dispatcher.queue, start, AT_ONCE)
    now_s = site.time_s()
    value = queue.place.values("Workers")
    value |= {
        "total": found.total,
        "start": start,
        "count": AT_ONCE,
        "workers": [_shown(worker, now_s) for worker in found.workers],
        "unread": found.unread,
        "of_dead": [_job(job, now_s) for job in found.of_dead[:SHOWN_JOBS]],
        "num_of_dead": len(found.of_dead),
    }
    return answer(request, "jobs/workers.html", value, parts={"workers": "jobs/workers_list.html"})


def _shown(worker: WorkerView, now_s: float) -> dict[str, Any]:
    report = worker.report
    running = sum(job.state is JobState.RUNNING for job in worker.jobs)
    problems = [
        escaped_lines(f"{effect}: {report[name]}")
        for name, effect in PROBLEMS.items()
        if report.get(name)
    ]
    return {
        "worker": worker.id,
        "report": report,
        "since_ms": worker.since_ms,
        "jobs": [_job(job, now_s) for job in worker.jobs[:SHOWN_JOBS]],
        "num_jobs": len(worker.jobs),
        "running": running,
        "problems": problems,
        "_name": escaped(worker.id),
        "_host": escaped(str(report.get("host", ""))),
        "_since": time_text(worker.since_ms),
        "_age": age_text(now_s, worker.since_ms),
        "_rows": [
            (title, _text(report[name])) for name, title in _REPORTED.items() if name in report
        ],
    }


def _text(value: object) -> str:
    shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return escaped(shown)[:500] or "none"


def _job(job: Job, now_s: float) -> dict[str, Any]:
    began_ms = job.started_ms or job.taken_ms
    return {
        "job": job.name,
        "task": job.task,
        "state": job.state,
        "worker": job.worker,
        "taken_ms": job.taken_ms,
        "started_ms": job.started_ms,
        "progress": None if job.progress is None else job.progress._asdict(),
        "_task": escaped(job.task),
        "_progress": "" if job.progress is None else escaped(str(job.progress)),
        "_duration": duration(None if began_ms is None else int(now_s * 1000) - began_ms),
    }


def routes() -> list[Route]:
    """Return the routes of this module."""
    return [page("/c/{cluster}/jobs/{queue}/workers", _workers, "job-workers")]
