"""The second thread that sends: what arrives, what it reports, and what it refuses."""

import contextlib
import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

module = pytest.importorskip(
    "zoolet.server.connections.sending_thread", reason="only in the compiled build for Linux"
)
SendingThread = module.SendingThread

PAIRS = 40


@pytest.fixture
def thread() -> Iterator[Any]:
    made = SendingThread()
    yield made
    made.close()


@pytest.fixture
def pairs() -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    with contextlib.ExitStack() as opened:
        made = [socket.socketpair() for _ in range(PAIRS)]
        for pair in made:
            for end in pair:
                opened.enter_context(end).setblocking(False)
        yield made


def received(end: socket.socket) -> bytes:
    arrived = bytearray()
    with contextlib.suppress(BlockingIOError):
        while piece := end.recv(1 << 20):
            arrived += piece
    return bytes(arrived)


@pytest.mark.parametrize("seed", range(3))
def test_each_socket_gets_what_is_reported(
    seed: int, thread: Any, pairs: list[tuple[socket.socket, socket.socket]]
) -> None:
    """Random frames to random sockets, which are sometimes full, and sometimes have failed."""
    chance = random.Random(seed)
    expected, arrived = [bytearray() for _ in pairs], [bytearray() for _ in pairs]
    failed: set[int] = set()
    for _ in range(300):
        chosen = chance.sample(range(PAIRS), chance.randrange(PAIRS + 1))
        frames = [chance.randbytes(chance.choice((0, 1, 76, 3_000, 200_000))) for _ in chosen]
        counts = thread.send_each([pairs[i][0].fileno() for i in chosen], frames)
        for i, frame, sent in zip(chosen, frames, counts, strict=True):
            assert 0 <= sent <= (0 if i in failed else len(frame))
            expected[i] += frame[:sent]
        for i in set(chance.sample(range(PAIRS), 8)) - failed:
            arrived[i] += received(pairs[i][1])
        if chance.random() < 0.02:
            i = chance.choice(chosen or [0])
            if i not in failed:
                arrived[i] += received(pairs[i][1])
                pairs[i][1].close()
                failed.add(i)
    for i in set(range(PAIRS)) - failed:
        arrived[i] += received(pairs[i][1])
    assert arrived == expected
    assert failed


def test_a_full_socket_takes_a_part_and_does_not_wait(thread: Any) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:  # a blocking socket
        (first,) = thread.send_each([ours.fileno()], [bytes(1 << 24)])
        assert 0 < first < 1 << 24
        assert thread.send_each([ours.fileno()], [b"more"]) == [0]


def test_what_is_no_socket_gets_nothing(thread: Any, tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    closed = ours.fileno()
    ours.close()
    theirs.close()
    with (tmp_path / "file").open("wb") as file:
        assert thread.send_each([closed, -1, file.fileno()], [b"some"] * 3) == [0, 0, 0]
    assert (tmp_path / "file").read_bytes() == b""
    assert thread.send_each([], []) == []


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((), TypeError),
        (([],), TypeError),
        (((1,), [b""]), TypeError),
        (([1], (b"",)), TypeError),
        (([1], ["text"]), TypeError),
        (([1], [bytearray(1)]), TypeError),
        ((["1"], [b""]), TypeError),
        (([1, 2], [b""]), ValueError),
        (([1 << 31], [b""]), OverflowError),
        (([1 << 80], [b""]), OverflowError),
    ],
)
def test_wrong_arguments_send_nothing(
    thread: Any, arguments: tuple[object, ...], error: type[Exception]
) -> None:
    with pytest.raises(error):
        thread.send_each(*arguments)
    assert thread.send_each([-1], [b""]) == [0]


def test_a_closed_thread_sends_nothing(thread: Any) -> None:
    thread.close()
    thread.close()
    with pytest.raises(RuntimeError, match="closed"):
        thread.send_each([-1], [b""])


def test_threads_end(thread: Any) -> None:
    """Of those that are closed, and of those that nobody refers to."""
    tasks = Path("/proc/self/task")
    before = len(list(tasks.iterdir()))
    for number in range(50):
        made = SendingThread()
        assert made.send_each([-1], [b""]) == [0]
        if number % 2:
            made.close()
        del made
    assert len(list(tasks.iterdir())) == before
    assert thread.send_each([-1], [b""]) == [0]


def test_only_one_thread_of_python_sends_at_a_time(
    thread: Any, pairs: list[tuple[socket.socket, socket.socket]]
) -> None:
    """A call during another one is refused, and nothing is sent twice or lost."""
    sent, refused = [0] * 4, [0] * 4

    def send(number: int) -> None:
        descriptors = [ours.fileno() for ours, _ in pairs]
        for _ in range(200):
            try:
                sent[number] += sum(thread.send_each(descriptors, [b"x"] * PAIRS))
            except RuntimeError:
                refused[number] += 1

    senders = [threading.Thread(target=send, args=[number]) for number in range(len(sent))]
    arrived = 0
    for sender in senders:
        sender.start()
    while any(sender.is_alive() for sender in senders):
        arrived += sum(len(received(theirs)) for _, theirs in pairs)
    for sender in senders:
        sender.join()
    arrived += sum(len(received(theirs)) for _, theirs in pairs)
    assert arrived == sum(sent) > 0
