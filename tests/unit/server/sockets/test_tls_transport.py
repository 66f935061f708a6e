"""The TLS layer: what a protocol is told, and what a client sees, on both event loops."""

import asyncio
import gc
import logging
import random
import shutil
import ssl
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.loops import RunOnLoop, reset, until
from tests.support.served import count_when_warm
from tests.support.tls_peer import READ_BYTES, Recorded, Recorder, TlsPeer
from zoolet.server.sockets.tls_transport import PIECE_BYTES, RECORD_BYTES, TlsTransport

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


async def until_lost(protocol: Recorder) -> None:
    await until(lambda: "lost" in protocol.events)


# --- Receiving


def test_all_records_of_a_read_are_one_call(run: RunOnLoop, tls: ssl.SSLContext) -> None:
    async def scenario() -> None:
        served = Recorded(tls=tls)
        peer, protocol = await served.connected()
        protocol.transport.pause_reading()
        records = [bytes([number % 256]) * (number % 50 + 1) for number in range(1000)]
        await peer.send(*records)
        protocol.transport.resume_reading()
        await until(lambda: len(protocol.data) == sum(map(len, records)))
        assert protocol.arrived == [b"".join(records)]
        peer.socket.close()
        served.acceptor.close()

    run(scenario())


@pytest.mark.parametrize("version", VERSIONS)
def test_a_byte_at_a_time(run: RunOnLoop, tls: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    async def scenario() -> None:
        served = Recorded(tls=tls)
        peer, protocol = await served.connected(version)
        for byte in peer.encrypted(b"hello", b"world"):
            await peer.send_raw(bytes([byte]))
            await asyncio.sleep(0)
        await until(lambda: protocol.data == b"helloworld")
        protocol.transport.write(b"back")
        assert await peer.receive(4) == b"back"
        peer.socket.close()
        served.acceptor.close()

    run(scenario())


def test_a_record_that_is_split_waits_for_its_end(run: RunOnLoop, tls: ssl.SSLContext) -> None:
    async def scenario() -> None:
        served = Recorded(tls=tls)
        peer, protocol = await served.connected()
        first, second = b"a" * 10, random.Random(1).randbytes(RECORD_BYTES)
        sent = peer.encrypted(first, second)
        await peer.send_raw(sent[:-1])
        await until(lambda: protocol.data == first)
        # A reply is sent although a part of a record waits.
        protocol.transport.write(b"reply")
        assert await peer.receive(5) == b"reply"
        assert protocol.data == first
        await peer.send_raw(sent[-1:] + peer.encrypted(b"third"))
        await until(lambda: protocol.data == first + second + b"third")
        peer.socket.close()
        served.acceptor.close()

    run(scenario())


def test_bytes_that_arrive_with_the_end_of_the_handshake(
    run: RunOnLoop, tls: ssl.SSLContext
) -> None:
    async def scenario() -> None:
        served = Recorded(tls=tls)
        peer = TlsPeer(served.port)
        await peer.shake_hands(behind=b"early")
        await until(lambda: served.newest.data == b"early")
        assert served.newest.events == ["made", "received"]
        peer.socket.close()
        served.acceptor.close()

    run(scenario())


def test_nothing_arrives_while_reading_is_paused(run: RunOnLoop, tls: ssl.SSLContext) -> None:
    async def scenario() -> None:
        served = Recorded(tls=tls)
        peer, protocol = await served.connected()
        bystander, other = await served.connected()
        protocol.transport.pause_reading()
        await peer.send(b"hello")
        # The bystander's bytes are sent later, and arrive.
        await bystander.send(b"later")
        await until(lambda: other.data == b"later")
        assert protocol.data == b""
        protocol.transport.resume_reading()
        await until(lambda: protocol.data == b"hello")
        for each in (peer, bystander):
            each.socket.close()
        served.acceptor.close()

    run(scenario())


def test_a_large_message_is_bounded_and_whole(run: RunOnLoop, tls: ssl.SSLContext) -> None:
    async def scenario() -> None:
        served = Recorded(tls=tls)
        peer, protocol = await served.connected()
        sent = random.Random(2).randbytes(5_000_001)
        await peer.send(sent)
        await until(lambda: len(protocol.data) == len(sent))
        assert protocol.data == sent
        assert max(map(len, protocol.arrived)) <= READ_BYTES + RECORD_BYTES
        peer.socket.close()
        served.acceptor.close()

    run(scenario())


# --- Sending


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3_000_000])
def test_what_is_written_arrives(
    run: RunOnLoop, tls: ssl.SSLContext, version: ssl.TLSVersion, size: int
) -> None:
    async def scenario() -> None:
        served = Recorded(tls=tls)
        peer, protocol = await served.connected(version)
        written = random.Random(size).randbytes(size)
        protocol.transport.write(written)
        protocol.transport.write(b"end")
        assert await peer.receive(size + 3) == written + b"end"
        peer.socket.close()
        served.acceptor.close()

    run(scenario())


