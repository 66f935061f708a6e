"""What a queue survives: whatever dies or is cut off, each job ends in one place, and once.

Workers, servers and databases are real processes.
"""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from tests.support.jobs import (
    ROOT,
    TIMEOUT_S,
    WorkerProcess,
    all_results,
    assert_done_once,
    assert_in_one_place,
    next_result,
    numbered,
    write_tasks,
)
from tests.support.postgresql import PostgresqlServer
from tests.support.proxy import Proxy
from zoolet.jobs import Dispatcher, Job, JobRequest, JobState
from zoolet.jobs.records.transitions import Place
from zoolet.testing import ServerProcess

STEPS = [
    "taking",
    "taken",
    "given",
    "begun",
    "started",
    "running",
    "ended",
    "finishing",
    "finished",
]


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    write_tasks(tmp_path)
    return tmp_path


@pytest.fixture
def dispatcher(client: KazooClient) -> Iterator[Dispatcher]:
    with Dispatcher(client, ROOT, create=True) as dispatcher:
        yield dispatcher


StartWorker = Callable[..., WorkerProcess]


@pytest.fixture
def start_worker(tasks: Path, client: KazooClient) -> Iterator[StartWorker]:
    assert client.connected
    started: list[WorkerProcess] = []

    def start(
        hosts: str, *options: str, environment: dict[str, str] | None = None
    ) -> WorkerProcess:
        started.append(WorkerProcess(hosts, tasks, *options, environment=environment))
        return started[-1]

    yield start
    for worker in started:
        worker.close()


@pytest.mark.parametrize("step", STEPS)
def test_a_worker_killed_at_any_step_costs_no_job(
    dispatcher: Dispatcher,
    server: ServerProcess,
    tasks: Path,
    start_worker: StartWorker,
    step: str,
) -> None:
    victim = start_worker(
        server.hosts,
        "--on-step",
        "pipe_tasks:die_at",
        environment={"DIE_AT": step, "DIED": str(tasks / "died")},
    )
    batch = dispatcher.submit_batch(numbered(30, s=0.03 if step == "running" else 0))
    assert victim.process.wait(TIMEOUT_S) == -9
    start_worker(server.hosts)
    jobs = all_results(batch)
    assert_done_once(dispatcher.queue, batch, jobs)
    assert {job.result for job in jobs} == set(range(30))
    assert {job.attempts for job in jobs} <= {1, 2}


def test_a_step_hook_sees_every_step(
    dispatcher: Dispatcher, server: ServerProcess, tasks: Path, start_worker: StartWorker
) -> None:
    """So that the test above kills at steps that there are."""
    log = tasks / "steps"
    (tasks / "steps_seen.py").write_text(
        f"def hook(step, names):\n    open({str(log)!r}, 'a').write(step + '\\n')\n"
    )
    start_worker(server.hosts, "--on-step", "steps_seen:hook")
    all_results(dispatcher.submit_batch(numbered(3, s=0.05)))
    assert set(log.read_text().split()) >= set(STEPS) - {"finished"}


def test_the_server_is_killed_and_started_again_and_again(
    dispatcher: Dispatcher, server: ServerProcess, start_worker: StartWorker
) -> None:
    for _ in range(2):
        start_worker(server.hosts)
    batch = dispatcher.submit_batch(numbered(300, s=0.005))
    jobs: list[Job] = []
    for _ in range(3):
        jobs += [next_result(batch) for _ in range(60)]
        server.kill()
        server.start()
    jobs += all_results(batch)
    assert_done_once(dispatcher.queue, batch, jobs)


def test_replies_are_lost_again_and_again(
    dispatcher: Dispatcher, server: ServerProcess, start_worker: StartWorker
) -> None:
    """What the server did is done, whether the worker, or the submitter, has heard so or not."""
    with Proxy(server.port) as proxy, Dispatcher(proxy.hosts, ROOT) as behind_it:
        for _ in range(2):
            start_worker(proxy.hosts)
        lose = threading.Event()

        def lose_replies() -> None:
            while not lose.wait(0.3):
                with proxy.replies_lost():
                    lose.wait(0.1)

        losing = threading.Thread(target=lose_replies)
        losing.start()
        try:
            batch = behind_it.submit_batch(numbered(500, s=0.003))
            jobs = all_results(batch)
        finally:
            lose.set()
            losing.join()
        assert_done_once(dispatcher.queue, batch, jobs)
        assert {job.result for job in jobs} == set(range(500))


