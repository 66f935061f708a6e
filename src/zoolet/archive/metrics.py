"""Metrics of a command for Prometheus, served by a thread of the library prometheus_client."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from zoolet.archive.errors import ArchiveError

ADDRESS: Final = "127.0.0.1"
"""The address on which a command serves its metrics, which need no login."""


class Figure(NamedTuple):
    """A figure of a command.

    Attributes:
        name: the name of the metric; Prometheus adds ``_total`` to the name of a counter.
        meaning: a sentence.
        value: the current value.
        counts: whether it only grows.
    """

    name: str
    meaning: str
    value: float
    counts: bool = False


class _Figures(Collector):
    def __init__(self, figures: Callable[[], Iterable[Figure]]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """Yield the current values."""
        for name, meaning, value, counts in self._figures():
            family = CounterMetricFamily if counts else GaugeMetricFamily
            yield family(name, meaning, value=value)


def serve_metrics(port: int, figures: Callable[[], Iterable[Figure]]) -> int:
    """Serve the figures at ``/metrics`` of `ADDRESS` until the process ends; return the port.

    ``figures`` is called in other threads. Port 0 means any free port. Raises ArchiveError if the
    port is in use.
    """
    registry = CollectorRegistry()
    registry.register(_Figures(figures))
    try:
        server, _ = start_http_server(port, ADDRESS, registry)
    except OSError as error:
        raise ArchiveError(
            f"cannot serve metrics on port {port}: {error.strerror or error}. Stop the program that"
            " uses the port, or give another --metrics-port."
        ) from error
    return int(server.server_port)
