"""What the server counts about itself and its connections, for the operator.

Counting must cost next to nothing: what arrives in one read is counted at once.
"""

from typing import Final, final

from mypy_extensions import mypyc_attr

_BOUNDS_MS: Final = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
"""The upper bounds of the histograms' buckets; the last bucket has none."""


@mypyc_attr(acyclic=True)
class Summary:
    """How often something took how long, in ms."""

    def __init__(self) -> None:
        self.count = 0
        self.total_ms = 0
        self.min_ms = 0
        self.max_ms = 0
        self.last_ms = 0

    def add(self, value_ms: int, times: int = 1) -> None:
        """Note that something took ``value_ms``, ``times`` times."""
        if not times:
            return
        if not self.count or value_ms < self.min_ms:
            self.min_ms = value_ms
        self.count += times
        self.total_ms += value_ms * times
        self.max_ms = max(self.max_ms, value_ms)
        self.last_ms = value_ms

    @property
    def average_ms(self) -> float:
        """The mean, rounded as Apache ZooKeeper rounds it."""
        return round(self.total_ms / self.count, 4) if self.count else 0.0


@final
class Histogram:
    """How the durations of something are distributed, in ms; it is never reset.

    Attributes:
        counts: of the durations in each bucket, which are those up to its bound and above the one
            before.
        total_ms: the sum of all durations.
    """

    def __init__(self) -> None:
        self.counts = [0] * (len(_BOUNDS_MS) + 1)
        self.total_ms = 0

    def add(self, value_ms: int, times: int = 1) -> None:
        """Count ``times`` durations of ``value_ms``."""
        if value_ms == 0:  # of every request that is answered at once
            self.counts[0] += times
            return
        bucket = 0
        for bound_ms in _BOUNDS_MS:
            if value_ms <= bound_ms:
                break
            bucket += 1
        self.counts[bucket] += times
        self.total_ms += value_ms * times

    @property
    def count(self) -> int:
        """How many durations there were."""
        return sum(self.counts)

    def cumulative(self) -> list[tuple[str, int]]:
        """Return bound and count of the durations up to it, as Prometheus has them (``le``)."""
        pairs: list[tuple[str, int]] = []
        count = 0
        for bound_ms, in_bucket in zip((*_BOUNDS_MS, None), self.counts, strict=True):
            count += in_bucket
            pairs.append(("+Inf" if bound_ms is None else str(float(bound_ms)), count))
        return pairs


@final
class ServerStats:
    """Counts since the server began; ``reset`` starts those again that ``srst`` does.

    Latency is what a request waited in the server: a read that is answered at once counts as 0, one
    that is held counts from the first txn of what it waited for to its release.
    """

    def __init__(self) -> None:
        self.packets_received = 0
        self.packets_sent = 0
        self.latency = Summary()
        self.latencies = Histogram()
        self.sync_latencies = Histogram()
        self.bytes_received = 0
        self.connection_requests = 0
        self.sessions_resumed = 0
        self.connections_rejected = 0
        self.sessionless_closed = 0
        self.unread_closed = 0
        self.auth_failures = 0
        self.syncs = Summary()
        self.slow_syncs = 0
        self.snapshots = Summary()
        self.restores = Summary()
        self.snapshot_errors = 0
        self.snapshots_rate_limited = 0
        self.restore_errors = 0
        self.restores_rate_limited = 0

    def reset(self) -> None:
        """Count packets and latency again (``ServerStats.reset``)."""
        self.packets_received = self.packets_sent = 0
        self.latency = Summary()


@final
@mypyc_attr(acyclic=True)
class ConnectionStats(Summary):
    """What one connection did, as ``cons`` shows it, and how long its requests took.

    Attributes:
        last_op_code: of its last request; None before the first.
        last_cxid: the number that the client gave that request; -1 before.
        last_zxid: the zxid in its last reply; -1 before.
        last_response_ms: when that left, on the clock that only rises.
    """

    def __init__(self) -> None:
        super().__init__()
        self.packets_received = 0
        self.packets_sent = 0
        self.last_op_code: int | None = None
        self.last_cxid = -1
        self.last_zxid = -1
        self.last_response_ms = 0
