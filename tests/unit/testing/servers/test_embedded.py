"""The life of a server in this process: clock, pause, restart, crash, disk, wipe, addresses."""

import asyncio
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooState
from kazoo.exceptions import ConnectionLoss, NoNodeError

from tests.support.rawclient import RawClient
from tests.support.states import States
from tests.support.waiting import WAIT_S, wait_until
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import CreateMode
from zoolet.server.common.errors import ConfigError, ServerError
from zoolet.storage.errors import StorageError
from zoolet.testing import EmbeddedServer, FaultError, OpCode
from zoolet.testing.servers.embedded import LIVING
from zoolet.wire.jute import INT, LONG, pack_acl, pack_buffer, pack_ustring

CONNECTED, SUSPENDED, LOST = KazooState.CONNECTED, KazooState.SUSPENDED, KazooState.LOST


# --- Clock


def test_a_long_timeout_is_over_in_a_moment(
    zookeeper: EmbeddedServer, zookeeper_client: Any
) -> None:
    with RawClient(zookeeper.port) as silent:
        session = silent.connect(timeout_ms=30_000)
        silent.create("/e", flags=CreateMode.EPHEMERAL)
        zookeeper.clock.freeze()
        gone = threading.Event()
        assert zookeeper_client.exists("/e", watch=lambda _: gone.set())
        zookeeper.clock.move(29.9, clients_ping=False)
        zookeeper.inside.assert_path("/e")
        # The other client has asked for 10 s only.
        assert [each.session_id for each in zookeeper.inside.sessions()] == [session.session_id]
        zookeeper.clock.move(0.2)
        zookeeper.inside.assert_path("/e", exists=True)
        zookeeper.clock.move(30.1, clients_ping=False)
        zookeeper.inside.assert_path("/e", exists=False)


def test_a_frozen_clock_expires_nothing(zookeeper: EmbeddedServer) -> None:
    with RawClient(zookeeper.port) as silent:
        silent.connect(timeout_ms=200)
        zookeeper.clock.freeze()
        now_ms = zookeeper.clock.now_ms()
        zookeeper.clock.move(0.1, clients_ping=False)
        assert zookeeper.clock.now_ms() == now_ms + 100
        assert len(zookeeper.inside.sessions()) == 1
        zookeeper.clock.run()
        assert silent.is_closed_by_server()


def test_the_clock_is_not_set_back(zookeeper: EmbeddedServer) -> None:
    with pytest.raises(ValueError, match="cannot be set back"):
        zookeeper.clock.move(-1)
    before_ms = zookeeper.clock.wall_ms()
    zookeeper.clock.move(3600)
    assert zookeeper.clock.wall_ms() >= before_ms + 3_600_000


def test_a_time_to_live_is_over_in_a_moment() -> None:
    ttl_ms = 3_600_000
    body = pack_ustring("/a") + pack_buffer(b"") + pack_acl(OPEN_ACL)
    body += INT.pack(CreateMode.PERSISTENT_WITH_TTL) + LONG.pack(ttl_ms)
    with (
        EmbeddedServer(settings={"extendedTypesEnabled": "true"}) as server,
        RawClient(server.port) as client,
    ):
        client.connect()
        server.clock.freeze()
        assert client.request(OpCode.CREATE_TTL, body).err == 0
        server.clock.move(3599)
        server.inside.assert_path("/a")
        server.clock.move(2)
        server.inside.assert_path("/a", exists=False)


# --- Pause


def test_a_paused_server_answers_when_it_goes_on(
    zookeeper: EmbeddedServer, zookeeper_client: Any
) -> None:
    zookeeper.pause()
    asked = zookeeper_client.create_async("/a")
    with pytest.raises(RuntimeError, match="resume it first"):
        zookeeper.clock.move(1)
    assert not asked.ready()
    zookeeper.resume()
    assert asked.get(timeout=WAIT_S) == "/a"


def test_a_server_pauses_at_a_request(zookeeper: EmbeddedServer, zookeeper_client: Any) -> None:
    paused = zookeeper.faults.on(OpCode.CREATE).pause()
    asked = zookeeper_client.create_async("/a")
    paused.wait()
    assert not asked.ready()
    zookeeper.resume()
    assert asked.get(timeout=WAIT_S) == "/a"


# --- Restart and crash


def test_a_restart_keeps_what_there_was(zookeeper: EmbeddedServer, zookeeper_client: Any) -> None:
    states, before = States(zookeeper_client), zookeeper_client.client_id
    zookeeper_client.create("/a", b"kept")
    zookeeper_client.create("/e", ephemeral=True)
    zookeeper.restart()
    states.wait_for(SUSPENDED, CONNECTED)
    assert zookeeper_client.retry(zookeeper_client.get, "/a")[0] == b"kept"
    zookeeper.inside.assert_path("/e", ephemeral=True)
    assert zookeeper_client.client_id == before


