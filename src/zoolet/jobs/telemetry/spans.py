"""Hooks that report jobs as spans of OpenTelemetry, from the submission to the result.

A job's field ``trace`` has the context of the span of its submission, in the form of W3C's header
``traceparent``. The worker and the program that receives the result use it as the parent of their
spans, so all spans of a job have one trace. The spans of a worker are made after the attempt, with
the times of the server's clock.

This module imports OpenTelemetry's API, `zoolet.jobs.hooks`, `zoolet.jobs.records` and
`zoolet.jobs.submit`.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode, TracerProvider, get_tracer
from opentelemetry.trace import set_span_in_context as context_of
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from zoolet.jobs.hooks.job_hooks import Attempt, JobHooks
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_requests import JobRequest
from zoolet.jobs.records.transitions import JobState
from zoolet.jobs.submit.submission import Origin, Submission

TASK: Final = "zoolet.jobs.task"
NAME: Final = "zoolet.jobs.name"
COUNT: Final = "zoolet.jobs.count"
REUSED: Final = "zoolet.jobs.reused"
ATTEMPT: Final = "zoolet.jobs.attempt"
STATE: Final = "zoolet.jobs.state"
WORKER: Final = "zoolet.jobs.worker"
DATASET: Final = "zoolet.jobs.dataset"
CACHE_HIT: Final = "zoolet.jobs.cache_hit"
_NS: Final = 1_000_000
_HEADER: Final = "traceparent"
_propagator = TraceContextTextMapPropagator()


class OpenTelemetryHooks(JobHooks):
    """Hooks for `Dispatcher`, `AsyncDispatcher` and `Worker` that make spans.

    ``submit TASK`` (kind PRODUCER) is the submission of a job or a batch, a child of the span that
    is current in the program. Its children are, for each attempt of a job: ``wait TASK``, from the
    time when a worker could take the job to the call of the task; and ``run TASK`` (kind CONSUMER).
    The status of ``run`` is ERROR if the attempt failed. The last child is ``result TASK``, from
    the end of the job until a batch returns it.

    A job that joins an earlier job has the trace of that job's submission.
    """

    def __init__(self, tracer_provider: TracerProvider | None = None) -> None:
        """Use this provider; the default is the global one."""
        self._tracer = get_tracer("zoolet.jobs", tracer_provider=tracer_provider)
        self._lock = threading.Lock()
        self._submitting: dict[str, Span] = {}

    # --- In a dispatcher

    def before_submit(self, requests: Sequence[JobRequest]) -> Sequence[JobRequest]:
        """Begin the span of the submission, and set ``trace`` of requests that have none."""
        if all(request.trace is not None for request in requests):
            return requests
        tasks = {request.task_name for request in requests}
        name = tasks.pop() if len(tasks) == 1 else "several tasks"
        span = self._tracer.start_span(
            f"submit {name}", kind=SpanKind.PRODUCER, attributes={TASK: name, COUNT: len(requests)}
        )
        carrier: dict[str, str] = {}
        _propagator.inject(carrier, context_of(span))
        trace = carrier.get(_HEADER)
        if trace is None:  # no SDK is installed
            return requests
        with self._lock:
            self._submitting[trace] = span
        return [one if one.trace is not None else replace(one, trace=trace) for one in requests]

    def submitted(self, requests: Sequence[JobRequest], submissions: Sequence[Submission]) -> None:
        """End the span of the submission."""
        span = self._span_of(requests)
        if span is not None:
            span.set_attribute(REUSED, sum(one.origin is not Origin.NEW for one in submissions))
            if len(submissions) == 1:
                span.set_attribute(NAME, submissions[0].name)
            span.end()

    def not_submitted(self, requests: Sequence[JobRequest], error: BaseException) -> None:
        """End the span of the submission with an error."""
        span = self._span_of(requests)
        if span is not None:
            span.record_exception(error)
            span.set_status(StatusCode.ERROR, str(error))
            span.end()

    def _span_of(self, requests: Sequence[JobRequest]) -> Span | None:
        with self._lock:
            for trace in {request.trace for request in requests}:
                if trace is not None and trace in self._submitting:
                    return self._submitting.pop(trace)
        return None

    def received(self, job: Job) -> None:
        """Make the span of the result."""
        now_ns = time.time_ns()
        ended_ns = now_ns if job.finished_ms is None else job.finished_ms * _NS
        span = self._tracer.start_span(
            f"result {job.task}",
            _parent_of(job),
            attributes={TASK: job.task, NAME: job.name, STATE: job.state},
            start_time=min(ended_ns, now_ns),
        )
        span.end(now_ns)

    # --- In a worker

    def ended(self, attempt: Attempt) -> None:
        """Make the spans of the waiting time and of the attempt."""
        job, parent = attempt.job, _parent_of(attempt.job)
        started_ms = attempt.ended_ms if attempt.started_ms is None else attempt.started_ms
        attributes: dict[str, str | int | bool] = {TASK: job.task, NAME: job.name}
        if attempt.ready_ms is not None:
            waiting = self._tracer.start_span(
                f"wait {job.task}",
                parent,
                attributes=attributes,
                start_time=min(attempt.ready_ms, started_ms) * _NS,
            )
            waiting.end(started_ms * _NS)
        attributes |= {ATTEMPT: attempt.number, STATE: job.state}
        optional = {WORKER: job.worker, DATASET: job.dataset, CACHE_HIT: job.cache_hit}
        attributes |= {name: value for name, value in optional.items() if value is not None}
        running = self._tracer.start_span(
            f"run {job.task}",
            parent,
            kind=SpanKind.CONSUMER,
            attributes=attributes,
            start_time=started_ms * _NS,
        )
        if attempt.error is not None:
            running.set_status(StatusCode.ERROR, attempt.error)
        elif job.state is JobState.SUCCESSFUL:
            running.set_status(StatusCode.OK)
        running.end(max(attempt.ended_ms, started_ms) * _NS)


def _parent_of(job: Job) -> Context:
    """Return the context in a job's ``trace``; an empty context if there is none, or a bad one."""
    return _propagator.extract({} if job.trace is None else {_HEADER: job.trace}, Context())
