"""The histograms of waiting times and run times, for a limited number of tasks."""

import random
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from zoolet.jobs.hooks.job_hooks import Attempt
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_requests import JobRequest
from zoolet.jobs.worker.metrics import WorkerCollector
from zoolet.jobs.worker.tally import Tally
from zoolet.jobs.worker.task_histograms import (
    BOUNDS_S,
    LABEL_CHARACTERS,
    OTHER,
    TASKS_MOST,
    Histogram,
    TaskHistograms,
    label_of,
)
from zoolet.jobs.worker.worker import Worker


def job_of(task: str, **changes: Any) -> Job:
    return Job.draft(JobRequest(task), "s-0", 1_000)._replace(**changes)


def ended(task: str, run_ms: int) -> Attempt:
    return Attempt(job_of(task), 1, None, 5_000, 5_000 + run_ms, None)


def test_each_attempt_counts_its_waiting_time() -> None:
    histograms = TaskHistograms()
    histograms.started(job_of("m:f", ready_ms=1_000), 1_200)
    histograms.started(job_of("m:f", ready_ms=8_000, attempts=1), 9_000)
    histograms.started(job_of("m:f"), 9_000)
    assert histograms.waiting() == {"m:f": Histogram().with_value(0.2).with_value(1.0)}


def test_each_attempt_that_has_started_counts_its_run_time() -> None:
    histograms = TaskHistograms()
    histograms.ended(ended("m:f", 30))
    histograms.ended(ended("m:f", 3_000))
    histograms.ended(ended("m:f", 0)._replace(started_ms=None))
    found = histograms.running()["m:f"]
    assert sum(found.counts) == 2
    assert found.sum_s == pytest.approx(3.03)


def test_a_clock_that_goes_back_gives_a_waiting_time_of_zero() -> None:
    histograms = TaskHistograms()
    histograms.started(job_of("m:f", ready_ms=1_000), 900)
    assert histograms.waiting()["m:f"].counts[0] == 1
    assert histograms.waiting()["m:f"].sum_s == 0


@pytest.mark.parametrize("seed", range(10))
def test_the_buckets_are_those_of_a_simple_count(seed: int) -> None:
    chance = random.Random(seed)
    histograms = TaskHistograms()
    durations = [int(10 ** chance.uniform(0, 7.5)) for _ in range(200)]
    for run_ms in durations:
        histograms.ended(ended(f"m:{chance.randrange(3 * TASKS_MOST)}", run_ms))
    found = histograms.running()
    assert len(found) <= TASKS_MOST + 1
    for number, bound_s in enumerate([*BOUNDS_S, float("inf")]):
        counted = sum(sum(one.counts[: number + 1]) for one in found.values())
        assert counted == sum(run_ms / 1000 <= bound_s for run_ms in durations)


def test_further_tasks_share_a_label() -> None:
    histograms = TaskHistograms()
    for number in range(TASKS_MOST + 5):
        histograms.ended(ended(f"m:f{number}", 10))
    assert len(histograms.running()) == TASKS_MOST + 1
    assert sum(histograms.running()[OTHER].counts) == 5


def test_a_long_name_is_shortened_in_its_middle() -> None:
    label = label_of("module:" + "x" * 400 + "end")
    assert len(label) <= LABEL_CHARACTERS
    assert label.startswith("module:x")
    assert label.endswith("xend")


def test_labels_are_escaped_in_the_metrics() -> None:
    histograms = TaskHistograms()
    histograms.ended(ended('m:"f"\n{evil="1"} 7\\', 30))
    worker = SimpleNamespace(
        tallies=lambda: {"/q": Tally().as_dict()},
        in_hand=0,
        progress=dict,
        queues={"/q": SimpleNamespace(counts=dict, workers=list)},
    )
    registry = CollectorRegistry()
    registry.register(WorkerCollector(cast("Worker", worker), histograms))
    text = generate_latest(registry).decode()
    lines = [line for line in text.splitlines() if line.startswith("zoolet_worker_attempt_seconds")]
    assert len(lines) == len(BOUNDS_S) + 3, lines
    assert r'task="m:\"f\"\n{evil=\"1\"} 7\\"' in lines[0]
