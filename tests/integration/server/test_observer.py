"""An observer of a real Apache ensemble: what clients see, and what happens when servers end.

The tests share one ensemble, in the order of the file: those that end members come last.
"""

import contextlib
import json
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import NodeExistsError, NoNodeError, NotReadOnlyCallError
from kazoo.protocol.states import KeeperState

from tests.support.ensemble import ApacheEnsemble, new_observer
from tests.support.proxy import Proxy
from tests.support.rawclient import RawClient
from tests.support.waiting import wait_until
from zoolet.model.codes import CreateMode, OpCode
from zoolet.testing import ReservedPort, ServerProcess
from zoolet.wire.jute import INT, pack_buffer, pack_ustring

MY_ID = 101


SUPER = {"DigestAuthenticationProvider.superDigest": "super:D/InIHSb7yEEbrWz8b9l71RjZJU="}
"""The digest of ``super:test``."""

PROMETHEUS = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider"

MOST_IN_DIFF = 500
"""A leader without ``snapshotSizeFactor`` sends a snapshot to an observer that lacks more txns."""


@pytest.fixture(scope="module")
def ensemble(
    tmp_path_factory: pytest.TempPathFactory, apache_jars: Path
) -> Iterator[ApacheEnsemble]:
    """Three Apache members."""
    directory = tmp_path_factory.mktemp("ensemble")
    settings = {"snapshotSizeFactor": -1, "reconfigEnabled": "true", **SUPER}
    with ApacheEnsemble(directory, apache_jars, 128, settings) as running:
        yield running


@pytest.fixture(scope="module")
def observer(
    tmp_path_factory: pytest.TempPathFactory, ensemble: ApacheEnsemble
) -> Iterator[ServerProcess]:
    """A running observer of the ensemble; it must log no traceback."""
    directory = tmp_path_factory.mktemp("observer")
    ports = {key: ReservedPort() for key in ("admin.serverPort", "metricsProvider.httpPort")}
    settings = {
        "readonlymode.enabled": "true",
        "admin.enableServer": "true",
        "metricsProvider.className": PROMETHEUS,
        **{key: port.number for key, port in ports.items()},
        **SUPER,
    }
    with new_observer(directory, ensemble, MY_ID, settings) as running:
        yield running
    assert "Traceback" not in running.log, running.log


@pytest.fixture
def client(observer: ServerProcess) -> Iterator[Any]:
    """A client of the observer."""
    started = observer.client(timeout=8.0)
    started.start(timeout=10)
    yield started
    started.stop()
    started.close()


@pytest.fixture
def member(ensemble: ApacheEnsemble) -> Iterator[Any]:
    """A client of the members."""
    started = KazooClient(hosts=ensemble.hosts, timeout=8.0)
    started.start(timeout=10)
    yield started
    started.stop()
    started.close()


def test_an_observer_shows_what_it_is(observer: ServerProcess) -> None:
    answer = observer.ask("srvr")
    assert "Mode: observer\n" in answer
    assert "Leader: 127.0.0.1:" in answer
    assert "Lag: 0\n" in answer
    assert "Release min/avg/max: 0/" in answer
    status = observer.run_command("status").stdout
    assert "Mode: observer\nLeader: 127.0.0.1:" in status
    assert "Release min/avg/max: " in status
    figures = dict(line.split("\t") for line in observer.ask("mntr").splitlines())
    assert figures["zk_server_state"] == "observer"
    assert figures["zk_leader_address"].startswith("127.0.0.1:")
    assert (figures["zk_following_leader"], figures["zk_leader_lag"]) == ("1", "0")
    assert "serverId=101\n" in observer.ask("conf")
    assert "peerType=1\n" in observer.ask("conf")
    assert observer.ask("isro") == "rw"


def page_of(observer: ServerProcess, key: str, path: str) -> str:
    """Return a page of the admin endpoint or of the metrics; ``key`` has the port in zoo.cfg."""
    port = observer.config.settings[key]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return str(answer.read().decode())


