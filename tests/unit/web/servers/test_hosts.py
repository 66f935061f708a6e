"""The addresses of sessions: one reading for many questions, also if it does not know them."""

import asyncio
from collections.abc import Sequence

from zoolet.model.addresses import Address
from zoolet.web.servers.asking import Asker
from zoolet.web.servers.hosts import KEPT_S, Hosts
from zoolet.web.servers.sessions import Sessions


class Clock:
    def __init__(self) -> None:
        self.time_s = 1000.0

    def __call__(self) -> float:
        return self.time_s


class Server:
    """A server that answers cons with one session, and counts the questions."""

    def __init__(self) -> None:
        self.num_asked = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        word = await reader.readexactly(4)
        self.num_asked += word == b"cons"
        if word == b"cons":
            writer.write(b" /10.0.0.1:5000[1](queued=0,recved=1,sent=1,sid=0x11,to=30000)\n")
        writer.close()


def test_an_answer_is_kept_for_a_minute() -> None:
    async def run() -> None:
        clock, server = Clock(), Server()
        listener = await asyncio.start_server(server.answer, "127.0.0.1", 0)
        servers: Sequence[Address] = [Address("127.0.0.1", listener.sockets[0].getsockname()[1])]
        asker = Asker(None)
        hosts = Hosts(Sessions(asker, clock), clock)
        for _ in range(3):
            found, _ = await hosts.addresses("c", servers, [0x11, 0x12])
            assert found == {0x11: "10.0.0.1:5000"}
            clock.time_s += KEPT_S / 4
        assert server.num_asked == 1
        assert await hosts.addresses("c", servers, []) == ({}, [])
        clock.time_s += KEPT_S
        await hosts.addresses("c", servers, [0x12])
        assert server.num_asked == 2
        listener.close()
        asker.close()

    asyncio.run(run())


def test_a_server_that_does_not_answer_is_a_problem_of_each_answer() -> None:
    async def run() -> None:
        clock, asker = Clock(), Asker(None)
        hosts = Hosts(Sessions(asker, clock), clock)
        for _ in range(2):
            found, problems = await hosts.addresses("c", [Address("127.0.0.1", 1)], [0x11])
            assert found == {}
            assert "127.0.0.1:1" in problems[0]
        asker.close()

    asyncio.run(run())
