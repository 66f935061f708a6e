"""A server that answers anything: what a source makes of it."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.unit.top.test_reports import answer
from zoolet.model.addresses import Address
from zoolet.top import sources
from zoolet.top.reports import Kind
from zoolet.top.sources import AGAIN_S, Source

REFUSAL = b"%s is not executed because it is not in the whitelist.\n"
CONS = b" /10.0.0.1:5[1](queued=0,recved=%d,sent=1,sid=0x7,lop=GETD)\n\n"
SAMPLES = json.dumps(answer()).encode()

Reply = Callable[[bytes], bytes | None]


class Peer:
    """A program that answers words; None instead of an answer resets the connection."""

    def __init__(self, stack: ExitStack) -> None:
        self.asked: list[bytes] = []
        self.reply: Reply = lambda _: b""
        self._listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.address = Address("127.0.0.1", self._listener.getsockname()[1])
        thread = threading.Thread(target=self._serve)
        thread.start()
        stack.callback(thread.join)
        stack.callback(lambda: self._listener.shutdown(socket.SHUT_RDWR))

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                word = connection.recv(4)
                self.asked.append(word)
                reply = self.reply(word)
                if reply is None:
                    reset = b"\1\0\0\0\0\0\0\0"
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                else:
                    connection.sendall(reply)


@pytest.fixture
def peer() -> Iterator[Peer]:
    with ExitStack() as stack:
        yield Peer(stack)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def words(**replies: bytes | None) -> Reply:
    return lambda word: replies.get(word.decode(), b"")


def test_a_server_with_samples(peer: Peer) -> None:
    peer.reply = words(topk=SAMPLES)
    source = Source(peer.address, None)
    assert source.look().kind is Kind.SAMPLES
    assert source.look().tables["paths"]
    assert peer.asked == [b"topk", b"topk"]


@pytest.mark.parametrize("unknown", [b"", None])
def test_a_server_without_samples_is_seldom_asked_for_them(
    peer: Peer, unknown: bytes | None
) -> None:
    clock = Clock()
    source = Source(peer.address, None, now_s=clock)
    peer.reply = words(topk=unknown, cons=CONS % 10)
    first = source.look()
    assert first.is_incomplete
    assert "takes no samples" in first.note
    clock.now_s = 2.0
    peer.reply = words(topk=unknown, cons=CONS % 30)
    second = source.look()
    assert (second.kind, second.total) == (Kind.COUNTERS, {"requests_per_s": 10.0})
    assert "takes no samples" in second.note
    assert peer.asked == [b"topk", b"cons", b"cons"]
    clock.now_s = AGAIN_S
    peer.reply = words(topk=SAMPLES)  # zoolet has taken its place
    assert source.look().kind is Kind.SAMPLES


def test_a_missing_word_is_named(peer: Peer) -> None:
    clock = Clock()
    source = Source(peer.address, None, now_s=clock)
    peer.reply = words(topk=REFUSAL % b"topk", cons=REFUSAL % b"cons")
    note = source.look().note
    for word in ("topk", "cons"):
        assert f"does not allow {word}: add it to 4lw.commands.whitelist" in note
    peer.reply = words(topk=REFUSAL % b"topk", cons=CONS % 10)
    assert source.look().is_incomplete
    clock.now_s = 1.0
    shown = source.look()
    assert shown.kind is Kind.COUNTERS
    assert "does not allow topk" in shown.note
    peer.reply = words(topk=SAMPLES)  # the operator has added it
    assert source.look().note == ""


def test_an_ensemble_without_a_leader(peer: Peer) -> None:
    not_serving = b"This ZooKeeper instance is not currently serving requests\n"
    peer.reply = words(topk=not_serving, cons=not_serving)
    assert "has no leader now" in Source(peer.address, None).look().note


def test_a_server_that_stops_and_returns(peer: Peer) -> None:
    source = Source(peer.address, None)
    peer.reply = words(topk=b"{}")
    assert source.look().note.endswith("answers topk with something else than samples")
    peer.reply = words(topk=SAMPLES)
    assert source.look().kind is Kind.SAMPLES
    gone = Source(Address("127.0.0.1", 1), None).look()
    assert gone.note == "127.0.0.1:1 does not answer: Connection refused"


def test_a_server_that_does_not_answer_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        silent = Address("127.0.0.1", listener.getsockname()[1])
        note = Source(silent, None, timeout_s=0.05).look().note
    assert note.endswith("does not answer: it takes too long")


def test_an_answer_has_a_limit(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sources.MOST_BYTES, "topk", 1000)
    peer.reply = words(topk=b"{" + b" " * 5000)
    assert "longer than 1000 bytes" in Source(peer.address, None).look().note
