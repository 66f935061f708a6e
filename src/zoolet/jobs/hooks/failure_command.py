"""The hook that runs a command when a job has become FAILED (`zoolet worker --on-failure`).

This module imports `zoolet.jobs.execution`, `zoolet.jobs.records` and other modules of its package.
"""

import json
import logging
import os
import shlex

from zoolet.jobs.errors import InvalidJobError
from zoolet.jobs.execution.command import Command, Ended
from zoolet.jobs.execution.logs import Label, tell
from zoolet.jobs.hooks.job_hooks import JobHooks
from zoolet.jobs.records.failure_notes import JobFailure

log = logging.getLogger(__name__)

_VALUE_CHARACTERS = 1000
"""The most characters of a value in the environment; the kernel limits its size."""


class FailureCommand(JobHooks):
    """Runs a command for each job that has become FAILED, without a shell.

    The command gets the job as JSON on its standard input, and a few values as environment
    variables. Its output goes to the worker's log.

    Args:
        command: the program and its arguments, with the quotes of a shell.
        timeout_ms: the time limit of a run, in ms.

    Raises:
        InvalidJobError: the command is empty, or a quote is not closed.
    """

    def __init__(self, command: str, timeout_ms: int) -> None:
        try:
            arguments = shlex.split(command)
        except ValueError as error:
            raise InvalidJobError(
                f"the command {command!r} cannot be split into words: {error}"
            ) from None
        if not arguments or not arguments[0]:
            raise InvalidJobError("the command is empty: give a program and its arguments")
        self._program = arguments[0]
        self._command = Command(arguments, timeout_ms / 1000)

    def job_failed(self, failure: JobFailure) -> None:
        """Run the command, and log its output."""
        job, reason, queue = failure
        value = {"job": job.name, "reason": reason, **json.loads(job.encode())}
        variables = {
            "ZOOLET_QUEUE": queue,
            "ZOOLET_JOB": job.name,
            "ZOOLET_TASK": job.task,
            "ZOOLET_REASON": reason,
            "ZOOLET_ERROR": job.last_error,
        }
        texts = {name: _one_value(text) for name, text in variables.items()}
        data = json.dumps(value).encode() + b"\n"
        self._tell(failure, self._command.run(data, os.environ | texts))

    def interrupt(self) -> None:
        """End the commands that run."""
        self._command.stop()

    def _tell(self, failure: JobFailure, ended: Ended) -> None:
        job = failure.job
        label = Label(job.name, job.task, job.attempts)
        level = logging.INFO if ended.error is None else logging.ERROR
        text = f"the command {self._program} for FAILED jobs has "
        text += "succeeded" if ended.error is None else f"failed: {ended.error}"
        lines = ended.output.decode(errors="replace").rstrip("\n")
        if lines:
            text += f"\n{lines}"
        if ended.left_out_bytes:
            text += f"\n({ended.left_out_bytes} more bytes of output are left out)"
        tell(log, level, label, text)


def _one_value(text: str) -> str:
    """Return a text that can be the value of an environment variable."""
    cut = text[:_VALUE_CHARACTERS].replace("\0", "")
    return cut.encode(errors="replace").decode()
