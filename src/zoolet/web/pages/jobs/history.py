"""The history of a queue: jobs that were removed from it, in the database of its result store."""

from datetime import UTC, datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from zoolet.console.texts import duration, escaped, escaped_lines
from zoolet.jobs import HistoryEntry, HistoryFilter, HistoryPosition, JobState, ResultStoreError
from zoolet.web.jobs.histories import NoHistoryError
from zoolet.web.pages.answers import RefusedError, answer
from zoolet.web.pages.jobs.opening import OpenQueue, opened
from zoolet.web.pages.posting import page
from zoolet.web.pages.site import site_of
from zoolet.web.pages.times import age_text, time_text

AT_ONCE: Final = 50
"""Most jobs on one page."""

FIELDS: Final = ("state", "task", "batch", "job", "error", "since", "until")
"""The fields of the filter; times are in UTC, like 2026-01-31T08:00."""

_ENDED: Final = (JobState.SUCCESSFUL, JobState.FAILED)
_MOST_CHARACTERS: Final = 2000


async def _history(request: Request) -> Response:
    given = dict(request.query_params)
    fields = {name: given.get(name, "") for name in FIELDS}
    wanted = _wanted(fields)
    after = HistoryPosition.parse(given["after"]) if given.get("after") else None
    async with opened(request) as queue:
        value = queue.place.values("History")
        value |= {"filter": fields, "is_first": after is None, "_states": list(_ENDED)}
        value |= await _found(request, queue, wanted, after)
    return answer(request, "jobs/history.html", value, 503 if value["error"] else 200)


async def _found(
    request: Request, queue: OpenQueue, wanted: HistoryFilter, after: HistoryPosition | None
) -> dict[str, Any]:
    site, jobs = site_of(request), queue.dispatcher.queue
    settings = await queue.dispatcher.run(lambda: jobs.settings)
    value: dict[str, Any] = {"store": settings.store_name, "jobs": [], "after": None, "error": ""}
    try:
        # One more than the page shows tells whether there are more.
        found = await site.histories.page(
            settings.store_name, jobs.whole_path, wanted, limit=AT_ONCE + 1, after=after
        )
    except (NoHistoryError, ResultStoreError) as error:
        return value | {"error": escaped_lines(str(error))}
    value["jobs"] = [_shown(entry, site.time_s()) for _, entry in found[:AT_ONCE]]
    if len(found) > AT_ONCE:
        value["after"] = str(found[AT_ONCE - 1][0])
    return value


def _wanted(fields: dict[str, str]) -> HistoryFilter:
    state = fields["state"]
    if state and state not in _ENDED:
        raise RefusedError(400, "state must be SUCCESSFUL or FAILED")
    return HistoryFilter(
        state=JobState(state) if state else None,
        task=fields["task"] or None,
        batch=fields["batch"] or None,
        job=fields["job"] or None,
        error=fields["error"] or None,
        since_ms=_time_ms(fields, "since"),
        until_ms=_time_ms(fields, "until"),
    )


def _time_ms(fields: dict[str, str], name: str) -> int | None:
    if not fields[name]:
        return None
    try:
        found = datetime.fromisoformat(fields[name])
        return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise RefusedError(400, f"{name} must be a time in UTC, like 2026-01-31T08:00") from None


def _shown(entry: HistoryEntry, now_s: float) -> dict[str, Any]:
    value = entry._asdict()
    del value["details"]
    errors = [
        {"attempt": one.get("attempt"), "message": str(one.get("message", ""))}
        for one in entry.errors
    ]
    messages = [str(one["message"]) for one in errors]
    return value | {
        "parameters": entry.parameters,
        "errors": errors,
        "duration_ms": entry.duration_ms,
        "_job": escaped(entry.job),
        "_task": escaped(entry.task),
        "_duration": duration(entry.duration_ms),
        "_time": time_text(entry.finished_ms),
        "_age": age_text(now_s, entry.finished_ms),
        "_error": escaped(entry.last_error),
        "_errors": [escaped_lines(text[:_MOST_CHARACTERS]) for text in messages],
    }


def routes() -> list[Route]:
    """Return the routes of this module."""
    return [page("/c/{cluster}/jobs/{queue}/history", _history, "job-history")]
