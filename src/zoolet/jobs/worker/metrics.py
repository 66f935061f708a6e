"""The Prometheus metrics of a worker: the figures of its work and of its queue.

The figures are read at each request of Prometheus only. This module imports prometheus_client and
other modules of its package.
"""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from zoolet.jobs.worker.worker import Worker

ADDRESS = "127.0.0.1"


class WorkerCollector(Collector):
    """Collects the figures of a worker and of its queue."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def collect(self) -> Iterator[Metric]:
        """Yield the current figures."""
        tally = self._worker.tally()
        attempts = CounterMetricFamily(
            "zoolet_worker_attempts", "Attempts that this worker has ended.", labels=["outcome"]
        )
        attempts.add_metric(["successful"], tally["successful"])
        attempts.add_metric(["failed"], tally["failed_attempts"])
        attempts.add_metric(["lost"], tally["lost"])
        yield attempts
        cache = CounterMetricFamily(
            "zoolet_worker_cache", "Attempts, by cache hit or miss.", labels=["found"]
        )
        cache.add_metric(["hit"], tally["cache_hits"])
        cache.add_metric(["miss"], tally["cache_misses"])
        yield cache
        yield CounterMetricFamily(
            "zoolet_worker_busy_seconds", "Seconds spent in tasks.", value=tally["busy_s"]
        )
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
        jobs = GaugeMetricFamily("zoolet_queue_jobs", "Jobs in the queue.", labels=["place"])
        for place, count in self._worker.queue.counts().items():
            jobs.add_metric([place], count)
        yield jobs
        yield GaugeMetricFamily(
            "zoolet_queue_workers", "Registered workers.", value=len(self._worker.queue.workers())
        )


def serve(worker: Worker, port: int, address: str = ADDRESS) -> int:
    """Start to serve the metrics until the process ends, and return the port."""
    registry = CollectorRegistry()
    registry.register(WorkerCollector(worker))
    server, _ = start_http_server(port, address, registry)
    return int(server.server_port)
