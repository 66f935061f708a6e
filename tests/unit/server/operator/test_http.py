"""HTTP for the operator's pages, on a transport that keeps what is written."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from http import HTTPStatus
from typing import Any

import h11
import pytest

from tests.support.http_connections import CHUNK, Made, Transport
from tests.support.waiting import WAIT_S
from zoolet.server.operator.answers import UNSENT_BYTES
from zoolet.server.operator.http import (
    MAX_BODY_BYTES,
    Request,
    Response,
)

GET = b"GET /a?x=1&y= HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"


def run(case: Coroutine[Any, Any, None]) -> None:
    asyncio.run(case)


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not is_so():
            await asyncio.sleep(0)


async def at_rest() -> None:
    """Let everything happen that can: each answer needs few iterations to go on."""
    for _ in range(50):
        await asyncio.sleep(0)


def bodies(written: bytes, num_requests: int) -> list[bytes]:
    """Return the bodies of the responses in ``written``, which must be whole."""
    client = h11.Connection(h11.CLIENT)
    client.receive_data(written)
    found = []
    for _ in range(num_requests):
        client.send(h11.Request(method="GET", target="/", headers=[("Host", "h")]))
        client.send(h11.EndOfMessage())
        body = b""
        while not isinstance(event := client.next_event(), h11.EndOfMessage):
            assert event is not h11.NEED_DATA
            if isinstance(event, h11.Data):
                body += event.data
        found.append(body)
        if client.our_state is h11.DONE:
            client.start_next_cycle()
    return found


def test_a_request_is_taken_apart_and_answered() -> None:
    async def case() -> None:
        made = Made()
        made.connection.data_received(GET[:10])
        assert made.asked == []
        made.connection.data_received(GET[10:])
        assert made.asked == [Request("GET", "/a", {"x": "1"}, {"host": "h"}, "127.0.0.1")]
        await until(lambda: made.transport.written)
        assert made.transport.written.endswith(b"\r\n\r\nanswer 1\n")
        assert b"Content-Length: 9\r\n" in made.transport.written

    run(case())


def test_thousands_of_requests_in_one_piece_are_answered_in_order() -> None:
    async def case() -> None:
        made = Made()
        made.connection.data_received(GET * 3000)
        await until(lambda: len(made.asked) == 3000)
        await until(lambda: made.transport.written.endswith(b"answer 3000\n"))
        assert made.statuses == [b"200"] * 3000

    run(case())


def test_the_next_request_waits_for_the_answer_to_the_first() -> None:
    async def case() -> None:
        made = Made(at_once=False)
        made.connection.data_received(GET * 2)
        await at_rest()
        assert len(made.asked) == 1
        assert not made.transport.is_reading
        made.answer(made.waiting.pop())
        await until(lambda: len(made.asked) == 2)
        made.answer(made.waiting.pop())
        await until(lambda: made.statuses == [b"200", b"200"])
        assert made.transport.is_reading

    run(case())


@pytest.mark.parametrize("num_requests", [1, 2, 500])
def test_a_client_that_does_not_read_holds_one_bounded_part_of_one_answer(
    num_requests: int,
) -> None:
    async def case() -> None:
        made = Made(num_chunks=1000)
        made.transport.client_reads = False
        made.connection.data_received(GET * num_requests)
        await until(lambda: made.transport.is_paused)
        await at_rest()
        assert len(made.asked) == 1
        assert made.transport.most_unread_bytes <= UNSENT_BYTES + 2 * len(CHUNK) + 1000
        assert made.num_made <= UNSENT_BYTES // len(CHUNK) + 3
        assert not made.transport.is_reading
        made.connection.connection_lost(None)

    run(case())


def test_an_answer_goes_on_when_its_client_reads() -> None:
    async def case() -> None:
        made = Made(num_chunks=100)
        made.transport.client_reads = False
        made.connection.data_received(GET)
        while made.num_made < 100:
            await until(lambda: made.transport.is_paused or made.num_made == 100)
            made.transport.read(UNSENT_BYTES)
        await until(lambda: made.transport.is_reading)
        assert bodies(made.transport.written, 1) == [CHUNK * 100]
        assert b"Transfer-Encoding: chunked\r\n" in made.transport.written

    run(case())


def test_no_chunk_leaves_before_it_is_on_disk() -> None:
    async def case() -> None:
        made = Made(num_chunks=3)
        made.durable = []
        made.connection.data_received(GET)
        for number in (1, 2, 3):
            await until(lambda: made.durable)
            await at_rest()
            assert made.num_made == number
            assert CHUNK * number not in made.transport.written.replace(b"\r\n", b"")
            made.durable.pop()()
        await until(lambda: made.transport.is_reading)
        assert bodies(made.transport.written, 1) == [CHUNK * 3]

    run(case())


def test_an_answer_to_a_client_that_is_gone_is_dropped() -> None:
    async def case() -> None:
        made = Made(at_once=False)
        made.connection.data_received(GET)
        made.connection.connection_lost(None)
        made.answer(made.waiting.pop())
        await at_rest()
        assert made.transport.written == b""

    run(case())


@pytest.mark.parametrize("num_before", [0, 1, 5])
def test_a_chunk_that_cannot_be_made(num_before: int) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(num_before):
            yield CHUNK
        raise OSError("the disk is gone")

    async def case() -> None:
        made = Made(at_once=False)
        made.connection.data_received(GET)
        made.waiting.pop().respond(Response(HTTPStatus.OK, "text/plain", chunks()))
        if num_before < 2:
            await until(lambda: made.transport.written)
            assert made.statuses == [b"500"]
            assert bodies(made.transport.written, 1) == [b"the disk is gone\n"]
            made.connection.data_received(GET)
            await until(lambda: len(made.asked) == 2)
        else:
            await until(lambda: made.transport.is_aborted)
            assert not made.transport.written.endswith(b"0\r\n\r\n")

    run(case())


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"no HTTP\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x00\x00\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET //[ HTTP/1.1\r\nHost: h\r\n\r\n", b"400"),
        (b"HEAD http://] HTTP/1.1\r\nHost: h\r\n\r\n", b"400"),
        (b"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n", b"501"),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 20_000, b"431"),
    ],
)
def test_what_is_no_request_is_said_and_closed(data: bytes, status: bytes) -> None:
    async def case() -> None:
        made = Made()
        made.connection.data_received(data)
        assert made.statuses == [status]
        assert made.transport.is_closed
        assert made.asked == []

    run(case())


_PARTS = [
    *(b"GET ", b"POST ", b"HEAD ", b"CONNECT ", b"/", b"//", b"[", b"]", b"::1", b"http://", b"%0"),
    *(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b"Host: h\r\n", b"Connection: close\r\n", b"\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Content-Length: 4\r\n", b"Expect: 100-continue\r\n"),
    *(b"Content-Length: " + b"9" * 5000 + b"\r\n", b"Upgrade: x\r\n", b"?a=", b"&", b"\xff"),
    *(b"data", b"4\r\ndata\r\n", b"0\r\n\r\n"),
]


@pytest.mark.parametrize("seed", range(5))
def test_random_parts_of_requests(seed: int) -> None:
    """Each exception of a connection would end the server."""
    chance = random.Random(seed)

    async def case() -> None:
        for _ in range(200):
            made = Made()
            begin = chance.choice(_PARTS[:4]) + b"".join(chance.choices(_PARTS[4:11], k=2))
            rest = b"".join(chance.choices(_PARTS, k=chance.randrange(12)))
            made.connection.data_received(begin + _PARTS[11] + _PARTS[13] + rest + b"\r\n\r\n")
            made.connection.data_received(b"".join(chance.choices(_PARTS, k=5)))
            made.connection.eof_received()
            await asyncio.sleep(0)
            made.connection.connection_lost(None)

    run(case())


def test_a_client_that_asks_to_close_is_closed() -> None:
    async def case() -> None:
        made = Made()
        made.connection.data_received(GET[:-2] + b"Connection: close\r\n\r\n")
        await until(lambda: made.transport.is_closed)
        assert made.statuses == [b"200"]

    run(case())


def test_a_client_of_http_1_0_gets_its_answer_up_to_the_end() -> None:
    async def case() -> None:
        made = Made(num_chunks=3)
        made.connection.data_received(b"GET / HTTP/1.0\r\n\r\n")
        await until(lambda: made.transport.is_closed)
        assert made.transport.written.endswith(b"\r\n\r\n" + CHUNK * 3)

    run(case())


def test_a_body_that_nobody_wants_is_read_up_to_a_limit() -> None:
    async def case() -> None:
        made = Made()
        head = b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\n"
        made.connection.data_received(head)
        await until(lambda: made.transport.written)
        assert made.statuses == [b"200"]
        assert b"Connection: close" in made.transport.written
        for _ in range(MAX_BODY_BYTES // len(CHUNK) + 1):
            assert not made.transport.is_aborted
            made.connection.data_received(CHUNK)
        assert made.transport.is_aborted

    run(case())


@pytest.mark.parametrize("first", [b"", GET[:10], GET])
def test_a_silent_client_is_cut_off(first: bytes) -> None:
    async def case() -> None:
        made = Made(idle_timeout_s=0.05)
        if first:
            made.connection.data_received(first)
        await until(lambda: made.transport.is_aborted)
        assert made.statuses == ([b"200"] if first == GET else [])

    run(case())


@pytest.mark.parametrize("request_bytes", [GET, POST])
def test_a_client_that_waits_for_a_long_answer_is_not_cut_off(request_bytes: bytes) -> None:
    """For example, for a snapshot of many znodes. A silent client shows that time has passed."""

    async def case() -> None:
        made = Made(at_once=False, idle_timeout_s=0.05)
        made.connection.data_received(request_bytes)
        for _ in range(3):
            silent = Transport()
            made.connect(silent, 0.05)
            await until(partial(getattr, silent, "is_aborted"))
        assert not made.transport.is_aborted
        made.answer(made.waiting[0])
        await until(lambda: made.statuses == [b"200"])
        await until(lambda: made.transport.is_aborted)  # no next request came

    run(case())


class Client:
    """A client by chance; its model is the list of the bodies that it has asked for."""

    def __init__(self, made: Made, chance: random.Random) -> None:
        self.transport = Transport()
        self.transport.client_reads = False
        self.connection = made.connect(self.transport)
        self.wanted: list[bytes] = []
        self._unsent = b""
        self._chance = chance

    @property
    def is_done(self) -> bool:
        return not self._unsent and self.transport.is_reading

    def ask(self) -> None:
        num_chunks, size_bytes = self._chance.randrange(30), self._chance.randrange(1, 10_000)
        self.wanted.append(b"c" * (num_chunks * size_bytes))
        target = f"/?num_chunks={num_chunks}&size_bytes={size_bytes}"
        self._unsent += f"GET {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode()

    def send(self) -> None:
        if self.transport.is_reading and self._unsent:
            size = self._chance.randrange(1, len(self._unsent) + 1)
            sent, self._unsent = self._unsent[:size], self._unsent[size:]
            self.connection.data_received(sent)

    def read(self) -> None:
        self.transport.read(self._chance.randrange(200_000))


def answer_all(made: Made) -> None:
    """Give each request the answer that it asks for."""
    asked = list(zip(made.asked, made.waiting, strict=True))
    made.asked.clear()
    made.waiting.clear()
    for request, exchange in asked:
        size_bytes = int(request.query["size_bytes"])
        num_chunks = int(request.query["num_chunks"])
        chunks = iter([b"c" * size_bytes] * num_chunks)
        exchange.respond(Response(HTTPStatus.OK, "text/plain", chunks))


def release_all(made: Made) -> None:
    """Let everything made so far be on disk."""
    released, made.durable = made.durable or [], []
    for callback in released:
        callback()


@pytest.mark.parametrize("seed", range(30))
def test_pipelined_requests_of_clients_that_read_as_they_like(seed: int) -> None:
    """Each client gets the answers to its requests, in order, and has little of them unread."""
    chance = random.Random(seed)

    async def case() -> None:
        made = Made(at_once=False)
        made.durable = []
        clients = [Client(made, chance) for _ in range(3)]
        steps: list[Callable[[], None]] = [
            lambda: chance.choice(clients).send(),
            lambda: chance.choice(clients).read(),
            lambda: release_all(made),
            lambda: answer_all(made),
        ]
        for _ in range(100):
            chance.choice(clients).ask()
            chance.choice(steps)()
            await asyncio.sleep(0)
        async with asyncio.timeout(WAIT_S):
            while not all(client.is_done for client in clients):
                chance.choice(steps)()
                await asyncio.sleep(0)
        for client in clients:
            assert client.transport.most_unread_bytes <= UNSENT_BYTES + 2 * 10_000 + 1000
            assert bodies(client.transport.written, len(client.wanted)) == client.wanted

    run(case())
