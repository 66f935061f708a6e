"""The records of requests, and what they keep in memory."""

from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import OpCode
from zoolet.model.requests import Create, Delete, Multi, SetData
from zoolet.server.pipeline.auditing import without_data


def test_a_waiting_request_keeps_no_data() -> None:
    parts = (
        (OpCode.CREATE, Create("/a", b"x" * 1000, OPEN_ACL, 0)),
        (OpCode.DELETE, Delete("/b", -1)),
        (OpCode.SET_DATA, SetData("/c", b"y", 3)),
    )
    found = without_data(Multi(parts))
    assert isinstance(found, Multi)
    assert [part.path for _, part in found.operations] == ["/a", "/b", "/c"]
    for _, part in found.operations:
        assert isinstance(part, Delete) or part.data is None  # type: ignore[union-attr]
    single = without_data(SetData("/a", b"z", 1))
    assert isinstance(single, SetData)
    assert (single.path, single.data, single.version) == ("/a", None, 1)
