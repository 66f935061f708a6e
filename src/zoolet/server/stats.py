"""What the server counts about itself and its connections, for the operator.

Counting must cost next to nothing: what arrives in one read is counted at once, so a connection's
last request is the last of that read, and requests answered in the same turn count as one latency.
"""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Summary:
    """How often something took how long, in ms."""

    count: int = 0
    total_ms: int = 0
    min_ms: int = 0
    max_ms: int = 0
    last_ms: int = 0

    def add(self, value_ms: int, times: int = 1) -> None:
        """Note that something took so long, so many times."""
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
        """The mean, rounded as the original rounds it."""
        return round(self.total_ms / self.count, 4) if self.count else 0.0


@dataclass(slots=True)
class ServerStats:
    """Counts since the server began; ``reset`` starts those anew that ``srst`` does.

    Latency is what a request waited in the server: a read that is answered at once counts as 0, one
    that is held counts from the first txn of what it waited for to its release.
    """

    packets_received: int = 0
    packets_sent: int = 0
    latency: Summary = field(default_factory=Summary)
    bytes_received: int = 0
    connection_requests: int = 0
    sessions_resumed: int = 0
    connections_rejected: int = 0
    auth_failures: int = 0
    syncs: Summary = field(default_factory=Summary)
    slow_syncs: int = 0
    snapshots: Summary = field(default_factory=Summary)

    def reset(self) -> None:
        """Count packets and latency anew (``ServerStats.reset``)."""
        self.packets_received = self.packets_sent = 0
        self.latency = Summary()


@dataclass(slots=True)
class ConnectionStats:
    """What one connection did, as ``cons`` shows it.

    Attributes:
        last_op_code: of its last request; None before the first.
        last_cxid: the number that the client gave that request; -1 before.
        last_zxid: the zxid in its last reply; -1 before.
        last_response_ms: when that left, on the clock that only rises.
    """

    packets_received: int = 0
    packets_sent: int = 0
    last_op_code: int | None = None
    last_cxid: int = -1
    last_zxid: int = -1
    last_response_ms: int = 0
    latency: Summary = field(default_factory=Summary)
