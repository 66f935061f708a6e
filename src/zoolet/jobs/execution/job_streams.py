"""In an executor's process with several attempts at a time: sends each line with its job's name.

`zoolet.jobs.execution.capture` sends all output of a process in one pipe. Here, the lines that a
task prints and the records that it logs are sent as records with the name of its job. Output of C
code and subprocesses has no name. Imports `zoolet.jobs.context` and its own package.
"""

import io
import logging
import sys
import time
from typing import TextIO

from zoolet.jobs.context.current_job import running_job
from zoolet.jobs.execution.capture import RECORD_CHARACTERS, Capture
from zoolet.jobs.records.texts import cut_middle

PRINTED = ""
"""The name of a record that is a printed line."""


class JobStreams:
    """Replaces ``sys.stdout`` and ``sys.stderr``, and labels the records of ``logging``."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self._begun: dict[str, str] = {}
        """The beginnings of lines that are not complete yet, by the name of the job."""
        sys.stdout = _JobStream(self, sys.stdout)
        sys.stderr = _JobStream(self, sys.stderr)
        for handler in logging.getLogger().handlers:
            handler.addFilter(_label)

    def write(self, job: str, text: str) -> None:
        """Send the complete lines of a job's output."""
        *lines, rest = (self._begun.pop(job, "") + text).split("\n")
        for line in lines:
            self._send(job, line)
        if len(rest) > RECORD_CHARACTERS:
            self._send(job, rest)
        elif rest:
            self._begun[job] = rest

    def end(self, job: str) -> None:
        """Send the incomplete line of a job that has ended."""
        if rest := self._begun.pop(job, ""):
            self._send(job, rest)

    def _send(self, job: str, line: str) -> None:
        text = cut_middle(line, RECORD_CHARACTERS)
        record = {"name": PRINTED, "level": logging.INFO, "text": text, "created_s": time.time()}
        self._capture.send(record | {"job": job})


class _JobStream(io.TextIOBase):
    """A standard stream: what a task prints goes to its job, other text to the process."""

    def __init__(self, streams: JobStreams, stream: TextIO) -> None:
        super().__init__()
        self._streams = streams
        self._stream = stream

    def write(self, text: str, /) -> int:
        job = running_job()
        if job is None:
            return self._stream.write(text)
        self._streams.write(job.work_name, str(text))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"


def _label(record: logging.LogRecord) -> bool:
    job = running_job()
    record.zoolet_job = None if job is None else job.work_name
    return True
