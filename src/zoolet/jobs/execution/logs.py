"""The log of a worker: how records look, and which attempt each is about.

A record may have a label: job, task and attempt, or the executor's process. In the worker's process
it is given to `record_of`, or it holds for the thread (`labelled`), if tasks run in threads. What
holds: no text of a job, a task or a subprocess looks like a record of its own, or controls the
terminal: characters that could are escaped, and further lines are indented.

Imports the job system's texts.
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

from zoolet.jobs.records.texts import escaped, indented

LEVELS = ("debug", "info", "warning", "error")


class LogFormat(StrEnum):
    """How the records of the log look."""

    TEXT = "text"
    JSON = "json"


class Label(NamedTuple):
    """What a record is about; the parts that are not known are None.

    Attributes:
        job: the job's name.
        task: its task.
        attempt: which attempt of the job, from 1.
        process: id of the executor's process.
    """

    job: str | None = None
    task: str | None = None
    attempt: int | None = None
    process: int | None = None

    def __str__(self) -> str:
        """Return it as the beginning of a line; "" if nothing is known."""
        if self.job is not None:
            return f"[{self.job} {self.task} attempt {self.attempt}] "
        return "" if self.process is None else f"[executor process {self.process}] "


_current = threading.local()


@contextmanager
def labelled(label: Label) -> Iterator[None]:
    """Let the records of this thread have a label."""
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
    """Return a record with a label, which its message begins with.

    ``created_s`` is in seconds since the epoch.
    """
    record = logging.LogRecord(name, level, "", 0, f"{label}{text}", None, None)
    record.label = label
    record.without_label = text
    if created_s is not None:
        record.created = created_s
        record.msecs = (created_s % 1) * 1000
    return record


def set_up(level: str, log_format: LogFormat, stream: TextIO | None = None) -> None:
    """Log to standard error, with warnings; kazoo's own records only from warnings on."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format is LogFormat.JSON else TextFormatter())
    handler.addFilter(_add_label)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    logging.getLogger("kazoo").setLevel(max(logging.WARNING, logging.getLogger().level))


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
    """A line for people: time, level, logger, label, message. Further lines are indented."""

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
    """A JSON object a line, for programs: time (ISO 8601), level, logger, message, label."""

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
