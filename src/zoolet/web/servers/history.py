"""The charts of the last hour. The markup is made once for all visitors, at each new sample."""

from collections.abc import Callable
from typing import Final

from markupsafe import Markup

from zoolet.web.charts import Chart
from zoolet.web.servers.sampling import INTERVAL_S, SPAN_S, Sampler

_GAP_S: Final = 4 * INTERVAL_S


class History:
    """The charts of all clusters, from the samples; ``time_s`` is the clock of the system."""

    def __init__(self, sampler: Sampler, time_s: Callable[[], float]) -> None:
        self._sampler = sampler
        self._time_s = time_s
        self._made: dict[str, tuple[float, list[Markup]]] = {}

    def markup(self, cluster: str) -> list[Markup]:
        """Return the charts of a cluster as HTML."""
        now_s = self._time_s()
        made_s, found = self._made.get(cluster, (0.0, []))
        if not 0 <= now_s - made_s < INTERVAL_S:
            found = [chart.markup() for chart in self.charts(cluster)]
            self._made[cluster] = now_s, found
        return found

    def charts(self, cluster: str) -> list[Chart]:
        """Return the charts of a cluster."""
        servers, now_s = self._sampler.servers(cluster), self._time_s()
        series = (
            ("Connections", "connections", [each.series("connections") for each in servers]),
            ("Requests", "requests a second", [each.rate("received") for each in servers]),
            (
                "Average latency since the start",
                "ms",
                [each.series("avg_latency") for each in servers],
            ),
            ("Waiting requests", "requests", [each.series("outstanding") for each in servers]),
            ("Time of a sync", "ms", [each.rate("fsync_ms", "fsyncs") for each in servers]),
            ("Data in memory", "bytes", [each.series("data_bytes") for each in servers]),
            ("Znodes", "znodes", [each.series("znodes") for each in servers]),
            ("Watches", "watches", [each.series("watches") for each in servers]),
        )
        return [Chart(title, unit, found, now_s, SPAN_S, _GAP_S) for title, unit, found in series]
