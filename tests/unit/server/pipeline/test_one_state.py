"""A reply that takes several steps shows the state at one zxid, whatever is written meanwhile."""

import pytest

from tests.support.stage import Stage, StageClient
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import ErrorCode, OpCode
from zoolet.model.errors import RequestError
from zoolet.server.pipeline.encoding_steps import (
    LONG_LIST,
    MultiReadReply,
    NamesOfChildren,
    ReadPart,
)
from zoolet.state_machine.name_pieces import NAMES_PER_PIECE
from zoolet.state_machine.rules import Rules
from zoolet.state_machine.tree import Tree
from zoolet.wire.jute import INT, Reader, pack_acl, pack_buffer, pack_ustring

NUM_ZNODES = LONG_LIST + 2 * NAMES_PER_PIECE + 1
DATA_BYTES = 1000


def create_body(path: str, flags: int = 0) -> bytes:
    return pack_ustring(path) + pack_buffer(b"") + pack_acl(OPEN_ACL) + INT.pack(flags)


def delete_body(path: str) -> bytes:
    return pack_ustring(path) + INT.pack(-1)


def parts(*bodies: tuple[int, bytes]) -> bytes:
    """Return the body of a multiRead."""
    framed = [INT.pack(op_code) + b"\0" + INT.pack(-1) + body for op_code, body in bodies]
    return b"".join(framed) + INT.pack(-1) + b"\1" + INT.pack(-1)


def begin(client: StageClient, op_code: int, body: bytes) -> None:
    """Let a request be taken; its steps run in later iterations."""
    client.send(op_code, body)
    client.deliver()
    assert client.connection.has_job


@pytest.mark.parametrize("prefix", ["/", "/e-1"])
def test_ephemerals_that_come_and_go_meanwhile_are_not_shown(prefix: str) -> None:
    stage = Stage()
    owner, other = stage.client(), stage.client()
    paths = [f"/e-{number}" for number in range(NUM_ZNODES)]
    for path in paths:
        owner.send(OpCode.CREATE, create_body(path, flags=1))
    stage.settle()
    assert {reply.err for reply in owner.replies()} == {0}
    zxid = stage.machine.zxid
    begin(owner, OpCode.GET_EPHEMERALS, pack_ustring(prefix))
    for path in (paths[0], paths[-1], paths[NAMES_PER_PIECE]):
        other.send(OpCode.DELETE, delete_body(path))
    other.deliver()
    # Requests of the owner wait; its session gets a znode as a txn would give it one.
    session_id = owner.session_id
    stage.machine.tree.create("/e-10new", "/", b"", OPEN_ACL, session_id, -1, zxid + 9, 0)
    stage.settle()
    (reply,) = owner.replies()
    reader = Reader(reply.body)
    assert list(reader.read_vector(reader.read_ustring)) == [
        path for path in paths if path.startswith(prefix)
    ]
    assert reply.zxid == zxid
    now = owner.request(OpCode.GET_EPHEMERALS, pack_ustring("/"))
    assert Reader(now.body).read_int() == NUM_ZNODES - 3 + 1


def test_data_that_is_written_meanwhile_is_not_shown() -> None:
    """The parts have more than 256 KB, so they are encoded in steps."""
    stage = Stage()
    reading, writing = stage.client(), stage.client()
    old = bytes(DATA_BYTES)
    paths = [f"/n{number}" for number in range(400)]
    for path in paths:
        body = pack_ustring(path) + pack_buffer(old) + pack_acl(OPEN_ACL) + INT.pack(0)
        writing.send(OpCode.CREATE, body)
    stage.settle()
    writing.frames()
    zxid = stage.machine.zxid
    reads = [(OpCode.GET_DATA, pack_ustring(path) + b"\0") for path in paths]
    begin(reading, OpCode.MULTI_READ, parts(*reads))
    for path in paths:
        body = pack_ustring(path) + pack_buffer(b"new") + INT.pack(-1)
        writing.send(OpCode.SET_DATA, body)
    writing.deliver()
    stage.settle()
    assert {reply.err for reply in writing.replies()} == {0}
    (reply,) = reading.replies()
    assert reply.zxid == zxid
    assert reply.body.count(INT.pack(DATA_BYTES) + old) == len(paths)
    assert b"new" not in reply.body


def long_list(*parents: str) -> tuple[Tree, int]:
    """Return a tree with a long list under each parent, and the bytes of its names with lengths."""
    tree = Tree.fresh()
    names = [f"{number:06d}" for number in range(4 * NAMES_PER_PIECE)]
    for parent in parents:
        tree.create(parent, "/", b"", OPEN_ACL, 0, -1, 1, 0)
        for name in names:
            tree.create(f"{parent}/{name}", parent, b"", OPEN_ACL, 0, -1, 1, 0)
    return tree, 10 * len(names)


def listing(tree: Tree, parent: str) -> ReadPart:
    part = ReadPart(OpCode.GET_CHILDREN)
    part.names = NamesOfChildren(tree.directories[parent], b"")
    return part


@pytest.mark.parametrize("before", [0, 1])
def test_a_multi_read_is_refused_as_soon_as_its_names_exceed_the_limit(before: int) -> None:
    """What the parts before have counts as well; the rest of the names is not encoded."""
    parents = [f"/d{number}" for number in range(before + 1)]
    tree, size_bytes = long_list(*parents)
    most_bytes = before * size_bytes + 3 * size_bytes // 8
    reply = MultiReadReply([listing(tree, parent) for parent in parents], most_bytes)
    # Each list takes five steps, and the step that ends a list goes on with the next one.
    for _ in range(before * 4 + 1):
        assert not reply.step()
    with pytest.raises(RequestError) as refused:
        reply.step()
    assert refused.value.code == ErrorCode.BAD_ARGUMENTS


def test_a_multi_read_of_exactly_the_limit_is_answered() -> None:
    tree, size_bytes = long_list("/d")
    for most_bytes, is_refused in ((size_bytes, False), (size_bytes - 1, True), (0, False)):
        stage = Stage(Rules(most_read_bytes=most_bytes))
        client = stage.client()
        stage.machine.tree.create("/d", "/", b"", OPEN_ACL, 0, -1, 1, 0)
        for path in tree.children_of("/d"):
            stage.machine.tree.create(path, "/d", b"", OPEN_ACL, 0, -1, 1, 0)
        reply = client.request(
            OpCode.MULTI_READ, parts((OpCode.GET_CHILDREN, pack_ustring("/d") + b"\0"))
        )
        assert reply.err == (ErrorCode.BAD_ARGUMENTS if is_refused else 0)
