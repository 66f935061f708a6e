"""Changes of jobs: retry, cancel and pause all jobs that a filter selects, or one job.

The page counts the jobs first, in a long operation. The form that it then shows has the time of the
count, so the change leaves out jobs that came later. A change that was interrupted, also by the end
of the page's process, has a znode in the queue, from which any page continues it. Invariant: each
change writes one record of the audit, with the filter and the number of jobs.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from zoolet.console.texts import escaped
from zoolet.jobs import (
    ChangeProgress,
    JobChange,
    JobChanges,
    JobError,
    JobFilter,
    JobState,
    PauseKind,
    UnfinishedChange,
)
from zoolet.web.access.audit import audited
from zoolet.web.jobs.reading import open_queue
from zoolet.web.jobs.scanning import fields_of, filter_of
from zoolet.web.operations.operation import Handle, Kind, OperationError, Work
from zoolet.web.pages.answers import RefusedError, answer, done
from zoolet.web.pages.jobs.opening import OpenQueue, QueuePlace, opened, place_of
from zoolet.web.pages.operations import started
from zoolet.web.pages.posting import Form, cluster_of, number_in, page, posting
from zoolet.web.pages.site import site_of, visitor_of
from zoolet.web.pages.times import age_text, time_text

_COUNT: Final = Kind("count jobs", "jobs", "jobs/counted.html", "Show the znode of the queue")
_CHANGES: Final = {
    change: Kind(f"{change} jobs", "jobs", "jobs/changed.html", "Show the znode of the queue")
    for change in JobChange
}
_LAST_MS: Final = 253_402_300_799_999  # the end of the year 9999


async def _changes(request: Request) -> Response:
    """Show the form of a change, the pauses, and changes that were interrupted."""
    given = dict(request.query_params)
    fields = fields_of(given)
    filter_of(fields)
    change = _change_in({"change": given.get("change", "") or JobChange.RETRY})
    async with opened(request) as queue:
        jobs = queue.dispatcher.queue
        unfinished = await queue.dispatcher.run(JobChanges(jobs).unfinished)
        pauses = await queue.dispatcher.run(jobs.pauses.all)
    now_s = site_of(request).time_s()
    value = queue.place.values("Changes")
    value |= {
        "filter": fields,
        "change": change,
        "unfinished": [_shown(one, now_s) for one in unfinished],
        "pauses": [
            {"kind": one.kind, "name": one.name, "text": escaped(one.text), "waiting": one.waiting}
            for one in pauses
        ],
        "_changes": list(JobChange),
        "_states": list(JobState),
    }
    return answer(request, "jobs/changes.html", value)


def _shown(one: UnfinishedChange, now_s: float) -> dict[str, Any]:
    return {
        "id": one.id,
        "change": one.change,
        "filter": None if one.selected is None else _filter_values(one.selected),
        "text": "an invalid filter" if one.selected is None else escaped(str(one.selected)),
        "began_ms": one.began_ms,
        "_began": time_text(one.began_ms),
        "_age": age_text(now_s, one.began_ms),
    }


def _filter_values(selected: JobFilter) -> dict[str, Any]:
    return {name: value for name, value in asdict(selected).items() if value is not None}


async def _count(request: Request, form: Form) -> Response:
    """Start to count the jobs; the page of this operation then has the form of the change."""
    change, selected = _change_in(form), filter_of(fields_of(form))
    place = place_of(request)

    async def work(handle: Handle) -> dict[str, Any]:
        handle.show(changes_url=place.url("changes"))
        async with _queue_of(request, place) as queue:
            changes = JobChanges(queue.dispatcher.queue)
            seen = ChangeProgress()

            def note(progress: ChangeProgress) -> None:
                nonlocal seen
                seen = progress
                handle.progress(progress.looked_at)

            found = await queue.dispatcher.run(changes.count, change, selected, note)
        return {
            "queue": place.path,
            "change": change,
            "filter": fields_of(form),
            "text": escaped(str(selected)),
            "jobs": found.jobs,
            "left_out": seen.skipped,
            "at_ms": found.at_ms,
            "url": place.url("change"),
        }

    return _start(request, place, _COUNT, f"Count the jobs to {change}", work)


async def _change(request: Request, form: Form) -> Response:
    """Start a change of the jobs that were counted."""
    change, selected = _change_in(form), filter_of(fields_of(form))
    counted = number_in(form, "jobs")
    work = _making(request, change, selected, number_in(form, "at_ms", _LAST_MS), counted)
    place = place_of(request)
    return _start(request, place, _CHANGES[change], _title(change, selected), work, counted)


async def _continue(request: Request, form: Form) -> Response:
    """Continue a change that was interrupted."""
    one = await _unfinished_in(request, form)
    if one.selected is None:
        raise RefusedError(409, "the filter of this change is not valid: give the change up")
    work = _making(request, one.change, one.selected, None, None)
    place = place_of(request)
    return _start(request, place, _CHANGES[one.change], _title(one.change, one.selected), work)


async def _forget(request: Request, form: Form) -> Response:
    """Give up a change that was interrupted."""
    place = place_of(request)
    one = await _unfinished_in(request, form)
    if one.selected is None:
        raise RefusedError(
            409, f"the filter of this change is not valid: delete the znode {place.path}/{one.id}"
        )
    visitor, cluster = visitor_of(request), cluster_of(request)
    more = {"filter": _filter_values(one.selected)}
    with audited(visitor, cluster.name, f"jobs.give-up.{one.change}", place.path, **more):
        async with opened(request) as queue:
            changes = JobChanges(queue.dispatcher.queue)
            await queue.dispatcher.run(changes.forget, one.change, one.selected)
    return done(request, place.url("changes"), id=one.id)


async def _unfinished_in(request: Request, form: Form) -> UnfinishedChange:
    async with opened(request) as queue:
        found = await queue.dispatcher.run(JobChanges(queue.dispatcher.queue).unfinished)
    for one in found:
        if one.id == form.get("id", ""):
            return one
    raise RefusedError(404, "this change is not in progress any more: another program has ended it")


def _making(
    request: Request,
    change: JobChange,
    selected: JobFilter,
    began_ms: int | None,
    counted: int | None,
) -> Work:
    """Return the work that makes a change, and writes its record of the audit."""
    place, visitor = place_of(request), visitor_of(request)
    more: dict[str, Any] = {"filter": _filter_values(selected)}
    if counted is not None:
        more["counted"] = counted

    async def work(handle: Handle) -> dict[str, Any]:
        handle.show(changes_url=place.url("changes"), jobs=0, left_out=0)
        with audited(visitor, place.cluster.name, f"jobs.{change}", place.path, **more) as record:

            def note(progress: ChangeProgress) -> None:
                record.update(jobs=progress.jobs, skipped=progress.skipped)
                handle.progress(progress.jobs)
                handle.show(jobs=progress.jobs, left_out=progress.skipped)

            record.update(jobs=0, skipped=0)
            async with _queue_of(request, place) as queue:
                changes = JobChanges(queue.dispatcher.queue)
                found = await queue.dispatcher.run(
                    changes.make, change, selected, note, began_ms=began_ms
                )
            record.update(is_continued=found.is_continued)
        return {
            "jobs": found.jobs,
            "left_out": found.skipped,
            "change": change,
            "began_ms": found.began_ms,
            "is_continued": found.is_continued,
            "began": time_text(found.began_ms),
        }

    return work


@asynccontextmanager
async def _queue_of(request: Request, place: QueuePlace) -> AsyncIterator[OpenQueue]:
    """Open a queue for an operation; errors of the job system are errors of the operation."""
    site, visitor = site_of(request), visitor_of(request)
    try:
        async with (
            site.connection(place.cluster, visitor) as connection,
            open_queue(connection, place.path) as dispatcher,
        ):
            yield OpenQueue(place, connection, dispatcher)
    except JobError as error:
        raise OperationError(str(error)) from error


def _title(change: JobChange, selected: JobFilter) -> str:
    return f"{change.capitalize()} jobs: {escaped(str(selected))}"


def _start(
    request: Request,
    place: QueuePlace,
    kind: Kind,
    title: str,
    work: Work,
    total: int | None = None,
) -> Response:
    found = site_of(request).operations.start(
        visitor_of(request),
        kind,
        cluster=place.cluster.name,
        path=place.path,
        title=title,
        work=work,
        total=total,
    )
    return started(request, found)


async def _pause(request: Request, form: Form) -> Response:
    """Pause the queue, a dataset, or a task: also jobs that are submitted later wait."""
    kind, name = _kind_in(form), form.get("name", "")
    place, visitor = place_of(request), visitor_of(request)
    if kind is PauseKind.JOBS or (kind is not PauseKind.QUEUE and not name):
        raise RefusedError(400, "give the name of a dataset or a task, or pause the queue")
    more = {"kind": kind, "name": name}
    with audited(visitor, place.cluster.name, "jobs.pause", place.path, **more):
        async with opened(request) as queue:
            jobs = queue.dispatcher.queue
            if kind is PauseKind.TASK:
                name = await queue.dispatcher.run(jobs.pauses.add_task, name)
            else:
                dataset = name if kind is PauseKind.DATASET else None
                await queue.dispatcher.run(jobs.pause, dataset)
    return done(request, place.url("changes"), kind=kind, name=name)


async def _resume(request: Request, form: Form) -> Response:
    """End a pause."""
    kind, name = _kind_in(form), form.get("name", "")
    place, visitor = place_of(request), visitor_of(request)
    more = {"kind": kind, "name": name}
    with audited(visitor, place.cluster.name, "jobs.resume", place.path, **more):
        async with opened(request) as queue:
            await queue.dispatcher.run(queue.dispatcher.queue.pauses.end, kind, name)
    return done(request, place.url("changes"), kind=kind, name=name)


async def _retry_job(request: Request, _: Form) -> Response:
    """Let one FAILED job wait again."""
    return await _change_job(request, JobChange.RETRY)


async def _cancel_job(request: Request, _: Form) -> Response:
    """Cancel one job that has not ended."""
    return await _change_job(request, JobChange.CANCEL)


async def _change_job(request: Request, change: JobChange) -> Response:
    name, place, visitor = request.path_params["job"], place_of(request), visitor_of(request)
    with audited(visitor, place.cluster.name, f"jobs.{change}", place.path, job=name) as record:
        async with opened(request) as queue:
            jobs = queue.dispatcher.queue
            job = await queue.dispatcher.run(jobs.find, name)
            is_retry = change is JobChange.RETRY
            can_change = job.state is JobState.FAILED if is_retry else not job.has_ended
            if can_change and is_retry:
                job = await queue.dispatcher.run(jobs.retry, name)
            elif can_change:
                found = await queue.dispatcher.run(jobs.cancel, [name])
                can_change = bool(found)
        if not can_change:
            record["result"] = "conflict"
            raise RefusedError(
                409, f"the job was not changed, because it is {job.state}: load its page again"
            )
    return done(request, place.job_url(name), job=name)


def _kind_in(form: Form) -> PauseKind:
    text = form.get("kind", "")
    if text not in set(PauseKind):
        raise RefusedError(400, f"kind must be one of {', '.join(PauseKind)}")
    return PauseKind(text)


def _change_in(form: Form) -> JobChange:
    text = form.get("change", "")
    if text not in set(JobChange):
        raise RefusedError(400, f"change must be one of {', '.join(JobChange)}")
    return JobChange(text)


def routes() -> list[Route]:
    """Return the routes of this module."""
    url = "/c/{cluster}/jobs/{queue}"
    forms = {
        "change": _change,
        "continue": _continue,
        "give-up": _forget,
        "pause": _pause,
        "resume": _resume,
        "job/{job}/retry": _retry_job,
        "job/{job}/cancel": _cancel_job,
    }
    return [
        page(f"{url}/changes", _changes, "job-changes"),
        posting(f"{url}/count", _count, "do-count-jobs", changes=False),
        *(
            posting(f"{url}/{name}", handler, f"do-jobs-{name}", changes=True)
            for name, handler in forms.items()
        ),
    ]
