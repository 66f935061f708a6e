"""The result of each request, and the error of each error code."""

import pytest

from tests.support.client_peer import untyped
from tests.support.fake_zookeeper import stat_of
from zoolet.client.errors import (
    ERRORS,
    NoAuthError,
    NoNodeError,
    RolledBackError,
    RuntimeInconsistencyError,
    ServerError,
    ZooKeeperError,
)
from zoolet.client.protocol.batches import Multi, MultiRead
from zoolet.client.protocol.calls import Call
from zoolet.client.protocol.replies import finish, name_of
from zoolet.client.protocol.requests import RequestMaker
from zoolet.model.acl import OPEN_ACL, Id
from zoolet.model.codes import AddWatchMode, CreateMode, ErrorCode, OpCode, WatcherType
from zoolet.model.replies import TxnResult
from zoolet.model.results import AclOf, Children, Created, ZnodeData
from zoolet.wire import replies
from zoolet.wire.jute import MalformedError, Reader, pack_buffer, pack_ustring, pack_ustrings

STAT = stat_of(3)
PACKED = STAT.pack()
MAKE = RequestMaker("/app")
CREATED = pack_ustring("/app/a") + PACKED


MULTI = Multi().create("/a").set("/b", b"").delete("/c")


def reply_to_multi(*parts: TxnResult) -> bytes:
    return replies.encode_result(TxnResult(OpCode.MULTI, parts=parts))


def created(mode: CreateMode, ttl_ms: int = 0) -> Call[object]:
    return untyped(MAKE.create("/a", b"", mode, OPEN_ACL, ttl_ms))


RESULTS: list[tuple[Call[object], bytes, object]] = [
    (untyped(MAKE.get("/a")), pack_buffer(b"d") + PACKED, ZnodeData(b"d", STAT)),
    (untyped(MAKE.get("/a")), pack_buffer(None) + PACKED, ZnodeData(None, STAT)),
    (untyped(MAKE.exists("/a")), PACKED, STAT),
    (untyped(MAKE.set("/a", b"", -1)), PACKED, STAT),
    (untyped(MAKE.set_acl("/a", OPEN_ACL, -1)), PACKED, STAT),
    (created(CreateMode.PERSISTENT), CREATED, Created("/a", STAT)),
    (created(CreateMode.CONTAINER), CREATED, Created("/a", STAT)),
    (created(CreateMode.PERSISTENT_WITH_TTL, 5), CREATED, Created("/a", STAT)),
    (untyped(MAKE.children("/a")), pack_ustrings(["b"]) + PACKED, Children(("b",), STAT)),
    (untyped(MAKE.get_acl("/a")), replies.encode_acl(OPEN_ACL, PACKED), AclOf(OPEN_ACL, STAT)),
    (untyped(MAKE.sync("/a")), pack_ustring("/app/a"), "/a"),
    (untyped(MAKE.sync("/")), pack_ustring("/app"), "/"),
    (untyped(MAKE.ephemerals("/")), pack_ustrings(["/app/b", "/app", "/apple"]), ("/b", "/")),
    (untyped(MAKE.count_descendants("/")), replies.encode_count(7), 7),
    (untyped(MAKE.who_am_i()), replies.encode_identities([("ip", "::1")]), (Id("ip", "::1"),)),
    (untyped(MAKE.config()), pack_buffer(b"server.1=") + PACKED, ZnodeData(b"server.1=", STAT)),
    (
        untyped(MAKE.reconfig(None, None, None, -1)),
        pack_buffer(b"x") + PACKED,
        ZnodeData(b"x", STAT),
    ),
    (untyped(MAKE.delete("/a", -1)), b"", None),
    (untyped(MAKE.close()), b"", None),
    (untyped(MAKE.add_watch("/a", AddWatchMode.PERSISTENT, print)), bytes(4), None),
    (untyped(MAKE.check_watches("/a", WatcherType.ANY)), b"", None),
    (untyped(MAKE.remove_watches("/a", WatcherType.ANY)), b"", None),
    (
        untyped(MAKE.multi(MULTI)),
        reply_to_multi(
            TxnResult(OpCode.CREATE2, path="/app/a", record=PACKED),
            TxnResult(OpCode.SET_DATA, record=PACKED),
            TxnResult(OpCode.DELETE),
        ),
        ("/a", STAT, None),
    ),
    (
        untyped(MAKE.multi(MULTI)),  # Apache ZooKeeper sends no Stat of the new znode
        reply_to_multi(
            TxnResult(OpCode.CREATE, path="/app/a"),
            TxnResult(OpCode.SET_DATA, record=PACKED),
            TxnResult(OpCode.DELETE),
        ),
        ("/a", STAT, None),
    ),
    (
        untyped(MAKE.multi_read(MultiRead().get("/a").children("/b").children("/c"))),
        replies.encode_multi_read(
            [
                (OpCode.GET_DATA, 0, pack_buffer(b"d") + PACKED),
                (OpCode.GET_CHILDREN, 0, pack_ustrings(["a"])),
                (OpCode.GET_CHILDREN, 0, pack_ustrings(["a", "b"])),
            ]
        ),
        (ZnodeData(b"d", STAT), ("a",), ("a", "b")),
    ),
]


