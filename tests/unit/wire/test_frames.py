"""Frames: whole, cut, and none."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoolet.wire.frames import decode_connect, encode_connected, encode_reply, frame_end
from zoolet.wire.jute import INT, MalformedError


@given(st.lists(st.binary(max_size=20)), st.integers(0, 400))
def test_frames_are_found_however_they_are_cut(contents: list[bytes], cut: int) -> None:
    data = b"".join(INT.pack(len(content)) + content for content in contents)
    found: list[bytes] = []
    unread = b""
    for piece in (data[:cut], data[cut:]):
        unread += piece
        position = 0
        while (end := frame_end(unread, position, 20)) != -1:
            found.append(unread[position + INT.size : end])
            position = end
        unread = unread[position:]
    assert found == contents
    assert not unread


@pytest.mark.parametrize("length", [-1, -(1 << 31), 21, (1 << 31) - 1])
def test_a_length_that_cannot_be_is_refused(length: int) -> None:
    with pytest.raises(MalformedError, match=r"jute\.maxbuffer is 20"):
        frame_end(INT.pack(length), 0, 20)


def test_a_reply_has_its_length_in_front() -> None:
    assert encode_reply(7, 8, -101, b"xy") == bytes.fromhex(
        "00000012 00000007 0000000000000008 ffffff9b 7879"
    )


def test_an_old_client_s_connect_has_no_read_only() -> None:
    frame = bytes.fromhex(
        "00000000 0000000000000005 00001388 0000000000000009 00000010" + "11" * 16
    )
    old = decode_connect(frame, 0, len(frame))
    assert (old.last_zxid_seen, old.timeout_ms, old.session_id) == (5, 5000, 9)
    assert (old.password, old.has_read_only, old.read_only) == (b"\x11" * 16, False, False)
    new = decode_connect(frame + b"\x01", 0, len(frame) + 1)
    assert (new.has_read_only, new.read_only) == (True, True)
    answers = [encode_connected(5000, 9, bytes(16), has_read_only=has) for has in (False, True)]
    assert [len(answer) for answer in answers] == [40, 41]


@given(st.binary(max_size=60))
def test_no_connect_request_is_only_ever_malformed(data: bytes) -> None:
    with contextlib.suppress(MalformedError):
        decode_connect(data, 0, len(data))
