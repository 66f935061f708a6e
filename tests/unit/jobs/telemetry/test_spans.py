"""The spans of a job have one trace, and the times of the job."""

from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracerProvider, SpanKind, StatusCode

from zoolet.jobs.errors import InvalidJobError
from zoolet.jobs.hooks.job_hooks import Attempt, HookCalls, JobHooks
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_requests import JobRequest
from zoolet.jobs.records.transitions import JobState
from zoolet.jobs.submit.submission import Origin, Submission
from zoolet.jobs.telemetry import OpenTelemetryHooks

MS = 1_000_000


class Spans:
    """Hooks whose spans a test reads."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.hooks = OpenTelemetryHooks(self.provider)
        self.calls = HookCalls([self.hooks])

    def submit(self, *requests: JobRequest) -> list[JobRequest]:
        """Submit requests, and return them as the hooks have changed them."""
        found: list[JobRequest] = []

        def submit(changed: Sequence[JobRequest]) -> list[Submission]:
            found.extend(changed)
            return [Submission(f"job-{n}", Origin.NEW) for n in range(len(changed))]

        self.calls.submitting(requests, submit)
        return found

    def ended(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    def names(self) -> list[str]:
        return [span.name for span in self.ended()]


@pytest.fixture
def spans() -> Spans:
    return Spans()


def job_of(request: JobRequest) -> Job:
    return Job.draft(request, "s-0", 1_000)._replace(
        state=JobState.SUCCESSFUL, worker="w", attempts=1, finished_ms=9_000
    )


def test_all_spans_of_a_job_are_children_of_its_submission(spans: Spans) -> None:
    with spans.provider.get_tracer("test").start_as_current_span("request") as outer:
        [request] = spans.submit(JobRequest("m:f"))
    job = job_of(request)
    spans.hooks.ended(Attempt(job, 1, 1_000, 3_000, 8_000, None))
    spans.hooks.received(job)
    submitted, _, waited, ran, received = spans.ended()
    assert [span.name for span in (submitted, waited, ran, received)] == [
        "submit m:f", "wait m:f", "run m:f", "result m:f",
    ]  # fmt: skip
    assert submitted.kind is SpanKind.PRODUCER
    assert submitted.parent is not None
    assert submitted.parent.span_id == outer.get_span_context().span_id
    for span in (waited, ran, received):
        assert span.parent is not None
        assert span.parent.span_id == submitted.context.span_id
        assert span.context.trace_id == submitted.context.trace_id
    assert (waited.start_time, waited.end_time) == (1_000 * MS, 3_000 * MS)
    assert (ran.start_time, ran.end_time) == (3_000 * MS, 8_000 * MS)
    assert received.start_time == 9_000 * MS
    assert ran.kind is SpanKind.CONSUMER
    assert ran.status.status_code is StatusCode.OK
    assert ran.attributes is not None
    assert ran.attributes["zoolet.jobs.attempt"] == 1
    assert ran.attributes["zoolet.jobs.worker"] == "w"


def test_a_batch_has_one_span_and_keeps_the_traces_of_its_requests(spans: Spans) -> None:
    other = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    requests = spans.submit(JobRequest("m:f"), JobRequest("m:g"), JobRequest("m:g", trace=other))
    assert spans.names() == ["submit several tasks"]
    assert requests[0].trace == requests[1].trace
    assert requests[0].trace is not None
    assert requests[2].trace == other
    assert spans.submit(JobRequest("m:f", trace=other))[0].trace == other
    assert spans.names() == ["submit several tasks"]


def test_a_failed_submission_and_a_failed_attempt_are_errors(spans: Spans) -> None:
    def refuse(_: Sequence[JobRequest]) -> list[Submission]:
        raise InvalidJobError("refused")

    with pytest.raises(InvalidJobError):
        spans.calls.submitting([JobRequest("m:f")], refuse)
    job = job_of(JobRequest("m:f"))._replace(state=JobState.PENDING)
    spans.hooks.ended(Attempt(job, 2, None, None, 8_000, "ValueError: bad"))
    submitted, ran = spans.ended()
    assert [span.status.status_code for span in (submitted, ran)] == [StatusCode.ERROR] * 2
    assert ran.status.description == "ValueError: bad"
    assert (ran.start_time, ran.end_time) == (8_000 * MS, 8_000 * MS)


@pytest.mark.parametrize("trace", [None, "", "no trace", "00-xyz-1-01", "é" * 20])
def test_a_job_without_a_valid_trace_has_spans_of_its_own(spans: Spans, trace: str | None) -> None:
    job = job_of(JobRequest("m:f"))._replace(trace=trace)
    spans.hooks.ended(Attempt(job, 1, 1_000, 3_000, 8_000, None))
    spans.hooks.received(job)
    assert all(span.parent is None for span in spans.ended())
    assert len(spans.ended()) == 3


def test_without_an_sdk_nothing_changes() -> None:
    hooks: JobHooks = OpenTelemetryHooks(NoOpTracerProvider())
    requests = [JobRequest("m:f")]
    assert hooks.before_submit(requests) == requests
    hooks.submitted(requests, [Submission("a", Origin.NEW)])
    hooks.received(job_of(requests[0]))


@pytest.mark.parametrize("trace", [5, "x" * 101, "\ud800"])
def test_a_trace_that_is_no_short_text_is_refused(trace: str) -> None:
    with pytest.raises(InvalidJobError, match="traceparent"):
        Job.draft(JobRequest("m:f", trace=trace), "s-0", 0)


def test_the_trace_is_in_the_value_of_the_job_only_if_it_is_set() -> None:
    name = "entry-000-_:00000000-0000000001"
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    with_trace = Job.draft(JobRequest("m:f", trace=trace), "s-0", 0)
    assert Job.decode(name, with_trace.encode(), 0).trace == trace
    assert b"trace" not in Job.draft(JobRequest("m:f"), "s-0", 0).encode()
