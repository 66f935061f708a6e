"""Large results: one store for all who work on a queue, and a clear reason if it cannot be used.

Workers are real processes. Another host is a name that a process believes to have.
"""

import contextlib
import json
import socket
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from kazoo.client import KazooClient

from tests.support.jobs import ROOT, WorkerProcess, all_results, next_result, write_tasks
from zoolet.cli import main
from zoolet.jobs import Dispatcher, Job, JobRequest, JobState, ResultStoreError
from zoolet.jobs.records.json_values import decode_json
from zoolet.jobs.results import store
from zoolet.jobs.results.reader import ResultReader
from zoolet.jobs.results.store import sqlite_id

LARGE, SMALL = 100_000, 10
SITE = """
import os, pwd, socket
if "HOST_NAME" in os.environ:
    socket.gethostname = lambda: os.environ["HOST_NAME"]
if "NO_HOME" in os.environ:
    del os.environ["HOME"]
    def getpwuid(uid):
        raise KeyError(uid)
    pwd.getpwuid = getpwuid
"""

StartWorker = Callable[..., WorkerProcess]


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    write_tasks(tmp_path)
    (tmp_path / "sitecustomize.py").write_text(SITE)
    return tmp_path


@pytest.fixture
def home(tasks: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of the dispatcher of the test."""
    home = tasks / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.fixture
def dispatcher(client: KazooClient, home: Path) -> Iterator[Dispatcher]:
    assert home
    with Dispatcher(client, ROOT, create=True) as dispatcher:
        yield dispatcher


@pytest.fixture
def start_worker(server: Any, client: KazooClient, tasks: Path) -> Iterator[StartWorker]:
    assert client.connected
    started: list[WorkerProcess] = []

    def start(*options: str, **environment: str) -> WorkerProcess:
        environment = {"PYTHONPATH": str(tasks)} | environment
        worker = WorkerProcess(server.hosts, tasks, *options, environment=environment)
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.close()


def sized(size: int, number: int = 0) -> JobRequest:
    parameters = {"size": size, "n": number}
    return JobRequest("pipe_tasks:text", "d", str(number), parameters, max_attempts=1)


def run(dispatcher: Dispatcher, size: int, number: int = 0) -> Job:
    return next_result(dispatcher.submit_batch([sized(size, number)]))


def report_of(dispatcher: Dispatcher, worker: WorkerProcess) -> dict[str, Any]:
    return dispatcher.queue.worker_reports()[worker.worker_id]


def test_users_of_one_machine_share_the_store_of_the_first_without_settings(
    dispatcher: Dispatcher,
    start_worker: StartWorker,
    tasks: Path,
    server: Any,
    client: KazooClient,
) -> None:
    homes = [tasks / "ann", tasks / "ben"]
    workers = [start_worker(HOME=str(home)) for home in homes]
    batch = dispatcher.submit_batch([sized(LARGE, n) for n in range(12)])
    jobs = all_results(batch)
    assert {(job.state, len(job.result)) for job in jobs} == {(JobState.SUCCESSFUL, LARGE)}
    claim = decode_json(client.get(f"{ROOT}/store")[0])
    with contextlib.closing(sqlite3.connect(claim["url"].removeprefix("sqlite:///"))) as store:
        assert store.execute("select count(*) from zoolet_results").fetchone() == (12,)
    assert {report_of(dispatcher, worker)["result_store_problem"] for worker in workers} == {None}
    with Dispatcher(server.hosts, ROOT) as other:
        assert len(other.job(batch.names[0]).result) == LARGE


def test_a_worker_of_another_host_fails_what_nobody_could_read(
    dispatcher: Dispatcher, start_worker: StartWorker, tasks: Path, server: Any
) -> None:
    start_worker(HOME=str(tasks / "ann")).close()
    first = start_worker(HOME=str(tasks / "ann"))
    assert len(run(dispatcher, LARGE).result) == LARGE
    first.close()
    other = start_worker(HOME=str(tasks / "ben"), HOST_NAME="elsewhere")
    problem = report_of(dispatcher, other)["result_store_problem"]
    assert f"{tasks}/ann/.zoolet/results.db on host {socket.gethostname()}" in problem
    job = run(dispatcher, LARGE, 1)
    assert job.state is JobState.FAILED
    assert "on host elsewhere, is not the queue's" in job.last_error
    assert "zoolet jobs configure --result-store" in job.last_error
    assert len(run(dispatcher, SMALL, 2).result) == SMALL
    status = CliRunner(env={"COLUMNS": "500"}).invoke(
        main, ["jobs", "status", "--server", server.hosts, "--queue", ROOT]
    )
    assert "is not the queue's" in status.output


def test_a_reader_on_another_host_gets_the_name_of_the_host(
    dispatcher: Dispatcher,
    start_worker: StartWorker,
    tasks: Path,
    server: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start_worker(HOME=str(tasks / "ann"))
    job = run(dispatcher, LARGE)
    host = socket.gethostname()
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    with (
        Dispatcher(server.hosts, ROOT) as other,
        pytest.raises(ResultStoreError, match=f"results.db on host {host}, but this process"),
    ):
        other.job(job.name)


def test_a_shared_disk_makes_two_hosts_one(
    dispatcher: Dispatcher, start_worker: StartWorker, home: Path
) -> None:
    for number, host in enumerate(["one", "two"]):
        worker = start_worker(HOME=str(home), HOST_NAME=host)
        assert report_of(dispatcher, worker)["result_store_problem"] is None
        assert len(run(dispatcher, LARGE, number).result) == LARGE
        worker.close()


def test_new_settings_take_effect_at_once(
    dispatcher: Dispatcher, start_worker: StartWorker, tasks: Path, client: KazooClient
) -> None:
    start_worker(HOME=str(tasks / "ann"))
    run(dispatcher, LARGE)
    dispatcher.queue.configure(result_store=f"sqlite:///{tasks}/shared.db")
    assert len(run(dispatcher, LARGE, 1).result) == LARGE
    claim = decode_json(client.get(f"{ROOT}/store")[0])
    assert claim["url"] == f"sqlite:///{tasks}/shared.db"


def test_an_option_that_differs_from_the_settings_does_not_decide(
    dispatcher: Dispatcher, start_worker: StartWorker, tasks: Path
) -> None:
    dispatcher.queue.configure(result_store=f"sqlite:///{tasks}/shared.db")
    worker = start_worker("--result-store", f"sqlite:///{tasks}/own.db")
    job = run(dispatcher, LARGE)
    assert job.state is JobState.FAILED
    assert "shared.db" in job.last_error
    assert "shared.db" in report_of(dispatcher, worker)["result_store_problem"]
    (tasks / "link.db").symlink_to(tasks / "shared.db")
    worker.close()
    start_worker("--result-store", f"sqlite:///{tasks}/link.db")
    assert len(run(dispatcher, LARGE, 1).result) == LARGE


@pytest.mark.parametrize("value", [b"", b"7", b'{"id": "x"}', b"\xff"])
def test_a_decision_that_nobody_can_read_is_made_again(
    dispatcher: Dispatcher, start_worker: StartWorker, client: KazooClient, value: bytes
) -> None:
    client.create(f"{ROOT}/store", value)
    start_worker()
    assert len(run(dispatcher, LARGE).result) == LARGE


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({"NO_HOME": "1"}, "HOME is not set"),
        ({"HOME": "/dev/null/home"}, "/dev/null/home/.zoolet/results.db cannot be"),
        ({"HOME": "/etc/passwd"}, "/etc/passwd/.zoolet/results.db cannot be"),
    ],
)
def test_without_a_place_for_results_a_worker_says_so_and_does_the_rest(
    dispatcher: Dispatcher,
    start_worker: StartWorker,
    environment: dict[str, str],
    complaint: str,
) -> None:
    worker = start_worker(**environment)
    assert complaint in report_of(dispatcher, worker)["result_store_problem"]
    job = run(dispatcher, LARGE)
    assert job.state is JobState.FAILED
    assert complaint in job.last_error
    assert "--result-store" in job.last_error
    assert len(run(dispatcher, SMALL, 1).result) == SMALL


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "nosuch://host/x"])
def test_a_store_that_nobody_else_can_read_fails_its_attempts(
    dispatcher: Dispatcher, start_worker: StartWorker, url: str
) -> None:
    start_worker("--result-store", url)
    assert run(dispatcher, LARGE).state is JobState.FAILED
    assert run(dispatcher, SMALL, 1).state is JobState.SUCCESSFUL


def test_what_cannot_be_encoded_fails_its_attempt_and_the_worker_goes_on(
    dispatcher: Dispatcher, start_worker: StartWorker, tasks: Path
) -> None:
    (tasks / "odd_tasks.py").write_text(
        "from collections import UserDict\n"
        "from types import MappingProxyType\n"
        "def nested(group, parameters):\n"
        "    value = 1\n"
        "    for _ in range(parameters['depth']):\n"
        "        value = [value]\n"
        "    return value\n"
        "def mapping(group, parameters):\n"
        "    return UserDict(a=MappingProxyType({'b': 1}))\n"
    )
    for options in ((), ("--threads",)):
        worker = start_worker(*options)
        depths = [100, 101, 985, 2000]
        requests = [
            JobRequest("odd_tasks:nested", "d", "1", {"depth": n, "o": options}, max_attempts=1)
            for n in depths
        ]
        requests.append(JobRequest("odd_tasks:mapping", "d", "1", {"o": options}))
        jobs = {
            json.dumps(job.parameters): job
            for job in all_results(dispatcher.submit_batch(requests))
        }
        found = [jobs[json.dumps(r.parameters)] for r in requests]
        assert [job.state == "SUCCESSFUL" for job in found] == [True, False, False, False, True]
        assert found[-1].result == {"a": {"b": 1}}
        assert {job.worker for job in found} == {worker.worker_id}
        worker.close()


def test_the_purge_closes_the_store(
    dispatcher: Dispatcher, start_worker: StartWorker, server: Any, home: Path
) -> None:
    start_worker(HOME=str(home))
    run(dispatcher, LARGE)
    purged = CliRunner().invoke(
        main, ["jobs", "purge", "--server", server.hosts, "--queue", ROOT, "--keep", "0"]
    )
    assert purged.output == "1 jobs removed, and 1 batches\n"
    dispatcher.results.close()
    opened = [path.resolve() for path in Path("/proc/self/fd").glob("*") if path.exists()]
    assert home / ".zoolet" / "results.db" not in opened


@pytest.mark.parametrize("url", ["nonsense", "nosuch://user:secret@host/db"])
def test_a_store_that_cannot_be_used_is_a_clear_error(dispatcher: Dispatcher, url: str) -> None:
    reader = ResultReader(dispatcher.queue, url)
    with pytest.raises(ResultStoreError, match="Use an SQLAlchemy URL") as raised:
        reader.put("key", b"1")
    assert "secret" not in str(raised.value)


def test_the_report_of_a_worker_does_not_wait_for_a_locked_file(
    dispatcher: Dispatcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_SQLITE_WAIT_S", 3600.0)
    path = tmp_path / "locked.db"
    own_id = sqlite_id(path)
    known, unknown = (ResultReader(dispatcher.queue, f"sqlite:///{path}") for _ in range(2))
    for reader in (known, unknown):
        assert reader.check() is None
    assert known.about()["result_store"]["id"] == own_id
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert known.about()["result_store"]["id"] == own_id
        assert "id" not in unknown.about()["result_store"]
    assert unknown.about()["result_store"]["id"] == own_id
    # Another file has another id.
    path.unlink()
    assert known.about()["result_store"]["id"] is None
    assert sqlite_id(path) == known.about()["result_store"]["id"] != own_id
