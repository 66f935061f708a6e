"""One trace leads from the submission of a job to its result, with a real server and worker."""

from collections import Counter
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.support.jobs import ROOT, all_results, write_tasks
from tests.support.waiting import wait_until
from zoolet.jobs import Dispatcher, JobRequest, Worker
from zoolet.jobs.telemetry import OpenTelemetryHooks
from zoolet.testing import ServerProcess


def test_a_job_has_one_trace_from_its_submission_to_its_result(
    server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tasks(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    hooks = [OpenTelemetryHooks(provider)]
    with (
        Dispatcher(server.hosts, ROOT, create=True, hooks=hooks) as dispatcher,
        Worker(server.hosts, ROOT, loader="pipe_tasks:load", hooks=hooks),
    ):
        good = dispatcher.submit("pipe_tasks:number", "flights", "1", {"n": 1})
        bad = dispatcher.submit_batch(
            [JobRequest("pipe_tasks:trouble", "flights", "1", {}, max_attempts=2)]
        )
        jobs = [*all_results(good), *all_results(bad)]
        wait_until(lambda: len(exporter.get_finished_spans()) == 10, "ten spans")
    spans = exporter.get_finished_spans()
    for job, runs in zip(jobs, (1, 2), strict=True):
        of_job = [span for span in spans if span.name.endswith(f" {job.task}")]
        names = Counter(span.name.split()[0] for span in of_job)
        assert names == {"submit": 1, "wait": runs, "run": runs, "result": 1}
        assert len({span.context.trace_id for span in of_job}) == 1
        [submitted] = [span for span in of_job if span.name.startswith("submit")]
        children = [span for span in of_job if span is not submitted]
        for span in children:
            assert span.parent is not None
            assert span.parent.span_id == submitted.context.span_id
