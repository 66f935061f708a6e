"""Batches, workers, graphs and histories on the page, with real workers and databases."""

import html
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.jobs import WorkerProcess
from tests.support.postgresql import PostgresqlServer
from tests.support.waiting import wait_until
from tests.support.web import Browser, browsing, settings_of
from tests.support.web_jobs import HOSTILE, ROOT, URL, ended, remove_all, request, working
from zoolet import __version__
from zoolet.client import Client
from zoolet.jobs import Dispatcher, JobRequest, JobState, When
from zoolet.testing import EmbeddedServer
from zoolet.web.jobs import histories

TASKS = '''
import time
from pathlib import Path
from zoolet.jobs import current_job

def held(group, parameters):
    """Report a half, and wait until a file exists."""
    current_job().progress(1, 2, "half")
    while not Path(parameters["file"]).exists():
        time.sleep(0.02)
'''


@pytest.fixture
def web(server: EmbeddedServer) -> Iterator[Browser]:
    with browsing(settings_of(server.hosts)) as browser:
        yield browser


@pytest.fixture
def dispatcher(server: EmbeddedServer, zk: Client) -> Iterator[Dispatcher]:
    """A dispatcher on a new queue, which ends with the test."""
    assert zk.exists("/jobs") is None
    with Dispatcher(server.hosts, ROOT, create=True) as opened:
        yield opened


@contextmanager
def holding(hosts: str, directory: Path) -> Iterator[WorkerProcess]:
    """Run a worker with the task that waits for a file."""
    (directory / "held_tasks.py").write_text(TASKS)
    worker = WorkerProcess(hosts, directory, "--executors", "2", root=ROOT, loader=None)
    try:
        yield worker
    finally:
        worker.close()


def waited(look: Callable[[], Any], what: str) -> Any:
    """Return what ``look`` returns when it is true."""
    found: list[Any] = []

    def is_there() -> bool:
        found[:] = [look()]
        return bool(found[0])

    wait_until(is_there, what)
    return found[0]


