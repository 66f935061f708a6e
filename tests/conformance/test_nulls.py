"""Nulls in requests, where the protocol can say null: the same answers as Apache ZooKeeper's.

What Java's checks fail on is a marshalling error, and a write takes a zxid all the same. What they
look at first is an error of its own.
"""

import contextlib
from collections.abc import Iterator

import pytest

from tests.support.rawclient import END_OF_MULTI, RawClient
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import ErrorCode, OpCode
from zoolet.testing import ApacheServer, ServerProcess
from zoolet.testing.servers.apache import DEBIAN_JARS
from zoolet.testing.servers.process import ExternalServer
from zoolet.wire.jute import INT, LONG, pack_acl, pack_buffer, pack_ustring

OK, INVALID_ACL = ErrorCode.OK, ErrorCode.INVALID_ACL
MARSHALLING, BAD_ARGUMENTS = ErrorCode.MARSHALLING_ERROR, ErrorCode.BAD_ARGUMENTS
NULL = pack_buffer(None)
DATA, OPEN = pack_buffer(b"x"), pack_acl(OPEN_ACL)
ANY_VERSION = INT.pack(-1)
TTL_FLAGS, UNKNOWN_FLAGS = INT.pack(5), INT.pack(77)


@pytest.fixture(scope="module", params=["zoolet", "apache"])
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ExternalServer]:
    """A running server of each kind, for all tests: none of them changes anything."""
    settings = {"extendedTypesEnabled": "true"}
    directory = tmp_path_factory.mktemp("server")
    running: ExternalServer
    if request.param == "zoolet":
        running = ServerProcess(directory, settings)
    else:
        running = ApacheServer(directory, request.getfixturevalue("apache_jars"), settings)
    with running:
        with RawClient(running.port) as first:
            first.connect()
            assert first.create("/a").err == OK
        yield running


@pytest.fixture
def as_in_39(request: pytest.FixtureRequest, both: ExternalServer) -> None:
    """Skip where Apache ZooKeeper is Debian's 3.8, which answers otherwise."""
    if isinstance(both, ApacheServer) and request.config.getoption("--apache-jars") == DEBIAN_JARS:
        pytest.skip("needs Apache ZooKeeper 3.9: run make conformance")


@pytest.fixture
def raw(both: ExternalServer) -> Iterator[RawClient]:
    with RawClient(both.port) as connected:
        connected.connect()
        yield connected
        with contextlib.suppress(OSError):  # the server may have closed it
            connected.send(OpCode.CLOSE_SESSION)


def acl(*entries: tuple[int, str | None, str | None]) -> bytes:
    packed = [
        INT.pack(perms) + b"".join(NULL if text is None else pack_ustring(text) for text in who)
        for perms, *who in entries
    ]
    return INT.pack(len(packed)) + b"".join(packed)


def part(op_code: int, body: bytes) -> bytes:
    return INT.pack(op_code) + b"\0" + INT.pack(-1) + body


CREATE_NULL = NULL + DATA + OPEN + INT.pack(0)
WRITES: dict[str, tuple[int, bytes, ErrorCode]] = {
    "create": (OpCode.CREATE, CREATE_NULL, MARSHALLING),
    "create2": (OpCode.CREATE2, CREATE_NULL, MARSHALLING),
    "container": (OpCode.CREATE_CONTAINER, NULL + DATA + OPEN + INT.pack(4), MARSHALLING),
    "ttl": (OpCode.CREATE_TTL, NULL + DATA + OPEN + TTL_FLAGS + LONG.pack(9), MARSHALLING),
    "ttl of 0": (OpCode.CREATE_TTL, NULL + DATA + OPEN + TTL_FLAGS + LONG.pack(0), BAD_ARGUMENTS),
    "flags first": (OpCode.CREATE, NULL + DATA + OPEN + UNKNOWN_FLAGS, BAD_ARGUMENTS),
    "path before list": (OpCode.CREATE, NULL + DATA + INT.pack(0) * 2, MARSHALLING),
    "delete": (OpCode.DELETE, NULL + ANY_VERSION, MARSHALLING),
    "setData": (OpCode.SET_DATA, NULL + DATA + ANY_VERSION, BAD_ARGUMENTS),
    "setACL": (OpCode.SET_ACL, NULL + OPEN + ANY_VERSION, BAD_ARGUMENTS),
}

PARTS = {
    "create": part(OpCode.CREATE, CREATE_NULL),
    "delete": part(OpCode.DELETE, NULL + ANY_VERSION),
    "setData": part(OpCode.SET_DATA, NULL + DATA + ANY_VERSION),
    "check": part(OpCode.CHECK, NULL + ANY_VERSION),
}

LISTS: dict[str, tuple[bytes, ErrorCode]] = {
    "scheme": (acl((1, None, "x")), INVALID_ACL),
    "id of world": (acl((1, "world", None)), MARSHALLING),
    "id of digest": (acl((1, "digest", None)), MARSHALLING),
    "id of ip": (acl((1, "ip", None)), MARSHALLING),
    "id of a scheme that is none": (acl((1, "none", None)), INVALID_ACL),
    "scheme after the same permissions": (
        acl((1, "world", "anyone"), (1, None, "x")),
        MARSHALLING,
    ),
    "scheme after other permissions": (acl((2, "world", "anyone"), (1, None, "x")), INVALID_ACL),
    "id after the same scheme": (acl((1, "none", "x"), (1, "none", None)), MARSHALLING),
    "id after an invalid entry": (acl((1, "none", "x"), (1, "digest", None)), INVALID_ACL),
    "null list": (NULL, INVALID_ACL),
}


