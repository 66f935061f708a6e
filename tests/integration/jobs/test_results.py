"""Large results: one store for all who work on a queue, and a clear reason if it cannot be used.

Workers are real processes. Another host is a name that a process believes to have.
"""

import contextlib
import json
import socket
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from kazoo.client import KazooClient

from tests.support.jobs import ROOT, WorkerProcess, all_results, next_result, write_tasks
from tests.support.waiting import wait_until
from zoolet.cli import main
from zoolet.jobs import Dispatcher, Job, JobRequest, JobState, ResultStoreError
from zoolet.jobs.records.json_values import decode_json
from zoolet.jobs.results import store
from zoolet.jobs.results.reader import ResultReader
from zoolet.jobs.results.store import sqlite_id

LARGE, SMALL = 100_000, 10
DOWN = "postgresql+psycopg://nobody@127.0.0.1:1/none"
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


def test_users_of_one_machine_share_a_store_that_has_a_name(
    dispatcher: Dispatcher,
    start_worker: StartWorker,
    tasks: Path,
    server: Any,
    client: KazooClient,
) -> None:
    url = f"sqlite:///{tasks}/shared.db"
    dispatcher.queue.configure(result_store="shared")
    for name in ("ann", "ben"):
        start_worker(HOME=str(tasks / name), ZOOLET_RESULT_STORES=f"other={DOWN} shared={url}")
    with Dispatcher(server.hosts, ROOT, result_stores={"shared": url}) as reader:
        batch = reader.submit_batch([sized(LARGE, n) for n in range(12)])
        jobs = all_results(batch)
    assert {(job.state, len(job.result)) for job in jobs} == {(JobState.SUCCESSFUL, LARGE)}
    claim = decode_json(client.get(f"{ROOT}/store")[0])
    assert (claim["name"], claim["place"]) == ("shared", url)
    with contextlib.closing(sqlite3.connect(tasks / "shared.db")) as store:
        assert store.execute("select count(*) from zoolet_results").fetchone() == (12,)
    with pytest.raises(ResultStoreError, match="result store is shared, and this program has no"):
        dispatcher.job(batch.names[0])


def test_users_of_one_machine_have_different_default_stores_and_are_told(
    dispatcher: Dispatcher, start_worker: StartWorker, tasks: Path
) -> None:
    start_worker(HOME=str(tasks / "ann"))
    job = next_result_of_queue(dispatcher, sized(LARGE))
    assert job.stored is not None
    with pytest.raises(ResultStoreError, match="zoolet jobs configure --result-store NAME"):
        dispatcher.job(job.name)
    ben = start_worker(HOME=str(tasks / "ben"))
    assert "is not the queue's" in report_of(dispatcher, ben)["result_store_problem"]


