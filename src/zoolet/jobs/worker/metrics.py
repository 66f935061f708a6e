"""The Prometheus metrics of a worker: the figures of its work and of its queue.

The figures are read at each request of Prometheus only. This module imports prometheus_client,
`zoolet.jobs.errors` and other modules of its package.
"""

import itertools
import logging
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from zoolet.jobs.errors import JobError
from zoolet.jobs.worker.task_histograms import BOUNDS_S, Histogram, TaskHistograms
from zoolet.jobs.worker.worker import Worker

log = logging.getLogger(__name__)

ADDRESS = "127.0.0.1"


class WorkerCollector(Collector):
    """Collects the figures of a worker and of its queue."""

    def __init__(self, worker: Worker, histograms: TaskHistograms | None = None) -> None:
        self._worker = worker
        self._histograms = histograms

    def collect(self) -> Iterator[Metric]:
        """Yield the current figures."""
        yield from self._counts()
        yield GaugeMetricFamily(
            "zoolet_worker_jobs_in_hand", "Jobs that this worker has.", value=self._worker.in_hand
        )
        progress = GaugeMetricFamily(
            "zoolet_worker_progress",
            "Mean share of the work that the jobs in hand of a task have reported as done, 0 to 1.",
            labels=["task"],
        )
        for task, reported in self._worker.progress().items():
            shares = [one.share for one in reported if one.share is not None]
            if shares:
                progress.add_metric([task], sum(shares) / len(shares))
        yield progress
        if self._histograms is not None:
            yield _histogram_metric(
                "zoolet_worker_job_wait_seconds",
                "Seconds from the time when a worker could take a job to the start of the attempt.",
                self._histograms.waiting(),
            )
            yield _histogram_metric(
                "zoolet_worker_attempt_seconds",
                "Seconds from the start of a task to the end of its attempt.",
                self._histograms.running(),
            )
        yield from self._queue_counts()

    def _labels(self, tallies: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
        """Return the label that names the queue, and its value for each queue.

        A worker with one queue has no such label.
        """
        if len(tallies) == 1:
            return [], {root: [] for root in tallies}
        return ["queue"], {root: [root] for root in tallies}

    def _counts(self) -> Iterator[Metric]:
        """Yield the counts of the worker's work in each queue."""
        tallies = self._worker.tallies()
        names, labels = self._labels(list(tallies))
        attempts = CounterMetricFamily(
            "zoolet_worker_attempts",
            "Attempts that this worker has ended.",
            labels=["outcome", *names],
        )
        cache = CounterMetricFamily(
            "zoolet_worker_cache", "Attempts, by cache hit or miss.", labels=["found", *names]
        )
        busy = CounterMetricFamily(
            "zoolet_worker_busy_seconds", "Seconds spent in tasks.", labels=names
        )
        for root, tally in tallies.items():
            attempts.add_metric(["successful", *labels[root]], tally["successful"])
            attempts.add_metric(["failed", *labels[root]], tally["failed_attempts"])
            attempts.add_metric(["lost", *labels[root]], tally["lost"])
            cache.add_metric(["hit", *labels[root]], tally["cache_hits"])
            cache.add_metric(["miss", *labels[root]], tally["cache_misses"])
            busy.add_metric(labels[root], tally["busy_s"])
        yield from (attempts, cache, busy)

    def _queue_counts(self) -> Iterator[Metric]:
        """Yield the counts of each queue; none of a queue that the worker cannot read now."""
        queues = self._worker.queues
        names, labels = self._labels(list(queues))
        jobs = GaugeMetricFamily(
            "zoolet_queue_jobs", "Jobs in the queue.", labels=["place", *names]
        )
        workers = GaugeMetricFamily("zoolet_queue_workers", "Registered workers.", labels=names)
        for root, queue in queues.items():
            try:
                counts, count = queue.counts(), len(queue.workers())
            except JobError:
                if not names:
                    raise
                log.debug("no metrics of the queue %s", root, exc_info=True)
                continue
            for place, number in counts.items():
                jobs.add_metric([place, *labels[root]], number)
            workers.add_metric(labels[root], count)
        yield from (jobs, workers)


def _histogram_metric(name: str, about: str, found: dict[str, Histogram]) -> Metric:
    """Return a metric with the label ``task``; prometheus_client escapes the labels."""
    metric = HistogramMetricFamily(name, about, labels=["task"])
    bounds = [*map(str, BOUNDS_S), "+Inf"]
    for task, histogram in found.items():
        totals = itertools.accumulate(histogram.counts)
        buckets = [(bound, float(total)) for bound, total in zip(bounds, totals, strict=True)]
        metric.add_metric([task], buckets, histogram.sum_s)
    return metric


def serve(
    worker: Worker, port: int, address: str = ADDRESS, histograms: TaskHistograms | None = None
) -> int:
    """Start to serve the metrics until the process ends, and return the port.

    ``histograms`` are hooks of the worker; None for no histograms.
    """
    registry = CollectorRegistry()
    registry.register(WorkerCollector(worker, histograms))
    server, _ = start_http_server(port, address, registry)
    return int(server.server_port)
