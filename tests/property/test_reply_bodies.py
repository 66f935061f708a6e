"""The client's half of the wire format reads what the server's half writes, and no other bytes."""

import contextlib
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from tests.support.client_values import IDENTITIES, PATH_LISTS, STATS
from tests.support.strategies import ACLS, DATA, INT32, INT64, PATHS
from zoolet.model.acl import AclList, Id
from zoolet.model.codes import EventType, OpCode
from zoolet.model.replies import TxnResult
from zoolet.model.results import (
    AclOf,
    Children,
    Created,
    Event,
    Granted,
    Refused,
    ZnodeData,
)
from zoolet.model.stat import Stat
from zoolet.wire import replies, reply_bodies
from zoolet.wire.frames import encode_connected, encode_reply
from zoolet.wire.jute import MalformedError, Reader, pack_buffer, pack_ustrings
from zoolet.wire.reply_bodies import PartResult, ReadPartResult

NOISE = b"\x00\x01\xff the next frame"
READERS: list[Callable[[Reader], object]] = [
    reply_bodies.read_stat,
    reply_bodies.read_data,
    reply_bodies.read_children,
    reply_bodies.read_children_and_stat,
    reply_bodies.read_acl_and_stat,
    reply_bodies.read_path,
    reply_bodies.read_created,
    reply_bodies.read_number,
    reply_bodies.read_paths,
    reply_bodies.read_identities,
    reply_bodies.read_multi,
    reply_bodies.read_multi_read,
    lambda reader: reply_bodies.read_event(reader, 1),
    reply_bodies.read_granted,
    lambda reader: reply_bodies.reply_header(reader.data, reader.position, reader.end),
]


def check(read: Callable[[Reader], object], body: bytes, wanted: object) -> None:
    """Check that ``read`` reads the whole body, and that each part of it is malformed."""
    reader = Reader(NOISE + body + NOISE, len(NOISE), len(NOISE) + len(body))
    assert read(reader) == wanted
    assert reader.remaining == 0
    for end in range(len(body)):
        with contextlib.suppress(MalformedError):
            found = read(Reader(body + NOISE, 0, end))
            raise AssertionError(f"{found} in {end} of {len(body)} bytes")


@given(STATS, DATA)
def test_a_stat_and_data(stat: Stat, data: bytes | None) -> None:
    check(reply_bodies.read_stat, stat.pack(), stat)
    check(reply_bodies.read_data, pack_buffer(data) + stat.pack(), ZnodeData(data, stat))


@given(STATS, PATHS, st.sampled_from([OpCode.CREATE2, OpCode.CREATE_CONTAINER, OpCode.CREATE_TTL]))
def test_writes(stat: Stat, path: str, op_code: OpCode) -> None:
    for told in (OpCode.SET_DATA, OpCode.SET_ACL):
        result = TxnResult(told, record=b"data" + stat.pack())
        check(reply_bodies.read_stat, replies.encode_result(result), stat)
    result = TxnResult(op_code, path=path, record=stat.pack())
    check(reply_bodies.read_created, replies.encode_result(result), Created(path, stat))
    check(reply_bodies.read_path, replies.encode_result(TxnResult(OpCode.CREATE, path=path)), path)
    check(reply_bodies.read_path, replies.encode_path(path), path)


@given(PATH_LISTS, STATS, INT32)
def test_lists(names: tuple[str, ...], stat: Stat, number: int) -> None:
    packed = pack_ustrings(names)
    check(reply_bodies.read_children, packed, names)
    check(reply_bodies.read_children_and_stat, packed + stat.pack(), Children(names, stat))
    check(reply_bodies.read_paths, replies.encode_paths(names), names)
    check(reply_bodies.read_number, replies.encode_count(number), number)


@given(ACLS, STATS, IDENTITIES)
def test_acls_and_identities(acl: AclList, stat: Stat, identities: list[tuple[str, str]]) -> None:
    check(reply_bodies.read_acl_and_stat, replies.encode_acl(acl, stat.pack()), AclOf(acl, stat))
    wanted = tuple(Id(*identity) for identity in identities)
    check(reply_bodies.read_identities, replies.encode_identities(identities), wanted)


MULTI_PARTS: st.SearchStrategy[tuple[TxnResult, PartResult]] = st.one_of(
    PATHS.map(lambda path: (TxnResult(OpCode.CREATE, path=path), path)),
    st.builds(
        lambda op_code, path, stat: (
            TxnResult(op_code, path=path, record=stat.pack()),
            path,
        ),
        st.sampled_from([OpCode.CREATE2, OpCode.CREATE_CONTAINER, OpCode.CREATE_TTL]),
        PATHS,
        STATS,
    ),
    STATS.map(lambda stat: (TxnResult(OpCode.SET_DATA, record=stat.pack()), stat)),
    st.sampled_from([OpCode.DELETE, OpCode.CHECK]).map(lambda op_code: (TxnResult(op_code), None)),
    INT32.map(lambda err: (TxnResult(OpCode.ERROR, err), Refused(err))),
)


