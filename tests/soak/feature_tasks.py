"""The tasks and hooks of the features of the soak test (`tests.soak.features`).

Executors and workers import this module by its own name, so it imports nothing of the tests. Each
function appends JSON objects, one per line, to ``$SOAK_HOME/features/<file>``.
"""

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from zoolet.jobs import (
    Attempt,
    Job,
    JobFailure,
    JobHooks,
    Retry,
    SoftTimeoutError,
    current_job,
    task,
)
from zoolet.jobs.telemetry import OpenTelemetryHooks

MODULE = "feature_tasks"
FOREVER_S = 600


def home() -> Path:
    return Path(os.environ["SOAK_HOME"]) / "features"


def note(file: str, **values: Any) -> None:
    """Append a line; one write appends it as a whole."""
    line = {"at_ms": time.time_ns() // 10**6, "pid": os.getpid(), **values}
    descriptor = os.open(home() / file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, json.dumps(line).encode() + b"\n")
    finally:
        os.close(descriptor)


def _attempts(name: str) -> int:
    """Count an attempt of a job; the attempts that were killed count."""
    note(f"attempts-{name}")
    return (home() / f"attempts-{name}").read_bytes().count(b"\n")


# --- Decorated tasks


@task(name=f"{MODULE}:plain", max_attempts=5)
def plain(number: int) -> int:
    note("tasks", number=number)
    current_job().progress(1, 1, "done")
    return number


@task(name=f"{MODULE}:again", max_attempts=20)
def again(name: str, tries: int) -> str:
    if _attempts(name) < tries:
        raise Retry("not yet", in_s=0.05)
    return name


@task(name=f"{MODULE}:soft", max_attempts=5, soft_timeout_ms=100, timeout_ms=60_000)
def soft(number: int) -> str:
    try:
        time.sleep(FOREVER_S)
    except SoftTimeoutError:
        return f"saved {number}"
    return "slept"


@task(name=f"{MODULE}:final", max_attempts=5, no_retry_for=ValueError)
def final(number: int) -> int:
    raise ValueError(f"this error is final {number}")


@task(name=f"{MODULE}:on_gpu", max_attempts=5, tags=["gpu"])
def on_gpu(number: int) -> int:
    note("gpu", worker=os.environ.get("SOAK_WORKER"))
    return number


@task(name=f"{MODULE}:hungry", max_attempts=1, tags=["gpu"])
def hungry(mib: int) -> int:
    """Use much memory for ever. Only the workers with the tag have a limit, which ends this."""
    held = bytearray(mib << 20)
    held[::4096] = b"x" * len(range(0, len(held), 4096))
    time.sleep(FOREVER_S)
    return len(held)


@task(name=f"{MODULE}:nap", max_attempts=5, tags=["async"])
async def nap(number: int, s: float) -> int:
    note("naps", number=number, what="started")
    await asyncio.sleep(s)
    note("naps", number=number, what="ended")
    return number


@task(name=f"{MODULE}:squares", batch=20, batch_wait_ms=30, max_attempts=5)
def squares(items: list[int]) -> list[int | Exception]:
    note("squares", count=len(items), worker=os.environ.get("SOAK_WORKER"))
    return [ValueError(f"negative {item}") if item < 0 else item * item for item in items]


@task(name=f"{MODULE}:repaired", max_attempts=3)
def repaired(marker: str) -> str:
    if not (home() / marker).exists():
        raise ValueError("not repaired yet")
    return marker


@task(name=f"{MODULE}:limited", max_attempts=10)
def limited(kind: str, s: float) -> str:
    time.sleep(s)
    return kind


# --- Tasks in the old form


def count_rows(rows: Any, parameters: dict[str, Any]) -> list[int]:
    del parameters
    values = [row["n"] for row in rows]
    return [len(values), sum(values)]


def add(results: list[list[int]]) -> list[int]:
    return [sum(one[0] for one in results), sum(one[1] for one in results)]


def square(group: object, parameters: dict[str, Any]) -> int:
    del group
    if parameters.get("fails"):
        raise ValueError("this square fails")
    n: int = parameters["n"]
    return n * n


def total(group: object, parameters: dict[str, Any]) -> int:
    del group
    return sum(parameters["results"])


def received(group: object, parameters: dict[str, Any]) -> list[Any]:
    del group
    found: list[Any] = parameters["results"]
    return found


def text(group: object, parameters: dict[str, Any]) -> str:
    del group
    return "x" * int(parameters["size"])


def due(group: object, parameters: dict[str, Any]) -> int:
    del group
    at_ms: int = parameters["due_ms"]
    return at_ms


# --- Hooks


class Noting(JobHooks):
    """Notes what the hooks of a worker are told."""

    def started(self, job: Job, started_ms: int) -> None:
        note("hooks", what="started", job=job.name, started_ms=started_ms)

    def ended(self, attempt: Attempt) -> None:
        note(
            "hooks",
            what="ended",
            job=attempt.job.name,
            number=attempt.number,
            state=attempt.job.state,
            ended_ms=attempt.ended_ms,
        )

    def job_failed(self, failure: JobFailure) -> None:
        job = failure.job
        note(
            "failures",
            job=job.name,
            reason=failure.reason,
            finished_ms=job.finished_ms,
            queue=failure.queue,
        )


class Breaking(JobHooks):
    """Hooks that always fail."""

    def ended(self, attempt: Attempt) -> None:
        raise RuntimeError(f"this hook is broken: {attempt.number}")

    def job_failed(self, failure: JobFailure) -> None:
        raise SystemExit(f"this hook is broken: {failure.reason}")


def spans() -> JobHooks:
    """Return hooks that note the spans of attempts."""

    class Exporter(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            for span in spans:
                assert isinstance(span, ReadableSpan)
                values = dict(span.attributes or {})
                note("spans", name=span.name, job=values.get("zoolet.jobs.name"))
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(Exporter()))
    return OpenTelemetryHooks(provider)