@pytest.mark.parametrize("place", ["settings", "store"])
def test_a_url_in_a_znode_is_not_used(
    dispatcher: Dispatcher,
    start_worker: StartWorker,
    tasks: Path,
    client: KazooClient,
    place: str,
) -> None:
    """Neither a file nor a connection follows from what any program wrote into a znode."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(0.01)
        port = silent.getsockname()[1]
        for url in (f"sqlite:///{tasks}/evil.db", f"postgresql+psycopg://u:pw@127.0.0.1:{port}/d"):
            host = socket.gethostname() if url.startswith("sqlite") else None
            claim = {"id": "x", "url": url, "host": host, "configured": None}
            value = {"result_store": url} if place == "settings" else claim
            client.ensure_path(f"{ROOT}/{place}")
            client.set(f"{ROOT}/{place}", json.dumps(value).encode())
            worker = start_worker()
            job = run(dispatcher, LARGE, port)
            report = report_of(dispatcher, worker)
            if place == "settings":
                assert job.state is JobState.FAILED
                for said in (job.last_error, report["result_store_problem"]):
                    assert "which is not used any more" in said
                    assert "--result-store-url NAME=URL" in said
            assert "pw" not in json.dumps(report)
            worker.close()
            with pytest.raises(TimeoutError):
                silent.accept()
    assert not (tasks / "evil.db").exists()


def test_an_upgraded_queue_finds_its_results_when_its_store_has_a_name(
    dispatcher: Dispatcher, start_worker: StartWorker, tasks: Path, client: KazooClient, server: Any
) -> None:
    """The steps that CHANGELOG.md gives, for a queue of an earlier version."""
    url = f"sqlite:///{tasks}/shared.db"
    option = ("--result-store-url", f"results={url}")
    dispatcher.queue.configure(result_store="results")
    worker = start_worker(*option)
    stores = {"results": url}
    with Dispatcher(server.hosts, ROOT, result_stores=stores) as reader:
        old = run(reader, LARGE)
        worker.close()
        store_id = decode_json(client.get(f"{ROOT}/store")[0])["id"]
        claim = {"id": store_id, "url": url, "host": socket.gethostname(), "configured": url}
        client.set(f"{ROOT}/store", json.dumps(claim).encode())
        client.set(f"{ROOT}/settings", json.dumps({"result_store": url}).encode())
        start_worker(*option).close()
        target = ["--server", server.hosts, "--queue", ROOT]
        done = CliRunner().invoke(main, ["jobs", "configure", *target, "--result-store", "results"])
        assert done.exit_code == 0, done.output
        start_worker(*option)
        assert reader.job(old.name).result == old.result
        assert len(run(reader, LARGE, 1).result) == LARGE


def test_a_worker_of_another_host_fails_what_nobody_could_read(
    dispatcher: Dispatcher, start_worker: StartWorker, tasks: Path, server: Any
) -> None:
    start_worker(HOME=str(tasks / "home")).close()
    first = start_worker(HOME=str(tasks / "home"))
    assert len(run(dispatcher, LARGE).result) == LARGE
    first.close()
    other = start_worker(HOME=str(tasks / "ben"), HOST_NAME="elsewhere")
    problem = report_of(dispatcher, other)["result_store_problem"]
    assert f"{tasks}/home/.zoolet/results.db on host {socket.gethostname()}" in problem
    job = run(dispatcher, LARGE, 1)
    assert job.state is JobState.FAILED
    assert "on host elsewhere, is not the queue's" in job.last_error
    assert "zoolet jobs configure --result-store NAME" in job.last_error
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
    start_worker(HOME=str(tasks / "home"))
    job = run(dispatcher, LARGE)
    host = socket.gethostname()
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    monkeypatch.setenv("HOME", str(tasks / "elsewhere"))
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
    dispatcher: Dispatcher, start_worker: StartWorker, tasks: Path, client: KazooClient, server: Any
) -> None:
    url = f"sqlite:///{tasks}/shared.db"
    start_worker("--result-store-url", f"shared={url}", HOME=str(tasks / "home"))
    run(dispatcher, LARGE)
    dispatcher.queue.configure(result_store="shared")
    with Dispatcher(server.hosts, ROOT, result_stores={"shared": url}) as reader:
        assert len(run(reader, LARGE, 1).result) == LARGE
    claim = decode_json(client.get(f"{ROOT}/store")[0])
    assert (claim["name"], claim["place"]) == ("shared", url)


def test_programs_with_different_urls_for_a_name_do_not_mix_their_stores(
    dispatcher: Dispatcher, start_worker: StartWorker, tasks: Path
) -> None:
    (tasks / "url").write_text(f"sqlite:///{tasks}/shared.db\n")
    worker = start_worker("--result-store-url", f"default=@{tasks}/url")
    job = next_result_of_queue(dispatcher, sized(LARGE))
    worker.close()
    assert job.state is JobState.SUCCESSFUL
    other = start_worker("--result-store-url", f"default=sqlite:///{tasks}/own.db")
    job = run(dispatcher, LARGE, 1)
    assert job.state is JobState.FAILED
    assert "shared.db" in job.last_error
    assert "shared.db" in report_of(dispatcher, other)["result_store_problem"]
    (tasks / "link.db").symlink_to(tasks / "shared.db")
    other.close()
    start_worker("--result-store-url", f"default=sqlite:///{tasks}/link.db")
    assert next_result_of_queue(dispatcher, sized(LARGE, 2)).state is JobState.SUCCESSFUL


def test_no_password_of_a_store_is_in_a_znode_an_error_or_the_arguments_of_a_process(
    dispatcher: Dispatcher, start_worker: StartWorker, client: KazooClient, tasks: Path
) -> None:
    """The store is down; the worker gets its URL from a file, and its executors through a pipe."""
    secret = uuid.uuid4().hex
    (tasks / "url").write_text(f"postgresql+psycopg://ann:{secret}@127.0.0.1:1/d?options={secret}")
    dispatcher.queue.configure(result_store="results")
    worker = start_worker("--result-store-url", f"results=@{tasks}/url")
    job = run(dispatcher, SMALL)
    assert job.state is JobState.SUCCESSFUL
    batch = dispatcher.submit_batch([sized(LARGE, 1)])
    wait_until(lambda: dispatcher.job(batch.names[0]).state != "PENDING", "the attempt")
    assert worker.process.poll() is None
    commands = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            commands.append(command.read_bytes())
    assert str(tasks).encode() in b"".join(commands)
    assert secret.encode() not in b"".join(commands)
    found = [client.get(path)[0] for path in all_paths(client, ROOT)]
    assert len(found) > 10
    assert secret.encode() not in b"".join(found)


def all_paths(client: KazooClient, path: str) -> list[str]:
    children = [f"{path}/{name}" for name in client.get_children(path)]
    return [path, *(found for child in children for found in all_paths(client, child))]


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
    assert "--result-store-url" in job.last_error
    assert len(run(dispatcher, SMALL, 1).result) == SMALL


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "nosuch://host/x"])
def test_a_store_that_nobody_else_can_read_fails_its_attempts(
    dispatcher: Dispatcher, start_worker: StartWorker, url: str
) -> None:
    start_worker("--result-store-url", f"default={url}")
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


@pytest.mark.parametrize(
    "url",
    ["nosuch://user:secret@host/db", "postgresql+psycopg://user:secret@host:port/db",
     "postgresql+psycopg://user:secret@host:se/cret"],
)  # fmt: skip
def test_a_store_that_cannot_be_used_is_a_clear_error(dispatcher: Dispatcher, url: str) -> None:
    reader = ResultReader(dispatcher.queue, {"default": url})
    with pytest.raises(ResultStoreError, match="Use an SQLAlchemy URL") as raised:
        reader.put("key", b"1")
    assert "secret" not in str(raised.value)


def next_result_of_queue(dispatcher: Dispatcher, wanted: JobRequest) -> Job:
    """Return a job that has ended, without its result from the store."""
    [name] = dispatcher.submit_batch([wanted]).names
    wait_until(lambda: dispatcher.queue.find(name).has_ended, "the end of the job")
    return dispatcher.queue.find(name)


def test_the_report_of_a_worker_does_not_wait_for_a_locked_file(
    dispatcher: Dispatcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_SQLITE_WAIT_S", 3600.0)
    path = tmp_path / "locked.db"
    own_id = sqlite_id(path)
    known, unknown = (
        ResultReader(dispatcher.queue, {"default": f"sqlite:///{path}"}) for _ in range(2)
    )
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