def copy_of(call: Call[object]) -> Call[object]:
    copy: Call[object] = Call(call.op_code, call.xid, call.path, call.frame)
    copy.parts = call.parts
    return copy


@pytest.mark.parametrize(
    ("call", "body", "result"),
    RESULTS,
    ids=[f"{name_of(c.op_code)} {c.path}" for c, _, _ in RESULTS],
)
def test_a_result(call: Call[object], body: bytes, result: object) -> None:
    call = copy_of(call)
    finish(call, 0, Reader(body), "/app")
    assert call.error is None
    assert call.result == result
    for end in range(len(body)):
        cut = copy_of(call)
        if name_of(call.op_code) != "watch":  # its body has nothing that a client needs
            with pytest.raises(MalformedError):
                finish(cut, 0, Reader(body, 0, end), "/app")
            assert (cut.result, cut.error) == (None, None)


def test_every_op_code_of_a_call_has_a_result() -> None:
    tried = {call.op_code for call, _, _ in RESULTS}
    assert len(tried) >= 21
    for op_code in tried:
        assert not name_of(op_code).startswith("request ")
    assert name_of(999) == "request 999"


@pytest.mark.parametrize("code", sorted({*ERRORS, *ErrorCode, -999, 1, 77} - {0}))
def test_an_error_code(code: int) -> None:
    call = untyped(RequestMaker().get("/a"))
    finish(call, code, Reader(b""), "/app")
    error = call.error
    assert error is not None
    assert type(error) is ERRORS.get(code, ServerError)
    assert (error.request, error.path) == ("get", "/a")
    assert error.code == (code if code in ERRORS else 0)
    assert str(error).startswith("get /a: ")
    assert code in ERRORS or str(code) in str(error)
    assert call.result is None


def test_the_table_of_errors() -> None:
    for code, kind in ERRORS.items():
        assert code < 0
        assert kind.code == code
        assert kind.explanation
        assert issubclass(kind, ZooKeeperError)
    kinds = set(ZooKeeperError.__subclasses__())
    assert {kind for kind in kinds if kind.code} == set(ERRORS.values())


def test_exists_without_a_znode_is_no_error() -> None:
    call = untyped(MAKE.exists("/a"))
    finish(call, NoNodeError.code, Reader(b""), "/app")
    assert (call.result, call.error) == (None, None)
    other = untyped(MAKE.exists("/a"))
    finish(other, ErrorCode.NO_AUTH, Reader(b""), "/app")
    assert other.error is not None


def refused(*codes: int) -> bytes:
    return reply_to_multi(*(TxnResult(OpCode.ERROR, code) for code in codes))


def test_a_multi_that_failed() -> None:
    call = untyped(MAKE.multi(MULTI))
    finish(call, 0, Reader(refused(0, -101, -2)), "/app")
    assert isinstance(call.error, NoNodeError)
    assert (call.error.request, call.error.path) == ("set", "/b")
    first, second, third = call.error.results
    assert isinstance(first, RolledBackError)
    assert second is call.error
    assert isinstance(third, RuntimeInconsistencyError)
    found = [(error.request, error.path) for error in call.error.results]
    assert found == [("create", "/a"), ("set", "/b"), ("delete", "/c")]
    assert call.result is None


def test_a_multi_that_was_refused_as_a_whole() -> None:
    call = untyped(MAKE.multi(MULTI))
    finish(call, -6, Reader(b""), "/app")
    assert call.error is not None
    assert (call.error.request, call.error.results) == ("multi", ())


@pytest.mark.parametrize(
    "body",
    [
        reply_to_multi(),
        refused(0, -101),
        refused(0, -101, -2, -2),
        reply_to_multi(TxnResult(OpCode.DELETE)),
        reply_to_multi(*[TxnResult(OpCode.DELETE)] * 2, TxnResult(OpCode.ERROR, -101)),
    ],
)
def test_a_multi_without_one_result_for_each_operation(body: bytes) -> None:
    call = untyped(MAKE.multi(MULTI))
    with pytest.raises(MalformedError):
        finish(call, 0, Reader(body), "/app")
    assert (call.result, call.error) == (None, None)


def test_a_read_of_a_multi_read_that_failed() -> None:
    call = untyped(MAKE.multi_read(MultiRead().get("/a").children("/b")))
    parts = [(OpCode.GET_DATA, -102, b""), (OpCode.GET_CHILDREN, -101, b"")]
    finish(call, 0, Reader(replies.encode_multi_read(parts)), "/app")
    assert isinstance(call.result, tuple)
    first, second = call.result
    assert isinstance(first, NoAuthError)
    assert isinstance(second, NoNodeError)
    assert (first.request, first.path) == ("get", "/a")
    assert (second.request, second.path) == ("children", "/b")
    for count in (0, 1, 3):
        body = replies.encode_multi_read([(OpCode.GET_DATA, -101, b"")] * count)
        with pytest.raises(MalformedError):
            finish(copy_of(call), 0, Reader(body), "/app")
