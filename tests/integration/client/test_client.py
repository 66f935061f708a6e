"""`Client` on real servers: its methods, its session, and how it finds a server."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.support.outcomes import Noted
from tests.support.rawclient import RawClient
from tests.support.waiting import WAIT_S, wait_until
from zoolet.client import (
    ACL,
    AclOf,
    AddWatchMode,
    AuthFailedError,
    BadVersionError,
    Client,
    ClientClosedError,
    ClientOptions,
    CreateMode,
    Credential,
    Event,
    EventType,
    Id,
    Multi,
    MultiRead,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    NoServerError,
    NotEmptyError,
    NoWatcherError,
    Permission,
    Resynced,
    SessionExpiredError,
    SessionState,
    Stat,
    TlsFiles,
    WatcherType,
    ZooKeeperError,
)
from zoolet.model.codes import OpCode
from zoolet.testing import EmbeddedServer, ServerProcess
from zoolet.testing.servers.base import ReservedPort
from zoolet.testing.servers.process import ExternalServer

SHORT_MS = 400
"""A session timeout that a test can wait for."""

READ_BY_ALL = (ACL(int(Permission.READ), Id("world", "anyone")),)


def options(**changes: Any) -> ClientOptions:
    return ClientOptions(**{"connect_timeout_s": WAIT_S, "call_timeout_s": WAIT_S, **changes})


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as running:
        yield running


@pytest.fixture
def client(server: EmbeddedServer) -> Iterator[Client]:
    with Client(server.hosts, options()) as started:
        yield started


# --- Every method


def all_calls(do: Callable[[Callable[[Any], Any]], Any]) -> None:
    """Call each method once; ``do`` gets a call of the methods and returns its result."""
    noted = Noted()
    assert do(lambda to: to.create("/a", b"1")).path == "/a"
    assert do(lambda to: to.create("/a/s-", mode=CreateMode.EPHEMERAL_SEQUENTIAL)).path == (
        "/a/s-0000000000"
    )
    assert do(lambda to: to.create("/t", mode=CreateMode.PERSISTENT_WITH_TTL, ttl_ms=60_000))
    assert do(lambda to: to.create("/c", mode=CreateMode.CONTAINER)).path == "/c"
    with pytest.raises(NodeExistsError):
        do(lambda to: to.create("/a"))
    assert do(lambda to: to.get("/a", watch=noted)).data == b"1"
    with pytest.raises(NoNodeError, match="get /none"):
        do(lambda to: to.get("/none"))
    assert do(lambda to: to.set("/a", b"2", version=0)).version == 1
    with pytest.raises(BadVersionError):
        do(lambda to: to.set("/a", b"3", version=0))
    changed = noted.until(lambda what: isinstance(what, Event))
    assert (changed.type, changed.path) == (EventType.NODE_DATA_CHANGED, "/a")
    assert isinstance(do(lambda to: to.exists("/a")), Stat)
    assert do(lambda to: to.exists("/none", watch=noted)) is None
    assert do(lambda to: to.children("/a")).names == ("s-0000000000",)
    assert do(lambda to: to.ephemerals("/a")) == ("/a/s-0000000000",)
    assert do(lambda to: to.count_descendants("/a")) == 1
    with pytest.raises(NotEmptyError):
        do(lambda to: to.delete("/a"))
    assert do(lambda to: to.delete("/a/s-0000000000", version=0)) is None
    assert isinstance(do(lambda to: to.get_acl("/a")), AclOf)
    assert do(lambda to: to.set_acl("/t", READ_BY_ALL)).aversion == 1
    assert do(lambda to: to.get_acl("/t")).acl == READ_BY_ALL
    assert do(lambda to: to.sync("/a")) == "/a"
    assert ("ip", "127.0.0.1") in [(each[0], each[1]) for each in do(lambda to: to.who_am_i())]
    assert do(lambda to: to.config()) is not None
    with pytest.raises(ZooKeeperError):
        do(lambda to: to.reconfig(joining="server.9=127.0.0.1:1:2;3"))
    batch = Multi().create("/m").set("/m", b"m").check("/m", version=1).delete("/m")
    assert len(do(lambda to: to.multi(batch))) == 4
    reads = MultiRead().get("/a").children("/a").get("/none")
    assert isinstance(do(lambda to: to.multi_read(reads))[2], NoNodeError)
    events = Noted()
    recursive = AddWatchMode.PERSISTENT_RECURSIVE
    assert do(lambda to: to.add_watch("/a", events, mode=recursive)) is None
    do(lambda to: to.create("/a/x"))
    assert events.all[0][:2] == (EventType.NODE_CREATED, "/a/x")
    assert do(lambda to: to.check_watches("/a", WatcherType.ANY)) is None
    assert do(lambda to: to.remove_watches("/a", WatcherType.ANY)) is None
    with pytest.raises(NoWatcherError):
        do(lambda to: to.check_watches("/a", WatcherType.ANY))


def test_each_method_waits_for_its_result(any_server: ExternalServer) -> None:
    with Client(any_server.hosts, options()) as client:
        all_calls(lambda call: call(client))


def test_each_method_has_a_future(any_server: ExternalServer) -> None:
    with Client(any_server.hosts, options()) as client:
        all_calls(lambda call: call(client.futures).result())


def test_what_a_client_builds_on_its_requests(any_server: ExternalServer) -> None:
    with Client(any_server.hosts, options()) as client:
        client.ensure_path("/a/b/c")
        client.ensure_path("/a/b/c")
        protected = client.create_protected("/a/lock-")
        assert protected.startswith("/a/_c_")
        assert protected.endswith("-lock-0000000001")
        with client.watch("/a", recursive=True) as watch:
            client.delete(protected)
            assert watch.next(timeout_s=WAIT_S)[:2] == (EventType.NODE_DELETED, protected)
        assert [visited.path for visited in client.walk("/a")] == ["/a", "/a/b", "/a/b/c"]
        read = dict(client.read_many(["/a", "/none"], outstanding=1))
        assert isinstance(read["/none"], NoNodeError)
        assert client.delete_recursive("/a") == 3
        assert client.exists("/a") is None


def test_the_reply_of_a_protected_create_is_lost(server: EmbeddedServer, client: Client) -> None:
    with server.faults.on(OpCode.CREATE2).drop_reply() as fault:
        path = client.create_protected("/lock-")
    assert fault.count == 1
    assert client.ephemerals() == (path,)


def test_invalid_arguments_are_not_sent(client: Client, server: EmbeddedServer) -> None:
    before = len(server.inside.requests())
    for path in ("", "/a/", "/a//b", "/a\0"):
        with pytest.raises(ValueError, match="path"):
            client.get(path)
    with pytest.raises(TypeError):
        client.set("/", "text")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ttl_ms"):
        client.create("/a", mode=CreateMode.PERSISTENT_WITH_TTL)
    assert len(server.inside.requests()) == before


# --- Start and close


def test_a_start_without_a_server_names_each_address_and_its_reason() -> None:
    refused, silent = ReservedPort(), socket.create_server(("127.0.0.1", 0))
    silent_port = silent.getsockname()[1]
    hosts = f"{refused.address},127.0.0.1:{silent_port},no-such-host.invalid:1,a..b:2"
    client = Client(hosts, options(connect_timeout_s=4.0))
    with pytest.raises(NoServerError) as caught:
        client.start()
    text = str(caught.value)
    assert "no session within 4 s" in text
    assert f"{refused.address}: Connection refused" in text
    assert f"127.0.0.1:{silent_port}: the server was silent for" in text
    assert "no-such-host.invalid:1: " in text
    assert "a..b:2: " in text
    assert "no reply yet" not in text
    with pytest.raises(ClientClosedError):
        client.get("/")
    refused.release()
    silent.close()


def test_a_client_is_started_once_and_closed_often(server: EmbeddedServer) -> None:
    client = Client(server.hosts, options())
    with pytest.raises(ClientClosedError, match="not started"):
        client.get("/")
    with pytest.raises(ClientClosedError, match="not started"):
        client.futures.get("/")
    client.close()
    client.start()
    with pytest.raises(RuntimeError, match="started already"):
        client.start()
    assert client.get("/").data == b""
    for _ in range(2):
        client.close()
        assert client.state is SessionState.CLOSED
        assert client.address is None
        with pytest.raises(ClientClosedError):
            client.get("/")
        with pytest.raises(ClientClosedError):
            client.futures.get("/").result()
        with pytest.raises(ClientClosedError):
            client.add_auth("digest", "a:b")
    with pytest.raises(RuntimeError, match="started already"):
        client.start()
    assert not server.inside.sessions()


def test_a_close_ends_the_session_and_its_ephemerals(server: EmbeddedServer) -> None:
    with Client(server.hosts, options()) as client:
        client.create("/e", mode=CreateMode.EPHEMERAL)
    assert server.inside.znode("/e") is None


def test_a_close_on_a_paused_server_ends(server: EmbeddedServer) -> None:
    client = Client(server.hosts, options())
    client.start()
    server.pause()
    client.close(0.05)
    assert client.state is SessionState.CLOSED
    server.resume()


# --- TLS and addresses


class Certificates:
    """The files of a server with TLS, and of its clients."""

    def __init__(self, directory: Path) -> None:
        authority = trustme.CA()
        self.authority, self.store = directory / "authority.pem", directory / "server.pem"
        authority.cert_pem.write_to_path(self.authority)
        issued = authority.issue_cert("127.0.0.1")
        issued.private_key_and_cert_chain_pem.write_to_path(self.store)
        self.port = ReservedPort()

    def settings(self) -> dict[str, object]:
        return {
            "secureClientPort": self.port.number,
            "secureClientPortAddress": "127.0.0.1",
            "ssl.keyStore.location": self.store,
            "ssl.clientAuth": "none",
        }


@pytest.fixture
def certificates(tmp_path: Path) -> Iterator[Certificates]:
    made = Certificates(tmp_path)
    yield made
    made.port.release()


def test_tls(tmp_path: Path, certificates: Certificates) -> None:
    settings = {**certificates.settings(), "jute.maxbuffer": 8 << 20}
    with ServerProcess(tmp_path / "server", settings) as server:
        files = TlsFiles(certificates.authority)
        with Client(certificates.port.address, options(tls=files)) as client:
            data = bytes(range(256)) * (16 << 10)
            client.create("/big", data)
            getting = [client.futures.get("/big") for _ in range(4)]
            client.set("/big", data)
            assert all(future.result().data == data for future in getting)
            server.restart()
            wait_until(lambda: client.state is SessionState.CONNECTED, "the client connects")
            assert client.get("/big").data == data


def test_tls_needs_a_server_with_tls(tmp_path: Path, certificates: Certificates) -> None:
    with ServerProcess(tmp_path / "server", certificates.settings()) as server:
        files = TlsFiles(certificates.authority)
        cases = [
            (server.hosts, {"tls": files}),
            (certificates.port.address, {}),
            (certificates.port.address, {"tls": TlsFiles(tmp_path / "no-file.pem")}),
        ]
        for hosts, changes in cases:
            with pytest.raises(NoServerError, match=hosts) as caught:
                Client(hosts, options(connect_timeout_s=1.0, **changes)).start()
            assert "no reply yet" not in str(caught.value)


def test_an_ipv6_address(server: EmbeddedServer) -> None:
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    port = listener.getsockname()[1]
    with listener, Client(f"[::1]:{port},{server.hosts}", options()) as client:
        client.change_hosts(f"[::1]:{port}")
        listener.settimeout(WAIT_S)
        accepted, _ = listener.accept()
        accepted.close()
        client.change_hosts(server.hosts)
        wait_until(lambda: client.state is SessionState.CONNECTED, "the client connects")


def test_other_hosts(server: EmbeddedServer) -> None:
    first, second = server.open_addresses(2).split(",")
    with Client(first, options()) as client:
        client.create("/root")
    with Client(first + "/root", options()) as client:
        states = Noted()
        client.add_listener(states)
        session = client.session_id
        client.change_hosts(second)
        states.until(lambda state: state is SessionState.CONNECTED)
        assert str(client.address) == second
        assert client.session_id == session
        assert client.exists("/") is not None
        client.change_hosts(f"{first},{second}")
        assert client.get("/").data == b""
        assert states.all == [SessionState.SUSPENDED, SessionState.CONNECTED]


# --- Logins and roots


def test_logins(any_server: ExternalServer) -> None:
    only = (ACL(int(Permission.ALL), Id("auth", "")),)
    with Client(any_server.hosts, options(auth=(Credential("digest", "a:right"),))) as client:
        client.create("/private", acl=only)
        assert "a" in [identity[1].partition(":")[0] for identity in client.who_am_i()]
    with Client(any_server.hosts, options()) as client:
        client.add_auth("digest", "a:wrong")
        with pytest.raises(NoAuthError, match="/private"):
            client.get("/private")
        client.add_auth("digest", b"a:right")
        assert client.get("/private").data == b""


def test_a_refused_login_ends_the_client(any_server: ExternalServer) -> None:
    with pytest.raises(AuthFailedError):
        Client(any_server.hosts, options(auth=(Credential("no-such-scheme", "x"),))).start()
    client = Client(any_server.hosts, options())
    client.start()
    states = Noted()
    client.add_listener(states)
    with pytest.raises(AuthFailedError):
        client.add_auth("no-such-scheme", "x")
    states.until(lambda state: state is SessionState.AUTH_FAILED)
    with pytest.raises(AuthFailedError):
        client.get("/")
    client.close()
    assert client.state is SessionState.CLOSED


def test_a_chroot(any_server: ExternalServer) -> None:
    with Client(any_server.hosts, options()) as whole:
        whole.create("/root")
        with Client(any_server.hosts + "/root", options()) as client:
            noted = Noted()
            client.add_watch("/", noted, mode=AddWatchMode.PERSISTENT_RECURSIVE)
            assert client.create("/a", mode=CreateMode.EPHEMERAL).path == "/a"
            assert client.children("/").names == ("a",)
            assert client.ephemerals() == ("/a",)
            assert client.sync("/") == "/"
            assert noted.until(lambda what: what.path == "/a").type is EventType.NODE_CREATED
            assert whole.exists("/root/a") is not None
            with pytest.raises(NoNodeError, match="get /none"):
                client.get("/none")


# --- Sessions


def test_another_client_continues_a_session(server: EmbeddedServer) -> None:
    first = Client(server.hosts, options())
    first.start()
    first.create("/e", mode=CreateMode.EPHEMERAL)
    session = first.session_id
    first._engine.stop()  # as if its process had ended
    with Client(server.hosts, options(session=session)) as second:
        assert second.session_id == session
        assert second.ephemerals() == ("/e",)
    with Client(server.hosts, options(session=session)) as third:  # the second has ended it
        assert third.session_id != session
        assert third.ephemerals() == ()


def test_a_session_that_expires_is_renewed(server: EmbeddedServer, client: Client) -> None:
    states, once, lasting = Noted(), Noted(), Noted()
    client.add_listener(states)
    client.create("/e", mode=CreateMode.EPHEMERAL)
    client.exists("/none", watch=once)
    client.add_watch("/", lasting)
    session = client.session_id
    server.faults.expire(session.id)
    states.until(lambda state: state is SessionState.CONNECTED)
    expected = [SessionState.SUSPENDED, SessionState.EXPIRED]
    assert states.all == [*expected, SessionState.CONNECTING, SessionState.CONNECTED]
    assert client.session_id != session
    assert once.until(lambda what: isinstance(what, Resynced)).path == "/none"
    assert lasting.until(lambda what: isinstance(what, Resynced)).path == "/"
    assert client.exists("/e") is None
    client.set("/", b"")
    changed = EventType.NODE_DATA_CHANGED
    lasting.until(lambda what: isinstance(what, Event) and what.type is changed)


def test_a_session_that_expires_is_not_renewed(server: EmbeddedServer) -> None:
    client = Client(server.hosts, options(renews_session=False, call_timeout_s=0.0))
    client.start()
    states = Noted()
    client.add_listener(states)
    with server.faults.on(OpCode.GET_DATA).expire():
        future = client.futures.get("/")
        with pytest.raises(ZooKeeperError):
            future.result()
    states.until(lambda state: state is SessionState.EXPIRED)
    with pytest.raises(SessionExpiredError):
        client.get("/")
    with pytest.raises(SessionExpiredError):
        client.futures.get("/").result()
    with pytest.raises(SessionExpiredError):
        client.add_auth("digest", "a:b")
    client.close()
    assert client.state is SessionState.CLOSED


@pytest.mark.parametrize("use", ["nobody calls", "one thread calls all the time"])
def test_a_session_lives_on(server: EmbeddedServer, use: str) -> None:
    many_ms = 5 * SHORT_MS
    with (
        RawClient(server.port) as other,
        Client(server.hosts, options(session_timeout_ms=SHORT_MS)) as client,
    ):
        assert client.session_timeout_ms == SHORT_MS
        other.connect(timeout_ms=many_ms)
        other.create("/other", flags=CreateMode.EPHEMERAL.value)  # and it sends no pings
        session, states, ended = client.session_id, Noted(), Noted()
        client.add_listener(states)
        client.create("/own", mode=CreateMode.EPHEMERAL)
        client.get("/other", watch=ended)
        if use == "one thread calls all the time":
            while not ended.all:
                client.get("/own")
        assert ended.until(lambda _: True).type is EventType.NODE_DELETED
        assert client.session_id == session
        assert client.ephemerals() == ("/own",)
        assert states.all == []
