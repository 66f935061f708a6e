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
def zookeeper() -> Iterator[EmbeddedServer]:
    settings = {
        "zoolet.maxEphemeralsPerSession": MOST,
        "zoolet.maxWatchesPerConnection": MOST,
    }
    with EmbeddedServer(settings=settings) as server:
        yield server


@pytest.fixture
def other(zookeeper: EmbeddedServer) -> Iterator[Any]:
    client = zookeeper.client()
    client.start()
    yield client
    client.stop()
    client.close()


def test_a_session_has_so_many_ephemerals_and_no_more(zookeeper_client: Any, other: Any) -> None:
    zookeeper_client.create("/plain")
    for number in range(MOST):
        zookeeper_client.create(f"/e{number}", ephemeral=True)
    with pytest.raises(QuotaExceededError):
        zookeeper_client.create("/one-more", ephemeral=True)
    zookeeper_client.create("/plain/one-more")
    other.create("/of-another", ephemeral=True)
    zookeeper_client.delete("/e0")
    zookeeper_client.create("/one-more", ephemeral=True)
    zookeeper_client.stop()
    assert set(other.get_children("/")) == {"of-another", "plain", "zookeeper"}


def test_the_creates_of_a_multi_are_counted_together(zookeeper_client: Any) -> None:
    transaction = zookeeper_client.transaction()
    for number in range(MOST + 1):
        transaction.create(f"/e{number}", ephemeral=True)
    assert isinstance(transaction.commit()[-1], QuotaExceededError)
    assert zookeeper_client.get_children("/") == ["zookeeper"]
    for number in range(MOST):
        zookeeper_client.create(f"/e{number}", ephemeral=True)


def test_a_connection_has_so_many_watches_and_no_more(
    zookeeper: EmbeddedServer, zookeeper_client: Any
) -> None:
    told: list[str] = []
    for path in ("/a", "/b", "/c"):
        zookeeper_client.exists(path, watch=lambda event: told.append(event.path))
    with pytest.raises(ThrottledOpError):
        zookeeper_client.exists("/d", watch=told.append)
    with pytest.raises(ThrottledOpError):
        zookeeper_client.get_children("/", watch=told.append)
    assert zookeeper_client.exists("/d") is None
    zookeeper_client.create("/a")
    zookeeper_client.get_children("/", watch=lambda event: told.append(event.path))
    zookeeper_client.create("/d")
    zookeeper.inside.wait_until_quiet()
    assert told == ["/a", "/"]


def test_a_watch_that_is_there_already_takes_no_room(zookeeper: EmbeddedServer) -> None:
    with RawClient(zookeeper.port) as raw:
        raw.connect()
        assert raw.request(OpCode.ADD_WATCH, pack_ustring("/a") + PERSISTENT).err == 0
        too_many = raw.request(OpCode.ADD_WATCH, pack_ustring("/b") + PERSISTENT)
        assert too_many.err == ErrorCode.THROTTLED
        watch_a = pack_ustring("/a") + b"\x01"
        assert raw.request(OpCode.EXISTS, watch_a).err == ErrorCode.NO_NODE
        assert raw.request(OpCode.ADD_WATCH, pack_ustring("/a") + PERSISTENT).err == 0


def test_a_client_that_takes_too_many_watches_over_is_cut_off(zookeeper: EmbeddedServer) -> None:
    absent = pack_ustrings([f"/absent{number}" for number in range(MOST + 1)])
    nothing = pack_ustrings([])
    with RawClient(zookeeper.port) as raw:
        raw.connect()
        raw.send(OpCode.SET_WATCHES, LONG.pack(0) + nothing + absent + nothing, Xid.SET_WATCHES)
        assert raw.read_reply().err == ErrorCode.THROTTLED
        assert raw.is_closed_by_server()
    zookeeper.inside.wait_until_quiet()
    assert not zookeeper.inside.watches()
