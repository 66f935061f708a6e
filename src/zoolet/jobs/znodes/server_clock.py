"""Estimates the server's time from the replies to a client's own writes.

The Stat in the reply to a write has the server's time of the write. The write happened between the
request and the reply, so the error of the estimate is at most half of the round trip. Invariant:
between samples the estimate follows the monotonic clock, so a change of this machine's clock does
not change the estimate. This module sends no requests and does not import modules of zoolet.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger(__name__)

TOLD_OFFSET_MS = 1000
"""The offset is this machine's time minus the server's time. An offset of more than this value is
logged, and so is a later change of the offset by more than this value."""
SAMPLE_EVERY_S = 60.0
"""The age of the newest sample at which the next sample is due."""
DRIFT = 1e-3
"""Clocks drift, so the error of a sample grows by this fraction of the sample's age."""


def wall_clock_ms() -> int:
    """Return the time of this machine, in ms since the epoch."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class _Sample:
    """The server's time at one time of this machine's monotonic clock.

    Attributes:
        at_s: the time of the monotonic clock in the middle between request and reply, in seconds.
        server_ms: the server's time at ``at_s``, in ms since the epoch.
        error_ms: the greatest error of ``server_ms``, half of the round trip, in ms.
    """

    at_s: float
    server_ms: float
    error_ms: float

    def error_at_ms(self, now_s: float) -> float:
        return self.error_ms + DRIFT * 1000 * (now_s - self.at_s)

    def server_at_ms(self, now_s: float) -> float:
        return self.server_ms + 1000 * (now_s - self.at_s)


class ServerClock:
    """Estimates the server's time. Without a sample, the estimate is the time of this machine.

    Args:
        wall_ms: returns the time of this machine, in ms since the epoch.
        monotonic_s: returns the time of a monotonic clock, in seconds.
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
        """Return the estimate of the server's time, in ms since the epoch."""
        best = self._best
        return self._wall_ms() if best is None else round(best.server_at_ms(self.monotonic_s()))

    def add(self, sent_s: float, received_s: float, server_ms: int) -> None:
        """Add a sample: the times of a request and its reply, and the server's time in the reply.

        ``sent_s`` and ``received_s`` are times of ``monotonic_s``. A sample that contradicts the
        best sample replaces it: the server's clock was set, or the ensemble has a new leader.
        """
        half_s = max(0.0, received_s - sent_s) / 2
        # The server cuts its time down to whole milliseconds. So the true time is 0 to 1 ms later:
        # 0.5 ms later, with an additional error of 0.5 ms.
        sample = _Sample(sent_s + half_s, server_ms + 0.5, 1000 * half_s + 0.5)
        with self._lock:
            self._sampled_at_s = received_s
            best = self._best
            if best is None or self._is_better(sample, best, received_s):
                best = self._best = sample
            self._tell_offset(best, received_s)

    def is_sample_due(self) -> bool:
        """Return whether there is no sample, or the newest sample is old."""
        sampled_at_s = self._sampled_at_s
        return sampled_at_s is None or self.monotonic_s() - sampled_at_s >= SAMPLE_EVERY_S

    @staticmethod
    def _is_better(sample: _Sample, best: _Sample, now_s: float) -> bool:
        error_ms = best.error_at_ms(now_s)
        apart_ms = abs(sample.server_at_ms(now_s) - best.server_at_ms(now_s))
        return sample.error_ms <= error_ms or apart_ms > sample.error_ms + error_ms

    def _tell_offset(self, best: _Sample, now_s: float) -> None:
        """Log the offset of this machine's clock if it is large and differs from the logged offset.

        The method also logs when an offset that was logged is small again.
        """
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
            "this machine's clock is %.1f s %s the server's. Jobs start and expire by the server's"
            " clock, so a time that a program computes from this machine's clock is wrong by this"
            " offset. Set this machine's clock, for example with NTP",
            abs(offset_ms) / 1000,
            "ahead of" if offset_ms > 0 else "behind",
        )
