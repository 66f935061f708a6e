"""``make run``'s program with a worker killed in the middle: the same answer, each job once."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient

from tests.support.waiting import WAIT_S
from zoolet.testing import ReservedPort

PROJECT = Path(__file__).parents[2]
QUEUE = "/jobs/flights"


class Run:
    """The program, on a server and a data directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._reserved_port = ReservedPort()
        self.port = self._reserved_port.number
        self.conf = directory / "zoo.cfg"
        self.conf.write_text(
            f"tickTime=500\ndataDir={directory}/data\nclientPort={self.port}\n"
            "clientPortAddress=127.0.0.1\npreAllocSize=64\n"
        )

    @contextlib.contextmanager
    def started(
        self, program: str = "flights.py", *options: str
    ) -> Iterator["subprocess.Popen[str]"]:
        command = (sys.executable, str(PROJECT / "examples" / program), *options)
        with subprocess.Popen(
            [*command, *("--conf", self.conf), *("--queue", QUEUE), *("--logs", self.directory)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.terminate()

    @contextlib.contextmanager
    def client(self) -> Iterator[Any]:
        client = KazooClient(hosts=f"127.0.0.1:{self.port}")
        client.start(timeout=2 * WAIT_S)
        yield client
        client.stop()
        client.close()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def output_of(process: "subprocess.Popen[str]") -> str:
    output, _ = process.communicate(timeout=2 * WAIT_S)
    assert process.returncode == 0, output
    return output


def kill_a_worker_in_the_middle(client: Any) -> None:
    """Kill the worker of a job that is owned, once some jobs are done and some are not."""
    deadline = time.monotonic() + 2 * WAIT_S
    while time.monotonic() < deadline:
        with contextlib.suppress(Exception):
            owned = client.get_children(f"{QUEUE}/owned")
            if owned and 1 <= len(client.get_children(f"{QUEUE}/done")) < 12:
                job = json.loads(client.get(f"{QUEUE}/owned/{owned[0]}")[0])
                worker = json.loads(client.get(f"{QUEUE}/workers/{job['worker']}")[0])
                os.kill(worker["pid"], signal.SIGKILL)
                return
        time.sleep(0.005)
    raise AssertionError("no moment came at which a job was owned and some were done")


def done_jobs(client: Any) -> list[dict[str, Any]]:
    return [
        json.loads(client.get(f"{QUEUE}/done/{name}")[0])
        for name in client.get_children(f"{QUEUE}/done")
    ]


def test_a_worker_killed_in_the_middle_costs_nothing(run: Run) -> None:
    with run.started() as process:
        with run.client() as client:
            kill_a_worker_in_the_middle(client)
        output = output_of(process)
    assert "The same figures computed directly from the whole file agree." in output
    assert "336,776" in output
    assert "12 of 12 jobs were answered from stored results" in output
    # The next run starts from the same data directory.
    with run.started() as process:
        output = output_of(process)
    assert "holds 24 finished jobs of earlier runs" in output
    assert "found their month in a worker's cache" in output
    assert paste_next_steps(output).count("SUCCESSFUL") >= 12
    with zoolet_server(run), run.client() as client:
        # A third run finds the server running, uses it, and leaves it running.
        with run.started() as process:
            output = output_of(process)
        assert "The server runs already" in output
        assert paste_next_steps(output).count("SUCCESSFUL") >= 12
        jobs = done_jobs(client)
        assert client.get_children(f"{QUEUE}/unowned") == []
        assert client.get_children(f"{QUEUE}/owned") == []
    assert len(jobs) == 72
    by_work: dict[str, list[str]] = {}
    for job in jobs:
        assert job["state"] == "SUCCESSFUL"
        by_work.setdefault(job["key"], []).append(job["submission"])
    # 12 months and 2 questions, each asked again in each of 3 runs.
    assert [len(submissions) for submissions in by_work.values()] == [3] * 24
    assert len({job["submission"] for job in jobs}) == 72
    errors = [error["message"] for job in jobs for error in job["errors"]]
    assert len(errors) >= 1
    assert all("was lost" in error for error in errors)


def paste_next_steps(output: str) -> str:
    """Run the commands that the program printed at its end, and return what they print."""
    commands = output.split("\nNext steps: ")[1].partition("\n")[2]
    pasted = subprocess.run(
        ["bash", "-euc", commands],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=2 * WAIT_S,
        check=False,
    )
    assert pasted.returncode == 0, pasted.stdout
    return pasted.stdout


@contextlib.contextmanager
def zoolet_server(run: Run) -> Iterator[None]:
    zk_server = Path(sys.executable).parent / "zkServer.sh"
    subprocess.run([zk_server, "start", run.conf], check=True, capture_output=True, timeout=60)
    yield
    subprocess.run([zk_server, "stop", run.conf], check=True, capture_output=True, timeout=60)


def test_interrupting_stops_everything(run: Run) -> None:
    with run.started() as process:
        with run.client() as client:
            deadline = time.monotonic() + 2 * WAIT_S
            while not (client.exists(f"{QUEUE}/owned") and client.get_children(f"{QUEUE}/owned")):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            pids = [
                json.loads(client.get(f"{QUEUE}/workers/{name}")[0])["pid"]
                for name in client.get_children(f"{QUEUE}/workers")
            ]
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=2 * WAIT_S)
        assert process.returncode == 143
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", run.port))
