"""The frames that wait in a hold come out in order, and no long frame is copied."""

import random

import pytest

from zoolet.server.connections.batches import Batch, Hold, Receiver

LONG = bytes(range(256)) * 20


def hold() -> Hold:
    return Batch(1).hold_of(Receiver())


def test_a_frame_alone_is_not_copied() -> None:
    for frame in (b"an event", LONG):
        held = hold()
        held.add(frame)
        assert held.count == 1
        (part,) = held.parts()
        assert part is frame


def test_a_long_frame_is_not_copied_wherever_it_is() -> None:
    for frames in ([LONG, b"an event"], [b"an event", LONG], [b"an event", LONG, LONG]):
        held = hold()
        for frame in frames:
            held.add(frame)
        assert held.count == len(frames)
        assert b"".join(held.parts()) == b"".join(frames)
        assert sum(part is LONG for part in held.parts()) == frames.count(LONG)


def test_an_event_comes_before_the_reply_that_follows_it() -> None:
    held = hold()
    held.add(b"event ")
    held.out().write(b"reply ")
    held.add(b"event")
    assert b"".join(held.parts()) == b"event reply event"


@pytest.mark.parametrize("seed", range(10))
def test_all_bytes_come_out_in_order(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(200):
        held, expected = hold(), b""
        for number in range(chance.randrange(6)):
            frame = LONG if chance.random() < 0.3 else f"frame {number};".encode()
            expected += frame
            match chance.randrange(3):
                case 0:
                    held.add(frame)
                case 1:
                    held.count += 1
                    held.out().write(frame)
                case _:
                    held.count += 1
                    held.add_long([frame])
        assert b"".join(held.parts()) == expected
