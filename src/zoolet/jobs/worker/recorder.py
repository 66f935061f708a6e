"""Records the outcomes of a worker's jobs in hand (`JobsInHand`): many outcomes in one multi.

One thread makes all moves of this module, so it makes the moves of a job one after the other.
Invariants:

- A short task costs one move: a job is recorded as RUNNING only if its task runs for a while.
- The outcome of a job that the worker does not own any more is not recorded: the queue refuses it.
- A large result is in the result store before its job is stored under "done". While the store is
  not available, only jobs with large results wait for it.

This module imports `zoolet.jobs.execution`, `zoolet.jobs.queue`, `zoolet.jobs.records`,
`zoolet.jobs.results` and other modules of its package.
"""

import contextlib
import logging
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple, final

from zoolet.jobs.errors import (
    InvalidJobError,
    ResultRefusedError,
    ResultStoreError,
    WorkerGoneError,
)
from zoolet.jobs.execution.attempts import Outcome
from zoolet.jobs.execution.executors import LONG_S
from zoolet.jobs.execution.logs import Label, tell
from zoolet.jobs.hooks.attempt_calls import AttemptCalls
from zoolet.jobs.hooks.job_hooks import Attempt
from zoolet.jobs.queue.moves import Move
from zoolet.jobs.queue.queue import JobQueue
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_outcomes import failed, with_output, without_task
from zoolet.jobs.records.job_texts import is_large
from zoolet.jobs.records.json_values import EncodedJson
from zoolet.jobs.records.progress import Progress
from zoolet.jobs.records.transitions import Event, JobState, Place
from zoolet.jobs.results.reader import ResultReader, key_of
from zoolet.jobs.worker.jobs_in_hand import JobInHand, JobsInHand
from zoolet.jobs.worker.tally import Tally
from zoolet.jobs.znodes.multis import JOBS_AT_ONCE

log = logging.getLogger(__name__)

RUNNING_AFTER_S = 0.025
"""The time, in seconds after the start of a task, after which its job is recorded as RUNNING."""
GATHER_S = 0.003
"""The time, in seconds, that outcomes wait for the outcomes of other short jobs."""
REPORT_AFTER_S = 5.0
"""The time, in seconds after a change of the tally, after which the worker reports it."""
STORE_RETRY_S = 0.5
STORE_PATIENCE_S = 300.0
"""The longest time, in seconds, that a result waits for the store. Then the attempt has failed."""


class _Ended(NamedTuple):
    """An attempt that has ended.

    Attributes:
        held: the job in hand.
        outcome: the outcome; None if the job was not attempted and the worker must give it back.
        at_ms: the time at which the attempt ended, in milliseconds since the epoch.
        stored: the key of the result in the result store; None if the result is not stored there.
    """

    held: JobInHand
    outcome: Outcome | None
    at_ms: int
    stored: str | None = None


class _ToStore(NamedTuple):
    """A result that must be stored before the end of its attempt is recorded."""

    ended: _Ended
    outcome: Outcome
    result: EncodedJson


class _Asked(NamedTuple):
    """A careful job: a job that may start only after it is recorded as RUNNING."""

    held: JobInHand


class _Progressed(NamedTuple):
    """A job whose task has reported its progress."""

    held: JobInHand


class _Look(NamedTuple):
    """Wakes the thread to look at the jobs whose tasks were called."""


_News = _Look | _Ended | _Asked | _Progressed
_LOOK = _Look()


