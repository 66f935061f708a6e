"""What the server counts about itself, for the operator."""

from dataclasses import dataclass


@dataclass(slots=True)
class ServerStats:
    """Counts since the server began.

    Latency is what a request waited in the server, in ms: a read that is answered at once counts
    as 0, one that is held counts from its arrival to its release.
    """

    packets_received: int = 0
    packets_sent: int = 0
    latency_count: int = 0
    latency_total_ms: int = 0
    latency_min_ms: int = 0
    latency_max_ms: int = 0

    def count_latency(self, latency_ms: int, requests: int) -> None:
        """Note that so many requests waited so long."""
        if not self.latency_count or latency_ms < self.latency_min_ms:
            self.latency_min_ms = latency_ms
        self.latency_count += requests
        self.latency_total_ms += latency_ms * requests
        self.latency_max_ms = max(self.latency_max_ms, latency_ms)

    @property
    def latency_average_ms(self) -> float:
        """The mean, rounded as the original rounds it."""
        if not self.latency_count:
            return 0.0
        return round(self.latency_total_ms / self.latency_count, 4)