def test_the_admin_endpoint_and_the_metrics_show_the_leader(
    observer: ServerProcess, ensemble: ApacheEnsemble
) -> None:
    leader = json.loads(page_of(observer, "admin.serverPort", "/commands/leader"))
    number = leader["leader_id"]
    assert ensemble.members[number - 1] is ensemble.leader()
    assert ensemble.servers[f"server.{number}"].startswith(leader["leader_address"])
    assert (leader["leader_ip"], leader["is_leader"], leader["lag"]) == ("127.0.0.1", False, 0)
    stats = json.loads(page_of(observer, "admin.serverPort", "/commands/server_stats"))
    assert stats["server_stats"]["server_state"] == "observer"
    state = json.loads(page_of(observer, "admin.serverPort", "/commands/zabstate"))
    assert (state["voting"], state["zabstate"]) == (False, "broadcast")
    metrics = page_of(observer, "metricsProvider.httpPort", "/metrics").splitlines()
    assert "following_leader 1.0" in metrics
    assert "leader_lag 0.0" in metrics
    assert f'leader_info{{address="{leader["leader_address"]}"}} 1.0' in metrics
    assert any(line.startswith("release_time_count ") for line in metrics)


def test_clients_of_an_observer_read_and_write(client: Any, member: Any) -> None:
    assert client.create("/w/a", b"1", makepath=True) == "/w/a"
    with pytest.raises(NodeExistsError):
        client.create("/w/a")
    with pytest.raises(NoNodeError):
        client.set("/w/none", b"")
    assert client.create("/w/s-", sequence=True) == "/w/s-0000000001"
    batch = client.transaction()
    batch.check("/w/a", 0)
    batch.set_data("/w/a", b"2")
    batch.create("/w/m")
    assert [type(result).__name__ for result in batch.commit()] == ["bool", "ZnodeStat", "str"]
    member.sync("/")
    assert member.get("/w/a")[0] == b"2"
    member.set("/w/a", b"3")
    client.sync("/w")
    data, stat = client.get("/w/a")
    assert (data, stat.version) == (b"3", 2)
    assert client.get("/w/a")[1] == member.get("/w/a")[1]


def test_watches_of_an_observer_see_changes_at_the_members(client: Any, member: Any) -> None:
    seen = threading.Event()
    client.ensure_path("/watched")
    client.get_children("/watched", watch=lambda _event: seen.set())
    member.sync("/")
    member.create("/watched/child")
    assert seen.wait(10)
    assert client.get_children("/watched") == ["child"]


def test_an_ephemeral_ends_with_its_session(observer: ServerProcess, member: Any) -> None:
    owner = observer.client(timeout=8.0)
    owner.start(timeout=10)
    owner.create("/mine", ephemeral=True)
    member.sync("/")
    assert member.exists("/mine").ephemeralOwner == owner.client_id[0]
    assert owner.client_id[0] >> 56 == MY_ID
    owner.stop()
    owner.close()
    member.sync("/")
    assert member.exists("/mine") is None


def test_a_session_moves_between_a_member_and_the_observer(
    observer: ServerProcess, ensemble: ApacheEnsemble, member: Any
) -> None:
    port = ensemble.leader().port
    with RawClient(port) as first, RawClient(observer.port) as moved, RawClient(port) as back:
        session = first.connect()
        assert first.create("/moving", b"", CreateMode.EPHEMERAL).err == 0
        found = moved.connect(4000, session.session_id, session.password)
        assert found.session_id == session.session_id
        body = pack_ustring("/moving") + pack_buffer(b"moved") + INT.pack(-1)
        assert moved.request(OpCode.SET_DATA, body).err == 0
        assert back.connect(4000, session.session_id, session.password).timeout_ms > 0
        assert back.request(OpCode.SET_DATA, body).err == 0
        # The session has moved away, so the observer's next write for it must not succeed.
        moved.send(OpCode.SET_DATA, body)
        assert moved.is_closed_by_server()
        assert back.request(OpCode.CLOSE_SESSION).err == 0
    member.sync("/")
    assert member.exists("/moving") is None