@final
class AttemptRecorder:
    """Writes the outcomes of attempts to the queue.

    Args:
        jobs: the queue.
        hands: the jobs in hand; a job is dropped when its outcome is recorded.
        results: the store of large results.
        on_step: called with the name of a step and the names of the jobs that have reached it.
        on_permitted: called with a careful job that is recorded as RUNNING, so it may start.
        on_lost: called with jobs in hand that the worker does not own any more.
        on_long: called with a job in hand whose task has run for a long time.
        on_gone: called with the id of a worker that is not registered in the queue any more.
        on_report: called some seconds after the tally has changed.
        start_thread: starts a thread whose failure ends the worker.
        calls: calls the hooks of the user; None if there are none.
        tally: the counts of the worker's work, which this object increases.
    """

    def __init__(
        self,
        jobs: JobQueue,
        hands: JobsInHand,
        results: ResultReader,
        on_step: Callable[[str, Sequence[str]], None],
        on_permitted: Callable[[JobInHand], None],
        on_lost: Callable[[Sequence[JobInHand]], None],
        on_long: Callable[[JobInHand], None],
        on_gone: Callable[[str], None],
        on_report: Callable[[], None],
        start_thread: Callable[[Callable[[], None]], object],
        calls: AttemptCalls | None,
        tally: Tally,
    ) -> None:
        self._jobs = jobs
        self._hands = hands
        self._results = results
        self._on_step = on_step
        self._on_permitted = on_permitted
        self._on_lost = on_lost
        self._on_long = on_long
        self._on_gone = on_gone
        self._on_report = on_report
        self._start_thread = start_thread
        self._calls = calls
        self._news: queue.SimpleQueue[_News | None] = queue.SimpleQueue()
        self._begun: deque[JobInHand] = deque()
        """Jobs whose tasks were called, and at which `record` has not looked yet."""
        self._waits_until = 0.0
        """When `record` looks at ``_begun`` at the latest."""
        self._to_store: queue.SimpleQueue[_ToStore | None] = queue.SimpleQueue()
        self._has_storer = False
        self._closing = threading.Event()
        self._is_drained = False
        """Whether `record` has taken all news that came before `close`."""
        self.tally = tally

    def close(self) -> None:
        """End the recorder's threads; `record` first records all news that came before."""
        self._closing.set()
        self._news.put(None)
        self._to_store.put(None)

    # --- News from executors

    def asked(self, held: JobInHand) -> None:
        """Request that a careful job is recorded as RUNNING; ``on_permitted`` is called then."""
        self._news.put(_Asked(held))

    def started(self, held: JobInHand, *, cache_hit: bool | None) -> None:
        """Record in memory that a job's task was called."""
        held.cache_hit = cache_hit
        held.started_ms = self._jobs.clock_ms()
        self._begun.append(held)
        # Most tasks end before `record` looks. Each call would otherwise wake its thread.
        if self._waits_until > time.monotonic() + RUNNING_AFTER_S:
            self._news.put(_LOOK)
        if self._calls is not None:
            self._calls.started(held.job, held.started_ms)

    def progressed(self, held: JobInHand, progress: Progress) -> None:
        """Request that the progress of a job is recorded; executors limit how often."""
        held.progress = progress
        if held.is_progress_recorded:
            held.is_progress_recorded = False
            self._news.put(_Progressed(held))

    def ended(self, held: JobInHand, outcome: Outcome, took_s: float) -> None:
        """Request that the outcome of an attempt is recorded; a large result is stored first."""
        self._hands.end(held)
        with self.tally.lock:
            self.tally.busy_s += took_s
            self.tally.cache_hits += held.cache_hit is True
            self.tally.cache_misses += held.cache_hit is False
        self._on_step("ended", [held.job.name])
        ended = _Ended(held, outcome, self._jobs.clock_ms())
        if outcome.result is None or not self._is_for_store(held.job, outcome.result):
            self._news.put(ended)
            return
        self._to_store.put(_ToStore(ended, outcome, outcome.result))
        with self.tally.lock:
            is_first, self._has_storer = not self._has_storer, True
        if is_first:
            self._start_thread(self._store)

    def given_back(self, held: JobInHand) -> None:
        """Request that a job is given back to the queue: this worker does not attempt it."""
        self._hands.end(held)
        self._news.put(_Ended(held, None, self._jobs.clock_ms()))

    def _is_for_store(self, job: Job, result: EncodedJson) -> bool:
        """Return whether a result is too large for the job's znode.

        A result is too large if it exceeds the inline limit, or if the result and the job's
        parameters together exceed the size limit of a znode.
        """
        if len(result.text) > self._jobs.settings.inline_limit_bytes:
            return True
        if not (is_large(result) or job.is_large):
            return False
        try:
            job.succeeded(0, result)
        except InvalidJobError:
            return True
        return False

    # --- The threads

    def record(self) -> None:
        """Write the outcomes of attempts to the queue, until the recorder is closed."""
        due: dict[str, float] = {}
        report_at: float | None = None
        while not self._is_drained:
            self._note_begun(due)
            times = [*due.values(), *([report_at] if report_at is not None else [])]
            # A wait without a timeout ends, too: `close` puts None.
            timeout_s = max(0.0, min(times) - time.monotonic()) if times else None
            # The order matters: `started` first adds a job, and then reads the time.
            self._waits_until = min(times, default=math.inf)
            if self._begun:
                continue
            ended: list[_Ended] = []
            asked: list[JobInHand] = []
            progressed: list[JobInHand] = []
            for news in self._wait_for_news(timeout_s):
                if isinstance(news, _Asked):
                    asked.append(news.held)
                elif isinstance(news, _Progressed):
                    progressed.append(news.held)
                elif isinstance(news, _Ended):
                    due.pop(news.held.job.name, None)
                    ended.append(news)
            self._record_ended(ended)
            # Ended attempts are recorded first. So their outcomes are not lost if a careful job
            # kills the worker after its start.
            for held in self._record_running(asked):
                self._on_permitted(held)
            self._record_running(progressed)
            now = time.monotonic()
            self._look_at_long(due, now)
            if report_at is not None and report_at <= now:
                report_at = None
                self._on_report()
            elif ended and report_at is None:
                report_at = now + REPORT_AFTER_S

    def _note_begun(self, due: dict[str, float]) -> None:
        """Note when to look at the jobs whose tasks were called, without those that have ended."""
        while self._begun:
            held = self._begun.popleft()
            if not held.has_ended:
                is_recorded = held.job.state is JobState.RUNNING
                after_s = LONG_S if is_recorded else RUNNING_AFTER_S
                due[held.job.name] = time.monotonic() + after_s

    def _look_at_long(self, due: dict[str, float], now: float) -> None:
        """Record jobs that run for a while as RUNNING; call ``on_long`` for long jobs."""
        running = []
        for name in [name for name, at in due.items() if at <= now]:
            del due[name]
            held = self._hands.get(name)
            if held is None or held.has_ended:
                continue
            if held.job.state is JobState.RUNNING:
                self._on_long(held)
            else:
                running.append(held)
                due[name] = now + LONG_S
        self._record_running(running)

    def _store(self) -> None:
        """Put large results into the result store, until the recorder is closed."""
        # This wait ends: `close` puts None.
        while (found := self._to_store.get()) is not None:
            ended, outcome, result = found
            key = key_of(ended.held.job)
            error = self._put(key, result.text)
            if error is None:
                self._on_step("stored", [ended.held.job.name])
                stored = replace(outcome, result=None)
                self._news.put(ended._replace(outcome=stored, stored=key))
            elif not self._closing.is_set():
                unstored = replace(outcome, result=None, error=error)
                self._news.put(ended._replace(outcome=unstored))

    def _put(self, key: str, value: bytes) -> str | None:
        """Store a result; return None, or the error if the result cannot be stored.

        While the store is not available, the method tries again. The same error is logged one time.
        """
        told = ""
        until = time.monotonic() + STORE_PATIENCE_S
        while True:
            try:
                self._results.put(key, value)
            # Each error has its own name: in mypyc, a name has only one type.
            except ResultRefusedError as refused:
                return f"its result of {len(value)} bytes cannot be stored: {refused}"
            except ResultStoreError as error:
                if (said := str(error)) != told:
                    log.warning("%s; the worker tries again for %.0f s", said, STORE_PATIENCE_S)
                    told = said
                if time.monotonic() > until or self._closing.wait(STORE_RETRY_S):
                    return (
                        f"its result of {len(value)} bytes could not be stored in"
                        f" {STORE_PATIENCE_S:.0f} s: {error}"
                    )
            except Exception as failure:
                # The thread continues: this error may concern only this result.
                log.exception("a result of %d bytes cannot be stored under %s", len(value), key)
                return f"its result of {len(value)} bytes cannot be stored: {failure!r}"
            else:
                return None

    def _wait_for_news(self, timeout_s: float | None) -> list[_News]:
        """Wait for news, and return all news, limited to two times `JOBS_AT_ONCE` items.

        While an executor has short jobs, the method waits a little longer, so that one multi
        records more of them.
        """
        found: list[_News] = []
        has_waited = False
        with contextlib.suppress(queue.Empty):
            news = self._news.get(timeout=timeout_s)
            self._waits_until = 0.0
            while news is not None:
                found.append(news)
                # The executor of a careful job waits for its record.
                if len(found) == 2 * JOBS_AT_ONCE or isinstance(news, _Asked):
                    return found
                if not has_waited and self._news.empty() and self._hands.has_short_jobs():
                    has_waited = True
                    time.sleep(GATHER_S)
                news = self._news.get_nowait()
            self._is_drained = True
        return found

    def _record_ended(self, ended: Sequence[_Ended]) -> None:
        if not ended:
            return
        names = [one.held.job.name for one in ended]
        self._on_step("finishing", names)
        made = self._move([_move_of(one) for one in ended])
        self._hands.drop(one.held for one in ended)
        attempted = [after for after in made if after.state is JobState.SUCCESSFUL]
        if len(attempted) < len(made):
            outcomes = {one.held.job.name: one.outcome for one in ended if one.outcome is not None}
            for after in made:
                outcome = outcomes.get(after.name)
                if outcome is not None and after.state is not JobState.SUCCESSFUL:
                    _tell_failed(after, outcome)
                    if not outcome.is_task_missing:
                        attempted.append(after)
        self.tally.count(attempted, len(ended) - len(made))
        if self._calls is not None:
            _call_hooks(self._calls, ended, made)
        self._on_step("finished", names)

    def _record_running(self, running: Sequence[JobInHand]) -> list[JobInHand]:
        """Record jobs as RUNNING, with their progress; return the jobs that were recorded."""
        wanted = [held for held in running if not held.has_ended]
        now_ms = self._jobs.clock_ms()
        moves = [_running_move(held, now_ms) for held in wanted]
        started = [move.after.name for move in moves if move.event is Event.START]
        made = {after.name: after for after in self._move(moves)}
        recorded, lost = [], []
        for held in wanted:
            if held.job.name in made:
                held.job = made[held.job.name]
                recorded.append(held)
            else:
                lost.append(held)
        if lost:
            self._on_lost(lost)
        if started := [name for name in started if name in made]:
            self._on_step("running", started)
        return recorded

    def _move(self, moves: Sequence[Move]) -> list[Job]:
        """Make moves of the worker's jobs; return the new records of the jobs that were moved."""
        made: list[Move] = []
        for worker in dict.fromkeys(move.before.worker for move in moves):
            some = [move for move in moves if move.before.worker == worker]
            try:
                made += self._jobs.mover.move(some, worker)
            except WorkerGoneError as error:
                log.warning("%s", error)
                self._on_gone(worker or "")
        if len(made) < len(moves):
            for name in {m.before.name for m in moves} - {m.before.name for m in made}:
                log.warning(
                    "this worker does not own %s any more: its outcome is not recorded", name
                )
        return [move.after for move in made]


