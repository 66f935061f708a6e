"""Metrics in Prometheus' text format, with the library prometheus_client.

Source of the names: Apache ZooKeeper's ``PrometheusMetricsProvider``, which exports the figures
under the names that they have in ``mntr``. The names of its counters do not end with ``_total``, so
this module exports counters with the type ``unknown``.
"""

from collections.abc import Iterator
from http import HTTPStatus

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from zoolet.server.operator.figures import figures, histograms, summaries
from zoolet.server.operator.http import Exchange, Page, Request, Response, text
from zoolet.server.operator.inspection import Inspector
from zoolet.server.operator.process_figures import process_figures
from zoolet.server.operator.roles import Role

METRICS_PATH = "/metrics"


class _Figures(Collector):
    """A collector that passes the figures to prometheus_client."""

    def __init__(self, inspector: Inspector) -> None:
        self._inspector = inspector

    def collect(self) -> Iterator[Metric]:
        """Yield the current values of all figures."""
        inspector = self._inspector
        for name, figure in figures(inspector).items():
            metric = Metric(name, figure.meaning, "unknown" if figure.counts else "gauge")
            metric.add_sample(name, {}, figure.value(inspector))
            yield metric
        for name, (summary, meaning) in summaries(inspector).items():
            metric = Metric(name, meaning, "summary")
            metric.add_sample(f"{name}_count", {}, summary.count)
            metric.add_sample(f"{name}_sum", {}, summary.total_ms)
            yield metric
        for name, (histogram, meaning) in histograms(inspector).items():
            metric = Metric(name, meaning, "histogram")
            for bound, count in histogram.cumulative():
                metric.add_sample(f"{name}_bucket", {"le": bound}, count)
            metric.add_sample(f"{name}_count", {}, histogram.count)
            metric.add_sample(f"{name}_sum", {}, histogram.total_ms)
            yield metric
        if inspector.ensemble is not None:
            metric = Metric("leader_info", "The leader that the observer follows.", "gauge")
            metric.add_sample("leader_info", {"address": inspector.ensemble.leader or "none"}, 1)
            yield metric
        yield from process_figures(inspector.config)


def metrics_role(_request: Request) -> Role:
    """Return the role that the metrics need."""
    return Role.READ_ONLY


def metrics_page(inspector: Inspector) -> Page:
    """Return the page that answers ``/metrics``."""
    registry = CollectorRegistry()
    registry.register(_Figures(inspector))

    def page(request: Request, exchange: Exchange) -> None:
        if request.path != METRICS_PATH:
            exchange.respond(text(HTTPStatus.NOT_FOUND, f"the metrics are at {METRICS_PATH}"))
        elif request.method not in {"GET", "HEAD"}:
            exchange.respond(text(HTTPStatus.METHOD_NOT_ALLOWED, "use the method GET for metrics"))
        else:
            # The number of figures is fixed, so the page is produced in one step.
            chunks = (generate_latest(registry) for _ in range(1))
            exchange.respond(Response(HTTPStatus.OK, CONTENT_TYPE_LATEST, chunks))

    return page