def test_a_frozen_observer_does_not_answer_for_an_expired_session(
    observer: ServerProcess, member: Any
) -> None:
    owner = observer.client(timeout=1.0)
    lost = threading.Event()
    owner.add_listener(lambda state: lost.set() if state == KazooState.LOST else None)
    owner.start(timeout=10)
    owner.create("/frozen", ephemeral=True)
    session_id = owner.client_id[0]
    observer.pause()
    wait_until(lambda: member.exists("/frozen") is None, "the end of the session")
    observer.resume()
    assert lost.wait(10)
    wait_until(lambda: owner.state == KazooState.CONNECTED, "a new session")
    assert owner.client_id[0] != session_id
    owner.stop()
    owner.close()


# --- The link


@pytest.fixture(scope="module")
def links(ensemble: ApacheEnsemble) -> Iterator[dict[str, Proxy]]:
    """A proxy for the quorum port of each member, by the key of its line."""
    with contextlib.ExitStack() as started:
        yield {
            key: started.enter_context(Proxy(int(line.split(":")[1])))
            for key, line in ensemble.servers.items()
        }


@pytest.fixture(scope="module")
def far_observer(
    tmp_path_factory: pytest.TempPathFactory, ensemble: ApacheEnsemble, links: dict[str, Proxy]
) -> Iterator[ServerProcess]:
    """An observer whose links to the members a test can cut."""
    lines = {key: f"{proxy.hosts}:1" for key, proxy in links.items()}
    directory = tmp_path_factory.mktemp("far")
    with new_observer(directory, ensemble, 104, lines) as running:
        yield running
    assert "Traceback" not in running.log, running.log


@contextlib.contextmanager
def cut_off(links: dict[str, Proxy]) -> Iterator[None]:
    """Let no member reach the observer."""
    with contextlib.ExitStack() as cut:
        for proxy in links.values():
            cut.enter_context(proxy.cut_off())
        yield


def test_a_session_outlives_the_link(far_observer: ServerProcess, links: dict[str, Proxy]) -> None:
    client = far_observer.client(timeout=8.0)
    client.start(timeout=10)
    client.create("/linked", ephemeral=True)
    session_id = client.client_id[0]
    for proxy in links.values():
        proxy.cut()
    client.retry(client.set, "/linked", b"again")
    assert client.client_id[0] == session_id
    client.stop()
    client.close()


def test_a_long_interruption_ends_with_a_snapshot(
    far_observer: ServerProcess, links: dict[str, Proxy], member: Any
) -> None:
    client = far_observer.client(timeout=8.0)
    client.start(timeout=10)
    client.ensure_path("/snapshot")
    installed = far_observer.log.count("the leader's snapshot replaces the database")
    with cut_off(links):
        wait_until(lambda: "Leader: none" in far_observer.ask("srvr"), "the end of the link")
        created = [
            member.create_async(f"/snapshot/{number}") for number in range(MOST_IN_DIFF + 100)
        ]
        for each in created:
            each.get(10)
    wait_until(lambda: "Leader: 127" in far_observer.ask("srvr"), "a new link")
    assert len(client.retry(client.get_children, "/snapshot")) == MOST_IN_DIFF + 100
    found = far_observer.log.count("the leader's snapshot replaces the database")
    assert found == installed + 1
    client.set("/snapshot/1", b"after it")
    client.stop()
    client.close()


def number_of_a_follower(ensemble: ApacheEnsemble) -> int:
    leader = ensemble.leader()
    return next(number for number, each in enumerate(ensemble.members, 1) if each is not leader)


def test_a_reconfig_reaches_the_observer(observer: ServerProcess, ensemble: ApacheEnsemble) -> None:
    """A client of the observer removes a follower; the observer proves that it is ``super``."""
    client = observer.client(timeout=8.0)
    client.start(timeout=10)
    client.add_auth("digest", "super:test")
    follower = number_of_a_follower(ensemble)
    line = ensemble.servers[f"server.{follower}"]
    data, _ = client.reconfig(joining=None, leaving=str(follower), new_members=None)
    assert f"server.{follower}=".encode() not in data
    assert client.get("/zookeeper/config")[0] == data
    client.ensure_path("/after-reconfig")
    port = ensemble.members[follower - 1].port
    joining = f"server.{follower}={line}:participant;127.0.0.1:{port}"
    data, _ = client.reconfig(joining=joining, leaving=None, new_members=None)
    assert f"server.{follower}=".encode() in data
    client.ensure_path("/after-the-second")
    client.stop()
    client.close()


