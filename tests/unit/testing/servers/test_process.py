"""Servers in processes of their own: in memory or on disk, paused, killed, on reserved ports."""

import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
import trustme
from kazoo.client import KazooState

from tests.support.states import States
from tests.support.waiting import WAIT_S, wait_until
from zoolet.testing import ApacheServer, ReservedPort, ServerProcess
from zoolet.testing.servers.apache import missing_for_apache
from zoolet.testing.servers.base import ADDRESS


def test_a_process_without_a_directory_keeps_its_data_in_memory() -> None:
    with ServerProcess() as server:
        directory, client = server.directory, server.client()
        client.start()
        client.create("/a", b"x")
        assert client.get("/a")[0] == b"x"
        client.stop()
        client.close()
        assert [path.name for path in directory.iterdir()] == ["server.log", "zoo.cfg"]
        assert server.stop() == 0
        server.start()
        assert server.ask("srvr").endswith("Node count: 5\n")
    del server
    assert not directory.exists()


def test_a_paused_process_answers_when_it_goes_on(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server:
        client = server.client()
        client.start()
        server.pause()
        asked = client.create_async("/a")
        assert not asked.ready()
        server.resume()
        assert asked.get(timeout=WAIT_S) == "/a"
        states = States(client)
        server.kill()
        assert not server.is_running
        with pytest.raises(RuntimeError, match="start it first"):
            server.stop()
        server.start()
        states.wait_for(KazooState.SUSPENDED, KazooState.CONNECTED)
        client.stop()
        client.close()


def test_a_process_that_cannot_start_says_why(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, {"server.1": "a:1:2", "server.2": "b:1:2"})
    with pytest.raises(RuntimeError, match="zoolet supports only one server"):
        server.start()
    assert not server.is_running


IN_WITH = "with ServerProcess(directory) as server: show(server.pid)"
IN_MEMORY = "server = ServerProcess(); server.start(); show(server.pid)"
IN_BACKGROUND = """
server = ServerProcess(directory)
server.run_command("start")
show(int((directory / "data" / "zookeeper_server.pid").read_text()))
"""


@pytest.mark.parametrize(
    ("how", "number"),
    [
        (IN_WITH, signal.SIGTERM),
        (IN_WITH, signal.SIGINT),
        (IN_WITH, signal.SIGKILL),
        (IN_MEMORY, signal.SIGTERM),
        (IN_MEMORY, signal.SIGKILL),
        (IN_BACKGROUND, signal.SIGTERM),
        (IN_BACKGROUND, signal.SIGKILL),
    ],
)
def test_a_server_does_not_outlive_the_run_of_pytest(
    tmp_path: Path, how: str, number: signal.Signals
) -> None:
    test = tmp_path / "test_it.py"
    body = textwrap.indent(how.strip(), "    ")
    test.write_text(
        "import sys, threading\n"
        "from pathlib import Path\n"
        "from zoolet.testing import ServerProcess\n"
        "def show(pid):\n"
        "    print('\\npid', pid, flush=True)\n"
        "    threading.Event().wait()\n"
        "def test_it(tmp_path):\n"
        "    directory = tmp_path / 'server'\n"
        f"{body}\n"
    )
    command = [sys.executable, "-m", "pytest", "-s", "-p", "no:cacheprovider", str(test)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as running:
        assert running.stdout is not None
        (pid,) = [int(line.split()[1]) for line in lines_until(running.stdout, "pid ")]
        server = os.pidfd_open(pid)
        try:
            running.send_signal(number)
            assert select.select([server], [], [], WAIT_S)[0], "the server still runs"
        finally:
            running.kill()
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(server, signal.SIGKILL)
            os.close(server)


def lines_until(stream: IO[str], beginning: str) -> list[str]:
    """Return the first line that begins so, or nothing if the stream ends before."""
    return [next(line for line in stream if line.startswith(beginning))]


def test_a_server_lives_on_after_the_thread_that_started_it(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path)
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join(WAIT_S)
    assert server.ask("ruok") == "imok"
    server.kill()


@pytest.fixture
def secure_settings(tmp_path: Path) -> Iterator[dict[str, object]]:
    """What opens the secure port."""
    authority = trustme.CA()
    trust_store, key_store = tmp_path / "authority.pem", tmp_path / "server.pem"
    authority.cert_pem.write_to_path(trust_store)
    authority.issue_cert(ADDRESS).private_key_and_cert_chain_pem.write_to_path(key_store)
    port = ReservedPort()
    yield {
        "secureClientPort": port.number,
        "secureClientPortAddress": ADDRESS,
        "ssl.keyStore.location": key_store,
        "ssl.trustStore.location": trust_store,
    }
    port.release()


def test_every_port_is_open_once_a_server_has_started(
    tmp_path: Path, secure_settings: dict[str, object]
) -> None:
    secure_port = int(str(secure_settings["secureClientPort"]))
    with ServerProcess(tmp_path / "server", secure_settings) as server:
        for _ in range(5):
            for port in (secure_port, server.port):
                socket.create_connection((ADDRESS, port), timeout=5).close()
            server.restart()


def test_a_server_that_never_opens_the_secure_port_has_not_started(
    tmp_path: Path, secure_settings: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the server listens on another port than the one that is waited for."""
    monkeypatch.setattr(ServerProcess, "_start_timeout_s", 2.0)
    server = ServerProcess(tmp_path / "server", secure_settings)
    text = server.config_path.read_text()
    server.config_path.write_text(re.sub(r"(?m)^(secure|ssl).*\n", "", text))
    with pytest.raises(TimeoutError, match="does not serve"):
        server.start()
    assert not server.is_running


def test_the_client_port_is_opened_last(tmp_path: Path, secure_settings: dict[str, object]) -> None:
    """Whoever sees it open may rely on the others."""
    with ServerProcess(tmp_path / "server", secure_settings) as server:
        # The line is written when the port is open.
        wait_until(lambda: re.search(r"listening for .*\n", server.log) is not None, "the line")
        (line,) = [line for line in server.log.splitlines() if "listening for" in line]
    users = [part.rsplit(" ", 1)[0] for part in line.rpartition("listening for ")[2].split(", ")]
    assert users[-2:] == ["TLS clients", "clients"]


def test_a_reserved_port_is_its_owners() -> None:
    port = ReservedPort()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((ADDRESS, port.number), timeout=5)
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((ADDRESS, port.number))
    with socket.create_server((ADDRESS, port.number)):
        socket.create_connection((ADDRESS, port.number), timeout=5).close()
    port.release()
    with socket.socket() as other:
        other.bind((ADDRESS, port.number))


def test_what_apache_needs_is_said(tmp_path: Path) -> None:
    assert "libzookeeper-java" in str(missing_for_apache(tmp_path))
    with pytest.raises(RuntimeError, match="no Apache ZooKeeper in"):
        ApacheServer(tmp_path, jars=tmp_path)


def test_apache_is_of_the_same_family(apache: Any) -> None:
    client = apache.client()
    client.start()
    apache.pause()
    asked = client.create_async("/a")
    assert not asked.ready()
    apache.resume()
    assert asked.get(timeout=WAIT_S) == "/a"
    client.stop()
    client.close()
