"""The question to an election port, and a member's answer."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoolet.model.ensemble import ServerState
from zoolet.wire.election import NotificationReader, ask
from zoolet.wire.jute import MalformedError

CONFIG = b"server.1=a:1:2:participant\nversion=5"
VOTE = bytes.fromhex("00000002 0000000000000003 0000000100000007 0000000000000002 0000000000000001")


def message(body: bytes) -> bytes:
    """Return a message with its length."""
    return len(body).to_bytes(4) + body


def test_the_question_has_the_bytes_of_apache() -> None:
    """Taken apart by hand after ``QuorumCnxManager`` and ``FastLeaderElection.buildMsg``."""
    assert ask(200, "a:1") == bytes.fromhex(
        "ffffffffffff0000 00000000000000c8 00000003 613a31"
        "00000028 00000000 8000000000000000 8000000000000000 0000000000000000 8000000000000000"
        "00000001"
    )


def test_an_answer_with_a_configuration_is_read() -> None:
    sent = message(VOTE + bytes.fromhex("00000002") + message(CONFIG)) * 2
    reader = NotificationReader()
    found = []
    for position in range(len(sent)):
        reader.feed(sent[position : position + 1])
        if (notification := reader.next()) is not None:
            found.append(notification)
    assert len(found) == 2
    assert found[0] == found[1]
    assert found[0][:5] == (ServerState.LEADING, 3, 0x100000007, 2, 1)
    assert found[0].config is not None
    assert found[0].config.version == 5


@pytest.mark.parametrize("rest", ["", "00000001", "00000002 00000000"])
def test_an_answer_without_a_configuration_is_read(rest: str) -> None:
    reader = NotificationReader()
    reader.feed(message(VOTE + bytes.fromhex(rest)))
    notification = reader.next()
    assert notification is not None
    assert notification.config is None
    assert reader.next() is None


@pytest.mark.parametrize(
    "sent",
    [
        b"\x7f\xff\xff\xff",
        b"\0\0\0\x05",
        message(b"\0\0\0\x09" + VOTE[4:]),
        message(VOTE + bytes.fromhex("00000002 7fffffff")),
        message(VOTE + bytes.fromhex("00000002 ffffffff")),
    ],
)
def test_a_wrong_answer_is_refused(sent: bytes) -> None:
    reader = NotificationReader()
    reader.feed(sent)
    with pytest.raises(MalformedError):
        reader.next()


@given(st.binary(max_size=90).map(lambda rest: message(VOTE + rest)) | st.binary(max_size=90))
def test_any_bytes_are_an_answer_or_malformed(data: bytes) -> None:
    reader = NotificationReader()
    reader.feed(data)
    with contextlib.suppress(MalformedError):
        while reader.next() is not None:
            pass
