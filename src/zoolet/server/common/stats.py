"""Counters of the server and of its connections, for the operator.

Counting must be cheap, so the requests that a connection processes in one turn are counted
together.
"""

from typing import Final, final

from mypy_extensions import mypyc_attr

_BOUNDS_MS: Final = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
"""The upper bounds of the histograms' buckets; the last bucket has no upper bound."""


@mypyc_attr(acyclic=True)
class Summary:
    """The count, sum, minimum and maximum of the durations of an operation, in ms."""

    def __init__(self) -> None:
        self.count = 0
        self.total_ms = 0
        self.min_ms = 0
        self.max_ms = 0
        self.last_ms = 0

    def add(self, value_ms: int, times: int = 1) -> None:
        """Count ``times`` durations of ``value_ms``."""
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
    """The distribution of the durations of an operation, in ms; a histogram is never reset.

    Attributes:
        counts: the number of durations in each bucket: at most the bucket's bound and greater than
            the bound of the bucket before.
        total_ms: the sum of all durations.
    """

    def __init__(self) -> None:
        self.counts = [0] * (len(_BOUNDS_MS) + 1)
        self.total_ms = 0

    def add(self, value_ms: int, times: int = 1) -> None:
        """Count ``times`` durations of ``value_ms``."""
        if value_ms == 0:  # most frequent: each request that does not wait for a batch
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
        """The number of durations."""
        return sum(self.counts)

    def cumulative(self) -> list[tuple[str, int]]:
        """Return each bound with the number of durations up to it (``le`` in Prometheus)."""
        pairs: list[tuple[str, int]] = []
        count = 0
        for bound_ms, in_bucket in zip((*_BOUNDS_MS, None), self.counts, strict=True):
            count += in_bucket
            pairs.append(("+Inf" if bound_ms is None else str(float(bound_ms)), count))
        return pairs


@final
class AuditCounts:
    """The numbers of records that the audit log has written, and that are lost."""

    def __init__(self) -> None:
        self.written = 0
        self.lost = 0


@final
class ServerStats:
    """The counters since the server started; ``reset`` resets the counters that ``srst`` resets.

    Latency is the time that a request waits in the server. A read that does not wait for a batch
    has the latency 0. The latency of a request that waits for a batch is the time from the first
    txn of the batch to the release of the batch.
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
        self.audit = AuditCounts()

    def reset(self) -> None:
        """Reset the counters of packets and latency (``ServerStats.reset``)."""
        self.packets_received = self.packets_sent = 0
        self.latency = Summary()


@final
@mypyc_attr(acyclic=True)
class ConnectionStats(Summary):
    """The counters of one connection, as ``cons`` shows them, and the latency of its requests.

    Attributes:
        packets_received: the number of frames that the client sent.
        packets_sent: the number of frames that were sent to the client.
        last_op_code: the op code of the last request; None before the first request.
        last_cxid: the xid that the client gave the last request; -1 before the first request.
        last_zxid: the zxid in the last reply; -1 before the first reply.
        last_response_ms: the time of the last reply, on the monotonic clock; 0 before the first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.packets_received = 0
        self.packets_sent = 0
        self.last_op_code: int | None = None
        self.last_cxid = -1
        self.last_zxid = -1
        self.last_response_ms = 0
