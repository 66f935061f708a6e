"""Lists that are read while a reply arrives are the same as those of the complete reply."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.client_peer import Peer, untyped
from tests.support.client_values import STATS
from tests.support.fake_zookeeper import stat_of
from tests.support.strategies import TEXT
from zoolet.client.errors import ProtocolError
from zoolet.client.protocol.batches import MultiRead
from zoolet.client.protocol.calls import Call
from zoolet.client.protocol.received import LONG_FRAME_BYTES
from zoolet.client.protocol.session import Outcome
from zoolet.model.codes import OpCode
from zoolet.model.results import Children
from zoolet.model.stat import Stat
from zoolet.wire import replies
from zoolet.wire.frames import encode_reply
from zoolet.wire.jute import MalformedError, Reader, pack_buffer, pack_ustrings
from zoolet.wire.lists_ahead import ListsAhead, begins_with_lists
from zoolet.wire.reply_bodies import read_children_and_stat, read_multi_read

NAMES = st.lists(TEXT, max_size=6).map(tuple)
PARTS = st.one_of(
    NAMES.map(lambda names: (OpCode.GET_CHILDREN, 0, pack_ustrings(names))),
    st.builds(
        lambda data, stat: (OpCode.GET_DATA, 0, pack_buffer(data) + stat.pack()),
        st.none() | st.binary(max_size=9),
        STATS,
    ),
    st.integers(-200, -1).map(lambda err: (OpCode.GET_DATA, err, b"")),
)
BODIES = st.one_of(
    st.builds(
        lambda names, stat: (OpCode.GET_CHILDREN2.value, pack_ustrings(names) + stat.pack()),
        NAMES,
        STATS,
    ),
    st.lists(PARTS, max_size=5).map(
        lambda parts: (OpCode.MULTI_READ.value, replies.encode_multi_read(parts))
    ),
)
CHANGES = st.lists(
    st.tuples(st.integers(0, 300), st.sampled_from([0, 1, 0x7F, 0x80, 0xFE, 0xFF])), max_size=3
)


def whole(op_code: int, body: bytes) -> object:
    """Read a complete body; None if it is malformed."""
    read = read_multi_read if op_code == OpCode.MULTI_READ else read_children_and_stat
    try:
        return read(Reader(body))
    except MalformedError:
        return None


def in_pieces(op_code: int, body: bytes, sizes: list[int]) -> object:
    """Read a body while it arrives in pieces; None if it is malformed."""
    lists, kept, at = ListsAhead(op_code), b"", 0
    try:
        for size in (*sizes, len(body)):
            kept += body[at : at + size]
            at = min(at + size, len(body))
            reader = Reader(kept)
            lists.read(reader, len(body) - at)
            kept = kept[reader.position :]
        reader = Reader(kept)
        is_multi = op_code == OpCode.MULTI_READ
        return lists.parts(reader) if is_multi else lists.children(reader)
    except MalformedError:
        return None


@given(BODIES, st.lists(st.integers(0, 40), max_size=40))
def test_pieces_of_any_size_give_the_same_lists(reply: tuple[int, bytes], sizes: list[int]) -> None:
    op_code, body = reply
    found = in_pieces(op_code, body, sizes)
    assert found is not None
    assert found == whole(op_code, body)


@given(BODIES, CHANGES, st.integers(0, 300), st.lists(st.integers(0, 40), max_size=40))
def test_changed_and_short_replies_are_as_malformed_as_in_one_piece(
    reply: tuple[int, bytes], changes: list[tuple[int, int]], end: int, sizes: list[int]
) -> None:
    op_code, body = reply
    changed = bytearray(body)
    for position, value in changes:
        changed[position % len(changed)] = value
    changed = changed[: max(end, len(changed) - end)]
    assert in_pieces(op_code, bytes(changed), sizes) == whole(op_code, bytes(changed))


def test_an_invalid_name_is_an_error_before_the_reply_is_complete() -> None:
    for invalid in (b"\xff\xff\xff\xff", b"\xff\xff\xff\xfe", b"\0\0\1\0"):
        lists = ListsAhead(OpCode.GET_CHILDREN2.value)
        with pytest.raises(MalformedError):
            lists.read(Reader(b"\0\0\0\2" + b"\0\0\0\1a" + invalid), 90)
    with pytest.raises(MalformedError):
        ListsAhead(OpCode.GET_CHILDREN2.value).read(Reader(b"\0\0\1\0"), 255)


def test_only_replies_with_lists_begin_with_them() -> None:
    found = {op_code for op_code in OpCode if begins_with_lists(op_code)}
    assert found == {OpCode.GET_CHILDREN2, OpCode.MULTI_READ}


def long_names(chance: random.Random) -> tuple[str, ...]:
    """Return names that need a long frame."""
    names: list[str] = []
    size_bytes = 0
    while size_bytes <= LONG_FRAME_BYTES:
        names.append(chance.choice("aéש𝄞") * chance.randrange(1, 300))
        size_bytes += len(names[-1].encode()) + 4
    return tuple(names)


def cut(chance: random.Random, data: bytes) -> list[bytes]:
    """Cut data into pieces of random sizes; some are single bytes, others have several frames."""
    pieces, at = [], 0
    most = chance.choice([5_000, 50_000, 400_000])
    while at < len(data):
        size = chance.choice([1, 3, chance.randrange(1, most)])
        pieces.append(data[at : at + size])
        at += size
    return pieces


def calls_and_replies(
    chance: random.Random, peer: Peer
) -> tuple[list[Call[object]], list[object], bytes]:
    """Start random calls; return them, their results, and the bytes of the replies."""
    calls: list[Call[object]] = []
    results: list[object] = []
    data = b""
    stat: Stat = stat_of(7)
    for _ in range(6):
        names = chance.choice([("b",), long_names(chance)])
        if chance.random() < 0.5:
            calls.append(untyped(peer.make.children("/a")))
            results.append(Children(names, stat))
            body = pack_ustrings(names) + stat.pack()
        else:
            calls.append(untyped(peer.make.multi_read(MultiRead().children("/a").children("/b"))))
            results.append((names, names))
            parts = [(OpCode.GET_CHILDREN, 0, pack_ustrings(names))] * 2
            body = replies.encode_multi_read(parts)
        peer.session.start(calls[-1])
        data += encode_reply(calls[-1].xid, 9, 0, body)
    return calls, results, data


def test_a_session_reads_long_lists_in_pieces() -> None:
    """Some calls are dropped before, during or after their reply."""
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    for _ in range(10):
        peer = Peer()
        peer.primed()
        calls, results, data = calls_and_replies(chance, peer)
        peer.session.data_to_send()
        ended: list[Outcome] = []
        dropped: set[int] = set()
        for piece in cut(chance, data):
            if chance.random() < 0.02:
                call = chance.choice(calls)
                if call not in ended:
                    dropped.add(call.xid)
                peer.session.drop(call)
            ended += peer.session.receive(piece)
        wanted = [
            (call.xid, result)
            for call, result in zip(calls, results, strict=True)
            if call.xid not in dropped
        ]
        found = [(call.xid, call.result) for call in ended if isinstance(call, Call)]
        assert found == wanted, f"seed {seed}"
        assert not peer.session.outstanding_bytes
        assert all(call.lists is None for call in ended if isinstance(call, Call))


def test_a_lost_connection_in_a_list_leaves_nothing_for_the_next_one() -> None:
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    peer = Peer()
    peer.primed()
    for _ in range(5):
        names = long_names(chance)
        body = pack_ustrings(names) + stat_of(7).pack()
        first = peer.start(peer.make.children("/a"))
        peer.session.data_to_send()
        frame = encode_reply(first.xid, 9, 0, body)
        for piece in cut(chance, frame[: chance.randrange(1, len(frame))]):
            assert peer.session.receive(piece) == []
        assert untyped(first) in peer.session.disconnected()
        assert first.error is not None
        peer.primed()
        second = peer.start(peer.make.children("/a"))
        peer.session.data_to_send()
        ended: list[Outcome] = []
        for piece in cut(chance, encode_reply(second.xid, 9, 0, body)):
            ended += peer.session.receive(piece)
        assert ended == [second], f"seed {seed}"
        assert second.result == Children(names, stat_of(7))


def test_invalid_names_in_a_long_list_end_the_connection_early() -> None:
    """The calls before it have their results, and the call of the list has an error."""
    peer = Peer()
    peer.primed()
    calls = [peer.start(peer.make.children("/a")) for _ in range(2)]
    peer.session.data_to_send()
    good = encode_reply(calls[0].xid, 9, 0, pack_ustrings(["b"]) + stat_of(7).pack())
    names = pack_ustrings(["c" * 99] * 4000)
    bad = encode_reply(calls[1].xid, 9, 0, names[:200_000] + b"\xff" * 200_000)
    with pytest.raises(ProtocolError):
        peer.session.receive(good + bad[:300_000])
    ended = peer.session.disconnected()
    assert [call for call in ended if isinstance(call, Call)] == calls
    assert calls[0].result == Children(("b",), stat_of(7))
    assert calls[1].error is not None
