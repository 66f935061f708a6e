"""The end of a call whose reply came together with an event."""

import random
import time

from tests.support.client_peer import DATA_BODY, Peer, untyped
from tests.support.waiting import wait_until
from zoolet.client.connecting.options import ClientOptions
from zoolet.client.connecting.server_order import ServerOrder
from zoolet.client.connecting.servers import parse_servers
from zoolet.client.errors import DeadlineError
from zoolet.client.thread_client.connection import Connection
from zoolet.model.codes import EventType, OpCode
from zoolet.wire.frames import encode_reply
from zoolet.wire.replies import encode_event


def test_a_result_is_not_shown_before_the_function_for_its_change() -> None:
    """Also if the time limit of the call is over while the function runs."""
    peer = Peer()
    peer.primed()
    peer.watched("/a")
    order = ServerOrder(parse_servers("127.0.0.1:1"), random.Random(1))
    connection = Connection(peer.session, order, ClientOptions())
    call = peer.start(peer.make.get("/a", peer.notices.append))
    peer.session.data_to_send()
    event = encode_event(EventType.NODE_DATA_CHANGED, "/a", 6)
    with connection.lock:
        data = event + encode_reply(call.xid, 6, 0, DATA_BODY)
        connection.followers.note(peer.session.receive(data))
        call.deadline_s = time.monotonic() + 1000
        connection.expire(untyped(call))
        assert not connection.followers.has_ended(untyped(call))
        call.deadline_s = time.monotonic() - 1
        connection.expire(untyped(call))
        assert connection.followers.has_ended(untyped(call))
    assert isinstance(call.error, DeadlineError)
    assert call.result is None
    assert peer.sent_op_codes() == [OpCode.REMOVE_WATCHES]
    connection.followers.pass_on()
    wait_until(lambda: len(peer.notices) == 1, "the function is called")