@pytest.mark.parametrize("task", ["end_own_process", "exit_own_process"])
def test_a_task_that_ends_its_own_process_holds_up_nothing(
    dispatcher: Dispatcher, server: ServerProcess, start_worker: StartWorker, task: str
) -> None:
    worker = start_worker(server.hosts)
    poison = JobRequest(f"pipe_tasks:{task}", "flights", "1", priority=9, max_attempts=3)
    batch = dispatcher.submit_batch([poison, *numbered(100)])
    jobs = all_results(batch)
    assert_in_one_place(dispatcher.queue, batch.names)
    [failed] = [job for job in jobs if job.state is JobState.FAILED]
    assert failed.name == batch.names[0]
    reason = "its process died: " + ("SIGKILL" if task == "end_own_process" else "exit status 3")
    assert [(error.attempt, error.message) for error in failed.errors] == [
        (attempt, reason) for attempt in (1, 2, 3)
    ]
    # Nobody else paid for it, and the worker is the same one.
    assert {job.attempts for job in jobs if job is not failed} == {1}
    assert {job.worker for job in jobs} == {worker.worker_id}


def test_a_task_that_takes_too_long_is_ended(
    dispatcher: Dispatcher, server: ServerProcess, start_worker: StartWorker
) -> None:
    start_worker(server.hosts)
    long = JobRequest(
        "pipe_tasks:spin", "flights", "1", {"s": 600}, priority=9, max_attempts=2, timeout_ms=300
    )
    batch = dispatcher.submit_batch([long, *numbered(10)])
    jobs = all_results(batch)
    [failed] = [job for job in jobs if job.state is JobState.FAILED]
    assert [error.message for error in failed.errors] == [
        "it took longer than its timeout of 300 ms: its process was ended"
    ] * 2
    assert {job.attempts for job in jobs if job is not failed} == {1}


def test_a_task_that_computes_without_a_pause_costs_no_session(
    dispatcher: Dispatcher, server: ServerProcess, start_worker: StartWorker
) -> None:
    """Its session lasts a second, and it computes for three."""
    worker = start_worker(server.hosts, "--executors", "2")
    spin = [JobRequest("pipe_tasks:spin", "flights", str(n), {"s": 3}) for n in range(2)]
    jobs = all_results(dispatcher.submit_batch(spin))
    assert [(job.attempts, job.worker) for job in jobs] == [(1, worker.worker_id)] * 2


def test_the_result_store_is_down_for_a_while(
    client: KazooClient,
    server: ServerProcess,
    start_worker: StartWorker,
    down_s: float,
) -> None:
    """Large results wait for it, in PostgreSQL, and small ones do not."""
    with (
        PostgresqlServer() as database,
        Dispatcher(
            client, ROOT, create=True, result_stores={"results": database.url}
        ) as dispatcher,
    ):
        dispatcher.queue.configure(result_store="results", inline_limit_bytes=1000)
        start_worker(
            server.hosts, "--executors", "2", "--result-store-url", f"results={database.url}"
        )
        large = [
            JobRequest("pipe_tasks:text", "flights", str(n), {"size": 5000 + n}, priority=9)
            for n in range(20)
        ]
        first = dispatcher.submit_batch(large[:10])
        assert {len(job.result) for job in all_results(first)} == set(range(5000, 5010))
        database.stop()
        batch = dispatcher.submit_batch([*large[10:], *numbered(50)])
        small = [next_result(batch) for _ in range(50)]
        assert {job.result for job in small} == set(range(50))
        assert not threading.Event().wait(down_s)
        assert batch.next_result(timeout_s=0.01) is None
        database.start()
        late = all_results(batch)
        assert {len(job.result) for job in late} == set(range(5010, 5020))
        assert {job.attempts for job in late} == {1}
        assert_done_once(dispatcher.queue, batch, [*small, *late])
        # Who reads the znode finds the key of what is in the store, and no result.
        [done] = dispatcher.queue.layout.read(Place.DONE, [late[0].name])
        assert done.result is None
        assert done.stored is not None
