"""The packets of the authentication between members."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoolet.wire.jute import MalformedError
from zoolet.wire.quorum_auth import AuthPacket, AuthReader, AuthStatus, encode_auth


def test_a_packet_has_the_bytes_of_apache() -> None:
    assert encode_auth(AuthStatus.IN_PROGRESS, b"") == bytes.fromhex(
        "5f2435013501edcc 00000000 00000000"
    )
    assert encode_auth(AuthStatus.ERROR, b"ab") == bytes.fromhex(
        "5f2435013501edcc ffffffff 00000002 6162"
    )


def test_packets_in_pieces_are_read_and_the_rest_remains() -> None:
    sent = encode_auth(AuthStatus.IN_PROGRESS, b"one") + encode_auth(AuthStatus.SUCCESS, b"")
    reader = AuthReader()
    found = []
    for position in range(len(sent)):
        reader.feed(sent[position : position + 1])
        if (packet := reader.next()) is not None:
            found.append(packet)
    assert found == [
        AuthPacket(AuthStatus.IN_PROGRESS, b"one"),
        AuthPacket(AuthStatus.SUCCESS, b""),
    ]
    reader.feed(b"next protocol")
    assert reader.rest() == b"next protocol"
    assert reader.rest() == b""


@pytest.mark.parametrize(
    "sent",
    [
        "0000000000000000 00000000 00000000",
        "5f2435013501edcc 00000002 00000000",
        "5f2435013501edcc 00000000 7fffffff",
        "5f2435013501edcc 00000000 fffffffe",
    ],
)
def test_a_wrong_packet_is_refused(sent: str) -> None:
    reader = AuthReader()
    reader.feed(bytes.fromhex(sent))
    with pytest.raises(MalformedError):
        reader.next()


@given(st.binary(max_size=40))
def test_any_bytes_are_packets_or_malformed(data: bytes) -> None:
    reader = AuthReader()
    reader.feed(data)
    with contextlib.suppress(MalformedError):
        reader.next()