def test_a_batch_has_a_bar_and_a_worker_shows_what_it_runs(
    web: Browser, server: EmbeddedServer, dispatcher: Dispatcher, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    held = JobRequest("held_tasks:held", None, None, {"file": str(file)})
    with holding(server.hosts, tmp_path) as worker:
        batch = dispatcher.submit_batch([held] * 4, reuse=False, name="four")

        def running() -> Any:
            found = web.get(f"{URL}/batch/four")["batch"]
            return found if found["states"]["RUNNING"] == 2 and found["share"] > 0 else None

        found = waited(running, "two running jobs with progress")
        assert (found["jobs"], found["requests"], found["missing"]) == (4, 4, 0)
        assert 0 < found["share"] <= 0.25
        [shown] = web.get(f"{URL}/workers")["workers"]
        assert shown["worker"] == worker.worker_id
        assert (shown["running"], shown["report"]["executors"]) == (2, 2)
        assert shown["report"]["version"] == __version__
        assert {job["job"] for job in shown["jobs"]} <= set(batch.names)
        assert shown["jobs"][0]["task"] == "held_tasks:held"
        assert shown["jobs"][0]["started_ms"] <= dispatcher.queue.clock_ms() + 1000
        page = web.html(f"{URL}/workers")
        assert "2 running" in page
        assert socket.gethostname() in page
        file.touch()
        done = waited(
            lambda: web.get(f"{URL}/batch/four")["batch"]["share"] == 1.0, "the end of the batch"
        )
        assert done
    [listed] = web.get(f"{URL}/batches")["batches"]
    assert listed["states"][JobState.SUCCESSFUL] == 4
    assert "100%" in web.html(f"{URL}/batches")
    wait_until(lambda: web.get(f"{URL}/workers")["total"] == 0, "the end of the worker")


def test_a_retried_job_and_a_joined_job_count_once(web: Browser, dispatcher: Dispatcher) -> None:
    names = dispatcher.submit_batch([JobRequest("m:f", "d", str(n)) for n in range(3)]).names
    second = dispatcher.submit_batch([JobRequest("m:f", "d", "0"), JobRequest("m:g")], name="b")
    dispatcher.queue.cancel([names[0], second.names[1]])
    found = web.get(f"{URL}/batch/b")["batch"]
    assert (found["jobs"], found["states"]["FAILED"], found["share"]) == (2, 2, 1.0)
    dispatcher.queue.retry(second.names[1])
    found = web.get(f"{URL}/batch/b")["batch"]
    assert (found["states"]["FAILED"], found["states"]["PENDING"]) == (1, 1)
    dispatcher.queue.cancel([second.names[1]])
    assert web.get(f"{URL}/batch/b")["batch"]["states"]["FAILED"] == 2


def test_a_batch_of_the_same_name_later_is_another_batch(
    web: Browser, dispatcher: Dispatcher, zk: Client
) -> None:
    first = dispatcher.submit_batch([JobRequest("m:f")] * 3, reuse=False, name="again")
    first.cancel()
    assert web.get(f"{URL}/batch/again")["batch"]["share"] == 1.0
    zk.delete_recursive(f"{ROOT}/batches/again")
    web.get(f"{URL}/batch/again", 404)
    dispatcher.submit_batch([JobRequest("m:f")] * 2, reuse=False, name="again")
    found = web.get(f"{URL}/batch/again")["batch"]
    assert (found["jobs"], found["share"]) == (2, 0.0)


def test_batches_are_listed_in_parts_also_broken_ones(
    web: Browser, dispatcher: Dispatcher, zk: Client
) -> None:
    for number in range(25):
        dispatcher.submit_batch([JobRequest("m:f")], reuse=False, name=f"b{number:02}")
    zk.create(f"{ROOT}/batches/<b>broken", b"not JSON")
    zk.create(f"{ROOT}/batches/huge", b'{"jobs": 9000000, "submitted_ms": 1}')
    found = web.get(f"{URL}/batches")
    assert (found["total"], len(found["batches"])) == (27, 20)
    assert "is not JSON" in found["batches"][0]["problem"]
    assert "&lt;b&gt;broken" in web.html(f"{URL}/batches")
    found = web.get(f"{URL}/batches?start=20")["batches"]
    assert [one["batch"] for one in found[-2:]] == ["b24", "huge"]
    assert found[-1]["states"] is None
    assert "too many to count" in web.html(f"{URL}/batch/huge")
    assert web.get(f"{URL}/batches?filter=B1")["total"] == 10
    [link] = re.findall('href="([^"]*)">Next<', web.html(f"{URL}/batches?filter=b"))
    found = web.get(html.unescape(link))
    assert (found["start"], found["total"], len(found["batches"])) == (20, 26, 6)
    [link] = re.findall('href="([^"]*)">Previous<', web.html(html.unescape(link)))
    found = web.get(html.unescape(link))
    assert (found["start"], found["total"], len(found["batches"])) == (0, 26, 20)
    web.get(f"{URL}/batches?start=x", 400)


@pytest.mark.parametrize("part", ["schedules", "workers"])
def test_lists_of_a_queue_have_links_to_their_parts(
    web: Browser, dispatcher: Dispatcher, part: str
) -> None:
    assert dispatcher.queue.workers() == []
    found = web.get(f"{URL}/{part}?start=70")
    assert found["start"] == 70
    [link] = re.findall('href="([^"]*)">Previous<', web.html(f"{URL}/{part}?start=70"))
    assert web.get(html.unescape(link))["start"] == 70 - found["count"]


def test_the_graph_of_a_job_shows_what_is_before_and_after_it(
    web: Browser, dispatcher: Dispatcher
) -> None:
    [root] = dispatcher.submit("m:f").names
    mine = dispatcher.submit_batch([JobRequest("m:g")], name=f"mid {HOSTILE[:28]}", after=root)
    dispatcher.submit_batch([JobRequest("m:h")], name="last", after=mine, when=When.ALL_SUCCEEDED)
    dispatcher.submit_batch([JobRequest("m:h")], name="also", after=mine.names[0])
    found = web.get(f"{URL}/graph/{mine.names[0]}")
    assert found["batch"] == mine.name
    assert [one["name"] for one in found["before"]["after"]] == [root]
    followers = {one["name"]: one for one in found["after"]["followers"]}
    assert followers.keys() == {"last", "also"}
    assert followers["last"]["waits"] is True
    assert followers["last"]["when"].startswith("all succeeded")
    page = web.html(f"{URL}/graph/{root}")
    assert "<img" not in page
    assert "It waits for nothing" in page
    chain = web.get(f"{URL}/graph/{root}")["after"]["followers"]
    assert [one["name"] for one in chain] == [mine.name]
    assert [one["name"] for one in chain[0]["followers"]] == ["last"]
    web.get(f"{URL}/graph/none", 404)
    assert web.get(f"{URL}/graph/last")["after"]["followers"] == []


@pytest.mark.usefixtures("dispatcher")
def test_a_graph_in_a_circle_ends(web: Browser, zk: Client) -> None:
    for name, after in (("a", "b"), ("b", "a")):
        value = f'{{"jobs": 1, "submitted_ms": 1, "after": "{after}"}}'
        zk.create(f"{ROOT}/batches/{name}", value.encode())
    found = web.get(f"{URL}/graph/a")
    assert found["after"]["followers"][0]["name"] == "b"
    assert found["before"]["after"][0]["name"] == "b"


@pytest.mark.usefixtures("zk")
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_the_history_is_searched_in_its_database(
    server: EmbeddedServer, tmp_path: Path, kind: str
) -> None:
    with ExitStack() as stack:
        url = f"sqlite:///{tmp_path}/results.db"
        if kind == "postgresql":
            url = stack.enter_context(PostgresqlServer()).url
        stores = {"results": url}
        dispatcher = stack.enter_context(
            Dispatcher(server.hosts, ROOT, create=True, result_stores=stores)
        )
        with working(server.hosts, tmp_path):
            jobs = ended(
                dispatcher,
                request("wrong", {"text": HOSTILE}),
                *[request("echo", {"n": n}) for n in range(59)],
            )
        remove_all(dispatcher, "results")
        for known in ({}, {"other": url}):
            with browsing(settings_of(server.hosts, result_stores=known)) as web:
                found = web.get(f"{URL}/history", 503)
                assert "--results results=URL" in found["error"]
        web = stack.enter_context(browsing(settings_of(server.hosts, result_stores=stores)))
        found = web.get(f"{URL}/history")
        assert len(found["jobs"]) == 50
        rest = web.get(f"{URL}/history?after={found['after']}")
        assert rest["after"] is None
        names = [one["job"] for part in (found, rest) for one in part["jobs"]]
        assert sorted(names) == sorted(job.name for job in jobs)
        [bad] = web.get(f"{URL}/history?state=FAILED&error=ValueError")["jobs"]
        assert (bad["job"], bad["attempts"]) == (jobs[0].name, 1)
        assert web.get(f"{URL}/history?since=2999-01-01T00:00")["jobs"] == []
        assert len(web.get(f"{URL}/history?job={quote(jobs[3].name)}")["jobs"]) == 1
        page = web.html(f"{URL}/history?state=FAILED")
        assert "<img" not in page
        assert "\\x1b[31m" in page
        for wrong in ("since=x", "state=PENDING", "after=x"):
            web.get(f"{URL}/history?{wrong}", 400)
        # A page with a chroot finds the same history.
        with browsing(settings_of(f"{server.hosts}/jobs", result_stores=stores)) as inside:
            assert len(inside.get("/c/local/jobs/flights/history?root=/")["jobs"]) == 50


def test_a_database_that_does_not_answer_blocks_nothing(
    server: EmbeddedServer,
    dispatcher: Dispatcher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(histories, "SEARCH_S", 0.3)
    dispatcher.queue.configure(result_store="silent")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql+psycopg://user:secret@127.0.0.1:{silent.getsockname()[1]}/db"
        with browsing(settings_of(server.hosts, result_stores={"silent": url})) as web:
            began = time.monotonic()
            answers: list[Any] = []
            searches = [
                threading.Thread(
                    target=lambda: answers.append(web.get(f"{URL}/history", 503)["error"])
                )
                for _ in range(4)
            ]
            for search in searches:
                search.start()
            assert web.get(f"{URL}/workers")["total"] == 0
            for search in searches:
                search.join(30)
            assert len(answers) == 4, time.monotonic() - began
            assert all("did not search the history within" in one for one in answers)
            assert not any("secret" in one for one in answers)
            # Four threads wait for the database, so no further one does.
            assert "does not answer: 4 searches" in web.get(f"{URL}/history", 503)["error"]
            assert web.get(f"{URL}/workers")["total"] == 0
