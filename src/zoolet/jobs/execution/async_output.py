"""The worker's side of the output of a process that makes several attempts at the same time.

Records with the name of a job belong to its attempt; other output belongs to the process
(`zoolet.jobs.execution.job_streams`). This module imports other modules of its package.
"""

import logging

from zoolet.jobs.execution.child_process import ChildProcess
from zoolet.jobs.execution.job_streams import PRINTED
from zoolet.jobs.execution.logs import Label
from zoolet.jobs.execution.output import (
    READ_BYTES,
    AttemptOutput,
    LogRecord,
    OutputLog,
    OutputParser,
)

_REST_READS = 64


class AsyncOutput:
    """The output of one executor's process; all calls are made in one thread."""

    def __init__(self, process: ChildProcess, token: bytes, output_log: OutputLog) -> None:
        self._process = process
        self._parser = OutputParser(token)
        self._log = output_log
        self._read_bytes = 0
        self._open: dict[str, AttemptOutput] = {}
        self._between = AttemptOutput(Label())

    def started(self, process: int | None) -> None:
        """Set the id of the process; None if it is not known."""
        self._between.label = Label(process=process)

    @property
    def last_lines(self) -> str:
        """The last lines of output outside of attempts, for example of a failed start."""
        return self._between.last_lines()

    def began(self, name: str, label: Label) -> None:
        """Record that an attempt was sent to the process."""
        self._open[name] = AttemptOutput(label)

    def read(self) -> bool:
        """Assign the available output, and return whether there was any."""
        self._process.read_count.set(self._read_bytes + READ_BYTES)
        data = self._process.read_output()
        self._read_bytes += len(data)
        self._process.read_count.set(self._read_bytes)
        for item in self._parser.feed(data):
            if isinstance(item, bytes):
                self._between.add(item, self._log)
            elif isinstance(item, LogRecord):
                output = self._open.get(item.job or "", self._between)
                is_printed = item.name == PRINTED and item.level == logging.INFO
                output.add(f"{item.text}\n".encode() if is_printed else item, self._log)
        return bool(data)

    def ended(self, name: str) -> str:
        """Return the last lines of an attempt that has ended; its output is in the pipe by now."""
        self.read()
        output = self._open.pop(name, None)
        return "" if output is None else output.end(self._log)

    def process_ended(self) -> None:
        """Read the remaining output of a process that has ended."""
        for _ in range(_REST_READS):
            if not self.read():
                break
        self._between.end(self._log)
