"""A worker that serves several queues: their shares of its executors, and what keeps them apart."""

import json
import os
import random
import signal
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.security import OPEN_ACL_UNSAFE, make_digest_acl

from tests.support.jobs import (
    WorkerProcess,
    all_results,
    assert_done_once,
    next_result,
    numbered,
    write_tasks,
)
from tests.support.waiting import WAIT_S, wait_until
from zoolet.jobs import Batch, Dispatcher, JobQueue, JobRequest, Limit, Worker, WorkerQueue
from zoolet.jobs.overview.overview import queue_overview
from zoolet.jobs.records.transitions import Place

A, B, C = "/jobs/a", "/jobs/b", "/jobs/c"
TWO = ("--queue", B)

LOADERS = """
def load_b(dataset, groupid):
    return {"b": dataset, "groupid": groupid}

async def echo(group, parameters):
    print("output of", parameters["queue"])
    return {"group": group, "queue": parameters["queue"]}

def name(group, parameters):
    from zoolet.jobs import current_job
    job = current_job()
    return [job.name, job.group, job.dispatcher.job(job.name).parameters["queue"]]
"""


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    write_tasks(tmp_path)
    (tmp_path / "queue_tasks.py").write_text(LOADERS)
    return tmp_path


@pytest.fixture
def open_queues(server: Any) -> Iterator[Callable[..., list[Dispatcher]]]:
    """Return dispatchers on new queues."""
    with ExitStack() as opened:

        def open_them(*roots: str) -> list[Dispatcher]:
            return [
                opened.enter_context(Dispatcher(server.hosts, root, create=True)) for root in roots
            ]

        yield open_them


@pytest.fixture
def two(open_queues: Callable[..., list[Dispatcher]]) -> list[Dispatcher]:
    return open_queues(A, B)


Start = Callable[..., WorkerProcess]


class Blocked:
    """Jobs that run until the test lets them end."""

    def __init__(self, dispatcher: Dispatcher, pipe: Path, count: int) -> None:
        self.pipe = pipe
        os.mkfifo(pipe)
        requests = [
            JobRequest("pipe_tasks:read_pipe", parameters={"pipe": str(pipe), "n": n})
            for n in range(count)
        ]
        self.batch = dispatcher.submit_batch(requests, reuse=False)
        self._descriptor = os.open(pipe, os.O_RDWR)

    def release(self) -> None:
        """Let all jobs end, now and later: their pipe is at its end."""
        self.pipe.rename(self.pipe.with_suffix(".ended"))
        self.pipe.touch()
        os.close(self._descriptor)


def owned(dispatcher: Dispatcher) -> int:
    return dispatcher.queue.counts()["owned"]


def running(dispatcher: Dispatcher) -> int:
    return sum(job.state == "RUNNING" for job in dispatcher.queue.owned())


# --- Shares


def test_executors_are_divided_by_the_weights(
    two: list[Dispatcher], start_worker: Start, tmp_path: Path
) -> None:
    blocked = [Blocked(one, tmp_path / f"pipe{n}", 8) for n, one in enumerate(two)]
    worker = start_worker(*TWO, "--weight", f"{A}=3", "--executors", "4", root=A)
    assert f"queues {A} (weight 3), {B} (weight 1) on " in worker.started
    wait_until(lambda: sum(map(running, two)) == 4, "four jobs")
    assert [running(one) for one in two] == [3, 1]
    [report] = queue_overview(two[1].queue).workers.values()
    assert (report["executors"], report["weight"], report["weights"]) == (4, 1, 4)
    for one in blocked:
        one.release()
    for one in blocked:
        assert len(all_results(one.batch)) == 8


@pytest.mark.parametrize("options", [(), ("--threads",), ("--async-concurrency", "2")])
def test_short_jobs_run_in_proportion_to_the_weights(
    two: list[Dispatcher], start_worker: Start, options: tuple[str, ...]
) -> None:
    """The weights divide time: on a loaded machine, the jobs of one queue may take longer."""
    batches = [one.submit_batch(numbered(300, s=0.01)) for one in two]
    start_worker(*TWO, "--weight", f"{A}=3", "--executors", "2", *options, root=A)
    found = [all_results(batch) for batch in batches]
    for one, batch, jobs in zip(two, batches, found, strict=True):
        assert_done_once(one.queue, batch, jobs)
    taken = sorted(
        (job.taken_ms or 0, number, (job.finished_ms or 0) - (job.started_ms or 0))
        for number in (0, 1)
        for job in found[number]
    )
    # Until now, both queues had waiting jobs. The worker has tried to take jobs about 30 times.
    used_ms = [0, 0]
    for _, number, took_ms in taken[:300]:
        used_ms[number] += took_ms
    assert 0.6 <= used_ms[0] / sum(used_ms) <= 0.9


