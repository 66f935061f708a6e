"""A rate limit for events. The caller passes the time."""


class RateLimit:
    """Allows one event for each interval (``RateLimiter`` of Apache ZooKeeper)."""

    def __init__(self, interval_ms: int) -> None:
        """Allow the first event without delay."""
        self._interval_ms = interval_ms
        self._last_ms: int | None = None

    def allows(self, now_ms: int) -> bool:
        """Return whether an event is allowed now; an allowed event is counted."""
        if self._last_ms is not None and now_ms - self._last_ms < self._interval_ms:
            return False
        self._last_ms = now_ms
        return True
