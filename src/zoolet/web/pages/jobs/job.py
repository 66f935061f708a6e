"""One job: why it is in its state, its attempts with tracebacks and output, its values."""

import json
from typing import Any, Final

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from zoolet.console.texts import duration, escaped_lines
from zoolet.jobs import Job, JobState, attempt_duration_ms, attempts_of, explain_job
from zoolet.web.pages.answers import answer
from zoolet.web.pages.jobs.opening import OpenQueue, opened
from zoolet.web.pages.posting import page
from zoolet.web.pages.site import site_of
from zoolet.web.pages.times import age_text, time_text
from zoolet.web.values.views import json_markup

MOST_CHARACTERS: Final = 64 << 10
"""Longer JSON, which is not shown formatted, is cut on the page; the JSON answer has all of it."""

_TIMES: Final = {
    "submitted_ms": "Submitted",
    "not_before_ms": "Not before",
    "expires_ms": "Expires",
    "taken_ms": "Taken by the worker",
    "started_ms": "Task started",
    "finished_ms": "Ended",
}

_VALUES: Final = {
    "task": "Task",
    "dataset": "Dataset",
    "groupid": "Group",
    "priority": "Priority",
    "batch": "Batch",
    "worker": "Worker",
    "tags": "Tags that a worker must have",
    "limit_key": "Limit key",
    "limit": "Limit",
    "slots": "Slots of limits",
    "backoff_ms": "Back-off, in ms",
    "jitter_percent": "Jitter of the back-off, in percent",
    "timeout_ms": "Timeout of an attempt, in ms",
    "soft_timeout_ms": "Soft timeout, in ms",
    "losses": "Losses of its worker before the task started",
    "import_tries": "Tries to import its task",
    "cache_hit": "Data were in the cache",
    "receives": "Parameter that gets the results it waited for",
    "key": "Key",
    "trace": "Trace",
}
"""The values that the page shows if they are set, and their names there."""


async def _job(request: Request) -> Response:
    site = site_of(request)
    async with opened(request) as queue:
        dispatcher = queue.dispatcher
        job = await dispatcher.run(dispatcher.queue.find, request.path_params["job"])
        why = await _why(request, queue, job)
    now_s = site.time_s()
    value = queue.place.values("Job") | job_values(job, now_s)
    value["why"] = why
    return answer(request, "jobs/job.html", value, parts={"job": "jobs/job_values.html"})


async def _why(request: Request, queue: OpenQueue, job: Job) -> str:
    """Return the reason for the state; a waiting job needs an overview, which pages share."""
    now = None
    if job.state is JobState.PENDING:
        sampled = await site_of(request).queue_samples.look(queue.connection, queue.place.path)
        now = sampled.now.overview
    dispatcher = queue.dispatcher
    return escaped_lines(await dispatcher.run(explain_job, dispatcher.queue, job, now))


def job_values(job: Job, now_s: float) -> dict[str, Any]:
    """Return what the page shows of a job."""
    now_ms = int(now_s * 1000)
    duration_ms = attempt_duration_ms(job, now_ms)
    found = {name: getattr(job, name) for name in (*_VALUES, *_TIMES)}
    rows = [
        (title, _text(found[name])) for name, title in _VALUES.items() if found[name] not in _UNSET
    ]
    if job.signature is not None:
        rows.append(("Signature", "the submitter has signed the job; workers with keys check it"))
    times = [
        (title, time_text(found[name]), age_text(now_s, found[name]))
        for name, title in _TIMES.items()
        if found[name] is not None
    ]
    attempts = [_attempt(one) for one in attempts_of(job)]
    return found | {
        "job": job.name,
        "state": job.state,
        "attempts": job.attempts,
        "max_attempts": job.max_attempts,
        "duration_ms": duration_ms,
        "last_error": escaped_lines(job.last_error),
        "progress": None if job.progress is None else job.progress._asdict(),
        "parameters": job.parameters,
        "source": job.source,
        "result": job.result,
        "stored": job.stored,
        "is_signed": job.signature is not None,
        "tried": attempts,
        "_duration": duration(duration_ms),
        "_progress": None if job.progress is None else escaped_lines(str(job.progress)),
        "_rows": rows,
        "_times": times,
        "_parameters": _json(job.parameters),
        "_source": None if job.source is None else _json(job.source),
        "_result": _json(job.result) if job.state is JobState.SUCCESSFUL else None,
    }


_UNSET: Final[tuple[object, ...]] = (None, "", (), 0)


def _text(value: object) -> str:
    if value is True:
        return "yes"
    if isinstance(value, tuple):
        return escaped_lines(", ".join(map(str, value)))
    return escaped_lines(str(value))


def _attempt(one: Any) -> dict[str, Any]:
    return {
        "attempt": one.attempt,
        "worker": one.worker,
        "errors": [
            {"summary": escaped_lines(error.summary), "message": escaped_lines(error.message)}
            for error in one.errors
        ],
        "output": escaped_lines(one.output),
    }


def _json(value: object) -> dict[str, Any]:
    """Return JSON as markup that folds, or as text that is cut if it is too long."""
    text = json.dumps(value, ensure_ascii=False)
    markup: Markup | None = json_markup(escaped_lines(text)) if text[:1] in {"{", "["} else None
    return {
        "markup": markup,
        "text": escaped_lines(text[:MOST_CHARACTERS]),
        "left_out": max(0, len(text) - MOST_CHARACTERS),
    }


def routes() -> list[Route]:
    """Return the routes of this module."""
    return [page("/c/{cluster}/jobs/{queue}/job/{job}", _job, "job")]
