"""Reports that all users of the page share: how often servers are asked, and who waits."""

import asyncio
from contextlib import ExitStack

import pytest

from tests.unit.top.test_sources import CONS, REFUSAL, SAMPLES, Peer, words
from zoolet.top.reports import Kind
from zoolet.web.top import looks
from zoolet.web.top.looks import FRESH_S, Busiest


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_many_users_ask_a_server_once() -> None:
    clock = Clock()

    async def main(peer: Peer) -> None:
        busiest = Busiest(None, clock)
        asked = [busiest.reports("local", [peer.address]) for _ in range(50)]
        for [report] in await asyncio.gather(*asked):
            assert report.kind is Kind.SAMPLES
        await busiest.reports("local", [peer.address])
        assert peer.asked == [b"topk"]
        clock.now_s += FRESH_S
        await busiest.reports("local", [peer.address])
        assert peer.asked == [b"topk"] * 2
        busiest.close()

    with ExitStack() as stack:
        peer = Peer(stack)
        peer.reply = words(topk=SAMPLES)
        asyncio.run(main(peer))


def test_who_gives_up_does_not_end_the_look_of_others() -> None:
    async def main(peer: Peer) -> None:
        busiest = Busiest(None, Clock())
        first = asyncio.create_task(busiest.reports("local", [peer.address]))
        second = asyncio.create_task(busiest.reports("local", [peer.address]))
        await asyncio.sleep(0)
        first.cancel()
        [report] = await second
        assert report.kind is Kind.SAMPLES
        assert peer.asked == [b"topk"]
        busiest.close()

    with ExitStack() as stack:
        peer = Peer(stack)
        peer.reply = words(topk=SAMPLES)
        asyncio.run(main(peer))


def test_counters_are_read_twice_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "COUNTING_S", 0.01)
    counts = iter([10, 30, 50])

    async def main(counting: Peer, sampling: Peer) -> None:
        busiest = Busiest(None, Clock())
        addresses = [counting.address, sampling.address]
        counted, sampled = await busiest.reports("local", addresses)
        assert (counted.kind, sampled.kind) == (Kind.COUNTERS, Kind.SAMPLES)
        assert counting.asked.count(b"cons") == 2
        assert sampling.asked == [b"topk"]
        busiest.close()

    def reply(word: bytes) -> bytes:
        return REFUSAL % word if word == b"topk" else CONS % next(counts)

    with ExitStack() as stack:
        counting, sampling = Peer(stack), Peer(stack)
        counting.reply = reply
        sampling.reply = words(topk=SAMPLES)
        asyncio.run(main(counting, sampling))


def test_a_server_that_is_not_wanted_any_more_is_forgotten() -> None:
    async def main(one: Peer, other: Peer) -> None:
        clock = Clock()
        busiest = Busiest(None, clock)
        assert len(await busiest.reports("local", [one.address, other.address])) == 2
        clock.now_s += FRESH_S
        [report] = await busiest.reports("local", [other.address])
        assert report.server == str(other.address)
        assert one.asked == [b"topk"]
        busiest.close()

    with ExitStack() as stack:
        one, other = Peer(stack), Peer(stack)
        one.reply = other.reply = words(topk=SAMPLES)
        asyncio.run(main(one, other))
