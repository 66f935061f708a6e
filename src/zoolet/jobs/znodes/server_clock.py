"""The time of the server, estimated from the answers to a client's own writes.

The Stat of a write has the server's time. It was taken between the request and the reply, so half
of the round trip is the error of the estimate. What holds: between samples the estimate follows the
monotonic clock, so a change of this machine's clock does not change it. Talks to no server. Imports
nothing of zoolet.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger(__name__)

TOLD_OFFSET_MS = 1000
"""The log tells of a larger offset of this machine's clock, and of larger changes of it."""
SAMPLE_EVERY_S = 60.0
"""How old the newest sample may be before the next one is due."""
DRIFT = 1e-3
"""How much of a sample's age counts as further error: clocks drift, and servers change."""


def wall_clock_ms() -> int:
    """Return the time of this machine, in ms since the epoch."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class _Sample:
    """What the server's clock showed at a moment of the monotonic clock, in the middle of a reply.

    Attributes:
        at_s: the moment, of the monotonic clock.
        server_ms: the server's time then.
        error_ms: half of the round trip.
    """

    at_s: float
    server_ms: float
    error_ms: float

    def error_at_ms(self, now_s: float) -> float:
        return self.error_ms + DRIFT * 1000 * (now_s - self.at_s)

    def server_at_ms(self, now_s: float) -> float:
        return self.server_ms + 1000 * (now_s - self.at_s)


class ServerClock:
    """Estimates the server's time. Without a sample it is the time of this machine.

    Args:
        wall_ms: the time of this machine, in ms since the epoch.
        monotonic_s: a clock that is never set.
    """

    def __init__(
        self,
        wall_ms: Callable[[], int] = wall_clock_ms,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall_ms = wall_ms
        self.monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._best: _Sample | None = None
        self._sampled_at_s: float | None = None
        self._told_ms = 0.0

    def now_ms(self) -> int:
        """Return the server's time, in ms since the epoch."""
        best = self._best
        return self._wall_ms() if best is None else round(best.server_at_ms(self.monotonic_s()))

    def add(self, sent_s: float, received_s: float, server_ms: int) -> None:
        """Add a sample: the times of a request and its reply, and the server's time in it.

        ``sent_s`` and ``received_s`` are of ``monotonic_s``. A sample that contradicts the best one
        replaces it: the server's clock was set, or another server leads.
        """
        half_s = max(0.0, received_s - sent_s) / 2
        # The server's time has whole milliseconds.
        sample = _Sample(sent_s + half_s, server_ms + 0.5, 1000 * half_s + 0.5)
        with self._lock:
            self._sampled_at_s = received_s
            best = self._best
            if best is None or self._is_better(sample, best, received_s):
                best = self._best = sample
            self._tell_offset(best, received_s)

    def is_sample_due(self) -> bool:
        """Say whether the newest sample is missing or old."""
        sampled_at_s = self._sampled_at_s
        return sampled_at_s is None or self.monotonic_s() - sampled_at_s >= SAMPLE_EVERY_S

    @staticmethod
    def _is_better(sample: _Sample, best: _Sample, now_s: float) -> bool:
        error_ms = best.error_at_ms(now_s)
        apart_ms = abs(sample.server_at_ms(now_s) - best.server_at_ms(now_s))
        return sample.error_ms <= error_ms or apart_ms > sample.error_ms + error_ms

    def _tell_offset(self, best: _Sample, now_s: float) -> None:
        """Tell the log of an offset, once, and when it has changed."""
        offset_ms = self._wall_ms() - best.server_at_ms(now_s)
        is_large = abs(offset_ms) > TOLD_OFFSET_MS + best.error_at_ms(now_s)
        offset_ms = offset_ms if is_large else 0.0
        if abs(offset_ms - self._told_ms) <= TOLD_OFFSET_MS:
            return
        self._told_ms = offset_ms
        if not is_large:
            log.warning("this machine's clock agrees with the server's again")
            return
        log.warning(
            "this machine's clock is %.1f s %s the server's. Jobs go by the server's time. Set"
            " this machine's clock, for example with NTP",
            abs(offset_ms) / 1000,
            "ahead of" if offset_ms > 0 else "behind",
        )
