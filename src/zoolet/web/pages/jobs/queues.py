"""The list of queues, and the page of one queue: numbers, charts, workers' work, problems."""

from collections import Counter
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from zoolet.console.texts import duration, escaped
from zoolet.jobs import Job, JobState, Overview, Place
from zoolet.model import paths
from zoolet.web.charts import Chart, Series
from zoolet.web.jobs.reading import DEFAULT_ROOT, QUEUES_AT_ONCE, FoundChild, find_queues
from zoolet.web.jobs.samples import EVERY_S, SPAN_S, Glance, SampledQueue
from zoolet.web.pages.answers import answer
from zoolet.web.pages.jobs.opening import QueuePlace, connected, place_of
from zoolet.web.pages.posting import cluster_of, page, start_of
from zoolet.web.pages.site import site_of, visitor_of
from zoolet.web.pages.times import age_text
from zoolet.web.pages.tree import check_path

SHOWN: Final = 10
"""Most running jobs, and most failures, on the page of a queue."""

_PLACES: Final = {
    Place.UNOWNED: "waiting",
    Place.DEFERRED: "deferred",
    Place.OWNED: "with workers",
    Place.DONE: "ended",
}
"""What the page calls each place, like `zoolet jobs top`."""

_TITLES: Final = {str(place): title for place, title in _PLACES.items()}

PROBLEMS: Final = {
    "result_store_problem": "attempts with large results fail",
    "history_problem": "finished jobs are not removed",
}
"""The fields of a worker's report that name a problem, and the effect of each."""


async def _queues(request: Request) -> Response:
    site, cluster = site_of(request), cluster_of(request)
    fields = request.query_params
    root = fields.get("root", "") or DEFAULT_ROOT
    check_path(root)
    start, text = start_of(request), fields.get("filter", "")
    async with site.connection(cluster, visitor_of(request)) as connection:
        if root == DEFAULT_ROOT and await connection.client.exists(root) is None:
            value: dict[str, Any] = {"total": 0, "queues": [], "is_queue": False}
        else:
            overview_of = site.queue_samples.overview
            found = await find_queues(site.lists, connection, root, start, text, overview_of)
            value = {
                "total": found.total,
                "queues": [_child(child) for child in found.children],
                "is_queue": found.is_queue,
            }
    base = site.settings.base_path
    value |= {
        "title": f"Jobs - {cluster.name}",
        "cluster": cluster.name,
        "root": root,
        "start": start,
        "filter": text,
        "_cluster": cluster,
        "_self": QueuePlace(base, cluster, root),
        "_places": {
            name: QueuePlace(base, cluster, paths.join(root, name))
            for name in (queue["name"] for queue in value["queues"])
        },
        "_titles": _TITLES,
        "_count": QUEUES_AT_ONCE,
    }
    return answer(request, "jobs/queues.html", value)


def _child(child: FoundChild) -> dict[str, Any]:
    found: dict[str, Any] = {"name": child.name, "is_queue": child.is_queue, "error": child.error}
    now = child.overview
    if now is not None:
        found |= {
            "jobs": {str(place): now.total(place) for place in _PLACES},
            "workers": len(now.workers),
            "paused": pauses_of(now),
        }
    return found


def pauses_of(now: Overview) -> str:
    """Return what is paused, as text; "" if nothing is paused."""
    if now.control.paused:
        return "the queue is paused"
    datasets = sorted(now.control.paused_datasets)
    return f"paused datasets: {', '.join(datasets)}" if datasets else ""


async def _queue(request: Request) -> Response:
    site, place = site_of(request), place_of(request)
    async with connected(request) as connection:
        sampled = await site.queue_samples.look(connection, place.path)
    now_s = site.time_s()
    value = place.values("Queue") | _numbers(sampled, now_s) | _jobs(sampled.now, now_s)
    charts = _charts(sampled, now_s)
    value["charts"] = [chart.value() for chart in charts]
    value["_charts"] = [chart.markup() for chart in charts]
    return answer(request, "jobs/queue.html", value, parts={"numbers": "jobs/numbers.html"})


