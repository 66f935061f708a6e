"""Servers in processes of their own: in memory or on disk, paused, killed, on reserved ports."""

import socket
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooState

from tests.support.states import WAIT_S, States
from zoolet.testing import ApacheServer, ReservedPort, ServerProcess
from zoolet.testing.apache import missing_for_apache
from zoolet.testing.servers import ADDRESS


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
    with pytest.raises(RuntimeError, match="zoolet serves one machine"):
        server.start()
    assert not server.is_running


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
