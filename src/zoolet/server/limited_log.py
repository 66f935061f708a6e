"""Warnings about clients, at a rate that a log can bear.

What a client does once in error, it may do a million times. Each kind of warning is written at most
once in INTERVAL_MS; the next one says how many were left out.
"""

import logging
from collections.abc import Callable
from typing import Final

INTERVAL_MS: Final = 1000
MAX_TEXT: Final = 200
"""In characters: a longer text of a client is cut."""


class LimitedLog:
    """Writes each kind of warning at most once in INTERVAL_MS. A kind is a message's template."""

    def __init__(self, log: logging.Logger, monotonic_ms: Callable[[], int]) -> None:
        """Write to ``log``; ``monotonic_ms`` is a clock that only rises, in milliseconds."""
        self._log = log
        self._monotonic_ms = monotonic_ms
        self._written_ms: dict[str, int] = {}
        self._left_out: dict[str, int] = {}

    def warning(self, template: str, *values: object) -> None:
        """Write a warning, unless one of its kind was written a moment ago."""
        now_ms = self._monotonic_ms()
        written_ms = self._written_ms.get(template)
        if written_ms is not None and 0 <= now_ms - written_ms < INTERVAL_MS:
            self._left_out[template] = self._left_out.get(template, 0) + 1
            return
        self._written_ms[template] = now_ms
        left_out = self._left_out.pop(template, 0)
        if left_out:
            template = f"{template} (and %d more like this before)"
            values = (*values, left_out)
        self._log.warning(template, *map(_shortened, values))


def _shortened(value: object) -> object:
    """Cut a text that a client chose: it may have a million characters."""
    if not isinstance(value, str | Exception):
        return value
    text = str(value)
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}..."
