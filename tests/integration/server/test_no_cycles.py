"""A server under load leaves nothing that only the cycle collector could free.

What goes in cycles is freed late and all at once: memory grows meanwhile, and everyone waits then.
"""

import gc

from tests.support.rawclient import RawClient
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import OpCode
from zoolet.testing import EmbeddedServer
from zoolet.wire.jute import INT, pack_acl, pack_buffer, pack_ustring

ROUNDS = 500
OUTSTANDING = 20


def requests(number: int) -> list[tuple[OpCode, bytes]]:
    """Return requests that watch a znode, change it, make and delete another; one is refused."""
    path, other = pack_ustring("/watched"), pack_ustring(f"/other{number}")
    any_version = INT.pack(-1)
    create = other + pack_buffer(b"x" * 100) + pack_acl(OPEN_ACL) + INT.pack(0)
    delete = INT.pack(OpCode.DELETE) + b"\0" + INT.pack(-1) + other + any_version
    return [
        (OpCode.GET_DATA, path + b"\1"),
        (OpCode.SET_DATA, path + pack_buffer(b"y" * 100) + any_version),
        (OpCode.CREATE, create),
        (OpCode.GET_CHILDREN, pack_ustring("/") + b"\1"),
        (OpCode.MULTI, delete + INT.pack(-1) + b"\1" + INT.pack(-1)),
        (OpCode.SET_DATA, path + pack_buffer(b"") + INT.pack(10_000_000)),
    ]


def ask_all(client: RawClient, first: int, last: int) -> None:
    """Ask ``OUTSTANDING`` rounds of requests at a time; events come between the replies."""
    for start in range(first, last, OUTSTANDING):
        asked = [one for number in range(start, start + OUTSTANDING) for one in requests(number)]
        for op_code, body in asked:
            client.send(op_code, body)
        replies = 0
        while replies < len(asked):
            replies += client.read_reply().xid > 0


def test_requests_leave_no_cycles() -> None:
    with EmbeddedServer() as server, RawClient(server.port) as client:
        client.connect(timeout_ms=30_000)
        client.create("/watched")
        ask_all(client, 0, ROUNDS)  # whatever is made once is made by now
        gc.collect()
        gc.disable()
        try:
            ask_all(client, ROUNDS, 2 * ROUNDS)
            in_cycles = gc.collect()
        finally:
            gc.enable()
        assert in_cycles < ROUNDS / 10