# --- What is refused


def test_an_observer_must_not_have_a_voters_id(tmp_path: Path, ensemble: ApacheEnsemble) -> None:
    """zoo.cfg does not say that the member votes; the leader does."""
    number = number_of_a_follower(ensemble)
    voter = new_observer(tmp_path / "voter", ensemble, number)
    lines = voter.config_path.read_text().splitlines()
    kept = [line for line in lines if not line.startswith(f"server.{number}")]
    voter.config_path.write_text("\n".join(kept) + "\n")
    # The server starts before it finds the leader, if there is none at this moment.
    with contextlib.suppress(RuntimeError), voter:
        wait_until(lambda: not voter.is_running, "the end of the server")
    assert f"server.{number} is a participant, which votes" in voter.log


def test_standalone_history_is_not_discarded_without_a_word(
    tmp_path: Path, ensemble: ApacheEnsemble
) -> None:
    directory = tmp_path / "server"
    with ServerProcess(directory) as standalone:
        client = standalone.client()
        client.start(timeout=10)
        client.create("/precious", b"data")
        client.stop()
        client.close()
        standalone.stop()
    observer = new_observer(directory, ensemble, my_id=102)
    with pytest.raises(RuntimeError, match="has the data of a standalone server"):
        observer.start()
    command = [*observer._server_command("start-foreground"), "--discard-local-data"]
    observer._command = lambda: command  # type: ignore[method-assign]
    with observer:
        assert "Mode: observer" in observer.ask("srvr")
        kept = list((directory / "data" / "version-2").glob("replaced-*/version-2/log.*"))
        assert kept, "the files are moved, not deleted"


# --- Servers end


def test_an_observer_continues_from_its_files(
    tmp_path: Path, ensemble: ApacheEnsemble, member: Any
) -> None:
    member.ensure_path("/before")
    with new_observer(tmp_path / "again", ensemble, my_id=103) as again:
        wait_until(lambda: f"{member.last_zxid:x}" in again.ask("srvr"), "the last txn")
        again.kill()
        member.create("/meanwhile")
        again.start()
        client = again.client()
        client.start(timeout=10)
        assert client.exists("/meanwhile") is not None
        client.stop()
        client.close()
        assert again.log.count("the leader's snapshot replaces the database") == 1


def test_sessions_outlive_a_leader(
    observer: ServerProcess, ensemble: ApacheEnsemble, client: Any
) -> None:
    client.create("/survivor", ephemeral=True)
    session_id = client.client_id[0]
    leader = ensemble.leader()
    leader.kill()
    client.retry(client.set, "/survivor", b"a new leader")
    assert client.client_id[0] == session_id
    assert observer.ask("srvr").count("Mode: observer") == 1
    leader.start()


def test_read_only_clients_are_served_without_a_leader(
    observer: ServerProcess, ensemble: ApacheEnsemble, client: Any
) -> None:
    client.ensure_path("/kept")
    for member in ensemble.members:
        member.kill()
    wait_until(lambda: observer.ask("isro") == "ro", "the read-only mode")
    assert "Mode: read-only\nLeader: none" in observer.ask("srvr")
    reader = KazooClient(hosts=observer.hosts, read_only=True)
    reader.start(timeout=10)
    assert reader.client_state == KeeperState.CONNECTED_RO
    assert reader.exists("/kept") is not None
    with pytest.raises(NotReadOnlyCallError):
        reader.set("/kept", b"")
    reader.stop()
    reader.close()
    with ensemble:
        wait_until(lambda: "Mode: observer" in observer.ask("srvr"), "a leader")
        wait_until(lambda: "Leader: 127" in observer.ask("srvr"), "a leader")
        client.retry(client.set, "/kept", b"written")