def test_the_share_of_an_empty_queue_goes_to_the_other_queue(
    two: list[Dispatcher], start_worker: Start, tmp_path: Path
) -> None:
    blocked = Blocked(two[1], tmp_path / "pipe", 5)
    start_worker(*TWO, "--weight", f"{A}=9", "--executors", "3", root=A)
    wait_until(lambda: running(two[1]) == 3, "three jobs on three executors")
    batch = two[0].submit_batch(numbered(1))
    blocked.release()
    assert [job.result for job in all_results(batch)] == [0]
    assert len(all_results(blocked.batch)) == 5


def test_executors_are_started_for_the_jobs_of_all_queues(
    two: list[Dispatcher], start_worker: Start, tmp_path: Path
) -> None:
    start_worker(*TWO, "--min-executors", "1", "--max-executors", "3", root=A)
    blocked = [Blocked(one, tmp_path / f"pipe{n}", 2) for n, one in enumerate(two)]
    wait_until(lambda: sum(map(running, two)) == 3, "three jobs on three executors")
    for one in blocked:
        one.release()
        assert len(all_results(one.batch)) == 2


# --- What keeps the queues apart


@pytest.mark.parametrize("options", [(), ("--threads",), ("--async-concurrency", "4")])
def test_the_same_names_are_different_jobs_and_data(
    two: list[Dispatcher], start_worker: Start, options: tuple[str, ...]
) -> None:
    start_worker(*TWO, "--loader", f"{B}=queue_tasks:load_b", *options, root=A)
    for task, round_ in (("queue_tasks:echo", 1), ("queue_tasks:echo", 2)):
        batches = [
            one.submit_batch(
                [
                    JobRequest(task, "flights", str(g), {"queue": root, "round": round_})
                    for g in range(3)
                ]
            )
            for one, root in zip(two, (A, B), strict=True)
        ]
        assert sorted(batches[0].names) == sorted(batches[1].names)
        for root, key, batch in zip((A, B), ("dataset", "b"), batches, strict=True):
            for job in all_results(batch):
                assert job.result == {
                    "group": {key: "flights", "groupid": job.groupid},
                    "queue": root,
                }
                assert job.cache_hit is (round_ == 2)


def test_a_task_knows_its_own_queue(two: list[Dispatcher], start_worker: Start) -> None:
    start_worker(*TWO, root=A)
    for one, root in zip(two, (A, B), strict=True):
        job = next_result(one.submit("queue_tasks:name", "flights", "1", {"queue": root}))
        assert job.result == [job.name, ["flights", "1"], root]


def test_a_paused_queue_does_not_delay_the_other_queue(
    two: list[Dispatcher], start_worker: Start
) -> None:
    two[0].queue.pause()
    paused, batch = (one.submit_batch(numbered(30)) for one in two)
    start_worker(*TWO, "--weight", f"{A}=100", root=A)
    assert len(all_results(batch)) == 30
    assert two[0].queue.counts()["unowned"] == 30
    two[0].queue.pause(paused=False)
    assert_done_once(two[0].queue, paused, all_results(paused))


def test_a_limit_is_one_of_its_queue(
    two: list[Dispatcher], start_worker: Start, tmp_path: Path
) -> None:
    two[0].queue.limits.add(Limit("one", task="pipe_tasks:counted", concurrent=1))
    counters = [tmp_path / "counted_a", tmp_path / "counted_b"]
    batches = []
    for one, directory in zip(two, counters, strict=True):
        directory.mkdir()
        batches.append(
            one.submit_batch(
                [
                    JobRequest(
                        "pipe_tasks:counted",
                        parameters={"counted_in": str(directory), "n": n, "s": 0.05},
                    )
                    for n in range(12)
                ]
            )
        )
    start_worker(*TWO, "--weight", f"{A}=50", "--executors", "3", root=A)
    most = [max(job.result["running"] for job in all_results(batch)) for batch in batches]
    assert most[0] == 1
    assert most[1] >= 2


def test_metrics_name_the_queue(two: list[Dispatcher], start_worker: Start) -> None:
    worker = start_worker(*TWO, "--metrics-port", "0", root=A)
    assert worker.process.stdout is not None
    url = worker.process.stdout.readline().split()[-1]
    for one, count in zip(two, (3, 5), strict=True):
        all_results(one.submit_batch(numbered(count)))
    wanted = [
        f'zoolet_worker_attempts_total{{outcome="successful",queue="{A}"}} 3.0',
        f'zoolet_worker_attempts_total{{outcome="successful",queue="{B}"}} 5.0',
        f'zoolet_queue_jobs{{place="done",queue="{B}"}} 5.0',
        f'zoolet_queue_workers{{queue="{A}"}} 1.0',
    ]

    def missing() -> set[str]:
        with urllib.request.urlopen(url, timeout=WAIT_S) as answer:
            return set(wanted) - set(answer.read().decode().splitlines())

    wait_until(lambda: not missing(), "the metrics of both queues")


