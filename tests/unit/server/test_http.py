"""HTTP for the operator's pages, on a transport that keeps what is written."""

import asyncio
from collections.abc import Coroutine
from http import HTTPStatus
from typing import Any, cast

import pytest

from zoolet.server.http import HttpConnection, Request, Respond, text

GET = b"GET /a?x=1&y= HTTP/1.1\r\nHost: h\r\n\r\n"


class Transport:
    """Takes what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.is_closed = False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.is_closed = True


class Made:
    """A connection whose page answers when the test says so."""

    def __init__(self, *, at_once: bool = True) -> None:
        self.asked: list[Request] = []
        self.waiting: list[Respond] = []
        self.at_once = at_once
        self.transport = Transport()
        self.connection = HttpConnection(self.page, idle_timeout_s=0.05)
        self.connection.connection_made(cast("asyncio.Transport", self.transport))

    def page(self, request: Request, respond: Respond) -> None:
        self.asked.append(request)
        if self.at_once:
            self.answer(respond)
        else:
            self.waiting.append(respond)

    def answer(self, respond: Respond) -> None:
        respond(text(HTTPStatus.OK, f"answer {len(self.asked)}"))

    @property
    def statuses(self) -> list[bytes]:
        pieces = self.transport.written.split(b"HTTP/1.1 ")[1:]
        return [piece[:3] for piece in pieces]


def run(case: Coroutine[Any, Any, None]) -> None:
    asyncio.run(case)


def test_a_request_is_taken_apart_and_answered() -> None:
    async def case() -> None:
        made = Made()
        made.connection.data_received(GET[:10])
        assert made.asked == []
        made.connection.data_received(GET[10:])
        assert made.asked == [Request("GET", "/a", {"x": "1"})]
        assert made.transport.written.endswith(b"\r\n\r\nanswer 1\n")

    run(case())


def test_thousands_of_requests_in_one_piece_are_answered_in_order() -> None:
    async def case() -> None:
        made = Made()
        made.connection.data_received(GET * 3000)
        assert made.statuses == [b"200"] * 3000
        assert made.transport.written.endswith(b"answer 3000\n")

    run(case())


def test_the_next_request_waits_for_the_answer_to_the_first() -> None:
    async def case() -> None:
        made = Made(at_once=False)
        made.connection.data_received(GET * 2)
        assert len(made.asked) == 1
        made.answer(made.waiting.pop())
        assert len(made.asked) == 2
        made.answer(made.waiting.pop())
        assert made.statuses == [b"200", b"200"]

    run(case())


def test_an_answer_to_a_client_that_is_gone_is_dropped() -> None:
    async def case() -> None:
        made = Made(at_once=False)
        made.connection.data_received(GET)
        made.connection.connection_lost(None)
        made.answer(made.waiting.pop())
        assert made.transport.written == b""

    run(case())


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"no HTTP\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x00\x00\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
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


def test_a_client_that_asks_to_close_is_closed() -> None:
    async def case() -> None:
        made = Made()
        made.connection.data_received(GET[:-2] + b"Connection: close\r\n\r\n")
        assert made.statuses == [b"200"]
        assert made.transport.is_closed

    run(case())


def test_a_silent_client_is_cut_off() -> None:
    async def case() -> None:
        made = Made()
        while not made.transport.is_closed:
            await asyncio.sleep(0.001)

    run(asyncio.wait_for(case(), timeout=10))