def test_a_crash_loses_what_was_not_synced_and_not_acknowledged(
    zookeeper: EmbeddedServer, zookeeper_client: Any
) -> None:
    zookeeper_client.create("/acknowledged")
    zookeeper.disk.hold_syncs()
    created = zookeeper_client.create_async("/lost")
    zookeeper.disk.wait_for_sync()
    zookeeper.inside.assert_path("/lost")
    zookeeper.kill()
    with pytest.raises(ConnectionLoss):
        created.get(timeout=WAIT_S)
    zookeeper.start()
    assert zookeeper.inside.paths() == ["/acknowledged"]
    assert zookeeper.failure is None


def test_a_clean_stop_loses_nothing(zookeeper: EmbeddedServer, zookeeper_client: Any) -> None:
    zookeeper.disk.hold_syncs()
    zookeeper.disk.sync_takes_s = 0.1
    created = zookeeper_client.create_async("/a")
    zookeeper.disk.wait_for_sync()
    assert zookeeper.stop() == 0
    assert created.get(timeout=WAIT_S) == "/a"
    zookeeper.start()
    zookeeper.inside.assert_path("/a")


def test_what_chance_leaves_of_a_crash_is_the_same_again() -> None:
    def left(seed: int) -> list[str]:
        with EmbeddedServer() as server:
            client = server.client()
            client.start()
            server.disk.hold_syncs()
            client.create_async("/0")
            server.disk.wait_for_sync()
            server.kill(seed=seed)
            client.stop()
            client.close()
            server.start()
            return server.inside.paths()

    found = [left(seed) for seed in range(8)]
    assert found == [left(seed) for seed in range(8)]
    assert [] in found
    assert ["/0"] in found


def test_a_server_crashes_at_a_request(zookeeper: EmbeddedServer, zookeeper_client: Any) -> None:
    states = States(zookeeper_client)
    zookeeper_client.create("/before")
    zookeeper.faults.on(OpCode.CREATE).crash()
    with pytest.raises(ConnectionLoss):
        zookeeper_client.create("/a")
    states.wait_for(SUSPENDED, CONNECTED)
    assert zookeeper.inside.paths() == ["/before"]


def test_session_ids_are_never_given_twice() -> None:
    with EmbeddedServer() as server:
        server.clock.freeze()
        seen = []
        for begin in (server.restart, server.wipe, server.restart, server.wipe):
            with RawClient(server.port) as client:
                seen.append(client.connect().session_id)
            begin()
        assert sorted(set(seen)) == seen


# --- Disk


def test_a_full_disk_ends_the_server_and_loses_nothing(
    zookeeper: EmbeddedServer, zookeeper_client: Any
) -> None:
    states = States(zookeeper_client)
    zookeeper_client.create("/acknowledged", b"x")
    zookeeper.disk.fill()
    with pytest.raises(ConnectionLoss):
        zookeeper_client.create("/a", b"y")
    zookeeper.wait_until_ended()
    assert "No space left on device" in str(zookeeper.failure)
    with pytest.raises(RuntimeError, match="Free disk space or repair the disk"):
        zookeeper.inside.sessions()
    states.wait_for(SUSPENDED)
    zookeeper.disk.mend()
    zookeeper.start()
    states.wait_for(SUSPENDED, CONNECTED)
    zookeeper.inside.assert_path("/acknowledged", b"x")


def test_a_disk_is_full_from_a_request_on(zookeeper: EmbeddedServer, zookeeper_client: Any) -> None:
    zookeeper.faults.on(OpCode.SET_DATA).fill_disk()
    zookeeper_client.create("/a", b"old")
    with pytest.raises(ConnectionLoss):
        zookeeper_client.set("/a", b"new")
    zookeeper.wait_until_ended()
    zookeeper.heal()
    zookeeper.inside.assert_path("/a", b"old")


def test_a_slow_disk_is_waited_for(zookeeper: EmbeddedServer, zookeeper_client: Any) -> None:
    zookeeper.disk.sync_takes_s = 0.01
    assert zookeeper_client.create("/a") == "/a"