# --- A queue that is lost, and others that go on


def status(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {"queues": {}}
    return found


def test_a_queue_is_deleted_and_created_again_while_another_queue_goes_on(
    two: list[Dispatcher],
    open_queues: Callable[..., list[Dispatcher]],
    start_worker: Start,
    client: KazooClient,
    tmp_path: Path,
) -> None:
    file = tmp_path / "status.json"
    worker = start_worker(*TWO, "--executors", "2", "--status-file", str(file), root=A)
    blocked = Blocked(two[1], tmp_path / "pipe", 2)
    wait_until(lambda: running(two[1]) == 2, "two jobs of the queue")
    client.delete(B, recursive=True)
    batch = two[0].submit_batch(numbered(20))
    assert_done_once(two[0].queue, batch, all_results(batch))
    wait_until(lambda: status(file)["queues"].get(B, "served") != "served", "its end")
    assert "no queue at /jobs/b" in status(file)["queues"][B] or B in status(file)["queues"][B]
    assert status(file)["queues"][A] == "served"
    wait_until(lambda: status(file)["is_ready"], "new processes for the ended jobs")
    assert client.exists(B) is None
    [again] = open_queues(B)
    batch = again.submit_batch(numbered(20))
    assert_done_once(again.queue, batch, all_results(batch))
    wait_until(lambda: status(file)["queues"] == {A: "served", B: "served"}, "its return")
    assert len(again.queue.workers()) == 1
    assert worker.process.poll() is None
    blocked.release()


def test_a_missing_permission_in_a_queue_concerns_this_queue_only(
    two: list[Dispatcher], start_worker: Start, client: KazooClient, tmp_path: Path
) -> None:
    file = tmp_path / "status.json"
    worker = start_worker(*TWO, "--status-file", str(file), root=A)
    client.add_auth("digest", "test:secret")
    mine = [make_digest_acl("test", "secret", all=True)]
    places = [f"{B}/{name}" for name in ("owned", "workers")]
    [id_before] = two[1].queue.workers()
    for path in places:
        client.set_acls(path, mine)
    other = two[1].submit_batch(numbered(5))
    wait_until(lambda: status(file)["queues"].get(B, "served") != "served", "its end")
    assert "permission" in status(file)["queues"][B]
    batch = two[0].submit_batch(numbered(20))
    assert_done_once(two[0].queue, batch, all_results(batch))
    assert two[1].queue.counts()["unowned"] == 5
    for path in places:
        client.set_acls(path, OPEN_ACL_UNSAFE)
    assert_done_once(two[1].queue, other, all_results(other))
    [id_after] = two[1].queue.workers()
    assert id_after != id_before
    assert worker.process.poll() is None


def test_an_ephemeral_that_is_deleted_costs_the_jobs_of_its_queue_only(
    two: list[Dispatcher], start_worker: Start, client: KazooClient, tmp_path: Path
) -> None:
    blocked = [Blocked(one, tmp_path / f"pipe{n}", 1) for n, one in enumerate(two)]
    start_worker(*TWO, "--executors", "3", root=A)
    wait_until(lambda: [running(one) for one in two] == [1, 1], "one job of each queue")
    [worker_id] = two[1].queue.workers()
    client.delete(f"{B}/workers/{worker_id}")
    wait_until(
        lambda: [job.worker for job in two[1].queue.owned()] not in ([], [worker_id]),
        "the job on the worker's new id",
    )
    for one in blocked:
        one.release()
    [kept], [lost] = (all_results(one.batch) for one in blocked)
    assert (kept.attempts, len(kept.errors)) == (1, 0)
    assert len(lost.errors) == 1


def test_jobs_of_all_queues_return_when_a_worker_is_killed(
    two: list[Dispatcher], start_worker: Start, tmp_path: Path
) -> None:
    blocked = [Blocked(one, tmp_path / f"pipe{n}", 2) for n, one in enumerate(two)]
    first = start_worker(*TWO, "--executors", "4", root=A)
    wait_until(lambda: [running(one) for one in two] == [2, 2], "two jobs of each queue")
    first.kill()
    for one in blocked:
        one.release()
    start_worker(*TWO, root=A)
    for dispatcher, batch in zip(two, [one.batch for one in blocked], strict=True):
        jobs = all_results(batch)
        assert {len(job.errors) for job in jobs} == {1}
        assert_done_once(dispatcher.queue, batch, jobs)


def test_a_worker_that_was_frozen_registers_again_in_all_queues(
    two: list[Dispatcher], start_worker: Start, tmp_path: Path
) -> None:
    blocked = [Blocked(one, tmp_path / f"pipe{n}", 1) for n, one in enumerate(two)]
    worker = start_worker(*TWO, "--executors", "2", root=A)
    wait_until(lambda: [running(one) for one in two] == [1, 1], "one job of each queue")
    before = [one.queue.workers() for one in two]
    worker.process.send_signal(signal.SIGSTOP)
    wait_until(lambda: [one.queue.workers() for one in two] == [[], []], "the end of the session")
    worker.process.send_signal(signal.SIGCONT)
    wait_until(lambda: all(one.queue.workers() for one in two), "the new ids")
    assert all(one.queue.workers() != ids for one, ids in zip(two, before, strict=True))
    for one in blocked:
        one.release()
    for dispatcher, batch in zip(two, [one.batch for one in blocked], strict=True):
        jobs = all_results(batch)
        assert {len(job.errors) for job in jobs} == {1}
        assert_done_once(dispatcher.queue, batch, jobs)


def test_a_stop_gives_the_jobs_of_all_queues_back(
    two: list[Dispatcher], start_worker: Start, tmp_path: Path
) -> None:
    blocked = [Blocked(one, tmp_path / f"pipe{n}", 3) for n, one in enumerate(two)]
    worker = start_worker(*TWO, "--executors", "2", "--grace-ms", "0", root=A)
    wait_until(lambda: [running(one) for one in two] == [1, 1], "one job of each queue")
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(WAIT_S) == 0
    for dispatcher in two:
        assert dispatcher.queue.counts()["unowned"] == 3
        assert dispatcher.queue.workers() == []
    for one in blocked:
        one.release()


def test_a_reload_replaces_the_executors_of_all_queues(
    two: list[Dispatcher], start_worker: Start, tmp_path: Path
) -> None:
    module = tmp_path / "versions.py"
    module.write_text("def version(group, parameters):\n    return 1\n")
    file = tmp_path / "status.json"
    worker = start_worker(*TWO, "--status-file", str(file), root=A)
    for one in two:
        assert next_result(one.submit("versions:version", reuse=False)).result == 1
    module.write_text("def version(group, parameters):\n    return 'two'\n")
    worker.process.send_signal(signal.SIGHUP)
    wait_until(lambda: status(file)["reloads"] == 1, "the new code")
    for one in two:
        assert next_result(one.submit("versions:version", reuse=False)).result == "two"


# --- In Python


def test_a_worker_in_python(server: Any, two: list[Dispatcher]) -> None:
    queues: dict[str, int | WorkerQueue] = {A: 3, B: WorkerQueue()}
    with Worker(server.hosts, queues=queues, threads=True, executors=2) as worker:
        assert worker.health().queues == {A: "served", B: "served"}
        assert list(worker.queues) == list(worker.worker_ids) == [A, B]
        for one in two:
            batch = one.submit_batch([JobRequest("builtins:dict", parameters={"n": 1})])
            all_results(batch)
        wait_until(lambda: worker.in_hand == 0, "the end of all jobs")
        assert {root: t["failed"] for root, t in worker.tallies().items()} == {A: 1, B: 1}
        assert worker.tally()["failed"] == 2
    assert worker.health().state == "ended"


# --- Everything at random


def delete_a_worker(queue: JobQueue) -> None:
    for worker in queue.workers()[:1]:
        queue.layout.znodes.delete(queue.layout.worker(worker))


@pytest.mark.parametrize("seed", range(3))
def test_each_job_ends_once_whatever_happens(
    seed: int,
    open_queues: Callable[..., list[Dispatcher]],
    start_worker: Start,
    client: KazooClient,
) -> None:
    chance = random.Random(seed)
    roots = (A, B, C)
    dispatchers = open_queues(*roots)
    options = ("--queue", B, "--queue", C, "--weight", f"{B}={chance.randint(2, 9)}")

    def start() -> WorkerProcess:
        return start_worker(*options, "--executors", str(chance.randint(1, 3)), root=A)

    workers = [start(), start()]
    batches: list[tuple[int, Batch]] = []
    for step in range(20):
        number = chance.randrange(3)
        queue = dispatchers[number].queue
        match chance.randrange(6):
            case 0:
                workers.append(start())
                workers.pop(0).kill()
            case 1:
                delete_a_worker(queue)
            case 2:
                queue.pause(paused=chance.random() < 0.5)
            case _:
                requests = numbered(chance.randint(1, 40), step=step)
                batches.append((number, dispatchers[number].submit_batch(requests)))
    for one in dispatchers:
        one.queue.pause(paused=False)
    for number, batch in batches:
        assert_done_once(dispatchers[number].queue, batch, all_results(batch))
    for one in dispatchers:
        assert one.queue.counts()[Place.OWNED] == 0
    assert client.connected
