"""The bodies of replies: examples, and bytes that are no reply."""

from collections.abc import Callable

import pytest

from zoolet.model.acl import OPEN_ACL, Id
from zoolet.model.codes import EventType
from zoolet.model.results import Event, Granted, Refused, ZnodeData
from zoolet.model.stat import Stat
from zoolet.wire import reply_bodies
from zoolet.wire.jute import INT, MalformedError, Reader, pack_acl, pack_buffer, pack_ustring

STAT = Stat(1 << 40, 2, 3, 4, 5, 6, 7, -1, 9, 10, 11)
END_OF_MULTI = bytes.fromhex("ffffffff 01 ffffffff")


def header(op_code: int, err: int = 0) -> bytes:
    return INT.pack(op_code) + b"\x00" + INT.pack(err)


def test_results_of_a_multi_are_read_in_order() -> None:
    body = b"".join(
        (
            header(15) + pack_ustring("/a-01") + STAT.pack(),
            header(1) + pack_ustring("/b"),
            header(5) + STAT.pack(),
            header(2),
            header(13),
            END_OF_MULTI,
        )
    )
    wanted = ("/a-01", "/b", STAT, None, None)
    assert reply_bodies.read_multi(Reader(body)) == wanted


def test_a_refused_multi_has_a_code_for_each_operation() -> None:
    """The operations before the failed one have the code OK."""
    body = b"".join(header(-1, err) + INT.pack(err) for err in (0, -110, -2)) + END_OF_MULTI
    wanted = (Refused(0), Refused(-110), Refused(-2))
    assert reply_bodies.read_multi(Reader(body)) == wanted


def test_results_of_a_multi_read() -> None:
    body = b"".join(
        (
            header(4) + pack_buffer(None) + STAT.pack(),
            header(8) + INT.pack(2) + pack_ustring("x") + pack_ustring("y"),
            header(-1, -101) + INT.pack(-101),
            END_OF_MULTI,
        )
    )
    wanted = (ZnodeData(None, STAT), ("x", "y"), Refused(-101))
    assert reply_bodies.read_multi_read(Reader(body)) == wanted


@pytest.mark.parametrize("op_code", [0, 3, 4, 7, 14, 19, 21, -2, 1 << 30])
def test_an_unknown_part_of_a_multi_is_malformed(op_code: int) -> None:
    body = header(op_code) + STAT.pack() + END_OF_MULTI
    with pytest.raises(MalformedError, match=f"op code {op_code} in the reply to a multi"):
        reply_bodies.read_multi(Reader(body))


@pytest.mark.parametrize("op_code", [0, 1, 5, 12])
def test_an_unknown_part_of_a_multi_read_is_malformed(op_code: int) -> None:
    body = header(op_code) + STAT.pack() + END_OF_MULTI
    with pytest.raises(MalformedError, match=f"op code {op_code} in the reply to a multiRead"):
        reply_bodies.read_multi_read(Reader(body))


@pytest.mark.parametrize("count", [-2, -(1 << 31), 65, (1 << 31) - 1])
@pytest.mark.parametrize(
    "read",
    [
        reply_bodies.read_children,
        reply_bodies.read_children_and_stat,
        reply_bodies.read_paths,
        reply_bodies.read_acl_and_stat,
        reply_bodies.read_identities,
    ],
)
def test_a_count_that_cannot_be_is_malformed(read: Callable[[Reader], object], count: int) -> None:
    body = INT.pack(count) + bytes(64)
    with pytest.raises(MalformedError, match=f"a vector of {count} elements in 64 bytes"):
        read(Reader(body + bytes(1 << 10), 0, len(body)))


def test_a_null_vector_is_empty() -> None:
    body = INT.pack(-1) + STAT.pack()
    assert reply_bodies.read_children(Reader(body)) == ()
    assert reply_bodies.read_children_and_stat(Reader(body)) == ((), STAT)
    assert reply_bodies.read_acl_and_stat(Reader(body)) == ((), STAT)
    assert reply_bodies.read_identities(Reader(body)) == ()


def test_a_null_user_is_empty() -> None:
    body = INT.pack(1) + pack_ustring("ip") + INT.pack(-1)
    assert reply_bodies.read_identities(Reader(body)) == (Id("ip", ""),)


def test_text_that_is_no_utf8_is_replaced_as_java_does() -> None:
    name = pack_buffer(b"a\xff")
    assert reply_bodies.read_path(Reader(name)) == "a\ufffd"
    assert reply_bodies.read_children(Reader(INT.pack(1) + name)) == ("a\ufffd",)
    assert reply_bodies.read_identities(Reader(INT.pack(1) + name + name)) == (
        ("a\ufffd", "a\ufffd"),
    )


def test_an_open_acl_is_the_same_object() -> None:
    """Then later code recognizes it without a comparison of its entries."""
    body = pack_acl(OPEN_ACL) + STAT.pack()
    assert reply_bodies.read_acl_and_stat(Reader(body)).acl is OPEN_ACL


def test_an_event_has_the_zxid_of_its_header() -> None:
    body = INT.pack(3) + INT.pack(3) + pack_ustring("/a")
    event = Event(EventType.NODE_DATA_CHANGED, "/a", 7)
    assert reply_bodies.read_event(Reader(body), 7) == event


@pytest.mark.parametrize("number", [-1, 0, 5, 6, 7, 1 << 30])
@pytest.mark.parametrize("path", [None, b"", b"/a"])
def test_an_event_of_another_type_is_none(number: int, path: bytes | None) -> None:
    """Types 5 to 7 exist only in Apache ZooKeeper's client."""
    body = INT.pack(number) + INT.pack(0) + pack_buffer(path)
    reader = Reader(body)
    assert reply_bodies.read_event(reader, -1) is None
    assert reader.remaining == 0


def test_an_expired_session_is_granted_nothing() -> None:
    body = bytes.fromhex("00000000 00000000 0000000000000000 00000010") + bytes(16)
    nothing = Granted(0, 0, bytes(16), is_read_only=False)
    assert reply_bodies.read_granted(Reader(body)) == nothing
    assert reply_bodies.read_granted(Reader(body + b"\x01")).is_read_only


@pytest.mark.parametrize("end", range(4, 20))
def test_the_header_of_a_short_reply_is_malformed(end: int) -> None:
    with pytest.raises(MalformedError, match=f"a reply of {end - 4} bytes"):
        reply_bodies.reply_header(bytes(100), 4, end)