def _running_move(held: JobInHand, now_ms: int) -> Move:
    """Return the move that records a job as RUNNING, or its progress if it is RUNNING already."""
    # The flag is set first: a value that comes now is recorded by another move.
    held.is_progress_recorded = True
    before, progress = held.job, held.progress
    if before.state is JobState.RUNNING and progress is not None:
        return Move(Event.PROGRESS, Place.OWNED, before, before.progressed(progress))
    after = before.running(held.started_ms or now_ms, cache_hit=held.cache_hit)
    if progress is not None:
        after = after._replace(progress=progress)
    return Move(Event.START, Place.OWNED, before, after)


def _call_hooks(calls: AttemptCalls, ended: Sequence[_Ended], made: Sequence[Job]) -> None:
    """Call the hooks for the attempts whose outcomes were recorded."""
    by_name = {job.name: job for job in made}
    for one in ended:
        after = by_name.get(one.held.job.name)
        if after is None or one.outcome is None or one.outcome.is_task_missing:
            continue
        before, succeeded = one.held.job, after.state is JobState.SUCCESSFUL
        error = None if succeeded else after.errors[-1].message
        started_ms, number = one.held.started_ms, before.attempts + 1
        calls.ended(Attempt(after, number, before.ready_ms, started_ms, one.at_ms, error))


