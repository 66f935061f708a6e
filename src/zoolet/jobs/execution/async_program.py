"""The event loop of an executor's process that makes several attempts at the same time.

Each attempt is an asyncio task. Functions that are not ``async def`` run in the thread of the loop,
so the other attempts wait for them. The worker sends no more jobs than may run, so there are no
turns. Lines of the pipe of work are lists of jobs, or a JSON object that cancels a job. Imports
`zoolet.jobs.context`, `zoolet.jobs.records` and other modules of its package.
"""

import asyncio
import json
import os
from types import CoroutineType

from zoolet.jobs.context.current_job import begin_job, end_job
from zoolet.jobs.execution.async_calls import drive
from zoolet.jobs.execution.attempt_messages import AttemptMessages
from zoolet.jobs.execution.attempts import Attempter, Outcome, Work, encoded
from zoolet.jobs.execution.capture import Capture
from zoolet.jobs.execution.job_streams import JobStreams
from zoolet.jobs.execution.messages import MessageWriter
from zoolet.jobs.records.error_texts import describe

_READ_BYTES = 256 * 1024
_END_S = 1.0
"""The time, in seconds, that cancelled attempts have to end at the end of the pipe of work."""


def run(work_fd: int, writer: MessageWriter, attempter: Attempter, capture: Capture) -> None:
    """Make attempts until the end of the pipe of work."""
    asyncio.run(_make_attempts(work_fd, writer, attempter, JobStreams(capture)))


async def _make_attempts(
    work_fd: int, writer: MessageWriter, attempter: Attempter, streams: JobStreams
) -> None:
    program = _Program(work_fd, writer, attempter, streams)
    os.set_blocking(work_fd, False)
    asyncio.get_running_loop().add_reader(work_fd, program.read)
    await program.has_ended.wait()
    await program.cancel_all()


async def _attempt(attempter: Attempter, work: Work, messages: AttemptMessages) -> Outcome:
    """Make an attempt; each exception of a task or loader, even SystemExit, is its error."""
    try:
        group, missing = attempter.load(work, messages)
        if missing is not None:
            return missing
        token = begin_job(attempter.current_job(work, messages))
        try:
            result = attempter.call(work, group, in_loop=True)
            if isinstance(result, CoroutineType):
                result = await drive(result, work.soft_timeout_ms)
        except Exception as error:  # noqa: BLE001 -- the error belongs to the attempt only
            return attempter.outcome_of(error, work)
        finally:
            end_job(token)
        return encoded(result)
    except asyncio.CancelledError:
        return Outcome(error="the attempt was cancelled")
    except BaseException as error:  # noqa: BLE001 -- the error belongs to the attempt only
        short, full = describe(error)
        return Outcome(error=short, details=full)


class _Program:
    def __init__(
        self, work_fd: int, writer: MessageWriter, attempter: Attempter, streams: JobStreams
    ) -> None:
        self._work_fd = work_fd
        self._writer = writer
        self._attempter = attempter
        self._streams = streams
        self._data = b""
        self._running: dict[str, tuple[asyncio.Task[None], AttemptMessages]] = {}
        self._given_back: frozenset[str] = frozenset()
        """The jobs that the worker gives back to the queue, because it stops."""
        self.has_ended = asyncio.Event()

    def read(self) -> None:
        """Process the lines that have arrived."""
        try:
            data = os.read(self._work_fd, _READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            asyncio.get_running_loop().remove_reader(self._work_fd)
            self.has_ended.set()
            return
        *lines, self._data = (self._data + data).split(b"\n")
        for line in lines:
            found = json.loads(line)
            if isinstance(found, dict):
                self._cancel(found["cancel"])
            else:
                for work in found:
                    self._begin(Work(*work))

    def _begin(self, work: Work) -> None:
        messages = AttemptMessages(self._writer)
        messages.next(work.name)
        task = asyncio.get_running_loop().create_task(self._attempt(work, messages))
        self._running[work.name] = task, messages

    async def _attempt(self, work: Work, messages: AttemptMessages) -> None:
        outcome = await _attempt(self._attempter, work, messages)
        self._running.pop(work.name, None)
        self._streams.end(work.name)
        if work.name in self._given_back and outcome.result is None:
            return
        messages.ended(outcome, has_output=True)
        self._writer.flush()

    def _cancel(self, name: str) -> None:
        if name in self._running:
            task, messages = self._running[name]
            messages.is_cancelled = True
            # A task that is cancelled before it has begun would not report its end.
            asyncio.get_running_loop().call_soon(task.cancel)

    async def cancel_all(self) -> None:
        """Cancel all attempts, and wait for their ends for a limited time.

        The worker stops. It gives these jobs back to the queue, so they must not end as failed.
        """
        tasks = [task for task, _ in self._running.values()]
        self._given_back = frozenset(
            name for name, (_, messages) in self._running.items() if not messages.is_cancelled
        )
        for name in list(self._running):
            self._cancel(name)
        if tasks:
            await asyncio.wait(tasks, timeout=_END_S)
