"""Times and ages as text."""

from datetime import UTC, datetime
from typing import Final

_UNITS: Final = (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))


def time_text(time_ms: int) -> str:
    """Return a time in UTC; the number itself if no calendar has it."""
    try:
        found = datetime.fromtimestamp(time_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{time_ms} ms"
    return f"{found:%Y-%m-%d %H:%M:%S} UTC"


def age_text(now_s: float, time_ms: int) -> str:
    """Return how long ago a time was, in its largest unit."""
    seconds = int(now_s - time_ms / 1000)
    if time_ms <= 0 or seconds < 0:
        return ""
    for unit, size in _UNITS:
        if seconds >= size:
            count = seconds // size
            return f"{count:,} {unit}{'' if count == 1 else 's'} ago"
    return "now"
