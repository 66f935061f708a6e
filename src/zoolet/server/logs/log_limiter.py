"""Rate limits for log messages that a client can cause as often as it wants.

The first message of a kind is logged immediately. After it, each interval has at most one message
of this kind, with the number of messages that were left out. The kind of a message is its format
string or a name that the caller passes, so the source code fixes the number of kinds. Texts that a
client chose are shortened. This module must not import asyncio: the caller passes the clock.
"""

import logging
from collections.abc import Callable
from typing import Final

DEFAULT_INTERVAL_MS: Final = 10_000

MAX_TEXT: Final = 200
"""The maximum length of an argument, in characters; longer texts are shortened."""


class LogLimiter:
    """Logs each kind of message at most once per interval."""

    def __init__(
        self,
        log: logging.Logger,
        now_ms: Callable[[], int],
        interval_ms: int = DEFAULT_INTERVAL_MS,
    ) -> None:
        self._log = log
        self._now_ms = now_ms
        self._interval_ms = interval_ms
        self._logged_ms: dict[str, int] = {}
        self._left_out: dict[str, int] = {}

    def warning(self, message: str, *arguments: object, kind: str | None = None) -> None:
        """Log a warning; ``message`` is a constant format string.

        ``kind`` distinguishes messages with the same format string. A client must not be able to
        choose ``kind`` freely.
        """
        self._write(logging.WARNING, message, arguments, message if kind is None else kind)

    def info(self, message: str, *arguments: object) -> None:
        """Log a message about a normal event that may be frequent."""
        self._write(logging.INFO, message, arguments, message)

    def exception(self, message: str, *arguments: object) -> None:
        """Log an error with the traceback of the exception that is being handled."""
        self._write(logging.ERROR, message, arguments, message, with_exception=True)

    def _write(
        self,
        level: int,
        message: str,
        arguments: tuple[object, ...],
        kind: str,
        *,
        with_exception: bool = False,
    ) -> None:
        now_ms = self._now_ms()
        logged_ms = self._logged_ms.get(kind)
        if logged_ms is not None and 0 <= now_ms - logged_ms < self._interval_ms:
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return
        self._logged_ms[kind] = now_ms
        arguments = tuple(map(_shortened, arguments))
        left_out = self._left_out.pop(kind, 0)
        if left_out:
            counted = f"{message} (%d more of these messages were left out)"
            self._log.log(level, counted, *arguments, left_out, exc_info=with_exception)
        else:
            self._log.log(level, message, *arguments, exc_info=with_exception)


def _shortened(value: object) -> object:
    """Shorten a text, because a client may have chosen a text with a million characters."""
    if not isinstance(value, str | Exception):
        return value
    text = str(value)
    return value if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}..."
