"""How many watches a connection may have, and ephemerals a session: one more is refused."""

from collections.abc import Iterator
from typing import Any

import pytest
from kazoo.exceptions import QuotaExceededError, ThrottledOpError

from tests.support.rawclient import RawClient
from zoolet.model.codes import ErrorCode, OpCode, Xid
from zoolet.testing import EmbeddedServer
from zoolet.wire.jute import INT, LONG, pack_ustring, pack_ustrings

MOST = 3
PERSISTENT = INT.pack(0)


@pytest.fixture
def limited() -> Iterator[EmbeddedServer]:
    settings = {
        "zoolet.maxEphemeralsPerSession": MOST,
        "zoolet.maxWatchesPerConnection": MOST,
    }
    with EmbeddedServer(settings=settings) as server:
        yield server


@pytest.fixture
def client(limited: EmbeddedServer) -> Iterator[Any]:
    yield from started(limited)


@pytest.fixture
def other(limited: EmbeddedServer) -> Iterator[Any]:
    yield from started(limited)


def started(server: EmbeddedServer) -> Iterator[Any]:
    client = server.client()
    client.start()
    yield client
    client.stop()
    client.close()


def test_a_session_has_so_many_ephemerals_and_no_more(client: Any, other: Any) -> None:
    client.create("/plain")
    for number in range(MOST):
        client.create(f"/e{number}", ephemeral=True)
    with pytest.raises(QuotaExceededError):
        client.create("/one-more", ephemeral=True)
    client.create("/plain/one-more")
    other.create("/of-another", ephemeral=True)
    client.delete("/e0")
    client.create("/one-more", ephemeral=True)
    client.stop()
    assert set(other.get_children("/")) == {"of-another", "plain", "zookeeper"}


def test_the_creates_of_a_multi_are_counted_together(client: Any) -> None:
    transaction = client.transaction()
    for number in range(MOST + 1):
        transaction.create(f"/e{number}", ephemeral=True)
    assert isinstance(transaction.commit()[-1], QuotaExceededError)
    assert client.get_children("/") == ["zookeeper"]
    for number in range(MOST):
        client.create(f"/e{number}", ephemeral=True)


def test_a_connection_has_so_many_watches_and_no_more(limited: EmbeddedServer, client: Any) -> None:
    told: list[str] = []
    for path in ("/a", "/b", "/c"):
        client.exists(path, watch=lambda event: told.append(event.path))
    with pytest.raises(ThrottledOpError):
        client.exists("/d", watch=told.append)
    with pytest.raises(ThrottledOpError):
        client.get_children("/", watch=told.append)
    assert client.exists("/d") is None
    client.create("/a")
    client.get_children("/", watch=lambda event: told.append(event.path))
    client.create("/d")
    limited.inside.wait_until_quiet()
    assert told == ["/a", "/"]


def test_a_watch_that_is_there_already_takes_no_room(limited: EmbeddedServer) -> None:
    with RawClient(limited.port) as raw:
        raw.connect()
        assert raw.request(OpCode.ADD_WATCH, pack_ustring("/a") + PERSISTENT).err == 0
        too_many = raw.request(OpCode.ADD_WATCH, pack_ustring("/b") + PERSISTENT)
        assert too_many.err == ErrorCode.THROTTLED
        watch_a = pack_ustring("/a") + b"\x01"
        assert raw.request(OpCode.EXISTS, watch_a).err == ErrorCode.NO_NODE
        assert raw.request(OpCode.ADD_WATCH, pack_ustring("/a") + PERSISTENT).err == 0


def test_a_client_that_takes_too_many_watches_over_is_cut_off(limited: EmbeddedServer) -> None:
    absent = pack_ustrings([f"/absent{number}" for number in range(MOST + 1)])
    nothing = pack_ustrings([])
    with RawClient(limited.port) as raw:
        raw.connect()
        raw.send(OpCode.SET_WATCHES, LONG.pack(0) + nothing + absent + nothing, Xid.SET_WATCHES)
        assert raw.read_reply().err == ErrorCode.THROTTLED
        assert raw.is_closed_by_server()
    limited.inside.wait_until_quiet()
    assert not limited.inside.watches()
