"""Containers and znodes with a time to live: made, kept over restarts, and removed in time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient

from tests.support.rawclient import RawClient, RawReply
from tests.support.waiting import wait_until
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import CreateMode, ErrorCode, OpCode
from zoolet.testing import ServerProcess
from zoolet.wire.jute import INT, LONG, pack_acl, pack_buffer, pack_ustring

SETTINGS = {"znode.container.checkIntervalMs": 20, "extendedTypesEnabled": "true"}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path, SETTINGS) as server:
        yield server


@pytest.fixture
def raw(running: ServerProcess) -> Iterator[RawClient]:
    with RawClient(running.port) as client:
        client.connect()
        yield client


@pytest.fixture
def kazoo(running: ServerProcess) -> Iterator[Any]:
    client = KazooClient(hosts=running.hosts)
    client.start(timeout=10)
    yield client
    client.stop()
    client.close()


def fields(path: str, mode: int) -> bytes:
    return pack_ustring(path) + pack_buffer(b"") + pack_acl(OPEN_ACL) + INT.pack(mode)


def create_container(client: RawClient, path: str) -> RawReply:
    return client.request(OpCode.CREATE_CONTAINER, fields(path, CreateMode.CONTAINER))


def create_ttl(client: RawClient, path: str, mode: int, ttl_ms: int) -> RawReply:
    return client.request(OpCode.CREATE_TTL, fields(path, mode) + LONG.pack(ttl_ms))


def test_a_container_goes_after_its_last_child(
    running: ServerProcess, raw: RawClient, kazoo: Any
) -> None:
    for path in ("/never-used", "/used"):
        assert create_container(raw, path).err == 0
        assert kazoo.exists(path).ephemeralOwner == 0
    kazoo.create("/used/child")
    running.restart()
    kazoo.retry(kazoo.delete, "/used/child")
    wait_until(lambda: kazoo.exists("/used") is None, "the container's end")
    assert kazoo.exists("/never-used")


def test_a_znode_goes_when_its_time_is_over(raw: RawClient, kazoo: Any) -> None:
    sequential = CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL
    assert create_ttl(raw, "/brief-", sequential, 100).err == 0
    assert create_ttl(raw, "/long", CreateMode.PERSISTENT_WITH_TTL, 10**9).err == 0
    assert kazoo.exists("/long").ephemeralOwner == 0
    wait_until(lambda: "brief-0000000000" not in kazoo.get_children("/"), "the znode's end")
    kazoo.create("/long/child")
    assert kazoo.exists("/long")


@pytest.mark.parametrize(
    ("mode", "ttl_ms"),
    [
        (CreateMode.PERSISTENT_WITH_TTL, 0),
        (CreateMode.PERSISTENT_WITH_TTL, -1),
        (CreateMode.PERSISTENT_WITH_TTL, 1 << 40),
        (CreateMode.PERSISTENT, 5),
        (CreateMode.PERSISTENT, -1),
        (99, 5),
    ],
)
def test_a_time_that_cannot_be_is_refused(raw: RawClient, mode: int, ttl_ms: int) -> None:
    assert create_ttl(raw, "/a", mode, ttl_ms).err == ErrorCode.BAD_ARGUMENTS


def test_times_to_live_are_switched_off_at_first(server: ServerProcess) -> None:
    with RawClient(server.port) as client:
        client.connect()
        mode = CreateMode.PERSISTENT_WITH_TTL
        assert create_ttl(client, "/a", mode, 5).err == ErrorCode.UNIMPLEMENTED
        assert client.create("/a", flags=mode).err == ErrorCode.UNIMPLEMENTED
        # A container's flags do not make a container of a create.
        assert client.create("/plain", flags=CreateMode.CONTAINER).err == 0


def test_deleting_containers_is_the_server_s_own(raw: RawClient) -> None:
    create_container(raw, "/a")
    assert raw.request(OpCode.DELETE_CONTAINER, pack_ustring("/a")).err == ErrorCode.UNIMPLEMENTED
