"""The clock is read when the cost of requests says so, not for each of them."""

import pytest

from tests.support.stage import Stage, StageClient
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import OpCode, Xid
from zoolet.wire.jute import INT, pack_acl, pack_buffer, pack_ustring

MANY = 320
EACH_READ = 2
"""Readings for one read from a socket: at its begin and at its end."""

LONG_BYTES = 20_000


def create(client: StageClient, path: str, data: bytes) -> None:
    body = pack_ustring(path) + pack_buffer(data) + pack_acl(OPEN_ACL) + INT.pack(0)
    client.send(OpCode.CREATE, body)


def readings(stage: Stage, client: StageClient, num_requests: int) -> int:
    """Return how often the clock is read while what is in the socket is taken in one read."""
    taken = client.connection.stats.packets_received
    before = stage.clock_readings
    client.deliver()
    assert client.connection.stats.packets_received == taken + num_requests
    return stage.clock_readings - before


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def client(stage: Stage) -> StageClient:
    return stage.client()


def test_short_requests_share_a_reading(stage: Stage, client: StageClient) -> None:
    for _ in range(MANY):
        client.send(OpCode.PING, xid=Xid.PING)
    assert readings(stage, client, MANY) <= MANY // 32 + EACH_READ


def test_one_request_needs_no_reading_of_its_own(stage: Stage, client: StageClient) -> None:
    client.send(OpCode.PING, xid=Xid.PING)
    assert readings(stage, client, 1) == EACH_READ


def test_requests_with_long_replies_have_a_reading_each(stage: Stage, client: StageClient) -> None:
    create(client, "/long", bytes(LONG_BYTES))
    stage.settle()
    for _ in range(12):  # all replies go in one chunk, so that no turn is needed for the rest
        client.send(OpCode.GET_DATA, pack_ustring("/long") + b"\0")
    assert readings(stage, client, 12) == 11 + EACH_READ


def test_replies_that_wait_for_a_turn_need_one_reading_more(
    stage: Stage, client: StageClient
) -> None:
    create(client, "/long", bytes(LONG_BYTES))
    stage.settle()
    for _ in range(20):
        client.send(OpCode.GET_DATA, pack_ustring("/long") + b"\0")
    assert readings(stage, client, 20) == 19 + EACH_READ + 1


def test_long_requests_have_a_reading_each(stage: Stage, client: StageClient) -> None:
    for number in range(20):
        create(client, f"/{number}", bytes(LONG_BYTES))
    assert readings(stage, client, 20) == 19 + EACH_READ
