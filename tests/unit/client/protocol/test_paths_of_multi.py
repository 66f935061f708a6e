"""The paths in the reply to a multi are relative to the chroot, also in the replies of Apache."""

from typing import Any

from zoolet.client.protocol.batches import Multi
from zoolet.client.protocol.replies import finish
from zoolet.client.protocol.requests import RequestMaker
from zoolet.model.codes import OpCode
from zoolet.model.replies import TxnResult
from zoolet.wire import replies
from zoolet.wire.jute import Reader


def test_a_create_that_returns_only_its_path() -> None:
    call: Any = RequestMaker("/app").multi(Multi().create("/a").delete("/b"))
    parts = (TxnResult(OpCode.CREATE, path="/app/a"), TxnResult(OpCode.DELETE))
    body = replies.encode_result(TxnResult(OpCode.MULTI, parts=parts))
    finish(call, 0, Reader(body), "/app")
    assert call.result == ("/a", None)