def _move_of(ended: _Ended) -> Move:
    """Return the move that records an attempt: FAIL if the job cannot hold the result."""
    held, outcome, at_ms, stored = ended
    before = held.job
    if outcome is None:
        return Move(Event.GIVE_BACK, Place.OWNED, before, before.waiting())
    job = before.attempted(held.cache_hit, held.started_ms, held.progress)
    if outcome.last_lines:
        job = with_output(job, outcome.last_lines)
    error = outcome.error
    if error is not None and outcome.is_task_missing:
        return Move(Event.NO_TASK, Place.OWNED, before, without_task(job, at_ms, error))
    if error is None:
        try:
            after = job.succeeded(at_ms, outcome.result, stored)
        except InvalidJobError as refused:
            error = f"the task's result cannot be kept: {refused}"
        else:
            return Move(Event.SUCCEED, Place.OWNED, before, after)
    after = failed(job, at_ms, error, retry_in_ms=outcome.retry_in_ms, is_final=outcome.is_final)
    return Move(Event.FAIL, Place.OWNED, before, after)


def _tell_failed(after: Job, outcome: Outcome) -> None:
    label = Label(after.name, after.task, after.attempts)
    if outcome.is_task_missing:
        text = (
            f"its task cannot be imported (try {after.import_tries}), the job is now {after.state}"
        )
        tell(log, logging.WARNING, label, f"{text}: {after.errors[-1].message}")
        return
    text = f"the attempt failed, the job is now {after.state} after {after.attempts} of"
    text += f" {after.max_attempts} attempts:\n{outcome.details or after.errors[-1].message}"
    tell(log, logging.WARNING, label, text)
