"""``make web``'s program: the page shows the running jobs, and Ctrl-C ends all that it started."""

import contextlib
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.crash.test_flights import QUEUE, Run
from tests.support.waiting import WAIT_S, wait_until

JSON = {"Accept": "application/json"}
START = re.compile(
    r"The page:  (?P<url>http://127\.0\.0\.1:\d+/)\n"
    r"Log in:    name (?P<name>\w+), password (?P<password>\S+)\n"
    r"The queue: (?P<queue>\S+)\nThe logs:  (?P<logs>.*)\n"
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def start_of(process: "subprocess.Popen[str]") -> re.Match[str]:
    """Read the output up to its last line before the first Ctrl-C; return what it says."""
    assert process.stdout is not None
    output = ""
    for line in process.stdout:
        output += line
        if line.startswith("Ctrl-C"):
            break
    found = START.search(output)
    assert found is not None, output
    return found


@contextlib.contextmanager
def logged_in(found: re.Match[str]) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=found["url"], timeout=WAIT_S, headers=JSON) as client:
        assert client.get("/").status_code == 401
        token = client.get("/login").json()["csrf"]
        fields = {"csrf": token, "name": found["name"], "password": found["password"]}
        answer = client.post("/login", data=fields)
        assert answer.status_code == 200, answer.text
        client.headers["X-CSRF-Token"] = answer.json()["csrf"]
        yield client


def children_of(parent: int) -> list[int]:
    """Return the processes that a process has started, also those that were started by them."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [pid for child in map(int, children) for pid in (child, *children_of(child))]


def stop(process: "subprocess.Popen[str]", number: signal.Signals) -> str:
    """End the program; all that it started has ended, too. Return what it prints last."""
    pids = children_of(process.pid)
    assert len(pids) >= 3  # two workers and the page
    process.send_signal(number)
    output, _ = process.communicate(timeout=2 * WAIT_S)
    assert process.returncode == 0, output
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    return output


def test_the_page_shows_the_jobs_and_an_editor_can_change_something(run: Run) -> None:
    with run.started("flights_web.py", "--port", "0") as process:
        found = start_of(process)
        assert all(Path(log).exists() for log in found["logs"].split())
        assert (run.directory / "web-users").stat().st_mode & 0o077 == 0
        with logged_in(found) as client:
            done = f"/c/local/children?path={QUEUE}/done"
            wait_until(lambda: client.get(done).json()["total"] >= 12, "twelve jobs are done")
            made = client.post("/c/local/create", data={"parent": "/", "name": "mine"})
            assert made.json() == {"path": "/mine"}
        with run.started("flights_web.py") as second:
            output, _ = second.communicate(timeout=WAIT_S)
            assert second.returncode == 1
            assert f"make web is running in this directory: {found['url']}" in output
        assert "Everything that was started here is stopped." in stop(process, signal.SIGINT)
    assert not (run.directory / "web-users").exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", run.port))
    # The next run has the data of this one, and another password. Another program uses its port.
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        with run.started("flights_web.py", "--port", port) as process:
            again = start_of(process)
            assert f":{port}/" not in again["url"]
            assert again["password"] != found["password"]
            with logged_in(again) as client:
                assert client.get("/c/local/tree?path=/mine").status_code == 200
            stop(process, signal.SIGTERM)


def test_a_server_that_cannot_start_is_explained(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        run.conf.write_text(run.conf.read_text().replace(f"={run.port}\n", f"={port}\n"))
        with run.started("flights_web.py") as process:
            output, _ = process.communicate(timeout=2 * WAIT_S)
    assert process.returncode == 1
    assert "zkServer.sh start" in output
    assert "Traceback" not in output