@pytest.mark.parametrize("name", WRITES)
def test_a_write_with_a_null_path_takes_a_zxid(raw: RawClient, name: str) -> None:
    op_code, body, code = WRITES[name]
    before = raw.request(OpCode.EXISTS, pack_ustring("/a") + b"\0").zxid
    reply = raw.request(op_code, body)
    assert (reply.err, reply.zxid, reply.body) == (code, before + 1, b"")
    assert raw.request(OpCode.EXISTS, pack_ustring("/a") + b"\0").err == OK


@pytest.mark.parametrize("name", LISTS)
def test_nulls_in_lists(raw: RawClient, name: str) -> None:
    packed, code = LISTS[name]
    before = raw.request(OpCode.EXISTS, pack_ustring("/a") + b"\0").zxid
    create = pack_ustring("/b") + DATA + packed + INT.pack(0)
    assert raw.request(OpCode.CREATE, create)[1:] == (before + 1, code, b"")
    set_acl = pack_ustring("/a") + packed + ANY_VERSION
    assert raw.request(OpCode.SET_ACL, set_acl)[1:] == (before + 2, code, b"")


def test_a_list_is_looked_at_before_the_parent(raw: RawClient) -> None:
    create = pack_ustring("/none/b") + DATA + acl((1, "world", None)) + INT.pack(0)
    assert raw.request(OpCode.CREATE, create).err == MARSHALLING


@pytest.mark.usefixtures("as_in_39")
@pytest.mark.parametrize("first", ["/a", "/none"])
@pytest.mark.parametrize("name", PARTS)
def test_a_null_path_refuses_a_whole_multi(raw: RawClient, name: str, first: str) -> None:
    """Also behind a part that succeeds, and behind one that is refused for another reason."""
    before = raw.request(OpCode.EXISTS, pack_ustring("/a") + b"\0").zxid
    parts = part(OpCode.DELETE, pack_ustring(first) + ANY_VERSION) + PARTS[name]
    assert raw.request(OpCode.MULTI, parts + END_OF_MULTI)[1:] == (before + 1, MARSHALLING, b"")
    assert raw.request(OpCode.EXISTS, pack_ustring("/a") + b"\0").err == OK


@pytest.mark.usefixtures("as_in_39")
def test_no_watch_is_on_a_null_path(raw: RawClient) -> None:
    reply = raw.request(OpCode.CHECK_WATCHES, NULL + INT.pack(3))
    assert (reply.err, reply.body) == (ErrorCode.NO_WATCHER, b"")


def test_a_null_in_a_list_refuses_a_whole_multi_unless_a_part_before_is_refused(
    raw: RawClient,
) -> None:
    create = part(OpCode.CREATE, pack_ustring("/b") + DATA + acl((1, "world", None)) + INT.pack(0))
    reply = raw.request(OpCode.MULTI, create + END_OF_MULTI)
    assert (reply.err, reply.body) == (MARSHALLING, b"")
    first = part(OpCode.DELETE, pack_ustring("/none") + ANY_VERSION)
    reply = raw.request(OpCode.MULTI, first + create + END_OF_MULTI)
    codes = (ErrorCode.NO_NODE, ErrorCode.RUNTIME_INCONSISTENCY)
    parts = [INT.pack(OpCode.ERROR) + b"\0" + INT.pack(err) + INT.pack(err) for err in codes]
    assert (reply.err, reply.body) == (OK, b"".join(parts) + END_OF_MULTI)


READS = {
    "exists": (OpCode.EXISTS, NULL + b"\0", MARSHALLING, b""),
    "getData": (OpCode.GET_DATA, NULL + b"\0", MARSHALLING, b""),
    "getChildren": (OpCode.GET_CHILDREN, NULL + b"\0", MARSHALLING, b""),
    "getChildren2": (OpCode.GET_CHILDREN2, NULL + b"\0", MARSHALLING, b""),
    "getACL": (OpCode.GET_ACL, NULL, MARSHALLING, b""),
    "getAllChildrenNumber": (OpCode.GET_ALL_CHILDREN_NUMBER, NULL, MARSHALLING, b""),
    "getEphemerals": (OpCode.GET_EPHEMERALS, NULL, OK, INT.pack(0)),
    "sync": (OpCode.SYNC, NULL, OK, NULL),
    "removeWatches": (OpCode.REMOVE_WATCHES, NULL + INT.pack(3), ErrorCode.NO_WATCHER, b""),
}


@pytest.mark.parametrize("name", READS)
def test_a_read_with_a_null_path_takes_no_zxid(raw: RawClient, name: str) -> None:
    op_code, body, code, answer = READS[name]
    before = raw.request(OpCode.EXISTS, pack_ustring("/a") + b"\0").zxid
    assert raw.request(op_code, body)[1:] == (before, code, answer)


def test_a_null_token_ends_the_connection(raw: RawClient) -> None:
    raw.send(OpCode.SASL, NULL)
    assert raw.is_closed_by_server()


@pytest.mark.parametrize("credentials", [NULL, pack_buffer(b"ada:x")])
@pytest.mark.parametrize("scheme", [NULL, pack_ustring("none")])
def test_a_null_scheme_is_one_that_nobody_knows(
    raw: RawClient, scheme: bytes, credentials: bytes
) -> None:
    reply = raw.request(OpCode.AUTH, INT.pack(0) + scheme + credentials, xid=-4)
    assert (reply.err, reply.body) == (ErrorCode.AUTH_FAILED, b"")
    assert raw.is_closed_by_server()
