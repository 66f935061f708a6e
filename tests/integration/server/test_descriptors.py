"""A real server with few descriptors: no client takes one for ever, and files have theirs."""

import resource
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.limited import LimitedServer
from tests.support.loops import reset
from tests.support.rawclient import RawClient
from tests.support.waiting import wait_until
from zoolet.model.codes import OpCode
from zoolet.testing import ReservedPort
from zoolet.wire.jute import INT, pack_buffer, pack_ustring

NUM_HEALTH_CHECKS = 1600
FEW = 128

Leave = Callable[[socket.socket], None]


def send_half_and_reset(client: socket.socket) -> None:
    client.sendall(b"\0\0")
    reset(client)


LEAVING: dict[str, Leave] = {
    "reset": reset,
    "half a request, reset": send_half_and_reset,
    "close": socket.socket.close,
}


@contextmanager
def running(server: LimitedServer) -> Iterator[LimitedServer]:
    with server:
        yield server


@pytest.mark.parametrize("has_uvloop", [True, False])
@pytest.mark.parametrize("leaving", LEAVING)
def test_health_checks_leak_nothing(tmp_path: Path, leaving: str, *, has_uvloop: bool) -> None:
    settings = {"4lw.commands.whitelist": "*"}
    with running(LimitedServer(tmp_path / "s", settings, has_uvloop=has_uvloop)) as server:
        with RawClient(server.port) as first:
            first.connect()
            assert first.create("/first").err == 0  # from now on it has its log open
        assert server.ask("ruok") == "imok"
        wait_until(lambda: "num_alive_connections\t1" in server.ask("mntr"), "the first's end")
        before = server.num_descriptors
        # While the server stands still, the clients come and go: it accepts what is over.
        server.pause()
        for _ in range(NUM_HEALTH_CHECKS):
            LEAVING[leaving](socket.create_connection(("127.0.0.1", server.port), 10))
        server.resume()
        assert server.ask("ruok") == "imok"
        with RawClient(server.port) as client:
            client.connect()
            assert client.create("/a").err == 0
        wait_until(lambda: server.num_descriptors <= before, "the end of all connections")
        lines = server.log.splitlines()
        assert not [line for line in lines if "Traceback" in line]
        assert len(lines) < 50
        if leaving != "close":
            assert [line for line in lines if "was reset before it was served" in line]


def write(client: RawClient, number: int) -> int:
    data = pack_ustring("/a") + pack_buffer(b"%d" % number) + INT.pack(-1)
    return client.request(OpCode.SET_DATA, data).err


def fill(server: LimitedServer, opened: ExitStack, *, with_sessions: bool) -> int:
    """Connect until the server refuses; returns how many it has accepted."""
    for number in range(2 * FEW):
        client = opened.enter_context(RawClient(server.port))
        if not with_sessions:
            client.socket.sendall(b"\0\0\0")  # the beginning of a request
            continue
        try:
            client.connect(timeout_ms=40_000)
        except (EOFError, ConnectionError):
            return number
    return 2 * FEW


@pytest.mark.parametrize("has_uvloop", [True, False])
@pytest.mark.parametrize("with_sessions", [True, False])
def test_a_server_without_descriptors_writes_its_logs(
    tmp_path: Path, *, has_uvloop: bool, with_sessions: bool
) -> None:
    admin = ReservedPort()
    settings = {
        "maxClientCnxns": 0,
        "snapCount": 20,
        "preAllocSize": 64,
        "admin.enableServer": "true",
        "admin.serverPort": admin.number,
        "4lw.commands.whitelist": "*",
        "nio.sessionlessCnxnTimeout": 600_000,
    }
    server = LimitedServer(tmp_path / "s", settings, descriptors=FEW, has_uvloop=has_uvloop)
    logs = server.directory / "data" / "version-2"
    with running(server), RawClient(server.port) as writer:
        writer.connect(timeout_ms=40_000)
        assert writer.create("/a").err == 0
        with ExitStack() as opened:
            accepted = fill(server, opened, with_sessions=with_sessions)
            wait_until(lambda: "file descriptors are used up" in server.log, "the warning")
            assert accepted > FEW // 2
            before = {file.name for file in logs.glob("log.*")}
            assert [write(writer, number) for number in range(300)] == [0] * 300
            wait_until(
                lambda: len({file.name for file in logs.glob("log.*")} - before) > 3, "new logs"
            )
            wait_until(lambda: len(list(logs.glob("snapshot.*"))) > 3, "new snapshots")
            # An operator can look at it.
            url = f"http://127.0.0.1:{admin.number}/commands/ruok"
            with urllib.request.urlopen(url, timeout=10) as answer:
                assert answer.status == 200
        wait_until(lambda: server.num_descriptors < FEW // 2, "the end of the connections")
        with RawClient(server.port) as later:
            later.connect()
            assert later.create("/b").err == 0
        wait_until(lambda: "LimitNOFILE" in server.log, "what to do about it")
        assert server.log.count("file descriptors are used up") < 10
        assert server.stop() == 0
    admin.release()


@pytest.mark.parametrize("has_uvloop", [True, False])
def test_a_limit_that_is_lowered_refuses_the_newest_and_recovers(
    tmp_path: Path, *, has_uvloop: bool
) -> None:
    with (
        running(LimitedServer(tmp_path / "s", descriptors=FEW, has_uvloop=has_uvloop)) as server,
        RawClient(server.port) as writer,
    ):
        writer.connect(timeout_ms=40_000)
        assert writer.create("/a").err == 0
        highest = max(int(entry.name) for entry in Path(f"/proc/{server.pid}/fd").iterdir())
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (highest + 1, FEW))
        with ExitStack() as opened:
            while "no file descriptor left" not in server.log:
                client = opened.enter_context(RawClient(server.port))
                client.socket.settimeout(0.2)
                with suppress(TimeoutError):
                    client.is_closed_by_server()
            assert client.is_closed_by_server()
        assert [write(writer, number) for number in range(5)] == [0] * 5
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (FEW, FEW))
        with RawClient(server.port) as later:
            later.connect()
            assert later.create("/b").err == 0
        assert server.stop() == 0


def test_many_that_connect_at_once_are_all_served(tmp_path: Path) -> None:
    """The kernel's queue is emptied in bounded steps, and nobody in it is forgotten."""
    num_clients = 500
    served: list[int] = []

    def connect(client: RawClient) -> None:
        client.connect(timeout_ms=40_000)
        served.append(1)

    with (
        running(LimitedServer(tmp_path / "s", {"maxClientCnxns": 0})) as server,
        ExitStack() as opened,
    ):
        server.pause()
        clients = [opened.enter_context(RawClient(server.port)) for _ in range(num_clients)]
        server.resume()
        threads = [threading.Thread(target=connect, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(served) == num_clients
