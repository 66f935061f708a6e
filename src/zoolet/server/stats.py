"""What the server counts about itself and its connections, for the operator.

Counting must cost next to nothing: what arrives in one read is counted at once.
"""

from typing import final


@final
class Summary:
    """How often something took how long, in ms."""

    def __init__(self) -> None:
        self.count = 0
        self.total_ms = 0
        self.min_ms = 0
        self.max_ms = 0
        self.last_ms = 0

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


@final
class ServerStats:
    """Counts since the server began; ``reset`` starts those anew that ``srst`` does.

    Latency is what a request waited in the server: a read that is answered at once counts as 0, one
    that is held counts from the first txn of what it waited for to its release.
    """

    def __init__(self) -> None:
        self.packets_received = 0
        self.packets_sent = 0
        self.latency = Summary()
        self.bytes_received = 0
        self.connection_requests = 0
        self.sessions_resumed = 0
        self.connections_rejected = 0
        self.auth_failures = 0
        self.syncs = Summary()
        self.slow_syncs = 0
        self.snapshots = Summary()

    def reset(self) -> None:
        """Count packets and latency anew (``ServerStats.reset``)."""
        self.packets_received = self.packets_sent = 0
        self.latency = Summary()


@final
class ConnectionStats:
    """What one connection did, as ``cons`` shows it.

    Attributes:
        last_op_code: of its last request; None before the first.
        last_cxid: the number that the client gave that request; -1 before.
        last_zxid: the zxid in its last reply; -1 before.
        last_response_ms: when that left, on the clock that only rises.
    """

    def __init__(self) -> None:
        self.packets_received = 0
        self.packets_sent = 0
        self.last_op_code: int | None = None
        self.last_cxid = -1
        self.last_zxid = -1
        self.last_response_ms = 0
        self.latency = Summary()