def test_a_server_in_a_directory_keeps_its_data_there(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server:
        with RawClient(server.port) as client:
            client.connect()
            client.create("/a", b"kept")
        with pytest.raises(FaultError, match="on this machine's disk"):
            server.disk.fill()
        with pytest.raises(StorageError, match="another server has the data directory"):
            EmbeddedServer(tmp_path).start()
        server.kill()
        server.start()
        server.inside.assert_path("/a", b"kept")
    with EmbeddedServer(tmp_path) as server:
        server.inside.assert_path("/a", b"kept")
        server.wipe()
        server.inside.assert_path("/a", exists=False)


def test_snapshots_are_taken_and_started_from() -> None:
    with EmbeddedServer(settings={"snapCount": 10}) as running, RawClient(running.port) as client:
        client.connect()
        for number in range(35):
            client.create(f"/{number}")

        def has_snapshots() -> bool:
            names = running.disk.list_names(Path("/in-memory/version-2"))
            return len([name for name in names if name.startswith("snapshot")]) >= 2

        wait_until(has_snapshots, "a snapshot beside the first")
        running.restart()
        assert len(running.inside.paths()) == 35


# --- Wipe


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as running:
        yield running


def test_a_wiped_server_is_as_new(server: EmbeddedServer) -> None:
    client = server.client()
    client.start()
    client.create("/a", ephemeral=True)
    client.get("/a", watch=print)
    server.faults.on(OpCode.CREATE, times=None).drop_reply()
    server.faults.partition(client)
    server.open_addresses(3)
    server.clock.freeze()
    server.disk.fill()
    server.wipe()
    inside = server.inside
    assert [inside.paths(), inside.sessions(), inside.requests(), inside.watches()] == [[]] * 4
    assert server.faults.story == ()
    assert server.report() == ""
    assert [address.hosts for address in server.addresses] == [server.hosts]
    with RawClient(server.port) as raw:
        raw.connect()
        assert raw.create("/a").err == 0
    client.stop()
    client.close()


def test_a_client_of_before_is_never_let_in(
    server: EmbeddedServer, caplog: pytest.LogCaptureFixture
) -> None:
    with RawClient(server.port) as raw:
        old = raw.connect()
        server.wipe()
        assert raw.is_closed_by_server()
    with RawClient(server.port) as raw, pytest.raises((EOFError, ConnectionResetError)):
        raw.connect(session_id=old.session_id, password=old.password)
    assert "was opened before the server was wiped" in caplog.text
    assert server.inside.sessions() == []


def test_a_paused_and_a_failed_server_can_be_wiped(server: EmbeddedServer) -> None:
    server.pause()
    server.wipe()
    server.disk.fail_syncs()
    with RawClient(server.port) as raw, pytest.raises((EOFError, ConnectionResetError)):
        raw.connect()
    server.wait_until_ended()
    assert "Input/output error" in str(server.failure)
    server.wipe()
    with RawClient(server.port) as raw:
        assert raw.connect().session_id


# --- Addresses, and asyncio


def test_a_client_moves_to_another_address(
    zookeeper: EmbeddedServer, zookeeper_ensemble_hosts: str
) -> None:
    assert len(set(zookeeper_ensemble_hosts.split(","))) == 3
    client = zookeeper.client(hosts=zookeeper_ensemble_hosts, randomize_hosts=False)
    client.start()
    states = States(client)
    client.create("/e", ephemeral=True)
    zookeeper.addresses[0].stop()
    states.wait_for(SUSPENDED, CONNECTED)
    assert set(client.get_children("/")) == {"e", "zookeeper"}
    zookeeper.restart()
    states.wait_for(SUSPENDED, CONNECTED, SUSPENDED, CONNECTED)
    zookeeper.heal()
    assert LOST not in states.seen
    client.stop()
    client.close()


def test_asyncio_code_may_have_one() -> None:
    async def run() -> bytes:
        async with EmbeddedServer() as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"ruok")
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
            return answer

    assert asyncio.run(run()) == b"imok"


def test_what_cannot_start_says_why(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    with pytest.raises(StorageError, match="cannot make the directory"):
        EmbeddedServer(in_the_way).start()
    with EmbeddedServer() as taken:
        settings = {
            "metricsProvider.className": (
                "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider"
            ),
            "metricsProvider.httpHost": "127.0.0.1",
            "metricsProvider.httpPort": taken.port,
        }
        refused = EmbeddedServer(settings=settings)
        with pytest.raises(ServerError, match="cannot serve metrics"):
            refused.start()
        assert not refused.is_running


def test_a_closed_server_is_closed() -> None:
    server = EmbeddedServer()
    server.start()
    server.close()
    server.close()
    assert server not in LIVING
    with pytest.raises(RuntimeError, match="closed"):
        server.start()


def test_errors_of_zookeeper_are_no_faults(
    zookeeper: EmbeddedServer, zookeeper_client: Any
) -> None:
    with pytest.raises(NoNodeError):
        zookeeper_client.get("/a")
    assert zookeeper.faults.story == ()


def test_a_program_that_closes_nothing_ends_all_the_same() -> None:
    program = """
        import gc
        from zoolet.testing import EmbeddedServer

        for _ in range(2):
            EmbeddedServer().start()
        EmbeddedServer()
        gc.collect()
        paused = EmbeddedServer()
        paused.start()
        client = paused.client()
        client.start()
        paused.pause()
    """
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, "Traceback" in ended.stderr) == (0, False)


def test_a_setting_that_is_none_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with EmbeddedServer(settings={"no.such.key": 1}):
        assert "no.such.key is not a known key and is ignored" in caplog.text
    with pytest.raises(ConfigError, match="tickTime=often is not a whole number"):
        EmbeddedServer(settings={"tickTime": "often"})
