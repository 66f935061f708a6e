"""Limits how often something happens. Owns no clock: the caller gives the time."""


class RateLimit:
    """Allows one event for each interval (``RateLimiter`` of Apache ZooKeeper)."""

    def __init__(self, interval_ms: int) -> None:
        """Allow the first event at once."""
        self._interval_ms = interval_ms
        self._last_ms: int | None = None

    def allows(self, now_ms: int) -> bool:
        """Say whether an event may happen now, and count it if it may."""
        if self._last_ms is not None and now_ms - self._last_ms < self._interval_ms:
            return False
        self._last_ms = now_ms
        return True
