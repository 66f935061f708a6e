"""The history: jobs are recorded before they are removed, and stay if the database is down."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from kazoo.client import KazooClient

from tests.support.jobs import ROOT, WorkerProcess, all_results, numbered, write_tasks
from tests.support.waiting import wait_until
from zoolet.cli import main
from zoolet.jobs import (
    Dispatcher,
    HistoryFilter,
    JobHistory,
    JobRequest,
    JobState,
    ResultStoreError,
)
from zoolet.jobs.housekeeping.removal import Remover

DOWN = "postgresql+psycopg://nobody@127.0.0.1:1/none"
StartWorker = Callable[..., WorkerProcess]


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_tasks(tmp_path)
    return tmp_path


@pytest.fixture
def dispatcher(server: Any, tasks: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dispatcher]:
    """A dispatcher on a new queue; it and the workers know two result stores, one of them down."""
    stores = {"results": f"sqlite:///{tasks}/results.db", "down": DOWN}
    texts = [f"{name}={url}" for name, url in stores.items()]
    monkeypatch.setenv("ZOOLET_RESULT_STORES", " ".join(texts))
    with Dispatcher(server.hosts, ROOT, create=True, result_stores=stores) as dispatcher:
        yield dispatcher


def history_of(dispatcher: Dispatcher) -> JobHistory:
    return JobHistory(dispatcher.queue, dispatcher.results)


def zoolet_jobs(server: Any, *arguments: str) -> str:
    command, *options = arguments
    target = ("--server", server.hosts, "--queue", ROOT)
    done = CliRunner().invoke(main, ["jobs", command, *target, *options])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_worker_records_jobs_and_a_command_finds_them(
    server: Any, dispatcher: Dispatcher, start_worker: StartWorker
) -> None:
    dispatcher.queue.configure(result_store="results", inline_limit_bytes=100)
    start_worker("--executors", "2")
    good = dispatcher.submit_batch(numbered(60), name="good")
    bad = dispatcher.submit("pipe_tasks:trouble", max_attempts=2)
    large = dispatcher.submit("pipe_tasks:text", parameters={"size": 1000})
    names = {job.name for batch in (good, bad, large) for job in all_results(batch)}
    dispatcher.queue.configure(keep_done_jobs=0)
    wait_until(lambda: dispatcher.queue.counts()["done"] == 0, "the removal")
    entries = list(history_of(dispatcher).search())
    assert sorted(entry.job for entry in entries) == sorted(names)
    [failed] = history_of(dispatcher).search(HistoryFilter(state=JobState.FAILED))
    assert (failed.job, failed.attempts) == (bad.names[0], 2)
    assert ["this task raises" in error["message"] for error in failed.errors] == [True, True]
    listed = zoolet_jobs(server, "history", "--batch", "good", "--limit", "70").splitlines()
    assert len(listed) == 60
    found = json.loads(
        zoolet_jobs(server, "history", "--error", "this task", "--since", "1h", "--output", "json")
    )
    assert found["parameters"] == {}
    assert found["job"] == bad.names[0]


def test_jobs_stay_while_the_database_is_down(
    server: Any, dispatcher: Dispatcher, start_worker: StartWorker
) -> None:
    queue = dispatcher.queue
    batch = dispatcher.submit_batch([JobRequest("m:f")] * 3)
    batch.cancel()
    queue.configure(result_store="down", keep_done_jobs=0)
    with pytest.raises(ResultStoreError, match="did not"):
        Remover(queue, dispatcher.results).apply(0, None)
    assert queue.counts()["done"] == 3
    worker = start_worker()
    expected = "finished jobs are not removed: postgresql://"
    wait_until(lambda: expected in zoolet_jobs(server, "status"), "the report of the problem")
    assert queue.counts()["done"] == 3
    queue.configure(result_store="results")
    # A worker tries again after a pause that depends on the machine; the next worker tries at once.
    start_worker()
    worker.kill()
    wait_until(lambda: queue.counts()["done"] == 0, "the removal")
    assert {entry.job for entry in history_of(dispatcher).search()} == set(batch.names)


def test_a_problem_of_the_history_is_reported_until_it_ends(dispatcher: Dispatcher) -> None:
    queue, now_s, told = dispatcher.queue, [100.0], list[str | None]()
    remover = Remover(queue, dispatcher.results, lambda: now_s[0], told.append)
    queue.configure(result_store="down", keep_done_jobs=0)
    dispatcher.submit("m:f").cancel()
    for _ in range(2):
        remover.remove_if_due()
        now_s[0] += 1000
    assert len(told) == 1
    assert "did not return its id" in (told[0] or "")
    queue.configure(result_store="results")
    remover.remove_if_due()
    assert told[1:] == [None]
    assert queue.counts()["done"] == 0
    assert len(list(history_of(dispatcher).search())) == 1


def test_a_queue_without_a_store_in_its_settings_has_no_history(
    dispatcher: Dispatcher, tasks: Path
) -> None:
    queue = dispatcher.queue
    for _ in range(2):
        dispatcher.submit("m:f").cancel()
    assert Remover(queue, dispatcher.results).apply(None, 1) == (1, 0)
    assert not (tasks / ".zoolet").exists()
    queue.configure(history=True)
    assert Remover(queue, dispatcher.results).apply(0, None) == (1, 0)
    assert len(list(history_of(dispatcher).search())) == 1
    assert (tasks / ".zoolet" / "results.db").exists()


def test_a_retried_job_has_one_entry_with_its_last_end(
    dispatcher: Dispatcher, client: KazooClient
) -> None:
    """The job is retried between its record and its removal."""
    queue = dispatcher.queue
    queue.configure(result_store="results")
    [job] = dispatcher.submit("m:f").cancel()
    history_of(dispatcher).record([job])
    queue.retry(job.name)
    assert queue.register("w")
    queue.finish(queue.own_job(job.name, "w"), 7)
    remover = Remover(queue, dispatcher.results)
    # A job that ended in this very millisecond is not removed yet.
    wait_until(lambda: remover.apply(0, None).jobs == 1, "the removal")
    [entry] = history_of(dispatcher).search()
    assert (entry.job, entry.state) == (job.name, "SUCCESSFUL")
    assert client.get_children(f"{ROOT}/done") == []
