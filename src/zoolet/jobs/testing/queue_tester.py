"""`QueueTester`: a queue for tests of a program that uses jobs.

Invariant: tasks run only while `run` or `lose_worker` is called, in the thread that calls. Imports
`zoolet.testing` and other packages of the job system.
"""

import contextlib
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from zoolet.client.connecting.settings import ConnectionSettings
from zoolet.jobs.dispatcher.dispatcher import Dispatcher
from zoolet.jobs.queue.queue import JobQueue
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.settings import DEFAULT_STORE
from zoolet.jobs.records.task_names import task_name
from zoolet.jobs.records.transitions import Place
from zoolet.jobs.testing.inline_worker import InlineWorker, Moment
from zoolet.testing.servers.embedded import EmbeddedServer

ROOT = "/jobs/tests"
RUN_S = 60.0
"""The default time limit of `QueueTester.run`, in seconds."""


class QueueTester:
    """An empty queue on an embedded server. As a context manager, it closes its connections.

    Args:
        server: a running server.
        root: the path of the queue's root.
        loader: the name of the function that loads a group (``module:function``), or the function;
            None if tasks get no data.

    Attributes:
        dispatcher: a dispatcher of the queue.
        hosts: the address for the program's own dispatchers.
        root: the path of the queue's root.
        loader: as above; a test may change it.
    """

    def __init__(
        self,
        server: EmbeddedServer,
        root: str = ROOT,
        *,
        loader: str | Callable[..., Any] | None = None,
    ) -> None:
        self.hosts = server.hosts
        self.root = root
        self.loader = loader
        self._server = server
        self._errors: list[BaseException] = []
        self._open = contextlib.ExitStack()
        directory = self._open.enter_context(tempfile.TemporaryDirectory(prefix="zoolet-jobs-"))
        self._stores = {DEFAULT_STORE: f"sqlite:///{Path(directory) / 'results.db'}"}
        self.dispatcher = self._open.enter_context(
            Dispatcher(server.hosts, root, create=True, result_stores=self._stores)
        )
        self.queue.configure(history=True)

    @property
    def queue(self) -> JobQueue:
        """The queue."""
        return self.dispatcher.queue

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections, and delete the stored results."""
        self._open.close()

    # --- What was submitted

    def submitted(self, task: str | Callable[..., Any] | None = None) -> list[Job]:
        """Return the jobs of the queue in the order of their submission, in whatever place.

        ``task`` is a task or its name: only its jobs are returned.
        """
        names = [name for place in Place for name in self.queue.layout.names(place)]
        wanted = None if task is None else task_name(task)
        found = [self.dispatcher.job(name.name) for name in names]
        found.sort(key=lambda job: int(job.name.rpartition("-")[2]))
        return [job for job in found if wanted is None or job.task == wanted]

    # --- Running

    def run(self, *, timeout_s: float = RUN_S) -> list[Job]:
        """Run all jobs that can start now, and return the jobs that ended, in this order.

        Jobs that become ready meanwhile run too: jobs that tasks submit, jobs of the next batch,
        and jobs whose attempt failed and that have no back-off. The tasks run in this thread, in
        the order of priorities. Timeouts of jobs have no effect. If a task raises an exception, its
        attempt fails, and the job has the error.

        Raises:
            JobsDoNotEndError: jobs still wait or run after ``timeout_s``.
        """
        before = self._done()
        # Several jobs may end in the same ms, so the times alone do not give the order.
        places = {name: place for place, name in enumerate(self._worker().run(timeout_s))}
        ended = [self.dispatcher.job(name) for name in self._done() - before]
        return sorted(ended, key=lambda job: (job.finished_ms or 0, places.get(job.name, 0)))

    def fail_next(self, error: BaseException | None = None, *, attempts: int = 1) -> None:
        """Let the next attempts fail with ``error``, instead of running their tasks.

        None stands for a RuntimeError.
        """
        given = error or RuntimeError("the test let this attempt fail")
        self._errors += [given] * attempts

    def lose_worker(self, at: Moment = "started", *, timeout_s: float = RUN_S) -> list[Job]:
        """Let a worker take jobs and die, like after kill -9; return the jobs that it had.

        Args:
            at: ``taken``: the worker dies before a task is called; no attempt is counted.
                ``started``: it dies when the first task should run, which is not called.
                ``ended``: the first task runs to its end, and its result is lost. In the last two
                cases an attempt of this job is counted.
            timeout_s: the time limit, in seconds; without a job that can start, the call ends.

        The next `run` gives the jobs back to the queue, as other workers do, and runs them.
        """
        self._worker(at).run(timeout_s)
        return self.queue.owned()

    def _worker(self, lost_at: Moment | None = None) -> InlineWorker:
        loader = None if self.loader is None else task_name(self.loader)
        settings = ConnectionSettings(self.hosts)
        return InlineWorker(
            settings,
            self.root,
            result_stores=self._stores,
            loader=loader,
            errors=self._errors,
            lost_at=lost_at,
        )

    def _done(self) -> set[str]:
        return {name.name for name in self.queue.layout.names(Place.DONE)}

    # --- The clock

    def now_ms(self) -> int:
        """Return the time by which jobs start and expire, in ms since the epoch."""
        return self._server.clock.wall_ms()

    def advance(self, seconds: float) -> None:
        """Move the clock forward."""
        self._server.clock.move(seconds)

    def set_time(self, time: datetime) -> None:
        """Move the clock forward to ``time``, which has a time zone.

        Raises:
            ValueError: the time has no time zone, or is in the past of the clock.
        """
        if time.tzinfo is None:
            raise ValueError("the time has no time zone: use datetime(..., tzinfo=UTC)")
        self.advance(time.timestamp() - self.now_ms() / 1000)