@given(st.lists(MULTI_PARTS, max_size=4))
def test_multi(parts: list[tuple[TxnResult, PartResult]]) -> None:
    result = TxnResult(OpCode.MULTI, parts=tuple(part for part, _ in parts))
    wanted = tuple(value for _, value in parts)
    check(reply_bodies.read_multi, replies.encode_result(result), wanted)


READ_PARTS: st.SearchStrategy[tuple[tuple[int, int, bytes], ReadPartResult]] = st.one_of(
    st.builds(
        lambda data, stat: (
            (OpCode.GET_DATA, 0, pack_buffer(data) + stat.pack()),
            ZnodeData(data, stat),
        ),
        DATA,
        STATS,
    ),
    PATH_LISTS.map(lambda names: ((OpCode.GET_CHILDREN, 0, pack_ustrings(names)), names)),
    st.integers(-200, -1).map(lambda err: ((OpCode.GET_DATA, err, b""), Refused(err))),
)


@given(st.lists(READ_PARTS, max_size=4))
def test_multi_read(parts: list[tuple[tuple[int, int, bytes], ReadPartResult]]) -> None:
    body = replies.encode_multi_read([part for part, _ in parts])
    check(reply_bodies.read_multi_read, body, tuple(value for _, value in parts))


@given(st.sampled_from(EventType), PATHS, INT64)
def test_an_event(event_type: EventType, path: str, zxid: int) -> None:
    frame = replies.encode_event(event_type, path, zxid)
    assert reply_bodies.reply_header(frame, 4) == (-1, zxid, 0)
    wanted = Event(event_type, path, zxid)
    check(lambda reader: reply_bodies.read_event(reader, zxid), frame[20:], wanted)


@given(INT32, INT64, INT32, st.binary(max_size=9))
def test_the_header_of_a_reply(xid: int, zxid: int, err: int, body: bytes) -> None:
    frame = encode_reply(xid, zxid, err, body)
    assert reply_bodies.reply_header(NOISE + frame, len(NOISE) + 4) == (xid, zxid, err)
    for end in range(4, 20):
        with contextlib.suppress(MalformedError):
            raise AssertionError(reply_bodies.reply_header(frame + NOISE, 4, end))
        with contextlib.suppress(MalformedError):
            raise AssertionError(reply_bodies.reply_header(frame[:end], 4))


@given(INT32, INT64, st.binary(max_size=20), st.booleans())
def test_granted(timeout_ms: int, session_id: int, password: bytes, has_read_only: bool) -> None:
    frame = encode_connected(timeout_ms, session_id, password, has_read_only=has_read_only)
    wanted = Granted(timeout_ms, session_id, password, is_read_only=False)
    body = frame[4:]
    assert reply_bodies.read_granted(Reader(body)) == wanted
    # Without the last byte it is the reply of an old server.
    old = body[:-1] if has_read_only else body
    check(reply_bodies.read_granted, old, wanted)
    read_only = Granted(timeout_ms, session_id, password, is_read_only=True)
    assert reply_bodies.read_granted(Reader(old + b"\x01")) == read_only


VALID_BODIES = st.one_of(
    st.builds(lambda data, stat: pack_buffer(data) + stat.pack(), DATA, STATS),
    st.builds(lambda names, stat: pack_ustrings(names) + stat.pack(), PATH_LISTS, STATS),
    st.builds(lambda acl, stat: replies.encode_acl(acl, stat.pack()), ACLS, STATS),
    IDENTITIES.map(replies.encode_identities),
    st.lists(MULTI_PARTS, max_size=4).map(
        lambda parts: replies.encode_result(
            TxnResult(OpCode.MULTI, parts=tuple(part for part, _ in parts))
        )
    ),
    st.lists(READ_PARTS, max_size=4).map(
        lambda parts: replies.encode_multi_read([part for part, _ in parts])
    ),
    st.builds(replies.encode_event, st.sampled_from(EventType), PATHS, INT64).map(
        lambda frame: frame[20:]
    ),
)
CHANGED_BYTE = st.tuples(
    st.integers(0, 200), st.sampled_from([0x00, 0x01, 0x7F, 0x80, 0xFE, 0xFF]) | st.integers(0, 255)
)


def read_all_ways(data: bytes) -> None:
    """Check that each function returns a value or raises MalformedError."""
    for read in READERS:
        reader = Reader(data)
        with contextlib.suppress(MalformedError):
            read(reader)
        assert 0 <= reader.position <= len(data)


@given(st.binary(max_size=200))
def test_random_bytes_are_only_ever_malformed(data: bytes) -> None:
    read_all_ways(data)


@given(VALID_BODIES, st.lists(CHANGED_BYTE, min_size=1, max_size=4))
def test_changed_bodies_are_only_ever_malformed(
    body: bytes, changes: list[tuple[int, int]]
) -> None:
    changed = bytearray(body)
    for position, value in changes:
        if changed:
            changed[position % len(changed)] = value
    read_all_ways(bytes(changed))