def _jobs(now: Glance, now_s: float) -> dict[str, Any]:
    """Return some jobs that run, and the newest that have failed."""
    failed = [job for job in now.ended if job.state is JobState.FAILED]
    waiting = sum(now.overview.total(place) for place in (Place.UNOWNED, Place.DEFERRED))
    known = Counter(job.state for job in (*now.owned, *now.ended))
    running = [job for job in now.owned if job.state is JobState.RUNNING]
    return {
        "states": {str(state): known[state] for state in JobState} | {"PENDING": waiting},
        "read": {"owned": len(now.owned), "done": len(now.ended)},
        "running": [_running(job, now_s) for job in running[:SHOWN]],
        "newest_ended": len(now.ended),
        "newest_failed": len(failed),
        "failed": [_failed(job) for job in failed[:SHOWN]],
        "limits": [
            {
                "name": use.limit.name,
                "text": escaped(use.limit.text),
                "running": None if use.limit.concurrent is None else use.running,
                "waiting": use.waiting,
            }
            for use in now.limits
        ],
        "oldest_share_percent": now.settings.oldest_share_percent,
        "shards": now.settings.shards,
        "_titles": _TITLES,
    }


def _numbers(sampled: SampledQueue, now_s: float) -> dict[str, Any]:
    now, newest, at_s = sampled.now.overview, sampled.samples[-1], sampled.now.at_s
    priorities = sorted({one for place in Place for one in now.counts[place]}, reverse=True)
    oldest = now.oldest
    return {
        "jobs": {str(place): now.total(place) for place in _PLACES},
        "by_priority": [
            {"priority": None if priority < 0 else priority}
            | {str(place): now.counts[place][priority] for place in _PLACES}
            for priority in priorities
        ],
        "workers": now.workers,
        "executors": int(now.tally("executors")),
        "problems": [
            {"worker": worker, "effect": effect, "problem": str(report[name])}
            for worker, report in sorted(now.workers.items())
            for name, effect in PROBLEMS.items()
            if report.get(name)
        ],
        "paused": pauses_of(now),
        "successful_per_s": newest.successful_per_s,
        "failed_per_s": newest.failed_per_s,
        "cache_hits": _share(now.tally("cache_hits"), now.tally("cache_misses")),
        "oldest": None
        if oldest is None
        else {"job": oldest.name, "why": now.why, "submitted_ms": oldest.submitted_ms},
        "at_s": at_s,
        "problem": sampled.problem,
        "_is_old": now_s - at_s > 3 * EVERY_S,
        "_age": age_text(now_s, int(at_s * 1000)),
        "_oldest_age": "" if oldest is None else age_text(now_s, oldest.submitted_ms),
    }


def _share(hits: float, misses: float) -> float | None:
    return hits / (hits + misses) if hits + misses else None


def _charts(sampled: SampledQueue, now_s: float) -> list[Chart]:
    samples = list(sampled.samples)
    jobs = [
        Series(_PLACES[place], [(one.at_s, one.jobs[place]) for one in samples])
        for place in (Place.UNOWNED, Place.DEFERRED, Place.OWNED)
    ]
    ended = [
        Series("successful jobs", [(one.at_s, one.successful_per_s) for one in samples]),
        Series("failed attempts", [(one.at_s, one.failed_per_s) for one in samples]),
    ]
    return [
        Chart("Jobs that have not ended", "jobs", jobs, now_s, SPAN_S),
        Chart("Throughput", "a second", ended, now_s, SPAN_S),
    ]


def _running(job: Job, now_s: float) -> dict[str, Any]:
    started_ms = job.started_ms or 0
    return {
        "job": job.name,
        "task": job.task,
        "worker": job.worker,
        "started_ms": started_ms,
        "progress": None if job.progress is None else str(job.progress),
        "_since": duration(int(now_s * 1000) - started_ms),
    }


def _failed(job: Job) -> dict[str, Any]:
    return {
        "job": job.name,
        "task": job.task,
        "attempts": job.attempts,
        "max_attempts": job.max_attempts,
        "finished_ms": job.finished_ms,
        "last_error": escaped(job.last_error),
    }


def routes() -> list[Route]:
    """Return the routes of this module."""
    return [
        page("/c/{cluster}/jobs", _queues, "queues"),
        page("/c/{cluster}/jobs/{queue}", _queue, "queue"),
    ]
