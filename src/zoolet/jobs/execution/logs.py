"""The log of a worker: the formats of records, and the labels that name their attempts.

A record may have a label: the job, task and attempt, or the executor's process. The worker passes
the label to `record_of`. If tasks run in threads, `labelled` sets the label of all records of a
thread.

Invariant: no text of a job, a task or a subprocess can look like another record or control the
terminal. Control characters are escaped, and all lines after the first are indented.

This module imports `zoolet.console`.
"""

import json
import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple, TextIO

from zoolet.console.texts import escaped, indented

LEVELS = ("debug", "info", "warning", "error")


class LogFormat(StrEnum):
    """The formats of the log."""

    TEXT = "text"
    JSON = "json"


class Label(NamedTuple):
    """Names the attempt or process of a record; unknown parts are None.

    Attributes:
        job: the job's name.
        task: the name of the job's task.
        attempt: the number of the attempt, from 1.
        process: the id of the executor's process.
    """

    job: str | None = None
    task: str | None = None
    attempt: int | None = None
    process: int | None = None

    def __str__(self) -> str:
        """Return the label as the beginning of a line; "" if all parts are None."""
        if self.job is not None:
            return f"[{self.job} {self.task} attempt {self.attempt}] "
        return "" if self.process is None else f"[executor process {self.process}] "


_current = threading.local()


@contextmanager
def labelled(label: Label) -> Iterator[None]:
    """Give all records of this thread a label."""
    _current.label = label
    try:
        yield
    finally:
        _current.label = None


def tell(log: logging.Logger, level: int, label: Label, text: str) -> None:
    """Log a text, which may have several lines, with a label."""
    if log.isEnabledFor(level):
        log.handle(record_of(log.name, level, label, text))


def record_of(
    name: str, level: int, label: Label, text: str, created_s: float | None = None
) -> logging.LogRecord:
    """Return a record whose message begins with a label.

    ``created_s`` is the record's time, in seconds since the epoch; None for the current time.
    """
    record = logging.LogRecord(name, level, "", 0, f"{label}{text}", None, None)
    record.label = label
    record.without_label = text
    if created_s is not None:
        record.created = created_s
        record.msecs = (created_s % 1) * 1000
    return record


def set_up(level: str, log_format: LogFormat, stream: TextIO | None = None) -> None:
    """Log to standard error, also Python's warnings."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format is LogFormat.JSON else TextFormatter())
    handler.addFilter(_add_label)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)


def _add_label(record: logging.LogRecord) -> bool:
    """Add the thread's label to a record without one."""
    if not hasattr(record, "label"):
        label = getattr(_current, "label", None)
        if label is not None:
            text = record.getMessage()
            record.label, record.without_label = label, text
            record.msg, record.args = f"{label}{text}", None
    return True


def _label_of(record: logging.LogRecord) -> Label:
    label = getattr(record, "label", None)
    return label if isinstance(label, Label) else Label()


class TextFormatter(logging.Formatter):
    """Formats a record as text: time, level, logger, label, message; further lines are indented."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines."""
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        if record.stack_info:
            text = f"{text}\n{record.stack_info}"
        first, *others = map(escaped, text.split("\n"))
        head = f"{moment},{record.msecs:03.0f} {record.levelname:7} {escaped(record.name)}: {first}"
        return "\n".join([head, *map(indented, others)])


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON: time (ISO 8601), level, logger, message, label."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        moment = datetime.fromtimestamp(record.created, UTC)
        shown: dict[str, object] = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": getattr(record, "without_label", record.getMessage()),
        }
        shown |= {
            name: value for name, value in _label_of(record)._asdict().items() if value is not None
        }
        if record.exc_info:
            shown["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            shown["stack"] = record.stack_info
        return json.dumps(shown)
