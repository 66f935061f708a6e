"""A request whose txn Apache ZooKeeper could not read back is refused, and changes nothing."""

from collections.abc import Iterator

import pytest

from tests.support.largetxns import authenticate, large_multi
from tests.support.rawclient import RawClient
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import ErrorCode, OpCode
from zoolet.model.limits import max_txn_bytes_of
from zoolet.testing import EmbeddedServer
from zoolet.wire.jute import INT, pack_acl, pack_buffer, pack_ustring

MAX_FRAME_BYTES = 2048
MAX_TXN_BYTES = max_txn_bytes_of(MAX_FRAME_BYTES)


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer(settings={"jute.maxbuffer": MAX_FRAME_BYTES}) as running:
        yield running


@pytest.fixture
def client(server: EmbeddedServer) -> Iterator[RawClient]:
    with RawClient(server.port) as connected:
        connected.connect()
        authenticate(connected)
        yield connected


def test_the_largest_txn_is_taken(server: EmbeddedServer, client: RawClient) -> None:
    body, paths = large_multi(MAX_TXN_BYTES)
    assert len(body) < MAX_FRAME_BYTES
    assert client.request(OpCode.MULTI, body).err == 0
    assert server.inside.paths() == paths
    server.restart()
    assert server.inside.paths() == paths


def test_a_txn_that_is_one_byte_larger_is_refused_and_changes_nothing(
    server: EmbeddedServer, client: RawClient, caplog: pytest.LogCaptureFixture
) -> None:
    zxid = client.create("/before").zxid
    body, _ = large_multi(MAX_TXN_BYTES + 1)
    refused = client.request(OpCode.MULTI, body)
    # The refusal is a txn, as any write that is refused: it takes one zxid.
    assert (refused.err, refused.zxid) == (ErrorCode.MARSHALLING_ERROR, zxid + 1)
    assert f"a txn of {MAX_TXN_BYTES + 1} bytes; the limit is {MAX_TXN_BYTES}" in caplog.text
    assert server.inside.paths() == ["/before"]
    behind = client.create("/behind")
    assert (behind.err, behind.zxid) == (0, zxid + 2)
    server.restart()
    assert server.inside.paths() == ["/before", "/behind"]


def test_a_refused_txn_leaves_its_batch_whole(server: EmbeddedServer, client: RawClient) -> None:
    server.disk.hold_syncs()
    # While this one is synced, what follows gathers in one batch.
    client.send(OpCode.CREATE, create_body("/first"))
    server.disk.wait_for_sync()
    client.send(OpCode.CREATE, create_body("/second"))
    client.send(OpCode.MULTI, large_multi(MAX_TXN_BYTES + 1)[0])
    client.send(OpCode.CREATE, create_body("/third"))
    server.disk.release_syncs()
    codes = [client.read_reply().err for _ in range(4)]
    assert codes == [0, 0, ErrorCode.MARSHALLING_ERROR, 0]
    server.kill()
    server.start()
    assert server.inside.paths() == ["/first", "/second", "/third"]


def create_body(path: str) -> bytes:
    return pack_ustring(path) + pack_buffer(b"") + pack_acl(OPEN_ACL) + INT.pack(0)
