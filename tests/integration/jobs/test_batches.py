"""Batches on a real server, done by real workers: followed, chained, cancelled, removed."""

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient

from tests.support.jobs import (
    ROOT,
    TIMEOUT_S,
    WorkerProcess,
    all_results,
    assert_done_once,
    next_result,
    numbered,
    wait_until_unread,
    write_tasks,
)
from tests.support.waiting import wait_until
from zoolet.jobs import (
    BatchExistsError,
    BatchIncompleteError,
    Dispatcher,
    InvalidJobError,
    Job,
    JobRequest,
    JobState,
    Origin,
    ResultStoreError,
    UnknownBatchError,
    Worker,
)
from zoolet.jobs.housekeeping.removal import Remover
from zoolet.jobs.results.reader import ResultReader
from zoolet.jobs.znodes.batch_log import BatchEnd
from zoolet.jobs.znodes.server_clock import wall_clock_ms

LATER_MS = 3_600_000


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the module ``pipe_tasks``, importable in this process's executors too."""
    write_tasks(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.fixture
def start_worker(server: Any, client: KazooClient, tasks: Path) -> Iterator[Callable[..., Worker]]:
    """Start workers in this process, which stop with the test."""
    assert client.connected
    assert tasks
    with contextlib.ExitStack() as started:

        def start(**options: Any) -> Worker:
            return started.enter_context(
                Worker(server.hosts, ROOT, loader="pipe_tasks:load", **options)
            )

        yield start


def request(groupid: str = "1", **changes: Any) -> JobRequest:
    return JobRequest(
        **{"task": "pipe_tasks:echo", "dataset": "flights", "groupid": groupid} | changes
    )


def piped(tasks: Path, name: str = "pipe", **changes: Any) -> JobRequest:
    """Return a job whose task reads a pipe, and make the pipe."""
    os.mkfifo(tasks / name)
    return request(task="pipe_tasks:read_pipe", parameters={"pipe": str(tasks / name)}, **changes)


# --- Following


def test_a_batch_is_followed_by_its_name_from_the_first_result_again(
    dispatcher: Dispatcher, server: Any, start_worker: Callable[..., Worker]
) -> None:
    batch = dispatcher.submit_batch(numbered(120), name="night")
    start_worker()
    assert {job.result for job in all_results(batch)} == set(range(120))
    with Dispatcher(server.hosts, ROOT) as other:
        again = other.batch("night")
        assert again.names == batch.names
        assert_done_once(other.queue, again, all_results(again))
        assert other.job(batch.names[7]).result == 7


def test_a_batch_is_followed_by_another_process_while_it_runs(
    dispatcher: Dispatcher, server: Any, start_worker: Callable[..., Worker]
) -> None:
    dispatcher.submit_batch(numbered(60), name="night")
    program = (
        "import sys; from zoolet.jobs import Dispatcher\n"
        "with Dispatcher(sys.argv[1], sys.argv[2]) as d:\n"
        "    print(d.batch('night').reduce(lambda sum, n: sum + n, 0))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, server.hosts, ROOT], stdout=subprocess.PIPE, text=True
    ) as process:
        start_worker()
        output, _ = process.communicate(timeout=TIMEOUT_S)
    assert output == f"{sum(range(60))}\n"


def test_values_are_reduced_as_they_come(
    dispatcher: Dispatcher, start_worker: Callable[..., Worker]
) -> None:
    start_worker()
    nothing: frozenset[int] = frozenset()
    found = dispatcher.submit_batch(numbered(20)).reduce(lambda seen, n: seen | {n}, nothing)
    assert found == set(range(20))


def test_asynchronous_code_awaits_results_without_blocking_its_loop(
    dispatcher: Dispatcher, tasks: Path, start_worker: Callable[..., Worker]
) -> None:
    start_worker(executors=2)
    slow = piped(tasks)

    async def follow() -> tuple[list[Any], list[Job]]:
        batch = dispatcher.submit_batch([slow, *numbered(10, groups=1)])
        found = []
        async for job in batch:
            found.append(job.result)
            if len(found) == 10:
                # The loop is free: it can let the last task end.
                Path(slow.parameters["pipe"]).write_text("at last")
        return found, await dispatcher.submit_batch(numbered(5))

    found, jobs = asyncio.run(asyncio.wait_for(follow(), TIMEOUT_S))
    assert (set(found[:10]), found[10]) == (set(range(10)), "at last")
    assert sorted(job.result for job in jobs) == list(range(5))


def test_awaiting_can_be_given_up(
    dispatcher: Dispatcher, start_worker: Callable[..., Worker]
) -> None:
    batch = dispatcher.submit_batch(numbered(2))

    async def give_up() -> None:
        async with asyncio.timeout(0.05):
            async for _ in batch:
                pass

    with pytest.raises(TimeoutError):
        asyncio.run(give_up())
    # A later result is for the next caller, and not for the one that gave up.
    start_worker()
    assert sorted(job.result for job in all_results(batch)) == [0, 1]


def test_a_name_is_given_once_and_must_be_one(dispatcher: Dispatcher) -> None:
    dispatcher.submit_batch(numbered(1), name="night")
    with pytest.raises(BatchExistsError, match="night"):
        dispatcher.submit_batch(numbered(2), name="night")
    assert len(dispatcher.queue.waiting()) == 1
    for name in ("a/b", "x" * 201, "\n"):
        with pytest.raises(InvalidJobError, match="batch name"):
            dispatcher.submit_batch(numbered(1), name=name)
    with pytest.raises(InvalidJobError, match="batch name"):
        dispatcher.batch("")
    with pytest.raises(UnknownBatchError, match="day"):
        dispatcher.batch("day")


def test_a_batch_of_nothing_has_nothing_to_wait_for(dispatcher: Dispatcher) -> None:
    batch = dispatcher.submit_batch([], name="empty")
    assert list(batch.results()) == []
    assert list(dispatcher.batch("empty").results()) == []


def test_a_batch_whose_submitter_died_says_so(
    dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitter = dispatcher._submitter
    submit, chunks = submitter._submit_chunk, 0

    def dying(*arguments: Any, **options: Any) -> Any:
        nonlocal chunks
        chunks += 1
        if chunks == 2:
            raise SystemExit
        return submit(*arguments, **options)

    monkeypatch.setattr(submitter, "_submit_chunk", dying)
    with pytest.raises(SystemExit):
        dispatcher.submit_batch(numbered(120), name="night")
    with pytest.raises(BatchIncompleteError, match="of its 120 jobs, about 100 are not submitted"):
        dispatcher.batch("night")
    assert len(dispatcher.queue.waiting()) == 50


def test_joined_and_stored_jobs_are_part_of_a_batch(
    dispatcher: Dispatcher, tasks: Path, start_worker: Callable[..., Worker]
) -> None:
    start_worker(executors=2)
    slow = piped(tasks)
    all_results(dispatcher.submit_batch([request("stored")]))
    first = dispatcher.submit_batch([slow])
    second = dispatcher.submit_batch([slow, request("stored"), request("new")], name="second")
    assert [s.origin for s in second.submissions] == [Origin.JOINED, Origin.STORED, Origin.NEW]
    assert {next_result(second).groupid for _ in range(2)} == {"stored", "new"}
    Path(slow.parameters["pipe"]).write_text("done")
    assert next_result(second).result == "done"
    assert len(all_results(dispatcher.batch("second"))) == 3
    all_results(first)


# --- When a job may start


def test_a_job_is_not_started_before_its_time_and_others_are(
    dispatcher: Dispatcher, start_worker: Callable[..., Worker]
) -> None:
    start_worker()
    soon_ms = wall_clock_ms() + 700
    later = request("later", priority=9, not_before_ms=soon_ms)
    batch = dispatcher.submit_batch([later, request("now")])
    assert [job.groupid for job in all_results(batch)] == ["now", "later"]
    started_ms = dispatcher.job(batch.names[0]).started_ms
    assert started_ms is not None
    assert started_ms >= soon_ms


def test_a_job_backs_off_twice_as_long_each_time(
    dispatcher: Dispatcher, start_worker: Callable[..., Worker]
) -> None:
    start_worker()
    failing = request(task="pipe_tasks:trouble", max_attempts=3, backoff_ms=200)
    batch = dispatcher.submit_batch([failing, *numbered(3)])
    assert {next_result(batch).result for _ in range(3)} == {0, 1, 2}
    [failed] = all_results(batch)
    assert (failed.state, failed.attempts) == (JobState.FAILED, 3)
    assert failed.finished_ms is not None
    assert failed.finished_ms - failed.submitted_ms >= 200 + 400


def test_a_job_that_expired_is_failed_and_never_started(
    dispatcher: Dispatcher, start_worker: Callable[..., Worker]
) -> None:
    batch = dispatcher.submit_batch([request(expires_ms=wall_clock_ms() - 1), request("2")])
    start_worker()
    expired, done = sorted(all_results(batch), key=lambda job: str(job.groupid))
    assert (expired.state, expired.attempts, expired.started_ms) == (JobState.FAILED, 0, None)
    assert expired.last_error == "it expired before a worker could start it"
    assert done.state is JobState.SUCCESSFUL
    assert dispatcher.queue.retry(expired.name).expires_ms is None


def test_a_pause_of_the_queue_or_a_dataset_holds_up_what_it_says(
    dispatcher: Dispatcher, start_worker: Callable[..., Worker]
) -> None:
    queue = dispatcher.queue
    queue.pause()
    start_worker()
    batch = dispatcher.submit_batch([request(), request(dataset="trains", priority=9)])
    assert batch.next_result(timeout_s=0.3) is None
    queue.pause("trains")
    queue.pause(paused=False)
    assert next_result(batch).dataset == "flights"
    assert batch.next_result(timeout_s=0.3) is None
    queue.pause("trains", paused=False)
    assert next_result(batch).dataset == "trains"


# --- Chains


def test_a_batch_starts_when_the_one_before_is_done(
    dispatcher: Dispatcher, tasks: Path, start_worker: Callable[..., Worker]
) -> None:
    start_worker(executors=2)
    slow = piped(tasks)
    first = dispatcher.submit_batch([slow, request(task="pipe_tasks:trouble", max_attempts=1)])
    second = dispatcher.submit_batch(numbered(5), after=first)
    third = dispatcher.submit_batch([request("last")], after=second.name)
    assert next_result(first).state is JobState.FAILED
    assert second.next_result(timeout_s=0.3) is None
    assert dispatcher.queue.waiting() == []
    assert dispatcher.queue.counts()["deferred"] == 6
    Path(slow.parameters["pipe"]).write_text("go")
    assert {job.result for job in all_results(second)} == set(range(5))
    [last] = all_results(third)
    began = [dispatcher.job(name).started_ms for name in (*second.names, last.name)]
    ended = dispatcher.job(first.names[0]).finished_ms
    assert ended is not None
    assert all(started is not None and started >= ended for started in began)


def test_a_batch_after_one_that_is_done_starts_at_once(
    dispatcher: Dispatcher, start_worker: Callable[..., Worker]
) -> None:
    start_worker()
    first = dispatcher.submit_batch(numbered(3))
    all_results(first)
    assert len(all_results(dispatcher.submit_batch([request("x")], after=first))) == 1
    with pytest.raises(UnknownBatchError):
        dispatcher.submit_batch(numbered(1), after="no such batch")


def test_the_end_of_a_batch_is_known_when_jobs_it_joined_have_ended(
    dispatcher: Dispatcher, start_worker: Callable[..., Worker]
) -> None:
    stirred = threading.Event()
    dispatcher.submit_batch([request("1")], name="first")
    dispatcher.submit_batch([request("1"), request("2")], name="second")
    end = BatchEnd(dispatcher.queue.layout, "second")
    assert not end.has_come(lambda _: stirred.set())
    start_worker()
    while not end.has_come(lambda _: stirred.set()):
        assert stirred.wait(TIMEOUT_S)
        stirred.clear()
    assert all(job.has_ended for job in dispatcher.queue.jobs())


# --- Cancelling


def test_cancelling_ends_what_waits_and_what_runs(
    dispatcher: Dispatcher, tasks: Path, start_worker: Callable[..., Worker]
) -> None:
    worker = start_worker()
    running = piped(tasks, priority=9)
    batch = dispatcher.submit_batch([running, *numbered(60)])
    with opened_pipe(tasks / "pipe") as pipe:
        cancelled = batch.cancel()
        assert {job.name for job in cancelled} == set(batch.names)
        # Its process is ended: nobody reads the pipe any more.
        wait_until_unread(pipe)
    jobs = all_results(batch)
    assert {(job.state, job.last_error) for job in jobs} == {(JobState.FAILED, "it was cancelled")}
    [next_one] = all_results(dispatcher.submit_batch([request("next")]))
    assert next_one.worker == worker.worker_id
    # The result can be read before the worker has the reply to the multi that stored it.
    wait_until(lambda: worker.in_hand == 0, "the end of all jobs in hand")
    assert batch.cancel() == []


@contextlib.contextmanager
def opened_pipe(path: Path) -> Iterator[int]:
    """Open a pipe once a task reads it; yield its descriptor."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


# --- Results


def test_large_results_are_in_the_store_and_small_ones_in_the_znode(
    client: KazooClient, tasks: Path, start_worker: Callable[..., Worker]
) -> None:
    stores = {"results": f"sqlite:///{tasks}/results.db"}
    dispatcher = Dispatcher(client, ROOT, create=True, result_stores=stores)
    dispatcher.queue.configure(result_store="results", inline_limit_bytes=100)
    start_worker(result_stores=stores)
    sizes = [10, 5000, 800_000]
    batch = dispatcher.submit_batch(
        [request(task="pipe_tasks:text", parameters={"size": size}) for size in sizes]
    )
    assert sorted(len(job.result) for job in all_results(batch)) == sizes
    are_stored = [dispatcher.queue.find(name).stored is not None for name in batch.names]
    assert are_stored == [False, True, True]
    stored = dispatcher.queue.find(batch.names[1])
    removed = Remover(dispatcher.queue, dispatcher.results).apply(0, None)
    assert removed == (3, 1)
    with pytest.raises(ResultStoreError, match="has no result"):
        dispatcher.results.complete(stored)
    dispatcher.close()
    with contextlib.closing(sqlite3.connect(tasks / "results.db")) as connection:
        assert connection.execute("select count(*) from zoolet_results").fetchone() == (0,)


def test_the_store_is_a_file_in_the_users_home_unless_someone_says_otherwise(
    dispatcher: Dispatcher,
    tasks: Path,
    start_worker: Callable[..., Worker],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tasks))
    start_worker()
    large = request(task="pipe_tasks:text", parameters={"size": 100_000})
    [job] = all_results(dispatcher.submit_batch([large]))
    assert len(job.result) == 100_000
    assert (tasks / ".zoolet" / "results.db").exists()


# --- Removing


def test_finished_jobs_are_removed_by_age_and_count_with_all_that_is_theirs(
    dispatcher: Dispatcher, client: KazooClient, start_worker: Callable[..., Worker]
) -> None:
    start_worker()
    for name in ("old", "new"):
        all_results(dispatcher.submit_batch(numbered(60, batch=name), name=name))
    all_results(dispatcher.submit("pipe_tasks:echo", "flights", "alone"))
    queue = dispatcher.queue
    remover = Remover(queue, ResultReader(queue))
    assert remover.apply(LATER_MS, None) == (0, 0)
    assert remover.apply(None, 61) == (60, 1)
    assert client.get_children(f"{ROOT}/batches") == ["new"]
    assert len(client.get_children(f"{ROOT}/done")) == 61
    wait_until(lambda: len(client.get_children(f"{ROOT}/keys")) == 61, "61 keys")
    waiting = dispatcher.submit_batch([request("waits", not_before_ms=wall_clock_ms() + LATER_MS)])
    assert remover.apply(0, None) == (61, 1)
    assert client.get_children(f"{ROOT}/batches") == [waiting.name]
    assert client.get_children(f"{ROOT}/keys") == [waiting_key(waiting.names[0], dispatcher)]
    # What was removed is not known any more: it is done again.
    [again] = dispatcher.submit_batch(numbered(1, batch="new")).submissions
    assert again.origin is Origin.NEW


def waiting_key(name: str, dispatcher: Dispatcher) -> str:
    return dispatcher.queue.find(name).key


def test_a_worker_removes_what_the_settings_say_is_to_go(
    dispatcher: Dispatcher, client: KazooClient, start_worker: Callable[..., Worker]
) -> None:
    dispatcher.queue.configure(keep_done_ms=0)
    all_results_of = dispatcher.submit_batch(numbered(5))
    with contextlib.suppress(Exception):
        start_worker()
    wait_until(
        lambda: (
            not client.get_children(f"{ROOT}/done") and not client.get_children(f"{ROOT}/unowned")
        ),
        "the removal of all jobs",
    )
    assert all_results_of.name is not None


# --- Workers that are alone with it


def test_a_worker_with_several_executors_gives_jobs_to_the_one_that_has_their_data(
    dispatcher: Dispatcher, start_worker: Callable[..., Worker]
) -> None:
    start_worker(executors=2, cache_groups=1)
    for round_number in range(4):
        all_results(dispatcher.submit_batch(numbered(2, groups=2, s=0.02, round=round_number)))
    jobs = list(dispatcher.queue.jobs())
    hits = sum(job.cache_hit is True for job in jobs)
    assert (len(jobs), hits) == (8, 6)


def test_a_task_without_data_needs_no_loader(
    dispatcher: Dispatcher, server: Any, tasks: Path
) -> None:
    assert tasks
    with Worker(server.hosts, ROOT):
        [job] = all_results(dispatcher.submit_batch([request()]))
    assert (job.result["group"], job.cache_hit) == (None, None)


def test_a_thread_cannot_keep_a_timeout_and_says_so(
    dispatcher: Dispatcher, start_worker: Callable[..., Worker]
) -> None:
    start_worker(threads=True)
    [job] = all_results(dispatcher.submit_batch([request(timeout_ms=1000, max_attempts=1)]))
    assert job.state is JobState.FAILED
    assert "use workers without --threads" in job.last_error


def test_a_worker_process_ends_with_its_executors(
    dispatcher: Dispatcher, server: Any, tasks: Path
) -> None:
    """kill -9 of the worker leaves no executor behind, not even one that is at a task."""
    worker = WorkerProcess(server.hosts, tasks)
    dispatcher.submit_batch([piped(tasks)])
    with opened_pipe(tasks / "pipe") as pipe:
        worker.kill()
        wait_until_unread(pipe)
    worker.close()
