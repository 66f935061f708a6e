"""What waits for a browser: its order, its bounds, its end."""

import asyncio
import json

from zoolet.web.live.streams import MOST_WAITING, MOST_WAITING_BYTES, RESET, Stream, encoded


def stream_of(*, is_valid: bool = True) -> Stream:
    return Stream("key", "owner", lambda: is_valid)


async def read(stream: Stream) -> list[bytes]:
    """Return what an ended stream sends, without the first chunk."""
    stream.end("stopped")
    chunks = [chunk async for chunk in stream.chunks()]
    return chunks[1:]


def test_an_event_is_one_line_of_ascii_whatever_it_contains() -> None:
    value = {"a": "line\nline\r\u2028\x1b", "b": "\u202e<script>"}
    lines = encoded("name", value, "7").decode("ascii").split("\n")
    assert lines[:2] == ["id: 7", "event: name"]
    assert json.loads(lines[2].removeprefix("data: ")) == value
    assert lines[3:] == ["", ""]


def test_events_come_in_their_order() -> None:
    async def run() -> None:
        stream = stream_of()
        events = [encoded("e", {"n": number}) for number in range(5)]
        for event in events:
            stream.put(event)
        (chunk,) = await read(stream)
        assert chunk == b"".join(events) + encoded("end", {"reason": "stopped", "error": ""})

    asyncio.run(run())


def test_a_slow_browser_is_told_to_load_again() -> None:
    async def run(event: bytes, count: int) -> None:
        stream = stream_of()
        for _ in range(count):
            stream.put(event)
        (chunk,) = await read(stream)
        assert RESET in chunk
        assert len(chunk) <= MOST_WAITING_BYTES + len(RESET)

    asyncio.run(run(b"event: x\n\n", MOST_WAITING + 1))
    asyncio.run(run(b"x" * 300_000, 4))
    asyncio.run(run(b"x" * (MOST_WAITING_BYTES + 1), 1))


def test_nothing_comes_after_the_end() -> None:
    async def run() -> None:
        stream = stream_of()
        stream.end("login")
        stream.put(b"late")
        (chunk,) = await read(stream)
        assert chunk == encoded("end", {"reason": "login", "error": ""})

    asyncio.run(run())