def test_a_client_that_does_not_read_pauses_writing(run: RunOnLoop, tls: ssl.SSLContext) -> None:
    async def scenario() -> None:
        served = Recorded(tls=tls)
        peer, protocol = await served.connected()
        protocol.transport.set_write_buffer_limits(high=100_000)
        written = 0
        while "paused" not in protocol.events:
            protocol.transport.write(bytes(50_000))
            written += 50_000
            await asyncio.sleep(0)
        assert protocol.transport.get_write_buffer_size() > 100_000
        await peer.receive(written)
        await until(lambda: "resumed" in protocol.events)
        assert protocol.events == ["made", "paused", "resumed"]
        await until(lambda: protocol.transport.get_write_buffer_size() == 0)
        peer.socket.close()
        served.acceptor.close()

    run(scenario())


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the program openssl")
@pytest.mark.parametrize("command", [b"k\n", b"K\n"])  # K asks the server for new keys too
def test_both_sides_go_on_with_new_keys(
    run: RunOnLoop, tls: ssl.SSLContext, command: bytes
) -> None:
    async def scenario() -> None:
        served = Recorded(tls=tls)
        client = await asyncio.create_subprocess_exec(
            *("openssl", "s_client", "-tls1_3", "-connect", f"127.0.0.1:{served.port}"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert client.stdin is not None
        assert client.stdout is not None
        assert client.stderr is not None
        client.stdin.write(b"first\n")
        await until(lambda: bool(served.protocols) and served.newest.data == b"first\n")
        client.stdin.write(command)
        await client.stderr.readuntil(b"KEYUPDATE\n")
        client.stdin.write(b"second\n")
        await until(lambda: served.newest.data == b"first\nsecond\n")
        for answer in (b"one\n", b"two\n"):
            served.newest.transport.write(answer)
            await client.stdout.readuntil(answer)
        client.stdin.close()
        await client.communicate()
        await until_lost(served.newest)
        served.acceptor.close()

    run(scenario())


# --- The end


def test_closing_sends_all_and_does_not_wait(run: RunOnLoop, tls: ssl.SSLContext) -> None:
    async def scenario() -> None:
        served = Recorded(tls=tls)
        peer, protocol = await served.connected()
        written = bytes(3_000_000)  # more than the kernel takes at once
        protocol.transport.write(written)
        protocol.transport.close()
        protocol.transport.close()
        assert protocol.transport.is_closing()
        protocol.transport.write(b"after the end")
        assert await peer.receive_end() == "close_notify"
        assert peer.received == written
        await until_lost(protocol)  # although the client has sent no close_notify
        assert protocol.lost_with is None
        assert not served.admission.open
        peer.socket.close()
        served.acceptor.close()

    run(scenario())


def test_aborting_sends_nothing_more(run: RunOnLoop, tls: ssl.SSLContext) -> None:
    async def scenario() -> None:
        served = Recorded(tls=tls)
        peer, protocol = await served.connected()
        protocol.transport.write(bytes(10_000_000))
        protocol.transport.abort()
        protocol.transport.write(b"after the end")
        await until_lost(protocol)
        assert await peer.receive_end() in {"cut", "reset"}
        assert len(peer.received) < 10_000_000
        assert protocol.events[-1] == "lost"
        peer.socket.close()
        served.acceptor.close()

    run(scenario())


def test_a_protocol_can_end_the_connection_while_it_receives(
    run: RunOnLoop, tls: ssl.SSLContext
) -> None:
    async def scenario() -> None:
        served = Recorded(tls=tls)
        for end in ("close", "abort"):
            peer, protocol = await served.connected()
            receive = protocol.data_received

            def end_at_once(
                data: bytes,
                protocol: Recorder = protocol,
                receive: Callable[[bytes], None] = receive,
                end: str = end,
            ) -> None:
                receive(data)
                getattr(protocol.transport, end)()

            protocol.data_received = end_at_once  # type: ignore[method-assign]
            await peer.send_raw(peer.encrypted(b"bye") + peer.close_notify())
            await until_lost(protocol)
            assert protocol.events == ["made", "received", "lost"]
            assert (await peer.receive_end() == "close_notify") == (end == "close")
            peer.socket.close()
        served.acceptor.close()

    run(scenario())


def test_a_client_that_ends_with_close_notify(run: RunOnLoop, tls: ssl.SSLContext) -> None:
    async def scenario() -> None:
        served = Recorded(tls=tls)
        peer, protocol = await served.connected()
        await peer.send_raw(peer.encrypted(b"last") + peer.close_notify())
        await until_lost(protocol)
        assert protocol.data == b"last"
        assert protocol.events == ["made", "received", "eof", "lost"]
        assert protocol.lost_with is None
        peer.socket.close()
        served.acceptor.close()

    run(scenario())


def test_a_client_that_closes_only_its_socket(run: RunOnLoop, tls: ssl.SSLContext) -> None:
    async def scenario() -> None:
        served = Recorded(tls=tls)
        peer, protocol = await served.connected()
        await peer.send(b"last")
        peer.socket.shutdown(1)
        await until_lost(protocol)
        assert protocol.data == b"last"
        assert protocol.events == ["made", "received", "lost"]
        assert await peer.receive_end() == "close_notify"
        peer.socket.close()
        served.acceptor.close()

    run(scenario())


def test_a_client_that_resets(run: RunOnLoop, tls: ssl.SSLContext) -> None:
    async def scenario() -> None:
        served = Recorded(tls=tls)
        peer, protocol = await served.connected()
        reset(peer.socket)
        await until_lost(protocol)
        assert protocol.events == ["made", "lost"]
        served.acceptor.close()

    run(scenario())


# --- Errors


@pytest.mark.parametrize("version", VERSIONS)
def test_a_damaged_record_ends_the_connection_with_an_alert(
    run: RunOnLoop,
    tls: ssl.SSLContext,
    version: ssl.TLSVersion,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        served = Recorded(tls=tls)
        peer, protocol = await served.connected(version)
        good, damaged = peer.encrypted(b"good"), bytearray(peer.encrypted(b"damaged"))
        damaged[-1] ^= 1
        protocol.transport.pause_reading()
        await peer.send_raw(good + damaged + peer.encrypted(b"never"))
        protocol.transport.resume_reading()
        await until_lost(protocol)
        assert protocol.arrived == [b"good"]
        assert protocol.events == ["made", "received", "lost"]
        assert isinstance(protocol.lost_with, ssl.SSLError)
        assert await peer.receive_end() == "SSLV3_ALERT_BAD_RECORD_MAC"
        protocol.transport.write(b"after the end")
        protocol.transport.close()
        peer.socket.close()
        served.acceptor.close()

    run(scenario())
    assert [line for line in caplog.records if line.levelno >= logging.WARNING] == []


def test_an_exception_of_the_protocol_goes_to_the_event_loop(
    run: RunOnLoop, tls: ssl.SSLContext
) -> None:
    async def scenario() -> None:
        reported: list[dict[str, Any]] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reported.append(context))
        served = Recorded(tls=tls)
        peer, protocol = await served.connected()
        protocol.fails_with = RuntimeError("of the protocol")
        await peer.send(b"hello")
        await until_lost(protocol)
        assert [context["exception"] for context in reported] == [protocol.fails_with]
        peer.socket.close()
        served.acceptor.close()

    run(scenario())


def test_a_client_that_leaves_after_its_handshake_is_no_failed_handshake(
    run: RunOnLoop, tls: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async def scenario() -> None:
        served = Recorded(tls=tls)
        peer = TlsPeer(served.port)
        await peer.shake_hands(behind=b"bye")
        reset(peer.socket)
        await until(lambda: not served.admission.open)
        served.acceptor.close()

    run(scenario())
    assert caplog.messages == []


# --- Memory


def count_transports() -> int:
    return sum(type(found) is TlsTransport for found in gc.get_objects())


def test_no_connection_waits_for_the_garbage_collection(
    run: RunOnLoop, tls: ssl.SSLContext
) -> None:
    async def scenario() -> None:
        served = Recorded(tls=tls)
        await count_when_warm(served)
        gc.collect()
        before = count_transports()
        gc.disable()
        try:
            for end in ("close", "abort"):
                peer, protocol = await served.connected()
                await peer.send(b"hello")
                await until(lambda protocol=protocol: protocol.data == b"hello")  # type: ignore[misc]
                getattr(protocol.transport, end)()
                await until_lost(protocol)
                peer.socket.close()
            peer, protocol = await served.connected()
            await peer.send_raw(b"\x17\x03\x03\x00\x20" + bytes(32))
            await until_lost(protocol)
            peer.socket.close()
            served.protocols.clear()
            del protocol
            await until(lambda: count_transports() == before)
        finally:
            gc.enable()
        served.acceptor.close()

    run(scenario())
