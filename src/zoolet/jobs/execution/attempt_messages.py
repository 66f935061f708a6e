"""In an executor's process: writes the messages about attempts to the worker.

Imports `zoolet.jobs.records` and other modules of its package.
"""

import json
from functools import partial
from json.encoder import encode_basestring_ascii

from zoolet.jobs.execution.attempts import Outcome
from zoolet.jobs.execution.messages import MessageWriter
from zoolet.jobs.execution.progress_reports import ProgressReports
from zoolet.jobs.records.job_names import Group
from zoolet.jobs.records.progress import Progress


class AttemptMessages:
    """Writes the messages about attempts to the worker.

    Each job has two messages. They are made from texts, because encoding a dict takes four times as
    long.
    """

    def __init__(self, writer: MessageWriter) -> None:
        self._writer = writer
        self._name = ""
        self._job = ""
        self.is_cancelled = False
        self._reports: ProgressReports | None = None

    def next(self, name: str) -> None:
        """Begin with the messages about the job of this name."""
        self._job = name
        self._name = encode_basestring_ascii(name)

    def begun(self) -> None:
        """Write that the task or its data is about to be loaded."""
        self._writer.keep_text(f'{{"begun":{self._name}}}')
        self._writer.flush()

    def started(self, cache_hit: bool | None, dropped: tuple[Group, ...]) -> None:
        """Write that the task is about to be called."""
        hit = "null" if cache_hit is None else str(cache_hit).lower()
        groups = json.dumps(dropped) if dropped else "[]"
        self._writer.keep_text(f'{{"started":{self._name},"cache_hit":{hit},"dropped":{groups}}}')
        self._writer.flush()

    def progressed(self, progress: Progress) -> None:
        """Write the progress, but not too often."""
        if self._reports is None:
            self._reports = ProgressReports(partial(self._report, self._job))
        self._reports.add(progress)

    def _report(self, job: str, progress: Progress) -> None:
        self._writer.write_between({"progress": job, "value": progress._asdict()})

    def is_wanted(self) -> bool:
        """Return whether the attempt was not cancelled.

        If a process makes one attempt at a time, the worker ends the process instead.
        """
        return not self.is_cancelled

    def ended(self, outcome: Outcome, *, has_output: bool) -> None:
        """Keep the message about the end of the attempt; it is written with the next message."""
        if self._reports is not None:
            self._reports.end()
            self._reports = None
        output = "true" if has_output else "false"
        text = f'{{"ended":{self._name},"output":{output}'
        if outcome.result is not None:
            result = outcome.result.text
            self._writer.keep_text(f'{text},"bytes":{len(result)}}}')
            self._writer.keep_attached(result)
            return
        failure: dict[str, object] = {
            "error": outcome.error,
            "details": outcome.details,
            "is_task_missing": outcome.is_task_missing,
        }
        if outcome.is_final or outcome.retry_in_ms is not None:
            failure |= {"is_final": outcome.is_final, "retry_in_ms": outcome.retry_in_ms}
        self._writer.keep_text(f"{text},{json.dumps(failure)[1:]}")
